"""GANs against their papers: losses, R1, one step, the average of the weights, and training that
resumes to the same result, stops when it diverges and refuses what is no set of images.
"""

import contextlib
import copy
import math
import os
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from resuming import interrupt_in, same
from torch import nn
from torch.optim import SGD, Adam

from labkit import folders, weights
from labkit.models import draw
from labkit.models.gan import Discriminator, Generator, halvings, normed
from labkit.studies import report_networks as report
from labkit.training import gan
from labkit.training.gan import GANSettings, Players, gan_step, r1_penalty, train_gan

RANDOM = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 256, (64, 1, 28, 28), dtype=torch.uint8, generator=RANDOM)
LABELS = torch.arange(64) % 2
CODES = torch.randn(4, 8, generator=RANDOM)
SETTINGS = GANSettings(2, batch_size=16, log_every=1)


def pair(seed=0, base=4, norm="none"):
    torch.manual_seed(seed)
    return Generator(8, base), Discriminator(base, norm=norm)


@pytest.fixture
def exact(monkeypatch):
    """No bfloat16, so that results can be compared with others to many digits."""
    monkeypatch.setattr(gan, "autocast", lambda device: contextlib.nullcontext())


def train(networks=None, images=IMAGES, checkpoint=None, losses=(), labels=None, **settings):
    networks = networks or pair()
    losses = dict(losses) | dict(checkpoint=checkpoint)
    return train_gan(*networks, images, replace(SETTINGS, **settings), labels, **losses)


def test_where_the_discriminator_says_one_half_the_losses_are_those_of_the_paper():
    undecided = torch.zeros(5)
    assert gan.discriminator_loss(undecided, undecided).item() == pytest.approx(2 * math.log(2))
    assert gan.generator_loss(undecided).item() == pytest.approx(math.log(2))
    assert gan.hinge_discriminator_loss(undecided, undecided) == 2
    assert gan.hinge_generator_loss(undecided) == 0


def test_the_losses_are_binary_cross_entropies_of_real_and_generated():
    real, fake = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([1.0, -1.5])
    bce = F.binary_cross_entropy_with_logits
    expected = bce(real, torch.ones(3)) + bce(fake, torch.zeros(2))
    assert gan.discriminator_loss(real, fake).item() == pytest.approx(expected.item(), rel=1e-6)
    assert gan.generator_loss(fake).item() == pytest.approx(bce(fake, torch.ones(2)).item())


def test_hinge_losses_are_those_of_the_paper():
    real, fake = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([1.0, -1.5])
    assert gan.hinge_discriminator_loss(real, fake).item() == pytest.approx((3 + 0.5 + 0) / 3 + 1)
    assert gan.hinge_generator_loss(fake).item() == pytest.approx(0.25)


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_losses_and_gradients_of_a_sure_discriminator_are_finite(logit):
    logits = torch.full((3,), logit, requires_grad=True)
    loss = gan.discriminator_loss(logits, logits) + gan.generator_loss(logits)
    loss.backward()
    assert loss.item() == pytest.approx(400 if logit < 0 else 200) and logits.grad.isfinite().all()


def linear_discriminator(pixels=784):
    network = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 1, bias=False), nn.Flatten(0))
    network[1].weight.data = torch.arange(1.0, pixels + 1)[None] / pixels
    return network


def test_the_r1_penalty_of_a_linear_discriminator_is_half_its_squared_weight(exact):
    linear = linear_discriminator()
    penalty = r1_penalty(linear, torch.randn(5, 1, 28, 28))
    w = linear[1].weight
    assert penalty.item() == pytest.approx(w.square().sum().item() / 2, rel=1e-5)
    penalty.backward()
    assert torch.allclose(w.grad, w, atol=1e-5)  # ∇_w ½‖w‖² = w


def test_r1_is_the_mean_over_images_of_the_squared_gradient_there(exact):
    class Square(nn.Module):
        def forward(self, x):
            return x.square().flatten(1).sum(1)

    x = torch.randn(5, 1, 4, 4)  # ∇_x ‖x‖² = 2x
    expected = 2 * x.square().flatten(1).sum(1).mean()
    assert r1_penalty(Square(), x).item() == pytest.approx(expected.item(), rel=1e-5)


