"""Study 06: models that are told what to draw, and Report E's linear networks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import MixtureSameFamily
from torch.optim import Optimizer

from labkit import weights
from labkit.data.images import DataKey, ImageSet, load
from labkit.metrics.class_balance import classify
from labkit.models.gan import ConditionalGenerator, ProjectionDiscriminator
from labkit.models.images import draw, encode
from labkit.models.vae import ConditionalVAE, leaky
from labkit.pretrained import classifier_for
from labkit.studies import gan_stages
from labkit.studies.common import every, seeded, timed, with_weights
from labkit.studies.report_networks import ReportEDiscriminator, ReportEGenerator
from labkit.studies.second_stage import fit_mixture, sample_codes
from labkit.training.gan import DCGAN_ADAM, GANSettings, TrainedGAN, train_gan
from labkit.training.vae import ReconstructionSettings, Trained, train_vae


class Kind(Protocol):
    """A kind of model: its name in tables, its networks, and how a run trains them."""

    name: str

    def networks(self, latent_dim: int) -> tuple[nn.Module, ...]:
        """The model, and its opponent if it has one."""

    def train(self, run: "Run", networks: tuple, images: ImageSet) -> TrainedGAN | Trained:
        """Train for the epochs of the run."""


@dataclass(frozen=True)
class LinearGAN:
    """Report E's GAN of linear layers, with labels (classes = 10) or without (0)."""

    classes: int = 10
    activation: Callable[[], nn.Module] = leaky
    dropout: float = 0.3
    gain: float = 1.0
    optimizer: Callable[..., Optimizer] = DCGAN_ADAM
    lr: float = 5e-4
    name: str = "linear cGAN"

    def networks(self, latent_dim: int) -> tuple[ReportEGenerator, ReportEDiscriminator]:
        common = dict(classes=self.classes, activation=self.activation, gain=self.gain)
        discriminator_of = partial(ReportEDiscriminator, dropout=self.dropout)
        return ReportEGenerator(latent_dim, **common), discriminator_of(**common)

    def train(self, run: "Run", networks: tuple, images: ImageSet) -> TrainedGAN:
        settings = GANSettings(
            run.epochs, run.seed, self.lr, self.lr, self.optimizer, batch_size=64
        )
        return train_gan(*networks, images.train, settings, images.train_labels)


@dataclass(frozen=True)
class ConditionalDCGAN:
    """The kit's DCGAN, told the label; its discriminator has a projection."""

    base: int = 16
    name: str = "cDCGAN"

    def networks(self, latent_dim: int) -> tuple[ConditionalGenerator, ProjectionDiscriminator]:
        return ConditionalGenerator(latent_dim, self.base), ProjectionDiscriminator(self.base)

    def train(self, run: "Run", networks: tuple, images: ImageSet) -> TrainedGAN:
        settings = replace(gan_stages.OURS.settings, epochs=run.epochs, seed=run.seed)
        return train_gan(*networks, images.train, settings, images.train_labels)


@dataclass(frozen=True)
class ConditionalVAEKind:
    """The kit's conditional VAE; gain: what stands in place of the 1 of a one-hot label."""

    gain: float = 10.0
    name: str = "cVAE"

    def networks(self, latent_dim: int) -> tuple[ConditionalVAE]:
        model = ConditionalVAE(latent_dim, gain=self.gain)
        return (model.to(memory_format=torch.channels_last),)  # faster convolutions

    def train(self, run: "Run", networks: tuple, images: ImageSet) -> Trained:
        settings = ReconstructionSettings(run.epochs, run.seed, lr=2e-3, batch_size=64)
        labels = (images.train_labels, images.test_labels)
        return train_vae(*networks, images.train, images.test, settings, labels)


@dataclass(frozen=True)
class Run:
    """One model of the study."""

    kind: Kind
    data: DataKey
    epochs: float
    latent_dim: int
    seed: int = 0
    device: str = "cpu"

    def networks(self) -> tuple[nn.Module, ...]:
        """The networks as they are before training."""
        return seeded(lambda: self.kind.networks(self.latent_dim), self.seed)

    def model(self, found: dict[str, Any]) -> nn.Module:
        """The trained generator or VAE of what `run` found."""
        return with_weights(self.networks()[0], found["weights"][self.epochs])


