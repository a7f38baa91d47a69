"""Studies 04, 06 and 07: a run leaves what its notebook needs, and depends on what it is told."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from labkit import weights
from labkit.data.images import load
from labkit.fingerprint import fingerprint
from labkit.models import Classifier, draw
from labkit.models.autoencoder import Autoencoder
from labkit.studies import cats, conditional, gan_vs_vae
from labkit.training.sweep import InThisProcess, sweep


@pytest.fixture(scope="module")
def digits():
    return load("mnist", (160, 32), download=False)


@pytest.fixture(scope="module")
def faces():
    return load("cats", (96, 8), download=False)


@pytest.fixture(scope="module", autouse=True)
def no_real_data():
    """Stand-ins, whatever this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labkit.data.images.find", lambda name: None)
        yield


@pytest.fixture(scope="module")
def family_runs(digits):
    """Each family of study 04, trained for half an epoch: name → setting and what it found."""
    families = (
        gan_vs_vae.GAN(base=2),
        gan_vs_vae.VAEGANFamily(base=2),
        gan_vs_vae.VAEFamily(),
        gan_vs_vae.VAEFamily(gan_vs_vae.gaussian_vae, "VAE σ"),
    )
    epochs = {"VAE": 2, "VAE σ": 2}
    grid = [
        gan_vs_vae.Run(family, digits.key, epochs.get(family.name, 0.5), 4, stages=(0,))
        for family in families
    ]
    found = sweep(gan_vs_vae.run, grid, InThisProcess())
    return {s.family.name: (s, run) for s, run in zip(grid, found, strict=True)}


@pytest.mark.parametrize("name", ["GAN", "VAE-GAN", "VAE", "VAE σ"])
def test_a_family_keeps_its_weights_at_each_stage_and_at_the_end(family_runs, name):
    setting, found = family_runs[name]
    assert set(found["weights"]) == {0, setting.epochs} and found["seconds"] > 0
    assert found["history"][-1]["epoch"] == pytest.approx(setting.epochs, abs=0.2)
    z = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    before, after = (draw(setting.model(found, epoch), z) for epoch in (0, None))
    assert before.shape == (3, 1, 28, 28) and not torch.equal(before, after)


def test_the_first_stage_of_a_gan_is_the_network_that_the_seed_gives(family_runs):
    setting, found = family_runs["GAN"]
    first = setting.networks()[0].state_dict()
    assert all(torch.equal(first[name], w) for name, w in found["weights"][0].items())


