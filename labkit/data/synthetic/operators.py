"""Handwritten-looking + and −, 28×28, white ink on black, written with the pen of `digits`."""

import torch

from .digits import draw_factors, read_hands, render
from .geometry import uniform
from .standin import CHUNK, StandIn, chunks, draw_labels, one_thread

# Hands as in digits.STYLES, the sign 100 wide. Class 0 is plus, class 1 minus.
STYLES = {
    0: {
        "plain": "50,0 50,50 50,100 | 0,50 50,50 100,50",
        "low bar": "48,0 50,50 52,100 | 2,60 50,58 98,57",
        "high bar": "52,0 50,50 47,100 | 4,40 50,40 96,38",
        "short bar": "50,0 49,50 50,100 | 16,52 50,50 86,48",
        "short stem": "50,14 51,50 50,86 | 0,52 50,50 100,49",
        "rising bar": "50,2 50,50 48,100 | 2,60 50,50 100,38",
        "bowed": "46,0 54,50 48,100 | 2,46 50,55 98,46",
        "one stroke": "52,0 51,50 48,94 34,92 10,62 14,52 54,50 100,47",
        "corner turned": "50,0 50,50 50,98 / 28,76 4,53 / 50,51 100,48",
        "hooked stem": "44,6 51,2 51,50 50,98 | 2,53 50,50 97,50",
        "off centre": "58,0 58,50 57,100 | 0,52 50,50 100,50",
    },
    1: {
        "plain": "0,50 50,50 100,50",
        "rising": "0,57 50,51 100,42",
        "falling": "0,44 50,49 100,56",
        "wave": "0,54 28,45 70,55 100,46",
        "arch": "0,57 50,46 100,56",
        "sag": "0,46 50,55 100,45",
        "hooked": "4,60 3,50 50,50 100,47",
        "tick": "0,50 50,51 93,49 100,58",
    },
}
HANDS = read_hands(STYLES)


@one_thread()
def operators(n: int, seed: int = 0, labels: torch.Tensor | None = None) -> StandIn:
    """`n` signs + (label 0) or − (label 1), as asked for or uniform: uint8 (n, 1, 28, 28).

    Factors as of `digits`; size is the longer side as a share of the box that digits fill, 0.6 to
    1, because a sign is written smaller than a digit. Raises ValueError for n < 1 or labels that
    are not n numbers of 0 and 1.
    """
    labels = draw_labels(n, seed, labels, classes=2)
    images, factors = [], []
    for part, generator in chunks(n, seed):
        wanted = labels[part]
        whole = torch.cat(
            [wanted, wanted.new_zeros(CHUNK - len(wanted))]
        )  # chance for a full chunk: a small set begins a large one
        drawn = draw_factors(whole, generator, HANDS)
        drawn["size"] = uniform(CHUNK, 0.6, 1.0, generator)
        images.append(render(whole, drawn, generator, len(wanted), HANDS))
        factors.append({name: value[: len(wanted)] for name, value in drawn.items()})
    return StandIn(
        torch.cat(images),
        labels,
        {name: torch.cat([f[name] for f in factors]) for name in factors[0]},
    )
