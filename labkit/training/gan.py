"""Training a generator against a discriminator (Goodfellow et al. 2014), with the losses on logits.

    L_D = E_x[−log D(x)] + E_z[−log(1 − D(G(z)))]        L_G = E_z[−log D(G(z))]

L_G is the non-saturating loss of the paper's section 3. With ℓ the logit, D = σ(ℓ), −log D = softplus(−ℓ) and −log(1 − D) = softplus(ℓ).
At the paper's equilibrium D = ½ everywhere, so L_D = 2 log 2 ≈ 1.386 and L_G = log 2 ≈ 0.693.
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
from labkit.metrics.samples import describe, read
from labkit.models.gan import Discriminator, Generator, ReportDiscriminator, ReportGenerator, sample
from labkit.profile import autocast, device
from labkit.training.loop import Loop
from labkit.training.readers import reader_for

REPORT = dict(lr_g=2e-4, lr_d=2e-4, batch_size=128)  # with Adam, β = (0.5, 0.999)
RECIPES: dict[str, dict[str, Any]] = {  # each but the last adds one thing to the one before
    "report": dict(network="report", **REPORT),
    "small networks": dict(network="small", **REPORT),
    "+ two rates": dict(network="small", lr_g=2e-3, lr_d=5e-4, batch_size=128),
    "+ batch 64": dict(network="small", lr_g=2e-3, lr_d=5e-4, batch_size=64),
    "ours": dict(network="small", lr_g=2e-3, lr_d=5e-4, batch_size=64, average=0.998),
    "ours, spectral": dict(network="small", norm="spectral", lr_g=2e-3, lr_d=5e-4, batch_size=64, average=0.998),
}


@dataclass
class TrainedGAN:
    """What `train_gan` leaves: `generator` is the one to draw from (the average, if one was kept), in eval mode.

    history: rows of step, epoch, d_loss, g_loss (nats), d_real = mean D(x), d_fake = mean D(G(z)).
    stages: epoch → images uint8 (K, 1, 28, 28) of the same K codes; weights: epoch → the generator's state dict at that moment.
    """

    generator: nn.Module
    discriminator: nn.Module
    history: list[dict[str, Any]]
    stages: dict[float, Tensor] = field(default_factory=dict)
    weights: dict[float, dict[str, Tensor]] = field(default_factory=dict)


def batch_of(step: int, n: int, batch_size: int, seed: int) -> Tensor:
    """Indices (batch_size,) of batch `step` of n images: every epoch is a new order, found from seed and epoch alone, so that a resumed run
    goes on in the middle of it. The last, smaller batch of an epoch is left out: batch norm wants equal ones."""
    epoch, k = divmod(step, n // batch_size)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed * 100_003 + epoch))
    return order[k * batch_size : (k + 1) * batch_size]


def train_gan(
    generator: nn.Module,
    discriminator: nn.Module,
    images: Tensor,
    epochs: float,
    seed: int = 0,
    lr_g: float = 2e-4,
    lr_d: float = 2e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    average: float = 0.0,
    batch_size: int = 128,
    codes: Tensor | None = None,
    stages: tuple[float, ...] = (),
    log_every: int = 25,
    checkpoint: str | os.PathLike | None = None,
    desc: str = "GAN",
    show: bool = True,
) -> TrainedGAN:
    """Adam for both on uint8 images (N, 1, 28, 28), one step each a batch; the other defaults are Report A's.

    Raises FloatingPointError if a loss is not finite.

    lr_d: the discriminator's rate (another than lr_g: two time scales, Heusel et al. 2017). average: decay a step of a running average of
    the generator's weights, which is then what is drawn from (Yazıcı et al. 2019); 0: none.
    stages: epochs, fractions allowed, at which the images of `codes` (K, Z) and the weights are kept; 0 is before training.
    """
    device = next(generator.parameters()).device
    for network in (generator, discriminator):
        network.to(memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(generator).requires_grad_(False) if average else generator
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=lr_g, betas=betas)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=lr_d, betas=betas)
    noise = torch.Generator().manual_seed(seed)
    per_epoch = len(images) // batch_size
    steps = max(1, round(epochs * per_epoch))
    due = {min(round(e * per_epoch), steps): e for e in stages}
    state = {"G": generator, "D": discriminator, "average": averaged, "opt_g": optimizer_g, "opt_d": optimizer_d, "noise": noise}
    settings = dict(n=len(images), batch_size=batch_size, seed=seed, lr_g=lr_g, lr_d=lr_d, average=average, stages=list(stages))
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
            real_logits, fake_logits = discriminator(x).float(), discriminator(fake.detach()).float()
            d_loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
        optimizer_d.zero_grad()
        d_loss.backward()
        optimizer_d.step()
        with autocast(device):
            # L_G = E[−log D(G(z))], as the discriminator now sees the same images
            g_loss = F.softplus(-discriminator(fake).float()).mean()
        optimizer_g.zero_grad()
        g_loss.backward()
        optimizer_g.step()
        if average:
            update_average(averaged, generator, min(average, (step + 1) / (step + 10)))
        if (step + 1) % log_every == 0 or step + 1 == steps:
            d_real, d_fake = real_logits.sigmoid().mean().item(), fake_logits.sigmoid().mean().item()
            loop.log(epoch=(step + 1) / per_epoch, d_loss=d_loss.item(), g_loss=g_loss.item(), d_real=d_real, d_fake=d_fake)
        if step + 1 in due:
            loop.snapshot(stage(due[step + 1]))
    kept = loop.snapshots.values()
    stages_kept, weights_kept = ({s["epoch"]: s[part] for s in kept} for part in ("images", "weights"))
    return TrainedGAN(averaged.eval(), discriminator.eval(), loop.history, stages_kept, weights_kept)


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """averaged ← decay · averaged + (1 − decay) · network, for weights and for batch norm's statistics."""
    theirs = network.state_dict()
    for name, value in averaged.state_dict().items():
        if value.is_floating_point():
            value.lerp_(theirs[name], 1 - decay)
        else:
            value.copy_(theirs[name])


