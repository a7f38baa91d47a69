"""Two ways to give a VAE the samples of a GAN, for 28×28 images.

VAE-GAN (Larsen et al. 2016, arXiv:1512.09300): the decoder is also a GAN's generator, and a
reconstruction is compared with its original not pixel by pixel but in the features of the
discriminator.

Two stages (Dai & Wipf 2019, arXiv:1903.05789): the codes of a trained VAE are spread like the
aggregate posterior q(z) = E_x[q(z|x)], which is not quite the prior N(0, I) that one draws from. So
a second model learns q(z), here a Gaussian mixture, and codes are drawn from that. The decoder and
its reconstructions stay as they are.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from labkit.models.gan import Discriminator, Generator, initialise
from labkit.models.vae import decoded, kl_divergence, reparameterize


class VAEGANLoss(NamedTuple):
    """What encoder and decoder minimise, (N,) each: ½‖f(x) − f(x̃)‖²/s² in features f of the
    discriminator, and the KL in nats.

    s² is the mean square of the features of the real images of the batch. The paper has batch norm,
    which sets their scale; under R1 they would shrink, and with them the price of an error.
    """

    feature_error: Tensor
    kl: Tensor


class VAEGAN(nn.Module):
    """Encoder (N, 1, 28, 28) → (N, 2J), generator (N, J) → (N, 1, 28, 28), discriminator → logits
    (N). Images in [−1, 1].
    """

    def __init__(self, latent_dim: int = 64, base: int = 16):
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder = (
            nn.Sequential(  # the discriminator's first layers, and two numbers a latent dimension
                nn.Conv2d(1, 2 * base, 4, stride=2, padding=1),  # (N, 2b, 14, 14)
                nn.LeakyReLU(0.2),
                nn.Conv2d(2 * base, 4 * base, 4, stride=2, padding=1),  # (N, 4b, 7, 7)
                nn.LeakyReLU(0.2),
                nn.Flatten(),
                nn.Linear(4 * base * 49, 2 * latent_dim),
            )
        )
        self.encoder.apply(initialise)
        self.generator, self.discriminator = Generator(latent_dim, base), Discriminator(base)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ² of q(z|x), (N, J) each, of images in [−1, 1]."""
        mu, log_var = self.encoder(x).float().chunk(2, dim=1)
        return mu, log_var

    def features(self, x: Tensor) -> Tensor:
        """f(x), (N, F): what the discriminator sees of images in [−1, 1] before its last layer
        ("Dis_l" of the paper).
        """
        return self.discriminator.layers[:-1](x).float()

    def reconstruct(
        self, x: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """x̃ (N, 1, 28, 28) of images x in [−1, 1], with one draw of z an image, and the KL (N,) of
        its q(z|x).
        """
        mu, log_var = self.encode(x)
        return self.generator(reparameterize(mu, log_var, generator)), kl_divergence(mu, log_var)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> VAEGANLoss:
        """The terms of the loss of encoder and decoder for images x in [−1, 1]; the features of x
        itself are taken as given.
        """
        x_tilde, kl = self.reconstruct(x, generator)
        with torch.no_grad():
            target = self.features(x)
        # L_llike = −E_q[log p(f(x)|z)],  p(f(x)|z) = N(f(x); f(x̃), s² I)
        # (eq. 7 and 8, where s = 1)
        s2 = target.square().mean()
        return VAEGANLoss(0.5 * (target - self.features(x_tilde)).square().sum(1) / s2, kl)


class Mixture(nn.Module):
    """A density over codes, Σ_k π_k N(z; m_k, L_k L_kᵀ): weights π (K,), means m (K, J), lower
    triangular L (K, J, J).
    """

    def __init__(self, weights: Tensor, means: Tensor, scale_tril: Tensor):
        super().__init__()
        for name, value in (("weights", weights), ("means", means), ("scale_tril", scale_tril)):
            self.register_buffer(name, value)

    @property
    def latent_dim(self) -> int:
        return self.means.shape[1]

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n codes (n, J): a component each, then z = m_k + L_k ε."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        epsilon = torch.randn(n, self.latent_dim, generator=generator).to(self.means)
        return self.means[k] + torch.einsum("nij,nj->ni", self.scale_tril[k], epsilon)

    def log_density(self, z: Tensor) -> Tensor:
        """log q(z) in nats, (N,), of codes z (N, J)."""
        parts = torch.distributions.MultivariateNormal(self.means, scale_tril=self.scale_tril)
        return (parts.log_prob(z[:, None]) + self.weights.log()).logsumexp(1)


class TwoStage(nn.Module):
    """A trained VAE or VAE-GAN that draws its codes from a density of q(z) in place of the prior.

    decode: (model, codes (n, J)) → images uint8 (n, 1, 28, 28). Raises ValueError for a density of
    another number of dimensions.
    """

    def __init__(
        self,
        vae: nn.Module,
        density: Mixture,
        decode: Callable[[nn.Module, Tensor], Tensor] = decoded,
    ):
        super().__init__()
        if vae.latent_dim != density.latent_dim:
            raise ValueError(
                f"the VAE's codes have {vae.latent_dim} dimensions, the density's {density.latent_dim}; fit it to this VAE's codes"
            )
        self.vae, self.density, self.decode = vae, density, decode

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n images uint8 (n, 1, 28, 28) of codes drawn from the density."""
        return self.decode(self.vae, self.density.draw(n, generator))
