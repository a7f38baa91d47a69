"""LSTM and vanilla RNN written out from their equations, for tasks that read a sequence and then
name one class.

Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; forget gate: Gers et al. 2000,
doi:10.1162/089976600300015015.
Shapes: N sequences in a batch, T steps, D inputs, H hidden units, K classes. Symbols as in the lab:
@ is the matrix product, * is ⊙.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn


class LSTMState(NamedTuple):
    """Candidate g, gates i, f, o, cell c and hidden state h after one step (N, H), or after all of
    them (N, T, H).
    """

    g: Tensor
    i: Tensor
    f: Tensor
    o: Tensor
    c: Tensor
    h: Tensor


class RNNState(NamedTuple):
    """Hidden state h after one step (N, H), or after all of them (N, T, H)."""

    h: Tensor


class _ManyToOne(nn.Module):
    """What both models share: weights from N(0, 1/fan_in), biases 0, and a read-out of the last
    hidden state.
    """

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, gates: str):
        super().__init__()
        self.hidden_dim = hidden_dim

        def weight(fan_in: int, fan_out: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(fan_in, fan_out) / math.sqrt(fan_in))

        for gate in gates:  # e.g. W_fx (D, H), W_fh (H, H), b_f (H) for gate f
            self.register_parameter(f"W_{gate}x", weight(input_dim, hidden_dim))
            self.register_parameter(f"W_{gate}h", weight(hidden_dim, hidden_dim))
            self.register_parameter(f"b_{gate}", nn.Parameter(torch.zeros(hidden_dim)))
        self.W_ph, self.b_p = weight(hidden_dim, output_dim), nn.Parameter(torch.zeros(output_dim))

    def states(self, x: Tensor) -> Iterator[NamedTuple]:
        """The state after each step of x (N, T, D), one by one."""
        raise NotImplementedError

    def read_out(self, h: Tensor) -> Tensor:
        """Logits (…, K) of hidden states h (…, H)."""
        # p = W_ph h + b_p
        return h @ self.W_ph + self.b_p

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) after the last step of x (N, T, D)."""
        *_, last = self.states(x)
        return self.read_out(last.h)

    def trace(self, x: Tensor) -> NamedTuple:
        """Every gate and state over time for x (N, T, D), each (N, T, H)."""
        states = list(self.states(x))
        return type(states[0])(*(torch.stack(part, dim=1) for part in zip(*states, strict=True)))


class LSTM(_ManyToOne):
    """Long short-term memory: sequences (N, T, D) → logits (N, K) after the last step.

    Parameters W_gx (D, H), W_gh (H, H), b_g (H), likewise for gates i, f, o; W_ph (H, K), b_p (K).
    forget_bias: the initial b_f, a number, or "chrono": b_f = log u with u ~ U(1, max_length − 1)
        and b_i = −b_f, which spreads the units' memories over 1 … max_length steps (Tallec &
        Ollivier 2018, arXiv:1804.11188, eq. 16). ValueError for anything else.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        output_dim: int,
        forget_bias: float | str = 0.0,
        max_length: int = 100,
    ):
        super().__init__(input_dim, hidden_dim, output_dim, gates="gifo")
        if forget_bias == "chrono":
            nn.init.uniform_(self.b_f, 1, max(2, max_length - 1))
            self.b_f.data.log_()
            self.b_i.data = -self.b_f.data
        elif isinstance(forget_bias, int | float):
            nn.init.constant_(self.b_f, forget_bias)
        else:
            raise ValueError(f'forget_bias must be a number or "chrono", got {forget_bias!r}')

    def states(self, x: Tensor) -> Iterator[LSTMState]:
        # The four gates share their inputs, so their weights sit side by side and one product
        # serves all four.
        W_x = torch.cat([self.W_ix, self.W_fx, self.W_ox, self.W_gx], dim=1)  # (D, 4H)
        W_h = torch.cat([self.W_ih, self.W_fh, self.W_oh, self.W_gh], dim=1)  # (H, 4H)
        b = torch.cat([self.b_i, self.b_f, self.b_o, self.b_g])  # (4H)
        W_x_x = (
            x.transpose(0, 1) @ W_x + b
        )  # (T, N, 4H), for all steps at once: no recurrence in it
        c = h = x.new_zeros(len(x), self.hidden_dim)
        for W_x_x_t in (
            W_x_x.unbind()
        ):  # unbind, not [t]: the gradient of an index is a whole array of zeros, at every step
            a = torch.addmm(W_x_x_t, h, W_h)  # (N, 4H)
            ifo, g = a.split([3 * self.hidden_dim, self.hidden_dim], dim=1)
            # i = σ(W_ix x + W_ih h + b_i),  f = σ(W_fx x + W_fh h + b_f),  o = σ(W_ox x + W_oh h +
            # b_o)
            i, f, o = torch.sigmoid(ifo).chunk(3, dim=1)  # each (N, H)
            # g = tanh(W_gx x + W_gh h + b_g)
            g = torch.tanh(g)
            # c = g ⊙ i + c ⊙ f
            c = torch.addcmul(c * f, g, i)
            # h = tanh(c) ⊙ o
            h = torch.tanh(c) * o
            yield LSTMState(g, i, f, o, c, h)


class VanillaRNN(_ManyToOne):
    """Elman's network (1990, doi:10.1207/s15516709cog1402_1): sequences (N, T, D) → logits (N, K)
    after the last step.

    Parameters W_hx (D, H), W_hh (H, H), b_h (H); W_ph (H, K), b_p (K).
    orthogonal: begin with an orthogonal W_hh, which neither shrinks nor stretches what it carries
    (Saxe et al. 2014, arXiv:1312.6120).
    """

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, orthogonal: bool = False):
        super().__init__(input_dim, hidden_dim, output_dim, gates="h")
        if orthogonal:
            nn.init.orthogonal_(self.W_hh)

    def states(self, x: Tensor) -> Iterator[RNNState]:
        W_x_x = x.transpose(0, 1) @ self.W_hx + self.b_h  # (T, N, H)
        h = x.new_zeros(len(x), self.hidden_dim)
        for W_x_x_t in W_x_x.unbind():
            # h = tanh(W_hx x + W_hh h + b_h)
            h = torch.tanh(torch.addmm(W_x_x_t, h, self.W_hh))
            yield RNNState(h)
