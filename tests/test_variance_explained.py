import pytest
import torch

from labkit.metrics.latent import variance_explained


def test_a_unit_that_is_the_label_a_unit_of_noise_and_a_constant_one():
    torch.manual_seed(0)
    labels = torch.randint(10, (5000,))
    values = torch.stack([3.0 * labels - 7, torch.randn(5000), torch.full((5000,), 2.0)], dim=1)
    explained = variance_explained(values, labels)
    assert explained[0].item() == pytest.approx(1, abs=1e-5)
    assert explained[1] < 0.01 and explained[2] == 0


def test_signal_and_noise_of_equal_variance_explain_a_half_whatever_the_scale():
    torch.manual_seed(0)
    labels = torch.randint(2, (20_000,))
    signal = 2.0 * labels - 1  # variance 1
    noisy = (signal + torch.randn(20_000))[:, None]
    assert variance_explained(noisy, labels).item() == pytest.approx(0.5, abs=0.02)
    torch.testing.assert_close(
        variance_explained(noisy * 100 + 5, labels),
        variance_explained(noisy, labels),
        atol=1e-4,
        rtol=0,
    )


def test_a_constant_unit_explains_nothing_even_where_its_mean_is_rounded():
    labels = torch.arange(999) % 7
    values = torch.full((999, 1), 0.1) * torch.tensor([[1.0, 1e-20, 1e20]])
    assert (variance_explained(values, labels) == 0).all()


def test_every_unit_needs_a_value_for_every_label():
    with pytest.raises(ValueError, match="expected values"):
        variance_explained(torch.rand(5, 2), torch.zeros(4, dtype=torch.int64))
