"""The five patterns of all drawn clothing: upper bodies, trousers, sandals, closed shoes and bags.

A pattern takes pixels p (n, 784, 2), its measures m, the cloth, noise and dice, and gives grey
values (n, 784) with the lengths it used. Lengths are pixels of the 28×28 frame, y downwards; a
garment is centred and fills the frame in its longer direction, and shoes point left, as in the real
set.
"""

import torch
from torch import Tensor

from labkit.data.synthetic.geometry import (
    coverage,
    ellipse_distance,
    polygon_distance,
    polyline_distance,
)

SIZE = 28
DRAWS = 96  # uniform numbers kept for an image: more than any pattern uses
PRINTS = ("plain", "horizontal stripes", "vertical stripes", "plaid", "dots", "blotches")


class Dice:
    """Uniform draws for n images, one column of (n, DRAWS) at a time.

    What an image draws depends on no other image.
    """

    def __init__(self, draws: Tensor):
        self.columns = iter(draws.unbind(1))

    def between(self, low: float | Tensor, high: float | Tensor) -> Tensor:
        return low + (high - low) * next(self.columns)

    def chance(self, p: float | Tensor) -> Tensor:
        """1 with probability p and else 0, (n,)."""
        return (next(self.columns) < p).float()


class Canvas:
    """Grey values (n, 784) of n images, painted layer by layer.

    `there` (n,) switches a layer on (1) or off (0).
    """

    def __init__(self, n: int):
        self.grey = torch.zeros(n, SIZE * SIZE)

    def paint(self, distance: Tensor, tone: Tensor, there: Tensor | None = None) -> None:
        """Cover the inside of a shape with tones (n, 1) or (n, 784)."""
        cover = coverage(distance, 0.5)
        self.grey = torch.lerp(
            self.grey, tone.expand_as(self.grey), cover if there is None else cover * there[:, None]
        )

    def tint(self, distance: Tensor, factor: Tensor, there: Tensor | None = None) -> None:
        """Multiply what lies inside a shape by a factor (n,)."""
        self.paint(distance, self.grey * factor[:, None], there)


def points(*xy: tuple[float | Tensor, float | Tensor]) -> Tensor:
    """Points from pairs of numbers or (n,) tensors, at least one of them a tensor, (n, V, 2)."""
    n = next(len(c) for pair in xy for c in pair if torch.is_tensor(c))
    return torch.stack(
        [
            torch.stack([torch.as_tensor(c, dtype=torch.float32).expand(n) for c in pair], -1)
            for pair in xy
        ],
        1,
    )


def ellipse(
    q: Tensor, x: float | Tensor, y: float | Tensor, rx: float | Tensor, ry: float | Tensor
) -> Tensor:
    """Distance from pixels q (n, P, 2) to ellipses of centre (x, y), radii (rx, ry) → (n, P)."""
    centre, radii = points((x, y), (rx, ry)).unbind(1)
    return ellipse_distance(q, centre, radii)


def box(
    q: Tensor, x: float | Tensor, y: float | Tensor, rx: float | Tensor, ry: float | Tensor
) -> Tensor:
    """Distance to a rectangle with centre (x, y) and half-sides (rx, ry) → (n, P)."""
    centre, radii = points((x, y), (rx, ry)).unbind(1)
    return ((q - centre[:, None]).abs() - radii[:, None]).amax(-1)


def within(*distances: Tensor) -> Tensor:
    """What lies inside all of the shapes: the largest of their distances (n, P)."""
    return torch.stack(torch.broadcast_tensors(*distances)).amax(0)


def mirror(q: Tensor) -> Tensor:
    """Pixels (n, P, 2) folded onto x ≥ 0, so that half a symmetric garment is enough."""
    return torch.stack([q[..., 0].abs(), q[..., 1]], -1)


def frame(p: Tensor, left: Tensor, right: Tensor, top: Tensor, bottom: Tensor) -> Tensor:
    """Pixels p (n, P, 2) in the coordinates of a garment with this bounding box, (n,) each.

    The garment is centred, and its longer side fills the frame.
    """
    size = torch.maximum(right - left, bottom - top)
    return (p - SIZE / 2) * (size / SIZE)[:, None, None] + points(
        ((left + right) / 2, (top + bottom) / 2)
    )


