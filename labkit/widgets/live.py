"""A panel of one's own: a function that draws a figure, and controls for its arguments."""

from collections.abc import Callable
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from labkit import plots
from labkit.widgets import canvas
from labkit.widgets.panel import Panel, row, wide


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
        return plots.png(picture), sentence

    made = {}
    for name, given in controls.items():
        made[name] = control = ipywidgets.interactive.widget_from_abbrev(given)
        control.description = control.description or name.replace("_", " ")
        if hasattr(control, "readout"):  # a slider
            control.layout = wide()
    rows = [getattr(control, "with_play", control) for control in made.values()]
    return Panel(render, made, rows=rows, name="live")


def frames(n: int, value: int = 0, milliseconds: int = 300) -> ipywidgets.IntSlider:
    """A slider over 0 … n − 1 with a play button, for `live`."""
    slider = ipywidgets.IntSlider(value=value, max=n - 1)
    play = ipywidgets.Play(value=value, max=n - 1, interval=milliseconds)
    ipywidgets.jslink((play, "value"), (slider, "value"))  # in the browser, so that it keeps time
    slider.with_play = row(play, slider)
    return slider
