"""Training the models of cat faces (lab 07).

Three parts that share no image: `features`, a quarter of the training images, for the autoencoder
whose encoder measures distances; `models`, the rest, for everything that generates or restores; and
the test images, which nothing is trained on.

python -m labkit weights vae_cats      trains the supplied VAE anew and writes
data/weights/vae_cats.pt and .json (also gan_, ae_, inpaint_)
"""

import contextlib
import io
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import results, weights
from labkit.data.images import ImageSet, load
from labkit.data.masks import random_masks
from labkit.metrics.sharpness import sharpness_ratio
from labkit.models import faces
from labkit.models.gan import sample
from labkit.profile import autocast
from labkit.training.gan import train_gan
from labkit.training.loop import Loop, batch_of
from labkit.training.vae import evaluate, learning_rate, train_vae

GANS: dict[str, dict[str, Any]] = {  # networks, and settings of `train_gan`
    "report": dict(lr_g=2e-4, lr_d=2e-4, batch_size=64),  # with Adam, β = (0.5, 0.999)
    "ours": dict(
        lr_g=2e-3, lr_d=2e-3, batch_size=32, betas=(0.0, 0.99), r1=1.0, average=0.998
    ),  # as for digits in lab 02
}


class Parts(NamedTuple):
    """Training images by what they are for, uint8 (N, 3, 64, 64)."""

    features: Tensor
    models: Tensor


def parts(images: ImageSet) -> Parts:
    """Every fourth training image for the feature encoder, the others for the models."""
    fourth = torch.arange(len(images.train)) % 4 == 0
    return Parts(images.train[fourth], images.train[~fourth])


def mirrored(images: Tensor) -> Tensor:
    """Images (N, C, H, W) and their mirror images, (2N, C, H, W): a cat seen from the other side is
    a cat.
    """
    return torch.cat([images, images.flip(3)])


@dataclass
class Trained:
    """What `train_autoencoder` leaves; `model` is in eval mode.

    history: a row an epoch: epoch, train and test (mean squared error of pixels in [0, 1], the
    former of as many training images).
    weights: epoch → state dict, for the epochs that were asked for.
    """

    model: nn.Module
    history: list[dict[str, Any]]
    weights: dict[int, dict[str, Tensor]] = field(default_factory=dict)


