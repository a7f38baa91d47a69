"""Panels for sequence models: type digits, or a query, and watch what a trained model does."""

import re
from collections.abc import Callable
from functools import partial

import ipywidgets
import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from labkit.data.arithmetic import SYMBOLS, Glyphs, Queries, decode, parse
from labkit.data.palindromes import one_hot
from labkit.widgets import canvas
from labkit.widgets.panel import Panel, Unfinished, applied, row

Encoding = Callable[[Tensor], Tensor]
NAMES = [*SYMBOLS[:-2], "−", "blank"]
COLUMN, BARS = 168, 220  # pixels: width of a character of the answer, height of its bars
HANDS, HAND = 100, 84  # pictures of a symbol to choose from, pixels of one
HISTORY, UNITS, MEANS = 240, 150, 58  # pixels: width of a gate's history, height of its two parts
COLUMNS = 20  # digits that fit before columns become narrower, so that they stay in their places
GATES = {"i": "input gate i", "f": "forget gate f", "o": "output gate o", "c": "cell state c"}


def palindrome_gates(network: nn.Module, start: str, encoding: Encoding = one_hot) -> Panel:
    """Type digits: the gates of an LSTM over time, and the digit that it predicts next.

    network: a `labkit.models.LSTM` trained on palindromes in this encoding of
    `labkit.data.palindromes`. The order of the units, and the colours of the cell state, are those
    for `start` and stay. Raises ValueError if `start` is anything but 1 to 99 digits.
    """
    box = ipywidgets.Text(start, description="Digits read", placeholder="for example 1232")
    cell = _trace(network, _digits(start), encoding).c
    order, limit = (-cell[-1].abs()).argsort(), max(1.0, float(cell.abs().max()))
    render = partial(gates, network, encoding=encoding, order=order, limit=limit)
    return Panel(render, {"digits": box}, name="palindrome-gates")


def gates(
    network: nn.Module, digits: str, encoding: Encoding, order: Tensor, limit: float
) -> tuple[list[bytes], str]:
    """PNGs of the gates and the prediction, which is in words too, after 1 to 99 digits.

    Units stand in this `order`; colours of the cell state reach from −limit to limit. Raises
    ValueError for anything but digits.
    """
    digits = _digits(digits)
    trace = _trace(network, digits, encoding)
    p, first = network.read_out(trace.h[-1:]).softmax(1)[0].detach(), int(digits[0])
    pictures = [
        _history(getattr(trace, gate)[:, order], name, digits, limit if gate == "c" else 0)
        for gate, name in GATES.items()
    ]
    bars = canvas.bars(p, (), HISTORY, UNITS + MEANS, asked=first)
    pictures.append(canvas.captioned(bars, f"the next digit (green: {first}, read first)"))
    best = int(p.argmax())
    ending = "the first digit, as in a palindrome"
    if best != first:
        ending = f"not the first digit, which was {first}"
    sentence = f"After {digits} the model predicts {best} with p = {p[best]:.3f}: {ending}."
    return [canvas.png(picture) for picture in pictures], sentence


def _digits(typed: str) -> str:
    digits = typed.replace(" ", "")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 99:
        kind = ValueError if digits else Unfinished
        raise kind(f"Type 1 to 99 digits and nothing else, for example 1232; got {digits!r}")
    return digits


def _trace(network: nn.Module, digits: str, encoding: Encoding) -> tuple[Tensor, ...]:
    with torch.no_grad():
        trace = network.trace(encoding(torch.tensor([[*map(int, digits)]])))
    return type(trace)(*(part[0] for part in trace))


