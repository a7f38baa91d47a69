"""Study 03: what a VAE with a two-dimensional code learns, epoch by epoch."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from labkit import weights
from labkit.data.images import DataKey, load
from labkit.models.vae import VAE, VAETerms, linear_vae
from labkit.studies.common import seeded, timed, with_weights
from labkit.training.vae import ReconstructionSettings, evaluate, train_vae


@dataclass(frozen=True)
class Run:
    """One VAE. build: latent_dim → the model. stages: epochs that are kept besides the last."""

    data: DataKey
    epochs: float
    build: Callable[[int], VAE] = linear_vae
    latent_dim: int = 2
    seed: int = 0
    lr: float = 3e-3
    batch_size: int = 128
    stages: tuple[float, ...] = ()
    device: str = "cpu"
    checkpoint: str | None = field(default=None, compare=False)

    def model(self) -> VAE:
        """The VAE as it is before training."""
        return seeded(lambda: self.build(self.latent_dim), self.seed)

    def trained(self, found: dict[str, Any], epoch: float | None = None) -> VAE:
        """The trained VAE of what `run` found, at the end or at a stage."""
        return with_weights(self.model(), found["weights"][self.epochs if epoch is None else epoch])


def run(setting: Run) -> dict[str, Any]:
    """Train one VAE. Returns seconds, history, weights, "latents": epoch → μ of the test images."""
    images = setting.data.load()
    plan = ReconstructionSettings(
        setting.epochs,
        setting.seed,
        setting.lr,
        setting.batch_size,
        stages=setting.stages,
        latents=True,
    )
    model, parts = setting.model().to(setting.device), (images.train, images.test)
    return timed(lambda: train_vae(model, *parts, plan, checkpoint=setting.checkpoint))


def make(name: str, epochs: int = 30, seed: int = 0) -> dict[str, float]:
    """Train the 2-D linear VAE on the real images `name` and write its weights.

    They are rounded to float16, which halves the file; what is measured is the rounded model.
    """
    images = load(name).require_published()
    plan = ReconstructionSettings(epochs, seed)
    model = seeded(linear_vae, seed)
    vae = train_vae(model, images.train, images.test, plan).model
    rounded = copy.deepcopy(vae).half()
    vae.load_state_dict(rounded.state_dict())
    measured = {"test_negative_elbo": evaluate(vae, images.test).negative_elbo.mean().item()}
    weights.save(
        f"vae_{name}",
        rounded,
        data=images.title,
        seed=seed,
        epochs=epochs,
        command=f"python -m labkit weights vae_{name}",
        measured=measured,
    )
    return measured


class BetaVAE(VAE):
    """A VAE that weighs the KL by β while it trains; in eval mode the terms are the plain ones.

    Higgins et al. 2017: the loss is −log p_θ(x|z) + β D_KL(q_φ(z|x) ‖ p(z)).
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent_dim: int, beta: float):
        super().__init__(encoder, decoder, latent_dim)
        self.beta = beta

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> VAETerms:
        """The terms of −ELBO of images x; in training the KL is multiplied by β."""
        terms = super().forward(x, generator)
        return terms._replace(kl=self.beta * terms.kl) if self.training else terms


BETAS = (0, 0.25, 1, 4, 16, 64)


def beta_vaes() -> nn.ModuleList:
    """Small linear VAEs with a 2-D code, one for each of BETAS, as they are before training."""
    family = [partial(BetaVAE, beta=beta) for beta in BETAS]
    return nn.ModuleList(linear_vae(2, (112, 96, 64), family=build) for build in family)


def make_beta_vaes(epochs: int = 24, seed: int = 0) -> dict[str, float]:
    """Train the β-VAEs on MNIST and write their weights, rounded to float16, to one file."""
    images = load("mnist").require_published()
    plan = ReconstructionSettings(epochs, seed, batch_size=min(256, len(images.train)))
    models = seeded(beta_vaes, seed)
    for model in models:
        model.load_state_dict(models[0].state_dict())  # all begin alike
    for model in models:
        train_vae(model, images.train, images.test, plan)
    rounded = copy.deepcopy(models).half()
    models.load_state_dict(rounded.state_dict())
    measured = {}
    for model in models:
        terms = evaluate(model, images.test)
        for name in ("reconstruction", "kl"):
            measured[f"{name} at β = {model.beta}"] = getattr(terms, name).mean().item()
    weights.save(
        "beta_vaes_mnist",
        rounded,
        data=images.title,
        seed=seed,
        epochs=epochs,
        betas=list(BETAS),
        command="python -m labkit weights beta_vaes_mnist",
        measured=measured,
    )
    return measured


WEIGHTS = {f"vae_{name}": partial(make, name) for name in ("mnist", "fashion")}
WEIGHTS["beta_vaes_mnist"] = partial(make_beta_vaes)