def run(setting: Run) -> dict[str, Any]:
    """Train one model. Returns seconds, history and weights (epoch → state dict)."""
    networks = tuple(network.to(setting.device) for network in setting.networks())
    found = timed(lambda: setting.kind.train(setting, networks, setting.data.load()))
    return {part: found[part] for part in ("seconds", "history", "weights")}


@dataclass(frozen=True)
class Supplied:
    """A generator of Report E's that comes with the kit, trained for the report's 50 epochs."""

    kind: LinearGAN
    data: str
    latent_dim: int = 100
    epochs: int = 50

    def load(self, name: str) -> tuple[nn.Module, dict[str, Any]]:
        """The generator, and the facts about it: "history" has its losses."""
        generator = self.kind.networks(self.latent_dim)[0]
        return generator, weights.load(name, generator)

    def make(self, name: str, seed: int = 0) -> dict[str, float]:
        """Train it anew on real images and write its weights, rounded to float16."""
        images = load(self.data).require_published()
        plan = Run(self.kind, images.key, self.epochs, self.latent_dim, seed)
        found = run(plan)
        model = plan.model(found)
        rounded = {key: value.half() for key, value in model.state_dict().items()}
        measured = measure(with_weights(model, rounded), classifier_for(images, say=False))
        weights.save(
            name,
            model.half(),
            data=images.title,
            seed=seed,
            epochs=self.epochs,
            command=f"python -m labkit weights {name}",
            measured=measured,
            history=every(found["history"], 300, "epoch", "d_loss", "g_loss"),
        )
        return measured


SUPPLIED = {
    "linear_cgan_mnist": Supplied(LinearGAN(), "mnist"),
    "linear_gan_fashion": Supplied(LinearGAN(classes=0, name="linear GAN"), "fashion"),
}


def measure(generator: ReportEGenerator, classifier: nn.Module) -> dict[str, float]:
    """Of 5,000 images the classifier's mean confidence and, where a class can be asked for, how
    often it agrees, both in [0, 1].
    """
    asked = torch.arange(5000) % 10
    z = torch.randn(5000, generator.latent_dim, generator=torch.Generator().manual_seed(1))
    p = classify(classifier, draw(generator, z, asked))[1]
    agrees = (p.argmax(1) == asked).double().mean().item()
    found = {"confidence": p.amax(1).mean().item()}
    return found | ({"conditional_accuracy": agrees} if generator.classes else {})


def class_densities(
    vae: nn.Module, images: Tensor, labels: Tensor, components: int = 20, seed: int = 0
) -> list[MixtureSameFamily]:
    """p(z|y) for y = 0, 1, …: a mixture fitted to draws of q(z|x, y) of each class's images.

    Sohn et al. 2015 learn such a prior with the rest; fitted afterwards it is a second stage, class
    by class. Raises ValueError for a class with too few images.
    """
    z = encode(vae, images, labels, seed)
    return [fit_mixture(z[labels == k], components, seed) for k in range(vae.classes)]


def sample_class_codes(densities: list[MixtureSameFamily], y: Tensor, seed: int) -> Tensor:
    """A code (N, J) of p(z|y) for each label (N,)."""
    z = torch.empty(len(y), *densities[0].event_shape)
    for k in y.unique().tolist():
        z[y == k] = sample_codes(densities[k], int((y == k).sum()), seed + 1000 * k)
    return z


def search_codes(
    generator: Callable[[Tensor], Tensor],
    classifier: nn.Module,
    z: Tensor,
    target: int,
    steps: int = 60,
    lr: float = 0.1,
    keep_length: bool = True,
) -> Tensor:
    """Codes near z (N, Z) that the classifier takes for class `target` (Nguyen et al. 2016).

    Adam on log p(target | G(z)), for a generator of images in [−1, 1] in eval mode. keep_length:
    after each step a code is put back to the length that it was drawn with, because N(0, I) has
    next to no mass at others. A code that the classifier is sure of has no gradient and stays.
    """
    lengths, z = z.norm(dim=1, keepdim=True), z.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=lr)
    for _ in range(steps):
        loss = -classifier((generator(z) + 1) / 2).log_softmax(1)[:, target].sum()
        (z.grad,) = torch.autograd.grad(loss, z)  # leaves no gradients in the networks
        optimizer.step()
        if keep_length:
            with torch.no_grad():
                z *= lengths / z.norm(dim=1, keepdim=True)
    return z.detach()


WEIGHTS = {name: partial(one.make, name) for name, one in SUPPLIED.items()}
