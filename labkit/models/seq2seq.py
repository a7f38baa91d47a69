"""Sequence to sequence with LSTMs: read a query symbol by symbol, keep it as one vector, write the
answer symbol by symbol.

Sutskever et al. 2014, arXiv:1409.3215; Cho et al. 2014, arXiv:1406.1078. Report D's model is
encoder LSTM → repeat vector → decoder LSTM → a read-out shared by all steps. What it reads and
writes, characters or pictures, is decided by the two ends alone:

    text → text     Seq2Seq(OneHot(), nn.Linear(256, 13))
    image → text    Seq2Seq(nn.Sequential(GlyphEncoder(13), Decide()), nn.Linear(256, 13))
    text → image    Seq2Seq(OneHot(), GlyphDecoder(256)), as in the report; NamedSeq2Seq(),
    StyledSeq2Seq(): what it takes to be good

Shapes: N queries in a batch of L symbols, answers of T symbols, H hidden units, K = 13 symbols
(labkit.data.arithmetic.SYMBOLS).
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.models.vae import ELBO, kl_divergence, reconstruction_loss, reparameterize

SYMBOLS = 13  # classes of labkit.data.arithmetic
GAIN = 10.0  # of what is to be written, beside a style; with 1 the drawing is first learned from the style alone, whatever it is to show
START = SYMBOLS  # what a decoder that is fed its own answer reads before there is one


class Answer(NamedTuple):
    """Greedy answers: `tokens` int64 (N, T), `logits` (N, T, K), and `weights` (N, T, L), how much
    each answer symbol looked at each query symbol, or None for a model without attention."""

    tokens: Tensor
    logits: Tensor
    weights: Tensor | None = None

    @property
    def confidence(self) -> Tensor:
        """The probability that the model gives to each symbol it answers, (N, T)."""
        return self.logits.softmax(-1).amax(-1)


def attention(
    q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1): queries (…, T, D), keys (…, L, D),
    values (…, L, V) → what was looked up (…, T, V), and the weights (…, T, L), which sum to 1 over
    L. allowed: bool (T, L), where a query may look.
    """
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    # Attention(Q, K, V) = softmax(Q Kᵀ / √D) V
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


class OneHot(nn.Module):
    """Tokens int64 (N, L) → indicators (N, L, K)."""

    def forward(self, tokens: Tensor) -> Tensor:
        return F.one_hot(tokens, SYMBOLS).float()


class GlyphEncoder(nn.Module):
    """A convolutional network of 32, 64 and 128 channels, the same for every picture: (N, L, 1, 28,
    28), uint8 or in [0, 1] → (N, L, D).
    """

    def __init__(self, feature_dim: int = 128):
        super().__init__()

        def halve(c_in: int, c_out: int) -> list[nn.Module]:
            # pooled first: a quarter of the numbers to normalise
            return [
                nn.Conv2d(c_in, c_out, 3, padding=1, bias=False),
                nn.MaxPool2d(2),
                nn.BatchNorm2d(c_out),
                nn.ReLU(),
            ]

        sizes = (
            *halve(1, 32),
            *halve(32, 64),
            *halve(64, 128),
        )  # (·, 32, 14, 14), (·, 64, 7, 7), (·, 128, 3, 3)
        self.layers = nn.Sequential(*sizes, nn.Flatten(), nn.Linear(128 * 9, feature_dim)).to(
            memory_format=torch.channels_last
        )

    def forward(self, images: Tensor) -> Tensor:
        images = images if images.is_floating_point() else images / 255
        pictures = images.flatten(0, 1).to(
            memory_format=torch.channels_last
        )  # time-distributed: one batch of N·L pictures
        return self.layers(pictures).unflatten(0, images.shape[:2])


class Decide(nn.Module):
    """Logits (…, K) → an indicator (…, K) of the likeliest class, which is all that goes on; on the
    way back it passes the gradient of the softmax, as if that had gone on (straight-through
    estimator; Bengio et al. 2013, arXiv:1308.3432).
    """

    def forward(self, logits: Tensor) -> Tensor:
        soft = logits.float().softmax(-1)
        hard = F.one_hot(logits.argmax(-1), logits.shape[-1])
        return hard + (soft - soft.detach())