def test_r1_keeps_the_discriminator_flat_where_the_data_are():
    def steepness(r1):
        networks = pair()
        train(networks, epochs=20, lr_d=2e-3, r1=r1)
        return r1_penalty(networks[1], IMAGES / 127.5 - 1).item()

    assert steepness(10.0) < steepness(0.0) / 4


class Small(nn.Module):
    """A generator of 2×2 images, or a discriminator of them, that can be told a label."""

    def __init__(self, inputs, outputs, classes):
        super().__init__()
        self.classes = classes
        self.layers = nn.Sequential(
            nn.Linear(inputs + classes, 6), nn.Tanh(), nn.Linear(6, outputs)
        )

    def forward(self, v, *y):
        assert len(y) == bool(self.classes)
        given = [F.one_hot(label, self.classes).float() for label in y]
        out = self.layers(torch.cat([v.flatten(1), *given], 1))
        return out.view(-1, 1, 2, 2) if out.shape[1] > 1 else out.flatten()


def step_by_hand(generator, discriminator, x, z, given, r1, lr_g, lr_d, d_loss, g_loss, objective):
    """Algorithm 1 of Goodfellow et al. 2014 from its gradients, without optimizers."""

    def moved(network, loss, lr):
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(network.parameters(), gradients, strict=True):
                weight -= lr * gradient

    fake = generator(z, *given).detach()
    loss = d_loss(discriminator(x, *given), discriminator(fake, *given))
    x = x.clone().requires_grad_()
    slope = torch.autograd.grad(discriminator(x, *given).sum(), x, create_graph=True)[0]
    moved(discriminator, loss + r1 * slope.square().sum((1, 2, 3)).mean() / 2, lr_d)
    loss_g = g_loss(discriminator(generator(z, *given), *given))
    moved(generator, objective(loss_g), lr_g)
    return loss.item(), loss_g.item()


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize(
    "losses",
    [
        (gan.discriminator_loss, gan.generator_loss),
        (gan.hinge_discriminator_loss, gan.hinge_generator_loss),
        (lambda real, fake: (real - 1).square().mean(), lambda fake: fake.square().mean()),
    ],
)
@pytest.mark.parametrize("r1", [0.0, 3.0])
def test_steps_are_those_of_the_algorithm(exact, classes, losses, r1):
    torch.manual_seed(0)
    networks = Small(2, 4, classes), Small(4, 1, classes)
    expected = copy.deepcopy(networks)
    optimizers = (SGD(n.parameters(), lr) for n, lr in zip(networks, (0.1, 0.3), strict=True))
    players = Players(*networks, *optimizers, *losses)

    def objective(g_loss):
        return 2 * g_loss + 1

    for _ in range(3):  # gradients of one step do not reach the next
        x, z, y = torch.randn(5, 1, 2, 2), torch.randn(5, 2), torch.randint(classes or 1, (5,))
        given = (y,) if classes else ()
        terms = gan_step(players, x, z, *(given or (None,)), r1=r1, objective=objective)
        by_hand = step_by_hand(*expected, x, z, given, r1, 0.1, 0.3, *losses, objective)
        assert (terms.d_loss.item(), terms.g_loss.item()) == pytest.approx(by_hand, rel=1e-5)
        assert terms.total.item() == pytest.approx(2 * terms.g_loss.item() + 1)
        for ours, theirs in zip(networks, expected, strict=True):
            for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
                assert torch.allclose(a, b, atol=1e-6)


def test_the_generators_part_of_a_step_leaves_the_discriminators_gradients_alone(exact):
    networks = Small(2, 4, 0), Small(4, 1, 0)
    players = Players(*networks, *(SGD(network.parameters(), 0.0) for network in networks))
    x, z = torch.randn(5, 1, 2, 2), torch.randn(5, 2)
    generator, discriminator = networks
    loss = gan.discriminator_loss(discriminator(x), discriminator(generator(z)))
    expected = torch.autograd.grad(loss, list(discriminator.parameters()))
    gan_step(players, x, z)
    for p, gradient in zip(discriminator.parameters(), expected, strict=True):
        assert p.requires_grad and torch.allclose(p.grad, gradient, atol=1e-7)