def accent(cloth: Tensor, dice: Dice, low: float, high: float) -> Tensor:
    """Factors (n,) for the tone of a detail on cloth (n, 784): between low and high.

    On dark cloth, where a darker detail would not show, it is their inverse.
    """
    factor = dice.between(low, high)
    return torch.where(cloth.mean(1) > 0.45, factor, 1 / factor)


def fabric(
    p: Tensor, brightness: Tensor, texture: Tensor, pattern: Tensor, noise: Tensor, dice: Dice
) -> Tensor:
    """Tones (n, 784) of cloth with creases, a grainy texture and one of PRINTS.

    noise (n, 3, 784) is fine, blotchy and wide.
    """
    (x, y), (fine, blotches, wide) = p.unbind(-1), noise.unbind(1)
    period, phase = dice.between(2.2, 5.5)[:, None], dice.between(0, 6.28)[:, None]
    across, down = torch.sin(y * 6.28 / period + phase), torch.sin(x * 6.28 / period + phase)
    inks = torch.stack(
        [
            torch.full_like(x, -9),
            across,
            down,
            torch.maximum(across, down),
            across * down * 2 - 0.8,
            blotches,
        ]
    )
    ink = (
        0.5 + 1.5 * (inks[pattern, torch.arange(len(p))] - dice.between(-0.5, 0.6)[:, None])
    ).clamp(0, 1)
    darker, lighter = (
        dice.between(0.15, 0.75) * brightness,
        brightness + dice.between(0.25, 1) * (1 - brightness),
    )
    tone = torch.lerp(
        brightness[:, None], torch.where(brightness > 0.5, darker, lighter)[:, None], ink
    )
    creases = wide + dice.between(0, 1)[:, None] * torch.sin(x * 6.28 / (period + 2) + 2 * wide)
    return tone * (1 + dice.between(0.01, 0.1)[:, None] * creases) + texture[:, None] * fine


