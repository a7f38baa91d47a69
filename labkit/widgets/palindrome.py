"""Lab 01: type digits and watch an LSTM read them."""

from collections.abc import Callable
from functools import partial

import ipywidgets
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from labkit import plots
from labkit.data.palindromes import one_hot
from labkit.widgets.panel import Panel, applied

Encoding = Callable[[Tensor], Tensor]
# shares of the figure or of an axes; a constrained layout would double the time of a key press
MARGINS = dict(left=0.065, right=0.99, bottom=0.17, top=0.97, wspace=0.28, hspace=0.4)


def palindrome_gates(network: nn.Module, start: str, encoding: Encoding = one_hot) -> Panel:
    """Type digits: the gates of an LSTM over time, and the digit that it predicts next.

    network: a `labkit.models.LSTM` trained on palindromes in this encoding of
    `labkit.data.palindromes`. Raises ValueError if `start` is anything but 1 to 99 digits.
    """
    box = ipywidgets.Text(start, description="Digits read", placeholder="for example 1232")
    box.layout.width = "100%"
    render = partial(gates, network, encoding=encoding)
    return Panel(render, {"digits": box}, "100%", name="palindrome-gates")


@torch.no_grad()
def gates(network: nn.Module, digits: str, encoding: Encoding = one_hot) -> tuple[bytes, str]:
    """The gates while `network` reads the digits as a PNG, and its prediction in words.

    Raises ValueError for anything but 1 to 99 digits.
    """
    digits = digits.replace(" ", "")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 99:
        raise ValueError(f"Type 1 to 99 digits and nothing else, for example 1232; got {digits!r}")
    x = encoding(torch.tensor([[*map(int, digits)]]))
    trace, p = network.trace(x), applied(network, x).softmax(1)[0]
    with plt.rc_context({"figure.constrained_layout.use": False}):
        sizes = dict(figsize=(12, 3.6), height_ratios=[3, 1])
        figure, axes = plt.subplots(2, 4, **sizes, gridspec_kw=MARGINS)
        plots.gate_panels(type(trace)(*(part[0] for part in trace)), list(digits), axes)
    best = int(p.argmax())
    ending = "the first digit, as in a palindrome"
    if best != int(digits[0]):
        ending = f"not the first digit, which was {digits[0]}"
    sentence = f"After {digits} the model predicts {best} with p = {p[best]:.3f}: {ending}."
    return plots.png(figure, dpi=80), sentence
