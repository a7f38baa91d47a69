"""Memorisation: copies are caught, new images are not."""

import pytest
import torch

from labkit.metrics.pixels import nearest
from labkit.studies.memorisation import memorisation


def pictures(n, seed):
    return torch.randint(
        0, 256, (n, 1, 5, 5), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


TRAIN, TEST = pictures(500, 0), pictures(400, 1)
BASELINE = nearest(TEST, TRAIN)[0]


def test_new_images_are_as_far_as_test_images():
    found = memorisation(nearest(pictures(400, 2), TRAIN)[0], BASELINE)
    assert found["closer"] == pytest.approx(0.5, abs=0.06) and found["copies"] < 0.05
    assert found["median"] == pytest.approx(found["median_test"], rel=0.05)


def test_copies_are_all_found():
    found = memorisation(nearest(TRAIN[:100], TRAIN)[0], BASELINE)
    assert found["closer"] == found["copies"] == 1 and found["median"] == 0


def test_a_tenth_of_copies_shows_as_a_tenth():
    mixed = torch.cat([TRAIN[:40], pictures(360, 3)])
    found = memorisation(nearest(mixed, TRAIN)[0], BASELINE)
    assert found["copies"] == pytest.approx(0.1, abs=0.03) and found["closer"] == pytest.approx(
        0.55, abs=0.06
    )


def test_closer_is_the_share_of_pairs_with_ties_halved():
    generated, test = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([2.0, 3.0])
    assert memorisation(generated, test, quantile=0.5)["closer"] == pytest.approx((2 + 1.5 + 0) / 6)
    assert memorisation(test, test, quantile=0.5)["closer"] == 0.5


@pytest.mark.parametrize(
    "bad", [torch.zeros(0), torch.zeros(3, 2), torch.tensor([float("nan")]), torch.tensor([-1.0])]
)
def test_what_is_no_distance_is_refused(bad):
    with pytest.raises(ValueError, match=r"distances of generated images as \(N,\)"):
        memorisation(bad, BASELINE)
    with pytest.raises(ValueError, match=r"distances of test images as \(N,\)"):
        memorisation(BASELINE, bad)


def test_a_quantile_needs_test_images():
    with pytest.raises(ValueError, match="50 test images have no 1% quantile; use 0.02 to 1"):
        memorisation(BASELINE, BASELINE[:50])
    with pytest.raises(ValueError, match="no 0% quantile"):
        memorisation(BASELINE, BASELINE, quantile=0)
