"""What makes a figure hard to read, measured: `labkit.plots.show` loads this file under tests.

All is measured in pixels of the figure, so that logarithmic axes need no rule of their own.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.category import UnitData
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def check_figure(figure: Figure) -> list[str]:
    """What is wrong with a figure, a sentence with a remedy each; an empty list if it is fine.

    It looks for four faults in what is visible:
    - an axis with a label but no tick label inside its limits;
    - data that fill less than a third of an axis. An axis that starts at 0 is filled from there, as
      by bars. Reference lines and spans (axhline, axvspan) are no data, but where there is one a
      tenth will do. Nothing is asked of an axis that shows a whole range of shares (0 to 1, 0 to
      100), of a plane around 0 in one scale (equal aspect), and of data with one value;
    - texts that overlap, or are cut off by the figure's edge;
    - a legend that covers data.
    """
    if engine := figure.get_layout_engine():
        engine.execute(figure)  # a layout settles in two steps; the second is a part of drawing
    figure.draw_without_rendering()
    data = {ax: _data(ax) for ax in figure.axes if ax.get_visible()}
    problems = [text for ax, points in data.items() for text in _axis_problems(ax, points)]
    problems += _text_problems(figure)
    for legend in filter(Legend.get_visible, figure.findobj(Legend)):
        box = legend.get_window_extent().padded(-1)
        parts = [(Bbox.intersection(box, ax.bbox), points) for ax, points in data.items()]
        if any(part and _inside(part, points) for part, points in parts):
            of = _name(legend.axes) if legend.axes else "the figure"
            problems.append(
                f"the legend of {of} covers data; give it another loc=, or put it beside the axes"
                " with loc='upper left', bbox_to_anchor=(1, 1)"
            )
    return problems


def _inside(box: Bbox, points: np.ndarray) -> bool:
    return bool(((points > box.min) & (points < box.max)).all(1).any())


def _name(ax: Axes) -> str:
    title = ax.get_title() or ax.get_title("left") or ax.get_ylabel() or ax.get_xlabel()
    return f"axes {ax.figure.axes.index(ax)}" + f" ({title})" * bool(title)


def _data(ax: Axes) -> np.ndarray:
    """Pixels (n, 2) on which data are drawn: lines and areas as many points, as far as finite."""
    found = [np.empty((0, 2))]
    for artist in (*ax.lines, *ax.patches, *ax.collections, *ax.images):
        transform = artist.get_transform()
        offset = artist.get_offset_transform() if artist in ax.collections else transform
        moved = offset is not transform and all(offset.contains_branch_seperately(ax.transData))
        in_data = moved or all(transform.contains_branch_seperately(ax.transData))
        if not (artist.get_visible() and in_data):  # the x of an axhline is a share of the axes
            continue
        if artist in ax.images:
            left, right, bottom, top = artist.get_extent()
            found.append(_area(ax, ax.transData.transform([(left, bottom), (right, top)])))
        elif artist in ax.patches:
            found.append(_area(ax, transform.transform(artist.get_path().vertices)))
        elif artist in ax.lines:
            points = transform.transform(artist.get_xydata())
            found += [points, _between(points) if artist.get_linestyle() != "None" else points]
        elif moved:
            points = np.ma.filled(np.ma.asarray(artist.get_offsets(), float), np.nan)
            found.append(offset.transform(points))
        else:
            found += [_between(transform.transform(path.vertices)) for path in artist.get_paths()]
    points = np.concatenate(found)
    return points[np.isfinite(points).all(1)]


def _between(points: np.ndarray, steps: int = 20) -> np.ndarray:
    """Points on the straight lines from each of `points` (n, 2) to the next."""
    t = np.linspace(0, 1, steps)[:, None, None]
    return ((1 - t) * points[:-1] + t * points[1:]).reshape(-1, 2)


def _area(ax: Axes, corners: np.ndarray, steps: int = 40) -> np.ndarray:
    """Points all over the rectangle around `corners` (n, 2), as far as it is inside the axes."""
    ends = np.clip([corners.min(0), corners.max(0)], ax.bbox.min, ax.bbox.max)
    return np.stack(np.meshgrid(*np.linspace(*ends, steps).T), -1).reshape(-1, 2)


def _axis_problems(ax: Axes, data: np.ndarray) -> Iterator[str]:
    """Sentences about the two axes of `ax`, whose data are drawn on the pixels `data`."""
    if ax.axison and not len(data) and not ax.texts and not ax.get_legend():
        yield f"{_name(ax)} shows no data; leave it out, or say in a text why there are none"
    for k, axis in enumerate((ax.xaxis, ax.yaxis) if ax.axison else ()):
        low, high = sorted(axis.get_view_interval())
        where = f"the {'xy'[k]}-axis of {_name(ax)}, {low:.4g} to {high:.4g},"
        label = axis.get_label_text() if axis.get_visible() and axis.label.get_visible() else ""
        shared = (ax.get_shared_x_axes, ax.get_shared_y_axes)[k]().get_siblings(ax)
        if label and not any(_tick_labels((one.xaxis, one.yaxis)[k]) for one in shared):
            yield (
                f"{where} is labelled '{label}' but has no tick label inside its limits; set ticks"
                " where the data are (categories stand at 0, 1, 2 …), or make the label a title"
            )
        plane = low == -high and ax.get_aspect() == 1
        shares = any(abs(low) <= 0.06 * end and end <= high <= 1.06 * end for end in (1, 100))
        shares = shares and axis.get_scale() == "linear"
        if len(data) and not plane and not shares:
            # axes with common limits are filled if one of them is
            together = [(one, _data(one)) for one in shared]
            parts = [(one, (one.xaxis, one.yaxis)[k], k, d[:, k]) for one, d in together if len(d)]
            filled = max(_filled(*part) for part in parts)
            if filled < (1 / 10 if _has_reference(ax, k) else 1 / 3):
                yield f"{where} is filled by data to {filled:.0%}; set its limits to the data"


def _has_reference(ax: Axes, k: int) -> bool:
    """Whether a line or a span marks places of the axis k alone, as axvline (0), axhline (1) do."""
    transforms = (artist.get_transform() for artist in (*ax.lines, *ax.patches))
    in_data = (transform.contains_branch_seperately(ax.transData) for transform in transforms)
    return any(sides[k] and not sides[1 - k] for sides in in_data)


def _tick_labels(axis: Axis) -> list[Text]:
    """The tick labels that are drawn: those inside the limits."""
    to_linear, k = axis.get_transform().transform, "xy".index(axis.axis_name)
    labels = [text for text in axis.get_ticklabels(which="both") if _is_seen(text)]
    low, high = sorted(to_linear(axis.get_view_interval()))
    places = to_linear([text.get_position()[k] for text in labels])
    inside = np.abs(places - (low + high) / 2) < 0.500001 * (high - low)
    return [text for text, seen in zip(labels, inside, strict=True) if seen and axis.get_visible()]


def _is_seen(text: Text) -> bool:
    return text.get_visible() and bool(text.get_text().strip())


def _filled(ax: Axes, axis: Axis, k: int, pixels: np.ndarray) -> float:
    """Share of an axis from the first to the last of the data (n,), in [0, 1]."""
    (start, end), limits = ax.bbox.get_points()[:, k], axis.get_view_interval()
    first, last = pixels.min(), pixels.max()
    if isinstance(axis.units, UnitData):  # a category takes the whole of its place
        half = (end - start) / abs(limits[1] - limits[0]) / 2
        first, last = first - half, last + half
    elif last - first < 1 and start <= first <= end:
        return 1.0
    first, last = start if limits[0] == 0 else first, end if limits[1] == 0 else last
    return np.diff(np.clip([first, last], start, end)).item() / (end - start)


def _text_problems(figure: Figure) -> Iterator[str]:
    boxes = []
    for text in _texts(figure):
        box, line = Text.get_window_extent(text), text.get_fontsize() * figure.dpi / 72
        if (box.min < figure.bbox.min - 1).any() or (box.max > figure.bbox.max + 1).any():
            yield f"'{text.get_text()}' is cut off by the figure's edge; shorten or move it"
        # letters seldom fill the height of their line
        boxes.append((text, Bbox([box.min + (0.5, 0.15 * line), box.max - (0.5, 0.15 * line)])))
    for (a, one), (b, other) in combinations(boxes, 2):
        parallel = a.get_rotation() % 90 and a.get_rotation() == b.get_rotation()
        if not parallel and Bbox.intersection(one, other):
            yield (
                f"'{a.get_text()}' and '{b.get_text()}' overlap; make the figure larger, or the"
                " texts fewer, shorter or smaller"
            )


def _texts(figure: Figure) -> list[Text]:
    """Every text that can be seen."""
    found = list(figure.texts)
    for ax in (ax for ax in figure.axes if ax.get_visible()):
        found += [ax.title, ax._left_title, ax._right_title, *ax.texts]
        for axis in (ax.xaxis, ax.yaxis) if ax.axison else ():
            found += [*_tick_labels(axis), axis.offsetText]
            found += [axis.label] * axis.get_visible()
    for legend in filter(Legend.get_visible, figure.findobj(Legend)):
        found += [legend.get_title(), *legend.get_texts()]
    return list(filter(_is_seen, found))
