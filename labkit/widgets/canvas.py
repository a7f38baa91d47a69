"""Pictures for panels, put together from arrays with NumPy and Pillow in a few milliseconds.

A canvas is an array (H, W, 3) of uint8, white where nothing is drawn. Sizes are in pixels of the
page, and a canvas has DENSITY times as many, so that it is sharp on a fine screen too.
"""

import io
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from labkit import plots

DENSITY = 2
SIDE, THUMB, GAP, LINE = 224, 56, 12, 20  # of a large image, of one in a strip, a gap, a text line
BLUE, ORANGE, GREEN = (tuple(round(255 * c) for c in colour) for colour in plots.PALETTE[:3])
INK, TRACK = (60, 60, 60), (232, 232, 232)


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """matplotlib's sans-serif, which has σ, ₁, ✔ and −, for text `size` pixels high on the page."""
    name = f"fonts/ttf/DejaVuSans{'-Bold' * bold}.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / name, DENSITY * size)


def png(canvas: np.ndarray | Image.Image) -> bytes:
    """PNG bytes that know their density, compressed little because a slider waits for them."""
    buffer, dpi = io.BytesIO(), 100 * DENSITY
    picture = canvas if isinstance(canvas, Image.Image) else Image.fromarray(canvas)
    picture.save(buffer, format="png", compress_level=1, dpi=(dpi, dpi))
    return buffer.getvalue()


def size_on_page(picture: bytes) -> tuple[int, int]:
    """Width and height of a PNG of 100 pixels an inch, or as many as it says. ValueError else."""
    if bytes(picture[:8]) != b"\x89PNG\r\n\x1a\n":
        raise ValueError("a frame is PNG bytes: make it with labkit.plots.png(figure)")
    header = Image.open(io.BytesIO(picture))
    density = header.info.get("dpi", (100,))[0] / 100
    return tuple(round(pixels / density) for pixels in header.size)


