"""Are generated images copies of training images? Test images, which are not, are the comparison.

Pitfalls. A distance in pixels misses copies that are shifted by a pixel. Blurred images are closer
to all others than sharp ones, so that a blurred model seems to memorise: look at "copies" as well
as "closer", and at the pairs. A model of few different images that are all new passes.
"""

from scipy.stats import mannwhitneyu
from torch import Tensor


def memorisation(generated: Tensor, held_out: Tensor, quantile: float = 0.01) -> dict[str, float]:
    """Compare distances to the nearest training image of generated (N,) and of test images (M,).

    The distances are `pixels.nearest(images, train)[0]`. closer: the probability that a generated
    image is closer to the training set than a test image, ½ for new images and 1 for copies
    (Mann–Whitney's U / NM; Meehan et al. 2020, arXiv:2004.05675); copies: share of generated images
    closer than this quantile of the test images, about `quantile` for new ones. Raises ValueError
    for distances that are negative or not finite, and for too few test images for the quantile.
    """
    for name, d in (("generated", generated), ("test", held_out)):
        if d.ndim != 1 or not len(d) or not d.isfinite().all() or (d < 0).any():
            wanted = f"finite distances of {name} images as (N,), not negative"
            raise ValueError(f"expected {wanted}; pass pixels.nearest(images, train)[0]")
    if not 0 < quantile < 1 or len(held_out) * quantile < 1:
        n = len(held_out)
        raise ValueError(f"{n} test images have no {quantile:.0%} quantile; use {1 / n:.2g} to 1")
    generated, held_out = generated.double(), held_out.double()
    u = mannwhitneyu(held_out, generated, method="asymptotic").statistic  # pairs, ties count half
    return {
        "median": generated.median().item(),
        "median_test": held_out.median().item(),
        "closer": float(u) / (len(generated) * len(held_out)),
        "copies": (generated < held_out.quantile(quantile)).double().mean().item(),
    }