def build(network: str, base: int, norm: str = "batch") -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator of base width `base`: "report" for Report A's, "small" for this kit's."""
    if network not in ("report", "small"):
        raise ValueError(f'network must be "report" or "small", got {network!r}')
    if network == "report":
        return ReportGenerator(base=base), ReportDiscriminator(base)
    return Generator(base=base), Discriminator(base, norm)


def compare(
    recipe: str, epochs: float, seed: int, data: str = "mnist", size: list[int] | None = None, base: int = 16, n: int = 10_000
) -> dict[str, Any]:
    """Train one of RECIPES at base width `base` and describe `n` samples: a row of a table. For `sweep`, so it loads its data itself."""
    with redirect_stdout(io.StringIO()):
        images = load(data, size=size and (size[0], size[1]), download=False)
        reader = reader_for(images)
    settings = dict(RECIPES[recipe])
    where = device()
    with torch.random.fork_rng():  # leaves the caller's generator alone
        torch.manual_seed(seed)
        generator, discriminator = (part.to(where) for part in build(settings.pop("network"), base, settings.pop("norm", "batch")))
    start = time.perf_counter()
    trained = train_gan(generator, discriminator, images.train, epochs, seed, show=False, **settings)
    seconds = time.perf_counter() - start
    z = torch.randn(n, generator.latent_dim, generator=torch.Generator().manual_seed(2))
    said = describe(reader, sample(trained.generator, z), read(reader, images.test)[0])
    return {"recipe": recipe, "seed": seed, "epochs": epochs, "seconds": seconds, **said}


def make_gan(name: str, epochs: float, seed: int = 0) -> dict[str, float]:
    """Train this kit's GAN on the real images `name` and ship its generator; returns what was measured of 10,000 samples."""
    images = load(name)
    if images.is_stand_in:
        raise FileNotFoundError(f"the real {images.title} is needed; set LABKIT_DATA to a folder that holds it")
    torch.manual_seed(seed)
    recipe = {**RECIPES["ours"]}
    generator, discriminator = build(recipe.pop("network"), 16)
    trained = train_gan(generator, discriminator, images.train, epochs, seed, **recipe)
    z = torch.randn(10_000, generator.latent_dim, generator=torch.Generator().manual_seed(2))
    reader = reader_for(images)
    measured = describe(reader, sample(trained.generator, z), read(reader, images.test)[0])
    facts = dict(data=images.title, seed=seed, epochs=epochs, command=f"python -m labkit weights gan_{name}", measured=measured)
    weights.save(f"gan_{name}", trained.generator, **facts)
    return measured
