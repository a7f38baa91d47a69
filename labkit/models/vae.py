"""Variational autoencoders (Kingma & Welling 2014, arXiv:1312.6114) for 28×28 images, written out
from the paper's equations.

    log p_θ(x) ≥ ELBO = E_{q_φ(z|x)}[log p_θ(x|z)] − D_KL(q_φ(z|x) ‖ p(z)),   p(z) = N(0, I)
    (eq. 3)

The encoder gives q_φ(z|x) = N(μ, diag σ²), the decoder the logits of p_θ(x|z): one Bernoulli a
pixel, images in [0, 1]. All terms in nats an image. Shapes: N images in a batch, J latent
dimensions. Grey pixels are read as probabilities, as is usual for MNIST, so the reconstruction term
is a cross-entropy that cannot reach 0 (its floor is the entropy of the pixels, `pixel_entropy`).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class VAETerms(NamedTuple):
    """The two terms of −ELBO in nats an image, (N,) each, and the means μ (N, J) of q_φ(z|x) on the
    way to them.
    """

    reconstruction: Tensor
    kl: Tensor
    mu: Tensor

    @property
    def negative_elbo(self) -> Tensor:
        """−ELBO, (N,): what training minimises and an upper bound of −log p_θ(x)."""
        return self.reconstruction + self.kl


def kl_divergence(mu: Tensor, log_var: Tensor) -> Tensor:
    """D_KL(N(μ, diag σ²) ‖ N(0, I)) in nats, (N,), of μ and log σ² (N, J): summed over the
    dimensions, not averaged.
    """
    # −D_KL = ½ Σ_j (1 + log σ_j² − μ_j² − σ_j²)
    # (appendix B)
    return -0.5 * (1 + log_var - mu**2 - log_var.exp()).sum(1)


def reparameterize(mu: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """z ~ N(μ, diag σ²), (N, J), as a differentiable function of μ and log σ²; the noise comes from
    `generator`.
    """
    # z = μ + σ ⊙ ε,  ε ~ N(0, I)
    # (section 2.4)
    epsilon = torch.randn(
        mu.shape, generator=generator, device=generator.device if generator else mu.device
    ).to(mu)
    return mu + (0.5 * log_var).exp() * epsilon


def reconstruction_loss(logits: Tensor, x: Tensor) -> Tensor:
    """−log p_θ(x|z) in nats, (N,), for Bernoulli pixels x in [0, 1] (N, 1, 28, 28): summed over the
    pixels.
    """
    # log p(x|z) = Σ_i x_i log y_i + (1 − x_i) log(1 − y_i),  y = σ(logits)                    (eq.
    # 11)
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def gaussian_loss(mean: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
    """−log p_θ(x|z) in nats, (N,), for pixels x ~ N(mean, σ²), all (N, 1, 28, 28) with one σ for
    all; a density, so it can be negative.
    """
    # −log N(x; y, σ²) = Σ_i (x_i − y_i)² / 2σ² + log σ + ½ log 2π
    return (
        (0.5 * ((x - mean) / log_sigma.exp()) ** 2 + log_sigma + 0.5 * math.log(2 * math.pi))
        .flatten(1)
        .sum(1)
    )


def pixel_entropy(x: Tensor) -> Tensor:
    """The least that `reconstruction_loss` can be for x in [0, 1] (N, 1, 28, 28), in nats, (N,): 0
    for black-and-white images.
    """
    return torch.special.entr(x).add(torch.special.entr(1 - x)).flatten(1).sum(1)


class VAE(nn.Module):
    """An encoder (N, 1, 28, 28) → (N, 2J) and a decoder (N, J) → logits (N, 1, 28, 28). Images in
    [0, 1].
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent_dim: int):
        super().__init__()
        self.encoder, self.decoder, self.latent_dim = encoder, decoder, latent_dim

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ² of q_φ(z|x), (N, J) each. The logarithm, so that the network may put out any
        number.
        """
        mu, log_var = self.encoder(x).float().chunk(2, dim=1)
        return mu, log_var

    def decode(self, z: Tensor) -> Tensor:
        """Images in [0, 1] (N, 1, 28, 28): the mean of p_θ(x|z) for z (N, J)."""
        return self.decoder(z).float().sigmoid()

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> VAETerms:
        """The terms of −ELBO of x (N, 1, 28, 28), with one draw of z an image."""
        mu, log_var = self.encode(x)
        z = reparameterize(mu, log_var, generator)
        return VAETerms(reconstruction_loss(self.decoder(z).float(), x), kl_divergence(mu, log_var), mu)


class GaussianVAE(VAE):
    """A VAE with p_θ(x|z) = N(decode(z), σ²), one σ for all pixels, learned with the rest (Rybkin
    et al. 2021).

    σ is what a pixel may be off by. It sets the price of an error against that of the code: the
    smaller σ, the longer a code that pays.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent_dim: int):
        super().__init__(encoder, decoder, latent_dim)
        self.log_sigma = nn.Parameter(torch.tensor(-1.0))

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> VAETerms:
        mu, log_var = self.encode(x)
        z = reparameterize(mu, log_var, generator)
        return VAETerms(
            gaussian_loss(self.decode(z), x, self.log_sigma), kl_divergence(mu, log_var), mu
        )


