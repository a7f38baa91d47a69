"""What all panels share: controls above a picture and a sentence, and what a classifier sees.

Controls are those that ipywidgets 7.7.1 (Colab) and 8 have. An ipywidgets.Image of PNG bytes
neither flickers nor moves the page.
"""

import base64
import html
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import torch
from torch import Tensor, nn

from labkit import plots
from labkit.widgets import canvas


class Panel:
    """Controls above a picture and a sentence that follow them.

    render(**values of the controls) → (PNG bytes, sentence). A ValueError from `render` replaces
    the sentence and the picture stays; while the panel is being made, the error is raised.

    width: of the picture, in CSS units, or "natural" for as many screen pixels as it has; rows: the
    widgets above it, if not one control a row; name: the box has the CSS class labkit-<name>.
    """

    def __init__(
        self,
        render: Callable[..., tuple[bytes, str]],
        controls: dict[str, Any],
        width: str = "natural",
        rows: Sequence[ipywidgets.Widget] = (),
        name: str = "panel",
    ):
        self.render, self.controls, self.sentence = render, controls, ""
        layout = ipywidgets.Layout(width=width, max_width="100%")
        self.image = ipywidgets.Image(format="png", layout=layout)
        self.message = ipywidgets.HTML()  # which wraps, as a Label does not
        self.box = ipywidgets.VBox([*(rows or controls.values()), self.image, self.message])
        self.box.add_class("labkit-panel").add_class(f"labkit-{name}")
        for control in controls.values():
            control.observe(self._update, names="value")
        self._draw()
        if width == "natural":
            layout.width = f"{canvas.png_width(self.image.value)}px"

    def _draw(self) -> None:
        values = {name: control.value for name, control in self.controls.items()}
        self.image.value, sentence = self.render(**values)
        self._say(sentence)

    def _update(self, change: Any) -> None:
        try:
            self._draw()
        except ValueError as error:
            self._say(str(error))

    def _say(self, sentence: str) -> None:
        self.sentence, text = sentence, html.escape(sentence, quote=False)
        self.message.value = f'<span style="white-space: pre-wrap">{text}</span>'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        """The live widget, and a still picture for GitHub, nbconvert and notebooks not yet run."""
        kind, still = plots.fewer_bytes(self.image.value)
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        data = {
            "application/vnd.jupyter.widget-view+json": view,
            kind: base64.b64encode(still).decode(),
            "text/plain": f"{self.sentence} (run the notebook to use the controls)",
        }
        return data, {kind: {"alt": self.sentence}}


def verdict(
    classifier: Callable[[Tensor], Tensor] | None, image: Tensor, classes: Sequence[str] = ()
) -> tuple[str, Tensor]:
    """What a classifier sees in a uint8 image (1, C, H, W), in words, and p (K,); K = 0 without."""
    if classifier is None:
        return ".", torch.empty(0)
    p = applied(classifier, image).float().cpu().softmax(1)[0]
    best = int(p.argmax())
    name = classes[best] if classes else best
    return f": the classifier sees {name} with p = {p[best]:.2f}.", p


@torch.inference_mode()
def applied(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """model(x), where a network, or that of a method, is on its own device and in eval mode."""
    network = getattr(model, "__self__", model)
    if not isinstance(network, nn.Module):
        return model(x)
    was_training, weight = network.training, next(network.parameters(), x)
    network.eval()
    result = model(x.to(weight.device))
    network.train(was_training)
    return result


def row(*controls: ipywidgets.Widget) -> ipywidgets.HBox:
    """Controls side by side, below each other where the screen is too narrow."""
    return ipywidgets.HBox(controls, layout=ipywidgets.Layout(flex_flow="row wrap"))


def dropdown(description: str, options: Sequence, width: int = 240) -> ipywidgets.Dropdown:
    """A Dropdown `width` pixels wide, with its first option chosen."""
    layout = ipywidgets.Layout(width=f"{width}px")
    return ipywidgets.Dropdown(options=options, description=description, layout=layout)


def slider(name: str, low: float, high: float, step: float, digits: str, value: float = 0) -> Any:
    """A FloatSlider in a row to itself; digits: the format of its number, e.g. "+.1f"."""
    ends = dict(value=value, min=low, max=high, step=step, readout_format=digits)
    return ipywidgets.FloatSlider(description=name, layout=wide(), **ends)


def wide() -> ipywidgets.Layout:
    """The layout of a slider that has a row to itself."""
    return ipywidgets.Layout(width="500px", max_width="100%")