class GlyphDecoder(nn.Module):
    """A deconvolution, the same for every picture: what to draw (N, T, H) → pictures (N, T, 1, 28,
    28) in [0, 1].
    """

    def __init__(self, hidden_dim: int = 256, base: int = 32):
        super().__init__()

        def normed(layer: nn.Module) -> list[nn.Module]:
            return [layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU()]

        self.layers = nn.Sequential(
            nn.Unflatten(1, (hidden_dim, 1, 1)),
            *normed(nn.ConvTranspose2d(hidden_dim, 2 * base, 7, bias=False)),  # (·, 2b, 7, 7)
            *normed(
                nn.ConvTranspose2d(2 * base, base, 4, stride=2, padding=1, bias=False)
            ),  # (·, b, 14, 14)
            nn.ConvTranspose2d(base, 1, 4, stride=2, padding=1),  # (·, 1, 28, 28)
        ).to(memory_format=torch.channels_last)

    def logits(self, h: Tensor) -> Tensor:
        """Logits of the pictures, of any scale."""
        return self.layers(h.flatten(0, 1)).unflatten(0, h.shape[:2])

    def forward(self, h: Tensor) -> Tensor:
        return self.logits(h).float().sigmoid()


def keras_start(lstm: nn.LSTM) -> None:
    """The start that Keras, the report's library, gives an LSTM, in place: orthogonal recurrent
    weights, Glorot's uniform input weights, biases 0 but 1 for the forget gate, which torch's own
    start leaves half closed.
    """
    for name, parameter in lstm.named_parameters():
        if "weight_hh" in name:
            for gate in parameter.data.chunk(4):
                nn.init.orthogonal_(gate)
        elif "weight_ih" in name:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
            if "bias_ih" in name:
                parameter.data.chunk(4)[1].fill_(1)  # torch's order of gates: i, f, g, o


class Seq2Seq(nn.Module):
    """Report D's model: queries → answers of `answer_length` symbols, read by `reader` (N, L, …) →
    (N, L, D) and written by `writer` (N, T, H) → (N, T, …)."""

    def __init__(
        self,
        reader: nn.Module,
        writer: nn.Module,
        input_dim: int = SYMBOLS,
        hidden_dim: int = 256,
        answer_length: int = 3,
    ):
        super().__init__()
        self.answer_length = answer_length
        self.reader, self.writer = reader, writer
        self.encoder = nn.LSTM(input_dim, hidden_dim, batch_first=True)
        self.decoder = nn.LSTM(hidden_dim, hidden_dim, batch_first=True)
        for lstm in (self.encoder, self.decoder):
            keras_start(lstm)

    def hidden(self, read: Tensor) -> Tensor:
        """The decoder's hidden states (N, T, H), of what the reader gave (N, L, D)."""
        _, (h, _) = self.encoder(read)  # h (1, N, H): all that is kept of the query
        repeated = h[0][:, None].expand(
            -1, self.answer_length, -1
        )  # the repeat vector: the same input at every step
        return self.decoder(repeated)[0]

    def forward(self, query: Tensor, answers: Tensor | None = None) -> Tensor:
        """Logits (N, T, K), or pictures (N, T, 1, 28, 28). `answers` are not looked at: this
        decoder is never told what it wrote before.
        """
        return self.writer(self.hidden(self.reader(query)))

    def answer(self, query: Tensor) -> Answer:
        """The likeliest symbol at each place, for a model that writes text."""
        logits = self(query)
        return Answer(logits.argmax(-1), logits)


class NamedSeq2Seq(Seq2Seq):
    """Text → image in two steps: the LSTMs of a text→text model name each symbol of the answer, a
    deconvolution draws what is named.

    Squared error says little of which digit is right, for all digits share most of their pixels, so
    it is a poor teacher of arithmetic. Give this network the weights of a trained text→text model
    (they are not trained further) and pixels teach only the drawing.
    """

    def __init__(self, hidden_dim: int = 256, style_dim: int = 0, answer_length: int = 3):
        super().__init__(
            OneHot(),
            nn.Linear(hidden_dim, SYMBOLS),
            hidden_dim=hidden_dim,
            answer_length=answer_length,
        )
        for part in (self.encoder, self.decoder, self.writer):
            part.requires_grad_(False)
        self.draw = GlyphDecoder(SYMBOLS + style_dim)

    def shares(self, query: Tensor) -> Tensor:
        """How probable each symbol is at each place of the answer, (N, T, K)."""
        return super().forward(query).softmax(-1)

    def forward(self, query: Tensor, answers: Tensor | None = None) -> Tensor:
        """Pictures (N, T, 1, 28, 28) in [0, 1]."""
        return self.draw(self.shares(query))

    def answer(self, query: Tensor) -> Answer:
        """The symbols that it means to draw."""
        logits = super().forward(query)
        return Answer(logits.argmax(-1), logits)


