"""The models of the labs, one file a family; each reads like its paper."""

from labkit.models.classifier import Classifier
from labkit.models.images import draw, encode
from labkit.models.recurrent import LSTM, VanillaRNN

__all__ = ["LSTM", "Classifier", "VanillaRNN", "draw", "encode"]
