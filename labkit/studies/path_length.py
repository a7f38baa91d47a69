"""How smoothly do images change along a path between two codes? Perceptual path length.

    l_Z = E[ ‖f(G(path(a, b; t + ε))) − f(G(path(a, b; t)))‖² / ε² ],   a, b ~ N(0, I), t ~ U(0, 1)

(Karras et al. 2019, arXiv:1812.04948, section 4.1.) f are the features of the kit's classifier
instead of LPIPS, so the numbers cannot be compared with published ones.

Pitfalls. A model that always draws the same image has length 0: report recall or coverage, too.
Lengths have a heavy tail, so many pairs are needed. Use `lerp` in 2 dimensions: `slerp` suits codes
of many, whose norms are all about the same.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from labkit.latent import slerp
from labkit.metrics.checks import check_images


@torch.inference_mode()
def perceptual_path_length(
    draw: Callable[[Tensor], Tensor],
    features: Callable[[Tensor], Tensor],
    latent_dim: int,
    n: int = 1000,
    epsilon: float = 1e-3,
    way: Callable[[Tensor, Tensor, Tensor], Tensor] = slerp,
    seed: int = 0,
    batch_size: int = 500,
) -> tuple[float, float]:
    """Mean of n squared speeds and its standard error, in squared feature units per unit of t.

    draw: codes (N, Z) → float images in [0, 1] (N, C, H, W), in eval mode; features: images →
    (N, D); epsilon: the paper's 1e-4 is close to the rounding of float32; 1e-3 measures the same.
    Raises ValueError for other images and for lengths that are not finite.
    """
    if n < 2 or not 0 < epsilon < 1:
        raise ValueError(f"n is 2 or more and epsilon in (0, 1), got n = {n}, epsilon = {epsilon}")
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(n, latent_dim, generator=generator).double() for _ in "ab")
    t = torch.rand(n, 1, generator=generator, dtype=torch.float64) * (1 - epsilon)
    t = torch.cat([t, t + epsilon], dim=1)  # (n, 2)
    codes = torch.cat([way(a[k], b[k], t[k]) for k in range(n)]).float()  # (2n, Z), pairs in a row
    found = []
    for part in codes.split(2 * batch_size):
        images = draw(part)
        check_images(images)
        if not images.is_floating_point():
            raise ValueError("uint8 images do not show steps this small; draw floats in [0, 1]")
        found.append(features(images).double())
    steps = torch.cat(found).unflatten(0, (n, 2)).diff(dim=1)[:, 0]  # (n, D)
    lengths = steps.square().sum(1) / epsilon**2
    if bad := int((~lengths.isfinite()).sum()):
        raise ValueError(f"{bad} of {n} path lengths are not finite; look at the drawn images")
    return lengths.mean().item(), (lengths.std() / n**0.5).item()
