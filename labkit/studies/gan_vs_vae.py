"""Study 04: GANs, VAEs and hybrids of both under one metric."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from labkit.data.images import DataKey
from labkit.models.gan import Discriminator, Generator
from labkit.models.images import encode
from labkit.models.vae import VAE, linear_vae
from labkit.studies import gan_stages
from labkit.studies.common import seeded, timed, with_weights
from labkit.studies.second_stage import TwoStage, fit_mixture
from labkit.studies.vaegan import VAEGAN, VAEGANSettings, train_vaegan
from labkit.training.gan import TrainedGAN, train_gan
from labkit.training.vae import ReconstructionSettings, Trained, train_vae


class Family(Protocol):
    """A kind of model: its name in tables, its networks, and how a run trains them."""

    name: str

    def networks(self, latent_dim: int) -> tuple[nn.Module, ...]:
        """The model, and its opponent if it has one."""

    def train(self, run: "Run", networks: tuple, parts: tuple[Tensor, Tensor]) -> Any:
        """Train on (training, test) images for the epochs of the run."""


@dataclass(frozen=True)
class GAN:
    """The kit's DCGAN, by study 02's recipe."""

    base: int = 16
    name: str = "GAN"

    def networks(self, latent_dim: int) -> tuple[Generator, Discriminator]:
        return Generator(latent_dim, self.base), Discriminator(self.base)

    def train(self, run: "Run", networks: tuple, parts: tuple[Tensor, Tensor]) -> TrainedGAN:
        settings = _for(run, gan_stages.OURS.settings)
        return train_gan(*networks, parts[0], settings, checkpoint=run.checkpoint)


@dataclass(frozen=True)
class VAEGANFamily:
    """The VAE-GAN of Larsen et al. 2016."""

    base: int = 16
    settings: VAEGANSettings = field(default_factory=VAEGANSettings)
    name: str = "VAE-GAN"

    def networks(self, latent_dim: int) -> tuple[VAEGAN, Discriminator]:
        return VAEGAN(latent_dim, self.base), Discriminator(self.base)

    def train(self, run: "Run", networks: tuple, parts: tuple[Tensor, Tensor]) -> TrainedGAN:
        settings = replace(self.settings, game=_for(run, self.settings.game))
        return train_vaegan(*networks, parts[0], settings, run.checkpoint)


def gaussian_loss(mean: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
    """−log N(x; mean, σ²) in nats, (N,), with one σ for all pixels; a density, so it may be < 0."""
    # −log p(x|z) = Σ_i (x_i − y_i)² / 2σ² + log σ + ½ log 2π
    squares = 0.5 * ((x - mean) / log_sigma.exp()) ** 2
    return (squares + log_sigma + 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)


class GaussianVAE(VAE):
    """A VAE with p_θ(x|z) = N(decode(z), σ²), one learned σ for all pixels (Rybkin et al. 2021).

    The smaller σ, the more an error of a pixel costs, and the longer a code is worth its KL.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent_dim: int):
        super().__init__(encoder, decoder, latent_dim)
        self.log_sigma = nn.Parameter(torch.tensor(-1.0))

    def reconstruction(self, z: Tensor, x: Tensor) -> Tensor:
        return gaussian_loss(self.decode(z), x, self.log_sigma)


def shallow_vae(latent_dim: int) -> VAE:
    """A VAE of two linear layers on each side, Bernoulli pixels."""
    return linear_vae(latent_dim, (512, 256))


def gaussian_vae(latent_dim: int) -> VAE:
    """The same with Gaussian pixels and one learned σ."""
    return linear_vae(latent_dim, (512, 256), family=GaussianVAE)


@dataclass(frozen=True)
class VAEFamily:
    """A VAE; build: latent_dim → the model."""

    build: Callable[[int], VAE] = shallow_vae
    name: str = "VAE"

    def networks(self, latent_dim: int) -> tuple[VAE]:
        return (self.build(latent_dim),)

    def train(self, run: "Run", networks: tuple, parts: tuple[Tensor, Tensor]) -> Trained:
        settings = _for(run, ReconstructionSettings(1))
        return train_vae(*networks, *parts, settings, checkpoint=run.checkpoint)


@dataclass(frozen=True)
class Run:
    """One model of the study. stages: epochs whose weights are kept besides the last."""

    family: Family
    data: DataKey
    epochs: float
    latent_dim: int
    seed: int = 0
    stages: tuple[float, ...] = ()
    device: str = "cpu"
    checkpoint: str | None = field(default=None, compare=False)

    def networks(self) -> tuple[nn.Module, ...]:
        """The networks as they are before training."""
        return seeded(lambda: self.family.networks(self.latent_dim), self.seed)

    def model(self, found: dict[str, Any], epoch: float | None = None) -> nn.Module:
        """The trained model of what `run` found, at the end or at a stage."""
        weights = found["weights"][self.epochs if epoch is None else epoch]
        return with_weights(self.networks()[0], weights)

    def discriminator(self, found: dict[str, Any]) -> Discriminator:
        """The opponent of a GAN at the end of its training."""
        return with_weights(self.networks()[1], found["discriminator"])


def run(setting: Run) -> dict[str, Any]:
    """Train one model. Returns seconds, history, weights and, of a GAN, "discriminator"."""
    images = setting.data.load()
    networks = tuple(network.to(setting.device) for network in setting.networks())
    parts = (images.train, images.test)
    return timed(lambda: setting.family.train(setting, networks, parts))


def second_stage(model: nn.Module, images: Tensor, components: int, seed: int = 0) -> TwoStage:
    """The model with a mixture of Gaussians fitted to its codes of uint8 images."""
    with torch.random.fork_rng():
        return TwoStage(model, fit_mixture(encode(model, images, seed=seed), components, seed))


def _for(run: Run, settings: Any) -> Any:
    return replace(settings, epochs=run.epochs, seed=run.seed, stages=run.stages)
