"""Labs 01 and 05: type digits, or a query to calculate, and watch what a trained model does."""

from collections.abc import Callable
from functools import partial

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn

from labkit import plots
from labkit.data.arithmetic import SYMBOLS, Glyphs, Queries, decode, parse
from labkit.data.palindromes import one_hot
from labkit.widgets import canvas
from labkit.widgets.panel import Panel, applied, row

Encoding = Callable[[Tensor], Tensor]
# shares of the figure or of an axes; a constrained layout would double the time of a key press
MARGINS = dict(left=0.065, right=0.99, bottom=0.17, top=0.97, wspace=0.28, hspace=0.4)
NAMES = [*SYMBOLS[:-1], "blank"]
COLUMN, BARS = 168, 240  # pixels: width of a character of the answer, height of its bars
HANDS = 100  # pictures of a symbol to choose from


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
    """PNG of the gates, and the prediction in words, after 1 to 99 digits; else a ValueError."""
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


def calculator(
    answer: Callable[[Tensor], Tensor],
    start: str = "14+26",
    draw: Callable[[Tensor], Tensor] | None = None,
    classifier: Callable[[Tensor], Tensor] | None = None,
    digits: int = 2,
) -> Panel:
    """Type a query: the model's probabilities for each character of the answer.

    answer: tokens (1, 2·digits + 1) → logits (1, digits + 1, 13). draw, another model: the same
    tokens → images (1, digits + 1, 1, 28, 28) in [0, 1] or uint8, shown below; classifier: uint8
    images (N, 1, 28, 28) → logits (N, 13), says what was drawn. ValueError if `start` is no query.
    """

    def render(query: str) -> tuple[bytes, str]:
        asked = parse(query, digits)
        bars, sentence = _answered(asked, applied(answer, asked.tokens()))
        rows = [bars]
        if draw is not None:
            images = canvas.quantise(applied(draw, asked.tokens())[0], (0, 1), "draw")
            rows.append([canvas.enlarge(image, COLUMN) for image in images])
            if classifier is not None:
                seen = decode(applied(classifier, images).argmax(1)[None].cpu())[0]
                sentence += f" The classifier sees '{seen}' in the drawing."
        return canvas.png(canvas.arrange(rows)), sentence

    return Panel(render, {"query": _query(start)}, name="calculator")


def handwritten(
    answer: Callable[[Tensor], Tensor],
    bank: Glyphs,
    start: str = "14+26",
    seed: int = 0,
    digits: int = 2,
) -> Panel:
    """Type a query and choose the handwriting of its characters: the model answers the images.

    answer: uint8 images (1, 2·digits + 1, 1, 28, 28) → logits (1, digits + 1, 13); bank: the
    pictures to choose from, of test digits; seed: of the hands that a button draws anew.
    """
    generator, query = torch.Generator().manual_seed(seed), _query(start)
    hands = {}
    for k in range(1, 2 * digits + 2):
        hands[f"hand{k}"] = slider = ipywidgets.IntSlider(max=HANDS - 1, description=f"hand {k}")
        slider.layout.width, slider.style.description_width = f"{COLUMN - 8}px", "48px"
    button = ipywidgets.Button(description="Redraw all", tooltip="every character anew")

    def redraw(_: ipywidgets.Button | None = None) -> None:
        for slider in hands.values():
            slider.value = torch.randint(HANDS, (), generator=generator).item()

    def render(query: str, **chosen: int) -> tuple[bytes, str]:
        asked = parse(query, digits)
        tokens, hand = asked.tokens()[0], torch.tensor(list(chosen.values()))
        images = bank.images[bank.first[tokens] + hand % bank.count[tokens]]
        bars, sentence = _answered(asked, applied(answer, images[None]))
        rows = [[canvas.enlarge(image, COLUMN) for image in images], bars]
        return canvas.png(canvas.arrange(rows)), sentence

    redraw()
    button.on_click(redraw)
    rows = [row(query, button), row(*hands.values())]
    return Panel(render, {"query": query, **hands}, rows=rows, name="handwritten")


def _query(start: str) -> ipywidgets.Text:
    return ipywidgets.Text(value=start, description="Query", placeholder="for example 14+26")


def _answered(asked: Queries, logits: Tensor) -> tuple[list[np.ndarray], str]:
    """Bars of each character's probabilities, and the answer in words, from logits (1, L, 13)."""
    probabilities = logits[0].float().cpu().softmax(1)
    p, best = probabilities.max(1)
    tokens = asked.tokens(), best[None], asked.answers()
    query, said, right = (decode(part)[0] for part in tokens)
    query = query.replace(" ", "")
    confidence = ", ".join(f"{value:.2f}" for value in p.tolist())
    ending = "which is right." if said == right else f"but {query} is {right.strip()}."
    said = f"the model says '{said}' with p = {confidence} for its characters"
    bars = [canvas.bars(row, NAMES, COLUMN, BARS) for row in probabilities]
    return bars, f"{query}: {said}, {ending}"
