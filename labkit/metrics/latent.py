"""How is a latent space ordered? Neighbours, clusters, mixed classes, active units, factors."""

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import confusion_matrix, r2_score, silhouette_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from torch import Tensor

from labkit.metrics.checks import check_counts


def knn_predictions(mu: Tensor, labels: Tensor, k: int = 15, folds: int = 5) -> Tensor:
    """The majority label of the `k` nearest codes of other images, int64 (N,), by cross-validation.

    mu: codes (N, J); labels: (N,). Neighbours come from the other folds, so that no code votes for
    itself. Raises ValueError if a class has fewer images than folds.
    """
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
    """Share of class i (row) that was predicted as j (column), (classes, classes).

    A row sums to 1, or to 0 for a class without images.
    """
    if (
        not 0
        <= min(labels.min(), predictions.min())
        <= max(labels.max(), predictions.max())
        < classes
    ):
        raise ValueError(f"some labels are not among the {classes} classes, 0 to {classes - 1}")
    pair = labels.numpy(), predictions.numpy()
    return confusion_matrix(*pair, labels=range(classes), normalize="true")


def mixed_pairs(shares: np.ndarray, count: int = 5) -> list[tuple[int, int, float]]:
    """The `count` pairs of classes that `confusion` shows most mixed: (i, j, share), worst first.

    The share is the mean of both directions.
    """
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
    """Share of a factor's variance (R²) that the `k` nearest codes predict, in [0, 1].

    mu: codes (N, J); factor: (N,). Cross-validated; a prediction worse than the mean counts as 0.
    Raises ValueError for a constant factor, which has no variance to predict.
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
    Returns J numbers; NaN where the dimension or the factor is constant within a class.
    """
    members = [labels == label for label in labels.unique()]
    return [
        float(np.mean([spearmanr(mu[m, j].numpy(), factor[m].numpy()).statistic for m in members]))
        for j in range(mu.shape[1])
    ]
