"""The VAE against the paper: KL, reparameterization, both terms of the bound, shapes, and a
training run that resumes.
"""

import math
import os
import signal

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from labkit.models import vae as V
from labkit.training import vae as training
from labkit.training.vae import build_seeded, evaluate, learning_rate, train_vae

SHAPE = (1, 28, 28)


def blobs(n, seed=0):
    """uint8 images (n, 1, 28, 28) of one bright square at a random place: two factors, so a 2-D
    latent is enough.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.zeros(n, *SHAPE, dtype=torch.uint8)
    for image, (y, x) in zip(
        images, torch.randint(2, 18, (n, 2), generator=generator).tolist(), strict=True
    ):
        image[0, y : y + 8, x : x + 8] = 230
    return images


@pytest.fixture
def small(monkeypatch):
    """A small linear VAE under the name that `build` knows."""
    monkeypatch.setitem(
        training.MODELS, "linear", lambda latent_dim: V.linear_vae(latent_dim, hidden=(32, 16))
    )
    return lambda seed=0: build_seeded("linear", 2, seed)


@pytest.mark.parametrize("latent_dim", [1, 2, 20])
def test_kl_is_that_of_torch_distributions(latent_dim):
    mu, log_var = 2 * torch.randn(50, latent_dim), torch.randn(50, latent_dim)
    q, p = Normal(mu, (0.5 * log_var).exp()), Normal(torch.zeros_like(mu), 1.0)
    assert torch.allclose(
        V.kl_divergence(mu, log_var), kl_divergence(q, p).sum(1), rtol=1e-5, atol=1e-5
    )


def test_kl_is_zero_at_the_prior_and_positive_elsewhere():
    zero = torch.zeros(3, 4)
    assert torch.equal(V.kl_divergence(zero, zero), torch.zeros(3))
    assert (V.kl_divergence(torch.randn(100, 4), torch.randn(100, 4)) > 0).all()


def test_a_draw_has_the_mean_and_deviation_it_was_asked_for():
    mu, log_var = (
        torch.tensor([[1.5, -2.0]]).expand(100_000, 2),
        torch.tensor([[0.0, 2 * math.log(0.3)]]).expand(100_000, 2),
    )
    z = V.reparameterize(mu, log_var, torch.Generator().manual_seed(0))
    assert torch.allclose(z.mean(0), mu[0], atol=0.02)
    assert torch.allclose(z.std(0), torch.tensor([1.0, 0.3]), rtol=0.02)


def test_the_same_generator_state_gives_the_same_draw():
    mu, log_var = torch.randn(5, 3), torch.randn(5, 3)
    one, two = (V.reparameterize(mu, log_var, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)


def test_the_gradient_passes_through_the_draw():
    mu, log_var = torch.randn(6, 2, requires_grad=True), torch.randn(6, 2, requires_grad=True)
    z = V.reparameterize(mu, log_var, torch.Generator().manual_seed(0))
    (z**2).sum().backward()
    # z = μ + σε: ∂z²/∂μ = 2z and ∂z²/∂log σ² = 2z · (z − μ)/2
    assert torch.allclose(mu.grad, 2 * z.detach())
    assert torch.allclose(log_var.grad, (z * (z - mu)).detach(), atol=1e-5)


def test_the_score_of_an_average_is_the_average_gradient():
    """E[∂f/∂μ] = ∂E[f]/∂μ: for f = z², E[f] = μ² + σ², whose gradients are 2μ and σ² (in log
    σ²).
    """
    mu, log_var = (
        torch.tensor([[0.7]], requires_grad=True),
        torch.tensor([[-1.0]], requires_grad=True),
    )
    z = V.reparameterize(
        mu.expand(400_000, 1), log_var.expand(400_000, 1), torch.Generator().manual_seed(0)
    )
    (z**2).mean().backward()
    assert mu.grad.item() == pytest.approx(1.4, abs=0.01)
    assert log_var.grad.item() == pytest.approx(math.exp(-1), abs=0.01)


def test_reconstruction_is_the_bernoulli_likelihood_summed_over_pixels():
    logits, x = 3 * torch.randn(4, *SHAPE), torch.rand(4, *SHAPE).round()
    expected = -Independent(Bernoulli(logits=logits), 3).log_prob(x)
    assert torch.allclose(V.reconstruction_loss(logits, x), expected, rtol=1e-5)


def test_reconstruction_of_grey_pixels_is_at_least_their_entropy_and_reaches_it():
    x = torch.rand(4, *SHAPE)
    assert torch.allclose(V.reconstruction_loss(x.logit(), x), V.pixel_entropy(x), rtol=1e-4)
    assert (V.reconstruction_loss(torch.randn(4, *SHAPE), x) > V.pixel_entropy(x)).all()
    assert torch.equal(V.pixel_entropy(x.round()), torch.zeros(4))


def test_extreme_logits_stay_finite():
    x = torch.zeros(1, *SHAPE)
    assert V.reconstruction_loss(torch.full((1, *SHAPE), 200.0), x).item() == pytest.approx(
        200 * 784
    )


@pytest.mark.parametrize("build", [V.linear_vae, V.conv_vae])
@pytest.mark.parametrize("latent_dim", [2, 7])
def test_shapes_and_ranges(build, latent_dim):
    vae, x = build(latent_dim), torch.rand(3, *SHAPE)
    mu, log_var = vae.encode(x)
    assert mu.shape == log_var.shape == (3, latent_dim)
    images = vae.decode(mu)
    assert images.shape == (3, *SHAPE) and images.min() >= 0 and images.max() <= 1
    terms = vae(x)
    assert terms.reconstruction.shape == terms.kl.shape == terms.negative_elbo.shape == (3,)
    assert torch.equal(terms.mu, mu)
    terms.negative_elbo.mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.parameters())


def test_the_bound_is_below_the_likelihood_found_by_brute_force(small):
    """log p(x) by a sum over a fine grid of the 2-D latent plane; the ELBO, averaged over draws,
    lies below, and at −ELBO's own terms.
    """
    vae, x = small(), torch.rand(1, *SHAPE).round()
    axis = torch.linspace(-6, 6, 121)
    grid = torch.cartesian_prod(axis, axis)  # (14641, 2), cells of 0.1 × 0.1
    with torch.no_grad():
        log_likelihood = -V.reconstruction_loss(vae.decoder(grid), x.expand(len(grid), *SHAPE))
        log_prior = Normal(0.0, 1.0).log_prob(grid).sum(1)
        log_p = (log_likelihood + log_prior + 2 * math.log(0.1)).logsumexp(0)
        mu, log_var = vae.encode(x)
        log_q = Normal(mu, (0.5 * log_var).exp()).log_prob(grid).sum(1)
        q = (log_q + 2 * math.log(0.1)).exp()
        elbo = (q * (log_likelihood + log_prior - log_q)).sum()  # E_q[log p(x, z) − log q(z|x)]
        draws = vae(x.expand(20_000, *SHAPE), torch.Generator().manual_seed(0)).negative_elbo.mean()
    assert q.sum().item() == pytest.approx(1, abs=1e-3)
    assert -draws.item() == pytest.approx(elbo.item(), abs=0.05)
    assert elbo < log_p


def test_means_and_decoded_images_do_not_depend_on_the_batches(small):
    vae, images = small().eval(), blobs(7)
    assert torch.allclose(
        V.posterior_means(vae, images), V.posterior_means(vae, images, batch_size=2), atol=1e-6
    )
    z = torch.randn(7, 2)
    assert V.decoded(vae, z).dtype == torch.uint8
    assert (
        V.decoded(vae, z, batch_size=3).int() - V.decoded(vae, z).int()
    ).abs().max() <= 1  # a rounding edge


def test_training_lowers_the_bound_and_keeps_what_it_was_asked_for(small):
    images, test = blobs(1000), blobs(100, seed=1)
    vae = small()
    before = evaluate(vae, test).negative_elbo.mean()
    run = train_vae(vae, images, test, epochs=6, batch_size=32, snapshots=(2, 6), show=False)
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 4, 5, 6]
    assert run.history[-1]["test"] < 0.7 * before
    for row in run.history:
        assert row["test"] == pytest.approx(row["reconstruction"] + row["kl"], rel=1e-3)
    assert {e: mu.shape for e, mu in run.latents.items()} == {e: (100, 2) for e in range(1, 7)}
    assert run.weights.keys() == {2, 6} and not run.model.training
    assert all(torch.equal(v, run.weights[6][k]) for k, v in run.model.state_dict().items())
    assert any(not torch.equal(v, run.weights[6][k]) for k, v in run.weights[2].items())


def test_training_repeats_itself_by_seed_and_leaves_the_global_generator_alone(small):
    images, before = blobs(200), torch.get_rng_state()
    runs = [
        train_vae(small(s), images, images[:50], 2, seed=s, batch_size=32, show=False)
        for s in (0, 0, 1)
    ]
    assert torch.equal(before, torch.get_rng_state())
    assert runs[0].history == runs[1].history != runs[2].history


def test_a_run_interrupted_in_mid_epoch_resumes_to_the_same_result(small, tmp_path, monkeypatch):
    path, images, test = tmp_path / "vae.partial", blobs(320), blobs(40, seed=1)
    settings = dict(epochs=3, batch_size=32, snapshots=(1, 3), show=False)
    whole = train_vae(small(), images, test, **settings)

    def interrupted(step, *args):
        if step == 14:  # in the second of three epochs of 10 steps
            os.kill(os.getpid(), signal.SIGINT)
        return learning_rate(step, *args)

    monkeypatch.setattr(training, "learning_rate", interrupted)
    with pytest.raises(KeyboardInterrupt, match="step 15 of 30"):
        train_vae(small(), images, test, checkpoint=path, **settings)
    monkeypatch.setattr(training, "learning_rate", learning_rate)
    torch.rand(5)  # whatever the student does in between
    resumed = train_vae(small(), images, test, checkpoint=path, **settings)
    assert resumed.history == whole.history and not path.exists()
    assert all(torch.equal(resumed.latents[e], mu) for e, mu in whole.latents.items())
    for epoch, state in whole.weights.items():
        assert all(torch.equal(resumed.weights[epoch][k], v) for k, v in state.items())


def test_a_loss_that_is_not_finite_stops_with_advice(small):
    vae = small()
    with torch.no_grad():
        vae.decoder[0].weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        train_vae(vae, blobs(64), blobs(8), epochs=1, batch_size=32, show=False)


def test_fewer_images_than_a_batch_are_refused(small):
    with pytest.raises(ValueError, match="smaller batch_size"):
        train_vae(small(), blobs(10), blobs(5), epochs=1, show=False)


def test_an_unknown_model_names_the_choices():
    with pytest.raises(ValueError, match="'linear', 'conv'"):
        training.build("transformer", 2)
