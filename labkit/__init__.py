"""labkit: the parts of a deep-learning course that its notebooks share.

Importing the package imports nothing else: `from labkit import plots, results`.
"""

__version__ = "0.1.0"
