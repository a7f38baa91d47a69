"""Models told what to draw: the label reaches them, the projection is Miyato & Koyama's, training
obeys and can be repeated.
"""

from functools import partial

import ipywidgets
import pytest
import torch
from torch import nn

from labkit import weights
from labkit.data.images import load
from labkit.models.classifier import Classifier
from labkit.models.conditional import (
    ConditionalGenerator,
    ConditionalVAE,
    LinearDiscriminator,
    LinearGenerator,
    ProjectionDiscriminator,
    draw,
    styles,
)
from labkit.models.vae import linear_vae
from labkit.training import conditional, linear_gans
from labkit.training.conditional import build, rebuild, search_codes, train_cgan, train_cvae
from labkit.widgets_conditional import same_style

Z = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 9, 9, 0])
# two classes that a model can only get right by its label: dark and bright images
LABELS = torch.arange(256) % 2
IMAGES = (
    200 * LABELS[:, None, None, None]
    + torch.randint(0, 50, (256, 1, 28, 28), generator=torch.Generator().manual_seed(1))
).byte()


def seeded(make, *arguments, **settings):
    torch.manual_seed(0)
    return make(*arguments, **settings)


GENERATORS = [
    seeded(LinearGenerator, 8, 10),
    seeded(ConditionalGenerator, 8, 4),
    seeded(ConditionalVAE, 8),
]


@pytest.mark.parametrize("model", GENERATORS, ids=lambda m: type(m).__name__)
def test_label_and_code_both_change_the_image_and_neighbours_do_not(model):
    images = draw(model, Z, Y)
    assert images.shape == (6, 1, 28, 28) and images.dtype == torch.uint8
    model.eval()
    make = getattr(model, "decode", model)
    with torch.no_grad():
        assert not torch.allclose(make(Z, Y), make(Z, (Y + 1) % 10))
        assert not torch.allclose(make(Z, Y), make(Z.flip(0), Y))
    assert torch.equal(draw(model, Z[:1], Y[:1]), images[:1])
    with pytest.raises(ValueError, match="one label a code"):
        draw(model, Z, Y[:1])


def test_draw_leaves_the_mode_as_it_was():
    model = seeded(ConditionalGenerator, 8, 4).train()
    draw(model, Z, Y)
    assert model.training


def test_without_classes_the_linear_networks_are_unconditional():
    generator, discriminator = seeded(LinearGenerator, 8), seeded(LinearDiscriminator).eval()
    images = generator(Z, Y)
    assert torch.equal(images, generator(Z)) and images.abs().max() <= 1
    assert torch.equal(discriminator(images, Y), discriminator(images, 9 - Y))


def test_the_linear_discriminator_sees_the_label():
    discriminator, x = seeded(LinearDiscriminator, 10).eval(), torch.rand(6, 1, 28, 28)
    assert not torch.allclose(discriminator(x, Y), discriminator(x, 9 - Y))


def test_the_projection_is_an_inner_product_with_the_features():
    discriminator, x = seeded(ProjectionDiscriminator, 4), torch.randn(6, 1, 28, 28)
    phi = discriminator.phi(x)
    unconditional = discriminator.psi(phi)[:, 0]
    # no label is preferred before training
    assert torch.allclose(discriminator(x, Y), unconditional)
    nn.init.normal_(discriminator.v.weight)
    # log-odds: what one label says more than another is linear in φ
    difference = discriminator(x, Y) - discriminator(x, 9 - Y)
    by_hand = torch.einsum(
        "nd,nd->n", discriminator.v.weight[Y] - discriminator.v.weight[9 - Y], phi
    )
    assert torch.allclose(difference, by_hand, atol=1e-3)


def test_a_conditional_vae_has_the_bound_of_a_vae():
    vae, x = seeded(ConditionalVAE, 4), torch.rand(6, 1, 28, 28)
    terms = vae(x, Y, torch.Generator().manual_seed(0))
    mu, log_var = vae.encode(x, Y)
    normal = torch.distributions.Normal(mu, (0.5 * log_var).exp())
    kl = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(terms.kl, kl, rtol=1e-4) and (terms.reconstruction > 0).all()
    assert torch.allclose(terms.negative_elbo, terms.reconstruction + terms.kl) and torch.equal(
        terms.mu, mu
    )
    assert not torch.allclose(mu, vae.encode(x, 9 - Y)[0])


