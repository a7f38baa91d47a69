"""Training: the loop around a step (progress, history, resume), sweeps over settings, and a short
file for each kind of training.
"""

from labkit.training.loop import Loop
from labkit.training.sweep import sweep

__all__ = ["Loop", "sweep"]
