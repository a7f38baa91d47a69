"""The studies: each run trains, is kept with its data and settings, and gives its models back; and
weights come from real images alone.
"""

import importlib
import inspect
import json
import os
import pkgutil
from dataclasses import replace
from functools import partial

import pytest
import torch
from resuming import interrupt_in, same
from torch import nn

from labkit import folders, studies, weights
from labkit.data import images as ladder
from labkit.data.images import DataKey, ImageSet, load
from labkit.data.masks import visible_part
from labkit.models import Classifier, draw, encode
from labkit.models.autoencoder import Autoencoder, Inpainter
from labkit.models.gan import Discriminator
from labkit.models.vae import conv_vae, linear_vae
from labkit.studies import (
    cats,
    classifiers,
    conditional,
    gan_stages,
    gan_vs_vae,
    inpainting,
    latent_grid,
)
from labkit.studies.common import every, seeded
from labkit.studies.gan_vs_vae import GaussianVAE
from labkit.studies.inpainting import psnr_hidden
from labkit.studies.report_networks import ReportEGenerator
from labkit.studies.vaegan import VAEGAN
from labkit.training.gan import GANSettings
from labkit.training.sweep import InThisProcess, sweep

MODULES = [
    importlib.import_module(f"labkit.studies.{m.name}")
    for m in pkgutil.iter_modules(studies.__path__)
]
MAKERS = {name: make for m in MODULES for name, make in getattr(m, "WEIGHTS", {}).items()}


@pytest.fixture
def digits(data_home):
    return load("mnist", (160, 40), download=False)


@pytest.fixture
def faces(data_home):
    return load("cats", (96, 8), download=False)


def small_vae(latent_dim):
    return linear_vae(latent_dim, (16,))


def tiny_gan(base):
    return gan_stages.small_networks(2)


FEW = gan_stages.Recipe(tiny_gan, replace(gan_stages.OURS.settings, batch_size=16))
RUNS = {
    "stages": (gan_stages, partial(gan_stages.Run, FEW)),
    "grid": (latent_grid, partial(latent_grid.Run, build=small_vae)),
    "GAN": (gan_vs_vae, partial(gan_vs_vae.Run, gan_vs_vae.GAN(2), latent_dim=3)),
    "VAE-GAN": (gan_vs_vae, partial(gan_vs_vae.Run, gan_vs_vae.VAEGANFamily(2), latent_dim=3)),
    "VAE": (gan_vs_vae, partial(gan_vs_vae.Run, gan_vs_vae.VAEFamily(small_vae), latent_dim=3)),
}


@pytest.mark.parametrize(("study", "run"), RUNS.values(), ids=RUNS)
def test_a_run_repeats_itself_follows_its_seed_and_is_rebuilt(study, run, digits, tmp_path):
    plan = run(data=digits.key, epochs=1, stages=(0, 0.5))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found, again = study.run(plan), study.run(plan)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(found["weights"], again["weights"]) and list(found["weights"]) == [0, 0.5, 1]
    assert not same(found["weights"], study.run(replace(plan, seed=1))["weights"])
    assert found["seconds"] > 0 and found["history"]
    torch.save(found, tmp_path / "found.pt")
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    rebuild = next(f for n in ("generator", "trained", "model") if (f := getattr(plan, n, None)))
    for epoch in (None, 0.5):
        model = rebuild(found, epoch)
        assert not model.training
        assert same(dict(model.state_dict()), dict(found["weights"][1 if epoch is None else epoch]))
        images = draw(model, torch.randn(5, model.latent_dim))
        assert images.shape == (5, 1, 28, 28) and images.dtype == torch.uint8
    if "discriminator" in found and hasattr(plan, "discriminator"):
        assert plan.discriminator(found)(torch.randn(8, 1, 28, 28)).shape == (8,)


