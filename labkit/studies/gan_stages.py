"""Study 02: a GAN on digits, stage by stage, and the way from Report A's recipe to ours."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from labkit import pretrained, weights
from labkit.data.images import DataKey, load
from labkit.metrics.class_balance import classify, describe
from labkit.models.gan import Discriminator, Generator
from labkit.models.images import draw
from labkit.studies.common import seeded, timed, with_weights
from labkit.studies.report_networks import ReportADiscriminator, ReportAGenerator
from labkit.training.gan import ADAM_WITHOUT_MOMENTUM, GANSettings, train_gan

Networks = Callable[[int], tuple[nn.Module, nn.Module]]  # base → generator and discriminator


def report_networks(base: int) -> tuple[nn.Module, nn.Module]:
    """Report A's generator and discriminator."""
    return ReportAGenerator(100, base), ReportADiscriminator(base)


def small_networks(base: int, norm: str = "none") -> tuple[nn.Module, nn.Module]:
    """The kit's generator and discriminator."""
    return Generator(64, base), Discriminator(base, norm=norm)


@dataclass(frozen=True)
class Recipe:
    """Networks, and how they are trained (but for how long and from which seed)."""

    networks: Networks
    settings: GANSettings


_equal_rates = GANSettings(1, lr_g=2e-3, lr_d=2e-3, batch_size=32)
_r1 = replace(_equal_rates, r1=1.0)
_no_momentum = replace(_r1, optimizer=ADAM_WITHOUT_MOMENTUM)
REPORT = Recipe(report_networks, GANSettings(1))
OURS = Recipe(small_networks, replace(_no_momentum, ema=0.998))
STEPS = {  # from the report's recipe to ours, one idea a step; the last stands beside it
    "report": REPORT,
    "our networks": Recipe(partial(small_networks, norm="batch"), GANSettings(1)),
    "batch 32, two rates": Recipe(
        partial(small_networks, norm="batch"), replace(_equal_rates, lr_d=5e-4)
    ),
    "R1, equal rates": Recipe(small_networks, _r1),
    "no momentum": Recipe(small_networks, _no_momentum),
    "ours": OURS,
    "spectral, no R1": Recipe(
        partial(small_networks, norm="spectral"), replace(OURS.settings, r1=0.0)
    ),
}


@dataclass(frozen=True)
class Run:
    """One GAN of the study. stages: epochs at which `n_codes` fixed codes are drawn."""

    recipe: Recipe
    data: DataKey
    epochs: float
    seed: int = 0
    base: int = 16
    stages: tuple[float, ...] = ()
    n_codes: int = 100
    device: str = "cpu"
    checkpoint: str | None = field(default=None, compare=False)

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator as they are before training."""
        return seeded(lambda: self.recipe.networks(self.base), self.seed)

    def generator(self, found: dict[str, Any], epoch: float | None = None) -> nn.Module:
        """The trained generator of what `run` found, at the end or at a stage."""
        return with_weights(
            self.networks()[0], found["weights"][self.epochs if epoch is None else epoch]
        )


def run(setting: Run) -> dict[str, Any]:
    """Train one GAN. Returns seconds, history, weights and "stages": epoch → uint8 images."""
    images = setting.data.load().train
    networks = [network.to(setting.device) for network in setting.networks()]
    plan = replace(
        setting.recipe.settings, epochs=setting.epochs, seed=setting.seed, stages=setting.stages
    )
    found = timed(lambda: train_gan(*networks, images, plan, checkpoint=setting.checkpoint))
    codes = torch.randn(
        setting.n_codes, networks[0].latent_dim, generator=torch.Generator().manual_seed(1)
    )
    model = setting.networks()[0]
    kept = found["weights"].items()
    found["stages"] = {epoch: draw(with_weights(model, state), codes) for epoch, state in kept}
    return found


def make(name: str, epochs: float = 10, seed: int = 0) -> dict[str, float]:
    """Train the kit's GAN on the real images `name` and write its generator's weights."""
    images = load(name).require_published()
    plan = Run(OURS, images.key, epochs, seed)
    settings = replace(OURS.settings, epochs=epochs, seed=seed)
    generator = train_gan(*plan.networks(), images.train, settings).generator
    classifier = pretrained.classifier_for(images)
    z = torch.randn(10_000, generator.latent_dim, generator=torch.Generator().manual_seed(2))
    real_features, _ = classify(classifier, images.test)
    measured = describe(classifier, draw(generator, z), real_features)
    weights.save(
        f"gan_{name}",
        generator,
        data=images.title,
        seed=seed,
        epochs=epochs,
        command=f"python -m labkit weights gan_{name}",
        measured=measured,
    )
    return measured


WEIGHTS = {f"gan_{name}": partial(make, name) for name in ("mnist", "fashion")}
