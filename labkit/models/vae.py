"""Variational autoencoders, with or without labels, written out from the paper's equations.

    log p_θ(x) ≥ ELBO = E_{q_φ(z|x)}[log p_θ(x|z)] − D_KL(q_φ(z|x) ‖ p(z)),  p(z) = N(0, I)  (eq. 3)

Kingma & Welling 2014, arXiv:1312.6114. The encoder gives q_φ(z|x) = N(μ, diag σ²), the decoder the
logits of p_θ(x|z), one Bernoulli a pixel; images (N, C, H, W) are in [0, 1]. Terms are in nats an
image. J is the number of latent dimensions. Because grey pixels count as probabilities, −log p(x|z)
is never below the pixels' entropy.

A conditional VAE gives both networks the label y (Sohn et al. 2015, eq. 4). The code then need not
say which class it is and is left with the rest, the style.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.models.gan import Generator, halvings, one_hot

Activation = Callable[[], nn.Module]


class VAETerms(NamedTuple):
    """−log p_θ(x|z) and the KL in nats an image, (N,) each, and the means μ (N, J) of q_φ(z|x)."""

    reconstruction: Tensor
    kl: Tensor
    mu: Tensor

    @property
    def negative_elbo(self) -> Tensor:
        """−ELBO, (N,): what training minimises, an upper bound of −log p_θ(x)."""
        return self.reconstruction + self.kl


def kl_divergence(mu: Tensor, log_var: Tensor) -> Tensor:
    """D_KL(N(μ, diag σ²) ‖ N(0, I)) in nats, (N,), of μ and log σ² (N, J): summed over J."""
    # −D_KL = ½ Σ_j (1 + log σ_j² − μ_j² − σ_j²)                                (appendix B)
    return -0.5 * (1 + log_var - mu**2 - log_var.exp()).sum(1)


def reparameterize(mu: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """z ~ N(μ, diag σ²), (N, J), differentiable in μ and log σ²; noise from `generator`."""
    # z = μ + σ ⊙ ε,  ε ~ N(0, I)                                               (section 2.4)
    device = generator.device if generator else mu.device
    epsilon = torch.randn(mu.shape, generator=generator, device=device).to(mu)
    return mu + (0.5 * log_var).exp() * epsilon


def reconstruction_loss(logits: Tensor, x: Tensor) -> Tensor:
    """−log p_θ(x|z) in nats, (N,), of Bernoulli pixels x in [0, 1]: summed over the pixels."""
    # log p(x|z) = Σ_i x_i log y_i + (1 − x_i) log(1 − y_i),  y = σ(logits)     (eq. 11)
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def pixel_entropy(x: Tensor) -> Tensor:
    """The least that `reconstruction_loss` can be for x in [0, 1], in nats, (N,)."""
    return torch.special.entr(x).add(torch.special.entr(1 - x)).flatten(1).sum(1)


class VAE(nn.Module):
    """An encoder, images → (N, 2J), and a decoder, (N, J) → logits (N, C, H, W)."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent_dim: int):
        super().__init__()
        self.encoder, self.decoder, self.latent_dim = encoder, decoder, latent_dim

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ² of q_φ(z|x), (N, J) each; log σ² may be any number."""
        mu, log_var = self.encoder(x).float().chunk(2, dim=1)
        return mu, log_var

    def decode(self, z: Tensor) -> Tensor:
        """Images in [0, 1] (N, C, H, W): the mean of p_θ(x|z) for codes z (N, J)."""
        return self.decoder(z).float().sigmoid()

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> VAETerms:
        """The terms of −ELBO of images x, with one draw of z each."""
        mu, log_var = self.encode(x)
        z = reparameterize(mu, log_var, generator)
        return VAETerms(self.reconstruction(z, x), kl_divergence(mu, log_var), mu)

    def reconstruction(self, z: Tensor, x: Tensor) -> Tensor:
        """−log p_θ(x|z) in nats, (N,)."""
        return reconstruction_loss(self.decoder(z).float(), x)


class ConditionalVAE(nn.Module):
    """q_φ(z|x, y) and p_θ(x|z, y): a linear encoder, and the DCGAN generator's layers as decoder.

    Images (N, 1, 28, 28) in [0, 1], labels (N,), codes (N, J). The label enters as gain · one-hot;
    with a gain of 1 the decoder first learns to read the class from z and long ignores y.
    """

    def __init__(
        self,
        latent_dim: int = 8,
        classes: int = 10,
        hidden: tuple[int, ...] = (512, 256),
        base: int = 12,
        gain: float = 10.0,
    ):
        super().__init__()
        self.latent_dim, self.classes, self.gain = latent_dim, classes, gain
        layers = dense([784 + classes, *hidden])
        self.encoder = nn.Sequential(*layers, nn.Linear(hidden[-1], 2 * latent_dim))
        layers = Generator(latent_dim + classes, base).layers[:-1]  # without its tanh
        self.decoder = nn.Sequential(nn.Unflatten(1, (latent_dim + classes, 1, 1)), *layers)

    def with_label(self, part: Tensor, y: Tensor) -> Tensor:
        """Rows (N, D) and labels (N,) side by side, (N, D + classes)."""
        return torch.cat([part, self.gain * one_hot(y, self.classes)], 1)

    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ² of q_φ(z|x, y), (N, J) each."""
        mu, log_var = self.encoder(self.with_label(x.flatten(1), y)).float().chunk(2, dim=1)
        return mu, log_var

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        """Images in [0, 1] (N, 1, 28, 28): the mean of p_θ(x|z, y)."""
        return self.decoder(self.with_label(z, y)).float().sigmoid()

    def forward(self, x: Tensor, y: Tensor, generator: torch.Generator | None = None) -> VAETerms:
        """The terms of −ELBO of x given y, with one draw of z an image."""
        mu, log_var = self.encode(x, y)
        z = reparameterize(mu, log_var, generator)
        logits = self.decoder(self.with_label(z, y)).float()
        return VAETerms(reconstruction_loss(logits, x), kl_divergence(mu, log_var), mu)


