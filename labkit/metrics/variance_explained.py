"""Which units carry a label?"""

import torch
from torch import Tensor


def variance_explained(values: Tensor, labels: Tensor) -> Tensor:
    """η², the share of each unit's variance that lies between the classes: values (N, H), labels
    (N,) from 0 up → (H,) in [0, 1].

    1: the unit's value is a function of the label; 0: it knows nothing of it (Fisher 1925, the
    correlation ratio). A constant unit gets 0.
    """
    counts = torch.bincount(labels).to(values.dtype)  # (K,)
    means = (
        torch.zeros(len(counts), values.shape[1], dtype=values.dtype).index_add_(0, labels, values)
        / counts.clamp_min(1)[:, None]
    )
    centre = values.mean(dim=0)
    between = (counts[:, None] * (means - centre) ** 2).sum(dim=0)
    total = ((values - centre) ** 2).sum(dim=0)
    return torch.where(total > 0, between / total.clamp_min(torch.finfo(values.dtype).tiny), 0)
