"""Training models that are told what to draw: a GAN and a VAE with labels, and Report E's linear
GAN with or without them.

    L_D = E_{x,y}[−log D(x|y)] + E_{z,y}[−log(1 − D(G(z|y)|y))]        L_G = E_{z,y}[−log
    D(G(z|y)|y)]

As in labkit.training.gan, with the label of the real image beside it given to the generated one.
"""

import contextlib
import copy
import io
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.data.images import load
from labkit.models.conditional import (
    ConditionalGenerator,
    ConditionalVAE,
    LinearDiscriminator,
    LinearGenerator,
    ProjectionDiscriminator,
    styles,
)
from labkit.models.hybrid import Mixture
from labkit.models.vae import leaky
from labkit.profile import autocast
from labkit.training.gan import R1_EVERY, TrainedGAN, gradient_penalty, update_average
from labkit.training.hybrid import fit_mixture
from labkit.training.loop import Loop, batch_of
from labkit.training.vae import learning_rate

OPTIMIZERS = {
    "Adam": partial(torch.optim.Adam, betas=(0.5, 0.999), fused=True),
    "Adam, no momentum": partial(torch.optim.Adam, betas=(0.0, 0.99), fused=True),
    "RMSprop": torch.optim.RMSprop,
}
ACTIVATIONS = {
    "LeakyReLU": leaky,
    "LeakyReLU 0.01": partial(nn.LeakyReLU, 0.01),
    "ReLU": nn.ReLU,
    "ELU": nn.ELU,
}
KINDS = ("linear GAN", "linear cGAN", "cDCGAN", "cVAE")
RECIPES: dict[str, dict[str, Any]] = {
    "linear GAN": dict(batch_size=64, lr=5e-4),
    "linear cGAN": dict(batch_size=64, lr=5e-4),
    "cDCGAN": dict(batch_size=32, lr=2e-3, optimizer="Adam, no momentum", r1=1.0, average=0.998),
    "cVAE": dict(batch_size=64, lr=2e-3),
}


