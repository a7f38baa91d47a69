"""How close is a restored region to the original? PSNR of the hidden pixels.

Pitfalls. PSNR prefers a blurred guess to a sharp one that is shifted by a pixel. Its mean over
images is a mean of decibels, not of squared errors.
"""

import torch
from torch import Tensor

from labkit.metrics.checks import unit_range


def psnr_hidden(images: Tensor, guess: Tensor, mask: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, (N,), of the pixels where `mask` (1, H, W) is 0.

        PSNR = 10 log₁₀ (1 / mean (x − y)²)

    images and guess: (N, C, H, W), uint8 or float in [0, 1]. Equal pixels give ∞. Raises ValueError
    for other images, for shapes that do not fit, and if nothing is hidden.
    """
    if guess.shape != images.shape or mask.shape[-2:] != images.shape[-2:]:
        shapes = [tuple(part.shape) for part in (images, guess, mask)]
        raise ValueError(f"the shapes of images, guess and mask must fit each other; got {shapes}")
    hidden = (mask == 0).expand(images.shape[1:])
    if not hidden.any():
        raise ValueError("nothing is hidden, so nothing was restored; pass a mask with zeros")
    x, y = (unit_range(part)[:, hidden].double() for part in (images, guess))
    return 10 * torch.log10(1 / (x - y).square().mean(1))