def upper_body(
    p: Tensor, m: dict[str, Tensor], cloth: Tensor, noise: Tensor, dice: Dice
) -> tuple[Tensor, dict[str, Tensor]]:
    """Whatever hangs from the shoulders: sleeves, torso, neckline, and the details of the front.

    Measures are half-widths from the axis; `rise` is the height of collar or hood, `waist` and
    `hem` are shares of the chest, `angle` is that of the sleeve from the vertical in radians,
    `front` the y at which a placket or zip ends.
    """
    neck, rise, depth, bottom, shoulder, chest = (
        m[k] for k in ("neck", "rise", "depth", "bottom", "shoulder", "chest")
    )
    sin, cos, slope, armpit = (
        m["angle"].sin(),
        m["angle"].cos(),
        rise + m["slope"],
        rise + m["slope"] + dice.between(5.5, 7),
    )
    tip = shoulder + m["sleeve"] * sin, slope + m["sleeve"] * cos
    elbow = shoulder + m["sleeve"] / 2 * sin + m["bulge"], slope + m["sleeve"] / 2 * cos
    cuff = tip[0] - m["cuff"] * cos, tip[1] + m["cuff"] * sin
    crook = elbow[0] - m["cuff"] * 1.1, elbow[1] + m["cuff"] * sin
    has_sleeve = (m["sleeve"] > 0).float()
    half = torch.stack([chest, chest * m["hem"], tip[0], elbow[0]]).amax(0)
    length = torch.maximum(bottom, cuff[1] * has_sleeve)
    q = frame(p, -half, half, 0 * half, length)
    h, (x, y), canvas = mirror(q), q.unbind(-1), Canvas(len(p))

    canvas.paint(ellipse(h, 0, rise + 1, neck + 0.8, rise + 1), cloth, m["hood"])
    sleeve = polygon_distance(
        h,
        points(
            (shoulder - 2, slope), (shoulder, slope), elbow, tip, cuff, crook, (chest - 1, armpit)
        ),
    )
    canvas.paint(sleeve, cloth * dice.between(0.85, 1.2)[:, None], has_sleeve)
    along = (h[..., 0] - shoulder[:, None]) * sin[:, None] + (y - slope[:, None]) * cos[:, None]
    ribs = dice.between(0.6, 1.35)
    canvas.tint(within(sleeve, (m["sleeve"] - 1.8)[:, None] - along), ribs, m["rib"])
    side = [
        (shoulder, slope),
        (chest, armpit),
        (chest * m["waist"], bottom * 0.62),
        (chest * m["hem"], bottom - m["tail"]),
    ]
    torso = polygon_distance(
        h,
        points(
            (-3, 0),
            (neck * 0.9, 0),
            (neck, rise),
            *side,
            (chest * m["hem"] * 0.55, bottom),
            (-3, bottom),
        ),
    )
    canvas.tint(torso - 0.9, accent(cloth, dice, 0.4, 1.2))  # the shadow between sleeve and body
    canvas.paint(torso, cloth)
    canvas.tint(within(torso, (bottom - 1.8)[:, None] - y), ribs, m["rib"])
    canvas.tint(
        within((y - (bottom * 0.45)[:, None]).abs() - 0.5, torso),
        accent(cloth, dice, 0.4, 1.3),
        m["belt"],
    )

    vee = polygon_distance(
        h,
        points(
            (-3, -1), (neck, -1), (neck * 0.9, rise), (0, rise + depth), (-3, rise + depth * 0.4)
        ),
    )
    opening = torch.where(
        m["vee"][:, None] > 0, vee, ellipse(h, 0, rise - 0.3, neck * 0.9, depth + 0.3)
    )
    trim = dice.between(0.6, 1.4)
    canvas.tint(within(opening - 1.1, torso), trim, dice.chance(0.5))
    lining = (
        cloth
        * (dice.between(0, 0.9) * dice.chance(0.55 + 0.45 * m["hood"]))[:, None]
        * (y > 0.9 - rise[:, None])
    )
    canvas.paint(opening, lining)
    flap = polygon_distance(
        h,
        points(
            (0.3, rise + depth + 0.4),
            (neck * 0.75, 0),
            (neck + 0.5, rise + 0.3),
            (1.8, rise + depth + 2.2),
        ),
    )
    canvas.paint(flap, cloth * trim[:, None], m["collar"])
    canvas.paint(x.abs() - (y - rise[:, None]) * 0.04 - 0.4, lining, m["open"])

    edge = within(
        x.abs() - 0.45, (rise + depth)[:, None] - y, y - torch.minimum(m["front"], bottom)[:, None]
    )
    canvas.tint(edge, accent(cloth, dice, 0.45, 1.3), dice.chance(0.75))
    canvas.tint(
        within(edge, 0.6 - torch.cos(y * 6.28 / dice.between(2.8, 4.5)[:, None])),
        accent(cloth, dice, 0.3, 1.4),
        m["buttons"],
    )
    picture = box(
        q,
        dice.between(-0.8, 0.8),
        dice.between(8, 13),
        dice.between(1, 4.5),
        dice.between(0.8, 4.5),
    )
    canvas.tint(
        within(picture, 0.2 - noise[:, 0] - noise[:, 1]),
        accent(cloth, dice, 0.15, 0.75),
        m["graphic"],
    )
    pocket = (
        polyline_distance(h, points((3, bottom * 0.68), (4.8, bottom * 0.63 + dice.between(-1, 1))))
        - 0.4
    )
    canvas.tint(pocket, accent(cloth, dice, 0.5, 1.3), m["pocket"])
    return canvas.grey, dict(width=2 * half, length=length, sleeve=m["sleeve"])