def test_each_side_moves_only_at_its_own_rate():
    for lr_g, lr_d in ((0.0, 1e-3), (1e-3, 0.0)):
        networks, before = pair(), pair()
        train(networks, epochs=1, lr_g=lr_g, lr_d=lr_d)
        for network, start, lr in zip(networks, before, (lr_g, lr_d), strict=True):
            parameters = zip(network.parameters(), start.parameters(), strict=True)
            assert {torch.equal(a, b) for a, b in parameters} <= {lr == 0}


def test_the_logits_and_losses_of_a_row_belong_together():
    run = train(epochs=0.25, lr_g=0.0, lr_d=0.0)
    (row,) = run.history
    assert row["step"] == 1 and row["epoch"] == 0.25
    assert row["d_loss"] == pytest.approx(2 * math.log(2), abs=0.3)
    assert row["g_loss"] == pytest.approx(math.log(2), abs=0.2)
    terms = gan.StepTerms(*torch.zeros(3), torch.tensor([0.0, 200]), torch.tensor([-200.0, -200]))
    assert terms.row() == dict(d_loss=0, g_loss=0, d_real=0.75, d_fake=0)


def record_steps(monkeypatch):
    """The arguments (x, z, y, r1) of each step of a training that moves nothing."""
    seen = []

    def step(players, x, z, y=None, r1=0.0, objective=None):
        seen.append((x.clone(), z.clone(), y, r1))
        return gan.StepTerms(*torch.zeros(3), *torch.zeros(2, len(x)))

    monkeypatch.setattr(gan, "gan_step", step)
    return seen


def test_r1_is_computed_at_each_eighth_step_eight_times_as_strong(monkeypatch):
    seen = record_steps(monkeypatch)
    train(epochs=5, r1=0.5)
    assert [r1 for *_, r1 in seen] == [4.0 if step % 8 == 0 else 0.0 for step in range(20)]


def test_steps_see_all_images_scaled_with_their_labels_and_fresh_codes(monkeypatch):
    seen = record_steps(monkeypatch)
    images = torch.arange(64).byte()[:, None, None, None].expand(-1, 1, 28, 28) * 4
    train(images=images, epochs=1, labels=torch.arange(64))
    assert all(torch.allclose(x[:, 0, 0, 0], 4 * y / 127.5 - 1) for x, _, y, _ in seen)
    assert sorted(torch.cat([y for _, _, y, _ in seen]).tolist()) == list(range(64))
    z = torch.cat([z for _, z, _, _ in seen])
    assert z.shape == (64, 8) and len(z.unique(dim=0)) == 64
    assert z.mean().abs() < 0.15 and z.std().item() == pytest.approx(1, abs=0.1)
    train(images=images, epochs=1, seed=1)
    assert not any(torch.equal(a, b) for a in z.split(16) for _, b, *_ in seen[4:])
    x = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 28, 28)
    train(images=x, epochs=1, batch_size=2)
    assert (seen[-1][0].min(), seen[-1][0].max()) == (-1, 1)


@pytest.mark.parametrize(
    "changed",
    [
        dict(seed=1),
        dict(lr_g=1e-3),
        dict(optimizer=Adam),
        dict(optimizer=gan.ADAM_WITHOUT_MOMENTUM),
        dict(batch_size=32),
        dict(r1=1.0),
        dict(losses=dict(d_loss=gan.hinge_discriminator_loss)),
        dict(losses=dict(g_loss=gan.hinge_generator_loss)),
        dict(losses=dict(objective=lambda x, noise, g_loss: g_loss + x.mean() * 0 + 1)),
    ],
)
def test_every_setting_and_loss_is_used_and_the_same_ones_give_the_same(changed):
    def result(**settings):
        run = train(epochs=1, **settings)
        return [run.history, run.generator.state_dict(), run.discriminator.state_dict()]

    assert same(result(**changed), result(**changed))
    if "objective" not in changed.get("losses", {}):  # a constant more has the same gradient
        assert not same(result(**changed), result())


def test_an_objective_is_given_images_noise_and_loss_and_is_what_the_generator_minimises():
    seen = []

    def objective(x, noise, g_loss):
        seen.append((x.shape, x.min().item() >= -1, noise.initial_seed(), g_loss.ndim))
        return 0 * g_loss

    networks, before = pair(), pair()
    train(networks, epochs=1, losses=dict(objective=objective))
    assert seen == [((16, 1, 28, 28), True, 0, 0)] * 4
    assert same([*networks[0].parameters()], [*before[0].parameters()])


