"""The built-in stand-ins: images drawn from geometry, with the factors they were drawn from."""

from labkit.data.synthetic.cats import cat_faces
from labkit.data.synthetic.digits import digits
from labkit.data.synthetic.garments import garments
from labkit.data.synthetic.standin import StandIn

__all__ = ["StandIn", "cat_faces", "digits", "garments"]
