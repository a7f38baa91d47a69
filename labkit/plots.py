"""Figures in colours safe for colour-blind eyes: functions draw into an Axes and return it."""

import importlib.util
import io
import os
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch.nn.functional as F
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from labkit import folders

PALETTE = sns.color_palette("colorblind")


def style() -> None:
    """The look of every figure of the kit; call it once, in a notebook's first cell."""
    look = {"axes.spines.right": False, "axes.spines.top": False, "image.cmap": "gray"}
    sns.set_theme(context="notebook", style="ticks", palette=PALETTE, rc=look)
    plt.rcParams["figure.constrained_layout.use"] = True


def show(figure: Figure, caption: str) -> None:
    """Display a figure with `caption` below it, which is its alternative text, too, and close it.

    Under pytest (the kernels of nbval included), and with LABKIT_CHECK_FIGURES=1, a figure that is
    hard to read raises a ValueError that lists what the clone's tests/figure_check.py found.
    """
    from IPython.display import Markdown, display

    refuse_if_hard_to_read(figure)
    kind, picture = fewer_bytes(png(figure))
    display({kind: picture, "text/plain": caption}, raw=True, metadata={kind: {"alt": caption}})
    display(Markdown(f"*{caption}*"))


def refuse_if_hard_to_read(figure: Figure) -> None:
    """The check of `show`: closes the figure and raises the ValueError, where it is asked for."""
    asked = "PYTEST_VERSION" in os.environ or os.environ.get("LABKIT_CHECK_FIGURES") == "1"
    path = folders.repository() / "tests" / "figure_check.py"
    if not (asked and path.is_file()):  # an installed labkit has no tests
        return
    spec = importlib.util.spec_from_file_location("figure_check", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if problems := module.check_figure(figure):
        plt.close(figure)
        raise ValueError("this figure is hard to read:\n- " + "\n- ".join(problems))


def png(figure: Figure, dpi: int = 100) -> bytes:
    """The figure as PNG bytes; closes it."""
    buffer = io.BytesIO()
    if engine := figure.get_layout_engine():
        engine.execute(figure)  # settles in two steps, titles above images would be cut off else
    figure.savefig(buffer, format="png", dpi=dpi, pil_kwargs=dict(compress_level=1))
    plt.close(figure)
    return buffer.getvalue()


def fewer_bytes(picture: bytes) -> tuple[str, bytes]:
    """MIME type and bytes of a picture on white: PNG in 128 colours, JPEG if more than 20,000."""
    image, buffer = Image.open(io.BytesIO(picture)).convert("RGBA"), io.BytesIO()
    white = Image.new("RGBA", image.size, "white")
    flat = Image.alpha_composite(white, image).convert("RGB")
    if flat.getcolors(20_000) is None:
        flat.save(buffer, format="jpeg", quality=82, optimize=True)
        return "image/jpeg", buffer.getvalue()
    flat.quantize(128, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return "image/png", buffer.getvalue()


def image_grid(
    images: Tensor, columns: int, ax: Axes, title: str = "", row_labels: Sequence[str] = ()
) -> Axes:
    """Images (N, C, H, W), uint8 or float in [0, 1], in rows of `columns`, with a label a row."""
    images = images if images.is_floating_point() else images.float() / 255
    missing = -len(images) % columns
    cells = F.pad(images.clamp(0, 1).cpu(), (1, 1, 1, 1, 0, 0, 0, missing), value=1)
    cells = cells.unflatten(0, (-1, columns)).permute(0, 3, 1, 4, 2)  # (rows, H, columns, W, C)
    canvas = cells.flatten(2, 3).flatten(0, 1).squeeze(-1).numpy()
    ax.imshow(canvas, vmin=0, vmax=1, cmap="gray", interpolation="nearest")
    ax.set(title=title, xticks=[])
    ax.set_yticks([cells.shape[1] * (r + 0.5) for r in range(len(row_labels))], row_labels)
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax


def image_pairs(
    pairs: Tensor, labels: Sequence[str], ax: Axes, title: str = "", row_labels: Sequence[str] = ()
) -> Axes:
    """Pairs of images (N, 2, C, H, W), one above the other, with a label below each pair."""
    image_grid(pairs.transpose(0, 1).flatten(0, 1), len(pairs), ax, title, row_labels)
    columns = [(pairs.shape[-1] + 2) * (k + 0.5) for k in range(len(pairs))]
    ax.set_xticks(columns, labels, fontsize="small")
    return ax


def latent_scatter(
    points: np.ndarray, labels: np.ndarray, ax: Axes, limit: float = 3, classes: Sequence[str] = ()
) -> Axes:
    """Latent codes (N, 2) in units of the prior's σ, coloured by label (N,), shown to ±limit.

    Each class is named (numbered without `classes`) at its median, or beside it if names overlap.
    """
    points, labels, limits = np.asarray(points), np.asarray(labels), (-limit, limit)
    ax.set(xlim=limits, ylim=limits, aspect="equal", xlabel="$z_1$ in σ", ylabel="$z_2$ in σ")
    medians, names, inks = [], [], []
    for k in np.unique(labels):
        members, colour = points[labels == k], PALETTE[k % len(PALETTE)]
        ax.scatter(*members.T, s=5, color=colour, alpha=0.5, linewidths=0, rasterized=True)
        median = np.median(members, axis=0)
        if (np.abs(median) < limit).all():
            medians.append(median)
            inks.append([0.65 * part for part in colour])
            names.append(classes[k] if classes else str(k))
    # a little more than a name will take, in units of the axes
    high = 1.3 * 2 * limit * plt.rcParams["font.size"] * ax.figure.dpi / 72 / min(ax.bbox.size)
    sizes = np.array([(0.7 * high * max(1, len(name)), high) for name in names]).reshape(-1, 2)
    places = _apart(np.array(medians).reshape(-1, 2), sizes, limit)
    halo = [patheffects.withStroke(linewidth=3, foreground="white")]
    look = dict(ha="center", va="center", weight="bold", path_effects=halo)
    line = dict(arrowstyle="-", shrinkA=0, shrinkB=0, color="0.4", lw=0.6)  # back to the median
    for name, median, place, ink in zip(names, medians, places, inks, strict=True):
        ax.annotate(name, median, place, arrowprops=line, color=ink, **look)
    return ax


def _apart(places: np.ndarray, sizes: np.ndarray, limit: float) -> np.ndarray:
    """Centres (K, 2) of boxes of `sizes` (K, 2), pushed until none overlap, inside of ±limit."""
    places, order = places.copy(), np.sign(np.subtract.outer(range(len(sizes)), range(len(sizes))))
    need = (sizes[:, None] + sizes) / 2
    for _ in range(500):
        away = places[:, None] - places
        missing = need - np.abs(away)  # (K, K, 2), by axis; boxes overlap where both are positive
        overlap = (missing > 0).all(-1) & (order != 0)
        shorter = missing == missing.min(-1, keepdims=True)
        signs = np.where(away == 0, order[..., None], np.sign(away))
        places += (0.3 * signs * missing * shorter * overlap[..., None]).sum(1)
        places = np.clip(places, sizes / 2 - limit, limit - sizes / 2)
    return places


def thumbnails(
    images: Tensor, points: np.ndarray, ax: Axes, cells: int = 12, quantile: float = 0.01
) -> Axes:
    """A plane of points (N, 2) as a map of their uint8 images (N, C, H, W).

    Each square shows the image whose point is nearest its middle and is white without one;
    `quantile` of the points at either end of each axis is left out.
    """
    points = np.asarray(points)
    low, high = np.quantile(points, quantile, axis=0), np.quantile(points, 1 - quantile, axis=0)
    place = (points - low) / (high - low) * cells  # in squares
    square, away = np.floor(place).astype(int), np.abs(place % 1 - 0.5).max(1)
    canvas = np.full((cells, cells, *images.shape[-2:], 3), 255, np.uint8)
    for k in np.argsort(-away):  # the nearest to the middle is drawn last
        if square[k].min() >= 0 and square[k].max() < cells:
            canvas[cells - 1 - square[k, 1], square[k, 0]] = images[k].permute(1, 2, 0).cpu()
    canvas = np.concatenate(np.concatenate(canvas, 1), 1)
    extent = (low[0], high[0], low[1], high[1])
    ax.imshow(canvas, extent=extent, aspect="auto", interpolation="antialiased")
    return ax


def attention_map(
    weights: np.ndarray, read: Sequence[str], written: Sequence[str], ax: Axes
) -> Axes:
    """Attention weights (written, read) in [0, 1]: a row for each character of the answer."""
    texts = np.vectorize(lambda value: f"{value:.2f}".removeprefix("0"))(weights)
    _numbers(np.asarray(weights), texts, written, read, ax, vmax=1, cmap="Blues")
    ax.set(xlabel="character read", ylabel="character written")
    return ax


def symbol_confusion(counts: np.ndarray, symbols: str, ax: Axes, title: str = "") -> Axes:
    """How often symbol t (row) was answered as p (column), (K, K); right answers are left out."""
    wrong = np.array(counts) * (1 - np.eye(len(symbols), dtype=int))
    texts = np.where(wrong > 0, wrong.astype(str), "")
    _numbers(wrong, texts, symbols, symbols, ax, vmax=max(1, wrong.max()), cmap="Oranges")
    title += f"{wrong.sum():,} of {np.array(counts).sum():,} wrong"
    ax.set(xlabel="answered", ylabel="right answer", title=title)
    return ax


def _numbers(
    values: np.ndarray, texts: np.ndarray, rows: Sequence, columns: Sequence, ax: Axes, **look: Any
) -> None:
    """A matrix of values from 0 to vmax as colours with texts on them; a blank is an open box."""
    image = ax.imshow(values, vmin=0, **look)
    for (row, column), text in np.ndenumerate(texts):
        if text:
            ink = "white" if values[row, column] > 0.6 * image.norm.vmax else "0.2"
            ax.text(column, row, text, ha="center", va="center", color=ink, size="x-small")
    ax.set_xticks(range(len(columns)), [symbol.replace(" ", "␣") for symbol in columns])
    ax.set_yticks(range(len(rows)), [symbol.replace(" ", "␣") for symbol in rows])
