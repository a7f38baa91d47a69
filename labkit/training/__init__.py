"""Training: the loop, sweeps, and per kind of training one step and one trainer."""

from labkit.training.loop import Loop
from labkit.training.sweep import sweep

__all__ = ["Loop", "sweep"]
