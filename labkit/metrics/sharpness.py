"""Is it sharp? Two measures of fine detail, to be read as ratios to those of real images.

Pitfalls. Noise is detail: the ratio should be near 1, and above 1 it speaks of speckles, not of
beauty. Neither looks at what is drawn. The Laplacian also falls with contrast; the share of high
frequencies does not, so together they tell pale from blurred. The Fourier transform takes an image
to repeat: where opposite edges differ (photographs) the jump counts as detail, in real images too.
"""

import torch
from torch import Tensor

from labkit.metrics.checks import check_images, unit_range

CUT = 0.25  # cycles a pixel: half of the finest frequency that a grid can show


@torch.inference_mode()
def sharpness(images: Tensor, batch_size: int = 2000) -> dict[str, float]:
    """Of images (N, C, H, W), uint8 or float in [0, 1], each at least 3×3:

    laplacian: variance over the pixels of x(left) + x(right) + x(above) + x(below) − 4x, mean over
    images (Pech-Pacheco et al. 2000);
    high_frequency: share in [0, 1] of their energy (squares, the mean of each image taken off) at
    frequencies above ¼ cycle a pixel. Raises ValueError for other shapes, types or ranges.
    """
    check_images(images)
    height, width = images.shape[-2:]
    if not len(images) or min(height, width) < 3:
        raise ValueError(
            f"expected one image or more, each 3×3 or larger, got {tuple(images.shape)}"
        )
    fy, fx = torch.fft.fftfreq(height), torch.fft.fftfreq(width)
    high = (fy[:, None].square() + fx.square()).sqrt() > CUT  # (H, W)
    laplacian, energy, fine = 0.0, 0.0, 0.0
    for part in images.split(batch_size):
        x = unit_range(part)
        laplacian += _laplacian(x).flatten(1).double().var(1, correction=0).sum().item()
        power = torch.fft.fft2(x).abs().square().double()  # (n, C, H, W)
        power[:, :, 0, 0] = 0  # the mean
        energy += power.sum().item()
        fine += power[:, :, high].sum().item()
    return {
        "laplacian": laplacian / len(images),
        "high_frequency": fine / energy if energy > 1e-9 * images[0].numel() * len(images) else 0.0,
    }


def sharpness_ratio(images: Tensor, real: Tensor) -> dict[str, float]:
    """`sharpness` of images over that of real ones: 1: as sharp, below: blurred, above: noisy.
    Raises ValueError for flat real ones.
    """
    ours, theirs = sharpness(images), sharpness(real)
    if not all(theirs.values()):
        raise ValueError(
            "the real images are flat, so nothing can be sharper or less sharp than they; pass images that show something"
        )
    return {name: value / theirs[name] for name, value in ours.items()}


def _laplacian(x: Tensor) -> Tensor:
    """The discrete Laplacian of images (N, C, H, W) at their inner pixels, (N, C, H − 2, W − 2)."""
    return (
        x[..., 1:-1, :-2]
        + x[..., 1:-1, 2:]
        + x[..., :-2, 1:-1]
        + x[..., 2:, 1:-1]
        - 4 * x[..., 1:-1, 1:-1]
    )
