"""Training models that reconstruct their input: VAEs (Kingma & Welling 2014), autoencoders."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.data.masks import random_masks
from labkit.models.autoencoder import Inpainter
from labkit.models.images import unit
from labkit.models.vae import VAETerms
from labkit.profile import autocast
from labkit.training.batches import Batches, due_at
from labkit.training.loop import Loop, state_copy

WARM_UP = 200  # steps, or a tenth of a run shorter than ten times that


@dataclass(frozen=True)
class ReconstructionSettings:
    """How `train_vae` and `train_autoencoder` train.

    epochs: fractions allowed. decay: the learning rate's last value over its first one; it falls
    exponentially, not as a cosine, because models are looked at on the way.
    stages: epochs whose weights are kept besides those of the end; 0 is before training. latents:
    keep μ of the test images after each epoch.
    """

    epochs: float
    seed: int = 0
    lr: float = 3e-3
    batch_size: int = 128
    decay: float = 0.03
    stages: tuple[float, ...] = ()
    latents: bool = False


@dataclass
class Trained:
    """What training leaves; `model` is in eval mode.

    history: a row an epoch, and one at the end: step, epoch, and the scores of the trainer.
    weights: epoch → state dict, for the stages and the end. latents: epoch → μ of the test images
    (N, J), of a VAE whose settings ask for them.
    """

    model: nn.Module
    history: list[dict[str, Any]]
    weights: dict[float, dict[str, Tensor]] = field(default_factory=dict)
    latents: dict[float, Tensor] = field(default_factory=dict)


def train_vae(
    vae: nn.Module,
    images: Tensor,
    test: Tensor,
    settings: ReconstructionSettings,
    labels: tuple[Tensor, Tensor] | None = None,
    checkpoint: str | os.PathLike | None = None,
) -> Trained:
    """Train on −ELBO of uint8 images (N, C, H, W), on the device of `vae`.

    labels: of `images` and of `test`, for a conditional VAE. The history has, in nats an image,
    −ELBO of training images ("train", as many as there are test images) and of test images
    ("test"), and the latter's parts "reconstruction" and "kl". Raises ValueError as Batches does,
    FloatingPointError if the loss is not finite.
    """
    labels, test_labels = labels or (None, None)

    def loss(x: Tensor, y: Tensor | None, noise: torch.Generator) -> Tensor:
        return (vae(x, noise) if y is None else vae(x, y, noise)).negative_elbo.mean()

    def score() -> tuple[dict[str, float], Tensor]:
        some = slice(len(test))
        with autocast(next(vae.parameters()).device):
            seen = evaluate(vae, images[some], None if labels is None else labels[some])
            terms = evaluate(vae, test, test_labels)
        named = dict(train=seen.negative_elbo, test=terms.negative_elbo)
        named |= dict(reconstruction=terms.reconstruction, kl=terms.kl)
        return {name: value.mean().item() for name, value in named.items()}, terms.mu

    return _train(vae, images, labels, settings, loss, score, checkpoint)


def train_autoencoder(
    model: nn.Module,
    images: Tensor,
    test: Tensor,
    settings: ReconstructionSettings,
    checkpoint: str | os.PathLike | None = None,
) -> Trained:
    """Train on the mean squared error of uint8 images; an Inpainter gets a random mask an image.

    The history has the error of as many training images ("train") and of the test images ("test"),
    pixels in [0, 1]. Raises what `train_vae` does.
    """

    def loss(x: Tensor, y: None, noise: torch.Generator) -> Tensor:
        return F.mse_loss(_reconstruct(model, x, noise), x)

    def score() -> tuple[dict[str, float], None]:
        parts = dict(train=images[: len(test)], test=test)
        return {name: mean_squared_error(model, part) for name, part in parts.items()}, None

    return _train(model, images, None, settings, loss, score, checkpoint)


def learning_rate(step: int, steps: int, settings: ReconstructionSettings) -> float:
    """A linear warm-up, then an exponential fall to lr · decay at the end."""
    warm_up = min(1.0, (step + 1) / min(WARM_UP, steps / 10))
    return settings.lr * warm_up * settings.decay ** (step / steps)


@torch.inference_mode()
def evaluate(
    vae: nn.Module,
    images: Tensor,
    labels: Tensor | None = None,
    seed: int = 0,
    batch_size: int = 1000,
) -> VAETerms:
    """The terms of −ELBO of uint8 images, one draw of z each, on the CPU; in eval mode."""
    device, was_training = next(vae.parameters()).device, vae.training
    noise, terms = torch.Generator().manual_seed(seed), []
    vae.eval()
    for k in range(0, len(images), batch_size):
        x = unit(images[k : k + batch_size].to(device))
        given = () if labels is None else (labels[k : k + batch_size].to(device),)
        terms.append(vae(x, *given, noise))
    vae.train(was_training)
    return VAETerms(*(torch.cat(term).cpu() for term in zip(*terms, strict=True)))


@torch.inference_mode()
def mean_squared_error(model: nn.Module, images: Tensor, seed: int = 0) -> float:
    """Error of reconstructed uint8 images, pixels in [0, 1]; the same masks at every call."""
    device, noise, total = next(model.parameters()).device, torch.Generator().manual_seed(seed), 0.0
    for part in images.split(250):
        x = unit(part.to(device))
        with autocast(device):
            total += F.mse_loss(_reconstruct(model, x, noise), x).item() * len(part)
    return total / len(images)


def _reconstruct(model: nn.Module, x: Tensor, noise: torch.Generator) -> Tensor:
    masked = isinstance(model, Inpainter)
    return model(x, random_masks(len(x), noise).to(x)) if masked else model(x)


def _train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor | None,
    settings: ReconstructionSettings,
    loss_of: Callable[[Tensor, Tensor | None, torch.Generator], Tensor],
    score: Callable[[], tuple[dict[str, float], Tensor | None]],
    checkpoint: str | os.PathLike | None,
) -> Trained:
    """Adam on `loss_of` images in [0, 1], labels and noise; a row of `score` after each epoch."""
    device, s = next(model.parameters()).device, settings
    batches = Batches(images, s.batch_size, s.seed, labels, device)
    steps = batches.steps(s.epochs)
    due = due_at(s.stages, s.epochs, batches.per_epoch, steps)
    optimizer = torch.optim.Adam(model.parameters(), lr=s.lr, fused=True)
    noise = torch.Generator().manual_seed(s.seed)
    state = {"model": model, "optimizer": optimizer, "noise": noise}
    loop = Loop(steps, state, checkpoint, (s, images, labels), type(model).__name__)
    if loop.step == 0 and 0 in due:
        loop.snapshots[0] = {"due": due[0], "weights": state_copy(model)}
    model.train()
    for step in loop:
        x, y = batches(step)
        optimizer.param_groups[0]["lr"] = learning_rate(step, steps, s)
        with autocast(device):
            loss = loss_of(unit(x), y, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not loss.isfinite():
            loop.log(loss=loss.item())  # which stops with advice
        kept: dict[str, Any] = {}
        if (step + 1) % batches.per_epoch == 0 or step + 1 == steps:
            epoch = (step + 1) / batches.per_epoch
            row, mu = score()
            loop.log(epoch=epoch, **row)
            kept |= {"epoch": epoch, "mu": mu} if s.latents and mu is not None else {}
        if step + 1 in due:
            kept |= {"due": due[step + 1], "weights": state_copy(model)}
        if kept:
            loop.snapshot(kept)
    snapshots = loop.snapshots.values()
    weights = {epoch: kept["weights"] for kept in snapshots for epoch in kept.get("due", ())}
    latents = {kept["epoch"]: kept["mu"] for kept in snapshots if "mu" in kept}
    return Trained(model.eval(), loop.history, weights, latents)
