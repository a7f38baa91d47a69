"""Training a generator against a discriminator (Goodfellow et al. 2014), with the losses on logits.

    L_D = E_x[−log D(x)] + E_z[−log(1 − D(G(z)))]        L_G = E_z[−log D(G(z))]

L_G is the non-saturating loss of the paper's section 3. With ℓ the logit, D = σ(ℓ), −log D =
softplus(−ℓ) and −log(1 − D) = softplus(ℓ). At the paper's equilibrium D = ½ everywhere, so L_D = 2
log 2 ≈ 1.386 and L_G = log 2 ≈ 0.693.

R1 (Mescheder et al. 2018, eq. 9) adds γ/2 · E_x[‖∇_x ℓ(x)‖²] to L_D: D may not be steep where the
data are, or G would be thrown past them.
"""

import copy
import io
import os
import time
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import weights
from labkit.data.images import load
from labkit.metrics.class_balance import classify, describe
from labkit.models.gan import Discriminator, Generator, ReportDiscriminator, ReportGenerator, sample
from labkit.pretrained import classifier_for
from labkit.profile import autocast
from labkit.training.loop import Loop, batch_of

REPORT = dict(lr_g=2e-4, lr_d=2e-4, batch_size=128)  # with Adam, β = (0.5, 0.999)
EQUAL = dict(lr_g=2e-3, lr_d=2e-3, batch_size=32)
RECIPES: dict[
    str, dict[str, Any]
] = {  # lab 02's way from Report A's recipe to ours, one idea a step; the last is beside it
    "report": dict(network="report", **REPORT),
    "our networks": dict(network="small", norm="batch", **REPORT),
    "batch 32, two rates": dict(network="small", norm="batch", lr_g=2e-3, lr_d=5e-4, batch_size=32),
    "R1, equal rates": dict(network="small", r1=1.0, **EQUAL),
    "no momentum": dict(network="small", r1=1.0, betas=(0.0, 0.99), **EQUAL),
    "ours": dict(network="small", r1=1.0, betas=(0.0, 0.99), average=0.998, **EQUAL),
    "spectral, no R1": dict(
        network="small", norm="spectral", betas=(0.0, 0.99), average=0.998, **EQUAL
    ),
}
R1_EVERY = 8  # steps


@dataclass
class TrainedGAN:
    """What `train_gan` leaves: `generator` is the one to draw from (the average, if one was kept),
    in eval mode.

    history: rows of step, epoch, d_loss, g_loss (nats), d_real = mean D(x), d_fake = mean D(G(z)).
    stages: epoch → images uint8 (K, 1, 28, 28) of the same K codes; weights: epoch → the
    generator's state dict at that moment.
    """

    generator: nn.Module
    discriminator: nn.Module
    history: list[dict[str, Any]]
    stages: dict[float, Tensor] = field(default_factory=dict)
    weights: dict[float, dict[str, Tensor]] = field(default_factory=dict)


def train_gan(
    generator: nn.Module,
    discriminator: nn.Module,
    images: Tensor,
    epochs: float,
    seed: int = 0,
    lr_g: float = 2e-4,
    lr_d: float = 2e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    r1: float = 0.0,
    average: float = 0.0,
    batch_size: int = 128,
    codes: Tensor | None = None,
    stages: tuple[float, ...] = (),
    log_every: int = 25,
    checkpoint: str | os.PathLike | None = None,
    desc: str = "GAN",
    show: bool = True,
) -> TrainedGAN:
    """Adam for both on uint8 images (N, 1, 28, 28), one step each a batch; the other defaults are
    Report A's.

    Raises FloatingPointError if a loss is not finite.

    lr_d: the discriminator's rate (another than lr_g: two time scales, Heusel et al. 2017). r1: γ
    of the R1 penalty, for a D without batch norm. average: decay a step of a running average of the
    generator's weights, which is then what is drawn from (Yazıcı et al. 2019); 0: none.
    stages: epochs, fractions allowed, at which the images of `codes` (K, Z) and the weights are
    kept; 0 is before training.
    """
    device = next(generator.parameters()).device
    for network in (generator, discriminator):
        network.to(memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(generator).requires_grad_(False) if average else generator
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=lr_g, betas=betas, fused=True)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=lr_d, betas=betas, fused=True)
    noise = torch.Generator().manual_seed(seed)
    per_epoch = len(images) // batch_size
    steps = max(1, round(epochs * per_epoch))
    due = {min(round(e * per_epoch), steps): e for e in stages}
    state = {
        "G": generator,
        "D": discriminator,
        "average": averaged,
        "opt_g": optimizer_g,
        "opt_d": optimizer_d,
        "noise": noise,
    }
    settings = dict(
        n=len(images),
        batch_size=batch_size,
        seed=seed,
        lr_g=lr_g,
        lr_d=lr_d,
        betas=list(betas),
        r1=r1,
        average=average,
    )
    settings["stages"] = list(stages)
    loop = Loop(steps, state, checkpoint, settings, desc, show)

    def stage(epoch: float) -> dict:
        return {
            "epoch": epoch,
            "images": sample(averaged, codes),
            "weights": {k: v.cpu().clone() for k, v in averaged.state_dict().items()},
        }

    before = stage(0) if 0 in due and loop.step == 0 else None
    for step in loop:
        if before:
            loop.snapshots[0], before = before, None
        x = images[batch_of(step, len(images), batch_size, seed)].to(device).float() / 127.5 - 1
        x = x.to(memory_format=torch.channels_last)
        z = torch.randn(batch_size, generator.latent_dim, generator=noise).to(device)
        with autocast(device):
            fake = generator(z)
            # L_D = E[−log D(x)] + E[−log(1 − D(G(z)))]; detach: this step is not the generator's
            real_logits, fake_logits = (
                discriminator(x).float(),
                discriminator(fake.detach()).float(),
            )
            d_loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
        optimizer_d.zero_grad()
        d_loss.backward()
        if (
            r1 and step % R1_EVERY == 0
        ):  # each R1_EVERY-th step, so many times as strong (Karras et al. 2020)
            (R1_EVERY * r1 * gradient_penalty(discriminator, x)).backward()
        optimizer_d.step()
        discriminator.requires_grad_(False)  # this step is the generator's alone
        with autocast(device):
            # L_G = E[−log D(G(z))], as the discriminator now sees the same images
            g_loss = F.softplus(-discriminator(fake).float()).mean()
        optimizer_g.zero_grad()
        g_loss.backward()
        optimizer_g.step()
        discriminator.requires_grad_(True)
        if average:
            update_average(averaged, generator, min(average, (step + 1) / (step + 10)))
        broken = not (
            d_loss + g_loss
        ).isfinite()  # logged at once, which stops with advice before a checkpoint is written
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
        if step + 1 in due:
            loop.snapshot(stage(due[step + 1]))
    kept = loop.snapshots.values()
    stages_kept, weights_kept = (
        {s["epoch"]: s[part] for s in kept} for part in ("images", "weights")
    )
    return TrainedGAN(
        averaged.eval(), discriminator.eval(), loop.history, stages_kept, weights_kept
    )


