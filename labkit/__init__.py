"""labkit: what would distract from the story that the notebooks tell.

Importing the package imports nothing else; take what you need, e.g. `from labkit import data,
models, plots`.
"""

__version__ = "0.1.0"
