"""Study 07: autoencoder, VAE, GANs and inpainting on photographs of cat faces."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from labkit import folders, weights
from labkit.data.images import DataKey, ImageSet, load
from labkit.metrics.sharpness import sharpness_ratio
from labkit.models.autoencoder import Autoencoder, Inpainter
from labkit.models.gan import Discriminator, Generator
from labkit.models.images import draw
from labkit.models.vae import face_vae
from labkit.profile import profile
from labkit.studies import gan_stages
from labkit.studies.common import every, seeded, timed, with_weights
from labkit.studies.report_networks import ReportDDiscriminator, ReportDGenerator
from labkit.training.gan import GANSettings, TrainedGAN, train_gan
from labkit.training.vae import (
    ReconstructionSettings,
    Trained,
    evaluate,
    mean_squared_error,
    train_autoencoder,
    train_vae,
)


class Parts(NamedTuple):
    """Training images by what they are for, uint8 (N, 3, 64, 64).

    features: a quarter, for the autoencoder whose codes measure distances. models: the rest, for
    what generates or restores. They share no image, nor do they with the test images.
    """

    features: Tensor
    models: Tensor


def parts(images: ImageSet) -> Parts:
    """Every fourth training image for the features, the others for the models."""
    fourth = torch.arange(len(images.train)) % 4 == 0
    return Parts(images.train[fourth], images.train[~fourth])


def mirrored(images: Tensor) -> Tensor:
    """Images (N, C, H, W) and their mirror images, (2N, C, H, W)."""
    return torch.cat([images, images.flip(3)])


def report_networks(filters: int) -> tuple[nn.Module, nn.Module]:
    """Report D's generator and discriminator."""
    return ReportDGenerator(512, filters), ReportDDiscriminator(filters)


def small_networks(base: int) -> tuple[nn.Module, nn.Module]:
    """The kit's generator and discriminator for 64×64 photographs."""
    shape = dict(base=base, size=64, channels=3)
    return Generator(128, **shape, refine=False), Discriminator(**shape)


class Kind(Protocol):
    """A kind of model: its networks, how they are trained, and what is measured of the first."""

    def networks(self) -> tuple[nn.Module, ...]:
        """The model, and its opponent if it has one."""

    def train(self, run: "Run", networks: tuple, cats: ImageSet) -> TrainedGAN | Trained:
        """Train for the epochs of the run."""

    def measure(self, model: nn.Module, test: Tensor) -> dict[str, float]:
        """Scores of the trained model on test images."""


@dataclass(frozen=True)
class FaceGAN:
    """A GAN; build: width → generator and discriminator. settings: but for epochs and seed."""

    build: Callable[[int], tuple[nn.Module, nn.Module]] = small_networks
    settings: GANSettings = gan_stages.OURS.settings
    width: int = 8

    def networks(self) -> tuple[nn.Module, nn.Module]:
        return self.build(self.width)

    def train(self, run: "Run", networks: tuple, cats: ImageSet) -> TrainedGAN:
        plan = replace(self.settings, epochs=run.epochs, seed=run.seed, stages=run.stages)
        return train_gan(*networks, run.images(cats), plan, checkpoint=run.checkpoint)

    def measure(self, model: nn.Module, test: Tensor) -> dict[str, float]:
        codes = torch.randn(1000, model.latent_dim, generator=torch.Generator().manual_seed(2))
        return sharpness_ratio(draw(model, codes), test)


REPORT_GAN = FaceGAN(report_networks, GANSettings(1, batch_size=64), width=128)
OUR_GAN = FaceGAN()


@dataclass(frozen=True)
class FaceVAE:
    """Report D's VAE: 32 latent dimensions, four convolutions."""

    def networks(self) -> tuple[nn.Module]:
        return (face_vae(),)

    def train(self, run: "Run", networks: tuple, cats: ImageSet) -> Trained:
        settings = run.reconstruction()
        return train_vae(
            *networks, run.images(cats), cats.test, settings, checkpoint=run.checkpoint
        )

    def measure(self, model: nn.Module, test: Tensor) -> dict[str, float]:
        terms = evaluate(model, test)
        elbo, kl = terms.negative_elbo.mean().item(), terms.kl.mean().item()
        return {"test_negative_elbo": elbo, "test_kl": kl}