class StyledSeq2Seq(NamedSeq2Seq):
    """Text → image with a style z ~ N(0, I) for every picture: a conditional VAE behind the LSTMs
    (Sohn et al. 2015, "CVAE").

    A query fixes what is to be written, not how. Where many pictures are right, the least squared
    error is their mean, which nobody ever wrote. Here the rest, the hand, is a code: in training
    read off the true picture, in use drawn by chance.
    """

    def __init__(self, hidden_dim: int = 256, style_dim: int = 8, answer_length: int = 3):
        super().__init__(hidden_dim, style_dim, answer_length)
        self.style_dim = style_dim
        self.recognise = GlyphEncoder(128)
        self.to_style = nn.Linear(128 + SYMBOLS, 2 * style_dim)

    def forward(
        self, query: Tensor, answers: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Pictures (N, T, 1, 28, 28) in [0, 1], each in a hand of its own; temperature: the
        standard deviation of the styles, at 0 the commonest one."""
        shares = GAIN * self.shares(query)
        z = temperature * torch.randn(*shares.shape[:2], self.style_dim, device=shares.device)
        return self.draw(torch.cat([shares, z], dim=-1))

    def elbo(
        self, query: Tensor, pictures: Tensor, generator: torch.Generator | None = None
    ) -> ELBO:
        """The terms of −ELBO of true answers `pictures` in [0, 1] (N, T, 1, 28, 28), in nats a
        picture, (N·T,) each; the noise comes from `generator`."""
        shares = GAIN * self.shares(query)
        q = (
            self.to_style(torch.cat([self.recognise(pictures), shares], dim=-1))
            .float()
            .flatten(0, 1)
        )  # (N·T, 2J)
        mu, log_var = q.chunk(2, dim=1)
        z = reparameterize(mu, log_var, generator).unflatten(0, shares.shape[:2])
        logits = self.draw.logits(torch.cat([shares, z], dim=-1)).float().flatten(0, 1)
        return ELBO(
            reconstruction_loss(logits, pictures.flatten(0, 1)), kl_divergence(mu, log_var), mu
        )


class AttentionSeq2Seq(nn.Module):
    """An LSTM decoder that looks back at the whole query: dot-product attention as in Luong et al.
    2015, arXiv:1508.04025, eqs. 5, 7 and 8.

    The decoder reads the symbol before the one it writes. In training that is the true one (teacher
    forcing; Williams & Zipser 1989): all steps are computed at once, and an early mistake does not
    spoil what is learned from the later steps. In use there is no truth to read, so it reads its
    own answer, the likeliest symbol (greedy decoding), step after step.
    """

    def __init__(
        self,
        reader: nn.Module,
        input_dim: int = SYMBOLS,
        hidden_dim: int = 256,
        answer_length: int = 3,
    ):
        super().__init__()
        self.answer_length, self.reader = answer_length, reader
        self.encoder = nn.LSTM(
            input_dim, hidden_dim // 2, batch_first=True, bidirectional=True
        )  # so that a place knows both its sides
        self.decoder = nn.LSTM(SYMBOLS + 1, hidden_dim, batch_first=True)
        self.keys = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.combine, self.read_out = (
            nn.Linear(2 * hidden_dim, hidden_dim),
            nn.Linear(hidden_dim, SYMBOLS),
        )
        for lstm in (self.encoder, self.decoder):
            keras_start(lstm)

    def _encode(self, query: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        memory, (h, c) = self.encoder(
            self.reader(query)
        )  # (N, L, H), and the last states (2, N, H/2) of both directions
        return memory, tuple(torch.cat([*s], dim=-1)[None] for s in (h, c))

    def _decode(self, before: Tensor, memory: Tensor, state: tuple) -> tuple[Tensor, Tensor, tuple]:
        h, state = self.decoder(F.one_hot(before, SYMBOLS + 1).float(), state)  # (N, T, H)
        # context = softmax(h (W s)ᵀ) s, with s the memory, one vector a symbol of the query
        context, weights = attention(h, self.keys(memory), memory)
        combined = torch.tanh(self.combine(torch.cat([context, h], dim=-1)))
        return self.read_out(combined), weights, state

    def forward(self, query: Tensor, answers: Tensor) -> Tensor:
        """Logits (N, T, K), each from the true symbols before it: `answers` int64 (N, T) moved one
        place on, behind START.
        """
        memory, state = self._encode(query)
        return self._decode(F.pad(answers[:, :-1], (1, 0), value=START), memory, state)[0]

    @torch.no_grad()
    def answer(self, query: Tensor) -> Answer:
        """The answers that the model gives when it reads only its own symbols."""
        memory, state = self._encode(query)
        before, steps = torch.full((len(query), 1), START, device=query.device), []
        for _ in range(self.answer_length):
            logits, weights, state = self._decode(before, memory, state)
            before = logits.argmax(-1)
            steps.append((before, logits, weights))
        return Answer(*(torch.cat(parts, dim=1) for parts in zip(*steps, strict=True)))
