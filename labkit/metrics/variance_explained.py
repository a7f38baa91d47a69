"""Which units carry a label?"""

import torch
import torch.nn.functional as F
from torch import Tensor


def variance_explained(values: Tensor, labels: Tensor) -> Tensor:
    """η², the share of each unit's variance that lies between the classes, (H,) in [0, 1].

    values: (N, H); labels: int64 (N,), from 0 up. 1: the label determines the unit's value; 0: it
    does not change its mean (the correlation ratio, Fisher 1925). A constant unit gets 0.
    """
    if values.ndim != 2 or labels.shape != values.shape[:1]:
        shapes = f"{tuple(values.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"expected values (N, H) and labels (N,), got {shapes}")
    x, member = values.double(), F.one_hot(labels).double()  # (N, H), (N, K)
    x = x - x.mean(0)
    counts = member.sum(0)[:, None]  # (K, 1)
    means = member.T @ x / counts.clamp_min(1)
    between, total = (counts * means.square()).sum(0), x.square().sum(0)
    varies = (values != values[:1]).any(0)
    return torch.where(varies, between / total, 0).float()
