"""Study 05 with pictures of symbols: networks that read or draw them, and how each is trained.

    image → text    Seq2Seq(embed=nn.Sequential(GlyphEncoder(13), StraightThrough()))
    text → image    Seq2Seq(output=GlyphDecoder()), as in the report; NamedSeq2Seq, StyledSeq2Seq

Shapes: N queries of L symbols, answers of T symbols, H hidden units, K symbols to choose from.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.data.arithmetic import Glyphs, handwrite
from labkit.models.seq2seq import Seq2Seq
from labkit.models.vae import VAETerms, kl_divergence, reconstruction_loss, reparameterize
from labkit.studies.seq2seq_training import Pairs, TextToText
from labkit.training.classify import shift

GAIN = 10.0  # γ in StyledSeq2Seq; with 1 the drawing is first learned from the style alone


class GlyphEncoder(nn.Module):
    """Convolutions of each picture: (N, L, 1, 28, 28), uint8 or in [0, 1] → (N, L, feature_dim)."""

    def __init__(self, feature_dim: int = 128):
        super().__init__()

        def halve(c_in: int, c_out: int) -> list[nn.Module]:
            conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
            # pooled first: a quarter of the numbers to normalise
            return [conv, nn.MaxPool2d(2), nn.BatchNorm2d(c_out), nn.ReLU()]

        self.layers = nn.Sequential(
            *halve(1, 32),  # (·, 32, 14, 14)
            *halve(32, 64),  # (·, 64, 7, 7)
            *halve(64, 128),  # (·, 128, 3, 3)
            nn.Flatten(),
            nn.Linear(128 * 9, feature_dim),
        ).to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        images = images if images.is_floating_point() else images / 255
        pictures = images.flatten(0, 1).to(memory_format=torch.channels_last)  # time-distributed
        return self.layers(pictures).unflatten(0, images.shape[:2])


class StraightThrough(nn.Module):
    """Logits (…, K) → an indicator (…, K) of the likeliest class, with the softmax's gradient.

    Bengio et al. 2013, arXiv:1308.3432.
    """

    def forward(self, logits: Tensor) -> Tensor:
        soft = logits.float().softmax(-1)
        hard = F.one_hot(logits.argmax(-1), logits.shape[-1])
        return hard + (soft - soft.detach())


class GlyphDecoder(nn.Module):
    """Transposed convolutions: what to draw (N, T, H) → pictures (N, T, 1, 28, 28) in [0, 1]."""

    def __init__(self, hidden_dim: int = 256, base: int = 32):
        super().__init__()
        up = nn.ConvTranspose2d
        self.layers = nn.Sequential(
            nn.Unflatten(1, (hidden_dim, 1, 1)),
            up(hidden_dim, 2 * base, 7, bias=False),  # (·, 2b, 7, 7)
            nn.BatchNorm2d(2 * base),
            nn.ReLU(),
            up(2 * base, base, 4, stride=2, padding=1, bias=False),  # (·, b, 14, 14)
            nn.BatchNorm2d(base),
            nn.ReLU(),
            up(base, 1, 4, stride=2, padding=1),  # (·, 1, 28, 28)
        ).to(memory_format=torch.channels_last)

    def logits(self, h: Tensor) -> Tensor:
        """Logits of the pictures, of any scale."""
        return self.layers(h.flatten(0, 1)).unflatten(0, h.shape[:2])

    def forward(self, h: Tensor) -> Tensor:
        return self.logits(h).float().sigmoid()


class NamedSeq2Seq(Seq2Seq):
    """Text → image in two steps: name each symbol of the answer, then draw what is named.

    p = softmax(output(s_t)),   picture = D(p)

    Squared error says little of which digit is right, because all digits share most of their
    pixels. So the part that calculates is frozen: give it the weights of a trained text→text
    Seq2Seq, and the pixels teach only the drawing D.
    """

    def __init__(
        self, answer_length: int = 3, hidden_dim: int = 256, n_symbols: int = 13, style_dim: int = 0
    ):
        super().__init__(answer_length, hidden_dim=hidden_dim, n_symbols=n_symbols)
        for part in (self.encoder, self.decoder, self.output):
            part.requires_grad_(False)
        self.glyph_decoder = GlyphDecoder(n_symbols + style_dim)

    def probabilities(self, query: Tensor) -> Tensor:
        """How probable each symbol is at each place of the answer, (N, T, K)."""
        return super().forward(query).softmax(-1)

    def forward(self, query: Tensor, answers: Tensor | None = None) -> Tensor:
        """Pictures (N, T, 1, 28, 28) in [0, 1]."""
        return self.glyph_decoder(self.probabilities(query))


class StyledSeq2Seq(NamedSeq2Seq):
    """Text → image with a style z for every picture: a conditional VAE (Sohn et al. 2015).

    picture = D(γ p, z),   z ~ N(0, I);   in training z ~ q(z | picture, γ p),   γ = GAIN = 10

    A query fixes what is to be written, not how. Where many pictures are right, the least squared
    error is their mean, which nobody ever wrote. Here the handwriting is a code: in training
    inferred from the true picture, in use drawn at random. γ keeps p from being lost beside z.
    """

    def __init__(
        self, answer_length: int = 3, hidden_dim: int = 256, n_symbols: int = 13, style_dim: int = 8
    ):
        super().__init__(answer_length, hidden_dim, n_symbols, style_dim)
        self.style_dim = style_dim
        self.style_encoder = GlyphEncoder(128)
        self.to_style = nn.Linear(128 + n_symbols, 2 * style_dim)

    def forward(
        self, query: Tensor, answers: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Pictures (N, T, 1, 28, 28) in [0, 1], each in a handwriting of its own.

        temperature: the standard deviation of the styles; at 0 all have the most common one.
        """
        named = GAIN * self.probabilities(query)
        z = temperature * torch.randn(*named.shape[:2], self.style_dim, device=named.device)
        return self.glyph_decoder(torch.cat([named, z], dim=-1))

    def elbo(
        self, query: Tensor, pictures: Tensor, generator: torch.Generator | None = None
    ) -> VAETerms:
        """The terms of −ELBO of true `pictures` in [0, 1] (N, T, 1, 28, 28), in nats, (N·T,) each.

        The noise comes from `generator`.
        """
        named = GAIN * self.probabilities(query)
        features = torch.cat([self.style_encoder(pictures), named], dim=-1)
        q = self.to_style(features).float().flatten(0, 1)  # (N·T, 2·style_dim)
        mu, log_var = q.chunk(2, dim=1)
        z = reparameterize(mu, log_var, generator).unflatten(0, named.shape[:2])
        logits = self.glyph_decoder.logits(torch.cat([named, z], dim=-1)).float().flatten(0, 1)
        reconstruction = reconstruction_loss(logits, pictures.flatten(0, 1))
        return VAETerms(reconstruction, kl_divergence(mu, log_var), mu)


