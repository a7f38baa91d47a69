"""Training a generator against a discriminator (Goodfellow et al. 2014), with losses on logits.

    L_D = E_x[−log D(x)] + E_z[−log(1 − D(G(z)))]        L_G = E_z[−log D(G(z))]

L_G is the non-saturating loss of the paper's section 3. With ℓ the logit, D = σ(ℓ), so −log D is
softplus(−ℓ) and −log(1 − D) is softplus(ℓ). Where D = ½ everywhere, the paper's equilibrium,
L_D = 2 log 2 ≈ 1.386 and L_G = log 2 ≈ 0.693. Conditional networks get the real image's label.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from labkit.profile import autocast
from labkit.training.batches import Batches, due_at
from labkit.training.loop import Loop, state_copy

R1_EVERY = 8  # steps: R1 is computed at each eighth, eight times as strong (Karras et al. 2020)
DCGAN_ADAM = partial(Adam, betas=(0.5, 0.999), fused=True)
Objective = Callable[[Tensor, torch.Generator, Tensor], Tensor]
ADAM_WITHOUT_MOMENTUM = partial(Adam, betas=(0.0, 0.99), fused=True)


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """L_D = E[−log D(x)] + E[−log(1 − D(G(z)))] in nats, of logits (N,)."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """L_G = E[−log D(G(z))] in nats, of logits (N,)."""
    return F.softplus(-fake_logits).mean()


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[max(0, 1 − ℓ(x))] + E[max(0, 1 + ℓ(G(z)))] (Lim & Ye 2017, arXiv:1705.02894)."""
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def hinge_generator_loss(fake_logits: Tensor) -> Tensor:
    """−E[ℓ(G(z))], the generator's loss beside `hinge_discriminator_loss`."""
    return -fake_logits.mean()


def r1_penalty(discriminator: nn.Module, x: Tensor, *y: Tensor) -> Tensor:
    """½ E_x[‖∇_x ℓ(x)‖²] at real images x (N, C, H, W) (Mescheder et al. 2018, eq. 9)."""
    x = x.detach().requires_grad_()
    with autocast(x.device):
        logits = discriminator(x, *y).float()
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean() / 2


@dataclass
class Players:
    """The two networks, an optimizer and a loss for each."""

    generator: nn.Module
    discriminator: nn.Module
    optimizer_g: Optimizer
    optimizer_d: Optimizer
    d_loss: Callable[[Tensor, Tensor], Tensor] = discriminator_loss
    g_loss: Callable[[Tensor], Tensor] = generator_loss


class StepTerms(NamedTuple):
    """Losses of a step, what G minimised, and D's logits (N,) of real and generated images."""

    d_loss: Tensor
    g_loss: Tensor
    total: Tensor
    real_logits: Tensor
    fake_logits: Tensor

    def row(self) -> dict[str, float]:
        """Losses in nats, and the mean of D(x) and D(G(z))."""
        shares = [logits.sigmoid().mean() for logits in (self.real_logits, self.fake_logits)]
        names = ("d_loss", "g_loss", "d_real", "d_fake")
        return dict(zip(names, map(Tensor.item, (self.d_loss, self.g_loss, *shares)), strict=True))


def gan_step(
    players: Players,
    x: Tensor,
    z: Tensor,
    y: Tensor | None = None,
    r1: float = 0.0,
    objective: Callable[[Tensor], Tensor] | None = None,
) -> StepTerms:
    """One update of D, then one of G, on real images x in [−1, 1], codes z and labels y, if any.

    r1: γ of the R1 penalty in this step. objective: L_G → what optimizer_g minimises, if another.
    """
    generator, discriminator = players.generator, players.discriminator
    given = () if y is None else (y,)
    with autocast(x.device):
        fake = generator(z, *given)
        real_logits = discriminator(x, *given).float()
        # detached, because this step is not the generator's
        fake_logits = discriminator(fake.detach(), *given).float()
        d_loss = players.d_loss(real_logits, fake_logits)
    players.optimizer_d.zero_grad()
    d_loss.backward()
    if r1:
        (r1 * r1_penalty(discriminator, x, *given)).backward()
    players.optimizer_d.step()

    discriminator.requires_grad_(False)  # this step is the generator's alone
    with autocast(x.device):
        # the same images, as the discriminator sees them now
        g_loss = players.g_loss(discriminator(fake, *given).float())
        total = objective(g_loss) if objective else g_loss
    players.optimizer_g.zero_grad()
    total.backward()
    players.optimizer_g.step()
    discriminator.requires_grad_(True)
    return StepTerms(*(t.detach() for t in (d_loss, g_loss, total, real_logits, fake_logits)))


