"""A small Transformer that reads a query and writes its answer (Vaswani et al. 2017,
arXiv:1706.03762): attention, and no recurrence.

Layer normalisation comes before each part, not after it (Xiong et al. 2020, arXiv:2002.04745),
which trains without a warm-up.
Shapes: N queries in a batch of L symbols, answers of T symbols, D features, K = 13 symbols
(labkit.data.arithmetic.SYMBOLS).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.models.seq2seq import START, SYMBOLS, Answer, attention


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each on its share of the features (sec. 3.2.2)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.out = (
            nn.Linear(dim, dim),
            nn.Linear(dim, 2 * dim),
            nn.Linear(dim, dim),
        )

    def forward(
        self, x: Tensor, memory: Tensor, allowed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features x (N, T, D) look at memory (N, L, D) → (N, T, D), and the weights (N, heads, T,
        L).
        """
        split = (self.q(x), *self.kv(memory).chunk(2, dim=-1))
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in split
        )  # (N, heads, ·, D/heads)
        values, weights = attention(q, k, v, allowed)
        return self.out(values.transpose(1, 2).flatten(2)), weights


class Block(nn.Module):
    """Attention to oneself, to `memory` if there is one, then two layers at every place by itself,
    each added to what comes in.
    """

    def __init__(self, dim: int, heads: int, looks_back: bool = False):
        super().__init__()
        self.norm_self, self.attend_self = nn.LayerNorm(dim), MultiHeadAttention(dim, heads)
        if looks_back:
            self.norm_memory, self.attend_memory = nn.LayerNorm(dim), MultiHeadAttention(dim, heads)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        )

    def forward(
        self, x: Tensor, memory: Tensor | None = None, allowed: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Features (N, T, D) → (N, T, D), and the weights on memory (N, heads, T, L) or None."""
        weights, normed = None, self.norm_self(x)
        x = x + self.attend_self(normed, normed, allowed)[0]
        if memory is not None:
            looked_up, weights = self.attend_memory(self.norm_memory(x), memory)
            x = x + looked_up
        return x + self.feed_forward(x), weights


class Transformer(nn.Module):
    """Queries, tokens (N, L) → answers of `answer_length` symbols. Trained with teacher forcing and
    decoded greedily, for the reasons that AttentionSeq2Seq gives; here a mask, not the order of
    steps, keeps a place from looking at what comes after it.
    """

    def __init__(
        self,
        query_length: int = 5,
        answer_length: int = 3,
        dim: int = 128,
        heads: int = 4,
        layers: int = 2,
    ):
        super().__init__()
        self.answer_length = answer_length
        self.embed_query, self.embed_answer = (
            nn.Embedding(SYMBOLS, dim),
            nn.Embedding(SYMBOLS + 1, dim),
        )
        # attention alone cannot tell 14 from 41: every place adds a vector of its own, learned
        self.query_places = nn.Parameter(torch.randn(query_length, dim))
        self.answer_places = nn.Parameter(torch.randn(answer_length, dim))
        self.encoder = nn.ModuleList(Block(dim, heads) for _ in range(layers))
        self.decoder = nn.ModuleList(Block(dim, heads, looks_back=True) for _ in range(layers))
        self.norm_memory = nn.LayerNorm(dim)
        self.read_out = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, SYMBOLS))

    def _encode(self, query: Tensor) -> Tensor:
        x = self.embed_query(query) + self.query_places
        for block in self.encoder:
            x, _ = block(x)
        return self.norm_memory(x)

    def _decode(self, before: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        steps = before.shape[1]
        x = self.embed_answer(before) + self.answer_places[:steps]
        past = torch.ones(
            steps, steps, dtype=torch.bool, device=x.device
        ).tril()  # place t sees places up to t
        for block in self.decoder:
            x, weights = block(x, memory, past)
        return self.read_out(x), weights.mean(1)  # of the last block, its heads averaged

    def forward(self, query: Tensor, answers: Tensor) -> Tensor:
        """Logits (N, T, K), each from the true symbols before it: `answers` int64 (N, T) moved one
        place on, behind START.
        """
        return self._decode(F.pad(answers[:, :-1], (1, 0), value=START), self._encode(query))[0]

    @torch.no_grad()
    def answer(self, query: Tensor) -> Answer:
        """The answers that the model gives when it reads only its own symbols."""
        memory = self._encode(query)
        before = torch.full((len(query), 1), START, device=query.device)
        for _ in range(self.answer_length):
            logits, weights = self._decode(before, memory)
            before = torch.cat([before, logits[:, -1:].argmax(-1)], dim=1)
        return Answer(before[:, 1:], logits, weights)
