"""Images, palindromes and their built-in stand-ins."""

from labkit.data.images import ImageSet, load

__all__ = ["ImageSet", "load"]
