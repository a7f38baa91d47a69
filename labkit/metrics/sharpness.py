"""Are images sharp? Two measures of fine detail, to be read as ratios to those of real images.

Pitfalls. Noise counts as detail: a ratio above 1 means noise. The variance of the Laplacian falls
with contrast, too. The Fourier transform treats an image as periodic, so that a difference between
opposite edges counts as detail.
"""

import torch
from torch import Tensor

from labkit.metrics.checks import check_images, unit_range

CUT = 0.25  # cycles per pixel: half of the highest frequency that a grid can show


@torch.inference_mode()
def sharpness(images: Tensor, batch_size: int = 2000) -> dict[str, float]:
    """Sharpness of images (N, C, H, W), uint8 or in [0, 1], 3×3 or larger; else a ValueError.

    laplacian: variance over the pixels of x(left) + x(right) + x(above) + x(below) − 4x, averaged
    over images (Pech-Pacheco et al. 2000). high_frequency: share of the energy (squared amplitudes,
    without each image's mean) at frequencies above ¼ cycle per pixel.
    """
    check_images(images)
    height, width = images.shape[-2:]
    if not len(images) or min(height, width) < 3:
        raise ValueError(f"expected one image or more of at least 3×3, got {tuple(images.shape)}")
    fy, fx = torch.fft.fftfreq(height), torch.fft.fftfreq(width)
    high = (fy[:, None].square() + fx.square()).sqrt() > CUT  # (H, W)
    laplacian = energy = fine = 0.0
    for part in images.split(batch_size):
        x = unit_range(part)
        sides = x[..., 1:-1, :-2] + x[..., 1:-1, 2:] + x[..., :-2, 1:-1] + x[..., 2:, 1:-1]
        edges = (sides - 4 * x[..., 1:-1, 1:-1]).flatten(1).double()
        laplacian += edges.var(1, correction=0).sum().item()
        power = torch.fft.fft2(x).abs().square().double()  # (n, C, H, W)
        power[:, :, 0, 0] = 0  # the mean
        energy += power.sum().item()
        fine += power[:, :, high].sum().item()
    flat = energy <= 1e-9 * images.numel()  # nothing but rounding
    return {"laplacian": laplacian / len(images), "high_frequency": 0.0 if flat else fine / energy}


def sharpness_ratio(images: Tensor, real: Tensor) -> dict[str, float]:
    """`sharpness` of images over that of real ones, not flat: below 1 blurred, above 1 noisy."""
    ours, theirs = sharpness(images), sharpness(real)
    if not all(theirs.values()):
        raise ValueError("the real images are flat, so no ratio is defined; pass other images")
    return {name: value / theirs[name] for name, value in ours.items()}
