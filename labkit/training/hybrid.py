"""Training the hybrids: the VAE-GAN (Larsen et al. 2016, algorithm 1) and the second stage of a VAE
(Dai & Wipf 2019).
"""

import copy
import os
import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from labkit.models.hybrid import VAEGAN, Mixture
from labkit.profile import autocast
from labkit.training.gan import R1_EVERY, gradient_penalty, update_average
from labkit.training.loop import Loop, batch_of


@dataclass
class TrainedVAEGAN:
    """What `train_vaegan` leaves; `model` is the average of the weights, in eval mode.

    history: rows of step, epoch, d_loss, g_loss, kl (nats), feature_error, d_real = mean D(x),
    d_fake = mean D(G(z)).
    weights: epoch → state dict.
    """

    model: VAEGAN
    history: list[dict[str, Any]]
    weights: dict[float, dict[str, Tensor]] = field(default_factory=dict)


def train_vaegan(
    model: VAEGAN,
    images: Tensor,
    epochs: float,
    seed: int = 0,
    lr: float = 2e-3,
    betas: tuple[float, float] = (0.0, 0.99),
    r1: float = 1.0,
    precision: float = 0.1,
    gamma: float = 30.0,
    average: float = 0.998,
    batch_size: int = 32,
    stages: tuple[float, ...] = (),
    log_every: int = 25,
    checkpoint: str | os.PathLike | None = None,
    desc: str = "VAE-GAN",
    show: bool = True,
) -> TrainedVAEGAN:
    """Adam for encoder, generator and discriminator on uint8 images (N, 1, 28, 28), one step each a
    batch.

        L_D = E_x[−log D(x)] + E_z[−log(1 − D(G(z)))] + R1            z ~ N(0, I)
        L_E = KL + λ ½‖f(x) − f(G(z̃))‖²/s²                            z̃ ~ q(z|x)
        L_G = λ ½‖f(x) − f(G(z̃))‖²/s² + γ E_z[−log D(G(z))]

    precision: λ, the price of a feature's error against the KL; gamma: γ, of the game against the
    features. Adam does not see the scale of a loss, so γ in L_G does what 1/γ does in front of the
    paper's features. The game is played with draws of the prior
    alone: then no term of it reaches the encoder, as the paper demands, and one backward pass
    serves L_E and L_G.
    average, r1, stages, log_every: as in `train_gan`. Raises FloatingPointError if a loss is not
    finite.
    """
    device = next(model.parameters()).device
    model.to(memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(model).requires_grad_(False)
    discriminator = model.discriminator
    optimizer = torch.optim.Adam(
        [*model.encoder.parameters(), *model.generator.parameters()], lr=lr, betas=betas, fused=True
    )
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=lr, betas=betas, fused=True)
    noise = torch.Generator().manual_seed(seed)
    per_epoch = len(images) // batch_size
    steps = max(1, round(epochs * per_epoch))
    due = {max(1, min(round(e * per_epoch), steps)): e for e in stages}
    state = {
        "model": model,
        "average": averaged,
        "opt": optimizer,
        "opt_d": optimizer_d,
        "noise": noise,
    }
    settings = dict(
        n=len(images),
        batch_size=batch_size,
        seed=seed,
        lr=lr,
        betas=list(betas),
        r1=r1,
        precision=precision,
        gamma=gamma,
    )
    loop = Loop(
        steps,
        state,
        checkpoint,
        {**settings, "average": average, "stages": list(stages)},
        desc,
        show,
    )
    for step in loop:
        x = images[batch_of(step, len(images), batch_size, seed)].to(device).float() / 127.5 - 1
        x = x.to(memory_format=torch.channels_last)
        z = torch.randn(batch_size, model.latent_dim, generator=noise).to(device)
        with autocast(device):
            fake = model.generator(z)
            real_logits, fake_logits = (
                discriminator(x).float(),
                discriminator(fake.detach()).float(),
            )
            d_loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
        optimizer_d.zero_grad()
        d_loss.backward()
        if r1 and step % R1_EVERY == 0:
            (R1_EVERY * r1 * gradient_penalty(discriminator, x)).backward()
        optimizer_d.step()
        discriminator.requires_grad_(False)
        with autocast(device):
            feature_error, kl = (term.mean() for term in model(x, noise))
            g_loss = F.softplus(-discriminator(fake).float()).mean()
            loss = precision * feature_error + kl + gamma * g_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        discriminator.requires_grad_(True)
        update_average(averaged, model, min(average, (step + 1) / (step + 10)))
        broken = not (d_loss + loss).isfinite()  # logged at once, as in train_gan
        if (step + 1) % log_every == 0 or step + 1 == steps or broken:
            row = dict(d_loss=d_loss, g_loss=g_loss, kl=kl, feature_error=feature_error)
            row |= dict(d_real=real_logits.sigmoid().mean(), d_fake=fake_logits.sigmoid().mean())
            loop.log(
                epoch=(step + 1) / per_epoch, **{name: value.item() for name, value in row.items()}
            )
        if step + 1 in due:
            loop.snapshot(
                {
                    "epoch": due[step + 1],
                    "weights": {k: v.cpu().clone() for k, v in averaged.state_dict().items()},
                }
            )
    return TrainedVAEGAN(
        averaged.eval(), loop.history, {s["epoch"]: s["weights"] for s in loop.snapshots.values()}
    )


def fit_mixture(z: Tensor, components: int = 50, seed: int = 0) -> Mixture:
    """A Gaussian mixture with full covariances fitted to codes z (N, J) by expectation maximisation
    (scikit-learn).

    Raises ValueError for fewer than J + 1 codes a component: their covariance would be singular.
    """
    if len(z) < components * (z.shape[1] + 1):
        raise ValueError(
            f"{components} components in {z.shape[1]} dimensions need {components * (z.shape[1] + 1)} codes, got {len(z)}"
        )
    fitted = GaussianMixture(
        components,
        reg_covar=1e-4,
        max_iter=30,
        tol=1e-2,
        init_params="k-means++",
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # a mixture a little short of its optimum is a density like any other
        fitted.fit(z.double().numpy())
    covariances = torch.from_numpy(fitted.covariances_)
    return Mixture(
        *(
            torch.as_tensor(t).float()
            for t in (fitted.weights_, fitted.means_, torch.linalg.cholesky(covariances))
        )
    )
