"""LSTM and vanilla RNN, written out from their equations, that read a sequence and name one class.

Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; forget gate: Gers et al. 2000,
doi:10.1162/089976600300015015.
Shapes: N sequences, T steps, D inputs, H hidden units, K classes. In the equations ⊙ is *.
"""

import math
from collections import namedtuple
from collections.abc import Iterator

import torch
from torch import Tensor, nn

# Candidate g, gates i, f, o, cell c, hidden state h: (N, H) at one step, (N, T, H) at all of them.
LSTMState = namedtuple("LSTMState", "g i f o c h")
RNNState = namedtuple("RNNState", "h")


def _weight(fan_in: int, fan_out: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(fan_in, fan_out) / math.sqrt(fan_in))  # N(0, 1/fan_in)


def _bias(size: int, value: float = 0.0) -> nn.Parameter:
    return nn.Parameter(torch.full((size,), float(value)))


class _ManyToOne(nn.Module):
    """Reads the class out of the last of states(x): those after each step of x (N, T, D)."""

    def read_out(self, h: Tensor) -> Tensor:
        """Logits (…, K) of hidden states h (…, H)."""
        # p = W_ph h + b_p
        return h @ self.W_ph + self.b_p

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) after the last step of x (N, T, D)."""
        *_, last = self.states(x)
        return self.read_out(last.h)

    def trace(self, x: Tensor) -> LSTMState | RNNState:
        """Every gate and state over time for x (N, T, D), each (N, T, H)."""
        states = list(self.states(x))
        return type(states[0])(*(torch.stack(part, dim=1) for part in zip(*states, strict=True)))


class LSTM(_ManyToOne):
    """Long short-term memory: sequences (N, T, D) → logits (N, K) after the last step.

    forget_bias: the initial b_f; 3 opens the forget gate to 0.95. chrono_length: instead, set
    b_f = log u with u ~ U(1, chrono_length − 1) and b_i = −b_f, for memories of 1 … chrono_length
    steps (Tallec & Ollivier 2018, arXiv:1804.11188, eq. 16).
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        output_dim: int,
        forget_bias: float = 0.0,
        chrono_length: int | None = None,
    ):
        super().__init__()
        D, H, K = input_dim, hidden_dim, output_dim
        self.hidden_dim = hidden_dim
        self.W_gx, self.W_gh, self.b_g = _weight(D, H), _weight(H, H), _bias(H)
        self.W_ix, self.W_ih, self.b_i = _weight(D, H), _weight(H, H), _bias(H)
        self.W_fx, self.W_fh, self.b_f = _weight(D, H), _weight(H, H), _bias(H, forget_bias)
        self.W_ox, self.W_oh, self.b_o = _weight(D, H), _weight(H, H), _bias(H)
        self.W_ph, self.b_p = _weight(H, K), _bias(K)
        if chrono_length is not None:
            if chrono_length < 2:
                raise ValueError(f"chrono_length must be at least 2 steps, got {chrono_length}")
            nn.init.uniform_(self.b_f, 1, max(2, chrono_length - 1))
            self.b_f.data.log_()
            self.b_i.data = -self.b_f.data

    def states(self, x: Tensor) -> Iterator[LSTMState]:
        # The gates share their inputs, so one product with their weights side by side serves all
        # four. The part of x is computed for all steps at once: there is no recurrence in it.
        W_x = torch.cat([self.W_ix, self.W_fx, self.W_ox, self.W_gx], dim=1)  # (D, 4H)
        W_h = torch.cat([self.W_ih, self.W_fh, self.W_oh, self.W_gh], dim=1)  # (H, 4H)
        b = torch.cat([self.b_i, self.b_f, self.b_o, self.b_g])  # (4H)
        from_x = x.transpose(0, 1) @ W_x + b  # (T, N, 4H)
        c = h = x.new_zeros(len(x), self.hidden_dim)
        # unbind, not from_x[t]: the gradient of an index is an array of zeros at every step
        for from_x_t in from_x.unbind():
            gates = torch.addmm(from_x_t, h, W_h)  # (N, 4H)
            ifo, g = gates.split([3 * self.hidden_dim, self.hidden_dim], dim=1)
            # i = σ(W_ix x + W_ih h + b_i)
            # f = σ(W_fx x + W_fh h + b_f)
            # o = σ(W_ox x + W_oh h + b_o)
            i, f, o = torch.sigmoid(ifo).chunk(3, dim=1)  # each (N, H)
            # g = tanh(W_gx x + W_gh h + b_g)
            g = torch.tanh(g)
            # c = g ⊙ i + c ⊙ f
            c = torch.addcmul(c * f, g, i)
            # h = tanh(c) ⊙ o
            h = torch.tanh(c) * o
            yield LSTMState(g, i, f, o, c, h)


class VanillaRNN(_ManyToOne):
    """Elman's network (1990, doi:10.1207/s15516709cog1402_1): (N, T, D) → logits (N, K).

    orthogonal: begin with such a W_hh, which keeps lengths (Saxe et al. 2014, arXiv:1312.6120).
    """

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, orthogonal: bool = False):
        super().__init__()
        D, H, K = input_dim, hidden_dim, output_dim
        self.hidden_dim = hidden_dim
        self.W_hx, self.W_hh, self.b_h = _weight(D, H), _weight(H, H), _bias(H)
        self.W_ph, self.b_p = _weight(H, K), _bias(K)
        if orthogonal:
            nn.init.orthogonal_(self.W_hh)

    def states(self, x: Tensor) -> Iterator[RNNState]:
        h = x.new_zeros(len(x), self.hidden_dim)
        for from_x_t in (x.transpose(0, 1) @ self.W_hx + self.b_h).unbind():  # T times (N, H)
            # h = tanh(W_hx x + W_hh h + b_h)
            h = torch.tanh(torch.addmm(from_x_t, h, self.W_hh))
            yield RNNState(h)