def test_the_discriminator_of_a_run_is_the_trained_one(family_runs):
    setting, found = family_runs["GAN"]
    rebuilt, untrained = setting.discriminator(found).state_dict(), setting.networks()[1]
    assert all(torch.equal(rebuilt[name], w) for name, w in found["discriminator"].items())
    pairs = zip(rebuilt.values(), untrained.state_dict().values(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_a_second_stage_draws_the_same_images_from_the_same_seed(family_runs, digits):
    setting, found = family_runs["VAE"]
    state = torch.get_rng_state()
    two = gan_vs_vae.second_stage(setting.model(found), digits.train, components=3)
    images = two.draw(5, seed=1)
    assert images.shape == (5, 1, 28, 28) and images.dtype == torch.uint8
    assert torch.equal(images, two.draw(5, seed=1))
    assert not torch.equal(images, two.draw(5, seed=2))
    assert torch.equal(torch.get_rng_state(), state)  # the caller's generator is left alone


def test_results_survive_a_store_and_are_found_again(digits, tmp_path, capsys):
    setting = gan_vs_vae.Run(gan_vs_vae.VAEFamily(), digits.key, 1, 2)
    (first,) = sweep(gan_vs_vae.run, [setting], InThisProcess(), tmp_path)
    (again,) = sweep(gan_vs_vae.run, [setting], InThisProcess(), tmp_path)
    assert "1 of 1 runs are on disk" in capsys.readouterr().out
    for name, w in first["weights"][1].items():
        assert torch.equal(again["weights"][1][name], w)


def test_a_setting_has_another_fingerprint_when_anything_that_shapes_the_run_is_another(digits):
    setting = conditional.Run(conditional.LinearGAN(), digits.key, 1, 8)
    others = [
        replace(setting, data=replace(digits.key, content="0" * 16)),
        replace(setting, data=replace(digits.key, size=(159, 32))),
        replace(setting, latent_dim=9),
        replace(setting, seed=1),
        replace(setting, kind=conditional.LinearGAN(dropout=0.0)),
        replace(setting, kind=conditional.LinearGAN(activation=nn.ELU)),
        replace(setting, kind=conditional.LinearGAN(optimizer=torch.optim.RMSprop)),
    ]
    keys = {fingerprint(conditional.run, one) for one in (setting, *others)}
    assert len(keys) == 1 + len(others)
    elsewhere = replace(setting, data=replace(digits.key, source="another folder"))
    assert fingerprint(conditional.run, elsewhere) == fingerprint(conditional.run, setting)


@pytest.mark.parametrize(
    "kind",
    [
        conditional.LinearGAN(),
        conditional.LinearGAN(classes=0, gain=2.0, activation=nn.ELU, name="linear GAN"),
        conditional.ConditionalDCGAN(base=2),
        conditional.ConditionalVAEKind(gain=1.0),
    ],
    ids=lambda kind: kind.name,
)
def test_a_conditional_model_is_rebuilt_as_it_was_trained(digits, kind):
    setting = conditional.Run(kind, digits.key, 1, 4)
    found = conditional.run(setting)
    assert set(found) == {"seconds", "history", "weights"}
    model, kept = setting.model(found), found["weights"][1]
    assert not model.training
    assert all(torch.equal(w, kept[name]) for name, w in model.state_dict().items())
    z, asked = torch.randn(4, 4), torch.tensor([0, 1, 2, 3])
    assert draw(model, z, asked).shape == (4, 1, 28, 28)


@pytest.mark.parametrize("kind", [conditional.LinearGAN, conditional.ConditionalVAEKind])
def test_the_gain_of_a_label_reaches_every_network_that_takes_it(digits, kind):
    networks = conditional.Run(kind(gain=3.0), digits.key, 1, 4).networks()
    assert [network.gain for network in networks] == [3.0] * len(networks)


def test_a_generator_without_labels_learns_nothing_of_them(digits):
    kind = conditional.LinearGAN(classes=0)
    model = conditional.Run(kind, digits.key, 1, 4).networks()[0].eval()
    z = torch.randn(2, 4)
    assert torch.equal(draw(model, z, torch.tensor([0, 1])), draw(model, z))


def test_a_supplied_generator_draws_what_is_asked_for():
    setting = conditional.SUPPLIED["linear_cgan_mnist"]
    model, facts = setting.load("linear_cgan_mnist")
    assert facts["epochs"] == setting.epochs and {"d_loss", "g_loss"} < set(facts["history"][0])
    z = torch.randn(2, setting.latent_dim, generator=torch.Generator().manual_seed(0))
    ones, zeros = (draw(model, z, torch.full((2,), k)).float() for k in (1, 0))
    assert ones.mean() < zeros.mean()  # a one has less ink


def test_searched_codes_keep_their_length_and_raise_the_probability():
    classifier = Classifier().requires_grad_(False)
    weights.load("classifier_fashion", classifier)
    model, _ = conditional.SUPPLIED["linear_gan_fashion"].load("linear_gan_fashion")
    z = torch.randn(6, model.latent_dim, generator=torch.Generator().manual_seed(0))
    found = conditional.search_codes(model, classifier, z, target=9, steps=15)

    def log_p(codes):
        with torch.no_grad():
            return classifier((model(codes) + 1) / 2).log_softmax(1)[:, 9].mean()

    torch.testing.assert_close(found.norm(dim=1), z.norm(dim=1))
    assert log_p(found) > log_p(z) + 1
    free = conditional.search_codes(model, classifier, z, 9, steps=15, keep_length=False)
    assert not torch.allclose(free.norm(dim=1), z.norm(dim=1), atol=0.01)


def test_the_parts_of_the_cats_share_no_image_and_lose_none(faces):
    part = cats.parts(faces)
    assert len(part.features) == 24 and len(part.models) == 72
    together = torch.cat(part).flatten(1)
    assert together.unique(dim=0).shape == faces.train.flatten(1).unique(dim=0).shape


def test_mirrored_images_are_the_images_and_their_mirror_images(faces):
    both = cats.mirrored(faces.test)
    assert torch.equal(both[:8], faces.test) and torch.equal(both[8:].flip(3), faces.test)


@pytest.mark.parametrize(
    "kind",
    [
        cats.FaceVAE(),
        cats.FaceAutoencoder(),
        cats.FaceAutoencoder(cats.Inpainter),
        replace(cats.OUR_GAN, width=2),
        replace(cats.REPORT_GAN, width=4),
    ],
    ids=["VAE", "autoencoder", "inpainter", "our GAN", "the report's GAN"],
)
def test_a_model_of_faces_is_rebuilt_as_it_was_trained(faces, kind):
    setting = cats.Run(kind, faces.key, 1, mirror=False)
    if isinstance(kind, cats.FaceAutoencoder):
        setting = replace(setting, mirror=True)  # 24 images are fewer than a batch
    found = cats.run(setting)
    assert set(found) == {"seconds", "history", "weights"} and set(found["weights"]) == {1}
    model = setting.model(found)
    assert all(torch.equal(w, found["weights"][1][k]) for k, w in model.state_dict().items())
    assert all(isinstance(v, float) for v in kind.measure(model, faces.test).values())


def test_only_the_autoencoder_learns_from_the_part_for_features(faces):
    part, common = cats.parts(faces), dict(data=faces.key, epochs=1, mirror=False)
    for kind in (cats.FaceVAE(), cats.OUR_GAN, cats.FaceAutoencoder(cats.Inpainter)):
        assert torch.equal(cats.Run(kind, **common).images(faces), part.models)
    features = cats.Run(cats.FaceAutoencoder(Autoencoder), **common).images(faces)
    assert torch.equal(features, part.features)
