"""Handwritten-looking digits, 28×28, white ink on black: the built-in stand-in for MNIST.

Each class has several hands (`STYLES`), each a few control points. They are jittered, bent, slanted
and warped as writers would, joined by Catmull–Rom splines (Catmull & Rom 1974) and inked with a pen
of varying width. As in MNIST the ink fills a box of 20 pixels and its mass is centred.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .geometry import coverage, pixel_grid, rotate, strokes_distance, uniform
from .standin import CHUNK, StandIn, chunks, draw_labels

SIZE, BOX, CENTRE = (
    28,
    18.8,
    14.5,
)  # pixels: the picture; the box of the ink, 20 with its soft edge; the middle of pixel 14
SEGMENTS = 36  # straight pieces a digit is drawn with
WAVES = 4  # plane waves that make up the elastic warp

# How to read a hand: points "x,y" in the order of writing, x to the right, y down, the digit 100
# high. The pen runs smoothly through them; at "/" it turns a corner in the point before; at "|" it
# is lifted and a second stroke begins.
STYLES = {
    0: {
        "oval": "32,2 12,12 2,50 12,88 32,100 53,88 62,50 52,12 30,0",
        "round": "42,2 12,14 0,50 14,88 44,100 76,86 86,50 74,14 40,0",
        "narrow": "26,0 8,16 2,50 8,86 25,100 41,86 48,50 40,14 24,1",
        "tail inside": "48,8 26,2 6,26 2,62 18,96 42,94 60,66 60,30 46,8 28,10",
        "open top": "22,6 4,34 2,70 20,98 46,94 62,62 58,24 40,4 28,2",
        "pigtail": "62,2 32,4 6,38 8,82 36,100 62,76 62,34 42,10 18,4",
    },
    1: {
        "stick": "6,0 5,50 4,100",
        "long stick": "4,0 5,30 5,70 4,100",
        "flag": "6,15 19,0 / 19,50 18,100",
        "flag and foot": "6,18 24,0 / 24,50 24,98 | 6,99 24,98 44,98",
        "small flag": "7,11 16,0 / 15,50 14,100",
        "foot": "20,0 19,50 18,99 | 0,100 18,99 38,98",
    },
    2: {
        "angular": "4,22 18,3 42,2 54,20 46,46 22,76 0,98 / 32,97 66,98",
        "looped": "4,20 20,2 44,4 52,24 42,54 22,86 8,98 0,90 10,80 28,86 48,98 68,92",
        "big loop": "6,20 22,3 44,5 48,26 38,54 22,84 8,96 0,84 8,70 26,74 46,86 68,84",
        "round loop": "2,26 10,6 32,0 48,14 46,42 36,70 20,94 6,94 4,76 18,70 34,82 46,96 62,98",
        "wide loop": "8,22 28,2 52,4 62,24 52,52 32,82 14,96 0,88 14,76 40,82 64,92 92,88",
        "swan": "6,26 12,6 34,0 52,14 48,42 26,72 4,98 / 22,88 42,92 62,98",
        "curled top": "16,26 5,24 8,8 32,0 52,14 50,40 32,70 6,96 / 34,93 70,98",
        "flat": "0,14 24,0 56,6 64,28 42,58 6,94 / 36,92 76,92",
        "short tail": "8,16 24,2 44,8 50,28 44,56 30,82 12,98 0,88 8,72 26,74 42,92 54,96",
        "drop": "14,12 34,0 50,12 50,36 40,66 22,90 6,92 2,76 14,66 32,76 52,98",
        "upright": "8,16 26,0 38,16 36,50 27,84 10,97 1,86 14,74 36,86 60,94",
        "belly": "10,12 34,0 54,14 54,40 44,70 24,94 6,92 2,74 18,60 38,68 56,84 72,90",
        "thin neck": "4,12 18,0 30,10 26,50 14,94 / 32,93 60,88",
        "deep hook": "2,38 8,12 30,0 52,12 48,40 28,68 4,94 / 30,92 68,90",
        "plain": "6,10 30,0 48,14 46,40 26,72 2,98 / 30,99 56,96",
    },
    3: {
        "round": "4,12 22,0 46,6 50,26 38,42 18,48 / 42,52 58,70 48,92 24,100 0,90",
        "flat top": "4,3 28,2 54,2 / 40,20 22,42 / 44,46 58,66 50,90 24,100 0,92",
        "knot": "4,12 24,0 46,8 46,28 28,44 16,48 20,42 36,46 56,64 52,88 26,100 0,92",
        "shallow": "2,8 26,0 48,10 46,30 34,44 40,54 56,70 46,92 22,100 0,94",
        "big belly": "10,10 26,0 42,8 42,24 28,38 16,40 / 44,44 62,66 50,92 24,100 0,86",
        "small belly": "0,16 20,0 48,4 54,26 40,48 16,56 / 38,58 50,74 40,94 20,100 0,94",
        "steep": "2,6 22,0 38,12 32,34 14,46 / 38,54 44,74 30,94 2,100",
        "long tail": "16,10 40,0 56,14 44,36 24,48 / 46,56 50,74 32,92 0,100",
        "curled ends": "3,20 8,6 26,0 48,8 48,28 34,42 20,46 / 42,50 56,70 46,92 22,100 5,94 3,84",
    },
    4: {
        "open": "10,2 6,26 2,56 / 30,58 64,54 | 54,0 52,50 50,100",
        "open cup": "8,4 4,26 6,50 22,58 42,54 54,40 | 58,0 54,50 50,100",
        "closed": "46,0 22,32 0,64 / 34,66 70,64 | 46,0 46,50 46,100",
        "one stroke": "8,2 5,28 6,50 26,54 50,48 / 56,4 / 52,50 48,100",
        "wide": "14,0 8,20 0,42 / 34,46 74,40 | 60,4 56,50 50,100",
        "long leg": "6,2 3,20 2,38 / 24,43 54,38 | 54,0 51,50 48,100",
    },
    5: {
        "two strokes": "14,2 12,20 8,42 / 28,34 50,44 54,70 40,94 18,100 0,90 | 14,2 36,2 64,0",
        "one stroke": "60,2 38,2 16,4 / 14,22 8,44 / 30,38 50,48 54,72 38,95 18,100 0,92",
        "curved": "58,4 36,2 18,10 12,26 20,40 42,52 54,70 44,92 22,100 0,92",
        "small belly": "62,0 40,4 18,6 / 14,30 10,52 / 28,46 46,54 48,76 34,96 14,100 0,94",
        "slashed cap": "18,12 14,26 10,46 / 32,40 52,52 52,76 36,96 16,100 0,88 | 18,12 38,8 66,2",
        "big belly": "12,3 10,20 8,38 / 30,30 54,42 60,66 48,92 24,100 2,90 | 12,3 36,2 62,1",
        "curled end": "62,0 40,2 20,4 / 16,22 10,40 / 34,38 52,54 50,80 32,98 12,96 8,82",
        "loose cap": "12,10 10,26 10,44 / 32,40 50,50 52,74 38,94 18,100 0,92 | 26,4 46,2 66,0",
    },
    6: {
        "curl": "46,0 24,18 8,44 2,72 12,94 32,100 50,88 52,68 38,56 18,62 4,80",
        "straight": "32,0 16,30 4,66 10,92 28,100 46,90 48,70 34,60 16,66 6,82",
        "big belly": "50,0 26,12 8,40 2,68 10,92 34,100 56,86 56,64 38,53 16,62 4,78",
        "small belly": "28,0 12,26 4,54 2,80 12,98 30,98 40,84 34,68 18,68 4,80",
        "open": "52,0 26,14 8,42 2,70 14,96 36,98 54,82 50,64 32,60 12,74",
        "upright": "12,0 4,34 4,68 14,94 38,100 58,86 58,66 40,56 20,64 8,82",
        "lying": "50,2 24,16 4,44 0,74 16,98 46,98 74,82 72,62 48,58 24,72 10,90",
        "low loop": "24,0 10,34 2,70 8,96 30,98 40,84 28,73 6,84",
        "spiral": "16,0 2,40 4,76 24,100 56,92 68,68 54,54 32,62 22,80",
        "inner curl": "40,0 18,24 4,54 4,84 22,100 44,92 52,72 42,58 24,62 18,80",
    },
    7: {
        "plain": "0,6 28,4 58,2 / 42,34 30,66 22,100",
        "crossed": "0,6 28,4 58,2 / 44,34 32,66 24,100 | 14,54 34,50 56,46",
        "serif": "2,20 4,4 / 30,5 58,2 / 42,40 30,70 26,100",
        "curved": "0,12 14,2 34,8 54,2 / 46,26 32,56 26,100",
        "rounded": "0,10 22,2 48,2 56,14 48,40 36,70 30,100",
        "serif crossed": "5,16 5,6 / 30,6 62,3 / 44,36 30,66 22,100 | 16,56 36,52 54,52",
        "steep": "0,30 3,10 / 28,5 52,6 / 48,50 44,100",
        "bowl": "1,4 8,14 28,14 56,2 / 42,36 30,66 22,100",
    },
    8: {
        "figure": "46,12 26,0 8,10 10,30 30,46 50,64 52,86 28,100 4,88 8,66 28,48 46,30 46,12",
        "slim": "38,10 23,0 8,12 10,32 25,50 38,68 36,90 20,100 4,88 8,68 23,50 38,30 38,10",
        "two rings": "30,46 10,36 8,12 28,0 48,10 48,34 30,46 8,58 2,82 26,100 52,88 52,62 30,46",
        "open top": "52,8 30,0 10,10 14,32 36,50 50,72 42,94 20,100 4,86 10,66 32,46 50,24 54,4",
        "big belly": "44,12 28,0 12,10 12,26 32,42 56,62 52,90 28,100 4,90 4,66 26,42 46,28 44,12",
        "big head": "54,18 32,0 6,10 6,36 30,54 46,72 42,92 26,100 12,92 10,76 28,54 52,38 54,18",
        "tails": "58,16 38,2 14,6 10,26 30,46 44,66 42,90 24,100 10,88 16,68 36,44 64,2",
        "straight return": "50,14 30,0 10,10 12,30 32,46 48,66 44,92 22,100 6,86 12,70 34,44 56,10",
        "long tail": "62,10 38,2 14,12 14,32 34,50 46,68 40,92 18,100 4,86 12,68 34,48 74,6",
        "gap": "46,26 50,8 30,0 10,12 14,32 34,50 48,70 40,94 18,100 4,84 14,64 36,44",
        "slim foot": "56,18 34,0 8,10 10,32 28,50 38,72 34,94 21,100 9,90 14,70 32,50 54,36 56,18",
        "fish": "60,14 36,0 8,14 14,34 38,50 42,76 28,98 12,90 14,72 36,50 66,22",
        "small foot": "56,10 30,2 8,16 20,38 40,58 40,86 24,100 10,86 20,62 46,34 60,6",
        "wide": "66,16 38,2 10,12 12,34 40,48 66,64 66,88 36,100 6,88 8,66 38,48 68,34 64,12",
    },
    9: {
        "straight": "46,10 24,0 6,14 4,38 20,48 40,38 47,10 / 47,50 46,100",
        "diagonal": "48,12 28,0 8,12 4,34 20,44 40,34 49,10 / 42,50 26,100",
        "curly": "46,12 26,0 8,14 6,38 22,48 42,36 48,12 50,40 46,76 32,97 8,92",
        "curved": "48,14 30,0 10,10 4,32 18,46 38,38 48,14 46,44 38,76 30,100",
        "long leg": "36,8 20,0 6,10 4,26 16,34 32,26 38,6 / 38,50 38,100",
        "big head": "54,16 30,0 6,14 4,42 24,56 46,44 54,16 / 52,50 44,100",
        "open head": "46,6 22,4 4,22 8,44 28,44 44,28 52,4 / 50,50 46,100",
        "wide head": "60,14 36,2 10,10 0,32 16,46 44,36 62,10 / 60,50 54,100",
        "short leg": "58,20 36,0 8,10 2,40 18,60 44,52 60,20 / 60,60 56,100",
        "flat head": "64,12 32,4 2,22 4,44 28,46 58,20 64,8 / 61,60 60,100",
        "hook head": "54,4 30,2 8,16 8,36 28,42 50,30 52,14 / 50,56 40,100",
        "low head": "44,18 24,6 6,24 6,50 24,58 42,44 50,0 / 50,50 46,100",
    },
}


def catmull_rom(points: Tensor, spans: list[int]) -> Tensor:
    """The curve through points (K, D), with spans[k] pieces in span k → (1 + Σ spans, D).

    It is linear in the points.
    """
    p = torch.cat([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    curve = [points[:1]]
    for k, pieces in enumerate(spans):
        t = torch.linspace(0, 1, pieces + 1)[1:, None]
        a, b, c, d = p[k : k + 4]
        curve.append(
            b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
        )
    return torch.cat(curve)


def read_hand(text: str) -> tuple[Tensor, Tensor, Tensor]:
    """A hand of `STYLES` as points (C, 2), the stroke of each (C,), and a matrix (C, 2·SEGMENTS).

    The matrix turns points into the starts and then the ends of the segments, so that a batch in
    mixed hands is one product.
    """
    points, strokes, arcs = [], [], []
    for number, stroke in enumerate(text.split("|")):
        corner = []
        for arc in stroke.split("/"):
            new = [[float(v) for v in point.split(",")] for point in arc.split()]
            arcs.append(corner + list(range(len(points), len(points) + len(new))))
            points, strokes, corner = (
                points + new,
                strokes + [number] * len(new),
                [len(points) + len(new) - 1],
            )
    points = torch.tensor(points)
    lengths = torch.cat([(points[arc[1:]] - points[arc[:-1]]).norm(dim=1) for arc in arcs])
    pieces = torch.ones(len(lengths), dtype=torch.int64)
    for _ in range(SEGMENTS - len(lengths)):  # the next segment goes where the segments are longest
        pieces[(lengths / pieces).argmax()] += 1
    spans = pieces.split([len(arc) - 1 for arc in arcs])
    curves = [
        catmull_rom(torch.eye(len(points))[arc], span.tolist())
        for arc, span in zip(arcs, spans, strict=True)
    ]
    weights = torch.cat([curve[:-1] for curve in curves] + [curve[1:] for curve in curves])
    return points / 50 - torch.tensor([0.5, 1.0]), torch.tensor(strokes), weights.T


class Hands(NamedTuple):
    """All hands as read_hand gives them, padded to one length.

    Also how many hands each class has, and the row of its first one.
    """

    points: Tensor
    strokes: Tensor
    weights: Tensor
    count: Tensor
    first: Tensor


def read_hands(styles: dict[int, dict[str, str]]) -> Hands:
    """The tables of `styles`, class → name → hand, for classes 0, 1, …."""
    tables = zip(
        *(read_hand(hand) for hands in styles.values() for hand in hands.values()), strict=True
    )
    count = torch.tensor([len(hands) for hands in styles.values()])
    return Hands(
        *(torch.nn.utils.rnn.pad_sequence(table, batch_first=True) for table in tables),
        count,
        count.cumsum(0) - count,
    )


HANDS = read_hands(STYLES)


def draw_factors(
    labels: Tensor, generator: torch.Generator, hands: Hands = HANDS
) -> dict[str, Tensor]:
    """Random factors of how each digit is written, (N,) each; units as in `digits`."""
    n = len(labels)

    def normal(mean: float, std: float) -> Tensor:
        return torch.randn(n, generator=generator).clamp(-2.5, 2.5) * std + mean

    return {
        "style": (torch.rand(n, generator=generator) * hands.count[labels]).floor(),
        "slant": normal(0.15, 0.18),
        "rotation": normal(0.0, 0.08),
        "aspect": normal(0.1, 0.15).exp(),
        "taper": normal(0.0, 0.12),
        "bend": normal(0.0, 0.08),
        "waist": normal(0.0, 0.1),
        "wobble": uniform(n, 0.01, 0.055, generator),
        "elastic": uniform(n, 0.0, 0.1, generator),
        "size": normal(1.0, 0.03),
        "stroke_width": normal(0.88, 0.28).exp().clamp(1.3, 3.8),
        "pressure": uniform(n, 0.0, 0.35, generator),
        "softness": uniform(n, 0.5, 0.8, generator),
        "ink": uniform(n, 0.97, 1.4, generator),
    }


def write(
    labels: Tensor, factors: dict[str, Tensor], generator: torch.Generator, hands: Hands = HANDS
) -> Tensor:
    """The path of the pen in half heights of a digit, (N, 2·SEGMENTS, 2).

    First the starts and then the ends of its segments.
    """
    n = len(labels)

    def normal(*shape: int) -> Tensor:
        return torch.randn(n, *shape, generator=generator).clamp(-2, 2)

    f = {name: value[:, None] for name, value in factors.items()}
    points, stroke, weights = (
        table[hands.first[labels] + factors["style"].long()] for table in hands[:3]
    )
    jitter = (
        normal(points.shape[1], 2) + 0.8 * normal(1, 2) * (stroke > 0)[..., None]
    )  # a lifted pen lands a little off
    x, y = (weights.transpose(1, 2) @ (points + f["wobble"][..., None] * jitter)).unbind(-1)
    y = y + f["waist"] * (1 - y**2)
    x = f["aspect"] * (x * (1 + f["taper"] * y) + f["bend"] * y**2)
    path = torch.stack([x, y], dim=-1)
    phase = uniform(n * WAVES, 0, 2 * torch.pi, generator).reshape(n, 1, WAVES)
    waves = (path @ (1.6 * normal(2, WAVES)) + phase).sin() @ normal(
        WAVES, 2
    )  # a smooth random field of displacements
    x, y = (path + 0.9 * f["elastic"][..., None] * waves).unbind(-1)
    return rotate(torch.stack([x - f["slant"].tan() * y, y], dim=-1), factors["rotation"])


def place(
    path: Tensor, radius: Tensor, size: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Starts and ends (N, SEGMENTS, 2) of the segments in pixels, where MNIST places digits.

    The ink lies in a box, and its centre of mass is in the middle of the picture.
    """
    extent = (path.amax(1) - path.amin(1)).amax(1)
    a, b = (path * ((size * BOX - 2 * radius.mean(1)) / extent)[:, None, None]).chunk(2, dim=1)
    mass = (b - a).norm(dim=-1) * radius
    centre = ((a + b) / 2 * mass[..., None]).sum(1) / mass.sum(1, keepdim=True)
    # MNIST moves its digits by whole pixels, which leaves up to half a pixel to chance.
    shift = CENTRE - centre + torch.rand(centre.shape, generator=generator) - 0.5
    return a + shift[:, None], b + shift[:, None]