def _history(values: Tensor, name: str, digits: str, limit: float) -> np.ndarray:
    """Values (T, H) as colours, units × time, from −limit to limit or 0 to 1, above their mean."""
    d, columns, high = canvas.DENSITY, max(COLUMNS, len(digits)), limit or 1
    wide = d * HISTORY // columns
    shares = (values / high + bool(limit)) / (1 + bool(limit))
    colours = matplotlib.colormaps["RdBu_r" if limit else "viridis"]
    lut = (255 * colours(np.linspace(0, 1, 256))[:, :3]).astype(np.uint8)
    rows = torch.arange(d * UNITS) * len(values.T) // (d * UNITS)  # the unit at each pixel
    cells = lut[(255 * shares.clamp(0, 1)).byte().numpy().T[rows]].repeat(wide, axis=1)
    whole = np.full((d * (canvas.LINE + UNITS + MEANS + 18), d * HISTORY, 3), 255, np.uint8)
    whole[d * canvas.LINE :][: d * UNITS, : cells.shape[1]] = cells
    key = slice(d * (HISTORY - 84), d * (HISTORY - 36))
    whole[d * 5 : d * 15, key] = lut[np.linspace(0, 255, 48 * d).astype(int)]
    picture = Image.fromarray(whole)
    draw, small = ImageDraw.Draw(picture), dict(fill=canvas.INK, font=canvas.font(11))
    draw.text((0, d * 10), name, fill=canvas.INK, font=canvas.font(13, bold=True), anchor="lm")
    low = f"−{limit:.1f}" if limit else "0"
    draw.text((d * (HISTORY - 88), d * 10), low, anchor="rm", **small)
    draw.text((d * (HISTORY - 32), d * 10), f"{high:.1f}" if limit else "1", anchor="lm", **small)
    foot = d * (canvas.LINE + UNITS + MEANS)
    what = "mean of |c| over the units" if limit else "mean over the units"
    draw.text((0, foot - d * (MEANS - 9)), what, anchor="lm", **small)
    means = (values.abs().mean(1) / high).clamp(0, 1).tolist()
    every = -(-12 * d // wide)  # more digits than this would touch
    for t, (mean, digit) in enumerate(zip(means, digits, strict=True)):
        top = foot - mean * d * (MEANS - 18)
        draw.rectangle((t * wide, top, (t + 1) * wide - d, foot), fill=canvas.BLUE)
        if t % every == 0:
            draw.text(((t + 0.5) * wide, foot + 9 * d), digit, anchor="mm", **small)
    return np.asarray(picture)


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
    generator, length = torch.Generator().manual_seed(seed), 2 * digits + 1
    query = ipywidgets.Text(start, description="Query", placeholder="for example 14+26")
    hands = {f"hand{k}": ipywidgets.IntSlider(max=HANDS - 1) for k in range(1, length + 1)}
    button = ipywidgets.Button(description="Redraw all", tooltip="every character anew")

    def redraw(_: ipywidgets.Button | None = None) -> None:
        for hand in hands.values():
            hand.value = torch.randint(HANDS, (), generator=generator).item()

    def step(hand: ipywidgets.IntSlider, by: int) -> None:
        hand.value = (hand.value + by) % HANDS

    def render(query: str, **chosen: int) -> tuple[list[bytes], str]:
        asked = _asked(query, digits)
        tokens, hand = asked.tokens()[0], torch.tensor(list(chosen.values()))
        images = bank.images[bank.first[tokens] + hand % bank.count[tokens]]
        pictures, sentence = _answered(asked, applied(answer, images[None]))
        return [*(canvas.png(canvas.enlarge(image, HAND)) for image in images), *pictures], sentence

    def place(images: list[ipywidgets.Image]) -> list[ipywidgets.Widget]:
        columns = []
        for k, (image, hand) in enumerate(zip(images, hands.values(), strict=False), 1):
            buttons = []
            for name, by, which in (("◀", -1, "previous"), ("▶", 1, "next")):
                tip = f"character {k}: the {which} handwriting"
                buttons.append(ipywidgets.Button(description=name, tooltip=tip))
                buttons[-1].on_click(lambda _, hand=hand, by=by: step(hand, by))
            columns.append(ipywidgets.VBox([image, row(*buttons)]).add_class("labkit-hand"))
        return [
            row(query, button),
            row(*columns, name="hands"),
            row(*images[length:], name="answer"),
        ]

    redraw()
    button.on_click(redraw)
    return Panel(render, {"query": query, **hands}, name="handwritten", place=place)


def _asked(query: str, digits: int) -> Queries:
    """The query that was typed. Raises ValueError, an Unfinished one if more may make it right."""
    number = f"[0-9]{{1,{digits}}}"
    if re.fullmatch(f"({number}([+−–-]({number})?)?)?", query.replace(" ", "")) and not (
        query.strip()[-1:].isdigit() and re.search("[+−–-]", query)
    ):
        raise Unfinished(
            f"Type two whole numbers with + or − between them, such as {'9' * digits}+1."
        )
    return parse(query, digits)


def _answered(asked: Queries, logits: Tensor) -> tuple[list[bytes], str]:
    """Question and answer as PNG, bars of each character from logits (1, L, 13), and in words."""
    probabilities = logits[0].float().cpu().softmax(1)
    p, best = probabilities.max(1)
    tokens = asked.tokens(), best[None], asked.answers()
    query, said, right = (decode(part)[0] for part in tokens)
    query = query.replace(" ", "")
    confidence = ", ".join(f"{value:.2f}" for value in p.tolist())
    ending = "which is right." if said == right else f"but {query} is {right.strip()}."
    sentence = (
        f"{query}: the model says '{said}' with p = {confidence} for its characters, {ending}"
    )
    verdict = "✔" if said == right else f"✘ (it is {right.strip()})"
    width = canvas.DENSITY * (len(p) * COLUMN + (len(p) - 1) * 10)
    whole = f"{query} = {said.strip()} {verdict}".replace("-", "−")
    parts = [canvas.caption((whole,), width, 24)]
    for k, shares in enumerate(probabilities):
        column = canvas.bars(shares, NAMES, COLUMN, BARS, asked=int(tokens[2][0, k]))
        parts.append(canvas.captioned(column, f"character {k + 1}: {NAMES[best[k]]}"))
    return [canvas.png(part) for part in parts], sentence
