"""The hybrids: losses as the papers have them, who gets which gradient, training that resumes, a
density that is found again.
"""

from dataclasses import replace

import pytest
import torch
from resuming import interrupt_in, same
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from labkit.models import draw, encode
from labkit.models.gan import Discriminator
from labkit.models.vae import ConditionalVAE, kl_divergence, linear_vae
from labkit.studies.conditional import class_densities, sample_class_codes
from labkit.studies.gan_vs_vae import GaussianVAE
from labkit.studies.second_stage import TwoStage, fit_mixture, sample_codes
from labkit.studies.vaegan import GAME, VAEGAN, VAEGANSettings, train_vaegan
from labkit.training import gan

IMAGES = torch.randint(
    0, 256, (64, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
X = IMAGES[:8] / 255
SHORT = replace(GAME, epochs=2, batch_size=16, log_every=1)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def pair(seed=0, latent_dim=4):
    torch.manual_seed(seed)
    return VAEGAN(latent_dim, base=2), Discriminator(2)


def train(networks=None, images=IMAGES, checkpoint=None, precision=0.1, gamma=30.0, **game):
    settings = VAEGANSettings(replace(SHORT, **game), precision, gamma)
    return train_vaegan(*(networks or pair()), images, settings, checkpoint)


def two_blobs(n=2000):
    """Codes (n, 2) of two narrow Gaussians at (−3, 0) and (3, 1), the first with a quarter of the
    mass.
    """
    z = 0.5 * torch.randn(n, 2, generator=seeded(1))
    first = torch.arange(n) < n // 4
    return torch.where(first[:, None], z + torch.tensor([-3.0, 0.0]), z + torch.tensor([3.0, 1.0]))


def test_the_vaegan_has_its_shapes_and_ranges():
    model, discriminator = pair()
    mu, log_var = model.encode(X)
    assert mu.shape == log_var.shape == (8, 4) and model.latent_dim == 4
    images = model(mu)
    assert images.shape == X.shape and images.abs().max() <= 1
    assert torch.allclose(model.decode(mu), (images + 1) / 2, atol=1e-6)
    terms = model.terms(X, discriminator, seeded(0))
    assert terms.feature_error.shape == terms.kl.shape == (8,)
    assert torch.allclose(terms.kl, kl_divergence(mu, log_var))


def test_the_feature_error_is_zero_for_a_perfect_reconstruction_and_else_relative_to_the_features():
    model, discriminator = pair()
    model.generator.forward = lambda z: 2 * X - 1
    assert model.terms(X, discriminator).feature_error.abs().max() < 1e-9
    grey = torch.zeros_like(X)
    model.generator.forward = lambda z: grey
    real, theirs = discriminator.features(2 * X - 1), discriminator.features(grey)
    expected = (real - theirs).square().sum(1) / 2 / real.square().mean()
    found = model.terms(X, discriminator).feature_error
    assert torch.allclose(found, expected, rtol=1e-4) and found.min() > 0


def test_the_game_moves_the_generator_alone_and_the_features_move_both():
    model, discriminator = pair()
    gan.generator_loss(discriminator(model(torch.randn(8, 4)))).backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.generator.parameters())
    model.zero_grad()
    model.terms(X, discriminator, seeded(0)).feature_error.mean().backward()
    first = model.encoder[0], model.generator.layers[0]
    assert all(layer.weight.grad.abs().max() > 0 for layer in first)


def test_encoder_and_generator_minimise_kl_features_and_game(monkeypatch):
    seen, step = [], gan.gan_step

    def recorded(players, x, *arguments):
        terms = step(players, x, *arguments)
        seen.append((terms, x))
        return terms

    monkeypatch.setattr(gan, "gan_step", recorded)
    parts, terms_of = [], VAEGAN.terms

    def terms(self, x, *arguments):
        found = terms_of(self, x, *arguments)
        parts.append((x, *(part.mean().item() for part in found)))
        return found

    monkeypatch.setattr(VAEGAN, "terms", terms)
    networks = pair()
    networks[0].encoder[-1].bias.data += 1  # a KL that counts
    train(networks, precision=0.5, gamma=3.0, epochs=0.5)
    for (found, seen_x), (x, feature_error, kl) in zip(seen, parts, strict=True):
        expected = 0.5 * feature_error + kl + 3 * found.g_loss.item()
        assert found.total.item() == pytest.approx(expected, rel=1e-4)
        assert torch.allclose(2 * x - 1, seen_x, atol=1e-6)  # the encoder's images are in [0, 1]


def test_a_free_code_reconstructs_and_a_dear_one_collapses():
    stripes = torch.zeros(64, 1, 28, 28, dtype=torch.uint8)
    for k, image in enumerate(stripes):
        image[0, :, 7 * (k % 4) : 7 * (k % 4) + 7] = 255
    kl = {}
    for precision in (10.0, 1e-6):
        networks = pair()
        model = train(
            networks, stripes, precision=precision, gamma=0.0, epochs=40, ema=0.0
        ).generator
        mu, log_var = model.encode(stripes / 255)
        kl[precision] = kl_divergence(mu, log_var).mean().item()
    assert kl[10.0] > 1 > 0.1 > kl[1e-6]


def test_training_repeats_itself_and_leaves_a_model_to_draw_from():
    runs = [train(seed=seed) for seed in (0, 0, 1)]
    assert runs[0].history == runs[1].history != runs[2].history
    assert same(runs[0].weights, runs[1].weights) and list(runs[0].weights) == [2]
    model = runs[0].generator
    assert isinstance(model, VAEGAN) and not model.training
    assert draw(model, torch.randn(3, 4)).shape == (3, 1, 28, 28)
    assert encode(model, IMAGES).shape == (64, 4)


@pytest.mark.parametrize("part", ["encoder.0.weight", "generator.layers.0.weight"])
def test_encoder_and_generator_are_trained_and_averaged(part):
    before = pair()[0].state_dict()[part]
    plain, averaged = (train(ema=decay).generator.state_dict()[part] for decay in (0.0, 0.9))
    assert not torch.equal(plain, before) and not torch.equal(plain, averaged)


def test_training_interrupted_resumes_to_the_same_result(tmp_path, monkeypatch):
    path, whole = tmp_path / "vaegan.partial", train(stages=(1,))
    interrupt_in(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt, match="go on from step 6"):
        train(stages=(1,), checkpoint=path)
    monkeypatch.undo()
    resumed = train(stages=(1,), checkpoint=path)
    assert resumed.history == whole.history and same(resumed.weights, whole.weights)
    assert list(whole.weights) == [1, 2]


@pytest.mark.parametrize(
    "changed", [dict(precision=0.2), dict(gamma=3.0), dict(r1=2), dict(images=IMAGES.flip(3))]
)
def test_a_checkpoint_of_another_training_is_left_alone(tmp_path, monkeypatch, capsys, changed):
    for at, settings in ((3, {}), (1, changed)):
        interrupt_in(monkeypatch, at)
        with pytest.raises(KeyboardInterrupt, match=f"go on from step {at + 1}"):
            train(checkpoint=tmp_path / "vaegan.partial", **settings)
        monkeypatch.undo()
    assert "resuming" not in capsys.readouterr().out and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(images=IMAGES[:15]), "a batch has 16 images and there are 15"),
        (dict(images=IMAGES / 255), "uint8"),
        (dict(stages=(0.1, 2.1)), "stage 2.1 is not in a run of 2 epochs"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        train(**wrong)


def test_a_loss_that_is_no_number_stops_at_once_with_advice():
    networks = pair()
    networks[0].encoder[0].weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="total is nan at step 0.*smaller learning rate"):
        train(networks, log_every=100)


