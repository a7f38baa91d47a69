"""Figures: each function takes arrays and an Axes and returns the Axes; none trains or loads.
Colours are safe for colour-blind eyes.
"""

import io
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

PALETTE = sns.color_palette("colorblind")


def style() -> None:
    """The look of every figure of the kit; call it once, in a notebook's first cell."""
    sns.set_theme(
        context="notebook",
        style="ticks",
        palette=PALETTE,
        rc={"axes.spines.right": False, "axes.spines.top": False, "image.cmap": "gray"},
    )
    plt.rcParams["figure.constrained_layout.use"] = True


def show(figure: Figure, caption: str) -> None:
    """Display a figure in the notebook with `caption` below it, which is also its alternative text,
    and close it.
    """
    from IPython.display import Markdown, display

    picture = png(figure, optimize=True)
    display(
        {mime(picture): picture, "text/plain": caption},
        raw=True,
        metadata={mime(picture): {"alt": caption}},
    )
    display(Markdown(f"*{caption}*"))


def png(figure: Figure, dpi: int = 100, optimize: bool = False) -> bytes:
    """The figure as PNG bytes; closes it. optimize: a third of the size (`fewer_bytes`; slower: for
    files, not for sliders).
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    plt.close(figure)
    return fewer_bytes(buffer.getvalue()) if optimize else buffer.getvalue()


def mime(picture: bytes) -> str:
    """The MIME type of a picture that `fewer_bytes` made."""
    return "image/png" if picture.startswith(b"\x89PNG") else "image/jpeg"


def fewer_bytes(picture: bytes) -> bytes:
    """A PNG on white, in the 128 colours that suit it best; or a JPEG if its colours are many, as
    in photographs.
    """
    image = Image.open(io.BytesIO(picture)).convert("RGBA")
    flat, buffer = (
        Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"),
        io.BytesIO(),
    )
    if flat.getcolors(20_000) is None:
        flat.save(buffer, format="jpeg", quality=82, optimize=True)
    else:
        flat.quantize(128, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def image_grid(
    images: Tensor, columns: int, ax: Axes, title: str = "", row_labels: Sequence[str] = ()
) -> Axes:
    """Images (N, C, H, W), uint8 or float in [0, 1], in rows of `columns`; one label a row if
    given.
    """
    images = images.float() / 255 if not images.is_floating_point() else images
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    canvas = np.ones((rows * (height + 2), columns * (width + 2), channels))
    for k, image in enumerate(images.permute(0, 2, 3, 1).clamp(0, 1).cpu().numpy()):
        y, x = k // columns * (height + 2) + 1, k % columns * (width + 2) + 1
        canvas[y : y + height, x : x + width] = image
    ax.imshow(
        canvas.squeeze(-1) if channels == 1 else canvas,
        vmin=0,
        vmax=1,
        cmap="gray",
        interpolation="nearest",
    )
    ax.set_title(title)
    ax.set_xticks([])
    ax.set_yticks([(height + 2) * (r + 0.5) for r in range(len(row_labels))], row_labels)
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax


def image_pairs(
    pairs: Tensor, labels: Sequence[str], ax: Axes, title: str = "", row_labels: Sequence[str] = ()
) -> Axes:
    """Pairs of images (N, 2, C, H, W), one above the other, with a label below each pair."""
    image_grid(pairs.transpose(0, 1).flatten(0, 1), len(pairs), ax, title, row_labels)
    ax.set_xticks(
        [(pairs.shape[-1] + 2) * (k + 0.5) for k in range(len(pairs))], labels, fontsize="small"
    )
    return ax


def latent_scatter(
    points: np.ndarray,
    labels: np.ndarray,
    ax: Axes,
    limit: float = 3.0,
    classes: Sequence[str] = (),
) -> Axes:
    """Latent codes (N, 2) in units of the prior's σ, coloured by label (N,), each class named at
    its median; cut off beyond ±limit.

    classes: names of the labels, their numbers if not given.
    """
    points, labels = np.asarray(points), np.asarray(labels)
    for k in np.unique(labels):
        members, colour = points[labels == k], PALETTE[k % len(PALETTE)]
        ax.scatter(*members.T, s=5, color=colour, alpha=0.5, linewidths=0, rasterized=True)
        x, y = np.median(members, axis=0)
        halo = [patheffects.withStroke(linewidth=3, foreground="white")]
        ax.text(
            x,
            y,
            classes[k] if classes else str(k),
            ha="center",
            va="center",
            weight="bold",
            path_effects=halo,
            clip_on=True,
        )
    ax.set(
        xlim=(-limit, limit),
        ylim=(-limit, limit),
        aspect="equal",
        xlabel="$z_1$ in σ",
        ylabel="$z_2$ in σ",
    )
    return ax


def thumbnails(
    images: Tensor, points: np.ndarray, ax: Axes, cells: int = 12, quantile: float = 0.01
) -> Axes:
    """A plane of points (N, 2) as a map of their images (N, C, H, W), uint8: each square shows the
    image nearest its middle.

    Squares without a point stay white; `quantile` of the points at either end of each axis is left
    out.
    """
    points = np.asarray(points)
    low, high = np.quantile(points, quantile, axis=0), np.quantile(points, 1 - quantile, axis=0)
    place = (points - low) / (high - low) * cells  # in squares
    square, away = np.floor(place).astype(int), np.abs(place % 1 - 0.5).max(1)
    height, width = images.shape[-2:]
    canvas = np.full((cells * height, cells * width, 3), 255, np.uint8)
    for k in np.argsort(-away):  # the nearest to the middle is drawn last
        column, row = square[k, 0], cells - 1 - square[k, 1]
        if 0 <= column < cells and 0 <= row < cells:
            canvas[row * height : (row + 1) * height, column * width : (column + 1) * width] = (
                images[k].permute(1, 2, 0).cpu().numpy()
            )
    ax.imshow(
        canvas,
        extent=(low[0], high[0], low[1], high[1]),
        aspect="auto",
        interpolation="antialiased",
    )
    return ax


def ranking(scores: dict[str, float], chosen: str, ax: Axes) -> Axes:
    """Horizontal bars of positive scores on a logarithmic axis, in the order given; the `chosen`
    one stands out by colour and bold name.
    """
    names = list(scores)
    ax.barh(
        names,
        list(scores.values()),
        color=[PALETTE[1] if name == chosen else PALETTE[7] for name in names],
    )
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.tick_params(axis="y", length=0, labelsize="small")
    for label in ax.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == chosen else "normal")
    return ax


def gate_panels(trace: tuple, digits: Sequence[int | str], axes: np.ndarray) -> np.ndarray:
    """Gates and cell of an LSTM over one sequence: top row units × time, bottom row the mean over
    units.

    trace: an LSTMState of arrays (T, H); digits: the T digits read, as tick labels; axes: (2, 4).
    Units are sorted by |c| at the end.
    """
    order = np.argsort(np.abs(np.asarray(trace.c)[-1]))[::-1]
    every = -(-len(digits) // 20)  # more tick labels than this would touch
    panels = {
        "input gate i": trace.i,
        "forget gate f": trace.f,
        "output gate o": trace.o,
        "cell state c": trace.c,
    }
    for (above, below), (name, values) in zip(axes.T, panels.items(), strict=True):
        values, is_gate = np.asarray(values), "gate" in name
        limit = 1 if is_gate else np.abs(values).max()
        low, colours = (0, "viridis") if is_gate else (-limit, "RdBu_r")
        picture = above.imshow(
            values.T[order],
            aspect="auto",
            interpolation="nearest",
            cmap=colours,
            vmin=low,
            vmax=limit,
        )
        if name in (
            "output gate o",
            "cell state c",
        ):  # one scale for the three gates, one for the cell
            columns = axes[:, :3] if is_gate else axes[:, 3]
            above.figure.colorbar(
                picture, ax=columns, location="top", shrink=0.9, aspect=100 if is_gate else 30
            )
        above.set(xlabel=name, xticks=[], yticks=[])
        below.plot(values.mean(axis=1) if is_gate else np.abs(values).mean(axis=1), marker=".")
        below.set(
            xlim=(-0.5, len(values) - 0.5),
            xticks=range(0, len(digits), every),
            xticklabels=digits[::every],
            xlabel="digit read",
        )
        below.set(ylim=(0, 1) if is_gate else (0, None))
    axes[0, 0].set_ylabel("unit")
    axes[1, 0].set_ylabel("mean")
    axes[1, 3].set_ylabel("mean |c|")
    return axes


def attention_map(
    weights: np.ndarray, read: Sequence[str], written: Sequence[str], ax: Axes
) -> Axes:
    """Attention weights (written, read): a row for each character of the answer, in [0, 1], each
    with its value.
    """
    weights = np.asarray(weights)
    ax.imshow(weights, vmin=0, vmax=1, cmap="Blues", aspect="equal")
    for (row, column), value in np.ndenumerate(weights):
        ax.text(
            column,
            row,
            f"{value:.2f}".removeprefix("0"),
            ha="center",
            va="center",
            color="white" if value > 0.5 else "0.3",
            size="small",
        )
    ax.set(
        xticks=range(len(read)),
        xticklabels=_visible(read),
        yticks=range(len(written)),
        yticklabels=_visible(written),
    )
    ax.set(xlabel="character read", ylabel="character written")
    return ax


def symbol_confusion(counts: np.ndarray, symbols: str, ax: Axes, title: str = "") -> Axes:
    """How often symbol t (row) was answered as p (column), (K, K): mistakes as numbers and colour,
    right answers left out.
    """
    wrong = np.array(counts) * (1 - np.eye(len(symbols), dtype=int))
    ax.imshow(wrong, cmap="Oranges", vmin=0, vmax=max(1, wrong.max()))
    for (row, column), n in np.ndenumerate(wrong):
        if n:
            ax.text(
                column,
                row,
                str(n),
                ha="center",
                va="center",
                size="x-small",
                color="white" if n > 0.7 * wrong.max() else "black",
            )
    ax.set(
        xticks=range(len(symbols)),
        xticklabels=_visible(symbols),
        yticks=range(len(symbols)),
        yticklabels=_visible(symbols),
    )
    ax.set(
        xlabel="answered",
        ylabel="right answer",
        title=f"{title}{wrong.sum():,} of {np.array(counts).sum():,} wrong",
    )
    return ax


def _visible(symbols: Sequence[str]) -> list[str]:
    """Symbols as tick labels: a blank as an open box."""
    return ["␣" if symbol == " " else symbol for symbol in symbols]