def build(
    kind: str,
    latent_dim: int,
    seed: int = 0,
    base: int = 16,
    activation: str = "LeakyReLU",
    dropout: float = 0.3,
    gain: float = 1.0,
) -> list[nn.Module]:
    """The networks of one of KINDS, first weights drawn by `seed`: generator and discriminator, or
    the VAE alone.

    base: width of convolutional ones. Of linear ones: activation (one of ACTIVATIONS), dropout of
    the discriminator, gain of the label.
    """
    if kind not in KINDS or activation not in ACTIVATIONS:
        raise ValueError(
            f"there is no {kind!r} with {activation!r}; choose one of {', '.join(KINDS)} and one of {', '.join(ACTIVATIONS)}"
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "cVAE":
            return [ConditionalVAE(latent_dim)]
        if kind == "cDCGAN":
            return [ConditionalGenerator(latent_dim, base), ProjectionDiscriminator(base)]
        common = dict(
            classes=10 if kind == "linear cGAN" else 0,
            activation=ACTIVATIONS[activation],
            gain=gain,
        )
        return [
            LinearGenerator(latent_dim, **common),
            LinearDiscriminator(**common, dropout=dropout),
        ]


def train_cgan(
    generator: nn.Module,
    discriminator: nn.Module,
    images: Tensor,
    labels: Tensor,
    epochs: float,
    seed: int = 0,
    lr: float = 2e-4,
    optimizer: str = "Adam",
    r1: float = 0.0,
    average: float = 0.0,
    batch_size: int = 64,
    log_every: int = 25,
    desc: str = "cGAN",
    show: bool = True,
) -> TrainedGAN:
    """Train on uint8 images (N, 1, 28, 28) with labels (N,), one step each a batch; networks
    without classes do not look at the labels.

    optimizer: one of OPTIMIZERS, for both networks at the rate lr; r1, average: as in
    `labkit.training.gan.train_gan`. Raises FloatingPointError if a loss is not finite, ValueError
    for fewer images than a batch.
    """
    device = next(generator.parameters()).device
    for network in (generator, discriminator):
        network.to(memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(generator).requires_grad_(False) if average else generator
    opt_g, opt_d = (
        OPTIMIZERS[optimizer](network.parameters(), lr=lr) for network in (generator, discriminator)
    )
    noise = torch.Generator().manual_seed(seed)
    per_epoch = len(images) // batch_size
    if not per_epoch:
        raise ValueError(
            f"a batch has {batch_size} images and there are {len(images)}; pass more images or a smaller batch_size"
        )
    steps = max(1, round(epochs * per_epoch))
    loop = Loop(steps, {}, desc=desc, show=show)
    with (
        torch.random.fork_rng()
    ):  # dropout draws from torch's global generator, and the caller's is left alone
        torch.manual_seed(seed + 1_000_003)  # another stream than z's
        for step in loop:
            batch = batch_of(step, len(images), batch_size, seed)
            x, y = images[batch].to(device).float() / 127.5 - 1, labels[batch].to(device)
            x = x.to(memory_format=torch.channels_last)
            z = torch.randn(batch_size, generator.latent_dim, generator=noise).to(device)
            with autocast(device):
                fake = generator(z, y)
                # L_D = E[−log D(x|y)] + E[−log(1 − D(G(z|y)|y))]
                real_logits, fake_logits = (
                    discriminator(x, y).float(),
                    discriminator(fake.detach(), y).float(),
                )
                d_loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
            opt_d.zero_grad()
            d_loss.backward()
            if r1 and step % R1_EVERY == 0:
                (R1_EVERY * r1 * gradient_penalty(partial(discriminator, y=y), x)).backward()
            opt_d.step()
            discriminator.requires_grad_(False)
            with autocast(device):
                # L_G = E[−log D(G(z|y)|y)]
                g_loss = F.softplus(-discriminator(fake, y).float()).mean()
            opt_g.zero_grad()
            g_loss.backward()
            opt_g.step()
            discriminator.requires_grad_(True)
            if average:
                update_average(averaged, generator, min(average, (step + 1) / (step + 10)))
            broken = not (d_loss + g_loss).isfinite()  # logged at once, which stops with advice
            if (step + 1) % log_every == 0 or step + 1 == steps or broken:
                d_real, d_fake = (
                    real_logits.sigmoid().mean().item(),
                    fake_logits.sigmoid().mean().item(),
                )
                loop.log(
                    epoch=(step + 1) / per_epoch,
                    d_loss=d_loss.item(),
                    g_loss=g_loss.item(),
                    d_real=d_real,
                    d_fake=d_fake,
                )
    return TrainedGAN(averaged.eval(), discriminator.eval(), loop.history)


def train_cvae(
    vae: ConditionalVAE,
    images: Tensor,
    labels: Tensor,
    epochs: float,
    seed: int = 0,
    lr: float = 2e-3,
    batch_size: int = 64,
    log_every: int = 50,
    desc: str = "cVAE",
    show: bool = True,
) -> list[dict[str, Any]]:
    """Adam on −ELBO of images given their labels, uint8 (N, 1, 28, 28) and (N,); leaves `vae` in
    eval mode.

    Returns the history: step, epoch, loss (−ELBO), reconstruction and kl, in nats an image. Raises
    FloatingPointError if the loss is not finite.
    """
    device, per_epoch = next(vae.parameters()).device, len(images) // batch_size
    if not per_epoch:
        raise ValueError(
            f"a batch has {batch_size} images and there are {len(images)}; pass more images or a smaller batch_size"
        )
    optimizer = torch.optim.Adam(vae.parameters(), lr=lr, fused=True)
    noise = torch.Generator().manual_seed(seed)
    loop = Loop(max(1, round(epochs * per_epoch)), {}, desc=desc, show=show)
    vae.to(memory_format=torch.channels_last).train()
    for step in loop:
        batch = batch_of(step, len(images), batch_size, seed)
        optimizer.param_groups[0]["lr"] = learning_rate(step, loop.steps, lr)
        with autocast(device):
            terms = vae(images[batch].to(device).float() / 255, labels[batch].to(device), noise)
        loss = terms.negative_elbo.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % log_every == 0 or step + 1 == loop.steps or not loss.isfinite():
            parts = dict(
                reconstruction=terms.reconstruction.mean().item(), kl=terms.kl.mean().item()
            )
            loop.log(epoch=(step + 1) / per_epoch, loss=loss.item(), **parts)
    vae.eval()
    return loop.history


def train(
    kind: str,
    epochs: float,
    latent_dim: int,
    data: str = "mnist",
    size: list[int] | None = None,
    seed: int = 0,
    device: str = "cpu",
    base: int = 16,
    network: dict[str, Any] | None = None,
    show: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Train one of KINDS on the set `data` (the first `size` of its images): for `sweep`, one
    process a run.

    network: what else `build` takes; settings: over the kind's RECIPES, as `train_cgan` or
    `train_cvae` take them. Returns "seconds", "history" and "weights", the state dict of the
    generator or of the VAE.
    """
    with contextlib.redirect_stdout(
        io.StringIO()
    ):  # the notebook has said where its images come from
        images = load(data, tuple(size) if size else None, download=False)
    networks = [
        network.to(device) for network in build(kind, latent_dim, seed, base, **(network or {}))
    ]
    start, given = (
        time.perf_counter(),
        dict(
            images=images.train,
            labels=images.train_labels,
            epochs=epochs,
            seed=seed,
            desc=kind,
            show=show,
        ),
    )
    if kind == "cVAE":
        history, model = (
            train_cvae(*networks, **given, **{**RECIPES[kind], **settings}),
            networks[0],
        )
    else:
        run = train_cgan(*networks, **given, **{**RECIPES[kind], **settings})
        history, model = run.history, run.generator
    return {
        "seconds": time.perf_counter() - start,
        "history": history,
        "weights": {k: v.cpu() for k, v in model.state_dict().items()},
    }


def rebuild(
    kind: str, latent_dim: int, state: dict[str, Tensor], base: int = 16, **network: Any
) -> nn.Module:
    """The generator or VAE of one of KINDS with these weights, in eval mode on the CPU; network:
    what else `build` was given.
    """
    model = build(kind, latent_dim, base=base, **network)[0]
    model.load_state_dict(state)
    return model.eval()


def class_densities(
    vae: ConditionalVAE, images: Tensor, labels: Tensor, components: int = 20, seed: int = 0
) -> list[Mixture]:
    """p(z|y) for y = 0, 1, …: a mixture of Gaussians fitted to draws of q_φ(z|x, y) for uint8
    images (N, 1, 28, 28) with labels (N,).

    Sohn et al. 2015 learn such a prior with the rest; fitted afterwards it is the second stage of
    Dai & Wipf 2019, class by class. Raises ValueError for a class with too few images.
    """
    z = styles(vae, images, labels, seed)
    return [fit_mixture(z[labels == k], components, seed) for k in range(vae.classes)]


def draw_styles(densities: list[Mixture], y: Tensor, generator: torch.Generator) -> Tensor:
    """A code (N, J) of p(z|y) for each label (N,)."""
    z = torch.empty(len(y), densities[0].latent_dim)
    for k, density in enumerate(densities):
        z[y == k] = density.draw(int((y == k).sum()), generator)
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
    """Codes near z (N, Z) that `classifier` takes for class `target`: Adam on log p(target | G(z))
    (Nguyen et al. 2016).

    generator: codes → images in [−1, 1], in eval mode. keep_length: after each step a code is put
    back to the length that it was drawn with, since N(0, I) has next to no mass at others. A code
    that the classifier is sure of has no gradient left and stays where it is.
    """
    lengths, z = z.norm(dim=1, keepdim=True), z.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=lr)
    for _ in range(steps):
        loss = -classifier((generator(z) + 1) / 2).log_softmax(1)[:, target].sum()
        (z.grad,) = torch.autograd.grad(
            loss, z
        )  # not backward(), which would leave gradients in both networks
        optimizer.step()
        if keep_length:
            with torch.no_grad():
                z *= lengths / z.norm(dim=1, keepdim=True)
    return z.detach()
