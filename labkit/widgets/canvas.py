"""Pictures for sliders, put together from arrays with NumPy and Pillow in a few milliseconds.

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

SIDE, THUMB, GAP = 224, 56, 12  # of the large image, of one in a strip, between parts
BLUE, ORANGE = (tuple(round(255 * c) for c in colour) for colour in plots.PALETTE[:2])
INK, TRACK = (70, 70, 70), (232, 232, 232)
FONT = cache(ImageFont.load_default)  # by size


def png(canvas: np.ndarray) -> bytes:
    """PNG bytes, compressed little because a slider waits for them."""
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()


def png_width(picture: bytes) -> int:
    """Width of a PNG in pixels, from its header. Raises ValueError for anything else."""
    if bytes(picture[:8]) != b"\x89PNG\r\n\x1a\n":
        raise ValueError("a frame is PNG bytes: make it with labkit.plots.png(figure)")
    return int.from_bytes(picture[16:20], "big")


def quantise(images: Tensor, image_range: tuple[float, float], what: str = "the model") -> Tensor:
    """Float images (N, 1 or 3, H, W) with values in `image_range` as uint8 on the CPU.

    uint8 images stay as they are. Raises ValueError, saying that `what` gave the images, for
    another shape and for values outside of the range by more than rounding.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        found = f"{what} gave {tuple(images.shape)}"
        raise ValueError(f"{found}, expected images (N, 1 or 3, H, W); reshape them with .view")
    if not images.is_floating_point():
        return images.cpu()
    low, high = image_range
    least, most = (float(end) for end in images.aminmax())
    slack = 0.01 * (high - low)
    if not (least > low - slack and most < high + slack):
        found = f"{what} gave values from {least:.2f} to {most:.2f}, expected {low} to {high}"
        raise ValueError(f"{found}: pass image_range=(low, high), or the .sigmoid() of logits")
    return ((images.float().cpu() - low) * (255 / (high - low))).round().clamp(0, 255).byte()


def enlarge(image: Tensor, side: int = SIDE) -> np.ndarray:
    """One uint8 image (C, H, W) about `side` pixels high, each of its pixels a square."""
    pixels = image.permute(1, 2, 0).expand(-1, -1, 3).numpy()
    scale = max(1, round(side / len(pixels)))
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def strip(images: Tensor) -> np.ndarray:
    """uint8 images (N, C, H, W) side by side, small."""
    return np.concatenate([enlarge(image, THUMB) for image in images], axis=1)


def bars(probabilities: Tensor, names: Sequence[str], width: int, height: int) -> np.ndarray:
    """Bars of probabilities (K,) with their names or numbers, the largest orange; K may be 0."""
    if not len(probabilities):
        return np.empty((0, 0, 3), np.uint8)
    names = names or [*map(str, range(len(probabilities)))]
    step, best = height / len(probabilities), int(probabilities.argmax())
    font = FONT(min(15, int(0.75 * step)))
    left = 8 + max(int(font.getlength(name)) for name in names)
    right = width - 6 - int(font.getlength("0.00"))
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    for k, (name, p) in enumerate(zip(names, probabilities.tolist(), strict=True)):
        middle = (k + 0.5) * step
        top, bottom = middle - 0.36 * step, middle + 0.36 * step
        end, colour = left + p * (right - left), ORANGE if k == best else BLUE
        draw.text((left - 6, middle), name, fill=INK, font=font, anchor="rm")
        draw.rectangle((left, top, right, bottom), fill=TRACK)
        draw.rectangle((left, top, end, bottom), fill=colour)
        if p >= 0.005:
            draw.text((width, middle), f"{p:.2f}", fill=INK, font=font, anchor="rm")
    return np.asarray(picture)


def arrange(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Canvases in rows, from the left, with white gaps between them; empty ones are left out."""
    rows = [[part for part in row if part.size] for row in rows]
    rows = [row for row in rows if row]
    width = max(sum(part.shape[1] + GAP for part in row) for row in rows) - GAP
    heights = [max(map(len, row)) + GAP for row in rows]
    canvas, top = np.full((sum(heights) - GAP, width, 3), 255, np.uint8), 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for part in row:
            canvas[top : top + len(part), left : left + part.shape[1]] = part
            left += part.shape[1] + GAP
        top += height
    return canvas


def over_strip(
    images: Tensor, image: Tensor, place: float, p: Tensor, classes: Sequence[str]
) -> bytes:
    """PNG of an image (C, H, W), large, beside the bars of p (K,) and above a strip of N images.

    A triangle points down at `place`: 0 is the first image, N − 1 the last.
    """
    below, large = strip(images), enlarge(image)
    width = below.shape[1]
    x, pointer = width / len(images) * (place + 0.5), Image.new("RGB", (width, 9), "white")
    ImageDraw.Draw(pointer).polygon([(x - 8, 0), (x + 8, 0), (x, 8)], fill=ORANGE)
    beside = bars(p, classes, width - large.shape[1] - GAP, len(large))
    return png(arrange([[large, beside], [np.asarray(pointer)], [below]]))


def cross_hairs(canvas: np.ndarray, x: float, y: float) -> np.ndarray:
    """A copy of the canvas with a ring at column x, row y, and hairs from it to the edges."""
    picture = Image.fromarray(canvas)  # a copy
    draw, (height, width) = ImageDraw.Draw(picture), canvas.shape[:2]
    for radius, colour, line in ((11, "white", 5), (8, "black", 2)):  # seen on any ground
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=line)
    for sign, edge_x, edge_y in ((-1, 0, 0), (1, width, height)):
        draw.line((x + 12 * sign, y, edge_x, y), fill=INK)
        draw.line((x, y + 12 * sign, x, edge_y), fill=INK)
    return np.asarray(picture)


def scatter(
    points: np.ndarray, labels: np.ndarray, limit: float, classes: Sequence[str], side: int
) -> tuple[np.ndarray, Callable]:
    """`plots.latent_scatter` as a canvas side × side, and (z₁, z₂) → (column, row) on it."""
    figure = Figure(figsize=(side / 100, side / 100), dpi=100, layout="none")
    ax = figure.add_axes((0.16, 0.13, 0.83, 0.85))
    plots.latent_scatter(points, labels, ax, limit, classes)
    canvas = np.asarray(Image.open(io.BytesIO(plots.png(figure))).convert("RGB"))
    (x0, y0), (x1, y1) = ax.transData.transform([(0, 0), (1, 1)])
    return canvas, lambda z1, z2: (x0 + z1 * (x1 - x0), len(canvas) - y0 - z2 * (y1 - y0))
