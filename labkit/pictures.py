"""Pictures for sliders, put together from arrays with numpy and Pillow in a few milliseconds; a
Matplotlib figure is drawn once at most.

A canvas is an array (H, W, 3) of uint8, white where nothing is drawn; sizes are in pixels.
"""

import io
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from labkit import plots

SIDE, THUMB, GAP = 224, 56, 12  # of the large picture, of one in a strip, between parts
COLOURS = [tuple(round(255 * c) for c in colour) for colour in plots.PALETTE]
INK, TRACK, BLUE, ORANGE = (70, 70, 70), (232, 232, 232), COLOURS[0], COLOURS[1]


@cache
def _palette() -> Image.Image:
    """64 greys, and the kit's colours in eight strengths each. Pillow goes by the upper six bits of
    a colour, so more would not be used.
    """
    tints = [
        round(255 + s / 8 * (c - 255)) for colour in COLOURS for s in range(1, 9) for c in colour
    ]
    greys = [
        level for level in [0, *range(5, 248, 4), 248, 255] for _ in range(3)
    ]  # black and white stay what they are
    holder = Image.new("P", (1, 1))
    holder.putpalette(greys + tints)
    return holder


def png(canvas: np.ndarray, full_colour: bool = False) -> bytes:
    """PNG bytes, compressed little, because a slider waits for them.

    In 144 fixed colours, where a grey is off by 3 of 255 at most: 2 ms for 656 × 420 pixels; in
    full colour 16 ms.
    """
    picture, buffer = Image.fromarray(canvas), io.BytesIO()
    if not full_colour:
        picture = picture.quantize(palette=_palette(), dither=Image.Dither.NONE)
    picture.save(buffer, format="png", compress_level=1)
    return buffer.getvalue()


def png_width(picture: bytes) -> int:
    """Width of a PNG in pixels, from its header. Raises ValueError for anything else."""
    if bytes(picture[:8]) != b"\x89PNG\r\n\x1a\n":
        raise ValueError(
            "a frame is PNG bytes: make it with labkit.plots.png(figure) or labkit.pictures.png(canvas)"
        )
    return int.from_bytes(picture[16:20], "big")


def quantise(images: Tensor, image_range: tuple[float, float], what: str = "the model") -> Tensor:
    """Float images (N, C, H, W) with values in `image_range` → uint8 on the CPU; uint8 ones pass. C
    is 1 (grey) or 3 (colour).

    Raises ValueError, naming `what` gave them, for another shape and for values outside of the
    range by more than rounding.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"{what} gave {tuple(images.shape)}, expected images (N, 1, H, W) or (N, 3, H, W); reshape them with .view"
        )
    if not images.is_floating_point():
        return images.cpu()
    low, high = image_range
    images = (images.float().cpu() - low) / (high - low)
    least, most = images.aminmax()
    if not (least > -0.01 and most < 1.01):
        least, most = (low + (high - low) * float(x) for x in (least, most))
        raise ValueError(
            f"{what} gave values from {least:.2f} to {most:.2f}, expected {low} to {high}: pass image_range=(lowest, highest), "
            "and if these are logits, take their .sigmoid() first"
        )
    return (images * 255).round().clamp(0, 255).byte()


def enlarge(image: Tensor, side: int = SIDE) -> np.ndarray:
    """One uint8 image (C, H, W) as a canvas of about `side`, each pixel a square of whole screen
    pixels.
    """
    pixels = image.permute(1, 2, 0).expand(-1, -1, 3).contiguous().numpy()
    scale = max(1, round(side / len(pixels)))
    return np.asarray(
        Image.fromarray(pixels).resize(
            (scale * pixels.shape[1], scale * pixels.shape[0]), Image.Resampling.NEAREST
        )
    )


def strip(images: Tensor) -> np.ndarray:
    """uint8 images (N, C, H, W) side by side, small."""
    return np.concatenate([enlarge(image, THUMB) for image in images], axis=1)


def bars(probabilities: Tensor, classes: Sequence[str], width: int, height: int) -> np.ndarray:
    """Horizontal bars of probabilities (K,) with names to the left and values to the right; the
    largest stands out.
    """
    row, best = height / len(probabilities), int(probabilities.argmax())
    font = _font(min(15, int(0.75 * row)))
    left, right = (
        8 + max(int(font.getlength(name)) for name in classes),
        width - 6 - int(font.getlength("0.00")),
    )
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    for k, (name, p) in enumerate(zip(classes, probabilities.tolist(), strict=True)):
        middle, half = (k + 0.5) * row, 0.36 * row
        draw.text((left - 6, middle), name, fill=INK, font=font, anchor="rm")
        draw.rectangle((left, middle - half, right, middle + half), fill=TRACK)
        draw.rectangle(
            (left, middle - half, left + p * (right - left), middle + half),
            fill=ORANGE if k == best else BLUE,
        )
        if p >= 0.005:
            draw.text((width, middle), f"{p:.2f}", fill=INK, font=font, anchor="rm")
    return np.asarray(picture)


@cache
def _font(size: int) -> ImageFont.ImageFont:
    return ImageFont.load_default(size)


def arrange(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Canvases in rows, from the left, with white gaps between them."""
    width = max(sum(part.shape[1] for part in row) + GAP * (len(row) - 1) for row in rows)
    height = sum(max(len(part) for part in row) for row in rows) + GAP * (len(rows) - 1)
    canvas, top = np.full((height, width, 3), 255, np.uint8), 0
    for row in rows:
        left = 0
        for part in row:
            canvas[top : top + len(part), left : left + part.shape[1]] = part
            left += part.shape[1] + GAP
        top += max(len(part) for part in row) + GAP
    return canvas


def pointer(width: int, x: float) -> np.ndarray:
    """A triangle that points down at column x of what stands below it."""
    picture = Image.new("RGB", (width, 9), "white")
    ImageDraw.Draw(picture).polygon([(x - 8, 0), (x + 8, 0), (x, 8)], fill=ORANGE)
    return np.asarray(picture)


def cross_hairs(canvas: np.ndarray, x: float, y: float) -> np.ndarray:
    """A copy of the canvas with a ring at column x, row y, and hairs from it towards the edges:
    seen without colour, too.
    """
    picture = Image.fromarray(canvas)  # a copy
    draw = ImageDraw.Draw(picture)
    height, width = canvas.shape[:2]
    for radius in (11, 8):  # white behind black shows on any ground
        colour, line = ("white", 5) if radius == 11 else ("black", 2)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=line)
    for ends in (
        (0, y, x - 12, y),
        (x + 12, y, width, y),
        (x, 0, x, y - 12),
        (x, y + 12, x, height),
    ):
        draw.line(ends, fill=INK, width=1)
    return np.asarray(picture)


def scatter(
    points: np.ndarray, labels: np.ndarray, limit: float, classes: Sequence[str], side: int
) -> tuple[np.ndarray, Callable]:
    """The latent scatter as a canvas side × side, and the function (z₁, z₂) → (column, row) on
    it.
    """
    figure = Figure(figsize=(side / 100, side / 100), dpi=100, layout="none")
    ax = figure.add_axes((0.16, 0.13, 0.83, 0.85))
    plots.latent_scatter(points, labels, ax, limit, classes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    canvas = np.asarray(Image.open(buffer).convert("RGB"))
    (x0, y0), (x1, y1) = ax.transData.transform([(0, 0), (1, 1)])
    return canvas, lambda z1, z2: (x0 + z1 * (x1 - x0), len(canvas) - y0 - z2 * (y1 - y0))
