"""Restoring the hidden part of an image: two baselines and two models.

Images are uint8 (N, 3, 64, 64), a mask (1, 64, 64) is 1 where they may be seen
(`labkit.data.masks`), and each function returns its idea of the whole image, float in [0, 1] (N, 3,
64, 64) on the CPU. None of them looks behind the mask. `fill` puts the visible part in front.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from labkit.models.vae import VAE, reconstruction_loss
from labkit.profile import autocast


def fill(images: Tensor, mask: Tensor, guess: Tensor) -> Tensor:
    """The visible part of the images and, where it is hidden, the guess: float in [0, 1]."""
    return torch.where(mask.bool(), images.float() / 255, guess)


def by_mean(images: Tensor, mask: Tensor, references: Tensor) -> Tensor:
    """The mean of the reference images, whatever is visible: the best constant guess, in squared
    error.
    """
    return (references.float().mean(0) / 255).expand(len(images), -1, -1, -1)


def by_neighbour(images: Tensor, mask: Tensor, references: Tensor) -> Tensor:
    """The reference image (of M) whose visible part is closest, in squared error."""
    seen = mask.bool().expand(references.shape[1:])
    if not seen.any():
        return by_mean(images, mask, references)
    distances = torch.cdist(*(part[:, seen].float() for part in (images, references)))
    return references[distances.argmin(1)].float() / 255


@torch.inference_mode()
def by_network(inpainter: nn.Module, images: Tensor, mask: Tensor, batch_size: int = 250) -> Tensor:
    """One pass of a network that was trained for it, (visible images, mask) → images in [0, 1]."""
    device = next(inpainter.parameters()).device
    parts = (part.to(device).float() / 255 for part in images.split(batch_size))
    return torch.cat([inpainter(x, mask.to(device)).cpu() for x in parts])


class Prior(NamedTuple):
    """N(mean, precision⁻¹) over codes: (J,) and (J, J)."""

    mean: Tensor
    precision: Tensor


@torch.no_grad()
def fitted_prior(vae: VAE, images: Tensor, batch_size: int = 500) -> Prior:
    """The Gaussian with the moments of the codes that the encoder gives to uint8 images: nearer to
    them than N(0, I) is.

    Covariance = Cov(μ) + mean of diag σ², over the images: that of the mixture of all q(z|x).
    """
    device = next(vae.parameters()).device
    moments = [vae.encode(part.to(device).float() / 255) for part in images.split(batch_size)]
    mu, log_var = (torch.cat(part).double() for part in zip(*moments, strict=True))
    return Prior(
        mu.mean(0).float(), torch.linalg.inv(mu.T.cov() + log_var.exp().mean(0).diag()).float()
    )


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
    """The codes z (N, J) that explain the visible part of the images best; gradient descent by
    Adam, from the mean of the prior.

        z* = argmin_z  −trust · log p_θ(x_visible | z) − log p(z)

    trust 1 is the likeliest code under the model (maximum a posteriori). But the model takes pixels
    for independent given z, and they are
    not: what it gets wrong, it gets wrong in patches. So thousands of pixels are worth fewer
    witnesses, and trust is less than 1.
    watch: called with the number of steps done and the codes at that moment.
    """
    device, was_training = next(vae.parameters()).device, vae.training
    x, mask, (mean, precision) = (
        images.to(device).float() / 255,
        mask.to(device),
        (part.to(device) for part in prior),
    )
    z = mean.repeat(len(x), 1).requires_grad_()
    optimizer = torch.optim.Adam([z], lr)
    vae.eval()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        with autocast(device):
            logits = vae.decoder(z).float()
        # a logit of 0 costs log 2 whatever x is: where nothing is visible, the loss is a constant
        away = z - mean
        loss = trust * reconstruction_loss(logits * mask, x * mask) + 0.5 * (
            away @ precision * away
        ).sum(1)
        (z.grad,) = torch.autograd.grad(
            loss.sum(), z
        )  # not backward(), which would leave gradients in the VAE
        optimizer.step()
        if watch:
            watch(step + 1, z.detach())
    vae.train(was_training)
    return z.detach()


def by_search(vae: VAE, images: Tensor, mask: Tensor, prior: Prior, **settings: Any) -> Tensor:
    """What the VAE decodes from the codes that `search` finds (settings: its own). It was trained
    on whole images and never saw a mask.
    """
    z = search(vae, images, mask, prior, **settings)
    with torch.inference_mode(), autocast(z.device):
        return torch.cat([vae.decode(part).cpu() for part in z.split(250)])
