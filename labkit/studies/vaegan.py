"""The VAE-GAN of Larsen et al. 2016, arXiv:1512.09300, for study 04.

The decoder of a VAE is also a GAN's generator, and a reconstruction is compared with its original
in the features of the discriminator, not in pixels.
"""

import os
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from labkit.models.gan import Discriminator, Generator, initialise
from labkit.models.vae import conv_encoder, kl_divergence, reparameterize
from labkit.training.gan import ADAM_WITHOUT_MOMENTUM, GANSettings, TrainedGAN, train_gan

GAME = GANSettings(
    epochs=1, lr_g=2e-3, lr_d=2e-3, optimizer=ADAM_WITHOUT_MOMENTUM, batch_size=32, r1=1, ema=0.998
)


class VAEGANTerms(NamedTuple):
    """½‖f(x) − f(x̃)‖²/s² in features f of the discriminator, and the KL in nats, (N,) each.

    s² is the mean square of the features of the batch's real images. The paper's batch norm fixes
    their scale; under R1 they would shrink, and the price of an error with them.
    """

    feature_error: Tensor
    kl: Tensor


class VAEGAN(nn.Module):
    """An encoder, images (N, 1, 28, 28) in [0, 1] → (N, 2J), and a DCGAN generator as decoder."""

    def __init__(self, latent_dim: int = 64, base: int = 16):
        super().__init__()
        self.latent_dim = latent_dim
        encoder = conv_encoder(2 * latent_dim, 2 * base)
        self.encoder = encoder.to(memory_format=torch.contiguous_format)
        self.encoder.apply(initialise)
        self.generator = Generator(latent_dim, base)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ² of q(z|x), (N, J) each, of images in [0, 1]."""
        mu, log_var = self.encoder(2 * x - 1).float().chunk(2, dim=1)
        return mu, log_var

    def decode(self, z: Tensor) -> Tensor:
        """Images in [0, 1] of codes z (N, J)."""
        return (self(z).float() + 1) / 2

    def forward(self, z: Tensor) -> Tensor:
        """Images in [−1, 1] of codes z (N, J), as the discriminator sees them."""
        return self.generator(z)

    def terms(
        self, x: Tensor, discriminator: Discriminator, noise: torch.Generator | None = None
    ) -> VAEGANTerms:
        """What encoder and generator minimise beside the game, for images x in [0, 1]."""
        mu, log_var = self.encode(x)
        x_tilde = self(reparameterize(mu, log_var, noise))
        with torch.no_grad():
            target = discriminator.features(2 * x - 1).float()
        # L_llike = −E_q[log p(f(x)|z)],  p(f(x)|z) = N(f(x); f(x̃), s² I)    (eq. 7, 8; there s = 1)
        errors = (target - discriminator.features(x_tilde).float()).square().sum(1)
        return VAEGANTerms(0.5 * errors / target.square().mean(), kl_divergence(mu, log_var))


@dataclass(frozen=True)
class VAEGANSettings:
    """How `train_vaegan` trains.

    game: of generator and discriminator. precision: λ, the price of a feature's error against the
    KL. gamma: γ, of the game against the features.
    """

    game: GANSettings = GAME
    precision: float = 0.1
    gamma: float = 30.0


def train_vaegan(
    model: VAEGAN,
    discriminator: Discriminator,
    images: Tensor,
    settings: VAEGANSettings,
    checkpoint: str | os.PathLike | None = None,
) -> TrainedGAN:
    """Train encoder, generator and discriminator on uint8 images (N, 1, 28, 28).

        L_D = E_x[−log D(x)] + E_z[−log(1 − D(G(z)))] + R1            z ~ N(0, I)
        L_E = KL + λ ½‖f(x) − f(G(z̃))‖²/s²                            z̃ ~ q(z|x)
        L_G = λ ½‖f(x) − f(G(z̃))‖²/s² + γ E_z[−log D(G(z))]

    Adam does not see the scale of a loss, so γ in L_G does what 1/γ does before the paper's
    features. The game is played with draws of the prior alone: no term of it reaches the encoder,
    as the paper demands, and one backward pass serves L_E and L_G. Returns and raises what
    `train_gan` does; its generator is the model.
    """

    objective = partial(_objective, model, discriminator, settings)
    return train_gan(
        model, discriminator, images, settings.game, objective=objective, checkpoint=checkpoint
    )


def _objective(
    model: VAEGAN,
    discriminator: Discriminator,
    settings: VAEGANSettings,
    x: Tensor,
    noise: torch.Generator,
    g_loss: Tensor,
) -> Tensor:
    feature_error, kl = (t.mean() for t in model.terms((x + 1) / 2, discriminator, noise))
    return settings.precision * feature_error + kl + settings.gamma * g_loss