def train_autoencoder(
    model: nn.Module,
    images: Tensor,
    test: Tensor,
    epochs: int,
    seed: int = 0,
    lr: float = 2e-3,
    batch_size: int = 32,
    snapshots: tuple[int, ...] | list[int] = (),
    checkpoint: str | os.PathLike | None = None,
    desc: str = "autoencoder",
    show: bool = True,
) -> Trained:
    """Adam on the mean squared error, uint8 images (N, 3, 64, 64), on the device of `model`; an
    `Inpainter` gets a random mask an image.

    Raises FloatingPointError if the loss is not finite, ValueError for fewer images than a batch.
    """
    device, per_epoch = next(model.parameters()).device, len(images) // batch_size
    if not per_epoch:
        raise ValueError(
            f"a batch has {batch_size} images and there are {len(images)}; pass more images or a smaller batch_size"
        )
    images, test = images.to(device), test.to(device)
    optimizer, noise = (
        torch.optim.Adam(model.parameters(), lr=lr, fused=True),
        torch.Generator().manual_seed(seed),
    )
    settings = dict(
        n=len(images),
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        lr=lr,
        snapshots=list(snapshots),
    )
    loop = Loop(
        epochs * per_epoch,
        {"model": model, "optimizer": optimizer, "noise": noise},
        checkpoint,
        settings,
        desc,
        show,
    )
    model.train()
    for step in loop:
        x = images[batch_of(step, len(images), batch_size, seed).to(device)].float() / 255
        optimizer.param_groups[0]["lr"] = learning_rate(step, loop.steps, lr)
        with autocast(device):
            loss = F.mse_loss(_reconstruct(model, x, noise), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not loss.isfinite():
            loop.log(loss=loss.item())  # which stops with advice
        epoch, k = divmod(step + 1, per_epoch)
        if k == 0:
            loop.log(
                epoch=epoch,
                train=mean_squared_error(model, images[: len(test)]),
                test=mean_squared_error(model, test),
            )
            if epoch in snapshots:
                loop.snapshot(
                    {
                        "epoch": epoch,
                        "weights": {k: v.cpu().clone() for k, v in model.state_dict().items()},
                    }
                )
    return Trained(
        model.eval(), loop.history, {s["epoch"]: s["weights"] for s in loop.snapshots.values()}
    )


def _reconstruct(model: nn.Module, x: Tensor, noise: torch.Generator) -> Tensor:
    return (
        model(x, random_masks(len(x), noise).to(x))
        if isinstance(model, faces.Inpainter)
        else model(x)
    )


@torch.inference_mode()
def mean_squared_error(model: nn.Module, images: Tensor, seed: int = 0) -> float:
    """Mean squared error of reconstructed uint8 images, pixels in [0, 1]; an `Inpainter` sees the
    same random masks at every call.
    """
    noise, total = torch.Generator().manual_seed(seed), 0.0
    for part in images.split(250):
        x = part.float() / 255
        with autocast(x.device):
            total += F.mse_loss(_reconstruct(model, x, noise), x).item() * len(part)
    return total / len(images)


def build(model: str, seed: int = 0) -> nn.Module:
    """The model called "vae", "autoencoder" or "inpainter", its first weights drawn by `seed`;
    leaves the caller's generator alone.
    """
    makers = {"vae": faces.face_vae, "autoencoder": faces.Autoencoder, "inpainter": faces.Inpainter}
    if model not in makers:
        raise ValueError(f"model must be one of {', '.join(map(repr, makers))}, got {model!r}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return makers[model]()


def build_gan(recipe: str, width: int, seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator of one of GANS: `width` is the report's number of filters in all
    layers, or ours in the widest images.
    """
    if recipe not in GANS:
        raise ValueError(f"recipe must be one of {', '.join(map(repr, GANS))}, got {recipe!r}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if recipe == "report":
            return faces.ReportGenerator(512, width), faces.ReportDiscriminator(width)
        return faces.Generator(128, width), faces.Discriminator(width)


def train(
    model: str,
    epochs: float,
    seed: int = 0,
    size: list[int] | None = None,
    width: int = 16,
    stages: tuple[float, ...] | list[float] = (),
    mirror: bool = True,
    device: str = "cpu",
    checkpoint: str | None = None,
    show: bool = False,
) -> dict[str, Any]:
    """Train "vae", "autoencoder", "inpainter", "report" or "ours" (GANS) on the cats (the first
    `size` of them): for `sweep`.

    The autoencoder learns from `parts(…).features`, the others from `parts(…).models`; mirror: and
    from their mirror images.
    stages: epochs at which the weights are kept, besides the last. Returns "seconds", "history" and
    "weights" (epoch → state dict).
    """
    cats = _cats(tuple(size) if size else None)
    images = parts(cats).features if model == "autoencoder" else parts(cats).models
    images = mirrored(images) if mirror else images
    common = dict(seed=seed, checkpoint=checkpoint, desc=model, show=show)
    start, kept = time.perf_counter(), tuple(sorted({*stages, epochs}))
    if model in GANS:
        generator, discriminator = (network.to(device) for network in build_gan(model, width, seed))
        codes = torch.zeros(1, generator.latent_dim)
        run = train_gan(
            generator,
            discriminator,
            images,
            epochs,
            codes=codes,
            stages=kept,
            **GANS[model],
            **common,
        )
    elif model == "vae":
        run = train_vae(
            build(model, seed).to(device),
            images,
            cats.test,
            epochs,
            lr=2e-3,
            batch_size=32,
            snapshots=kept,
            **common,
        )
    else:
        run = train_autoencoder(
            build(model, seed).to(device), images, cats.test, epochs, snapshots=kept, **common
        )
    return {"seconds": time.perf_counter() - start, "history": run.history, "weights": run.weights}


@cache
def _cats(size: tuple[int, int] | None) -> ImageSet:
    with contextlib.redirect_stdout(
        io.StringIO()
    ):  # the notebook has said where its images come from
        return load("cats", size, download=False)


def rebuild(model: str, state: dict[str, Tensor], width: int = 16) -> nn.Module:
    """The model (of a GAN: its generator) with these weights, in eval mode on the CPU."""
    network = build_gan(model, width)[0] if model in GANS else build(model)
    network.load_state_dict(state)
    return network.eval()


def make(
    name: str, model: str, epochs: float, mirror: bool = True, seed: int = 0, **facts: Any
) -> dict[str, float]:
    """Train a model on real photographs, as `train` does, and ship it as `name`, rounded to
    float16; returns what the rounded one scores.

    Interrupted, it goes on where it was. Raises FileNotFoundError without real photographs: weights
    of drawn cats are not shipped.
    """
    cats = load("cats")
    if cats.is_stand_in:
        raise FileNotFoundError(
            "real photographs of cats are needed; set LABKIT_DATA to a folder that holds cats/ or cats.tar"
        )
    run = train(
        model,
        epochs,
        seed,
        mirror=mirror,
        checkpoint=str(results.folder() / f"{name}.partial"),
        show=True,
    )
    rounded = rebuild(model, run["weights"][epochs]).half()  # half the file
    measured = measure(model, rebuild(model, rounded.state_dict()), cats.test)
    facts = dict(
        data=cats.title,
        seed=seed,
        epochs=epochs,
        mirror=mirror,
        command=f"python -m labkit weights {name}",
        measured=measured,
    )
    if model == "autoencoder":
        facts["history"] = [{k: round(v, 6) for k, v in row.items()} for row in run["history"]]
    weights.save(name, rounded, **facts)
    return measured


def measure(model: str, network: nn.Module, test: Tensor) -> dict[str, float]:
    """What stands beside shipped weights, on `test`: −ELBO of a VAE, squared error of an
    autoencoder or inpainter, a GAN's sharpness.
    """
    if model in GANS:
        codes = torch.randn(1000, network.latent_dim, generator=torch.Generator().manual_seed(2))
        return sharpness_ratio(sample(network, codes), test)
    if model == "vae":
        scores = evaluate(network, test)
        return {
            "test_negative_elbo": scores.negative_elbo.mean().item(),
            "test_kl": scores.kl.mean().item(),
        }
    return {"test_mse": mean_squared_error(network, test)}


MAKERS: dict[str, Callable[[], dict]] = {
    "vae_cats": partial(make, "vae_cats", "vae", 24),
    "gan_cats": partial(make, "gan_cats", "ours", 18),
    "ae_cats": partial(make, "ae_cats", "autoencoder", 80, mirror=False),
    "inpaint_cats": partial(make, "inpaint_cats", "inpainter", 8),
}