@torch.inference_mode()
def posterior_means(vae: VAE, images: Tensor, batch_size: int = 1000) -> Tensor:
    """μ of q_φ(z|x), float32 (N, J) on the CPU, of uint8 images (N, 1, 28, 28)."""
    device = next(vae.parameters()).device
    return torch.cat(
        [vae.encode(part.to(device).float() / 255)[0].cpu() for part in images.split(batch_size)]
    )


@torch.inference_mode()
def decoded(vae: VAE, z: Tensor, batch_size: int = 1000) -> Tensor:
    """The mean images of p_θ(x|z), uint8 (N, 1, 28, 28) on the CPU, for codes z (N, J)."""
    device = next(vae.parameters()).device
    return torch.cat(
        [(vae.decode(part.to(device)) * 255).round().byte().cpu() for part in z.split(batch_size)]
    )


def leaky() -> nn.Module:
    """LeakyReLU(0.2), the activation of Reports D and E."""
    return nn.LeakyReLU(0.2)


def dense(sizes: list[int], activation: Callable[[], nn.Module] = leaky) -> list[nn.Module]:
    """Linear layers of these sizes, each followed by the activation."""
    return [
        module
        for a, b in zip(sizes, sizes[1:], strict=False)
        for module in (nn.Linear(a, b), activation())
    ]


def linear_vae(
    latent_dim: int = 2,
    hidden: tuple[int, ...] = (512, 256, 256, 128),
    activation: Callable[[], nn.Module] = leaky,
) -> VAE:
    """Linear layers with LeakyReLU(0.2), as in Report E: 784 → hidden → 2J, and back again in
    reverse order.
    """
    encoder = nn.Sequential(
        nn.Flatten(), *dense([784, *hidden], activation), nn.Linear(hidden[-1], 2 * latent_dim)
    )
    decoder = nn.Sequential(
        *dense([latent_dim, *reversed(hidden)], activation),
        nn.Linear(hidden[0], 784),
        nn.Unflatten(1, (1, 28, 28)),
    )
    return VAE(encoder, decoder, latent_dim)


def gaussian_vae(latent_dim: int = 16, hidden: tuple[int, ...] = (512, 256)) -> GaussianVAE:
    """The networks of `linear_vae`, two layers each by default, with a learned σ."""
    plain = linear_vae(latent_dim, hidden)
    return GaussianVAE(plain.encoder, plain.decoder, latent_dim)


def conv_vae(latent_dim: int = 2, base: int = 16, hidden: int = 256) -> VAE:
    """Two convolutions of stride 2 and a dense layer, mirrored in the decoder; `base` channels at
    14×14, twice as many at 7×7.
    """
    encoder = nn.Sequential(
        nn.Conv2d(1, base, 4, stride=2, padding=1),  # (N, base, 14, 14)
        nn.LeakyReLU(0.2),
        nn.Conv2d(base, 2 * base, 4, stride=2, padding=1),  # (N, 2 base, 7, 7)
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        *dense([2 * base * 49, hidden]),
        nn.Linear(hidden, 2 * latent_dim),
    )
    decoder = nn.Sequential(
        *dense([latent_dim, hidden, 2 * base * 49]),
        nn.Unflatten(1, (2 * base, 7, 7)),
        nn.ConvTranspose2d(2 * base, base, 4, stride=2, padding=1),  # (N, base, 14, 14)
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(base, 1, 4, stride=2, padding=1),  # (N, 1, 28, 28)
    )
    return VAE(encoder, decoder, latent_dim)
