"""Is it new, or a copy? Nearest training images of samples against those of test images, which
cannot be copies.

Pitfalls. A distance in pixels sees copies, not near copies that are shifted by a pixel. Blurred
images are closer to everything than sharp ones, so a blurred model seems to memorise: compare its
share of "closer" with that of "copies", and look at the pairs. A model that has collapsed on images
that are no copies shows nothing here.
"""

import torch
from torch import Tensor


def memorisation(generated: Tensor, held_out: Tensor, quantile: float = 0.01) -> dict[str, float]:
    """Compare distances to the nearest training image of generated (N,) and of test images (M,), as
    `pixels.nearest(…)[0]` gives them.

    median, median_test: of the two; closer: how probable it is that a generated image is closer to
    the training set than a test image is (Mann–Whitney's U / NM, as Meehan et al. 2020,
    arXiv:2004.05675): ½ for new images, 1 for copies;
    copies: share of generated images that are closer than all but `quantile` of the test images
    are: about `quantile` for new images. Raises ValueError for distances that are not finite
    vectors, or too few test images for the quantile.
    """
    for name, distances in (("generated", generated), ("test", held_out)):
        if (
            distances.ndim != 1
            or not len(distances)
            or not distances.isfinite().all()
            or (distances < 0).any()
        ):
            raise ValueError(
                f"expected the distances of {name} images as (N,), finite and not negative, got "
                f"{tuple(distances.shape)}; pass pixels.nearest(images, train)[0]"
            )
    if len(held_out) * quantile < 1:
        raise ValueError(
            f"{len(held_out)} test images have no {quantile:.0%} quantile; pass {round(1 / quantile)} or more"
        )
    ordered = held_out.double().sort().values
    generated = generated.double()
    # ties count half
    above = (
        len(ordered)
        - (
            torch.searchsorted(ordered, generated)
            + torch.searchsorted(ordered, generated, right=True)
        )
        / 2
    )
    return {
        "median": generated.median().item(),
        "median_test": ordered.median().item(),
        "closer": (above / len(ordered)).mean().item(),
        "copies": (generated < ordered.quantile(quantile)).double().mean().item(),
    }