def trousers(
    p: Tensor, m: dict[str, Tensor], cloth: Tensor, noise: Tensor, dice: Dice
) -> tuple[Tensor, dict[str, Tensor]]:
    """Two legs under a waistband, the left one bowed out by `bow`.

    Measures are half-widths from the axis, `gap` the inner one at the ankle.
    """
    half = torch.stack([m["waist"], m["hip"], m["knee"], m["ankle"]]).amax(0)
    knee_y = m["crotch"] + 0.42 * (SIZE - m["crotch"])
    q = frame(p, -half - m["bow"], half, 0 * half, 0 * half + SIZE)
    h, (x, y), canvas = mirror(q), q.unbind(-1), Canvas(len(p))
    for side, bow in ((1, 0 * half), (-1, m["bow"])):
        outside = [
            (m["waist"], 0),
            (m["hip"], m["crotch"] * 0.7),
            (m["knee"] + bow, knee_y),
            (m["ankle"] + 0.3 * bow, SIZE),
        ]
        inside = [(m["gap"] + 0.3 * bow, SIZE), (m["gap"] * 0.7 + bow, knee_y), (0, m["crotch"])]
        leg = polygon_distance(
            q * torch.tensor([side, 1.0]), points((-0.6, 0), *outside, *inside, (-0.6, m["crotch"]))
        )
        canvas.paint(
            leg, cloth * (1 + dice.between(-0.15, 0.2)[:, None] * torch.exp(leg.clamp_max(0) / 1.2))
        )
    canvas.tint(y - dice.between(1, 2)[:, None], dice.between(0.7, 1.3))
    canvas.tint(within(x.abs() - 0.4, y - m["crotch"][:, None]), dice.between(0.6, 1.3))
    canvas.tint(
        polyline_distance(h, points((m["waist"] * 0.5, 1.2), (m["hip"] * 0.9, 4))) - 0.4,
        dice.between(0.7, 1.3),
    )
    worn = (h[..., 0] - m["hip"][:, None] * 0.55).abs() - 0.8 + 0.5 * noise[:, 2].abs()
    canvas.tint(worn, dice.between(0.75, 1.15))
    return canvas.grey, dict(width=2 * half + m["bow"], length=0 * half + SIZE)


def arch(x: Tensor) -> Tensor:
    """Share of the heel's height by which the foot is raised at x, from toe (0) to heel (1)."""
    return torch.special.expit((x - 15) / 2.6)


def on_sole(
    p: Tensor, m: dict[str, Tensor], height: Tensor, cloth: Tensor, dice: Dice
) -> tuple[Canvas, Tensor]:
    """A sole with its heel or wedge under a shoe of this height; and pixels as (x, height)."""
    heel, sole = m["heel"], m["sole"]
    ground = frame(p, 0 * heel, 0 * heel + SIZE, -height, 0 * heel) * torch.tensor([1.0, -1.0])
    x, up = ground.unbind(-1)
    bed = torch.stack([x, up - heel[:, None] * arch(x)], -1)
    canvas = Canvas(len(p))
    own = torch.where(dice.chance(0.5) > 0, dice.between(0.12, 0.5), dice.between(0.5, 1))
    tone = torch.where(
        dice.chance(0.4)[:, None] > 0, cloth * dice.between(0.6, 1.2)[:, None], own[:, None]
    )
    slim = m["thick"] * dice.between(0.6, 1)
    block = polygon_distance(
        ground,
        points(
            (27.7, heel + 1),
            (27.7 - m["thick"] - heel * 0.2, heel + 1),
            (27.5 - slim, 0),
            (27.5, 0),
        ),
    )
    wedge = polygon_distance(
        ground, points((4, 0), (27.5, 0), (27.8, heel + 1), (20, heel + 1), (8, 1))
    )
    canvas.paint(torch.where(m["wedge"][:, None] > 0, wedge, block), tone, (heel > 0.7).float())
    canvas.paint(
        polygon_distance(
            bed, points((1, 0.2), (4, 0), (27.4, 0), (27.8, sole), (10, sole), (0.2, sole + 0.3))
        ),
        tone,
    )
    return canvas, bed - points((0, sole))


