"""Interactive panels: each takes a trained model, or pictures of one, and never trains.

Those that belong to one study are in `labkit.studies`, and are loaded when they are asked for.
"""

from typing import Any

from labkit.widgets import canvas
from labkit.widgets.latent_space import completeness, directions, latent_plane, same_style, walk
from labkit.widgets.live import frames, live, scrubber
from labkit.widgets.panel import Panel
from labkit.widgets.quiz import Quiz

OF_STUDIES = ("calculator", "handwritten", "palindrome_gates")
__all__ = ["Panel", "Quiz", "canvas", "completeness", "directions", "frames", "latent_plane"]
__all__ += ["live", "same_style", "scrubber", "walk", *OF_STUDIES]


def __getattr__(name: str) -> Any:
    if name not in OF_STUDIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from labkit.studies import sequence_panels

    return getattr(sequence_panels, name)