@dataclass(frozen=True)
class GANSettings:
    """How `train_gan` trains; the defaults are the DCGAN paper's.

    epochs: fractions allowed. optimizer: called as optimizer(parameters, lr=…) for both networks.
    r1: γ of the R1 penalty, for a discriminator without batch norm. ema: decay a step of an average
    of the generator's weights, which is then drawn from (Yazıcı et al. 2019); 0: none. stages:
    epochs whose weights are kept besides those of the end; 0 is before training.
    """

    epochs: float
    seed: int = 0
    lr_g: float = 2e-4
    lr_d: float = 2e-4
    optimizer: Callable[..., Optimizer] = DCGAN_ADAM
    batch_size: int = 128
    r1: float = 0.0
    ema: float = 0.0
    stages: tuple[float, ...] = ()
    log_every: int = 25


@dataclass
class TrainedGAN:
    """What `train_gan` leaves; `generator` is the averaged one if there is one; both in eval mode.

    history: rows of step, epoch, d_loss, g_loss (nats), d_real = mean D(x), d_fake = mean D(G(z)).
    weights: epoch → the generator's state dict, for the stages and the end.
    """

    generator: nn.Module
    discriminator: nn.Module
    history: list[dict[str, Any]]
    weights: dict[float, dict[str, Tensor]] = field(default_factory=dict)


def train_gan(
    generator: nn.Module,
    discriminator: nn.Module,
    images: Tensor,
    settings: GANSettings,
    labels: Tensor | None = None,
    d_loss: Callable[[Tensor, Tensor], Tensor] = discriminator_loss,
    g_loss: Callable[[Tensor], Tensor] = generator_loss,
    objective: Objective | None = None,
    checkpoint: str | os.PathLike | None = None,
) -> TrainedGAN:
    """Train on uint8 images (N, C, H, W), a step of each network a batch, on the networks' device.

    labels: (N,), for networks that take them. objective: (images x in [−1, 1], noise, L_G) → what
    the generator minimises, if not L_G alone. Raises ValueError for images that are not uint8 or
    fewer than a batch, FloatingPointError if a loss is not finite.
    """
    device, s = next(generator.parameters()).device, settings
    for network in (generator, discriminator):
        network.to(memory_format=torch.channels_last).train()
    optimizer_g, optimizer_d = (
        s.optimizer(part.parameters(), lr=lr)
        for part, lr in ((generator, s.lr_g), (discriminator, s.lr_d))
    )
    players = Players(generator, discriminator, optimizer_g, optimizer_d, d_loss, g_loss)
    batches = Batches(images, s.batch_size, s.seed, labels, device)
    steps = batches.steps(s.epochs)
    due = due_at(s.stages, s.epochs, batches.per_epoch, steps)
    average = AveragedModel(generator, multi_avg_fn=_ema(s.ema), use_buffers=True)
    best = average.module if s.ema else generator
    noise = torch.Generator().manual_seed(s.seed)
    state = {"G": generator, "D": discriminator, "average": average, "noise": noise}
    state |= {"optimizer_g": optimizer_g, "optimizer_d": optimizer_d}
    with torch.random.fork_rng():  # dropout draws from torch's global generator
        torch.manual_seed(s.seed + 1_000_003)  # another stream than that of z
        loop = Loop(steps, state, checkpoint, (s, images, labels, d_loss, g_loss, objective), "GAN")
        if loop.step == 0 and 0 in due:
            loop.snapshots[0] = [due[0], state_copy(best)]
        for step in loop:
            x, y = batches(step)
            x = (x.float() / 127.5 - 1).to(memory_format=torch.channels_last)
            z = torch.randn(s.batch_size, generator.latent_dim, generator=noise).to(device)
            r1 = R1_EVERY * s.r1 if step % R1_EVERY == 0 else 0.0
            terms = gan_step(players, x, z, y, r1, objective and partial(objective, x, noise))
            if s.ema:
                average.update_parameters(generator)
            if not (terms.d_loss + terms.total).isfinite():
                loop.log(**terms.row(), total=terms.total.item())  # which stops with advice
            if (step + 1) % s.log_every == 0 or step + 1 == steps:
                loop.log(epoch=(step + 1) / batches.per_epoch, **terms.row())
            if step + 1 in due:
                loop.snapshot([due[step + 1], state_copy(best)])
    kept = {epoch: weights for epochs, weights in loop.snapshots.values() for epoch in epochs}
    return TrainedGAN(best.eval(), discriminator.eval(), loop.history, kept)


def _ema(decay: float) -> Callable:
    """An exponential moving average that follows faster in the first steps."""

    def update(averaged: list[Tensor], current: list[Tensor], n: Tensor) -> None:
        get_ema_multi_avg_fn(min(decay, (1 + n.item()) / (10 + n.item())))(averaged, current, n)

    return update
