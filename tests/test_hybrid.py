"""The hybrids: losses as the papers have them, who gets which gradient, training that resumes, a
density that is found again.
"""

import math
import os
import signal
import sys

import pytest
import torch
import torch.nn.functional as F

from labkit.models.hybrid import VAEGAN, Mixture, TwoStage
from labkit.models.vae import GaussianVAE, decoded, gaussian_loss, gaussian_vae, linear_vae
from labkit.training import generators
from labkit.training.hybrid import fit_mixture, train_vaegan
from labkit.training.sweep import sweep

IMAGES = torch.randint(
    0, 256, (64, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
X = IMAGES[:8] / 127.5 - 1


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def model(seed=0):
    torch.manual_seed(seed)
    return VAEGAN(latent_dim=4, base=2)


def trained(**settings):
    return train_vaegan(
        model(),
        IMAGES,
        **{"epochs": 2, "batch_size": 16, "log_every": 1, "show": False, **settings},
    )


def two_blobs(n=2000):
    """Codes (n, 2) of two narrow Gaussians at (−3, 0) and (3, 1), the first with a quarter of the
    mass.
    """
    z = 0.5 * torch.randn(n, 2, generator=seeded(1))
    first = torch.arange(n) < n // 4
    return torch.where(first[:, None], z + torch.tensor([-3.0, 0.0]), z + torch.tensor([3.0, 1.0]))


def test_the_vaegan_has_its_shapes_and_ranges():
    m = model()
    mu, log_var = m.encode(X)
    assert mu.shape == log_var.shape == (8, 4)
    x_tilde, kl = m.reconstruct(X)
    assert x_tilde.shape == X.shape and x_tilde.abs().max() <= 1 and kl.shape == (8,)
    assert m(X).feature_error.shape == (8,) and m.features(X).ndim == 2


def test_the_last_layer_of_the_discriminator_reads_the_features():
    m = model()
    assert torch.allclose(
        m.discriminator.layers[-1](m.features(X)).flatten(), m.discriminator(X), atol=1e-6
    )


def test_the_feature_error_is_zero_for_a_perfect_reconstruction():
    m = model()
    perfect = VAEGAN(4, 2)
    perfect.load_state_dict(m.state_dict())
    perfect.generator = torch.nn.Module()
    perfect.generator.forward = lambda z: X
    assert perfect(X).feature_error.abs().max() < 1e-9
    assert m(X).feature_error.min() > 0


def test_the_game_moves_the_generator_alone_and_the_features_move_both():
    m = model()
    fake = m.generator(torch.randn(8, 4, generator=seeded(0)))
    F.softplus(-m.discriminator(fake)).mean().backward()
    assert all(p.grad is None for p in m.encoder.parameters())
    assert all(p.grad is not None for p in m.generator.parameters())
    m.zero_grad()
    m(X, seeded(0)).feature_error.mean().backward()
    assert (
        m.encoder[0].weight.grad.abs().max() > 0
        and m.generator.layers[0].weight.grad.abs().max() > 0
    )


def test_a_free_code_reconstructs_and_a_dear_one_collapses():
    stripes = torch.zeros(64, 1, 28, 28, dtype=torch.uint8)
    for k, image in enumerate(stripes):
        image[0, :, 7 * (k % 4) : 7 * (k % 4) + 7] = 255
    late = {}  # the mean of the last half: a GAN's losses jump about
    for price in (10.0, 1e-6):
        run = train_vaegan(
            model(), stripes, 60, batch_size=16, precision=price, gamma=0.0, show=False, log_every=1
        )
        late[price] = sum(row["kl"] for row in run.history[120:]) / 120
    assert late[10.0] > 1 > 0.05 > late[1e-6]


def test_training_interrupted_resumes_to_the_same_result(tmp_path, monkeypatch):
    settings = dict(stages=(1, 2), checkpoint=tmp_path / "vaegan.partial")
    whole = trained(stages=(1, 2))
    real, calls = F.softplus, []

    def softplus(x):
        calls.append(1)
        if len(calls) == 3 * 5 + 1:  # in the sixth step: the middle of the second epoch
            os.kill(os.getpid(), signal.SIGINT)
        return real(x)

    with monkeypatch.context() as patch:
        patch.setattr(F, "softplus", softplus)
        with pytest.raises(KeyboardInterrupt, match="go on from step 6"):
            trained(**settings)
    resumed = trained(**settings)
    assert resumed.history == whole.history and list(resumed.weights) == [1, 2]
    assert all(torch.equal(v, resumed.weights[2][k]) for k, v in whole.weights[2].items())


def test_a_loss_that_is_no_number_stops_with_advice():
    m = model()
    m.encoder[0].weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        train_vaegan(m, IMAGES, 1, batch_size=16, log_every=1, show=False)


def test_a_mixture_finds_the_density_it_was_drawn_from():
    z = two_blobs()
    mixture = fit_mixture(z, components=2)
    order = mixture.means[:, 0].argsort()
    assert torch.allclose(mixture.means[order], torch.tensor([[-3.0, 0.0], [3.0, 1.0]]), atol=0.1)
    assert torch.allclose(mixture.weights[order], torch.tensor([0.25, 0.75]), atol=0.02)
    drawn = mixture.draw(4000, seeded(2))
    assert torch.allclose(drawn.mean(0), z.mean(0), atol=0.15) and torch.allclose(
        drawn.T.cov(), z.T.cov(), atol=0.4
    )
    assert torch.equal(mixture.draw(5, seeded(3)), mixture.draw(5, seeded(3)))


def test_the_density_of_a_mixture_integrates_to_one():
    mixture = fit_mixture(two_blobs(), components=3)
    axis = torch.linspace(-8, 8, 161)
    plane = torch.cartesian_prod(axis, axis)
    assert (mixture.log_density(plane).exp().sum() * 0.1**2).item() == pytest.approx(1, abs=0.01)


def test_a_mixture_of_one_is_the_gaussian_of_the_codes():
    z = two_blobs()
    mixture = fit_mixture(z, components=1)
    expected = torch.distributions.MultivariateNormal(z.mean(0), z.T.cov())
    assert torch.allclose(mixture.log_density(z[:20]), expected.log_prob(z[:20]), atol=0.01)


def test_too_few_codes_for_a_mixture_are_refused():
    with pytest.raises(ValueError, match="50 components in 2 dimensions need 150 codes, got 100"):
        fit_mixture(two_blobs(100), 50)


def test_the_second_stage_draws_where_the_codes_are_and_the_prior_does_not():
    torch.manual_seed(0)
    vae = linear_vae(2, (16,))
    shifted = two_blobs() + 20  # far outside the prior
    two_stage = TwoStage(vae, fit_mixture(shifted, 2))
    drawn, near = two_stage.draw(300, seeded(0)), decoded(vae, shifted)
    far = decoded(vae, torch.randn(300, 2, generator=seeded(0)))
    means = [images.float().mean(0) for images in (drawn, near, far)]
    assert (means[0] - means[1]).abs().mean() < (means[0] - means[2]).abs().mean() / 4
    with pytest.raises(ValueError, match="the VAE's codes have 2 dimensions, the density's 3"):
        TwoStage(vae, Mixture(torch.ones(1), torch.zeros(1, 3), torch.eye(3)[None]))


@pytest.mark.parametrize("build", [lambda: linear_vae(2, (16,)), lambda: VAEGAN(2, 2)])
def test_codes_are_the_means_or_scatter_around_them_as_the_encoder_says(build):
    torch.manual_seed(0)
    m = build()
    last = m.encoder[-1]
    last.weight.data.zero_()
    last.bias.data = torch.tensor(
        [1.0, -2.0, math.log(0.25), math.log(0.25)]
    )  # μ and log σ² of every image
    black = torch.zeros(4000, 1, 28, 28, dtype=torch.uint8)
    assert torch.allclose(generators.encoded(m, black), torch.tensor([1.0, -2.0]))
    z = generators.encoded(m, black, seed=0)
    assert torch.allclose(z.mean(0), torch.tensor([1.0, -2.0]), atol=0.05) and torch.allclose(
        z.std(0), torch.tensor(0.5), atol=0.03
    )


def test_a_black_image_is_the_least_of_either_range():
    seen = []
    for m in (linear_vae(2, (16,)), VAEGAN(2, 2)):
        m.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        generators.encoded(
            m, torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(-1, -1, 28, 28)
        )
    assert [x[0].max().item() for x in seen] == [0, -1] and [x[1].min().item() for x in seen] == [
        1,
        1,
    ]


def test_a_second_stage_of_either_kind_draws_images():
    torch.manual_seed(0)
    for m in (linear_vae(2, (16,)), VAEGAN(2, 2).eval()):
        images = generators.second_stage(m, IMAGES, components=2).draw(7, seeded(0))
        assert images.shape == (7, 1, 28, 28) and images.dtype == torch.uint8


def test_the_gaussian_loss_is_that_of_torch_and_least_where_sigma_is_the_error():
    mean, x = torch.rand(2, 5, 1, 28, 28, generator=seeded(0))
    sigma = torch.tensor(0.3)
    expected = -torch.distributions.Normal(mean, sigma).log_prob(x).flatten(1).sum(1)
    assert torch.allclose(gaussian_loss(mean, x, sigma.log()), expected, rtol=1e-5)
    best = (mean - x).square().mean().sqrt()
    losses = [gaussian_loss(mean, x, (best * f).log()).mean() for f in (0.8, 1.0, 1.25)]
    assert losses[1] < losses[0] and losses[1] < losses[2]


def test_a_learned_sigma_gets_a_gradient_and_the_bound_its_two_terms():
    vae = gaussian_vae(2, (16,))
    assert isinstance(vae, GaussianVAE)
    terms = vae(IMAGES[:8] / 255, seeded(0))
    assert terms.reconstruction.shape == terms.kl.shape == (8,)
    terms.negative_elbo.mean().backward()
    assert vae.log_sigma.grad.abs() > 0


@pytest.fixture
def few_images(monkeypatch, tmp_path):
    """No folder with images, so that the stand-in is drawn."""
    monkeypatch.delenv("LABKIT_DATA", raising=False)
    return dict(epochs=1, latent_dim=3, size=[160, 100])


@pytest.mark.parametrize("family", generators.FAMILIES)
def test_every_family_trains_is_rebuilt_and_draws(family, few_images):
    settings = dict(base=2) if "GAN" in family else {}
    run = generators.train(family, stages=[1], **few_images, **settings)
    assert list(run["weights"]) == [1] and run["history"] and run["seconds"] > 0
    rebuilt = generators.rebuild(family, 3, run["weights"][1], **settings)
    images = generators.draw(rebuilt, torch.randn(5, 3))
    assert images.shape == (5, 1, 28, 28) and images.dtype == torch.uint8 and not rebuilt.training
    if family == "GAN":
        assert generators.rebuild_discriminator(run["discriminator"], 2)(X).shape == (8,)
        with pytest.raises(TypeError, match="Generator has no encoder"):
            generators.encoded(rebuilt, IMAGES)
    else:
        assert generators.encoded(rebuilt, IMAGES).shape == (64, 3)


def test_an_unknown_family_names_the_choices():
    with pytest.raises(ValueError, match="'GAN', 'VAE', 'VAE σ', 'VAE-GAN', got 'flow'"):
        generators.train("flow", 1, 3)


def test_what_a_sweep_has_stored_is_not_computed_again(tmp_path, few_images, capsys, monkeypatch):
    settings = [dict(family="VAE", seed=s, **few_images) for s in (0, 1)]
    first = sweep(generators.train, settings[:1], workers=1, store=tmp_path)
    both = sweep(generators.train, settings, workers=1, store=tmp_path)
    assert "1 of 2 runs are on disk" in capsys.readouterr().out
    assert (
        both[0]["seconds"] == first[0]["seconds"] and len(list(tmp_path.iterdir())) == 2
    )  # seconds differ from run to run
    for what, now in (("_code", "changed since"), ("_data", ["MNIST, real at last"])):
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules[sweep.__module__], what, lambda now=now: now)
            assert (
                sweep(generators.train, settings[:1], workers=1, store=tmp_path)[0]["seconds"]
                != first[0]["seconds"]
            )
    for path in tmp_path.iterdir():
        path.write_bytes(b"cut")
    with pytest.raises(RuntimeError, match="not a whole checkpoint"):
        sweep(generators.train, settings, workers=1, store=tmp_path)
