"""Checks of what a metric is given: wrong input raises ValueError and never gives a number."""

from numbers import Integral

import torch
from torch import Tensor


def check_counts(**counts: int) -> None:
    """Raise ValueError unless each argument is a whole number of at least 1."""
    for name, value in counts.items():
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be a whole number, 1 or more; got {value!r}")


def check_features(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Finite features (N, D), (M, D), as float32 or float64 on the CPU; ValueError for others."""
    x, y = (torch.as_tensor(features).detach().cpu() for features in (x, y))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        found = f"got {tuple(x.shape)} and {tuple(y.shape)}; make both with the same classifier"
        raise ValueError(f"expected features (N, D) and (M, D), {found}")
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    for name, features in (("first", x), ("second", y)):
        if features.sum(dtype=dtype).isfinite():
            continue  # then so is every value, and a sum is much faster than a look at each
        bad = (~features.isfinite().all(1)).nonzero()[:, 0].tolist()
        if bad:  # else only the sum overflowed
            where = f"{len(bad)} of {len(features)} rows of the {name} features, e.g. row {bad[0]},"
            raise ValueError(f"{where} hold NaN or infinite values; did training diverge?")
    return x.to(dtype), y.to(dtype)


def check_enough(x: Tensor, y: Tensor, least: int, why: str) -> None:
    """Raise ValueError if x (N, D) or y (M, D) has fewer than `least` rows, needed for `why`."""
    if min(len(x), len(y)) < least:
        found = f"N = {len(x)}, M = {len(y)}, D = {x.shape[1]}"
        raise ValueError(f"{found}: {least} or more of each are needed ({why}); draw more samples")


def check_images(images: Tensor) -> None:
    """Raise ValueError unless these are images (N, 1 or 3, H, W), uint8 or float in [0, 1]."""
    if not isinstance(images, Tensor):
        raise ValueError(f"expected a torch tensor, got {type(images)}; use torch.from_numpy")
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"expected images (N, 1 or 3, H, W), got {tuple(images.shape)}; use .view")
    if images.dtype == torch.uint8 or not len(images):
        return
    if not images.is_floating_point():
        raise ValueError(f"expected images in uint8 or float, got {images.dtype}; use .byte()")
    low, high = (value.item() for value in images.aminmax())
    if not (low >= 0 and high <= 1):  # NaN fails too
        found = f"got {low:.3g} to {high:.3g}"
        raise ValueError(f"expected float images in [0, 1], {found}; (x + 1) / 2 if from tanh")


def unit_range(images: Tensor) -> Tensor:
    """Checked images with pixels in [0, 1]: float unchanged, uint8 divided by 255 as float32."""
    check_images(images)
    return images if images.is_floating_point() else images.float() / 255