def render(
    labels: Tensor,
    factors: dict[str, Tensor],
    generator: torch.Generator,
    n: int,
    hands: Hands = HANDS,
) -> Tensor:
    """The first `n` of the digits described by `factors`, uint8 (n, 1, SIZE, SIZE)."""
    f = {name: value[:, None] for name, value in factors.items()}
    path = write(labels, factors, generator, hands)
    pace, phase = (
        uniform(len(labels), 0, high, generator)[:, None] for high in (0.25, 2 * torch.pi)
    )
    pressure = 1 + f["pressure"] * (pace * torch.arange(SEGMENTS) + phase).sin()
    ragged = 1 + 0.06 * torch.randn(pressure.shape, generator=generator).clamp(-2, 2)
    radius = f["stroke_width"] / 2 * pressure * ragged
    a, b = place(path, radius, factors["size"], generator)
    distance = strokes_distance((pixel_grid(n, SIZE) + 1) * (SIZE / 2), a[:n], b[:n], radius[:n])
    ink = (coverage(distance, f["softness"][:n]) * f["ink"][:n]).clamp(0, 1)
    return (ink * 255).round().to(torch.uint8).reshape(n, 1, SIZE, SIZE)


def digits(n: int, seed: int = 0, labels: Tensor | None = None) -> StandIn:
    """`n` digits, images uint8 (n, 1, 28, 28), with the labels asked for or uniform random ones.

    Factors: style (place in STYLES[label]); slant, to the right, and rotation, clockwise, in
    radians; stroke_width and softness (half the edge) in pixels; aspect (width factor), taper
    (bottom wider than top), bend (sideways bow), waist (middle moved down), wobble (noise of the
    points) and elastic (smooth warp) in half heights of a digit; size, ink and pressure (how much
    the width varies) as shares. Raises ValueError for n < 1 or labels that are not n whole numbers
    from 0 to 9.
    """
    labels = draw_labels(n, seed, labels)
    images, factors = [], []
    for part, generator in chunks(n, seed):
        wanted = labels[part]
        # Chance is drawn for a full chunk, whatever is asked of it, so that a small set is the
        # beginning of a large one.
        whole = torch.cat([wanted, wanted.new_zeros(CHUNK - len(wanted))])
        drawn = draw_factors(whole, generator)
        images.append(render(whole, drawn, generator, len(wanted)))
        factors.append({name: value[: len(wanted)] for name, value in drawn.items()})
    return StandIn(
        torch.cat(images),
        labels,
        {name: torch.cat([f[name] for f in factors]) for name in factors[0]},
    )
