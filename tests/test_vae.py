"""The VAE against the paper: KL, reparameterization, both terms of the bound, shapes, and training
that resumes; autoencoders and inpainters, which train alike.
"""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from resuming import interrupt_in, same
from torch import nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, kl_divergence

from labkit import folders, weights
from labkit.models import draw, encode
from labkit.models import vae as V
from labkit.models.autoencoder import Autoencoder, Inpainter
from labkit.studies.gan_vs_vae import GaussianVAE, gaussian_loss
from labkit.studies.latent_grid import beta_vaes
from labkit.training import vae as training
from labkit.training.vae import (
    ReconstructionSettings,
    evaluate,
    learning_rate,
    mean_squared_error,
    train_autoencoder,
    train_vae,
)

SHAPE = (1, 28, 28)
SETTINGS = ReconstructionSettings(2, batch_size=32)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def blobs(n, seed=0):
    """uint8 images (n, 1, 28, 28) of one bright square at a random place: two factors, so a 2-D
    latent is enough.
    """
    images = torch.zeros(n, *SHAPE, dtype=torch.uint8)
    places = torch.randint(2, 18, (n, 2), generator=seeded(seed)).tolist()
    for image, (y, x) in zip(images, places, strict=True):
        image[0, y : y + 8, x : x + 8] = 230
    return images


IMAGES, TEST = blobs(160), blobs(40, seed=1)
# two classes that a model can only get right by its label: dark and bright images
LABELS = torch.arange(160) % 2
DARK_BRIGHT = (
    200 * LABELS[:, None, None, None] + torch.randint(0, 50, (160, *SHAPE), generator=seeded(2))
).byte()


def small(seed=0, **changed):
    torch.manual_seed(seed)
    return V.linear_vae(2, **{"hidden": (32, 16), **changed})


def train(vae=None, images=IMAGES, checkpoint=None, labels=None, test=TEST, **settings):
    plan = replace(SETTINGS, **settings)
    return train_vae(vae or small(), images, test, plan, labels, checkpoint)


@pytest.mark.parametrize("latent_dim", [1, 2, 20])
def test_kl_is_that_of_torch_distributions(latent_dim):
    mu, log_var = 2 * torch.randn(50, latent_dim), torch.randn(50, latent_dim)
    q, p = Normal(mu, (0.5 * log_var).exp()), Normal(torch.zeros_like(mu), 1.0)
    expected = kl_divergence(q, p).sum(1)
    assert torch.allclose(V.kl_divergence(mu, log_var), expected, rtol=1e-5, atol=1e-5)


def test_kl_is_zero_at_the_prior_and_positive_elsewhere():
    zero = torch.zeros(3, 4)
    assert torch.equal(V.kl_divergence(zero, zero), torch.zeros(3))
    assert (V.kl_divergence(torch.randn(100, 4), torch.randn(100, 4)) > 0).all()


def test_a_draw_has_the_mean_and_deviation_it_was_asked_for():
    mu = torch.tensor([[1.5, -2.0]]).expand(100_000, 2)
    log_var = torch.tensor([[0.0, 2 * math.log(0.3)]]).expand(100_000, 2)
    z = V.reparameterize(mu, log_var, seeded(0))
    assert torch.allclose(z.mean(0), mu[0], atol=0.02)
    assert torch.allclose(z.std(0), torch.tensor([1.0, 0.3]), rtol=0.02)
    assert z.T.corrcoef()[0, 1].abs() < 0.02


