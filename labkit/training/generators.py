"""One entry for the generative models of lab 04: train any of them, rebuild it from its weights,
draw from it.
"""

import io
import time
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from labkit.data.images import load
from labkit.models.gan import Discriminator, Generator, sample
from labkit.models.hybrid import VAEGAN, TwoStage
from labkit.models.vae import VAE, decoded, reparameterize
from labkit.profile import autocast
from labkit.training import gan, vae
from labkit.training.hybrid import fit_mixture, train_vaegan

VAES = {"VAE": "shallow", "VAE σ": "gaussian"}  # VAE σ: Gaussian pixels with a learned σ
FAMILIES = ("GAN", *VAES, "VAE-GAN")


def train(
    family: str,
    epochs: float,
    latent_dim: int,
    data: str = "mnist",
    size: list[int] | None = None,
    seed: int = 0,
    stages: tuple[float, ...] | list[float] = (),
    device: str = "cpu",
    **settings: Any,
) -> dict[str, Any]:
    """Train one of FAMILIES on the set `data` (the first `size` of its train and test images): for
    `sweep`, one process a run.

    stages: epochs at which the weights are kept, besides the last. settings: as `gan.train`,
    `vae.train` or `train_vaegan` take them. Returns "seconds" (of training), "history", "weights"
    (epoch → state dict) and, of a GAN, the state dict of its "discriminator".
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(map(repr, FAMILIES))}, got {family!r}")
    start = time.perf_counter()
    if family == "GAN":
        run = gan.train(
            "ours",
            epochs,
            seed,
            data,
            size,
            latent_dim=latent_dim,
            stages=stages,
            n_codes=1,
            device=device,
            **settings,
        )
    elif family == "VAE-GAN":
        run = _train_vaegan(
            epochs, latent_dim, data, size, seed, sorted({*stages, epochs}), device, **settings
        )
    else:
        run = vae.train(
            data, size, VAES[family], latent_dim, epochs, seed, device, snapshots=stages, **settings
        )
    seconds = run.get("seconds", time.perf_counter() - start)
    return {
        "seconds": seconds,
        **{part: run[part] for part in ("history", "weights", "discriminator") if part in run},
    }


def _train_vaegan(
    epochs: float,
    latent_dim: int,
    data: str,
    size: list[int] | None,
    seed: int,
    stages: list[float],
    device: str,
    base: int = 16,
    **settings: Any,
) -> dict[str, Any]:
    with redirect_stdout(io.StringIO()):  # the notebook has said where its images come from
        images = load(data, tuple(size) if size else None, download=False).train
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = VAEGAN(latent_dim, base).to(device)
    run = train_vaegan(model, images, epochs, seed, stages=tuple(stages), show=False, **settings)
    return {"history": run.history, "weights": run.weights}


def rebuild(family: str, latent_dim: int, weights: dict[str, Tensor], base: int = 16) -> nn.Module:
    """The generator (of a GAN) or the whole model (of the others) with these weights, in eval mode
    on the CPU.
    """
    if family == "GAN":
        model = Generator(latent_dim, base)
    elif family == "VAE-GAN":
        model = VAEGAN(latent_dim, base)
    else:
        model = vae.build(VAES[family], latent_dim)
    model.load_state_dict(weights)
    return model.eval()


def rebuild_discriminator(weights: dict[str, Tensor], base: int = 16) -> Discriminator:
    """A GAN's discriminator with these weights, in eval mode on the CPU."""
    discriminator = Discriminator(base)
    discriminator.load_state_dict(weights)
    return discriminator.eval()


def draw(model: nn.Module, z: Tensor) -> Tensor:
    """Images uint8 (N, 1, 28, 28) of codes (N, Z): of a VAE the decoder's means, of the others what
    the generator draws.
    """
    with autocast("cpu"):  # as in training
        return (
            decoded(model, z)
            if isinstance(model, VAE)
            else sample(getattr(model, "generator", model), z)
        )


@torch.inference_mode()
def encoded(model: nn.Module, images: Tensor, seed: int | None = None) -> Tensor:
    """Codes (N, J) of uint8 images (N, 1, 28, 28): μ of q(z|x) or, with a seed, one draw of it
    each.

    Raises TypeError for a model without an encoder.
    """
    if not hasattr(model, "encode"):
        raise TypeError(f"a {type(model).__name__} has no encoder; use a VAE or a VAE-GAN")
    low = 0 if isinstance(model, VAE) else -1  # a VAE-GAN takes images in [−1, 1]
    noise = None if seed is None else torch.Generator().manual_seed(seed)
    codes = []
    for part in images.split(1000):
        mu, log_var = model.encode(low + (1 - low) * part.float() / 255)
        codes.append(mu if noise is None else reparameterize(mu, log_var, noise))
    return torch.cat(codes)


def second_stage(model: nn.Module, images: Tensor, components: int = 50, seed: int = 0) -> TwoStage:
    """A trained VAE or VAE-GAN with a mixture of `components` Gaussians fitted to its codes of
    uint8 images (N, 1, 28, 28).
    """
    return TwoStage(model, fit_mixture(encoded(model, images, seed), components, seed), draw)