def sandal(
    p: Tensor, m: dict[str, Tensor], cloth: Tensor, noise: Tensor, dice: Dice
) -> tuple[Tensor, dict[str, Tensor]]:
    """Straps on a sole.

    A toe band, and by chance a fork to the heel, a cage of bars, a counter or a strap around the
    ankle.
    """
    ankle, solid, span, peak = (
        m["ankle"],
        torch.maximum(dice.chance(0.4), m["mule"]),
        m["span"],
        m["peak"],
    )
    fork, counter = (1 - ankle) * dice.chance(0.75), torch.maximum(dice.chance(0.25), m["cage"])
    toe, low, high = dice.between(1.5, 4), dice.between(4, 7), dice.between(5.5, 10)
    joint, front = dice.between(15, 19), dice.between(17, 21)
    behind = torch.stack([fork * low, counter * low * 0.8, ankle * high]).amax(0)
    height = (
        m["sole"]
        + torch.maximum(
            peak + m["heel"] * arch(toe + span * 0.7), behind + m["heel"] * (behind > 0)
        )
        + 0.3
    )
    canvas, q = on_sole(p, m, height, cloth, dice)

    def strap(there: Tensor, *xy: tuple) -> None:
        canvas.paint(
            polyline_distance(q, points(*xy)) - dice.between(0.4, 1.4)[:, None], cloth, there
        )

    def panel(there: Tensor, *xy: tuple) -> None:
        canvas.paint(polygon_distance(q, points(*xy)), cloth, there)

    panel(
        solid,
        (toe, -0.5),
        (toe + 0.8, peak * 0.7),
        (toe + span * 0.6, peak),
        (toe + span, peak * 0.9),
        (toe + span + 2, -0.5),
    )
    strap(
        1 - solid,
        (toe, 0),
        (toe + 1, peak * 0.7),
        (toe + span * 0.5, peak - 0.4),
        (toe + span, peak * 0.6),
        (toe + span + 1.5, 0),
    )
    strap(dice.chance(0.35), (toe + span * 0.3, 0), (toe + span * 0.6, peak - 0.4))
    strap(fork, (joint - dice.between(1, 4), 0), (joint, low * 0.55), (26.8, low - 0.6))
    strap(
        fork * dice.chance(0.75),
        (joint + dice.between(3, 8), 0),
        (joint, low * 0.55),
        (joint - 1, low * 0.8),
    )
    strap(fork * dice.chance(0.6), (toe + span * 0.6, peak - 0.4), (joint, low * 0.55))
    roof = torch.where(ankle > 0, high, low * 0.8)
    cage = polygon_distance(
        q, points((toe, 0), (toe + 1, peak), (joint, roof), (27, roof), (27, 0))
    )
    bars = 0.2 - torch.cos(
        (q[..., 0] + q[..., 1] * dice.between(-1, 1.5)[:, None])
        * 6.28
        / dice.between(3, 6)[:, None]
    )
    canvas.paint(within(cage, torch.minimum(bars, cage.abs() - 0.6)), cloth, m["cage"])
    panel(
        counter, (22.5, -0.5), (24.5, low * 0.5), (25.5, low * 0.8), (27.5, low * 0.8), (27.5, -0.5)
    )
    strap(ankle, (26.6, 0), (26, high * 0.5), (25.4, high - 0.8))
    strap(ankle, (front, high - dice.between(0, 2)), (26.6, high - 0.8))
    strap(ankle * dice.chance(0.35), (toe + span, peak - 0.4), (front, high - 1.5))
    return canvas.grey, dict(width=0 * low + SIZE, length=height, heel=m["heel"])


def shoe(
    p: Tensor, m: dict[str, Tensor], cloth: Tensor, noise: Tensor, dice: Dice
) -> tuple[Tensor, dict[str, Tensor]]:
    """A closed upper from the toe to the shaft, with seams, caps, laces and stripes.

    Heights are above the footbed; `throat` is the x of the instep, `lean` how far the shaft's front
    leans back, `dip` the collar's dip.
    """
    toe, instep, throat, top = m["toe"], m["instep"], m["throat"], m["top"]
    back, collar = top - m["back"], throat + m["lean"]
    height = m["sole"] + torch.maximum(top + m["heel"] * arch(collar + 1), back + m["heel"])
    canvas, q = on_sole(p, m, height, cloth, dice)
    x, up = q.unbind(-1)
    vamp = [
        (0.3, -0.2),
        (0.6, toe * 0.5),
        (2.6, toe),
        (throat * 0.6, (toe + instep) / 2 + dice.between(-0.5, 0.4)),
        (throat - 1, instep),
    ]
    shaft = [
        (collar, top),
        (collar + 1.5, top),
        ((collar + 28) / 2, torch.minimum(top, back) - m["dip"]),
        (26.2, back),
        (27.7, back),
    ]
    upper = polygon_distance(
        q, points(*vamp, *shaft, (27 - dice.between(0, 1), back * 0.5), (27.7, -0.2))
    )
    canvas.paint(upper, cloth)
    canvas.tint(within((up - 0.3).abs() - 0.45, -x), dice.between(0.4, 1.3))
    canvas.tint(within(upper, -upper - 1.2), dice.between(0.75, 1.25))
    canvas.tint(
        within(upper, (x - dice.between(12, 25)[:, None] - 0.4 * up).abs() - 0.5),
        dice.between(0.6, 1.35),
        dice.chance(0.5),
    )
    caps = torch.minimum(x - dice.between(3, 7)[:, None], 28 - dice.between(2, 6)[:, None] - x)
    canvas.tint(within(upper, caps), dice.between(0.5, 1.4), dice.chance(0.35))
    tongue = (
        polyline_distance(
            q,
            points(
                (throat * 0.62, (toe + instep) / 2), (throat - 0.3, instep), (collar - 0.5, top - 1)
            ),
        )
        - 1.3
    )
    eyelets = within(
        tongue, upper, -0.1 - torch.cos((x + up) * 6.28 / dice.between(2, 3.2)[:, None])
    )
    canvas.tint(eyelets, accent(cloth, dice, 0.3, 1.3), m["laces"])
    slant = x + up * dice.between(-1.2, 1.2)[:, None] - 15 - dice.between(-3, 3)[:, None]
    bars = within(
        slant.abs() - dice.between(1, 5)[:, None],
        0.2 - torch.cos(slant * 6.28 / dice.between(2.4, 6)[:, None]),
    )
    canvas.tint(
        within(bars, upper, (up - 3).abs() - dice.between(1, 3.2)[:, None]),
        accent(cloth, dice, 0.15, 0.75),
        m["stripes"],
    )
    return canvas.grey, dict(width=0 * toe + SIZE, length=height, heel=m["heel"])