def test_training_leaves_the_global_generator_alone_and_dropout_follows_the_seed():
    def result(seed):
        torch.manual_seed(0)
        networks = report.ReportEGenerator(8), report.ReportEDiscriminator()
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        history = train(networks, epochs=1).history
        assert torch.equal(torch.get_rng_state(), before)
        return history

    assert result(1) == result(2)


def test_the_average_follows_the_generator_statistics_included():
    """Weights: w̄ ← d w̄ + (1 − d) w with d = min(decay, (1 + n)/(10 + n)), n updates before."""
    for decay in (0.05, 0.999):
        states = []

        class Seen(Generator):
            def forward(self, z, states=states):
                states.append({k: v.clone() for k, v in self.state_dict().items()})
                return super().forward(z)

        torch.manual_seed(0)
        generator = Seen(8, 4)
        run = train((generator, pair()[1]), epochs=1, lr_g=1e-2, ema=decay)
        # what a step begins with is what the step before left; the last is in the generator
        after = [*states[1:], generator.state_dict()]
        for name in ("layers.0.weight", "layers.1.running_mean", "layers.1.running_var"):
            expected = after[0][name]
            for n, state in enumerate(after[1:], 1):
                d = min(decay, (1 + n) / (10 + n))
                expected = d * expected + (1 - d) * state[name]
            assert torch.allclose(run.generator.state_dict()[name], expected, atol=1e-6), name
        assert run.generator is not generator and not run.generator.training
        assert same(run.weights[1], run.generator.state_dict())


def test_stages_on_one_step_are_all_kept_and_so_is_the_end():
    run = train(epochs=1, stages=(0, 0.1, 0.2, 0.25, 0.5), ema=0.9)
    assert sorted(run.weights) == [0, 0.1, 0.2, 0.25, 0.5, 1]
    assert same(run.weights[0], pair()[0].state_dict()) and same(run.weights[0.1], run.weights[0])
    assert same(run.weights[0.2], run.weights[0.25])
    assert same(run.weights[1], run.generator.state_dict())
    kept = [run.weights[epoch]["layers.0.weight"] for epoch in (0, 0.25, 0.5, 1)]
    assert not any(torch.equal(a, b) for k, a in enumerate(kept) for b in kept[:k])


def test_a_run_of_less_than_a_batch_is_a_step_and_keeps_its_weights():
    run = train(epochs=0.05)
    assert len(run.history) == 1 and same(run.weights[0.05], run.generator.state_dict())
    assert not same(run.weights[0.05], pair()[0].state_dict())


def test_a_stage_beyond_the_end_is_refused():
    with pytest.raises(ValueError, match="stage 3 is not in a run of 2 epochs"):
        train(stages=(1, 3))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[:15], "a batch has 16 images and there are 15"),
        (IMAGES / 255, "uint8"),
        (IMAGES[:0], "there are 0"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        train(images=images)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="64 images need as many labels"):
        train(labels=torch.zeros(63, dtype=torch.int64))


@pytest.mark.parametrize("log_every", [1, 1000])
@pytest.mark.parametrize("broken", ["d_loss", "g_loss", "objective"])
def test_a_loss_that_is_no_number_stops_at_once_with_advice(log_every, broken):
    calls = []

    def nan_from_the_third(*terms):
        calls.append(1)
        return terms[-1].mean() * (1 if len(calls) < 3 else float("nan"))

    name = "total" if broken == "objective" else broken
    with pytest.raises(FloatingPointError, match=f"{name} is nan at step 2.*smaller learning rate"):
        train(losses={broken: nan_from_the_third}, log_every=log_every)
    assert len(calls) == 3


