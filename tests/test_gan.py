"""The GAN: shapes, losses and gradients as the papers have them, training that resumes to the same
result and stops when it diverges.
"""

import os
import signal

import pytest
import torch
import torch.nn.functional as F

from labkit.models.gan import Discriminator, Generator, ReportDiscriminator, ReportGenerator, sample
from labkit.training.gan import gradient_penalty, train_gan, update_average

IMAGES = torch.randint(
    0, 256, (64, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
CODES = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))


def pair(seed=0, base=4):
    torch.manual_seed(seed)
    return Generator(8, base), Discriminator(base)


def train(**settings):
    return train_gan(
        *pair(),
        IMAGES,
        **{"epochs": 2, "batch_size": 16, "log_every": 1, "show": False, **settings},
    )


@pytest.mark.parametrize("generator", [Generator(8, 4), ReportGenerator(8, 4)])
def test_generators_draw_28_by_28_in_the_range_of_tanh(generator):
    images = generator(torch.randn(5, 8) * 50)
    assert images.shape == (5, 1, 28, 28) and images.abs().max() <= 1
    drawn = sample(generator, CODES)
    assert drawn.dtype == torch.uint8 and drawn.shape == (4, 1, 28, 28)


@pytest.mark.parametrize(
    "discriminator",
    [*(Discriminator(4, norm) for norm in ("none", "batch", "spectral")), ReportDiscriminator(4)],
)
def test_discriminators_give_one_logit_an_image_of_either_sign(discriminator):
    logits = discriminator(torch.randn(32, 1, 28, 28))
    assert logits.shape == (32,) and logits.min() < logits.max()


def test_the_reports_networks_have_the_reports_layers():
    generator, discriminator = ReportGenerator(), ReportDiscriminator()
    convolutions = [m for m in generator.layers if hasattr(m, "kernel_size")]
    assert [(m.in_channels, m.out_channels) for m in convolutions] == [
        (100, 1024), (1024, 512), (512, 256), (256, 128), (128, 128), (128, 1),
    ]  # fmt: skip
    assert convolutions[4].dilation == (2, 2) and convolutions[4].padding == (0, 0)
    sizes = [
        (m.out_channels, m.kernel_size[0], m.stride[0])
        for m in discriminator.layers
        if hasattr(m, "kernel_size")
    ]
    assert sizes == [(128, 4, 2), (256, 4, 2), (512, 4, 2), (1024, 3, 1), (1, 1, 1)]
    assert all(m.bias is None for m in discriminator.layers if hasattr(m, "kernel_size"))
    assert isinstance(discriminator.layers[1], torch.nn.BatchNorm2d)  # the first layer included


def test_a_spectral_discriminator_has_singular_values_of_one():
    discriminator = Discriminator(4, "spectral")
    for _ in range(50):
        discriminator(torch.randn(8, 1, 28, 28))  # the power iteration goes on in training
    for layer in discriminator.layers:
        if hasattr(layer, "weight"):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(
                1, abs=0.05
            )
    with pytest.raises(ValueError, match='"none", "batch" or "spectral"'):
        Discriminator(4, "layer")


def test_an_image_does_not_depend_on_its_neighbours():
    generator = train().generator
    assert torch.equal(sample(generator, CODES)[:1], sample(generator, CODES[:1]))


def test_softplus_on_logits_is_binary_cross_entropy():
    logits = torch.tensor([-90.0, -2.0, 0.0, 3.0, 90.0])
    assert torch.allclose(
        F.softplus(-logits),
        F.binary_cross_entropy_with_logits(logits, torch.ones(5), reduction="none"),
    )
    assert torch.allclose(
        F.softplus(logits),
        F.binary_cross_entropy_with_logits(logits, torch.zeros(5), reduction="none"),
    )


def test_at_the_start_neither_side_knows_more_than_chance():
    row = train(lr_g=0.0, lr_d=0.0, epochs=0.25).history[0]
    assert row["d_loss"] == pytest.approx(2 * torch.tensor(2.0).log().item(), abs=0.3)
    assert row["g_loss"] == pytest.approx(torch.tensor(2.0).log().item(), abs=0.2)


