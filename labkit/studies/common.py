"""What the studies of image models share: seeded networks, timed runs, supplied weights."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from labkit.training.gan import TrainedGAN
from labkit.training.vae import Trained

T = TypeVar("T")


def seeded(build: Callable[[], T], seed: int) -> T:
    """build(), with first weights drawn from `seed`; leaves torch's global generator alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def timed(train: Callable[[], TrainedGAN | Trained]) -> dict[str, Any]:
    """What train() leaves, as plain values: seconds, history, weights (epoch → state dict).

    Of a GAN also the state dict of its "discriminator" at the end, of a VAE its "latents" if kept.
    """
    start = time.perf_counter()
    run = train()
    found = {"seconds": time.perf_counter() - start, "history": run.history, "weights": run.weights}
    if isinstance(run, Trained) and run.latents:
        found["latents"] = run.latents
    if isinstance(run, TrainedGAN):
        found["discriminator"] = {k: v.cpu() for k, v in run.discriminator.state_dict().items()}
    return found


def with_weights(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """The model with these weights, in eval mode."""
    model.load_state_dict(weights)
    return model.eval()


def every(history: list[dict[str, Any]], rows: int, *columns: str) -> list[dict[str, Any]]:
    """About `rows` rows of a history, equally far apart, with a few columns of few digits."""
    step = max(1, len(history) // rows)
    return [{k: float(f"{row[k]:.4g}") for k in columns} for row in history[::step]]
