"""How close is a restored part to what was hidden? PSNR, of the hidden pixels alone.

Pitfalls. A blurred guess in the right colours beats a sharp one whose edges are a pixel off: PSNR
asks for the mean of all that could be there. Pixels that were visible must not count, or a method
would gain by hiding less. The mean over images is that of decibels.
"""

import torch
from torch import Tensor


def psnr_hidden(images: Tensor, guess: Tensor, mask: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, (N,), of the pixels where `mask` (1, H, W) is 0.

        PSNR = 10 log₁₀ (1 / mean (x − y)²)

    images: uint8 (N, C, H, W); guess: float in [0, 1], the same shape. ∞ for equal pixels. Raises
    ValueError if nothing is hidden, or for shapes that do not fit.
    """
    if guess.shape != images.shape or mask.shape[-2:] != images.shape[-2:]:
        raise ValueError(
            f"images {tuple(images.shape)}, guess {tuple(guess.shape)} and mask {tuple(mask.shape)} must fit each other"
        )
    hidden = (mask == 0).expand(images.shape[1:])
    if not hidden.any():
        raise ValueError("nothing is hidden, so nothing was restored; pass a mask with zeros")
    error = images[:, hidden].double() / 255 - guess[:, hidden].double()
    return 10 * torch.log10(1 / error.square().mean(1))
