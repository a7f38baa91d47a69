"""Is the latent space in order? Do neighbours share a class, which classes mix, and which
dimensions are used at all.
"""

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import confusion_matrix, r2_score, silhouette_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from torch import Tensor


def knn_predictions(mu: Tensor, labels: Tensor, k: int = 15, folds: int = 5) -> Tensor:
    """What the `k` nearest codes of other images say of each code: int64 (N,), of codes (N, J) and
    labels (N,).

    Cross-validated: neighbours come from the other folds, so no code votes for itself. Raises
    ValueError if a class has fewer images than folds.
    """
    counts = torch.bincount(labels)
    if counts[counts > 0].min() < folds:
        raise ValueError(
            f"each class needs {folds} codes or more, one a fold; the rarest has {counts[counts > 0].min()}: pass more images"
        )
    parts = StratifiedKFold(folds, shuffle=True, random_state=0)
    smallest = len(mu) - -(-len(mu) // folds)
    guess = cross_val_predict(
        KNeighborsClassifier(min(k, smallest)), mu.numpy(), labels.numpy(), cv=parts
    )
    return torch.from_numpy(guess)


def knn_accuracy(mu: Tensor, labels: Tensor, k: int = 15) -> float:
    """Share of codes (N, J) whose class is the majority among their `k` nearest, in [0, 1];
    guessing gives the share of a class.
    """
    return (knn_predictions(mu, labels, k) == labels).double().mean().item()


def silhouette(mu: Tensor, labels: Tensor, n: int = 2000) -> float:
    """Mean silhouette (Rousseeuw 1987) of the first `n` codes (N, J): 1: tight and far apart, 0:
    touching, below 0: mixed.
    """
    return float(silhouette_score(mu[:n].numpy(), labels[:n].numpy()))


def confusion(labels: Tensor, predictions: Tensor, classes: int = 10) -> np.ndarray:
    """Row i, column j: share of class i that was taken for j, (classes, classes); a row sums to 1,
    or to 0 for a class without images.
    """
    return np.nan_to_num(
        confusion_matrix(
            labels.numpy(), predictions.numpy(), labels=range(classes), normalize="true"
        )
    )


def mixed_pairs(shares: np.ndarray, count: int = 5) -> list[tuple[int, int, float]]:
    """The `count` pairs of classes most taken for each other in `confusion`: (i, j, mean share of
    the two directions), worst first.
    """
    both = (shares + shares.T) / 2
    i, j = np.triu_indices(len(both), k=1)
    order = np.argsort(-both[i, j], kind="stable")[:count]
    return [(int(i[k]), int(j[k]), float(both[i[k], j[k]])) for k in order]


def active_units(mu: Tensor, threshold: float = 0.01) -> Tensor:
    """Which dimensions vary with the image: Var_x(E[z_j|x]) > 0.01, bool (J,), of μ (N, J) (Burda
    et al. 2016, section 5.2).

    A dimension that does not has collapsed to the prior: q(z_j|x) = N(0, 1) for every image, and it
    says nothing about it.
    """
    return mu.var(0) > threshold


def factor_r2(mu: Tensor, factor: Tensor, k: int = 15, folds: int = 5) -> float:
    """R², the share of the variance of a factor (N,) that the `k` nearest codes (N, J) predict: 1
    all, 0 nothing. Cross-validated.
    """
    nearest = KNeighborsRegressor(min(k, len(mu) - -(-len(mu) // folds)))
    guess = cross_val_predict(
        nearest, mu.numpy(), factor.numpy(), cv=KFold(folds, shuffle=True, random_state=0)
    )
    return max(0.0, float(r2_score(factor.numpy(), guess)))


def rank_correlations(mu: Tensor, factor: Tensor, labels: Tensor) -> list[float]:
    """Spearman's ρ of each dimension of the codes (N, J) with a factor (N,), within each class and
    averaged over the classes: (J,).

    Within, for otherwise a dimension that tells ones from zeros would seem to know the width.
    """
    members = [labels == label for label in labels.unique()]
    return [
        float(np.mean([spearmanr(mu[m, j].numpy(), factor[m].numpy()).statistic for m in members]))
        for j in range(mu.shape[1])
    ]
