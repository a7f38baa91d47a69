"""How is a latent space ordered? Neighbours, clusters, mixed classes, active units, factors."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from sklearn.metrics import confusion_matrix, r2_score, silhouette_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from torch import Tensor

from labkit.metrics.checks import check_counts


def knn_predictions(mu: Tensor, labels: Tensor, k: int = 15, folds: int = 5) -> Tensor:
    """Majority label (N,) of the `k` nearest codes in other folds; ValueError for a rare class."""
    rarest = labels.unique(return_counts=True)[1].min().item()
    if rarest < folds:
        raise ValueError(f"each class needs {folds} codes or more; the rarest has {rarest}")
    split = StratifiedKFold(folds, shuffle=True, random_state=0)
    nearest = KNeighborsClassifier(min(k, len(mu) * (folds - 1) // folds))
    return torch.from_numpy(cross_val_predict(nearest, mu.numpy(), labels.numpy(), cv=split))


def knn_accuracy(mu: Tensor, labels: Tensor, k: int = 15) -> float:
    """Share of codes (N, J) whose label (N,) is that of most of their `k` nearest, in [0, 1]."""
    return (knn_predictions(mu, labels, k) == labels).double().mean().item()


def silhouette(mu: Tensor, labels: Tensor, n: int = 2000) -> float:
    """Mean silhouette (Rousseeuw 1987) of `n` random codes of mu (N, J), all if there are fewer.

    1: tight clusters that are far apart; 0: clusters that touch; below 0: mixed classes.
    """
    sample = dict(sample_size=min(n, len(mu)), random_state=0)
    return float(silhouette_score(mu.numpy(), labels.numpy(), **sample))


def confusion(labels: Tensor, predictions: Tensor, classes: int = 10) -> np.ndarray:
    """Share of class i (row) predicted as j (column), (classes, classes); 0 for an empty class."""
    both = torch.stack([labels, predictions])
    if both.min() < 0 or both.max() >= classes:
        raise ValueError(f"some labels are not among the {classes} classes, 0 to {classes - 1}")
    return confusion_matrix(*both.numpy(), labels=range(classes), normalize="true")


def mixed_pairs(shares: np.ndarray, count: int = 5) -> list[tuple[int, int, float]]:
    """The `count` most mixed pairs of `confusion`: (i, j, mean share of both ways), worst first."""
    check_counts(count=count)
    both = (shares + shares.T) / 2
    i, j = np.triu_indices(len(both), k=1)
    order = np.argsort(-both[i, j], kind="stable")[:count]
    return [(int(i[k]), int(j[k]), float(both[i[k], j[k]])) for k in order]


def active_units(mu: Tensor, threshold: float = 0.01) -> Tensor:
    """Which dimensions of μ (N, J) vary with the image, Var_x(E[z_j|x]) > threshold: bool (J,).

    The others have collapsed to the prior (Burda et al. 2016, section 5.2).
    """
    return mu.var(0) > threshold


def factor_r2(mu: Tensor, factor: Tensor, k: int = 15, folds: int = 5) -> float:
    """R² of a factor (N,) predicted by the `k` nearest codes (N, J) of other folds, in [0, 1].

    Worse than the mean counts as 0. Raises ValueError for a constant factor.
    """
    if not factor.double().var() > 0:  # written so that NaN fails too
        raise ValueError("the factor is constant or not finite, so it has no variance to predict")
    split = KFold(folds, shuffle=True, random_state=0)
    nearest = KNeighborsRegressor(min(k, len(mu) * (folds - 1) // folds))
    guess = cross_val_predict(nearest, mu.numpy(), factor.numpy(), cv=split)
    return max(0.0, float(r2_score(factor.numpy(), guess)))


def rank_correlations(mu: Tensor, factor: Tensor, labels: Tensor) -> list[float]:
    """Spearman's ρ of each dimension of codes (N, J) with a factor (N,), averaged over classes.

    Across classes, a dimension that only separates ones from zeros would correlate with the width.
    NaN where the dimension or the factor is constant within a class.
    """
    members = [labels == label for label in labels.unique()]
    rho = [[spearmanr(z[m].numpy(), factor[m].numpy()).statistic for m in members] for z in mu.T]
    return np.mean(rho, axis=1).tolist()


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