def test_the_same_generator_state_gives_the_same_draw():
    mu, log_var = torch.randn(5, 3), torch.randn(5, 3)
    one, two = (V.reparameterize(mu, log_var, seeded(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(V.reparameterize(mu, log_var), V.reparameterize(mu, log_var))


def test_the_gradient_passes_through_the_draw():
    mu, log_var = torch.randn(6, 2, requires_grad=True), torch.randn(6, 2, requires_grad=True)
    z = V.reparameterize(mu, log_var, seeded(0))
    (z**2).sum().backward()
    # z = μ + σε: ∂z²/∂μ = 2z and ∂z²/∂log σ² = 2z · (z − μ)/2
    assert torch.allclose(mu.grad, 2 * z.detach())
    assert torch.allclose(log_var.grad, (z * (z - mu)).detach(), atol=1e-5)


def test_the_mean_of_the_gradients_is_the_gradient_of_the_mean():
    """For f = z², E[f] = μ² + σ², whose gradients are 2μ and σ² (in log σ²)."""
    mu, log_var = (torch.tensor([[v]], requires_grad=True) for v in (0.7, -1.0))
    z = V.reparameterize(mu.expand(400_000, 1), log_var.expand(400_000, 1), seeded(0))
    (z**2).mean().backward()
    assert mu.grad.item() == pytest.approx(1.4, abs=0.01)
    assert log_var.grad.item() == pytest.approx(math.exp(-1), abs=0.01)


def test_reconstruction_is_the_bernoulli_likelihood_summed_over_pixels():
    logits, x = 3 * torch.randn(4, *SHAPE), torch.rand(4, *SHAPE).round()
    expected = -Independent(Bernoulli(logits=logits), 3).log_prob(x)
    assert torch.allclose(V.reconstruction_loss(logits, x), expected, rtol=1e-5)


def test_a_decoder_that_knows_nothing_costs_log_two_a_pixel():
    loss = V.reconstruction_loss(torch.zeros(2, *SHAPE), torch.rand(2, *SHAPE))
    assert loss.tolist() == pytest.approx([543.43] * 2, abs=0.01)  # 784 ln 2


def test_reconstruction_of_grey_pixels_is_at_least_their_entropy_and_reaches_it():
    x = torch.rand(4, *SHAPE)
    assert torch.allclose(V.reconstruction_loss(x.logit(), x), V.pixel_entropy(x), rtol=1e-4)
    assert (V.reconstruction_loss(torch.randn(4, *SHAPE), x) > V.pixel_entropy(x)).all()
    assert torch.equal(V.pixel_entropy(x.round()), torch.zeros(4))


def test_extreme_logits_stay_finite():
    loss = V.reconstruction_loss(torch.full((1, *SHAPE), 200.0), torch.zeros(1, *SHAPE))
    assert loss.item() == pytest.approx(200 * 784)


def test_the_gaussian_loss_is_that_of_torch_and_least_where_sigma_is_the_error():
    mean, x = torch.rand(2, 5, *SHAPE, generator=seeded(0))
    sigma = torch.tensor(0.3)
    expected = -Normal(mean, sigma).log_prob(x).flatten(1).sum(1)
    assert torch.allclose(gaussian_loss(mean, x, sigma.log()), expected, rtol=1e-5)
    best = (mean - x).square().mean().sqrt()
    losses = [gaussian_loss(mean, x, (best * f).log()).mean() for f in (0.8, 1.0, 1.25)]
    assert losses[1] < losses[0] and losses[1] < losses[2]


MODELS = {
    "linear": (partial(V.linear_vae, hidden=(32, 16)), SHAPE),
    "Gaussian": (partial(V.linear_vae, hidden=(32, 16), family=GaussianVAE), SHAPE),
    "convolutional": (partial(V.conv_vae, base=4), SHAPE),
    "faces": (partial(V.face_vae, base=4), (3, 64, 64)),
}


@pytest.mark.parametrize(("build", "shape"), MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("latent_dim", [2, 7])
def test_shapes_ranges_and_a_gradient_for_every_weight(build, shape, latent_dim):
    vae, x = build(latent_dim), torch.rand(3, *shape)
    mu, log_var = vae.encode(x)
    assert mu.shape == log_var.shape == (3, latent_dim) and vae.latent_dim == latent_dim
    images = vae.decode(mu)
    assert images.shape == (3, *shape) and images.min() >= 0 and images.max() <= 1
    terms = vae(x, seeded(0))
    assert terms.reconstruction.shape == terms.kl.shape == terms.negative_elbo.shape == (3,)
    assert torch.equal(terms.mu, mu)
    assert torch.equal(terms.negative_elbo, terms.reconstruction + terms.kl)
    assert torch.allclose(terms.kl, V.kl_divergence(mu, log_var))
    terms.negative_elbo.mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.parameters())


def test_the_activation_is_what_was_asked_for():
    leaky, elu = small(), small(activation=nn.ELU)
    assert same([*leaky.parameters()], [*elu.parameters()])
    assert {type(m) for m in elu.modules()} - {type(m) for m in leaky.modules()} == {nn.ELU}


def test_the_bound_is_below_the_likelihood_found_by_brute_force():
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
        draws = vae(x.expand(20_000, *SHAPE), seeded(0)).negative_elbo.mean()
    assert q.sum().item() == pytest.approx(1, abs=1e-3)
    assert -draws.item() == pytest.approx(elbo.item(), abs=0.05)
    assert elbo < log_p


def test_the_bound_of_a_linear_gaussian_model_is_its_likelihood_at_the_true_posterior():
    """p(x) = N(0, WWᵀ + s²I) and p(z|x) are known: −ELBO is −log p(x) there, and more elsewhere."""
    w, s = torch.randn(4, 2, generator=seeded(0)), 0.5
    x = torch.randn(3, 4, generator=seeded(1))
    log_p = MultivariateNormal(torch.zeros(4), w @ w.T + s**2 * torch.eye(4)).log_prob(x)
    # a rotation of z makes the posterior's covariance diagonal, as q's is
    w = w @ torch.linalg.svd(w).Vh.T
    precision = torch.eye(2) + w.T @ w / s**2
    mu, log_var = x @ w / s**2 @ precision.inverse(), -precision.diag().log().expand(3, 2)

    def negative_elbo(mu, log_var, n=40_000):
        many = [part.repeat_interleave(n, 0) for part in (mu, log_var, x)]
        mean = V.reparameterize(*many[:2], seeded(2)) @ w.T
        errors = gaussian_loss(mean, many[2], torch.tensor(s).log())
        return errors.view(3, n).mean(1) + V.kl_divergence(mu, log_var)

    assert torch.allclose(negative_elbo(mu, log_var), -log_p, atol=0.05)
    for other in ((mu + 0.3, log_var), (mu, log_var + 0.5)):
        assert (negative_elbo(*other) > -log_p + 0.05).all()


def test_codes_and_images_do_not_depend_on_the_batches():
    vae, images = small().eval(), blobs(7)
    mu = vae.encode(images / 255)[0]
    assert torch.allclose(encode(vae, images), mu, atol=1e-6)
    assert torch.allclose(encode(vae, images, batch_size=2), mu, atol=1e-6)
    assert same(
        encode(vae, images, seed=0, batch_size=2), encode(vae, images, seed=0, batch_size=2)
    )
    z = torch.randn(7, 2)
    drawn = draw(vae, z)
    assert drawn.dtype == torch.uint8 and drawn.shape == (7, *SHAPE)
    assert torch.equal(drawn, (vae.decode(z) * 255).round().byte())
    assert (draw(vae, z, batch_size=3).int() - drawn.int()).abs().max() <= 1  # a rounding edge


def test_codes_are_the_means_or_scatter_around_them_as_the_encoder_says():
    vae = small()
    vae.encoder[-1].weight.data.zero_()
    vae.encoder[-1].bias.data = torch.tensor([1.0, -2.0, math.log(0.25), math.log(0.04)])
    black = torch.zeros(4000, *SHAPE, dtype=torch.uint8)
    assert torch.allclose(encode(vae, black), torch.tensor([1.0, -2.0]))
    z = encode(vae, black, seed=0)
    assert torch.allclose(z.mean(0), torch.tensor([1.0, -2.0]), atol=0.05)
    assert torch.allclose(z.std(0), torch.tensor([0.5, 0.2]), atol=0.03)
    assert same(z, encode(vae, black, seed=0)) and not same(z, encode(vae, black, seed=1))


def test_training_lowers_the_bound_and_keeps_what_it_was_asked_for():
    before = evaluate(small(), TEST).negative_elbo.mean()
    run = train(images=blobs(640), epochs=6, stages=(0, 2, 2.01, 2.5), lr=5e-3)
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 4, 5, 6]
    assert run.history[-1]["test"] < 0.7 * before and not run.model.training
    for row in run.history:
        assert row["test"] == pytest.approx(row["reconstruction"] + row["kl"], rel=1e-3)
    last = evaluate(run.model, TEST)  # training scores in bfloat16 where that is faster
    assert run.history[-1]["test"] == pytest.approx(last.negative_elbo.mean().item(), rel=1e-3)
    assert run.history[-1]["kl"] == pytest.approx(last.kl.mean().item(), rel=1e-3)
    seen = evaluate(run.model, blobs(640)[:40]).negative_elbo.mean().item()
    assert run.history[-1]["train"] == pytest.approx(seen, rel=1e-3)
    assert sorted(run.weights) == [0, 2, 2.01, 2.5, 6]
    assert same(run.weights[0], small().state_dict()) and same(run.weights[2], run.weights[2.01])
    assert same(run.weights[6], run.model.state_dict())
    assert not same(run.weights[2], run.weights[2.5])


def test_an_epoch_that_is_not_whole_gets_a_row_at_the_end():
    run = train(epochs=1.5)
    assert [row["epoch"] for row in run.history] == [1, 1.6] and list(run.weights) == [1.5]
    assert list(train(epochs=0.01).weights) == [0.01]


def test_training_repeats_itself_by_seed_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    torch.manual_seed(0)
    runs = []
    for seed in (0, 0, 1):
        vae, torch_state = small(), torch.get_rng_state()
        runs.append(train(vae, seed=seed))
        assert torch.equal(torch_state, torch.get_rng_state())
    torch.set_rng_state(before)
    assert runs[0].history == runs[1].history != runs[2].history


@pytest.mark.parametrize("changed", [dict(lr=1e-3), dict(batch_size=16), dict(decay=1.0)])
def test_every_setting_is_used(changed):
    assert train(**changed).history[-1]["test"] != train().history[-1]["test"]


def test_the_rate_warms_up_and_falls_exponentially():
    settings = ReconstructionSettings(1, lr=0.1, decay=0.04)
    rates = [learning_rate(step, 10_000, settings) for step in range(10_000)]
    assert rates[0] == pytest.approx(0.1 / 200) and rates[99] == pytest.approx(0.05, rel=0.05)
    assert max(rates) == rates[199] and rates[5000] == pytest.approx(0.1 * 0.2)
    assert rates[-1] == pytest.approx(0.004, rel=0.01)
    ratios = [b / a for a, b in zip(rates[200:], rates[201:], strict=False)]
    assert max(ratios) == pytest.approx(min(ratios)) and max(ratios) < 1
    short = [learning_rate(step, 100, replace(settings, decay=1.0)) for step in range(100)]
    assert short[:10] == pytest.approx([0.01 * k for k in range(1, 11)])
    assert short[9:] == pytest.approx([0.1] * 91)


def test_training_follows_the_schedule(monkeypatch):
    """A rate of 0 from some step on leaves the weights as they are."""
    monkeypatch.setattr(training, "learning_rate", lambda step, steps, s: 1e-3 * (step < 5))
    run = train(stages=(0.8, 1))
    assert same(run.weights[1], run.weights[2]) and not same(run.weights[0.8], run.weights[1])


def test_evaluation_is_the_same_twice_and_in_eval_mode():
    vae = small().train()
    modes, forward = [], vae.encoder.forward

    def seen(x):
        modes.append(vae.training)
        return forward(x)

    vae.encoder.forward = seen
    first, again = evaluate(vae, TEST, batch_size=40), evaluate(vae, TEST, batch_size=40)
    assert same(list(first), list(again)) and vae.training and modes == [False, False]
    assert first.mu.shape == (40, 2) and not first.mu.requires_grad
    other = evaluate(vae, TEST, seed=1)
    assert not torch.equal(first.reconstruction, other.reconstruction)
    assert torch.equal(first.kl, other.kl)
    parts = evaluate(vae, TEST, batch_size=7)
    assert (
        torch.allclose(parts.kl, first.kl, rtol=1e-2)
        and not evaluate(vae.eval(), TEST)[0].isnan().any()
    )


def test_a_run_interrupted_in_mid_epoch_resumes_to_the_same_result(tmp_path, monkeypatch):
    path, settings = tmp_path / "vae.partial", dict(epochs=3, stages=(0, 1))
    whole = train(**settings)
    interrupt_in(monkeypatch, 7)  # in the second of three epochs of 5 steps
    with pytest.raises(KeyboardInterrupt, match="step 8 of 15"):
        train(checkpoint=path, **settings)
    monkeypatch.undo()
    torch.rand(5)  # whatever the student does in between
    resumed = train(checkpoint=path, **settings)
    assert resumed.history == whole.history and same(resumed.weights, whole.weights)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changed",
    [
        dict(images=IMAGES.flip(0)),
        dict(images=IMAGES.flip(3)),
        dict(lr=1e-3),
        dict(decay=0.5),
        dict(vae=partial(small, activation=nn.ELU)),
        dict(vae=partial(small, hidden=(32, 8))),
        dict(vae=partial(small, seed=1)),
    ],
)
def test_a_checkpoint_of_another_training_is_left_alone(tmp_path, monkeypatch, capsys, changed):
    def run(at, vae=small, **settings):
        interrupt_in(monkeypatch, at)
        with pytest.raises(KeyboardInterrupt, match=f"go on from step {at + 1}"):
            train(vae(), checkpoint=tmp_path / "vae.partial", **settings)
        monkeypatch.undo()

    run(3)
    run(1, **changed)
    assert "resuming" not in capsys.readouterr().out and len(list(tmp_path.iterdir())) == 2
    run(5)
    assert "resuming VAE at step 4" in capsys.readouterr().out


def test_a_loss_that_is_not_finite_stops_with_advice():
    vae = small()
    with torch.no_grad():
        vae.decoder[0].weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="loss is nan at step 0.*smaller learning rate"):
        train(vae)


