"""Interactive panels from ipywidgets' core controls: they take a trained model and never train.

They run on ipywidgets 7.7.1 (Colab) and 8. Pictures are PNG bytes in an ipywidgets.Image, which neither flickers nor reflows.
"""

import base64
from collections.abc import Callable
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import torch
from torch import nn

from labkit import plots
from labkit.data import palindromes

MARGINS = dict(left=0.05, right=0.99, bottom=0.17, top=0.97, wspace=0.28, hspace=0.4)  # shares of the figure or of an axes


class Panel:
    """Controls above a picture and a sentence that follow them; a still of it is saved with the notebook.

    render(**values of the controls) → (PNG bytes, sentence). A ValueError from it becomes the sentence, and the picture stays.
    """

    def __init__(self, render: Callable[..., tuple[bytes, str]], controls: dict[str, Any], width: str = "100%"):
        self.render, self.controls = render, controls
        self.image = ipywidgets.Image(format="png", layout=ipywidgets.Layout(width=width, max_width="100%"))
        self.message = ipywidgets.Label()
        self.box = ipywidgets.VBox([*controls.values(), self.image, self.message])
        for control in controls.values():
            control.observe(self._update, names="value")
        self._update()

    def _update(self, change: Any = None) -> None:
        try:
            self.image.value, self.message.value = self.render(**{name: control.value for name, control in self.controls.items()})
        except ValueError as error:
            self.message.value = str(error)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The live widget for a running notebook, and beside it the picture for GitHub, nbconvert and notebooks not yet run."""
        return {
            "application/vnd.jupyter.widget-view+json": {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id},
            "image/png": base64.b64encode(self.image.value).decode(),
            "text/plain": f"{self.message.value} (run the notebook to use the controls)",
        }


@torch.no_grad()
def read_digits(network: nn.Module, text: str, encoding: str = "one_hot") -> tuple[bytes, str]:
    """Feed the digits of `text` to an LSTM: its gates over time as a PNG, and what it predicts after the last of them.

    Raises ValueError, saying what to type, for anything but 1 to 99 digits.
    """
    digits = text.replace(" ", "")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 99:
        raise ValueError(f"Type 1 to 99 digits and nothing else, for example 1232; got {text!r}")
    read = torch.tensor([[int(d) for d in digits] + [0]])  # the last place stands for the digit to predict; inputs() leaves it out
    trace = network.trace(palindromes.inputs(read, encoding))
    probabilities = network.read_out(trace.h[0, -1]).softmax(0)
    with plt.rc_context({"figure.constrained_layout.use": False}):  # which would take twice as long, at every key press
        figure, axes = plt.subplots(2, 4, figsize=(12, 3.6), height_ratios=[3, 1], gridspec_kw=MARGINS)
        plots.gate_panels(type(trace)(*(part[0] for part in trace)), list(digits), axes)
    best = int(probabilities.argmax())
    verdict = "the first digit, as in a palindrome" if best == int(digits[0]) else f"not the first digit, which was {digits[0]}"
    return plots.png(figure, dpi=80), f"After {digits} the model predicts {best} with p = {probabilities[best]:.3f}: {verdict}."


def palindrome_reader(network: nn.Module, start: str, encoding: str = "one_hot") -> Panel:
    """Type digits, see the gates of `network` and its prediction live; begins with the digits `start`."""
    box = ipywidgets.Text(value=start, description="Digits read", placeholder="for example 1232", layout=ipywidgets.Layout(width="100%"))
    return Panel(lambda digits: read_digits(network, digits, encoding), {"digits": box})
