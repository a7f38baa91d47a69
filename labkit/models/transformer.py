"""A small Transformer that reads a query and writes its answer: attention, and no recurrence.

Vaswani et al. 2017, arXiv:1706.03762, with layer normalisation before each part, not after it
(Xiong et al. 2020, arXiv:2002.04745), which trains without a warm-up.
Shapes: N queries of L symbols, answers of T symbols, D features, K symbols to choose from.
"""

import torch
from torch import Tensor, nn

from labkit.models.seq2seq import TeacherForced, attention


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each on its share of the features (sec. 3.2.2)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got {dim} and {heads}")
        self.heads = heads
        self.to_q, self.to_kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> tuple:
        """x (N, T, D) looks at memory (N, L, D) → found (N, T, D), weights (N, heads, T, L)."""
        q, (k, v) = self.to_q(x), self.to_kv(memory).chunk(2, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        found, weights = attention(q, k, v, mask)  # (N, heads, T, D/heads)
        return self.to_out(found.transpose(1, 2).flatten(2)), weights


class Block(nn.Module):
    """Self-attention, cross-attention to a memory if `cross`, and an MLP for each place."""

    def __init__(self, dim: int, heads: int, cross: bool = False):
        super().__init__()
        self.norm1, self.self_attn = nn.LayerNorm(dim), MultiHeadAttention(dim, heads)
        if cross:
            self.norm2, self.cross_attn = nn.LayerNorm(dim), MultiHeadAttention(dim, heads)
        self.norm3 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> tuple:
        """Features (N, T, D) → (N, T, D), and the weights on memory (N, heads, T, L) or None."""
        weights, normed = None, self.norm1(x)
        x = x + self.self_attn(normed, normed, mask)[0]
        if memory is not None:
            found, weights = self.cross_attn(self.norm2(x), memory)
            x = x + found
        return x + self.mlp(self.norm3(x)), weights


class Transformer(TeacherForced):
    """Queries, tokens (N, L) → answers of `answer_length` symbols; reads up to `query_length`."""

    def __init__(
        self,
        answer_length: int = 3,
        query_length: int = 5,
        dim: int = 128,
        heads: int = 4,
        layers: int = 2,
        n_symbols: int = 13,
    ):
        super().__init__()
        self.answer_length, self.start = answer_length, n_symbols
        self.query_embedding = nn.Embedding(n_symbols, dim)
        self.answer_embedding = nn.Embedding(n_symbols + 1, dim)
        # attention alone cannot tell 14 from 41, so each place adds a vector of its own
        self.query_positional_embedding = nn.Parameter(torch.randn(query_length, dim))
        self.answer_positional_embedding = nn.Parameter(torch.randn(answer_length, dim))
        self.encoder = nn.ModuleList(Block(dim, heads) for _ in range(layers))
        self.decoder = nn.ModuleList(Block(dim, heads, cross=True) for _ in range(layers))
        self.norm_memory, self.norm_output = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.output = nn.Linear(dim, n_symbols)

    def encode(self, query: Tensor) -> tuple[Tensor]:
        """What is known of a query (N, L) at each of its places: the memory (N, L, D)."""
        length = query.shape[1]
        if length > len(self.query_positional_embedding):
            raise ValueError(f"got {length} symbols; build a Transformer of query_length={length}")
        x = self.query_embedding(query) + self.query_positional_embedding[:length]
        for block in self.encoder:
            x, _ = block(x)
        return (self.norm_memory(x),)

    def decode(self, before: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        steps = before.shape[1]
        x = self.answer_embedding(before) + self.answer_positional_embedding[:steps]
        # not the order of steps but a mask keeps a place from looking at what comes after it
        causal_mask = torch.ones(steps, steps, dtype=torch.bool, device=x.device).tril()
        for block in self.decoder:
            x, weights = block(x, memory, causal_mask)
        return self.output(self.norm_output(x)), weights.mean(1)  # last block, mean of its heads
