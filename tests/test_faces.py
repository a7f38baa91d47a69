"""Networks for photographs: shapes and ranges, what may see what, and training that learns, repeats
and resumes.
"""

import os

import pytest
import torch

from labkit import inpainting, weights
from labkit.data import images as ladder
from labkit.data.images import ImageSet
from labkit.data.masks import visible_part
from labkit.inpainting import psnr_hidden
from labkit.models import faces
from labkit.models.gan import sample
from labkit.training import faces as T
from labkit.training import shipped


@pytest.fixture(scope="module")
def pictures():
    """Blurred noise, so that there is something to learn: uint8 (96, 3, 64, 64)."""
    noise = torch.rand(96, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return (255 * torch.nn.functional.interpolate(noise, size=64, mode="bilinear")).byte()


@pytest.mark.parametrize("latent_dim", [4, 32])
def test_models_of_photographs_keep_shape_and_range(latent_dim):
    x = torch.rand(2, 3, 64, 64)
    vae, autoencoder, inpainter = (
        faces.face_vae(latent_dim, 4),
        faces.Autoencoder(latent_dim, 4),
        faces.Inpainter(latent_dim, 4),
    )
    assert vae.encode(x)[0].shape == autoencoder.encode(x).shape == (2, latent_dim)
    for images in (
        vae.decode(vae.encode(x)[0]),
        autoencoder(x),
        inpainter(x, torch.ones(1, 64, 64)),
    ):
        assert images.shape == x.shape and images.min() >= 0 and images.max() <= 1


@pytest.mark.parametrize("recipe", T.GANS)
def test_gans_of_photographs_keep_shape_and_range(recipe):
    generator, discriminator = T.build_gan(recipe, 4)
    x = generator(torch.randn(2, generator.latent_dim))
    assert x.shape == (2, 3, 64, 64) and x.abs().max() <= 1
    assert discriminator(x).shape == (2,)
    assert sample(generator, torch.randn(5, generator.latent_dim), batch_size=2).shape == (
        5,
        3,
        64,
        64,
    )


def test_the_reports_numbers_are_the_reports():
    generator, discriminator = T.build_gan("report", 128)
    assert generator.latent_dim == 512 and faces.face_vae().latent_dim == 32
    convolutions = [
        m for m in [*generator.modules(), *discriminator.modules()] if hasattr(m, "kernel_size")
    ]
    assert {c for m in convolutions for c in (m.in_channels, m.out_channels)} == {3, 128, 512}
    filters = [m.out_channels for m in faces.face_vae().encoder if isinstance(m, torch.nn.Conv2d)]
    assert filters == [16, 32, 64, 128]


def test_all_of_an_image_reaches_the_code_and_all_of_the_code_the_image():
    torch.manual_seed(0)
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    faces.encoder(8, 4)(x).square().sum().backward()
    assert (x.grad != 0).all()
    z = torch.randn(1, 8, requires_grad=True)
    faces.decoder(8, 4)(z).square().sum().backward()
    assert (z.grad != 0).all()


def test_an_inpainter_is_told_the_mask_and_cannot_see_behind_it():
    torch.manual_seed(0)
    network, x, mask = (
        faces.Inpainter(16, 4).eval(),
        torch.rand(2, 3, 64, 64),
        torch.zeros(2, 1, 64, 64),
    )
    mask[..., :20] = 1
    changed = torch.where(mask.bool(), x, torch.rand_like(x))
    assert torch.equal(network(x, mask), network(changed, mask))
    assert not torch.equal(
        network(x * mask, mask), network(x * mask, torch.ones_like(mask))
    )  # black, or hidden?


def test_features_are_the_encoders_and_do_not_depend_on_the_batch(pictures):
    model = faces.Autoencoder(8, 4).eval()
    together, apart = (
        faces.features(model, pictures[:7]),
        faces.features(model, pictures[:7], batch_size=3),
    )
    assert together.shape == (7, 8) and torch.allclose(together, apart, atol=1e-5)


def test_the_parts_share_no_image_and_leave_none_out(pictures):
    labels = torch.zeros(96, dtype=torch.int64)
    part = T.parts(
        ImageSet("cats", "Cats", "here", pictures, pictures[:0], labels, labels[:0], ["cat"])
    )
    assert len(part.features) == 24 and len(part.models) == 72
    different = {image.numpy().tobytes() for image in torch.cat(part)}
    assert different == {image.numpy().tobytes() for image in pictures} and len(different) == 96


def test_mirror_images_are_mirror_images(pictures):
    doubled = T.mirrored(pictures)
    assert torch.equal(doubled[:96], pictures) and torch.equal(
        doubled[96:, :, :, 0], pictures[:, :, :, -1]
    )
    assert torch.equal(doubled[96:].flip(3), pictures)


@pytest.mark.parametrize("model", ["autoencoder", "inpainter"])
def test_training_beats_the_mean_image(model):
    colours = torch.randint(
        0, 256, (96, 3, 1, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    images = colours.expand(-1, 3, 64, 64).contiguous()
    torch.manual_seed(0)
    network = faces.Autoencoder(8, 8) if model == "autoencoder" else faces.Inpainter(8, 8)
    run = T.train_autoencoder(
        network, images[:72], images[72:], 30, batch_size=8, lr=5e-3, show=False
    )
    x = images / 255
    assert run.history[-1]["test"] < 0.85 * (x - x.mean(0)).square().mean().item()
    assert [row["epoch"] for row in run.history] == list(range(1, 31)) and not run.model.training


@pytest.mark.parametrize("model", ["autoencoder", "inpainter"])
def test_training_repeats_and_resumes_to_the_same_weights(pictures, model, tmp_path, monkeypatch):
    def train(checkpoint=None):
        return T.train_autoencoder(
            T.build(model),
            pictures,
            pictures[:8],
            2,
            snapshots=(1,),
            checkpoint=checkpoint,
            show=False,
        )

    whole, again = train(), train()
    assert whole.history == again.history
    evaluate, calls = T.mean_squared_error, []

    def interrupt(*arguments):
        calls.append(1)
        if len(calls) == 3:  # two an epoch
            raise RuntimeError("power cut")
        return evaluate(*arguments)

    monkeypatch.setattr(T, "mean_squared_error", interrupt)
    monkeypatch.setattr(
        "labkit.training.loop.Loop.__init__.__defaults__", (None, None, "", True, 0.0)
    )  # save after every step
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path / "faces.partial")
    resumed = train(tmp_path / "faces.partial")
    assert resumed.history == whole.history and list(resumed.weights) == [1]
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            resumed.model.state_dict().values(), whole.model.state_dict().values(), strict=True
        )
    )