def gradient_penalty(discriminator: nn.Module, x: Tensor) -> Tensor:
    """½ E_x[‖∇_x ℓ(x)‖²] of the logits ℓ at images x (N, 1, 28, 28), a scalar to be differentiated
    once more.
    """
    x = x.detach().requires_grad_()
    with autocast(x.device):
        logits = discriminator(x).float()
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean() / 2


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """averaged ← decay · averaged + (1 − decay) · network, for weights and for batch norm's
    statistics.
    """
    theirs = network.state_dict()
    for name, value in averaged.state_dict().items():
        if value.is_floating_point():
            value.lerp_(theirs[name], 1 - decay)
        else:
            value.copy_(theirs[name])


def build(
    network: str, base: int, norm: str = "none", latent_dim: int | None = None
) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator of base width `base`: "report" for Report A's, "small" for this
    kit's.

    latent_dim: of the codes; None for the network's own, 100 and 64.
    """
    if network not in ("report", "small"):
        raise ValueError(f'network must be "report" or "small", got {network!r}')
    if network == "report":
        return ReportGenerator(latent_dim or 100, base), ReportDiscriminator(base)
    return Generator(latent_dim or 64, base), Discriminator(base, norm)


def train(
    recipe: str,
    epochs: float,
    seed: int = 0,
    data: str = "mnist",
    size: list[int] | None = None,
    base: int = 16,
    n_codes: int = 100,
    latent_dim: int | None = None,
    device: str = "cpu",
    show: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Train one of RECIPES at base width `base` on the set `data` (the first `size` of its images):
    for `sweep`, one process a run.

    n_codes: how many codes the stages show; latent_dim: as `build` takes it; settings: as
    `train_gan` takes them, over the recipe's own. Returns "seconds" and TrainedGAN's "history",
    "stages" and "weights", the last at `epochs` among them, and the "discriminator"'s.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(map(repr, RECIPES))}, got {recipe!r}")
    with redirect_stdout(io.StringIO()):  # the notebook has said where its images come from
        images = load(data, tuple(size) if size else None, download=False).train
    generator, discriminator, own = build_seeded(recipe, base, seed, latent_dim)
    settings = {**own, **settings, "stages": tuple(sorted({*settings.pop("stages", ()), epochs}))}
    codes = torch.randn(n_codes, generator.latent_dim, generator=torch.Generator().manual_seed(1))
    start = time.perf_counter()
    run = train_gan(
        generator.to(device),
        discriminator.to(device),
        images,
        epochs,
        seed,
        codes=codes,
        desc=recipe,
        show=show,
        **settings,
    )
    seconds = time.perf_counter() - start
    opponent = {k: v.cpu() for k, v in run.discriminator.state_dict().items()}
    return {
        "seconds": seconds,
        "history": run.history,
        "stages": run.stages,
        "weights": run.weights,
        "discriminator": opponent,
    }


def build_seeded(
    recipe: str, base: int, seed: int, latent_dim: int | None = None
) -> tuple[nn.Module, nn.Module, dict[str, Any]]:
    """The networks of a recipe, first weights drawn by `seed`, and the rest of it; leaves the
    caller's generator alone.
    """
    settings = dict(RECIPES[recipe])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return *build(
            settings.pop("network"), base, settings.pop("norm", "none"), latent_dim
        ), settings


def make_gan(name: str, epochs: float, seed: int = 0) -> dict[str, float]:
    """Train this kit's GAN on the real images `name` and ship its generator; returns what was
    measured of 10,000 samples.
    """
    images = load(name)
    if images.is_stand_in:
        raise FileNotFoundError(
            f"the real {images.title} is needed; set LABKIT_DATA to a folder that holds it"
        )
    generator, discriminator, settings = build_seeded("ours", 16, seed)
    trained = train_gan(
        generator, discriminator, images.train, epochs, seed, desc=f"gan_{name}", **settings
    ).generator
    classifier = classifier_for(images)
    z = torch.randn(10_000, trained.latent_dim, generator=torch.Generator().manual_seed(2))
    measured = describe(classifier, sample(trained, z), classify(classifier, images.test)[0])
    facts = dict(
        data=images.title,
        seed=seed,
        epochs=epochs,
        command=f"python -m labkit weights gan_{name}",
        measured=measured,
    )
    weights.save(f"gan_{name}", trained, **facts)
    return measured