def side_by_side(pictures: Sequence[bytes], widest: int = 640) -> tuple[bytes, int, int]:
    """The PNGs in as many rows as it takes, as one, and its size on the page."""
    if len(pictures) == 1:
        return pictures[0], *size_on_page(pictures[0])
    rows, left = [[]], 0
    for picture in pictures:
        width = size_on_page(picture)[0]
        if rows[-1] and left + width > widest:
            rows, left = [*rows, []], 0
        rows[-1].append(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")))
        left += width + GAP
    whole = png(arrange(rows))
    return whole, *size_on_page(whole)


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
    scale = max(1, round(DENSITY * side / len(pixels)))
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def caption(lines: Sequence[str], width: int, size: int = 13, bold: bool = False) -> np.ndarray:
    """Lines of text in the middle of `width` columns of a canvas, smaller if they would not fit."""
    high = DENSITY * round(LINE / 13 * size)
    picture = Image.new("RGB", (width, high * len(lines)), "white")
    for k, line in enumerate(lines):
        sizes = (font(s, bold) for s in range(size, 7, -1))
        fitting = next((f for f in sizes if f.getlength(line) <= width), font(8, bold))
        middle = width / 2, (k + 0.5) * high
        ImageDraw.Draw(picture).text(middle, line, fill=INK, font=fitting, anchor="mm")
    return np.asarray(picture)


def captioned(picture: np.ndarray, *lines: str, best: bool = False) -> np.ndarray:
    """A canvas below its caption; the best of several has an orange frame and a bold caption."""
    if best:
        picture, edge = picture.copy(), 3 * DENSITY
        for side in (picture[:edge], picture[-edge:], picture[:, :edge], picture[:, -edge:]):
            side[:] = ORANGE
    return np.concatenate([caption(lines, picture.shape[1], bold=best), picture])


def strip(
    images: Tensor, place: float | None = None, here: str = "", below: Sequence[str] = ()
) -> np.ndarray:
    """uint8 images (N, C, H, W) side by side, small, with N texts `below` them.

    A triangle called `here` points down at `place`: 0 is the first image, N − 1 the last.
    """
    row = np.concatenate([enlarge(image, THUMB) for image in images], axis=1)
    width, parts = row.shape[1], [row]
    if place is not None:
        above = Image.new("RGB", (width, DENSITY * (10 + LINE * bool(here))), "white")
        draw, x, tip = ImageDraw.Draw(above), width / len(images) * (place + 0.5), above.height - 1
        half, r = font(13).getlength(here) / 2, 7 * DENSITY
        draw.polygon([(x - r, tip - r), (x + r, tip - r), (x, tip)], fill=ORANGE)
        middle = min(max(x, half), width - half), LINE * DENSITY / 2
        draw.text(middle, here, fill=INK, font=font(13), anchor="mm")
        parts.insert(0, np.asarray(above))
    if below:
        cells = [caption([text], width // len(images), 12) for text in below]
        parts.append(np.concatenate(cells, axis=1))
    return np.concatenate(parts)


def bars(
    p: Tensor, names: Sequence[str], width: int, height: int, asked: int | None = None
) -> np.ndarray:
    """Bars of probabilities (K,) with their names or numbers; the largest is orange.

    The bar that is asked for is green, and its name bold.
    """
    names, width, height = names or [*map(str, range(len(p)))], DENSITY * width, DENSITY * height
    step, best = height / len(p), int(p.argmax())
    size = max(7, min(13, int(0.75 * step / DENSITY)))
    left = 8 * DENSITY + max(int(font(size, bold=True).getlength(name)) for name in names)
    right = width - 6 * DENSITY - int(font(size).getlength("0.00"))
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    for k, (name, share) in enumerate(zip(names, p.tolist(), strict=True)):
        middle, colour = (k + 0.5) * step, {best: ORANGE}.get(k, BLUE)
        top, bottom = middle - 0.36 * step, middle + 0.36 * step
        look = dict(fill=INK, font=font(size, bold=k == asked), anchor="rm")
        draw.text((left - 6 * DENSITY, middle), name, **look)
        draw.rectangle((left, top, right, bottom), fill=TRACK)
        end = left + share * (right - left)
        draw.rectangle((left, top, end, bottom), fill=GREEN if k == asked else colour)
        if share >= 0.005:
            draw.text((width, middle), f"{share:.2f}", **look)
    return np.asarray(picture)


def seen(
    p: Tensor, names: Sequence[str], asked: int | None = None, width: int = 268
) -> list[bytes]:
    """The bars of a classifier's p (K,) as PNG, as high as a large image; none for K = 0."""
    if not len(p):
        return []
    drawn = bars(p, names, width, SIDE, asked)
    return [png(captioned(drawn, "what the classifier sees"))]


def arrange(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Canvases in rows, from the left, with white gaps between them."""
    gap = DENSITY * GAP
    width = max(sum(part.shape[1] + gap for part in row) for row in rows) - gap
    heights = [max(map(len, row)) + gap for row in rows]
    canvas, top = np.full((sum(heights) - gap, width, 3), 255, np.uint8), 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for part in row:
            canvas[top : top + len(part), left : left + part.shape[1]] = part
            left += part.shape[1] + gap
        top += height
    return canvas


Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of a canvas


def cross_hairs(plane: Image.Image, x: float, y: float, axes: Box) -> Image.Image:
    """A copy of the picture: a ring at column x, row y, and hairs from it to the axes' edges."""
    picture, d = plane.copy(), DENSITY
    draw, (left, top, right, bottom) = ImageDraw.Draw(picture), axes
    for line in (((left, y), (x - 9 * d, y)), ((x + 9 * d, y), (right, y))):
        if line[0][0] < line[1][0]:
            draw.line(line, fill=INK, width=d)
    for line in (((x, top), (x, y - 9 * d)), ((x, y + 9 * d), (x, bottom))):
        if line[0][1] < line[1][1]:
            draw.line(line, fill=INK, width=d)
    for radius, colour, line in ((11 * d, "white", 5 * d), (8 * d, "black", 2 * d)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=line)
    return picture


def scatter(
    points: np.ndarray,
    labels: np.ndarray,
    limit: float,
    classes: Sequence[str],
    side: int,
    ground: np.ndarray | None = None,
) -> tuple[Image.Image, Callable]:
    """`plots.latent_scatter` as a picture side × side, and (z₁, z₂) → (column, row) on it.

    ground: a canvas of the whole plane, shown faintly behind the points. The picture has a palette,
    a third of the bytes of a canvas, as it is encoded anew at every move.
    """
    dpi = 100 * DENSITY
    figure = Figure(figsize=(side / 100, side / 100), dpi=dpi, layout="none")
    ax = figure.add_axes((0.15, 0.13, 0.82, 0.82))
    if ground is not None:
        ax.imshow(
            255 - ground // 5, extent=[-limit, limit] * 2, zorder=0, cmap="gray", vmin=0, vmax=255
        )
    plots.latent_scatter(points, labels, ax, limit, classes)
    drawn = Image.open(io.BytesIO(plots.png(figure, dpi))).convert("RGB")
    plane = drawn.quantize(250, dither=Image.Dither.NONE)
    (x0, y0), (x1, y1) = ax.transData.transform([(0, 0), (1, 1)])
    return plane, lambda z1, z2: (x0 + z1 * (x1 - x0), plane.height - y0 - z2 * (y1 - y0))
