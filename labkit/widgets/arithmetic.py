"""Lab 05: type a query, or spell it in handwriting, and a trained model answers."""

from collections.abc import Callable

import ipywidgets
import numpy as np
import torch
from torch import Tensor

from labkit.data.arithmetic import SYMBOLS, Glyphs, Queries, decode, parse
from labkit.widgets import canvas
from labkit.widgets.panel import Panel, applied, row

NAMES = [*SYMBOLS[:-1], "blank"]
COLUMN, BARS = 168, 240  # pixels: width of a character of the answer, height of its bars
HANDS = 100  # pictures of a symbol to choose from


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
    hands = {f"hand{k + 1}": _hand(k + 1) for k in range(2 * digits + 1)}
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


def _hand(k: int) -> ipywidgets.IntSlider:
    slider = ipywidgets.IntSlider(max=HANDS - 1, description=f"hand {k}")
    slider.layout.width, slider.style.description_width = f"{COLUMN - 8}px", "48px"
    return slider


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
