"""Two ways to improve the samples of a VAE.

VAE-GAN (Larsen et al. 2016, arXiv:1512.09300): the decoder is also a GAN's generator, and a
reconstruction is compared with its original in the features of the discriminator, not in pixels.

Two stages (Dai & Wipf 2019, arXiv:1903.05789): the codes of a trained VAE follow the aggregate
posterior q(z) = E_x[q(z|x)], not quite the prior N(0, I). So a second model, here a mixture of
Gaussians, is fitted to q(z), and codes are drawn from it. The VAE stays as it is.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from labkit.models.gan import Discriminator, Generator, initialise
from labkit.models.images import draw
from labkit.models.vae import conv_encoder, kl_divergence, reparameterize


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


class TwoStage:
    """A trained VAE or VAE-GAN that draws its codes from a density of q(z) in place of the prior.

    Raises ValueError if the density has another number of dimensions than the codes.
    """

    def __init__(self, model: nn.Module, density: Distribution):
        if density.event_shape != (model.latent_dim,):
            raise ValueError(
                f"the model's codes have {model.latent_dim} dimensions, the density has "
                f"{tuple(density.event_shape)}; fit it to the codes of this model"
            )
        self.model, self.density = model, density

    def draw(self, n: int, seed: int) -> Tensor:
        """n images uint8 (n, C, H, W) of codes drawn from the density."""
        return draw(self.model, sample_codes(self.density, n, seed))


def sample_codes(density: Distribution, n: int, seed: int) -> Tensor:
    """n codes (n, J) of a density; leaves torch's global generator alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return density.sample((n,))