def test_styles_are_the_encoders_means():
    vae = seeded(ConditionalVAE, 4)
    found = styles(vae, IMAGES[:20], LABELS[:20], batch_size=7)
    assert not torch.equal(found, styles(vae, IMAGES[:20], LABELS[:20], seed=0))
    assert torch.allclose(found, vae.encode(IMAGES[:20].float() / 255, LABELS[:20])[0], atol=1e-5)


def test_a_conditional_vae_learns_to_obey_the_label():
    vae = seeded(ConditionalVAE, 2)
    history = train_cvae(vae, IMAGES, LABELS, epochs=8, batch_size=16, log_every=1, show=False)
    dark, bright = (
        draw(vae, torch.randn(20, 2), torch.full((20,), k)).double().mean() for k in (0, 1)
    )
    assert dark < 60 and bright > 180
    assert history[-1]["loss"] < history[0]["loss"] and not vae.training
    assert history[-1]["loss"] == pytest.approx(
        history[-1]["reconstruction"] + history[-1]["kl"], rel=1e-4
    )


def test_densities_are_those_of_each_classs_codes():
    vae = seeded(ConditionalVAE, 2, classes=2)
    densities = conditional.class_densities(vae, IMAGES, LABELS, components=1)
    z = styles(vae, IMAGES, LABELS, seed=0)
    for k, density in enumerate(densities):
        assert torch.allclose(density.means[0], z[k == LABELS].mean(0), atol=1e-3)
    many = conditional.draw_styles(densities, LABELS.repeat(20), torch.Generator().manual_seed(0))
    for k in (0, 1):
        assert torch.allclose(
            many[LABELS.repeat(20) == k].mean(0), z[k == LABELS].mean(0), atol=0.15
        )
    with pytest.raises(ValueError, match="codes, got"):
        conditional.class_densities(vae, IMAGES[:10], LABELS[:10], components=5)


@pytest.mark.parametrize("kind", ["linear cGAN", "cDCGAN"])
def test_a_conditional_gan_learns_to_obey_the_label(kind):
    recipe = {
        **conditional.RECIPES[kind],
        "batch_size": 32,
        "lr": 2e-3 if kind == "cDCGAN" else 1e-3,
        "average": 0.0,
    }
    run = train_cgan(
        *build(kind, 8, base=4, gain=10.0), IMAGES, LABELS, epochs=12, show=False, **recipe
    )
    dark, bright = (draw(run.generator, Z, torch.full((6,), k)).double().mean() for k in (0, 1))
    assert bright > dark + 60


def train(**settings):
    return train_cgan(
        *build("linear cGAN", 8),
        IMAGES,
        LABELS,
        **{"epochs": 0.5, "batch_size": 32, "log_every": 1, "show": False, **settings},
    )


