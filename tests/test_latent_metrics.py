"""Order in a latent space, on codes whose order is known."""

import numpy as np
import pytest
import torch

from labkit.metrics.latent import (
    active_units,
    confusion,
    factor_r2,
    knn_accuracy,
    knn_predictions,
    mixed_pairs,
    rank_correlations,
    silhouette,
)


def clusters(distance, n=200, classes=4):
    """Codes (n, 2) of unit spread around centres on a circle of radius `distance`, and labels."""
    labels = torch.arange(n) % classes
    angle = 2 * torch.pi * labels / classes
    centres = distance * torch.stack([angle.cos(), angle.sin()], dim=1)
    return centres + torch.randn(n, 2, generator=torch.Generator().manual_seed(0)), labels


def test_neighbours_agree_in_tight_clusters_and_guess_in_one_cloud():
    far, near = clusters(50), clusters(0)
    assert knn_accuracy(*far) == 1.0
    assert knn_accuracy(*near) == pytest.approx(0.25, abs=0.12)
    assert silhouette(*far) > 0.9 and abs(silhouette(*near)) < 0.1


def test_neither_depends_on_where_the_codes_are_or_how_they_are_turned():
    mu, labels = clusters(2)
    turned = 3 * mu @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]]) + 7
    assert knn_accuracy(turned, labels) == knn_accuracy(mu, labels)
    assert silhouette(turned, labels) == pytest.approx(silhouette(mu, labels), abs=1e-5)


def test_the_silhouette_is_of_a_sample_of_all_codes():
    """Half of the codes are in tight clusters; the first ones, or the last, would mislead."""
    (tight, labels), (mixed, _) = clusters(50), clusters(0)
    halves = [torch.cat([tight, mixed]), torch.cat([mixed, tight])]
    labels = torch.cat([labels, labels])
    found = [silhouette(mu, labels, n=100) for mu in halves]
    assert all(-0.5 < s < 0.8 for s in found)
    assert found == pytest.approx([silhouette(halves[0], labels)] * 2, abs=0.2)


@pytest.mark.parametrize(
    ("setting", "name"),
    [(dict(k=0), "n_neighbors"), (dict(folds=-1), "fold"), (dict(k=1.5), "1.5")],
)
def test_numbers_of_neighbours_and_folds_are_counts(setting, name):
    mu, labels = clusters(5)
    with pytest.raises(ValueError, match=name):
        knn_predictions(mu, labels, **setting)
    with pytest.raises(ValueError, match=name):
        factor_r2(mu, mu[:, 0], **setting)


def test_a_sample_and_a_list_have_positive_sizes():
    with pytest.raises(ValueError, match="sample_size"):
        silhouette(*clusters(5), n=-5)
    with pytest.raises(ValueError, match="count must be a whole number"):
        mixed_pairs(np.eye(3), -1)


def test_no_code_votes_for_itself():
    mu = torch.arange(40.0)[
        :, None
    ]  # alternating labels on a line: the nearest other code mostly has the other label
    labels = torch.arange(40) % 2
    assert knn_accuracy(mu, labels, k=1) < 0.5


def test_fewer_codes_of_a_class_than_folds_are_refused():
    labels = torch.tensor([0] * 20 + [3] * 2)
    with pytest.raises(ValueError, match="the rarest has 2"):
        knn_predictions(torch.randn(22, 2), labels)


def test_more_neighbours_than_codes_is_no_error():
    assert knn_predictions(*clusters(50, n=20, classes=2), k=100).shape == (20,)


def test_confusion_is_the_share_of_a_class():
    shares = confusion(torch.tensor([0, 0, 0, 0, 2]), torch.tensor([0, 0, 0, 2, 2]), classes=3)
    assert np.allclose(shares, [[0.75, 0, 0.25], [0, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize("bad", [[0, 3], [-1, 0]])
def test_confusion_of_other_classes_is_refused(bad):
    good = torch.tensor([0, 1])
    for pair in ((good, torch.tensor(bad)), (torch.tensor(bad), good)):
        with pytest.raises(ValueError, match="not among the 3 classes"):
            confusion(*pair, classes=3)


def test_mixed_pairs_come_worst_first_and_once():
    shares = np.array([[0.7, 0.3, 0.0], [0.1, 0.5, 0.4], [0.0, 0.5, 0.5]])
    assert [(i, j) for i, j, _ in mixed_pairs(shares, 3)] == [(1, 2), (0, 1), (0, 2)]
    assert mixed_pairs(shares, 1)[0][2] == pytest.approx(0.45)


def test_a_dimension_that_never_moves_is_not_active():
    mu = torch.randn(500, 3) * torch.tensor([1.0, 0.05, 0.0])
    assert active_units(mu).tolist() == [True, False, False]


def test_codes_tell_a_factor_they_hold_even_bent_and_not_one_they_do_not():
    mu = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    assert factor_r2(mu, mu[:, 1] ** 2) > 0.8  # which no correlation would see
    assert factor_r2(mu, torch.randn(1000, generator=torch.Generator().manual_seed(1))) < 0.1


@pytest.mark.parametrize("value", [2.0, float("nan")])
def test_a_constant_factor_cannot_be_explained(value):
    with pytest.raises(ValueError, match="no variance to predict"):
        factor_r2(torch.randn(50, 2), torch.full((50,), value))


def test_rank_correlation_is_taken_within_the_classes():
    labels = torch.arange(400) % 2
    factor = torch.rand(400, generator=torch.Generator().manual_seed(0))
    chance = torch.rand(400, generator=torch.Generator().manual_seed(1))
    mu = (
        torch.stack([factor.exp(), -factor, chance], dim=1) + 10 * labels[:, None]
    )  # monotone within a class, moved between them
    held, inverse, none = rank_correlations(mu, factor + 10 * labels, labels)
    assert held == pytest.approx(1) and inverse == pytest.approx(-1) and abs(none) < 0.2