@dataclass(frozen=True)
class ImageToText(TextToText):
    """Pictures of symbols to tokens; new pictures in every batch, moved by up to 2 pixels.

    glyphs: (train, test). told: also learn from what each picture shows, not from answers alone.
    """

    model: Callable[..., nn.Module] = Seq2Seq
    glyphs: tuple[Glyphs, Glyphs] | None = field(default=None, repr=False, compare=False)
    told: bool = True

    def build(self, answer_length: int) -> nn.Module:
        # each picture becomes what OneHot makes of a symbol, so that the LSTMs can begin as those
        # of a text→text model
        return self.model(answer_length, embed=nn.Sequential(GlyphEncoder(13), StraightThrough()))

    def batch(self, pairs: Pairs, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        pictures = handwrite(pairs.query, self.glyphs[0], generator).flatten(0, 1)
        return shift(pictures, 2, generator).unflatten(0, pairs.query.shape), pairs.answer

    def loss(
        self, network: nn.Module, shown: Tensor, target: Tensor, query: Tensor, generator: Any
    ) -> Tensor:
        """Mean cross-entropy of what is written and, if told, of what is seen, in nats."""
        if not self.told:
            return super().loss(network, shown, target, query, generator)
        see, decide = network.embed
        seen = see(shown).float()
        logits = network.output(network.hidden(decide(seen))).float()
        return F.cross_entropy(logits.flatten(0, 1), target.flatten()) + F.cross_entropy(
            seen.flatten(0, 1), query.flatten()
        )

    def score(self, network: nn.Module, pairs: Pairs) -> dict[str, float]:
        generator = torch.Generator().manual_seed(0)
        return super().score(
            network, Pairs(handwrite(pairs.query, self.glyphs[1], generator), pairs.answer)
        )


@dataclass(frozen=True)
class TextToImage:
    """Tokens to pictures by the squared error of pixels, as in the report."""

    glyphs: tuple[Glyphs, Glyphs] | None = field(default=None, repr=False, compare=False)

    def build(self, answer_length: int) -> nn.Module:
        return Seq2Seq(answer_length, output=GlyphDecoder(256))

    def batch(self, pairs: Pairs, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return pairs.query, handwrite(pairs.answer, self.glyphs[0], generator) / 255

    def loss(
        self, network: nn.Module, shown: Tensor, target: Tensor, query: Tensor, generator: Any
    ) -> Tensor:
        return F.mse_loss(network(shown).float(), target)

    def score(self, network: nn.Module, pairs: Pairs) -> dict[str, float]:
        """Nothing: pictures are judged by a classifier afterwards."""
        return {}


@dataclass(frozen=True)
class NamedTextToImage(TextToImage):
    """Squared error teaches only the drawing: the symbols are named by a trained text model."""

    def build(self, answer_length: int) -> nn.Module:
        return NamedSeq2Seq(answer_length)


@dataclass(frozen=True)
class StyledTextToImage(TextToImage):
    """A conditional VAE with a style for each picture; −ELBO in nats a pixel is minimised."""

    def build(self, answer_length: int) -> nn.Module:
        return StyledSeq2Seq(answer_length)

    def loss(
        self, network: nn.Module, shown: Tensor, target: Tensor, query: Tensor, generator: Any
    ) -> Tensor:
        terms = network.elbo(shown, target, generator)
        return terms.negative_elbo.mean() / target[0, 0].numel()