def test_the_gradient_penalty_of_a_linear_discriminator_is_half_its_squared_weight():
    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.arange(784.0) / 784)

        def forward(self, x):
            return (x.flatten(1) * self.w).sum(1)

    linear = Linear()
    penalty = gradient_penalty(linear, torch.randn(5, 1, 28, 28))
    assert penalty.item() == pytest.approx(linear.w.square().sum().item() / 2, rel=1e-5)
    penalty.backward()
    assert torch.allclose(linear.w.grad, linear.w, atol=1e-5)  # ∇_w ½‖w‖² = w


def test_r1_keeps_the_discriminator_flat_where_the_data_are():
    def steepness(r1):
        generator, discriminator = pair()
        train_gan(generator, discriminator, IMAGES, 20, lr_d=2e-3, r1=r1, batch_size=16, show=False)
        return gradient_penalty(discriminator, IMAGES / 127.5 - 1).item()

    assert steepness(10.0) < steepness(0.0) / 4


def test_each_side_moves_only_at_its_own_rate():
    generator, discriminator = pair()
    before_g, before_d = generator.layers[0].weight.clone(), discriminator.layers[0].weight.clone()
    train_gan(generator, discriminator, IMAGES, 1, lr_g=0.0, lr_d=1e-3, batch_size=16, show=False)
    assert torch.equal(generator.layers[0].weight, before_g) and not torch.equal(
        discriminator.layers[0].weight, before_d
    )
    generator, discriminator = pair()
    train_gan(generator, discriminator, IMAGES, 1, lr_g=1e-3, lr_d=0.0, batch_size=16, show=False)
    assert not torch.equal(generator.layers[0].weight, before_g) and torch.equal(
        discriminator.layers[0].weight, before_d
    )


def test_stages_show_the_same_codes_from_before_training_to_the_end():
    out = train(codes=CODES, stages=(0, 0.5, 2))
    assert list(out.stages) == list(out.weights) == [0, 0.5, 2]
    assert torch.equal(out.stages[0], sample(pair()[0], CODES))
    assert torch.equal(out.stages[2], sample(out.generator, CODES)) and not torch.equal(
        out.stages[0.5], out.stages[2]
    )


def test_the_average_is_a_generator_of_its_own():
    decayed, generator = pair()[0], pair(seed=1)[0]
    start = {k: v.clone() for k, v in decayed.state_dict().items()}
    update_average(decayed, generator, 0.9)
    for name, value in decayed.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(
                value, 0.9 * start[name] + 0.1 * generator.state_dict()[name], atol=1e-6
            )
    assert not torch.equal(
        train(average=0.9).generator.layers[0].weight, train().generator.layers[0].weight
    )


def test_training_interrupted_mid_epoch_resumes_to_the_same_result(tmp_path, monkeypatch):
    settings = dict(
        codes=CODES, stages=(0, 1, 2), average=0.9, r1=1.0, checkpoint=tmp_path / "gan.partial"
    )
    whole = train(**{**settings, "checkpoint": None})
    real, calls = F.softplus, []

    def softplus(x):
        calls.append(1)
        if len(calls) == 3 * 5 + 1:  # in the sixth step: the middle of the second epoch
            os.kill(os.getpid(), signal.SIGINT)
        return real(x)

    with monkeypatch.context() as patch:
        patch.setattr(F, "softplus", softplus)
        with pytest.raises(KeyboardInterrupt, match="go on from step 6"):
            train(**settings)
    resumed = train(**settings)
    assert resumed.history == whole.history
    assert all(
        torch.equal(v, resumed.generator.state_dict()[k])
        for k, v in whole.generator.state_dict().items()
    )
    assert all(torch.equal(whole.stages[e], resumed.stages[e]) for e in (0, 1, 2))


@pytest.mark.parametrize("log_every", [1, 1000])
def test_a_loss_that_is_no_number_stops_at_once_with_advice(log_every):
    generator, discriminator = pair()
    discriminator.layers[0].weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"d_loss is nan at step 0.*smaller learning rate"):
        train_gan(
            generator, discriminator, IMAGES, 1, batch_size=16, log_every=log_every, show=False
        )
