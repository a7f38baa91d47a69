"""Models that are told what to draw: the label reaches them, the projection is Miyato & Koyama's,
and training teaches them to obey.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

from labkit import weights
from labkit.models import draw, encode
from labkit.models.gan import ConditionalGenerator, ProjectionDiscriminator, one_hot
from labkit.models.vae import ConditionalVAE
from labkit.studies.report_networks import ReportEDiscriminator, ReportEGenerator
from labkit.training.gan import ADAM_WITHOUT_MOMENTUM, GANSettings, train_gan

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
    seeded(ReportEGenerator, 8, 10),
    seeded(ConditionalGenerator, 8, 4),
    seeded(ConditionalVAE, 8),
]
by_kind = pytest.mark.parametrize("model", GENERATORS, ids=lambda model: type(model).__name__)


@by_kind
def test_label_and_code_both_change_the_image_and_neighbours_do_not(model):
    images = draw(model, Z, Y)
    assert images.shape == (6, 1, 28, 28) and images.dtype == torch.uint8
    model.eval()
    make = getattr(model, "decode", model)
    with torch.no_grad():
        assert not torch.allclose(make(Z, Y), make(Z, (Y + 1) % 10))
        assert not torch.allclose(make(Z, Y), make(Z.flip(0), Y))
    assert (draw(model, Z[:1], Y[:1]).int() - images[:1].int()).abs().max() <= 1
    assert (draw(model, Z, Y, batch_size=4).int() - images.int()).abs().max() <= 1


@by_kind
@pytest.mark.parametrize("labels", [Y[:1], torch.cat([Y, Y]), one_hot(Y, 10)])
def test_a_label_a_code_is_needed(model, labels):
    with pytest.raises(ValueError, match=r"codes \(N, Z\) need labels \(N,\)"):
        draw(model, Z, labels)


def test_draw_leaves_the_mode_as_it_was():
    for mode in (True, False):
        model = seeded(ConditionalGenerator, 8, 4).train(mode)
        draw(model, Z, Y)
        assert model.training == mode


def test_without_classes_the_linear_networks_are_unconditional():
    generator, discriminator = seeded(ReportEGenerator, 8), seeded(ReportEDiscriminator).eval()
    images = generator(Z, Y)
    assert torch.equal(images, generator(Z)) and images.abs().max() <= 1
    assert torch.equal(discriminator(images, Y), discriminator(images, 9 - Y))


@pytest.mark.parametrize("build", [ReportEDiscriminator, ConditionalVAE])
def test_the_gain_is_what_stands_for_the_one_of_a_label(build):
    small, large = (
        seeded(
            build, gain=gain, **({"classes": 10} if build is ReportEDiscriminator else {})
        ).eval()
        for gain in (0.0, 1.0)
    )
    x = torch.rand(6, 1, 28, 28)
    answer = (lambda m, y: m.encode(x, y)[0]) if build is ConditionalVAE else (lambda m, y: m(x, y))
    assert torch.equal(answer(small, Y), answer(small, 9 - Y))
    assert not torch.allclose(answer(large, Y), answer(large, 9 - Y))


def test_the_projection_is_an_inner_product_with_the_features():
    discriminator, x = seeded(ProjectionDiscriminator, 4), torch.randn(6, 1, 28, 28)
    phi = discriminator.phi(x)
    unconditional = discriminator.psi(phi)[:, 0]
    # no label is preferred before training
    assert torch.allclose(discriminator(x, Y), unconditional)
    nn.init.normal_(discriminator.v.weight)
    # log-odds: what one label says more than another is linear in φ
    difference = discriminator(x, Y) - discriminator(x, 9 - Y)
    v = discriminator.v.weight[Y] - discriminator.v.weight[9 - Y]
    assert torch.allclose(difference, torch.einsum("nd,nd->n", v, phi), atol=1e-3)


def test_styles_are_the_encoders_means():
    vae = seeded(ConditionalVAE, 4)
    found = encode(vae, IMAGES[:20], LABELS[:20], batch_size=7)
    assert not torch.equal(found, encode(vae, IMAGES[:20], LABELS[:20], seed=0))
    assert torch.allclose(found, vae.encode(IMAGES[:20].float() / 255, LABELS[:20])[0], atol=1e-5)


def networks(kind):
    if kind == "linear":
        given = dict(classes=10, gain=10.0)
        return seeded(lambda: (ReportEGenerator(8, **given), ReportEDiscriminator(**given)))
    return seeded(lambda: (ConditionalGenerator(8, 4), ProjectionDiscriminator(4)))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("linear", GANSettings(12, lr_g=1e-3, lr_d=1e-3, batch_size=32)),
        (
            "DCGAN",
            GANSettings(
                12, lr_g=2e-3, lr_d=2e-3, batch_size=32, r1=1.0, optimizer=ADAM_WITHOUT_MOMENTUM
            ),
        ),
    ],
)
def test_a_conditional_gan_learns_to_obey_the_label(kind, settings):
    run = train_gan(*networks(kind), IMAGES, settings, LABELS)
    dark, bright = (draw(run.generator, Z, torch.full((6,), k)).double().mean() for k in (0, 1))
    assert bright > dark + 60


def test_labels_matter_to_training():
    settings = GANSettings(0.5, batch_size=32, log_every=1)
    runs = [
        train_gan(*networks("linear"), IMAGES, settings, labels).history
        for labels in (LABELS, LABELS, LABELS.flip(0))
    ]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adam])
def test_every_optimizer_moves_both_networks(optimizer):
    pair = networks("linear")
    before = [next(network.parameters()).clone() for network in pair]
    train_gan(*pair, IMAGES, GANSettings(0.25, optimizer=optimizer, batch_size=32), LABELS)
    for network, start in zip(pair, before, strict=True):
        assert not torch.equal(next(network.parameters()), start)


def test_training_that_diverges_stops():
    settings = GANSettings(5, lr_g=1e30, lr_d=1e30, optimizer=torch.optim.RMSprop, batch_size=32)
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        train_gan(*networks("linear"), IMAGES, replace(settings, log_every=1), LABELS)


@pytest.mark.parametrize(
    ("name", "classes"), [("linear_cgan_mnist", 10), ("linear_gan_fashion", 0)]
)
def test_the_supplied_linear_gans_fit_and_have_their_history(name, classes):
    generator = ReportEGenerator(100, classes)
    facts = weights.load(name, generator)
    history = facts["history"]
    assert facts["command"].endswith(f"labkit weights {name}")
    assert history[0]["epoch"] < 0.2 and history[-1]["epoch"] > 0.98 * facts["epochs"]
    assert draw(generator, torch.randn(6, 100), Y).double().std() > 40  # untrained: grey
