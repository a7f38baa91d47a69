"""Drawn clothing: the built-in stand-in for Fashion-MNIST (Xiao, Rasul & Vollgraf 2017).

A style gives ranges for the measures of its class's pattern (patterns.py); an image draws its own
measures from them.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from labkit.data.synthetic.geometry import elastic_warp, pixel_grid, smooth_noise
from labkit.data.synthetic.patterns import (
    DRAWS,
    PRINTS,
    SIZE,
    Dice,
    bag,
    fabric,
    sandal,
    shoe,
    trousers,
    upper_body,
)
from labkit.data.synthetic.standin import CHUNK, StandIn, chunks, draw_labels, one_thread

FACTORS = ("style", "brightness", "texture", "print", "width", "length", "sleeve", "heel", "handle")

# A measure is a range (low, high), or the chance (one number) that a detail is there.
UPPER = dict(
    neck=(3.8, 5.2), rise=(0, 0.3), slope=(1.6, 2.8), shoulder=(7.4, 8.6), chest=(6, 7.2),
    waist=(0.93, 1), hem=(0.95, 1.06),
    bottom=(27, 28), tail=(0, 0.6), sleeve=(6, 8.5), angle=(0.4, 0.65), bulge=(0, 0.8),
    cuff=(4.2, 5.4), depth=(1, 3), front=(0, 0),
    vee=0.2, collar=0.0, hood=0.0, buttons=0.0, open=0.0, rib=0.15, graphic=0.4, pocket=0.1,
    belt=0.0,
)  # fmt: skip
LONG = dict(
    bottom=(24, 28),
    sleeve=(22.5, 24.5),
    angle=(0.04, 0.14),
    bulge=(0.6, 1.8),
    cuff=(2.6, 3.4),
    graphic=0.2,
)
NONE = dict(sleeve=(0, 0), bulge=(0, 0), cuff=(0, 0), angle=(0, 0))
DRESS = UPPER | dict(
    neck=(2.6, 3.8), slope=(0.8, 2), shoulder=(4, 5.4), chest=(3.8, 5.2), waist=(0.8, 1),
    hem=(0.95, 1.45), bottom=(28, 28), tail=(0, 1.5),
    sleeve=(3, 6), angle=(0.3, 0.6), bulge=(0, 0.5), cuff=(2.4, 3.4), depth=(1, 4), vee=0.3,
    rib=0.05, graphic=0.0, pocket=0.0, belt=0.35,
)  # fmt: skip
COAT = UPPER | LONG | dict(
    neck=(2.8, 4.2), rise=(1, 2.2), slope=(2, 3.4), shoulder=(7, 8.4), chest=(6.2, 7.6),
    bottom=(20.5, 27), cuff=(2.8, 3.8), depth=(0, 2),
    front=(28, 28), vee=0.6, collar=0.7, rib=0.3, graphic=0.05, pocket=0.5, belt=0.1,
)  # fmt: skip
SHIRT = UPPER | dict(
    neck=(2.8, 3.8), rise=(0.8, 1.8), slope=(1.8, 3), shoulder=(6.8, 8.2), chest=(6.2, 7.4),
    waist=(0.9, 1), hem=(0.98, 1.1), tail=(0, 3),
    depth=(0.8, 2.5), front=(28, 28), vee=0.7, collar=0.9, buttons=0.8, rib=0.0, graphic=0.05,
    pocket=0.3,
)  # fmt: skip
TROUSERS = dict(
    waist=(4.2, 5.2),
    hip=(5, 6),
    knee=(4.4, 5.4),
    ankle=(4, 5),
    gap=(0.7, 1.6),
    crotch=(8, 10.5),
    bow=(0, 0.5),
)
SANDAL = dict(
    heel=(0, 0.4),
    sole=(0.8, 2.4),
    thick=(4, 7),
    wedge=0.0,
    span=(3, 8),
    peak=(2, 4),
    ankle=0.25,
    cage=0.1,
    mule=0.05,
)
SHOE = dict(
    heel=(0, 0.4), sole=(1.6, 3.2), thick=(4, 7), wedge=0.0, toe=(2.4, 3.4), instep=(4.5, 6.5),
    throat=(12.5, 15.5), top=(7, 9.5),
    lean=(1, 2.6), dip=(1.2, 3), back=(0, 1.5), laces=0.7, stripes=0.5,
)  # fmt: skip
BOOT = SHOE | dict(
    heel=(0.5, 3),
    sole=(1, 2.2),
    top=(10, 14),
    instep=(6, 8),
    lean=(0, 1.6),
    dip=(-0.6, 0.8),
    laces=0.3,
    stripes=0.0,
)
BAG = dict(
    top=(10, 14), base=(10, 14), body=(15, 22), corner=(0.3, 3), handle=(4, 12), span=(4, 8),
    power=(0.9, 1.4),
    flap=0.3, strap=0.2, clasp=0.4,
)  # fmt: skip


class Kind(NamedTuple):
    """A class of clothing: its pattern, its measures and its styles.

    brightness: (low, high) of white; printed: the chance of a print; styles: name → (weight,
    changes of the measures).
    """

    name: str
    cut: Callable
    measures: dict
    brightness: tuple[float, float]
    printed: float
    styles: dict[str, tuple[float, dict]]


KINDS = (
    Kind("T-shirt/top", upper_body, UPPER, (0.17, 0.92), 0.22, {
        "tee": (50, {}),
        "polo": (12, dict(neck=(3, 4), rise=(0.4, 1.2), front=(7, 10), collar=0.9, vee=0.6,
            buttons=0.5, graphic=0.15)),
        "fitted": (16, dict(shoulder=(6.4, 7.6), chest=(5.6, 7), sleeve=(3, 6), cuff=(3, 4),
            waist=(0.86, 1), hem=(1, 1.1), depth=(2, 5))),
        "long sleeve": (8, dict(sleeve=(13, 19), angle=(0.15, 0.3), cuff=(3, 4),
            shoulder=(6.6, 7.8), depth=(2, 4), hem=(1, 1.15))),
        "tank": (14, NONE | dict(neck=(4, 5), slope=(0.2, 1), shoulder=(5, 6.2), chest=(5.6, 7.2),
            depth=(4, 8), hem=(1, 1.2))),
    }),
    Kind("Trouser", trousers, TROUSERS, (0.4, 0.93), 0.06, {
        "straight": (45, {}),
        "skinny": (15, dict(waist=(3.6, 4.5), hip=(4.4, 5.2), knee=(3.7, 4.5), ankle=(3.3, 4),
            gap=(0.6, 1.5))),
        "bent knee": (20, dict(bow=(0.8, 3), gap=(1.2, 2.4))),
        "wide": (12, dict(waist=(4.8, 6.5), hip=(6, 8), knee=(6, 8), ankle=(5.5, 8),
            gap=(0.2, 0.8))),
        "flared": (8, dict(knee=(3.8, 4.6), ankle=(5, 7), gap=(0.3, 0.8), crotch=(7, 9))),
    }),
    Kind("Pullover", upper_body, UPPER | LONG | dict(rib=0.5, vee=0.0), (0.18, 0.93), 0.18, {
        "crew": (50, dict(depth=(0.8, 2))),
        "v-neck": (12, dict(vee=1.0, depth=(3, 6))),
        "hooded": (18, dict(rise=(2, 3.5), neck=(3.2, 4.2), hood=1.0, vee=0.5, depth=(1.5, 3.5))),
        "cropped": (12, dict(bottom=(20, 24))),
        "high neck": (8, dict(rise=(1, 2.2), neck=(2.6, 3.4), depth=(0, 0.2))),
    }),
    Kind("Dress", upper_body, DRESS, (0.3, 0.93), 0.35, {
        "short sleeve": (28, {}),
        "sleeveless": (37, NONE | dict(slope=(0.2, 1), depth=(2, 6), hem=(0.95, 1.9))),
        "long sleeve": (25, dict(sleeve=(10, 18), angle=(0.12, 0.28), cuff=(2, 2.8),
            shoulder=(4.2, 5.4), chest=(4, 5.2))),
        "gown": (10, NONE | dict(slope=(0.2, 1), neck=(1.6, 2.4), shoulder=(2.4, 3.2),
            chest=(2.4, 3.2), hem=(1, 1.7))),
    }),
    Kind("Coat", upper_body, COAT, (0.3, 0.92), 0.12, {
        "jacket": (50, {}),
        "long coat": (25, dict(sleeve=(18, 22), bottom=(28, 28), hem=(1, 1.25), shoulder=(5.6, 7),
            chest=(5, 6.4), buttons=0.5)),
        "hooded": (17, dict(rise=(2, 3.8), hood=1.0, collar=0.0)),
        "open": (8, dict(open=1.0, depth=(4, 10), bottom=(24, 28))),
    }),
    Kind("Sandal", sandal, SANDAL, (0.3, 0.85), 0.1, {
        "flat": (48, {}),
        "platform": (12, dict(sole=(2.5, 5), heel=(0, 2), wedge=1.0)),
        "wedge": (15, dict(heel=(4, 8), wedge=1.0, ankle=0.4, cage=0.15, mule=0.3)),
        "block heel": (13, dict(heel=(5, 11), sole=(1, 2.2), thick=(3, 6), span=(4, 11),
            peak=(3, 5.5), ankle=0.6, cage=0.25, mule=0.3)),
        "stiletto": (12, dict(heel=(9, 14), sole=(0.8, 1.6), thick=(0.8, 1.8), span=(4, 11),
            peak=(3, 5), ankle=0.7, cage=0.25, mule=0.2)),
    }),
    Kind("Shirt", upper_body, SHIRT, (0.15, 0.9), 0.3, {
        "button-down": (45, LONG | dict(bottom=(26.5, 28), sleeve=(20.5, 23.5), graphic=0.05)),
        "short sleeve": (20, {}),
        "blouse": (17, dict(sleeve=(12, 20), angle=(0.1, 0.3), cuff=(3, 5), collar=0.2,
            front=(0, 20), neck=(3.2, 5), rise=(0, 0.5))),
        "wide top": (10, UPPER | dict(graphic=0.1, sleeve=(4, 8), chest=(6.6, 8), rib=0.0)),
        "sleeveless": (8, NONE | dict(collar=0.3, rise=(0, 0.6), neck=(3, 4.5), shoulder=(5.2, 6.6),
            depth=(2, 5))),
    }),
    Kind("Sneaker", shoe, SHOE, (0.28, 0.88), 0.1, {
        "runner": (62, {}),
        "slip-on": (20, dict(top=(5.5, 7.5), sole=(1.4, 2.4), dip=(0.5, 1.6), laces=0.2,
            stripes=0.2)),
        "high-top": (15, dict(top=(10, 13), instep=(6, 8), dip=(0, 1), throat=(12, 14.5),
            stripes=0.3)),
    }),
    Kind("Bag", bag, BAG, (0.35, 0.92), 0.15, {
        "handbag": (40, {}),
        "tote": (15, dict(top=(9, 12), base=(7, 11), handle=(9, 15), span=(2.5, 5), body=(14, 20),
            flap=0.0)),
        "shoulder bag": (12, dict(top=(7, 10), handle=(10, 18), span=(6, 9), power=(1.2, 2),
            body=(10, 16), corner=(2, 6))),
        "clutch": (20, dict(top=(13, 14), base=(13, 14), body=(13, 19), handle=(0, 0), flap=0.6,
            corner=(0.3, 2))),
        "satchel": (13, dict(top=(11, 14), base=(11, 14), body=(20, 27), handle=(0, 2.5), strap=0.5,
            corner=(1, 4), flap=0.5)),
    }),
    Kind("Ankle boot", shoe, BOOT, (0.4, 0.95), 0.06, {
        "flat": (35, {}),
        "tall": (25, dict(heel=(1, 4), top=(15, 20), instep=(7, 9.5), lean=(-0.6, 1),
            sole=(1, 2.4))),
        "heeled": (30, dict(heel=(5, 10), top=(11, 16), instep=(6, 8.5), sole=(0.6, 1.6), laces=0.1,
            thick=(1.2, 6))),
        "low": (10, dict(heel=(0.8, 2.4), top=(8, 10.5), instep=(5, 7), lean=(0.5, 2), dip=(0, 1),
            back=(0, 1), sole=(1, 2))),
    }),
)  # fmt: skip


def measures(kind: Kind, dice: Dice) -> dict[str, Tensor]:
    """A style (its place among the kind's) and every measure of the pattern, (n,) each.

    A chance has become 0 or 1.
    """
    weights = torch.tensor([float(weight) for weight, _ in kind.styles.values()])
    style = torch.bucketize(dice.between(0, 1), (weights.cumsum(0) / weights.sum())[:-1])
    drawn = {"style": style.float()}
    for name, usual in kind.measures.items():
        options = torch.tensor([changes.get(name, usual) for _, changes in kind.styles.values()])[
            style
        ]
        drawn[name] = (
            dice.chance(options) if options.ndim == 1 else dice.between(*options.unbind(1))
        )
    return drawn


def sew(kind: Kind, p: Tensor, noise: Tensor, dice: Dice) -> tuple[Tensor, dict[str, Tensor]]:
    """Grey values (n, 784) of one kind of garment at the pixels p (n, 784, 2), and its factors."""
    low, high = kind.brightness
    brightness, texture = (
        low + (high - low) * dice.between(0, 1) ** 0.5,
        0.08 * dice.between(0, 1) ** 2,
    )
    pattern = (dice.chance(kind.printed) * dice.between(1, len(PRINTS) - 1e-3)).long()
    cloth = fabric(p, brightness, texture, pattern, noise, dice)
    m = measures(kind, dice)
    grey, lengths = kind.cut(p, m, cloth, noise, dice)
    scale = SIZE / torch.maximum(lengths["width"], lengths["length"])
    lengths = {name: length * scale for name, length in lengths.items()}
    return grey, lengths | dict(
        style=m["style"], brightness=brightness, texture=texture, print=pattern.float()
    )


@one_thread()
def garments(n: int, seed: int = 0, labels: Tensor | None = None) -> StandIn:
    """`n` garments of Fashion-MNIST's ten classes, light on black: uint8 (n, 1, 28, 28).

    Factors, float32 (n,): style (place in `KINDS[label].styles`), print (place in PRINTS),
    brightness and texture (share of white), and in pixels of the picture width, length, sleeve (0:
    none), heel and handle. The last three are NaN for garments that never have one. Raises
    ValueError for n < 1 or labels that are not n numbers from 0 to 9.
    """
    targets = draw_labels(n, seed, labels)
    grey, factors = (
        torch.zeros(n, SIZE * SIZE),
        {name: torch.full((n,), torch.nan) for name in FACTORS},
    )
    for rows, generator in chunks(n, seed):
        draws = torch.rand(CHUNK, DRAWS, generator=generator)
        noise = [torch.randn(CHUNK, SIZE * SIZE, generator=generator)]
        noise = torch.stack(
            noise + [smooth_noise(CHUNK, 1, SIZE, cells, generator).flatten(1) for cells in (9, 4)],
            1,
        )
        p = elastic_warp(
            (pixel_grid(CHUNK, SIZE) + 1) * (SIZE / 2), 0.05 + 0.25 * draws[:, -1], 4, generator
        )
        for label in targets[rows].unique().tolist():
            own = (targets[rows] == label).nonzero()[:, 0]
            grey[rows.start + own], drawn = sew(KINDS[label], p[own], noise[own], Dice(draws[own]))
            for name, values in drawn.items():
                factors[name][rows.start + own] = values
    return StandIn(
        (grey.clamp(0, 1) * 255).round().to(torch.uint8).view(n, 1, SIZE, SIZE), targets, factors
    )