REFUSED = {
    "fewer than a batch": (dict(images=IMAGES[:10]), "smaller batch_size"),
    "floats": (dict(images=IMAGES / 255), "uint8"),
    "floats to test on": (dict(test=TEST / 255, epochs=0.2), "uint8"),
    "a stage beyond the end": (dict(stages=(2.5,)), "stage 2.5 is not in a run of 2 epochs"),
}


@pytest.mark.parametrize(("wrong", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trained_on_is_refused(wrong, message):
    wrong = dict(wrong)
    with pytest.raises(ValueError, match=message):
        train(**wrong)
    images, test = wrong.pop("images", IMAGES), wrong.pop("test", TEST)
    with pytest.raises(ValueError, match=message):
        train_autoencoder(Blurred(), images, test, replace(SETTINGS, **wrong))


@pytest.mark.parametrize("score", [evaluate, encode, mean_squared_error])
def test_floats_are_refused_by_what_scores_and_encodes(score):
    with pytest.raises(ValueError, match="uint8 images, got torch.float32"):
        score(small(), TEST / 255)


def test_a_generator_has_no_encoder():
    with pytest.raises(TypeError, match="a Linear has no encoder"):
        encode(nn.Linear(2, 2), TEST)


class Blurred(nn.Module):
    """An autoencoder of one number: its reconstruction is grey · sigmoid(weight)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x * self.weight.sigmoid()


def test_an_autoencoders_error_is_the_mean_square_of_pixels_in_0_to_1():
    x = IMAGES / 255  # a half of it is missing
    assert mean_squared_error(Blurred(), IMAGES) == pytest.approx((x / 2).square().mean().item())
    run = train_autoencoder(Blurred(), IMAGES, TEST, replace(SETTINGS, lr=0.5, epochs=4))
    assert list(run.history[0]) == ["step", "epoch", "train", "test"]
    assert run.history[-1]["test"] < 0.1 * mean_squared_error(Blurred(), TEST)
    seen = mean_squared_error(run.model, IMAGES[:40])
    assert run.history[-1]["train"] == pytest.approx(seen)


@pytest.fixture(scope="module")
def photographs():
    """Blurred noise, so that there is something to learn: uint8 (96, 3, 64, 64)."""
    noise = torch.rand(96, 3, 8, 8, generator=seeded(0))
    return (255 * nn.functional.interpolate(noise, size=64, mode="bilinear")).byte()


def test_an_inpainter_gets_a_mask_an_image_another_at_each_step_but_the_same_to_be_scored(
    photographs,
):
    masks = []

    class Seen(Inpainter):
        def forward(self, x, mask):
            masks.append((self.training, mask.clone()))
            return super().forward(x, mask)

    torch.manual_seed(0)
    run = train_autoencoder(Seen(4, 2), photographs, photographs[:8], SETTINGS)
    assert len(run.history) == 2 and all(m.shape[1:] == (1, 64, 64) for _, m in masks)
    batches = [m for _, m in masks if len(m) == 32]
    assert len(batches) == 6 and len(torch.stack(batches).unique(dim=0)) == 6
    scores = [m for _, m in masks if len(m) == 8]
    assert len(scores) == 4 and all(torch.equal(m, scores[0]) for m in scores)
    assert len(scores[0].unique(dim=0)) > 4  # an image has its own


@pytest.mark.parametrize("build", [Autoencoder, Inpainter])
def test_autoencoders_of_photographs_repeat_themselves_and_resume(
    photographs, build, tmp_path, monkeypatch
):
    def run(checkpoint=None):
        torch.manual_seed(0)
        plan = replace(SETTINGS, stages=(1,))
        return train_autoencoder(build(4, 2), photographs, photographs[:8], plan, checkpoint)

    whole = run()
    interrupt_in(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt, match="go on from step 5"):
        run(tmp_path / "faces.partial")
    monkeypatch.undo()
    resumed = run(tmp_path / "faces.partial")
    assert resumed.history == whole.history and same(resumed.weights, whole.weights)
    assert list(whole.weights) == [1, 2]


def test_a_conditional_vae_has_the_bound_of_a_vae():
    torch.manual_seed(0)
    vae, x, y = V.ConditionalVAE(4), torch.rand(6, *SHAPE), torch.tensor([0, 1, 2, 9, 9, 0])
    terms = vae(x, y, seeded(0))
    mu, log_var = vae.encode(x, y)
    normal = Normal(mu, (0.5 * log_var).exp())
    assert torch.allclose(terms.kl, kl_divergence(normal, Normal(0.0, 1.0)).sum(1), rtol=1e-4)
    assert (terms.reconstruction > 0).all() and torch.equal(terms.mu, mu)
    assert not torch.allclose(mu, vae.encode(x, 9 - y)[0])


def test_a_conditional_vae_learns_to_obey_the_label():
    torch.manual_seed(0)
    vae, parts = V.ConditionalVAE(2, hidden=(32, 16), base=4), (LABELS, LABELS[:40])
    labels = dict(images=DARK_BRIGHT, labels=parts, test=DARK_BRIGHT[:40])
    run = train(vae, **labels, epochs=20, batch_size=16)
    asked = torch.arange(2).repeat_interleave(20)
    dark, bright = draw(vae, torch.randn(40, 2), asked).double().flatten(1).mean(1).view(2, 20)
    assert dark.mean() < 60 and bright.mean() > 180
    assert run.history[-1]["test"] < run.history[0]["test"]
    right, wrong = (
        evaluate(vae, DARK_BRIGHT, y).negative_elbo.mean() for y in (LABELS, 1 - LABELS)
    )
    assert right < wrong
    scored = evaluate(vae, DARK_BRIGHT[:40], LABELS[:40]).negative_elbo.mean().item()
    assert run.history[-1]["test"] == pytest.approx(scored, rel=1e-3)


SUPPLIED = {
    "vae_mnist": V.linear_vae,
    "vae_fashion": V.linear_vae,
    "beta_vaes_mnist": beta_vaes,
    "vae_cats": V.face_vae,
    "ae_cats": Autoencoder,
    "inpaint_cats": Inpainter,
}


@pytest.mark.parametrize(("name", "build"), SUPPLIED.items(), ids=SUPPLIED)
def test_the_supplied_weights_fit_and_are_small(name, build):
    model = build()
    facts = weights.load(name, model)
    assert facts["command"].endswith(f"labkit weights {name}") and not model.training
    assert (folders.weights() / facts["file"]).stat().st_size < 3e6