def test_training_interrupted_mid_epoch_resumes_to_the_same_result(tmp_path, monkeypatch):
    settings = dict(stages=(0, 1), ema=0.9, r1=1.0)

    def networks():
        torch.manual_seed(0)
        return Generator(8, 4), nn.Sequential(nn.Dropout(0.5), Discriminator(4))

    def result(run):
        return [
            run.history,
            run.weights,
            run.generator.state_dict(),
            run.discriminator.state_dict(),
        ]

    whole = result(train(networks(), **settings))
    path, own = tmp_path / "gan.partial", networks()
    for step in (5, 6):  # in the middle of the second epoch
        with monkeypatch.context() as patch:
            interrupt_in(patch, step)
            with pytest.raises(KeyboardInterrupt, match=f"go on from step {step + 1}"):
                train(own, checkpoint=path, **settings)  # the second time with the same networks
    torch.rand(5)  # whatever the student does in between
    assert same(result(train(networks(), checkpoint=path, **settings)), whole)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changed",
    [
        dict(images=IMAGES.flip(0)),
        dict(images=IMAGES.flip(3)),  # mirrored
        dict(images=torch.cat([IMAGES, IMAGES.flip(3)])),
        dict(labels=1 - LABELS),
        dict(lr_d=1e-3),
        dict(r1=1.0),
        dict(ema=0.5),
        dict(seed=1),
        dict(epochs=3),
        dict(stages=(1,)),
        dict(optimizer=Adam),
        dict(networks=lambda: pair(base=2)),
        dict(networks=lambda: pair(norm="batch")),
        dict(losses=dict(d_loss=gan.hinge_discriminator_loss)),
        dict(losses=dict(objective=lambda x, noise, g_loss: 2 * g_loss)),
    ],
)
def test_a_checkpoint_of_another_training_is_left_alone(tmp_path, monkeypatch, capsys, changed):
    def run(at, networks=pair, **settings):
        with monkeypatch.context() as patch:
            interrupt_in(patch, at)
            with pytest.raises(KeyboardInterrupt, match=f"go on from step {at + 1}"):
                train(networks(), checkpoint=tmp_path / "gan.partial", **settings)

    first = {}
    if "labels" in changed:  # networks that are told them
        first = dict(labels=LABELS, networks=lambda: tuple(map(Unlabelled, pair())))
    run(3, **first)
    run(1, **(first | changed))
    said = capsys.readouterr().out
    assert "belongs to other settings, data or weights" in said and "resuming" not in said
    assert len(list(tmp_path.iterdir())) == 2
    run(5, **first)
    assert "resuming GAN at step 4" in capsys.readouterr().out


class Unlabelled(nn.Module):
    """A network that is told labels and does not use them."""

    def __init__(self, network):
        super().__init__()
        self.network, self.latent_dim = network, 8

    def forward(self, x, y):
        return self.network(x)


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (64, 3)])
@pytest.mark.parametrize("norm", ["none", "batch", "spectral"])
def test_networks_keep_size_channels_and_ranges(size, channels, norm):
    generator = Generator(8, 2, size, channels, refine=norm != "batch").eval()
    images = generator(torch.randn(5, 8) * 50)
    assert images.shape == (5, channels, size, size) and images.abs().max() <= 1
    logits = Discriminator(2, size, channels, norm)(torch.randn(32, channels, size, size))
    assert logits.shape == (32,) and logits.min() < 0 < logits.max() or norm != "batch"


def test_sides_are_halved_to_seven_or_four():
    assert halvings(28) == [28, 14, 7] and halvings(64) == [64, 32, 16, 8, 4]
    assert halvings(9) == [9] and halvings(28, smallest=14) == [28, 14]


def test_first_weights_are_those_of_the_dcgan_paper():
    torch.manual_seed(0)
    for layer in [*Generator(64, 16).modules(), *Discriminator(16, norm="batch").modules()]:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert layer.weight.mean().abs() < 0.005
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.mean().item() == pytest.approx(1, abs=0.02)
            assert 0 < layer.weight.std() < 0.04
        if getattr(layer, "bias", None) is not None:
            assert (layer.bias == 0).all()


def test_batch_norm_is_on_all_layers_but_the_first_and_takes_the_place_of_the_bias():
    layers = list(Discriminator(4, norm="batch").layers)
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == [
        *("Conv2d", "LeakyReLU"),
        *("Conv2d", "BatchNorm2d", "LeakyReLU") * 2,
        *("Flatten", "Linear"),
    ]
    assert layers[0].bias is not None and layers[2].bias is None
    assert [type(m).__name__ for m in normed(nn.Conv2d(1, 3, 1))] == kinds[2:5]


