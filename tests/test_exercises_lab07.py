"""The references of lab 07 agree with the libraries that have them."""

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import nn

from labkit.exercises import lab07
from labkit.studies import inpainting


def test_the_size_is_that_of_torchs_layer():
    for n, kernel, stride, padding in ((4, 4, 2, 1), (5, 7, 3, 2), (1, 3, 5, 0)):
        layer = nn.ConvTranspose2d(1, 1, kernel, stride, padding)
        side = layer(torch.zeros(1, 1, n, n)).shape[-1]
        assert lab07.conv_transpose_size.reference(n, kernel, stride, padding) == side


def test_psnr_is_that_of_the_study():
    x, guess = torch.rand(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 8, 8)
    mask[:, :, :3] = 1
    expected = inpainting.psnr_hidden(x, guess, mask)
    assert torch.allclose(lab07.psnr_hidden.reference(x, guess, mask).double(), expected)


def test_ridge_is_that_of_scikit_learn():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 4, generator=g) + 3, torch.randn(30, 2, generator=g)
    for strength in (0.1, 20.0):
        w, b = lab07.fit_ridge.reference(x, y, strength)
        other = Ridge(strength).fit(x.numpy(), y.numpy())
        assert np.allclose(w.T, other.coef_, atol=1e-4)
        assert np.allclose(b, other.intercept_, atol=1e-4)


def test_the_search_finds_the_posterior_mean_of_a_linear_decoder():
    g = torch.Generator().manual_seed(0)
    m, y = torch.randn(3, 6, generator=g), torch.randn(2, 6, generator=g)
    f = lab07.objective.reference
    a = lab07.search.reference(
        lambda a: f(a, lambda a: a @ m, lambda x: x, y, 2.0), torch.zeros(2, 3), 800, 0.02
    )
    expected = torch.linalg.solve(4 * m @ m.T + torch.eye(3), 4 * m @ y.T).T
    assert torch.allclose(a, expected, atol=1e-3)