def test_a_mixture_finds_the_density_it_was_drawn_from():
    z = two_blobs()
    mixture = fit_mixture(z, components=2)
    means, shares = mixture.component_distribution.mean, mixture.mixture_distribution.probs
    order = means[:, 0].argsort()
    assert torch.allclose(means[order], torch.tensor([[-3.0, 0.0], [3.0, 1.0]]), atol=0.1)
    assert torch.allclose(shares[order], torch.tensor([0.25, 0.75]), atol=0.02)
    drawn = sample_codes(mixture, 4000, seed=2)
    assert torch.allclose(drawn.mean(0), z.mean(0), atol=0.15)
    assert torch.allclose(drawn.T.cov(), z.T.cov(), atol=0.4)


def test_codes_follow_the_seed_and_leave_the_global_generator_alone():
    mixture, before = fit_mixture(two_blobs(), components=2), torch.get_rng_state()
    first, again, other = (sample_codes(mixture, 5, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_density_of_a_mixture_integrates_to_one():
    mixture = fit_mixture(two_blobs(), components=3)
    axis = torch.linspace(-8, 8, 161)
    mass = mixture.log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * 0.1**2
    assert mass.item() == pytest.approx(1, abs=0.01)


def test_a_mixture_of_one_is_the_gaussian_of_the_codes():
    z = two_blobs()
    mixture = fit_mixture(z, components=1)
    expected = MultivariateNormal(z.mean(0), z.T.cov())
    assert torch.allclose(mixture.log_prob(z[:20]), expected.log_prob(z[:20]), atol=0.01)


def test_too_few_codes_for_a_mixture_are_refused():
    with pytest.raises(ValueError, match="50 components in 2 dimensions need 150 codes, got 149"):
        fit_mixture(two_blobs(149), 50)
    fit_mixture(two_blobs(150), 50)


def test_the_second_stage_draws_where_the_codes_are_and_the_prior_does_not():
    torch.manual_seed(0)
    vae = linear_vae(2, (16,))
    shifted = two_blobs() + 20  # far outside the prior
    two_stage = TwoStage(vae, fit_mixture(shifted, 2))
    drawn, near = two_stage.draw(300, seed=0), draw(vae, shifted)
    far = draw(vae, torch.randn(300, 2, generator=seeded(0)))
    means = [images.float().mean(0) for images in (drawn, near, far)]
    assert (means[0] - means[1]).abs().mean() < (means[0] - means[2]).abs().mean() / 4
    assert torch.equal(drawn, two_stage.draw(300, seed=0)) and drawn.dtype == torch.uint8
    parts = MultivariateNormal(torch.zeros(1, 3), torch.eye(3)[None])
    other = MixtureSameFamily(Categorical(torch.ones(1)), parts)
    with pytest.raises(ValueError, match=r"codes have 2 dimensions, the density has \(3,\)"):
        TwoStage(vae, other)


def test_an_encoder_sees_images_in_the_range_of_its_kind():
    seen, ends = [], torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    for model in (linear_vae(2, (16,)), VAEGAN(2, 2)):
        model.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        encode(model, ends.expand(-1, 1, 28, 28))
    assert [(x[0].unique().item(), x[1].unique().item()) for x in seen] == [(0, 1), (-1, 1)]


def test_a_learned_sigma_gets_a_gradient():
    vae = linear_vae(2, (16,), family=GaussianVAE)
    assert isinstance(vae, GaussianVAE)
    vae(X, seeded(0)).negative_elbo.mean().backward()
    assert vae.log_sigma.grad.abs() > 0


def test_densities_are_those_of_each_classs_codes():
    torch.manual_seed(0)
    vae, labels = ConditionalVAE(2, classes=2, hidden=(16,), base=2), torch.arange(64) % 2
    nn.init.normal_(vae.encoder[0].weight, 0, 0.1)
    densities = class_densities(vae, IMAGES, labels, components=1)
    z = encode(vae, IMAGES, labels, seed=0)
    for k, density in enumerate(densities):
        mean = z[labels == k].mean(0)
        assert torch.allclose(density.component_distribution.mean[0], mean, atol=1e-3)
    with pytest.raises(ValueError, match="5 components .* need 15 codes, got 5"):
        class_densities(vae, IMAGES[:10], labels[:10], components=5)


def test_a_code_is_drawn_from_the_density_of_its_label():
    densities = [fit_mixture(two_blobs() + shift, 1) for shift in (0, 20, 40)]
    y = torch.tensor([0, 2] * 100)  # no image of class 1
    z = sample_class_codes(densities, y, seed=0)
    for k in (0, 2):
        assert torch.allclose(z[y == k].mean(0), two_blobs().mean(0) + 20 * k, atol=0.8)
    assert torch.equal(z, sample_class_codes(densities, y, seed=0))
    assert not torch.equal(z, sample_class_codes(densities, y, seed=1))
    assert not torch.allclose(z[y == 0] + 40, z[y == 2], atol=0.1)  # other draws