@dataclass(frozen=True)
class FaceAutoencoder:
    """An autoencoder (of the part `features`) or an inpainter; build: the model."""

    build: Callable[[], nn.Module] = Autoencoder

    def networks(self) -> tuple[nn.Module]:
        return (self.build(),)

    def train(self, run: "Run", networks: tuple, cats: ImageSet) -> Trained:
        settings, images = run.reconstruction(), run.images(cats)
        return train_autoencoder(*networks, images, cats.test, settings, run.checkpoint)

    def measure(self, model: nn.Module, test: Tensor) -> dict[str, float]:
        return {"test_mse": mean_squared_error(model, test)}


@dataclass(frozen=True)
class Run:
    """One model of the study.

    stages: epochs whose weights are kept besides the last. mirror: train on mirror images, too.
    """

    kind: Kind
    data: DataKey
    epochs: float
    seed: int = 0
    stages: tuple[float, ...] = ()
    mirror: bool = True
    device: str = "cpu"
    checkpoint: str | None = field(default=None, compare=False)

    def images(self, cats: ImageSet) -> Tensor:
        """What the model is trained on."""
        for_features = getattr(self.kind, "build", None) is Autoencoder
        images = parts(cats).features if for_features else parts(cats).models
        return mirrored(images) if self.mirror else images

    def reconstruction(self) -> ReconstructionSettings:
        """The settings of a VAE or autoencoder."""
        return ReconstructionSettings(self.epochs, self.seed, 2e-3, 32, stages=self.stages)

    def model(self, found: dict[str, Any], epoch: float | None = None) -> nn.Module:
        """The trained model of what `run` found, at the end or at a stage."""
        kept = found["weights"][self.epochs if epoch is None else epoch]
        return with_weights(seeded(self.kind.networks, self.seed)[0], kept)


def run(setting: Run) -> dict[str, Any]:
    """Train one model. Returns seconds, history and weights (epoch → state dict)."""
    cats = setting.data.load()
    networks = tuple(n.to(setting.device) for n in seeded(setting.kind.networks, setting.seed))
    found = timed(lambda: setting.kind.train(setting, networks, cats))
    return {part: found[part] for part in ("seconds", "history", "weights")}


def make(name: str, kind: Kind, epochs: float, mirror: bool = True) -> dict[str, float]:
    """Train a model on real photographs and write its weights, rounded to float16.

    Interrupted, it goes on where it was. Returns what the rounded model scores.
    """
    cats = load("cats").require_published()
    checkpoint = str(folders.results(profile()) / f"{name}.partial")
    plan = Run(kind, cats.key, epochs, mirror=mirror, checkpoint=checkpoint)
    found = run(plan)
    rounded = {k: v.half() for k, v in found["weights"][epochs].items()}
    model = with_weights(plan.model(found), rounded)
    facts: dict[str, Any] = dict(data=cats.title, seed=0, epochs=epochs, mirror=mirror)
    if kind == FaceAutoencoder():
        facts["history"] = every(found["history"], len(found["history"]), "epoch", "train", "test")
    measured = kind.measure(model, cats.test)
    command = f"python -m labkit weights {name}"
    weights.save(name, model.half(), **facts, command=command, measured=measured)
    return measured


WEIGHTS = {
    "vae_cats": partial(make, "vae_cats", FaceVAE(), 24),
    "gan_cats": partial(make, "gan_cats", OUR_GAN, 18),
    "ae_cats": partial(make, "ae_cats", FaceAutoencoder(), 80, mirror=False),
    "inpaint_cats": partial(make, "inpaint_cats", FaceAutoencoder(Inpainter), 8),
}
