"""Training a variational autoencoder: Adam on −ELBO (Kingma & Welling 2014, algorithm 1), one draw
of z an image.

python -m labkit weights vae_mnist       trains the supplied 2-D model anew and writes
data/weights/vae_mnist.pt and .json
"""

import contextlib
import copy
import io
import os
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from labkit import weights
from labkit.data.images import load
from labkit.models.vae import VAETerms, VAE, conv_vae, gaussian_vae, linear_vae
from labkit.profile import autocast
from labkit.training.loop import Loop, batch_of

MODELS = {
    "linear": linear_vae,
    "conv": conv_vae,
    "shallow": partial(linear_vae, hidden=(512, 256)),
    "gaussian": gaussian_vae,
}
MODELS["shallow ELU"] = partial(linear_vae, hidden=(512, 256), activation=nn.ELU)
WARM_UP = 200  # steps, or a tenth of a run shorter than ten times that


@dataclass
class TrainedVAE:
    """What `train_vae` leaves; `model` is in eval mode.

    history: a row an epoch: epoch; train (−ELBO in nats of training images) and test; the latter's
    parts reconstruction and kl.
    latents: epoch → μ of the test images (M, J); weights: epoch → state dict, for the epochs that
    were asked for.
    """

    model: VAE
    history: list[dict[str, Any]]
    latents: dict[int, Tensor] = field(default_factory=dict)
    weights: dict[int, dict[str, Tensor]] = field(default_factory=dict)


def build(model: str, latent_dim: int) -> VAE:
    """The VAE called `model`: "linear", "conv", "shallow" (of two linear layers), "shallow ELU", or
    "gaussian" (shallow, a learned σ).
    """
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(map(repr, MODELS))}, got {model!r}")
    return MODELS[model](latent_dim)


def learning_rate(step: int, steps: int, lr: float) -> float:
    """Linear warm-up, and an exponential fall from `lr` to 3 % of it at the end.

    Exponential, because labs look at the model on the way: a cosine would still be near its height
    in the middle.
    """
    return lr * min(1.0, (step + 1) / min(WARM_UP, steps / 10)) * 0.03 ** (step / steps)


@torch.inference_mode()
def evaluate(vae: VAE, images: Tensor, seed: int = 0, batch_size: int = 1000) -> VAETerms:
    """The terms of −ELBO of uint8 images (N, 1, 28, 28) in nats, (N,) each, with one draw of z an
    image, and μ (N, J); on the CPU.
    """
    device, noise, was_training = (
        next(vae.parameters()).device,
        torch.Generator().manual_seed(seed),
        vae.training,
    )
    vae.eval()
    parts = [vae(batch.to(device).float() / 255, noise) for batch in images.split(batch_size)]
    vae.train(was_training)
    return VAETerms(*(torch.cat(term).cpu() for term in zip(*parts, strict=True)))


