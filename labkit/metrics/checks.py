"""What can be scored at all: metrics refuse the rest with a reason, for a number that means nothing
looks like any other.
"""

import torch
from torch import Tensor


def check_features(x: Tensor, y: Tensor, least: int, why: str) -> None:
    """Refuse features x (N, D) and y (M, D) that cannot be compared: ValueError for other shapes,
    values that are not finite, or N or M below `least`, which is needed because of `why`."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(
            f"expected features (N, D) and (M, D), got {tuple(x.shape)} and {tuple(y.shape)}; make both with the same classifier"
        )
    for name, features in (("first", x), ("second", y)):
        if (
            features.sum().isfinite()
        ):  # then all values are, at a fraction of the time that looking at each takes
            continue
        bad = ~features.isfinite().all(1)
        if bad.any():  # else the sum overflowed
            raise ValueError(
                f"{int(bad.sum())} of {len(features)} rows of the {name} features hold NaN or infinite values, the first is row "
                f"{int(bad.nonzero()[0, 0])}; look at the images that they come from (did training diverge?)"
            )
    if min(len(x), len(y)) < least:
        raise ValueError(
            f"N = {len(x)}, M = {len(y)}, D = {x.shape[1]}: {least} or more of each are needed ({why}); draw more samples"
        )


def check_images(images: Tensor) -> None:
    """Refuse what is not images (N, C, H, W), C 1 or 3, uint8 or float in [0, 1]: ValueError with
    the shape, type or range found.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"expected images (N, 1, H, W) or (N, 3, H, W), got {tuple(images.shape)}; reshape them with .view"
        )
    if images.dtype == torch.uint8 or not len(images):
        return
    if not images.is_floating_point():
        raise ValueError(
            f"expected images in uint8 or float, got {images.dtype}; images of 0 to 255 are .to(torch.uint8)"
        )
    low, high = (value.item() for value in images.aminmax())
    if not (low >= 0 and high <= 1):  # NaN fails too
        raise ValueError(
            f"expected float images in [0, 1], got {low:.3g} to {high:.3g}; a tanh model's are (x + 1) / 2"
        )


def unit_range(images: Tensor) -> Tensor:
    """Checked images in [0, 1]: float as they are, uint8 over 255 as float32."""
    check_images(images)
    return images if images.is_floating_point() else images.float() / 255
