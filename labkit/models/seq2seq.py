"""Sequence to sequence with LSTMs: read a query, keep it as one vector, write the answer.

Sutskever et al. 2014, arXiv:1409.3215; Cho et al. 2014, arXiv:1406.1078. Report D's model is
encoder LSTM → repeat vector → decoder LSTM → an output layer shared by all steps. Its two ends
read and write symbols; those for pictures are in labkit.studies.drawn_arithmetic.
Shapes: N queries of L symbols, answers of T symbols, H hidden units, K symbols to choose from.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Answer(NamedTuple):
    """Greedy answers: `tokens` int64 (N, T), `logits` (N, T, K), attention `weights` (N, T, L)."""

    tokens: Tensor
    logits: Tensor
    weights: Tensor | None = None  # of each query symbol for each answer symbol


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1) and its weights.

    Queries (…, T, D), keys (…, L, D), values (…, L, V) → what was looked up (…, T, V) and the
    weights (…, T, L), which sum to 1 over L. mask: bool (T, L), true where a query may look.
    """
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    # Attention(Q, K, V) = softmax(Q Kᵀ / √D) V
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


class TeacherForced(nn.Module):
    """A model that reads the symbol before the one it writes, and `start` before the first.

    In training that is the true one (teacher forcing; Williams & Zipser 1989): all steps are
    computed at once. In use it is the model's own likeliest symbol (greedy decoding).
    A subclass has answer_length, start, encode(query) → what decode() needs of the query, a tuple,
    and decode(symbols before (N, T), *encoded) → logits (N, T, K), attention weights (N, T, L).
    """

    def forward(self, query: Tensor, answers: Tensor) -> Tensor:
        """Logits (N, T, K), each from the true symbols of `answers` (N, T) before it."""
        before = F.pad(answers[:, :-1], (1, 0), value=self.start)
        return self.decode(before, *self.encode(query))[0]

    @torch.no_grad()
    def generate(self, query: Tensor) -> Answer:
        """Greedy answers to queries (N, L)."""
        encoded = self.encode(query)
        before = torch.full((len(query), 1), self.start, device=query.device)
        for _ in range(self.answer_length):
            logits, weights = self.decode(before, *encoded)
            before = torch.cat([before, logits[:, -1:].argmax(-1)], dim=1)
        return Answer(before[:, 1:], logits, weights)


class OneHot(nn.Module):
    """Tokens int64 (N, L) → indicators (N, L, K)."""

    def __init__(self, n_symbols: int = 13):
        super().__init__()
        self.n_symbols = n_symbols

    def forward(self, tokens: Tensor) -> Tensor:
        return F.one_hot(tokens, self.n_symbols).float()


def keras_init(*lstms: nn.LSTM) -> None:
    """Give LSTMs, in place, the initial weights of Keras, the report's library."""
    for name, parameter in nn.ModuleList(lstms).named_parameters():
        if "weight_hh" in name:
            for gate in parameter.data.chunk(4):
                nn.init.orthogonal_(gate)
        elif "weight_ih" in name:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
            if "bias_ih" in name:
                parameter.data.chunk(4)[1].fill_(1)  # opens f of torch's gates i, f, g, o


class Seq2Seq(nn.Module):
    """Report D's model: queries → answers of `answer_length` symbols or pictures.

    h = LSTM_e(x_1 … x_L),   s_t = LSTM_d(h, s_{t−1}),   logits_t = output(s_t)

    embed: what is read (N, L, …) → (N, L, n_symbols), by default one-hot tokens. output: states
    (N, T, H) → what is written (N, T, …), by default the logits of n_symbols.
    """

    def __init__(
        self,
        answer_length: int = 3,
        embed: nn.Module | None = None,
        output: nn.Module | None = None,
        hidden_dim: int = 256,
        n_symbols: int = 13,
    ):
        super().__init__()
        self.answer_length = answer_length
        self.embed = embed or OneHot(n_symbols)
        self.output = output or nn.Linear(hidden_dim, n_symbols)
        self.encoder = nn.LSTM(n_symbols, hidden_dim, batch_first=True)
        self.decoder = nn.LSTM(hidden_dim, hidden_dim, batch_first=True)
        keras_init(self.encoder, self.decoder)

    def hidden(self, x: Tensor) -> Tensor:
        """The decoder's states (N, T, H) for embedded queries x (N, L, n_symbols)."""
        _, (h, _) = self.encoder(x)  # (1, N, H): all that is kept of the query
        repeated = h[0][:, None].expand(-1, self.answer_length, -1)  # the repeat vector
        return self.decoder(repeated)[0]

    def forward(self, query: Tensor, answers: Tensor | None = None) -> Tensor:
        """Logits (N, T, K), or pictures (N, T, 1, 28, 28); `answers` are not looked at."""
        return self.output(self.hidden(self.embed(query)))

    @torch.no_grad()
    def generate(self, query: Tensor) -> Answer:
        """The likeliest symbol at each place, for a model that writes (or names) symbols."""
        logits = Seq2Seq.forward(self, query)
        return Answer(logits.argmax(-1), logits)


class AttentionSeq2Seq(TeacherForced):
    """An LSTM decoder that looks back at the whole query with dot-product attention.

    Luong et al. 2015, arXiv:1508.04025, eqs. 5, 7 and 8.
    """

    def __init__(self, answer_length: int = 3, hidden_dim: int = 256, n_symbols: int = 13):
        super().__init__()
        self.answer_length, self.start = answer_length, n_symbols
        self.embed, self.embed_answer = OneHot(n_symbols), OneHot(n_symbols + 1)
        # in both directions, so that a place knows what stands on either side
        self.encoder = nn.LSTM(n_symbols, hidden_dim // 2, batch_first=True, bidirectional=True)
        self.decoder = nn.LSTM(n_symbols + 1, hidden_dim, batch_first=True)
        self.to_k = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.combine = nn.Linear(2 * hidden_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, n_symbols)
        keras_init(self.encoder, self.decoder)

    def encode(self, query: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        memory, (h, c) = self.encoder(self.embed(query))  # (N, L, H); both directions (2, N, H/2)
        return memory, (torch.cat([*h], dim=-1)[None], torch.cat([*c], dim=-1)[None])

    def decode(self, before: Tensor, memory: Tensor, state: tuple) -> tuple[Tensor, Tensor]:
        h, _ = self.decoder(self.embed_answer(before), state)  # (N, T, H)
        # c = softmax(h (W_k m)ᵀ / √H) m, with m the memory
        context, weights = attention(h, self.to_k(memory), memory)
        # h̃ = tanh(W_c [c; h])
        combined = torch.tanh(self.combine(torch.cat([context, h], dim=-1)))
        return self.output(combined), weights