leaky = partial(nn.LeakyReLU, 0.2)


def dense(sizes: list[int], activation: Activation = leaky) -> list[nn.Module]:
    """Linear layers of these sizes, each followed by the activation."""
    pairs = zip(sizes, sizes[1:], strict=False)
    return [module for a, b in pairs for module in (nn.Linear(a, b), activation())]


def linear_vae(
    latent_dim: int = 2,
    hidden: tuple[int, ...] = (512, 256, 256, 128),
    activation: Activation = leaky,
    family: type[VAE] = VAE,
) -> VAE:
    """A VAE of linear layers for 28×28 images: 784 → hidden → 2J, and back in reverse order."""
    layers = dense([784, *hidden], activation)
    encoder = nn.Sequential(nn.Flatten(), *layers, nn.Linear(hidden[-1], 2 * latent_dim))
    layers = dense([latent_dim, *reversed(hidden)], activation)
    pixels = [nn.Linear(hidden[0], 784), nn.Unflatten(1, (1, 28, 28))]
    return family(encoder, nn.Sequential(*layers, *pixels), latent_dim)


def conv_encoder(
    outputs: int, base: int = 16, size: int = 28, channels: int = 1, hidden: tuple[int, ...] = ()
) -> nn.Sequential:
    """Images (N, channels, size, size) → (N, outputs): convolutions of stride 2, dense layers.

    `base` filters at half the size, twice as many at each halving, down to 7×7 or 4×4.
    """
    layers, before, width = [], channels, base
    sides = halvings(size)
    for _ in sides[1:]:
        layers += [nn.Conv2d(before, width, 4, stride=2, padding=1), leaky()]
        before, width = width, 2 * width
    inner = dense([before * sides[-1] ** 2, *hidden])
    last = nn.Linear(hidden[-1] if hidden else before * sides[-1] ** 2, outputs)
    network = nn.Sequential(*layers, nn.Flatten(), *inner, last)
    return network.to(memory_format=torch.channels_last)


def conv_decoder(
    latent_dim: int,
    base: int = 16,
    size: int = 28,
    channels: int = 1,
    hidden: tuple[int, ...] = (),
    activation: Activation = leaky,
) -> nn.Sequential:
    """Codes (N, J) → logits (N, channels, size, size): the mirror image of `conv_encoder`."""
    *larger, start = halvings(size)
    width = base * 2 ** (len(larger) - 1)
    layers = dense([latent_dim, *hidden, width * start**2], activation)
    layers.append(nn.Unflatten(1, (width, start, start)))
    for _ in larger[1:]:
        up = nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1)
        layers, width = [*layers, up, activation()], width // 2
    layers.append(nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1))
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def conv_vae(latent_dim: int = 2, base: int = 16, hidden: int = 256) -> VAE:
    """A convolutional VAE for 28×28 images, with a dense layer on each side of the code."""
    encoder = conv_encoder(2 * latent_dim, base, hidden=(hidden,))
    return VAE(encoder, conv_decoder(latent_dim, base, hidden=(hidden,)), latent_dim)


def face_vae(latent_dim: int = 32, base: int = 16) -> VAE:
    """A convolutional VAE for 64×64 photographs: four layers of base to 8·base filters."""
    shape = dict(base=base, size=64, channels=3)
    encoder = conv_encoder(2 * latent_dim, **shape)
    return VAE(encoder, conv_decoder(latent_dim, **shape, activation=nn.ReLU), latent_dim)
