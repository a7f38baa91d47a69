"""Lab 04's references against SciPy and labkit.metrics, and draws that chance must not sink."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from labkit.exercises import lab04
from labkit.exercises.core import RIGHT
from labkit.metrics.frechet import frechet_distance
from labkit.metrics.kid import mmd2
from labkit.metrics.prdc import prdc
from labkit.models.gan import Discriminator
from labkit.studies.vaegan import VAEGAN


@pytest.fixture
def clouds():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(90, 6, generator=generator, dtype=torch.double)
    mixing = torch.randn(6, 6, generator=generator, dtype=torch.double)
    return x, torch.randn(70, 6, generator=generator, dtype=torch.double) @ mixing + 1


def test_the_frechet_terms_are_scipys_and_their_sum_is_labkits(clouds):
    x, y = clouds
    (mean_x, cov_x), (mean_y, cov_y) = map(lab04.mean_and_covariance.reference, clouds)
    assert np.allclose(cov_x, np.cov(x.T))
    found = lab04.frechet_terms.reference(mean_x, cov_x, mean_y, cov_y)
    root = sqrtm((cov_x @ cov_y).numpy()).real
    assert np.isclose(found[0], (mean_x - mean_y).square().sum())
    assert np.isclose(found[1], np.trace(cov_x.numpy() + cov_y.numpy() - 2 * root))
    assert np.isclose(sum(found), frechet_distance(x, y))


def test_mmd_precision_and_recall_are_labkits(clouds):
    assert np.isclose(lab04.unbiased_mmd.reference(*clouds), mmd2(*clouds))
    for k in (1, 4):
        expected = prdc(*clouds, k=k)
        found = lab04.precision_recall.reference(*clouds, k)
        assert np.allclose(found, [expected["precision"], expected["recall"]])


@pytest.mark.parametrize("seed", range(20))
def test_no_stream_of_random_numbers_makes_a_right_draw_wrong(seed):
    def skipping(*args):
        torch.rand(seed + 1)
        return lab04.draw_codes.reference(*args)

    assert lab04.draw_codes.diagnose(skipping).state == RIGHT


def test_the_vaegan_loss_has_the_terms_of_the_study_s():
    torch.manual_seed(0)
    model, discriminator, x = VAEGAN(3, 2).eval(), Discriminator(2), torch.rand(6, 1, 28, 28)
    terms, losses = [], []
    for found, compute in (
        (terms, lambda: model.terms(x, discriminator)),
        (losses, lambda: lab04.vaegan_loss.reference(model, discriminator, x, 0.0, 0.3, 0.0)),
    ):
        torch.manual_seed(1)
        found.append(compute())
    expected = terms[0].kl.mean() + 0.3 * terms[0].feature_error.mean()
    assert torch.allclose(losses[0], expected, rtol=1e-4)


def test_what_torch_does_not_implement_is_no_empty_stub():
    def clamped(mean_x, cov_x, mean_y, cov_y):
        return torch.linalg.eigvals(cov_x @ cov_y).clamp(min=0)

    verdict = lab04.frechet_terms.diagnose(clamped)
    assert verdict.state == "wrong" and "clamp" in verdict.text