def test_features_are_what_the_last_layer_sees():
    discriminator, x = Discriminator(4), torch.randn(6, 1, 28, 28)
    last = discriminator.layers[-1]
    assert torch.allclose(last(discriminator.features(x)).flatten(), discriminator(x), atol=1e-6)


def test_a_spectral_discriminator_has_singular_values_of_one():
    discriminator = Discriminator(4, norm="spectral")
    for _ in range(50):
        discriminator(torch.randn(8, 1, 28, 28))  # the power iteration goes on in training
    for layer in discriminator.layers:
        if hasattr(layer, "weight"):
            largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
            assert largest == pytest.approx(1, abs=0.05)
    with pytest.raises(ValueError, match='"none", "batch" or "spectral", got \'layer\''):
        Discriminator(4, norm="layer")


def test_draw_gives_bytes_of_each_code_alone_and_leaves_the_mode_as_it_was():
    generator = train().generator.train()
    images = draw(generator, CODES, batch_size=3)
    assert generator.training
    assert images.dtype == torch.uint8 and images.shape == (4, 1, 28, 28)
    for k in range(4):  # not of its neighbours
        assert (draw(generator, CODES[k : k + 1])[0].int() - images[k].int()).abs().max() <= 1

    class Ramp(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, z):
            return z[:, :, None, None]

    z = torch.tensor([[-1.0, 1, 0, -2, 2, 0.2]])
    assert draw(Ramp(), z).flatten().tolist() == [0, 255, 128, 0, 255, 153]


def convolutions(network):
    return [m for m in network.layers if hasattr(m, "kernel_size")]


def test_report_as_networks_have_the_reports_layers():
    generator, discriminator = report.ReportAGenerator(), report.ReportADiscriminator()
    ours = convolutions(generator)
    assert [(m.in_channels, m.out_channels) for m in ours] == [
        (100, 1024), (1024, 512), (512, 256), (256, 128), (128, 128), (128, 1),
    ]  # fmt: skip
    assert ours[4].dilation == (2, 2) and ours[4].padding == (0, 0)
    sizes = [(m.out_channels, m.kernel_size[0], m.stride[0]) for m in convolutions(discriminator)]
    assert sizes == [(128, 4, 2), (256, 4, 2), (512, 4, 2), (1024, 3, 1), (1, 1, 1)]
    assert all(m.bias is None for m in convolutions(discriminator))
    assert isinstance(discriminator.layers[1], nn.BatchNorm2d)  # the first layer included


def test_report_ds_networks_have_128_filters_in_each_layer():
    networks = report.ReportDGenerator(), report.ReportDDiscriminator()
    assert networks[0].latent_dim == 512
    found = [m for network in networks for m in convolutions(network)]
    assert {c for m in found for c in (m.in_channels, m.out_channels)} == {3, 128, 512}


@pytest.mark.parametrize(
    ("generator", "discriminator", "shape"),
    [
        (report.ReportAGenerator(8, 4), report.ReportADiscriminator(4), (1, 28, 28)),
        (report.ReportDGenerator(8, 4), report.ReportDDiscriminator(4), (3, 64, 64)),
        (report.ReportEGenerator(8), report.ReportEDiscriminator(), (1, 28, 28)),
    ],
)
def test_the_reports_networks_play_the_game(generator, discriminator, shape):
    images = generator.eval()(50 * torch.randn(32, 8))
    assert images.shape == (32, *shape) and images.abs().max() <= 1
    logits = discriminator(images)
    assert logits.shape == (32,) and logits.std() > 0


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("gan_mnist", Generator),
        ("gan_fashion", Generator),
        ("gan_cats", partial(Generator, 128, 8, 64, 3, refine=False)),
    ],
)
def test_the_supplied_weights_fit_and_are_small(name, build):
    generator = build()
    facts = weights.load(name, generator)
    assert facts["command"].endswith(f"labkit weights {name}") and not generator.training
    assert os.path.getsize(folders.weights() / facts["file"]) < 3e6
    codes = torch.randn(20, generator.latent_dim, generator=torch.Generator().manual_seed(0))
    assert draw(generator, codes).double().std() > 40  # untrained: grey