def bag(
    p: Tensor, m: dict[str, Tensor], cloth: Tensor, noise: Tensor, dice: Dice
) -> tuple[Tensor, dict[str, Tensor]]:
    """A body with rounded corners under a handle, with flap, clasp and seams.

    `power` makes the handle an arch (1) or a triangle (2).
    """
    top, base, body, handle, span = m["top"], m["base"], m["body"], m["handle"], m["span"]
    half = torch.maximum(top, base)
    q = frame(p, -half - 2 * m["strap"], half, -handle, body)
    h, y, canvas = mirror(q), q[..., 1], Canvas(len(p))
    trim = cloth.mean(1, keepdim=True) * dice.between(0.6, 1.4)[:, None]
    angle, power = torch.linspace(0, torch.pi / 2, 7), m["power"][:, None]
    hoop = torch.stack(
        [
            span[:, None] * angle.cos().clamp_min(0) ** power,
            0.5 - (handle - 0.3)[:, None] * angle.sin() ** power,
        ],
        -1,
    )
    canvas.paint(
        polyline_distance(h, hoop) - dice.between(0.35, 1)[:, None], trim, (handle > 0.5).float()
    )
    canvas.paint(ellipse(q, -half, body * 0.6, 2, body * 0.35).abs() - 0.4, trim, m["strap"])
    r = torch.minimum(m["corner"], body / 2 - 1)
    sides = points(
        (-3, r), (top - r, r), (half - r, body * 0.6), (base - r, body - r), (-3, body - r)
    )
    bulk = polygon_distance(h, sides) - r[:, None]
    canvas.paint(bulk, cloth)
    canvas.tint(within(bulk, -bulk - 1.3), dice.between(0.75, 1.3))
    canvas.tint(
        within((y - dice.between(1, 3)[:, None]).abs() - 0.45, bulk),
        dice.between(0.6, 1.3),
        dice.chance(0.5),
    )
    tongue, corner = dice.between(0.4, 0.65), dice.between(0.1, 0.4)
    flap = (
        polyline_distance(
            h, points((-1, body * tongue), (half * 0.5, body * 0.5), (half, body * corner))
        )
        - 0.45
    )
    canvas.tint(within(flap, bulk), accent(cloth, dice, 0.5, 1.3), m["flap"])
    canvas.tint(
        within((h[..., 0] - span[:, None]).abs() - 0.5, bulk),
        dice.between(0.6, 1.3),
        dice.chance(0.4),
    )
    clasp = box(
        q,
        dice.between(-1, 1),
        body * dice.between(0.3, 0.7),
        dice.between(0.7, 3),
        dice.between(0.6, 1.6),
    )
    canvas.tint(within(clasp, bulk), accent(cloth, dice, 0.3, 1.4), m["clasp"])
    return canvas.grey, dict(width=2 * half + 2 * m["strap"], length=body + handle, handle=handle)
