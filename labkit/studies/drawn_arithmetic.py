"""Study 05, text → image: networks that draw the answer, and how each is trained."""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.data.arithmetic import Glyphs, handwrite
from labkit.models.seq2seq import GlyphDecoder, GlyphEncoder, Seq2Seq
from labkit.models.vae import VAETerms, kl_divergence, reconstruction_loss, reparameterize
from labkit.training.seq2seq import Pairs

GAIN = 10.0  # γ in StyledSeq2Seq; with 1 the drawing is first learned from the style alone


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
