"""Drawn cat faces: 64×64 colour portraits, cropped like the photographs of the Cats set.

A face is made of signed distances (outline, ears, eyes, nose), a height map that the light falls
on, and a coat whose hairs are noise averaged along their direction (line integral convolution,
Cabral & Leedom 1993). Lengths are in half pictures, y points down, colours are in [0, 1]. Inside, a
picture is (N, 3, P) with P = 64·64 pixels, a field is (N, P), and the factors `f` are columns, (N,
1).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .geometry import (
    coverage,
    ellipse_distance,
    pixel_grid,
    polygon_distance,
    rotate,
    smooth_noise,
    smooth_union,
    uniform,
)
from .standin import StandIn, one_thread

SIZE = 64
PIXEL = 2 / SIZE
CHUNK = (
    64  # faces rendered at once; a chunk is always rendered whole, so one face costs as much as 64
)

COATS = {  # ground, dark marks, patches, nose leather: red, green and blue in percent
    "ginger": ((82, 54, 28), (56, 28, 9), (95, 92, 87), (83, 50, 45)),
    "black": ((13, 12, 12), (28, 23, 20), (70, 42, 18), (16, 13, 13)),
    "grey": ((52, 52, 54), (22, 22, 25), (88, 80, 70), (42, 33, 34)),
    "white": ((90, 88, 85), (62, 56, 51), (16, 13, 12), (90, 62, 60)),
    "cream": ((90, 78, 61), (70, 48, 27), (50, 49, 50), (86, 58, 52)),
    "brown": ((56, 44, 31), (17, 12, 9), (86, 58, 30), (62, 36, 30)),
    "bicolour": ((20, 18, 17), (5, 4, 4), (72, 45, 22), (84, 54, 52)),  # and always much white
}
GROUND, DARK, PATCH, NOSE = (torch.tensor(list(COATS.values())) / 100).unbind(1)
MARKINGS = ("tabby", "spots", "patches", "points")
IRIS = (
    torch.tensor([[78, 42, 12], [90, 74, 22], [52, 72, 32], [36, 62, 90]]) / 100
)  # copper, yellow, green, blue

RANGES = {
    "coat": (0, len(COATS) - 1),  # index into COATS
    "warmth": (-1, 1),  # of the fur: cool to warm
    "depth": (-1, 1),  # of the fur: pale to deep
    "marking": (0, len(MARKINGS) - 1),  # index into MARKINGS
    "marking_strength": (0, 1),  # none to full contrast
    "white": (0, 1),  # how far white spreads from the muzzle; 0: no white
    "fluff": (0, 1),  # short hair to long
    "head_width": (0.80, 0.98),  # half pictures from the middle to the side
    "head_shape": (0, 1),  # round to triangular
    "ear_size": (0.75, 1.25),  # times the usual
    "ear_angle": (-0.25, 0.35),  # radians outwards
    "eye_size": (0.75, 1.2),  # times the usual
    "eye_hue": (0, 1),  # copper, yellow, green, blue
    "eyelid": (0, 0.65),  # wide open to sleepy
    "pupil": (0, 1),  # slit to round
    "tilt": (-0.22, 0.22),  # radians, clockwise
    "turn": (-1, 1),  # looks to the left or to the right of the picture
    "nod": (-1, 1),  # looks up or down
    "light": (-1, 1),  # from the left or from the right
    "exposure": (-1, 1),  # dark to bright photograph
    "background_hue": (0, 1),  # once round the colour wheel
    "background_value": (0.15, 0.85),  # brightness
}


@one_thread()
def cat_faces(n: int, seed: int = 0) -> StandIn:
    """`n` cat faces: images uint8 (n, 3, 64, 64), labels zero, factors as in `RANGES`.

    A small set is the beginning of a large one. Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1 image, got {n}")
    images, factors = [], []
    for k in range(-(-n // CHUNK)):
        generator = torch.Generator().manual_seed((seed + 1) * 1_000_003 + k)
        factors.append(draw_factors(CHUNK, generator))
        images.append(render(factors[-1], generator))
    joined = {name: torch.cat([f[name] for f in factors])[:n] for name in RANGES}
    return StandIn(torch.cat(images)[:n], torch.zeros(n, dtype=torch.int64), joined)


def draw_factors(n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Random factors of `n` cats, name → float32 (n,): uniform and independent but for `white`.

    Bicolour cats all have much white, half of the others have none.
    """
    f = {name: uniform(n, low, high, generator) for name, (low, high) in RANGES.items()}
    f["coat"] = torch.randint(len(COATS), (n,), generator=generator).float()
    f["marking"] = torch.randint(len(MARKINGS), (n,), generator=generator).float()
    bicolour = f["coat"] == list(COATS).index("bicolour")
    f["white"] = torch.where(bicolour, 0.5 + 0.5 * f["white"], f["white"] * (f["white"] > 0.5))
    return f


def render(factors: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """Draw cats from their factors, each (N,) → uint8 (N, 3, 64, 64).

    The generator gives what no factor names: hairs, bokeh and grain.
    """
    f = {name: value[:, None] for name, value in factors.items()}
    p = pixel_grid(len(f["coat"]), SIZE)
    q = head_points(p, f)
    half = torch.stack(
        [q[..., 0].abs(), q[..., 1]], dim=-1
    )  # a face is its own mirror image: one half serves both
    hair = hairs(p, f, generator)
    head, ear, hollow = outline(half, f)
    rough = (0.006 + 0.022 * f["fluff"]) * hair
    chest = ellipse_distance(q, torch.tensor([[0.0, 1.35]]), torch.tensor([[0.95, 0.75]]))
    coat = coat_colour(half, ear - head, hair, f, generator)
    shade = shading(half, head, f)

    picture = background(p, f, generator)
    picture = paint(picture, 0.62 * coat, coverage(chest + rough, PIXEL))
    picture = paint(picture, shade * coat, coverage(smooth_union(head, ear, 0.08) + rough, PIXEL))
    picture = paint_ears(picture, hollow + 0.5 * rough, head, hair, f)
    picture = paint_muzzle(picture, half, shade, f)
    picture = paint_eyes(picture, q, half, f)
    picture = paint_whiskers(picture, q, half, generator)
    return photograph(picture, f, generator)


def paint(picture: Tensor, colour: Tensor, alpha: Tensor) -> Tensor:
    """Lay a colour, broadcastable to (N, 3, P), over a picture where the field alpha is 1."""
    return picture + alpha[:, None] * (colour - picture)


def rgb(red: float, green: float, blue: float) -> Tensor:
    """One colour, given in percent, (3, 1)."""
    return torch.tensor([red, green, blue])[:, None] / 100


def pick(table: Tensor, index: Tensor) -> Tensor:
    """The colours in rows `index` (N, 1) of a table (K, 3) → (N, 3, 1)."""
    return table[index[:, 0].long()][..., None]


def bump(p: Tensor, x: float, y: float, rx: float, ry: float) -> Tensor:
    """A Gaussian hill of height 1 about (x, y), exp(−1) at the radii, (N, P)."""
    return (-(((p[..., 0] - x) / rx) ** 2) - ((p[..., 1] - y) / ry) ** 2).exp()


def smoothstep(x: Tensor, low: float, high: float) -> Tensor:
    """0 below `low`, 1 above `high`, the cubic 3t² − 2t³ between."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def head_points(p: Tensor, f: dict[str, Tensor]) -> Tensor:
    """Picture points in the head's own axes, (N, P, 2).

    Tilt rotates; turn and nod shift a point the more, the nearer it is to the viewer.
    """
    pivot = torch.tensor([0.0, 0.1])
    q = 0.96 * rotate(p - pivot, -f["tilt"][:, 0]) + pivot
    nearness = 1.3 * bump(q, 0, 0.3, 0.8, 0.85) - 0.35
    return q - torch.stack([0.15 * f["turn"] * nearness, 0.09 * f["nod"] * nearness], dim=-1)


def hairs(p: Tensor, f: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """Noise averaged along the lie of the fur, which radiates from the nose; of unit variance."""
    n, grid = len(p), p.reshape(-1, SIZE, SIZE, 2)
    noise = torch.randn(n, 1, SIZE, SIZE, generator=generator) + smooth_noise(
        n, 1, SIZE, 32, generator
    )
    nose = torch.cat([0.14 * f["turn"], 0.35 + 0.08 * f["nod"]], dim=-1)[:, None, None]
    lie = F.normalize(grid - nose, dim=-1) + 0.35 * smooth_noise(n, 2, SIZE, 5, generator).permute(
        0, 2, 3, 1
    )
    step = PIXEL * (0.5 + 0.45 * f["fluff"])[..., None, None] * lie
    strands = sum(
        F.grid_sample(noise, grid + k * step, padding_mode="reflection", align_corners=False)
        for k in range(-3, 4)
    )
    return (strands / strands.std(dim=(2, 3), keepdim=True)).flatten(1)


def outline(half: Tensor, f: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Signed distances of the head, the ear and the hollow of the ear."""
    width, shape, zero = f["head_width"], f["head_shape"], torch.zeros_like(f["coat"])
    ovals = [
        (-0.08, width, 0.60),
        (0.22, width * (1.02 - 0.34 * shape), 0.52),
        (0.5, 0.56 - 0.2 * shape, 0.34 + 0.08 * shape),
    ]
    skull, cheeks, chin = (
        ellipse_distance(half, torch.cat([zero, zero + y], -1), torch.cat([rx, zero + ry], -1))
        for y, rx, ry in ovals
    )
    corners = torch.tensor(
        [[-0.33, 0.0], [-0.02, -0.44], [0.10, -0.54], [0.20, -0.42], [0.38, 0.30]]
    )
    corners = rotate(corners * f["ear_size"][..., None], f["ear_angle"][:, 0])
    root = torch.cat([0.56 * width, zero - 0.46], -1)[:, None]
    ear = polygon_distance(half, root + corners) - 0.04
    hollow = polygon_distance(half, root + 0.72 * corners + torch.tensor([0.02, 0.0])) - 0.02
    return smooth_union(smooth_union(skull, cheeks, 0.15), chin, 0.2), ear, hollow


def shading(half: Tensor, head: Tensor, f: dict[str, Tensor]) -> Tensor:
    """Brightness by Lambert's law for light from above and one side; about 1, (N, 1, P).

    To first order in the slope of a height map of the face.
    """
    dome = 0.55 * (1 - (1 + head / 0.6).clamp(0, 1) ** 2)
    muzzle = 0.16 * bump(half, 0.15, 0.54, 0.16, 0.14) + 0.08 * bump(half, 0, 0.75, 0.2, 0.1)
    bridge, socket = (
        0.14 * bump(half, 0, 0.2, 0.14, 0.35),
        0.10 * bump(half, 0.38, -0.14, 0.2, 0.15),
    )
    dy, dx = torch.gradient(
        (dome + muzzle + bridge - socket).reshape(-1, SIZE, SIZE), spacing=PIXEL, dim=(1, 2)
    )
    lambert = (1 - 0.36 * f["light"] * dx.flatten(1) + 0.28 * dy.flatten(1)).clamp(0.45, 1.6)
    return (lambert * (0.82 + 0.18 * smoothstep(-head, -0.05, 0.25)))[:, None]


def marking_mask(
    half: Tensor, ear: Tensor, hair: Tensor, blotch: Tensor, flecks: Tensor, f: dict[str, Tensor]
) -> Tensor:
    """Where each cat's marking lies, a field in [0, 1].

    `ear` is negative on the ears, `blotch` and `flecks` are coarse and fine noise.
    """
    from_nose = half - torch.tensor([0.0, 0.3])
    radius, angle = (
        from_nose.norm(dim=-1),
        torch.atan2(from_nose[..., 0], -from_nose[..., 1]),
    )  # 0 up the forehead, π/2 over the cheek
    stripes = (
        2 * math.pi * 3.1 * angle.clamp_min(1e-3) ** 0.85 + 0.5 * blotch[:, 0] + 1.2 * radius
    ).cos()
    tabby = (
        smoothstep(stripes + 0.25 * hair, -0.1, 0.7) * smoothstep(radius, 0.35, 0.6) * (angle < 2.3)
    )
    spots = smoothstep(flecks + 0.2 * hair, 0.3, 0.8) * smoothstep(radius, 0.3, 0.5)
    patches = smoothstep(blotch[:, 1] + 0.15 * hair, 0.0, 0.2)
    points = (
        bump(half, 0, 0.28, 0.38, 0.42)
        + 0.7 * bump(half, 0.38, -0.14, 0.2, 0.16)
        + smoothstep(-ear, -0.1, 0.2)
    )
    return torch.stack([tabby, spots, patches, points.clamp_max(1)])[
        f["marking"][:, 0].long(), torch.arange(len(half))
    ]


def coat_colour(
    half: Tensor, ear: Tensor, hair: Tensor, f: dict[str, Tensor], generator: torch.Generator
) -> Tensor:
    """Colour of the fur at every point, (N, 3, P).

    Ground, marking, pale muzzle and eye rings, white, and light and dark hairs.
    """
    blotch = smooth_noise(len(half), 3, SIZE, 4, generator).flatten(2)
    flecks = smooth_noise(len(half), 1, SIZE, 13, generator).flatten(1)
    ground, dark, patch = (pick(table, f["coat"]) for table in (GROUND, DARK, PATCH))
    patched, pointed = (
        (f["marking"] == MARKINGS.index(name)).float() for name in ("patches", "points")
    )
    ground = paint(
        ground, rgb(90, 84, 75), 0.75 * pointed * f["marking_strength"]
    )  # Siamese: a pale coat and dark points
    mark = paint(paint(dark, patch, patched), rgb(20, 14, 11), 0.7 * pointed)
    colour = paint(
        ground, mark, f["marking_strength"] * marking_mask(half, ear, hair, blotch, flecks, f)
    )
    colour = (
        colour * (1 + f["warmth"][..., None] * rgb(6, 0, -9)) * (1 - 0.18 * f["depth"][..., None])
    )
    pale = 0.15 * bump(half, 0.15, 0.6, 0.22, 0.16) + 0.12 * bump(half, 0.38, -0.14, 0.22, 0.17)
    colour = colour + pale[:, None] * (1 - colour) * colour.mean(1, keepdim=True)
    white, (x, y) = f["white"], half.unbind(-1)
    spread = (
        0.42 * white - 0.35 + (0.2 + 0.6 * white) * smoothstep(y, -0.1, 0.6)
    )  # half width of the white at height y
    spread = spread + (0.015 * hair + 0.04 * blotch[:, 2]) * (white > 0)
    colour = paint(colour, rgb(90, 88, 85), coverage(x - spread, 0.04))
    relief = (
        (0.05 + 0.05 * f["fluff"]) * hair * (1 - 0.65 * bump(half, 0, 0.35, 0.35, 0.35))
    )  # shorter about the nose
    return colour + relief[:, None] * (colour + 0.1)


def background(p: Tensor, f: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """A room out of focus: neighbouring hues that run into each other, and discs of light."""
    n, wheel = len(p), torch.tensor([0.0, 1 / 3, 2 / 3])[:, None]
    drift, cloud = smooth_noise(n, 2, SIZE, 2, generator).flatten(2).unbind(1)
    hue = 0.5 + 0.5 * (2 * math.pi * ((f["background_hue"] + 0.08 * drift)[:, None] - wheel)).cos()
    saturation = uniform(n, 0.1, 0.4, generator)[:, None, None]
    picture = (f["background_value"] * (1 + 0.25 * cloud))[:, None] * (
        1 - saturation + saturation * hue
    )
    for _ in range(4):
        centre = torch.rand(n, 2, generator=generator) * 2.4 - 1.2
        radius, glow = (
            uniform(n, 0.1, 0.45, generator)[:, None],
            uniform(n, -0.25, 0.35, generator)[:, None],
        )
        disc = coverage((p - centre[:, None]).norm(dim=-1) - radius, 0.04)
        picture = picture + (glow * disc)[:, None] * (0.4 + picture)
    return picture


def paint_ears(
    picture: Tensor, hollow: Tensor, head: Tensor, hair: Tensor, f: dict[str, Tensor]
) -> Tensor:
    """The hollow of the ear: bare skin between pale hairs, darker further in."""
    skin = (0.43 * rgb(90, 62, 56) + 0.38 * pick(GROUND, f["coat"])) * (1 + 0.17 * hair[:, None])
    shadow = 1 - 0.4 * smoothstep(-hollow, 0.02, 0.14)
    return paint(
        picture,
        skin * shadow[:, None],
        0.9 * coverage(hollow, 1.5 * PIXEL) * smoothstep(head, -0.06, 0.06),
    )


def paint_muzzle(picture: Tensor, half: Tensor, shade: Tensor, f: dict[str, Tensor]) -> Tensor:
    """Nose leather with nostrils and a gloss, the cleft below it, and the mouth."""
    x, y = half.unbind(-1)
    leather = torch.maximum(0.75 * x + 0.66 * (y - 0.475), 0.35 + 0.2 * x - y) - 0.015
    cleft = torch.maximum(x, (y - 0.55).abs() - 0.09)
    arc = (((x - 0.11).square() + (y - 0.52).square()).sqrt() - 0.11).abs() + 4 * (
        0.54 - y
    ).clamp_min(0)
    picture = paint(
        picture, 0.35 * picture, 0.8 * coverage(torch.minimum(arc, cleft) - 0.006, PIXEL)
    )
    picture = paint(picture, pick(NOSE, f["coat"]) * shade, coverage(leather, PIXEL))
    picture = paint(picture, rgb(100, 100, 100), 0.25 * bump(half, 0, 0.365, 0.05, 0.02))
    nostril = ellipse_distance(half, torch.tensor([[0.055, 0.425]]), torch.tensor([[0.03, 0.018]]))
    return paint(picture, rgb(8, 5, 5), 0.8 * coverage(nostril, 0.8 * PIXEL))


def paint_eyes(picture: Tensor, q: Tensor, half: Tensor, f: dict[str, Tensor]) -> Tensor:
    """Almond eyes with the outer corner raised.

    Dark rim, iris, pupil, the shadow of the lid, and a highlight on the side of the light.
    """
    centre = torch.cat([0.44 * f["head_width"] + 0.02, torch.full_like(f["coat"], -0.16)], -1)
    x, y = (
        rotate(half - centre[:, None], torch.full((len(q),), 0.16)) / f["eye_size"][..., None]
    ).unbind(-1)
    soft, ink = 0.9 * PIXEL / f["eye_size"], rgb(5, 4, 3)
    arch = 1 - (x / 0.19).square()
    upper, lower = -0.155 * (1 - 0.8 * f["eyelid"]) * arch, 0.125 * (1 - 0.25 * f["eyelid"]) * arch
    opening = (
        torch.maximum(upper - y, y - lower) / (1 + (x / 0.146).square()).sqrt()
    )  # over the slope of the lids: a distance
    eye = coverage(opening, soft)
    picture = paint(picture, ink, 0.85 * coverage(opening - 0.03, 1.2 * soft))

    position = f["eye_hue"] * (len(IRIS) - 1)
    low = position.floor().clamp_max(len(IRIS) - 2)
    iris = torch.lerp(pick(IRIS, low), pick(IRIS, low + 1), (position - low)[..., None])
    glow = (1 + 1.8 * y) * (1 - 0.55 * smoothstep((x.square() + y.square()).sqrt(), 0.09, 0.17))
    width = 0.028 + 0.075 * f["pupil"]
    pupil = (x.square() + (y * width / 0.115).square()).sqrt() - width
    picture = paint(picture, iris * glow[:, None], eye)
    picture = paint(picture, 0.5 * ink, eye * coverage(pupil, soft))
    picture = paint(picture, 0.3 * picture, 0.8 * eye * smoothstep(upper - y, -0.05, 0.0))
    towards = (
        q[..., 0] - q[..., 0].sign() * centre[:, :1] - 0.05 * f["light"]
    )  # not mirrored: both eyes see the same lamp
    spark = (towards.square() + (half[..., 1] + 0.21).square()).sqrt() - 0.03 * f["eye_size"]
    return paint(picture, rgb(100, 100, 100), 0.95 * eye * coverage(spark, PIXEL))


def paint_whiskers(picture: Tensor, q: Tensor, half: Tensor, generator: torch.Generator) -> Tensor:
    """Four hairs on each side, which fade towards their tips.

    Parabolas y = slope·x + bend·x² from the muzzle outwards.
    """
    x, y = half[..., 0] - 0.2, half[..., 1] - 0.5
    for k in range(4):
        jitter, other, bend, reach = torch.rand(4, len(q), 1, generator=generator)
        slope, bend = (
            0.22 * (k - 1.7) + 0.3 * (jitter - 0.5) + 0.1 * q[..., 0].sign() * (other - 0.5),
            0.35 * bend,
        )
        distance = (y - 0.035 * k - slope * x - bend * x * x).abs() / (
            1 + (slope + 2 * bend * x).square()
        ).sqrt()
        fade = smoothstep(x, 0.0, 0.06) * (1 - smoothstep(x / (0.45 + 0.45 * reach), 0.4, 1.0))
        picture = paint(picture, rgb(95, 95, 95), 0.6 * fade * coverage(distance - 0.004, PIXEL))
    return picture


def photograph(picture: Tensor, f: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """What a camera adds: white balance, exposure, blur and grain → uint8 (N, 3, 64, 64)."""
    n = len(picture)
    balance = 1 + 0.03 * torch.randn(n, 3, 1, generator=generator)
    picture = (
        (picture.clamp_min(0) * balance)
        .pow(1 - 0.3 * f["exposure"][..., None])
        .reshape(n, 3, SIZE, SIZE)
    )
    blurred = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    blur, grain = uniform(n, 0.0, 0.6, generator), uniform(n, 0.004, 0.03, generator)
    picture = torch.lerp(picture, blurred, blur[:, None, None, None])
    picture = picture + grain[:, None, None, None] * torch.randn(picture.shape, generator=generator)
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)
