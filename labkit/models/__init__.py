"""The models of the labs, one file a family; each reads like its paper."""

from labkit.models.reader import Reader
from labkit.models.recurrent import LSTM, VanillaRNN

__all__ = ["LSTM", "Reader", "VanillaRNN"]
