"""Panels for the arithmetic of lab 05: type a query, or spell it in handwriting, and watch a
trained model answer.
"""

from collections.abc import Callable, Sequence

import ipywidgets
import numpy as np
import torch
from torch import Tensor

from labkit import pictures
from labkit.data.arithmetic import SYMBOLS, Glyphs, Queries, decode, parse
from labkit.widgets import Panel, applied

NAMES = [*SYMBOLS[:-1], "blank"]
COLUMN, BARS = (
    168,
    240,
)  # pixels: width of what belongs to one character of the answer, height of its bars
HANDS = 100  # pictures of a symbol to choose from


def calculator(
    answer: Callable[[Tensor], Tensor],
    start: str = "14+26",
    draw: Callable[[Tensor], Tensor] | None = None,
    classifier: Callable[[Tensor], Tensor] | None = None,
    digits: int = 2,
) -> Panel:
    """Type a query: the model's probabilities for each character of the answer and, below, the
    answer as another model draws it.

    answer: tokens (1, 2·digits + 1) → logits (1, digits + 1, 13); draw: the same tokens → images
    (1, digits + 1, 1, 28, 28) in [0, 1] or uint8; classifier: uint8 images (N, 1, 28, 28) → logits (N,
    13), reads what was drawn. Raises ValueError, saying what a query looks like, if `start` is
    none.
    """
    box = ipywidgets.Text(
        value=start, description="Query", placeholder="for example 14+26", continuous_update=True
    )

    def render(query: str) -> tuple[bytes, str]:
        asked = parse(query, digits)
        logits = applied(answer, asked.tokens())[0].float().cpu()
        rows, sentence = [_bars(logits)], _verdict(asked, logits)
        if draw is not None:
            images = pictures.quantise(applied(draw, asked.tokens())[0], (0, 1), "draw")
            rows.append([pictures.enlarge(image, COLUMN) for image in images])
            if classifier is not None:
                sentence += f" The classifier sees '{decode(applied(classifier, images).argmax(1)[None].cpu())[0]}' in the drawing."
        return pictures.png(pictures.arrange(rows)), sentence

    return Panel(render, {"query": box}, "natural", name="calculator")


def handwritten(
    answer: Callable[[Tensor], Tensor],
    bank: Glyphs,
    start: str = "14+26",
    seed: int = 0,
    digits: int = 2,
) -> Panel:
    """Type a query, choose the handwriting of each of its characters or redraw them all: the model
    reads the pictures and answers.

    answer: uint8 images (1, 2·digits + 1, 1, 28, 28) → logits (1, digits + 1, 13); bank: the
    pictures to choose from, of test digits.
    """
    generator, length = torch.Generator().manual_seed(seed), 2 * digits + 1
    box = ipywidgets.Text(
        value=start, description="Query", placeholder="for example 14+26", continuous_update=True
    )
    layout = {"width": f"{COLUMN - 8}px"}
    hands = {
        f"hand{k + 1}": ipywidgets.IntSlider(
            max=HANDS - 1, description=f"hand {k + 1}", layout=layout
        )
        for k in range(length)
    }
    for slider in hands.values():
        slider.style.description_width = "48px"
    button = ipywidgets.Button(
        description="Redraw all", tooltip="another picture of every character"
    )

    def redraw(_: ipywidgets.Button | None = None) -> None:
        for slider, hand in zip(
            hands.values(),
            torch.randint(HANDS, (length,), generator=generator).tolist(),
            strict=True,
        ):
            slider.value = hand

    def render(query: str, **chosen: int) -> tuple[bytes, str]:
        asked = parse(query, digits)
        tokens, hand = asked.tokens()[0], torch.tensor(list(chosen.values()))
        images = bank.images[bank.first[tokens] + hand % bank.count[tokens]]
        logits = applied(answer, images[None])[0].float().cpu()
        rows = [[pictures.enlarge(image, COLUMN) for image in images], _bars(logits)]
        return pictures.png(pictures.arrange(rows)), _verdict(asked, logits)

    redraw()
    button.on_click(redraw)
    rows = [ipywidgets.HBox([box, button]), ipywidgets.HBox(list(hands.values()))]
    return Panel(render, {"query": box, **hands}, "natural", rows=rows, name="handwritten")


def _bars(logits: Tensor) -> Sequence[np.ndarray]:
    """The probabilities of every character of one answer, from logits (L, 13)."""
    return [pictures.bars(p, NAMES, COLUMN, BARS) for p in logits.softmax(1)]


def _verdict(asked: Queries, logits: Tensor) -> str:
    p, best = logits.softmax(1).max(1)
    (query,), (said,), (right,) = (
        decode(asked.tokens()),
        decode(best[None]),
        decode(asked.answers()),
    )
    confidence = ", ".join(f"{value:.2f}" for value in p.tolist())
    ending = (
        "which is right." if said == right else f"but {query.replace(' ', '')} is {right.strip()}."
    )
    return f"{query.replace(' ', '')}: the model says '{said}' with p = {confidence} for its characters, {ending}"