def train_vae(
    vae: VAE,
    images: Tensor,
    test: Tensor,
    epochs: int,
    seed: int = 0,
    lr: float = 3e-3,
    batch_size: int = 128,
    snapshots: tuple[int, ...] | list[int] = (),
    checkpoint: str | os.PathLike | None = None,
    desc: str = "VAE",
    show: bool = True,
) -> TrainedVAE:
    """Train on uint8 images (N, 1, 28, 28) on the device of `vae`; after each epoch score it on
    `test` (M, …) and on M training images.

    snapshots: epochs whose weights are kept. Raises FloatingPointError if the loss is not finite,
    ValueError for fewer images than a batch.
    """
    device, per_epoch = next(vae.parameters()).device, len(images) // batch_size
    if per_epoch < 1:
        raise ValueError(
            f"a batch has {batch_size} images and there are {len(images)}; pass more images or a smaller batch_size"
        )
    images, test = images.to(device), test.to(device)
    optimizer = torch.optim.Adam(vae.parameters(), lr=lr, fused=True)
    noise = torch.Generator().manual_seed(seed)
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
        {"vae": vae, "optimizer": optimizer, "noise": noise},
        checkpoint,
        settings,
        desc,
        show,
    )
    vae.train()
    for step in loop:
        epoch, k = divmod(step, per_epoch)
        x = images[batch_of(step, len(images), batch_size, seed).to(device)].float() / 255
        optimizer.param_groups[0]["lr"] = learning_rate(step, loop.steps, lr)
        with autocast(device):
            loss = vae(x, noise).negative_elbo.mean()  # −ELBO, averaged over the batch
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not loss.isfinite():
            loop.log(loss=loss.item())  # which stops with advice
        if k + 1 == per_epoch:
            with autocast(device):
                scores, train = evaluate(vae, test), evaluate(vae, images[: len(test)])
            means = {name: getattr(scores, name).mean().item() for name in ("reconstruction", "kl")}
            loop.log(
                epoch=epoch + 1,
                train=train.negative_elbo.mean().item(),
                test=scores.negative_elbo.mean().item(),
                **means,
            )
            kept = (
                {k: v.cpu().clone() for k, v in vae.state_dict().items()}
                if epoch + 1 in snapshots
                else {}
            )
            loop.snapshot({"epoch": epoch + 1, "mu": scores.mu.clone(), "weights": kept})
    kept = loop.snapshots.values()
    latents, states = (
        {s["epoch"]: s[part] for s in kept if len(s[part])} for part in ("mu", "weights")
    )
    return TrainedVAE(vae.eval(), loop.history, latents, states)


def train(
    data: str = "mnist",
    size: list[int] | None = None,
    model: str = "linear",
    latent_dim: int = 2,
    epochs: int = 30,
    seed: int = 0,
    device: str = "cpu",
    show: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Load the set `data` (the first `size` of its train and test images), build a VAE and train
    it: for `sweep`, one process a model.

    settings: as `train_vae` takes them; every epoch in `snapshots` and the last one leave their
    weights. Returns TrainedVAE's "history", "latents" and "weights".
    """
    with contextlib.redirect_stdout(
        io.StringIO()
    ):  # the notebook has said where its images come from
        images = load(data, tuple(size) if size else None, download=False)
    snapshots = sorted({*settings.pop("snapshots", ()), epochs})
    vae = build_seeded(model, latent_dim, seed).to(device)
    run = train_vae(
        vae,
        images.train,
        images.test,
        epochs,
        seed,
        snapshots=snapshots,
        desc=f"{model} VAE",
        show=show,
        **settings,
    )
    return {"history": run.history, "latents": run.latents, "weights": run.weights}


def build_seeded(model: str, latent_dim: int, seed: int) -> VAE:
    """`build` with its first weights drawn by `seed`; leaves the caller's generator alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(model, latent_dim)


def make_vae(name: str, seed: int = 0, epochs: int = 30) -> dict[str, float]:
    """Train the 2-D linear VAE of the set `name`, "mnist" or "fashion", on real images and ship it;
    returns what was measured.

    The weights are rounded to float16, which halves the file; the measurement is of the rounded
    ones.
    """
    images = load(name)
    if images.is_stand_in:
        raise FileNotFoundError(
            f"the real {images.title} is needed; set LABKIT_DATA to a folder that holds it"
        )
    vae = train_vae(
        build_seeded("linear", 2, seed), images.train, images.test, epochs, seed, desc=f"vae_{name}"
    ).model
    rounded = copy.deepcopy(vae).half()
    vae.load_state_dict(rounded.state_dict())
    measured = {"test_negative_elbo": evaluate(vae, images.test).negative_elbo.mean().item()}
    command = f"python -m labkit weights vae_{name}"
    weights.save(
        f"vae_{name}",
        rounded,
        data=images.title,
        seed=seed,
        command=command,
        measured=measured,
        epochs=epochs,
    )
    return measured