@pytest.mark.parametrize(("study", "run"), RUNS.values(), ids=RUNS)
def test_an_interrupted_run_resumes_to_the_same_result(study, run, digits, tmp_path, monkeypatch):
    plan = run(data=digits.key, epochs=1, checkpoint=str(tmp_path / "run.partial"))
    interrupt_in(monkeypatch, 0)
    with pytest.raises(KeyboardInterrupt, match="go on from step 1"):
        study.run(plan)
    monkeypatch.undo()
    resumed, whole = study.run(plan), study.run(replace(plan, checkpoint=None))
    assert resumed["history"] == whole["history"] and same(resumed["weights"], whole["weights"])
    assert not list(tmp_path.glob("*.partial"))


def test_what_is_on_disk_is_taken_for_the_same_images_and_settings_alone(digits, tmp_path, capsys):
    plan = RUNS["grid"][1](data=digits.key, epochs=0.5)

    def seconds(plan):
        return sweep(latent_grid.run, [plan], InThisProcess(), tmp_path / "store")[0]["seconds"]

    first = seconds(plan)
    capsys.readouterr()
    assert seconds(replace(plan, checkpoint="elsewhere")) == first
    assert "1 of 1 runs are on disk" in capsys.readouterr().out
    other = replace(digits, train=digits.train.flip(3)).key
    assert other.size == digits.key.size and other != digits.key
    for changed in (dict(seed=1), dict(lr=1e-3), dict(epochs=0.6), dict(build=conv_vae)):
        assert seconds(replace(plan, **changed)) != first
    with pytest.raises(ValueError):  # not on disk, and its images are not to be found
        seconds(replace(plan, data=other))


def test_a_run_draws_the_same_codes_at_each_stage(digits):
    plan = RUNS["stages"][1](data=digits.key, epochs=1, stages=(0, 0.5), n_codes=7)
    found = gan_stages.run(plan)
    assert list(found["stages"]) == [0, 0.5, 1]
    codes = torch.randn(7, 64, generator=torch.Generator().manual_seed(1))
    for epoch, drawn in found["stages"].items():
        assert drawn.shape == (7, 1, 28, 28)
        assert torch.equal(drawn, draw(plan.generator(found, epoch), codes))
    assert not torch.equal(found["stages"][0.5], found["stages"][1])


