"""Interactive panels: each takes a trained model, or pictures of one, and never trains."""

from labkit.widgets import canvas
from labkit.widgets.arithmetic import calculator, handwritten
from labkit.widgets.faces import completeness, directions
from labkit.widgets.gallery import gallery, scrubber
from labkit.widgets.latent_space import latent_plane, same_style, walk
from labkit.widgets.palindrome import palindrome_gates
from labkit.widgets.panel import Panel

__all__ = ["Panel", "calculator", "canvas", "completeness", "directions", "gallery", "handwritten"]
__all__ += ["latent_plane", "palindrome_gates", "same_style", "scrubber", "walk"]