def test_training_again_gives_the_same_and_another_seed_another():
    first, again, other = (train(seed=seed).history[-1]["d_loss"] for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("optimizer", conditional.OPTIMIZERS)
def test_every_optimizer_moves_both_networks(optimizer):
    networks = build("linear cGAN", 8)
    before = [
        network.state_dict()["layers.0.weight" if k == 0 else "layers.0.0.weight"].clone()
        for k, network in enumerate(networks)
    ]
    train_cgan(
        *networks, IMAGES, LABELS, epochs=0.25, batch_size=32, optimizer=optimizer, show=False
    )
    after = [
        network.state_dict()["layers.0.weight" if k == 0 else "layers.0.0.weight"]
        for k, network in enumerate(networks)
    ]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_training_that_diverges_stops_at_once():
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        train(lr=1e30, optimizer="RMSprop", epochs=5)
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        train_cvae(
            seeded(ConditionalVAE, 2), IMAGES, LABELS, epochs=5, lr=1e30, batch_size=32, show=False
        )


@pytest.mark.parametrize(
    ("kind", "activation"),
    [*((kind, "LeakyReLU") for kind in conditional.KINDS), ("linear GAN", "ELU")],
)
def test_what_was_trained_is_rebuilt(kind, activation, data_home):
    run = conditional.train(
        kind,
        1,
        8,
        size=[64, 16],
        base=4,
        batch_size=16,
        network={"activation": activation},
        log_every=1,
    )
    model = rebuild(kind, 8, run["weights"], 4, activation=activation)
    assert not model.training and len(run["history"]) == 4
    assert all(
        torch.equal(value, run["weights"][name]) for name, value in model.state_dict().items()
    )
    assert draw(model, Z, None if kind == "linear GAN" else Y).shape == (6, 1, 28, 28)


def test_unknown_models_are_refused_with_the_choice():
    with pytest.raises(ValueError, match="linear GAN, linear cGAN, cDCGAN, cVAE"):
        build("cPixelCNN", 8)
    with pytest.raises(ValueError, match="ELU"):
        build("linear GAN", 8, activation="tanh")


def test_search_finds_codes_that_a_reader_takes_for_the_class_and_keeps_their_length():
    generator, classifier = (
        seeded(LinearGenerator, 8).eval(),
        nn.Sequential(nn.Flatten(), seeded(nn.Linear, 784, 10)),
    )
    start = torch.randn(50, 8, generator=torch.Generator().manual_seed(2))

    def probability(z):
        return classifier((generator(z) + 1) / 2).softmax(1)[:, 3]

    found = search_codes(generator, classifier, start, 3)
    assert (probability(found) > probability(start)).double().mean() > 0.9
    assert torch.allclose(found.norm(dim=1), start.norm(dim=1), rtol=1e-4)
    free = search_codes(generator, classifier, start, 3, keep_length=False)
    assert not torch.allclose(free.norm(dim=1), start.norm(dim=1), rtol=1e-2)


def test_elu_and_leaky_vaes_differ_in_their_activation_alone():
    leaky, elu = seeded(linear_vae, 4, (16, 8)), seeded(linear_vae, 4, (16, 8), nn.ELU)
    assert all(torch.equal(a, b) for a, b in zip(leaky.parameters(), elu.parameters(), strict=True))
    assert {type(m) for m in elu.modules()} - {type(m) for m in leaky.modules()} == {nn.ELU}


@pytest.fixture
def panel():
    models = {
        "cDCGAN": (partial(draw, GENERATORS[1]), Z),
        "cVAE": (partial(draw, GENERATORS[2]), Z),
    }
    return same_style(models, [str(k) for k in range(10)])


def test_the_panel_shows_the_class_the_style_and_the_model(panel):
    first = bytes(panel.image.value)
    assert panel.message.value == "cDCGAN, asked for 0 in style 0.0."
    seen = {first}
    for name, value in (("kind", "7"), ("style", 2.5), ("model", "cVAE"), ("style", 5.0)):
        panel.controls[name].value = value
        seen.add(bytes(panel.image.value))
    assert len(seen) == 5 and panel.message.value == "cVAE, asked for 7 in style 5.0."
    assert (
        isinstance(panel.controls["style"], ipywidgets.FloatSlider)
        and "labkit-same-style" in panel.box._dom_classes
    )


def test_the_panel_refuses_what_it_cannot_show():
    with pytest.raises(ValueError, match=r"styles \(K, Z\)"):
        same_style({"cVAE": (partial(draw, GENERATORS[2]), Z[:1])}, ["0", "1"])
    with pytest.raises(ValueError, match="a model or more"):
        same_style({}, ["0"])
    with pytest.raises(ValueError, match="expected 0 to 1"):
        same_style({"logits": (GENERATORS[2].logits, 100 * Z)}, ["0", "1"])


@pytest.mark.parametrize("name", linear_gans.KINDS)
def test_what_is_stated_of_the_supplied_linear_gans_holds(name):
    generator, facts = linear_gans.supplied(name)
    classifier = Classifier()
    weights.load(f"classifier_{linear_gans.KINDS[name][1]}", classifier)
    assert linear_gans.measure(generator, classifier) == pytest.approx(facts["measured"], abs=0.005)
    assert (
        facts["history"][0]["epoch"] < 0.2
        and facts["history"][-1]["epoch"] > 0.98 * facts["epochs"]
    )


def test_linear_gans_are_not_shipped_without_real_images(data_home, monkeypatch):
    monkeypatch.setattr(linear_gans, "load", lambda name: load(name, (100, 50), download=False))
    with pytest.raises(FileNotFoundError, match="the real .*MNIST.* is needed; set LABKIT_DATA"):
        linear_gans.make("linear_cgan_mnist")