def test_the_latents_are_the_means_of_the_test_images(digits):
    plan = RUNS["grid"][1](data=digits.key, epochs=2, stages=(1,))
    found = latent_grid.run(plan)
    assert list(found["latents"]) == [1, 2] and not torch.equal(*found["latents"].values())
    for epoch, mu in found["latents"].items():  # computed in bfloat16 where that is faster
        exact = encode(plan.trained(found, epoch), digits.test)
        torch.testing.assert_close(mu, exact, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("name", gan_stages.STEPS)
def test_every_step_from_the_reports_recipe_to_ours_can_be_trained(name, digits):
    recipe = gan_stages.STEPS[name]
    few = replace(recipe, settings=replace(recipe.settings, batch_size=16))
    found = gan_stages.run(gan_stages.Run(few, digits.key, 0.1, base=2, n_codes=2))
    assert found["stages"][0.1].shape == (2, 1, 28, 28)


def test_the_recipes_are_the_reports_and_ours():
    assert gan_stages.REPORT.settings == GANSettings(1)
    ours = gan_stages.OURS.settings
    assert (ours.lr_g, ours.lr_d, ours.batch_size, ours.r1, ours.ema) == (2e-3, 2e-3, 32, 1, 0.998)
    assert gan_stages.STEPS["spectral, no R1"].settings.r1 == 0
    assert isinstance(gan_stages.OURS.networks(2)[1], Discriminator)


def test_a_second_stage_of_either_kind_draws_images(digits):
    torch.manual_seed(0)
    for model in (small_vae(2), VAEGAN(2, 2).eval()):
        two_stage = gan_vs_vae.second_stage(model, digits.train, components=2)
        assert two_stage.draw(7, seed=0).shape == (7, 1, 28, 28)
    family = gan_vs_vae.VAEFamily(gan_vs_vae.gaussian_vae).networks(2)
    assert isinstance(family[0], GaussianVAE)


KINDS = {
    "linear GAN": conditional.LinearGAN(classes=0, activation=nn.ELU),
    "linear cGAN": conditional.LinearGAN(gain=10.0),
    "cDCGAN": conditional.ConditionalDCGAN(2),
    "cVAE": conditional.ConditionalVAEKind(),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_conditional_models_are_trained_and_rebuilt(kind, digits):
    plan = conditional.Run(kind, digits.key, 1, 8)
    found = conditional.run(plan)
    model = plan.model(found)
    assert found.keys() == {"seconds", "history", "weights"} and not model.training
    assert same(dict(model.state_dict()), dict(found["weights"][1]))
    y = torch.arange(6)
    images = draw(model, torch.randn(6, 8), y)
    assert images.shape == (6, 1, 28, 28)
    assert same(found["weights"], conditional.run(plan)["weights"])


def test_search_finds_codes_that_a_classifier_takes_for_the_class_and_keeps_their_length():
    torch.manual_seed(0)
    generator = ReportEGenerator(8).eval()
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    start = torch.randn(50, 8)

    def probability(z):
        return classifier((generator(z) + 1) / 2).softmax(1)[:, 3]

    found = conditional.search_codes(generator, classifier, start, 3)
    assert (probability(found) > probability(start)).double().mean() > 0.9
    assert torch.allclose(found.norm(dim=1), start.norm(dim=1), rtol=1e-4)
    free = conditional.search_codes(generator, classifier, start, 3, keep_length=False)
    assert not torch.allclose(free.norm(dim=1), start.norm(dim=1), rtol=1e-2)
    assert all(p.grad is None for p in (*generator.parameters(), *classifier.parameters()))


@pytest.mark.parametrize("name", conditional.SUPPLIED)
def test_what_is_stated_of_the_supplied_linear_gans_holds(name):
    one, classifier = conditional.SUPPLIED[name], Classifier()
    generator, facts = one.load(name)
    weights.load(f"classifier_{one.data}", classifier)
    measured = conditional.measure(generator, classifier)
    assert measured == pytest.approx(facts["measured"], abs=0.005)
    assert facts["epochs"] == one.epochs


def test_the_parts_of_the_photographs_share_no_image_and_leave_none_out(faces):
    part = cats.parts(faces)
    assert len(part.features) == 24 and len(part.models) == 72
    different = {image.numpy().tobytes() for image in torch.cat(part)}
    assert different == {image.numpy().tobytes() for image in faces.train} and len(different) == 96


def test_mirror_images_are_mirror_images(faces):
    doubled = cats.mirrored(faces.train)
    assert torch.equal(doubled[:96], faces.train)
    assert torch.equal(doubled[96:, :, :, 0], faces.train[:, :, :, -1])
    assert torch.equal(doubled[96:].flip(3), faces.train)


def test_a_model_is_trained_on_its_part_of_the_photographs(faces):
    part = cats.parts(faces)
    for kind, images in (
        (cats.FaceVAE(), part.models),
        (cats.OUR_GAN, part.models),
        (cats.FaceAutoencoder(), part.features),
        (cats.FaceAutoencoder(Inpainter), part.models),
    ):
        plan = cats.Run(kind, faces.key, 1)
        assert torch.equal(plan.images(faces), cats.mirrored(images))
        assert torch.equal(replace(plan, mirror=False).images(faces), images)


def small_autoencoder():
    return Autoencoder(4, 2)


FACES = {
    "ours": cats.FaceGAN(settings=replace(cats.OUR_GAN.settings, batch_size=16), width=2),
    "the report's": cats.FaceGAN(cats.report_networks, GANSettings(1, batch_size=16), 2),
    "VAE": cats.FaceVAE(),
    "autoencoder": cats.FaceAutoencoder(small_autoencoder),
    "inpainter": cats.FaceAutoencoder(partial(Inpainter, 4, 2)),
}


@pytest.mark.parametrize("kind", FACES.values(), ids=FACES)
def test_models_of_photographs_are_trained_rebuilt_and_measured(kind, faces):
    plan = cats.Run(kind, faces.key, 0.5, stages=(0.2,))
    found = cats.run(plan)
    assert list(found["weights"]) == [0.2, 0.5] and found["history"]
    model = plan.model(found)
    assert not model.training
    assert same(dict(model.state_dict()), dict(found["weights"][0.5]))
    assert not same(dict(plan.model(found, 0.2).state_dict()), dict(found["weights"][0.5]))
    assert kind.measure(model, faces.test)


def test_the_networks_of_the_cats_are_the_reports_and_ours():
    assert cats.REPORT_GAN.networks()[0].latent_dim == 512 and cats.REPORT_GAN.width == 128
    assert cats.REPORT_GAN.settings.batch_size == 64
    assert cats.OUR_GAN.networks()[0].latent_dim == 128


def test_building_follows_the_seed_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    a, b, c = (seeded(small_autoencoder, seed).encoder[0].weight for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_history_is_thinned_to_a_few_rows_of_a_few_digits():
    history = [{"step": k, "epoch": k / 3, "loss": 1.0} for k in range(90)]
    rows = every(history, 9, "epoch")
    assert len(rows) == 9 and rows[1] == {"epoch": 3.333}


def test_every_supplied_file_of_weights_can_be_made_anew():
    assert {path.stem for path in folders.weights().glob("*.pt")} <= set(MAKERS)
    for name in (*cats.WEIGHTS, *gan_stages.WEIGHTS, *latent_grid.WEIGHTS):
        arguments = inspect.signature(MAKERS[name].func).bind(*MAKERS[name].args)
        arguments.apply_defaults()
        facts = json.loads((folders.weights() / f"{name}.json").read_text(encoding="utf-8"))
        assert arguments.arguments["epochs"] == facts["epochs"]


@pytest.mark.parametrize("name", MAKERS)
def test_weights_of_stand_ins_are_not_supplied(name, data_home, monkeypatch):
    def small(set_name, *arguments, **settings):
        return load(set_name, (100, 50), download=False)

    monkeypatch.setattr(weights, "save", lambda *a, **k: pytest.fail("saved"))
    for module in MODULES:
        if hasattr(module, "load"):
            monkeypatch.setattr(module, "load", small)
    with pytest.raises(ValueError, match="real .* images are needed.*LABKIT_DATA"):
        MAKERS[name]()


@pytest.fixture
def saved(monkeypatch):
    """What weights.save is given, in place of writing it; and every set counts as published."""
    calls = {}
    monkeypatch.setattr(weights, "save", lambda name, model, **f: calls.update({name: (model, f)}))
    monkeypatch.setattr(ImageSet, "require_published", lambda images: images)
    return calls


def test_weights_are_rounded_and_what_is_measured_is_the_rounded_model(
    faces, saved, monkeypatch, tmp_path
):
    monkeypatch.setenv("LABKIT_RESULTS", str(tmp_path))
    monkeypatch.setattr(cats, "load", lambda name: faces)
    kind = cats.FaceAutoencoder(small_autoencoder)
    measured = cats.make("tiny", kind, 1, mirror=False)
    model, facts = saved["tiny"]
    assert {value.dtype for value in model.state_dict().values()} == {torch.float16}
    assert kind.measure(model.float(), faces.test) == pytest.approx(measured)
    assert facts["measured"] == measured and facts["epochs"] == 1
    assert facts["command"] == "python -m labkit weights tiny"
    assert not list(tmp_path.glob("*.partial"))


def test_the_grids_vae_and_the_stages_gan_are_made(digits, saved, monkeypatch):
    for study in (latent_grid, gan_stages):
        monkeypatch.setattr(study, "load", lambda name: digits)
    few = replace(gan_stages.OURS, networks=tiny_gan)
    monkeypatch.setattr(gan_stages, "OURS", few)
    seen = Classifier(feature_dim=8).eval()
    monkeypatch.setattr(gan_stages.pretrained, "classifier_for", lambda images: seen)
    assert latent_grid.make("mnist", epochs=1)["test_negative_elbo"] > 0
    assert "frechet" in gan_stages.make("mnist", epochs=0.2)
    monkeypatch.setattr(latent_grid, "BETAS", (0, 8))
    assert latent_grid.make_beta_vaes(epochs=1).keys() >= {"kl at β = 0", "kl at β = 8"}
    assert len(saved["beta_vaes_mnist"][0]) == 2
    assert saved["vae_mnist"][1]["command"] == "python -m labkit weights vae_mnist"
    assert saved["gan_mnist"][1]["epochs"] == 0.2


def test_beta_weighs_the_kl_in_training_only():
    model, x = latent_grid.beta_vaes()[-1], torch.rand(5, 1, 28, 28)
    trained_on = model.train()(x, torch.Generator().manual_seed(0))
    plain = model.eval()(x, torch.Generator().manual_seed(0))
    assert torch.equal(trained_on.reconstruction, plain.reconstruction)
    assert torch.allclose(trained_on.kl, latent_grid.BETAS[-1] * plain.kl)


def test_a_classifier_is_made(digits, saved, monkeypatch):
    monkeypatch.setattr(classifiers, "load", lambda name: digits)
    few = replace(classifiers.pretrained.SETTINGS["mnist"], epochs=1)
    monkeypatch.setitem(classifiers.pretrained.SETTINGS, "mnist", few)
    assert 0 <= classifiers.make("mnist")["test_accuracy"] <= 1
    assert saved["classifier_mnist"][1]["data"] == digits.title


@pytest.mark.realdata
@pytest.mark.skipif(
    not os.environ.get("LABKIT_DATA"),
    reason="needs the real photographs: set LABKIT_DATA to a folder that has them",
)
class TestOnPhotographs:
    """What is stated of the supplied weights, and the bar of the lab: half a face restored better
    than by any baseline.
    """

    @pytest.fixture(scope="class")
    def real(self):
        return ladder.load("cats")

    @pytest.mark.parametrize("name", cats.WEIGHTS)
    def test_what_is_stated_of_the_supplied_weights_holds(self, real, name):
        kind = cats.WEIGHTS[name].args[1]
        network = kind.networks()[0]
        stated = weights.load(name, network)["measured"]
        for key, value in kind.measure(network, real.test).items():
            assert value == pytest.approx(stated[key], rel=0.02), key

    @pytest.mark.parametrize("side", ["left", "top"])
    def test_the_search_restores_half_a_face_better_than_both_baselines(self, real, side):
        vae, x, mask = cats.FaceVAE().networks()[0], real.test[:200], visible_part(0.5, side)
        weights.load("vae_cats", vae)
        references = cats.parts(real).models
        guess = inpainting.by_search(vae, x, mask, inpainting.fitted_prior(vae, references))
        guesses = (
            guess,
            inpainting.by_mean(x, mask, references),
            inpainting.by_neighbour(x, mask, cats.mirrored(references)),
        )
        found, *baselines = (psnr_hidden(x, part, mask).mean() for part in guesses)
        print(f"seen from the {side}: {found:.2f} dB, baselines {[*map(float, baselines)]}")
        assert found > max(baselines) + 2


def test_a_key_is_part_of_every_setting():
    for study in (gan_stages, latent_grid, gan_vs_vae, conditional, cats):
        fields = {f.name: f for f in study.Run.__dataclass_fields__.values()}
        assert fields["data"].type in (DataKey, "DataKey") and fields["data"].compare
