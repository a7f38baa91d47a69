"""Images, palindromes and sums for the labs, and the built-in stand-ins for images."""

from labkit.data.images import DataKey, ImageSet, load

__all__ = ["DataKey", "ImageSet", "load"]