def test_fewer_images_than_a_batch_are_refused(pictures):
    with pytest.raises(ValueError, match="smaller batch_size"):
        T.train_autoencoder(T.build("autoencoder"), pictures[:5], pictures, 1, show=False)


def test_training_that_diverges_stops(pictures):
    with pytest.raises(FloatingPointError, match="diverged"):
        T.train_autoencoder(
            T.build("autoencoder"), pictures, pictures, 3, lr=float("inf"), show=False
        )


@pytest.mark.parametrize(
    ("build", "name"), [(T.build, "wae"), (lambda name: T.build_gan(name, 4), "wgan")]
)
def test_unknown_names_list_the_known(build, name):
    with pytest.raises(ValueError, match=f"one of '.*got '{name}'"):
        build(name)


def test_building_leaves_the_callers_random_numbers_alone_and_depends_on_the_seed():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a, b, c = T.build("vae", 1), T.build("vae", 1), T.build("vae", 2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(a.encoder[0].weight, b.encoder[0].weight) and not torch.equal(
        a.encoder[0].weight, c.encoder[0].weight
    )


@pytest.mark.parametrize("model", ["vae", "autoencoder", "inpainter", "report", "ours"])
def test_what_a_sweep_trains_can_be_rebuilt(model, pictures, monkeypatch):
    labels = torch.zeros(96, dtype=torch.int64)
    cats = ImageSet("cats", "Cats", "here", pictures, pictures[:8], labels, labels[:8], ["cat"])
    monkeypatch.setattr(T, "_cats", lambda size: cats)
    run = T.train(model, 2, stages=(1,), width=4)
    assert list(run["weights"]) == [1, 2] and run["history"]
    network = T.rebuild(model, run["weights"][2], 4)
    assert not network.training
    assert all(
        torch.equal(value, run["weights"][2][name]) for name, value in network.state_dict().items()
    )
    assert any(
        not torch.equal(value, run["weights"][1][name])
        for name, value in network.state_dict().items()
    )


def test_weights_of_drawn_cats_are_not_shipped(data_home, monkeypatch):
    monkeypatch.setattr(T, "load", lambda name: ladder.load(name, (2, 1), download=False))
    monkeypatch.setattr(weights, "save", lambda *a, **k: pytest.fail("saved"))
    with pytest.raises(FileNotFoundError, match="LABKIT_DATA"):
        T.make("vae_cats", "vae", 1)


def shipped_model(name):
    return {
        "vae_cats": faces.face_vae,
        "gan_cats": faces.Generator,
        "ae_cats": faces.Autoencoder,
        "inpaint_cats": faces.Inpainter,
    }[name]()


@pytest.mark.parametrize("name", T.MAKERS)
def test_shipped_models_of_cats_fit_are_small_and_can_be_made(name):
    facts = weights.load(name, shipped_model(name))
    assert (
        facts["command"].endswith(name)
        and name in shipped.MAKERS
        and facts["epochs"] == T.MAKERS[name].args[2]
    )
    assert (weights.folder() / facts["file"]).stat().st_size < 3e6


@pytest.mark.realdata
@pytest.mark.skipif(
    not os.environ.get("LABKIT_DATA"),
    reason="needs the real photographs: set LABKIT_DATA to a folder that has them",
)
class TestOnPhotographs:
    """What is stated of the shipped weights, and the bar of the lab: half a face restored better
    than by any baseline.
    """

    @pytest.fixture(scope="class")
    def cats(self):
        return ladder.load("cats")

    @pytest.mark.parametrize("name", T.MAKERS)
    def test_what_is_stated_of_the_shipped_weights_holds(self, cats, name):
        model, network = T.MAKERS[name].args[1], shipped_model(name)
        stated = weights.load(name, network)["measured"]
        for key, value in T.measure(model, network, cats.test).items():
            assert value == pytest.approx(stated[key], rel=0.02), key

    @pytest.mark.parametrize("side", ["left", "top"])
    def test_the_search_restores_half_a_face_better_than_both_baselines(self, cats, side):
        vae, x, mask, references = (
            faces.face_vae(),
            cats.test[:200],
            visible_part(0.5, side),
            T.parts(cats).models,
        )
        weights.load("vae_cats", vae)
        guess = inpainting.by_search(vae, x, mask, inpainting.fitted_prior(vae, references))
        found, *baselines = (
            psnr_hidden(x, part, mask).mean()
            for part in (
                guess,
                inpainting.by_mean(x, mask, references),
                inpainting.by_neighbour(x, mask, T.mirrored(references)),
            )
        )
        print(
            f"seen from the {side}: {found:.2f} dB, mean face {baselines[0]:.2f} dB, nearest neighbour {baselines[1]:.2f} dB"
        )
        assert found > max(baselines) + 2
