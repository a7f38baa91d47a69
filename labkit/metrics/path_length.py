"""Is the way between two codes smooth? Perceptual path length (Karras et al. 2019,
arXiv:1812.04948, section 4.1), seen by a frozen classifier.

    l_Z = E[ ‖f(G(path(a, b; t + ε))) − f(G(path(a, b; t)))‖² / ε² ],   a, b ~ N(0, I), t ~ U(0, 1)

f are the classifier's features where the paper has LPIPS, so the numbers cannot be compared with
published ones.

Pitfalls. A model that draws one image only has a length of 0: read it beside recall or coverage.
Images must not be rounded to 256 greys: steps of ε would vanish. The lengths have a heavy tail, so
take many pairs. Great circles suit codes of many dimensions, which all have about one length; with
2 dimensions take `way=lerp`.
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
    """Mean of n squared speeds, and its standard error, in squared units of the features per unit
    of t.

    draw: codes (N, Z) → float images in [0, 1] (N, C, H, W), one code's image independent of the
    others (eval mode); features: images → (N, D); way: `latent.slerp` or `latent.lerp`. epsilon:
    the paper's 1e-4 is close to the rounding of float32; 1e-3 measures the same. Raises ValueError
    for rounded images, for values outside of [0, 1], and for lengths that are not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(n, latent_dim, generator=generator) for _ in "ab")
    t = torch.rand(n, 1, generator=generator, dtype=torch.float64) * (1 - epsilon) + torch.tensor(
        [0, epsilon], dtype=torch.float64
    )
    codes = torch.cat(
        [way(a[k].double(), b[k].double(), t[k]) for k in range(n)]
    ).float()  # (2n, Z), pairs in a row
    found = []
    for part in codes.split(2 * batch_size):
        images = draw(part)
        check_images(images)
        if not images.is_floating_point():
            raise ValueError(
                "uint8 images do not show steps this small; draw float images in [0, 1]"
            )
        found.append(features(images).double())
    steps = torch.cat(found).unflatten(0, (n, 2)).diff(dim=1)[:, 0]  # (n, D)
    lengths = steps.square().sum(1) / epsilon**2
    if not lengths.isfinite().all():
        raise ValueError(
            f"{int((~lengths.isfinite()).sum())} of {n} path lengths are not finite; look at what the model draws"
        )
    return lengths.mean().item(), (lengths.std() / n**0.5).item()
