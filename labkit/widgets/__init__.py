"""Interactive panels: each takes a trained model, or pictures of one, and never trains."""

from labkit.widgets import canvas
from labkit.widgets.latent_space import completeness, directions, latent_plane, same_style, walk
from labkit.widgets.live import frames, live, scrubber
from labkit.widgets.panel import Panel
from labkit.widgets.quiz import Quiz
from labkit.widgets.sequences import handwritten, palindrome_gates

__all__ = ["Panel", "Quiz", "canvas", "completeness", "directions", "frames", "handwritten"]
__all__ += ["latent_plane", "live", "palindrome_gates", "same_style", "scrubber", "walk"]
