"""Restoring the hidden part of an image, by two baselines and two models, and its PSNR.

Images are (N, C, H, W), uint8 or float in [0, 1]; a mask (1, H, W) is 1 where they are visible.
Methods return whole images, float in [0, 1] on the CPU, estimated from the visible pixels.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from labkit.metrics.checks import unit_range
from labkit.metrics.pixels import nearest
from labkit.models.vae import VAE, reconstruction_loss
from labkit.profile import autocast


def fill(images: Tensor, mask: Tensor, guess: Tensor) -> Tensor:
    """The images where they are visible, and the guess elsewhere: float in [0, 1]."""
    return torch.where(mask.bool(), unit_range(images), guess)


def psnr_hidden(images: Tensor, guess: Tensor, mask: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, (N,), of the pixels where `mask` (1, H, W) is 0.

        PSNR = 10 log₁₀ (1 / mean (x − y)²)

    Equal pixels give ∞. It prefers a blurred guess to a sharp one that is shifted by a pixel, and
    its mean is one of decibels, not of squared errors. Raises ValueError for shapes that do not fit
    and if nothing is hidden.
    """
    if guess.shape != images.shape or mask.shape[-2:] != images.shape[-2:]:
        shapes = [tuple(part.shape) for part in (images, guess, mask)]
        raise ValueError(f"the shapes of images, guess and mask must fit each other; got {shapes}")
    hidden = (mask == 0).expand(images.shape[1:])
    if not hidden.any():
        raise ValueError("nothing is hidden, so nothing was restored; pass a mask with zeros")
    x, y = (unit_range(part)[:, hidden].double() for part in (images, guess))
    return 10 * torch.log10(1 / (x - y).square().mean(1))


def by_mean(images: Tensor, mask: Tensor, references: Tensor) -> Tensor:
    """The mean of the references: of all constant guesses, the one with least squared error."""
    return unit_range(references).mean(0).expand(len(images), -1, -1, -1)


def by_neighbour(images: Tensor, mask: Tensor, references: Tensor) -> Tensor:
    """The reference whose visible part is nearest; the mean if nothing is visible."""
    if not mask.any():
        return by_mean(images, mask, references)
    seen = (part * mask.to(part.dtype) for part in (images, references))
    return unit_range(references[nearest(*seen)[1]])


@torch.inference_mode()
def by_network(inpainter: nn.Module, images: Tensor, mask: Tensor, batch_size: int = 250) -> Tensor:
    """One pass of a network trained for it: (visible images, mask) → images in [0, 1]."""
    device = next(inpainter.parameters()).device
    parts = (unit_range(part.to(device)) for part in images.split(batch_size))
    return torch.cat([inpainter(x, mask.to(device)).cpu() for x in parts])


class Prior(NamedTuple):
    """N(mean, precision⁻¹) over codes: (J,) and (J, J)."""

    mean: Tensor
    precision: Tensor


@torch.no_grad()
def fitted_prior(vae: VAE, images: Tensor, batch_size: int = 500) -> Prior:
    """The Gaussian with the moments of the mixture of all q(z|x): Cov(μ) + mean of diag σ²."""
    if len(images) < 2:
        raise ValueError(f"a covariance needs two images or more, got {len(images)}")
    device = next(vae.parameters()).device
    moments = [vae.encode(unit_range(part.to(device))) for part in images.split(batch_size)]
    mu, log_var = (torch.cat(part).double() for part in zip(*moments, strict=True))
    covariance = mu.T.cov() + log_var.exp().mean(0).diag()
    return Prior(mu.mean(0).float(), torch.linalg.inv(covariance).float())


def search(
    vae: VAE,
    images: Tensor,
    mask: Tensor,
    prior: Prior,
    steps: int = 100,
    lr: float = 0.3,
    trust: float = 0.1,
    watch: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """The codes z (N, J) that fit the visible pixels best, found by Adam from the prior's mean.

        z* = argmin_z  −trust · log p_θ(x_visible | z) − log p(z)

    trust = 1 gives the maximum a posteriori code; trust < 1 corrects for p_θ, in which the errors
    of neighbouring pixels are independent. watch: called after each step with its number and z.
    """
    device, was_training = next(vae.parameters()).device, vae.training
    x = unit_range(images.to(device))
    mask, mean, precision = (part.to(device) for part in (mask, *prior))
    z = mean.repeat(len(x), 1).requires_grad_()
    optimizer = torch.optim.Adam([z], lr)
    vae.eval()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        with autocast(device):
            logits = vae.decoder(z).float()
        # logit 0 costs log 2 for every x, so that hidden pixels add a constant
        misfit, away = reconstruction_loss(logits * mask, x * mask), z - mean
        loss = trust * misfit + 0.5 * (away @ precision * away).sum(1)
        (z.grad,) = torch.autograd.grad(loss.sum(), z)  # backward() would leave some in the VAE
        optimizer.step()
        if watch:
            watch(step + 1, z.detach())
    vae.train(was_training)
    return z.detach()


def by_search(vae: VAE, images: Tensor, mask: Tensor, prior: Prior, **settings: Any) -> Tensor:
    """What a VAE decodes from the codes found by `search`, with its settings steps, lr, …"""
    z = search(vae, images, mask, prior, **settings)
    with torch.inference_mode(), autocast(z.device):
        return torch.cat([vae.decode(part).cpu() for part in z.split(250)])
