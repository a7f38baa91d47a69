"""Panels of pictures made beforehand: a slider through frames, and a shelf of scored images."""

from collections.abc import Sequence
from functools import lru_cache

import ipywidgets
import matplotlib.pyplot as plt
from torch import Tensor

from labkit import plots
from labkit.widgets import canvas
from labkit.widgets.panel import Panel, dropdown, row, wide


def scrubber(frames: Sequence[bytes], labels: Sequence[str], description: str = "epoch") -> Panel:
    """A slider to drag, step or play through frames (PNG bytes), 1 or more, with a label each."""
    if not frames or len(frames) != len(labels):
        found = f"{len(frames)} frames and {len(labels)} labels"
        raise ValueError(f"scrubber needs a frame or more, and one label a frame; got {found}")
    last, options = len(frames) - 1, [(str(label), k) for k, label in enumerate(labels)]
    look = dict(description=description, layout=wide())
    slider = ipywidgets.SelectionSlider(options=options, value=last, **look)
    play = ipywidgets.Play(min=0, max=last, value=last, interval=700)  # milliseconds a frame
    ipywidgets.jslink((play, "value"), (slider, "index"))  # in the browser, so that it keeps time

    def render(frame: int) -> tuple[bytes, str]:
        return frames[frame], f"{description} {options[frame][0]} ({frame + 1} of {last + 1})"

    width = f"{max(map(canvas.png_width, frames))}px"
    return Panel(render, {"frame": slider}, width, [row(play, slider)], "scrubber")


Shelf = dict[tuple[str, ...], tuple[Tensor, dict[str, float]]]


def gallery(entries: Shelf, names: Sequence[str], columns: int = 10) -> Panel:
    """Choose an entry by its names: its images, and its score among those of its rivals.

    entries: a tuple of `names` (say data, model, size) → uint8 images (N, C, H, W) and scores,
    name → number. Rivals have the same first name; the first score is compared, on a logarithmic
    axis, so it must be positive. Raises ValueError for no entries, or keys that do not fit `names`.
    """
    if not entries or any(len(key) != len(names) for key in entries):
        wanted = f"an entry or more, each under a tuple of {len(names)} names: {', '.join(names)}"
        raise ValueError(f"gallery needs {wanted}")
    options = [list(dict.fromkeys(choices)) for choices in zip(*entries, strict=True)]
    controls = {name: dropdown(name, some) for name, some in zip(names, options, strict=True)}

    @lru_cache(maxsize=32)
    def render(**values: str) -> tuple[bytes, str]:
        chosen = tuple(values.values())
        if chosen not in entries:
            others = ", ".join(key[-1] for key in entries if key[:-1] == chosen[:-1])
            remedy = f"there, {names[-1]} is one of {others}" if others else "choose another"
            raise ValueError(f"There is no {', '.join(chosen)}: {remedy}.")
        (images, own), rivals = entries[chosen], [key for key in entries if key[0] == chosen[0]]
        compared = {" ".join(key[1:]): next(iter(entries[key][1].values())) for key in rivals}
        size = (11, max(3.5, 0.24 * len(rivals)))
        figure, (left, right) = plt.subplots(1, 2, figsize=size, width_ratios=[1.3, 1])
        plots.image_grid(images, columns, left, ", ".join(chosen))
        colours = [plots.PALETTE[1 if key == chosen else 7] for key in rivals]
        right.barh(list(compared), list(compared.values()), color=colours)
        right.set(xscale="log", xlabel=next(iter(own)))
        right.invert_yaxis()
        right.tick_params(axis="y", length=0, labelsize="small")
        right.get_yticklabels()[rivals.index(chosen)].set_fontweight("bold")
        scores = ", ".join(f"{name} {value:.3g}" for name, value in own.items())
        return plots.png(figure, dpi=80), f"{', '.join(chosen)}: {scores}"

    return Panel(render, controls, rows=[row(*controls.values())], name="gallery")
