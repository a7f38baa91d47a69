"""Panels of one's own: a function that draws a figure, or pictures drawn beforehand."""

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from labkit import plots
from labkit.widgets import canvas
from labkit.widgets.panel import Panel, row


def live(draw: Callable[..., Any], **controls: Any) -> Panel:
    """draw(**values) → a figure, or uint8 images (N, C, H, W), or a pair of one and a sentence.

    controls: as in ipywidgets.interact, (low, high, step), a list, True; or a widget; or frames(n).
    """

    def render(**values: Any) -> tuple[bytes, str]:
        drawn = draw(**values)
        picture, sentence = drawn if isinstance(drawn, tuple) else (drawn, "")
        if not isinstance(picture, Figure):
            return canvas.png(canvas.strip(picture)), sentence
        plots.refuse_if_hard_to_read(picture)
        return plots.png(picture, 100 * canvas.DENSITY), sentence

    made = {}
    for name, given in controls.items():
        made[name] = control = ipywidgets.interactive.widget_from_abbrev(given)
        control.description = control.description or name.replace("_", " ")
    rows = [getattr(control, "with_play", control) for control in made.values()]
    return Panel(render, made, rows, "live")


def frames(n: int, value: int = 0, milliseconds: int = 300) -> ipywidgets.IntSlider:
    """A slider over 0 … n − 1 with a play button, for `live`."""
    slider = ipywidgets.IntSlider(value=value, max=n - 1)
    play = ipywidgets.Play(value=value, max=n - 1, interval=milliseconds)
    ipywidgets.jslink((play, "value"), (slider, "value"))  # in the browser, so that it keeps time
    slider.with_play = row(slider, play)
    return slider


def scrubber(frames: Sequence[bytes], labels: Sequence[str], description: str = "epoch") -> Panel:
    """A slider to drag, step or play through frames (PNG bytes), 1 or more, with a label each."""
    if not frames or len(frames) != len(labels):
        found = f"{len(frames)} frames and {len(labels)} labels"
        raise ValueError(f"scrubber needs a frame or more, and one label a frame; got {found}")
    last, options = len(frames) - 1, [(str(label), k) for k, label in enumerate(labels)]
    look = dict(description=description, value=last)
    slider = ipywidgets.SelectionSlider(options=options, **look)
    play = ipywidgets.Play(min=0, max=last, value=last, interval=700)  # milliseconds a frame
    ipywidgets.jslink((play, "value"), (slider, "index"))  # in the browser, so that it keeps time

    def render(frame: int) -> tuple[bytes, str]:
        return frames[frame], f"{description} {options[frame][0]} ({frame + 1} of {last + 1})"

    return Panel(render, {"frame": slider}, [row(slider, play)], "scrubber")
