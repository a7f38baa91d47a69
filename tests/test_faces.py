"""Networks for photographs: ranges, what may see what, and training that learns."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from labkit.models import draw, encode
from labkit.models.autoencoder import Autoencoder, Inpainter
from labkit.models.vae import conv_decoder, conv_encoder, face_vae
from labkit.training.vae import ReconstructionSettings, train_autoencoder

SETTINGS = ReconstructionSettings(30, lr=5e-3, batch_size=8)
# each of one colour, so that one number of three is all there is to learn
COLOURS = torch.randint(0, 256, (64, 3, 1, 1), generator=torch.Generator().manual_seed(0)).byte()
IMAGES = COLOURS.expand(-1, 3, 64, 64).contiguous()


@pytest.mark.parametrize("latent_dim", [4, 32])
def test_autoencoders_keep_shape_and_range(latent_dim):
    x, mask = torch.rand(2, 3, 64, 64), torch.ones(1, 64, 64)
    autoencoder, inpainter = Autoencoder(latent_dim, 4), Inpainter(latent_dim, 4)
    assert autoencoder.encode(x).shape == (2, latent_dim)
    for images in (autoencoder(x), inpainter(x, mask), autoencoder.decode(autoencoder.encode(x))):
        assert images.shape == x.shape and images.min() >= 0 and images.max() <= 1


def test_report_ds_vae_has_the_reports_numbers():
    vae = face_vae()
    filters = [m.out_channels for m in vae.encoder if isinstance(m, nn.Conv2d)]
    assert filters == [16, 32, 64, 128] and vae.latent_dim == 32


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (64, 3)])
@pytest.mark.parametrize("hidden", [(), (16,)])
def test_all_of_an_image_reaches_the_code_and_all_of_the_code_the_image(size, channels, hidden):
    torch.manual_seed(0)
    shape = dict(base=4, size=size, channels=channels, hidden=hidden)
    x = torch.rand(1, channels, size, size, requires_grad=True)
    code = conv_encoder(8, **shape)(x)
    code.square().sum().backward()
    assert code.shape == (1, 8) and (x.grad != 0).all()
    z = torch.randn(1, 8, requires_grad=True)
    image = conv_decoder(8, **shape)(z)
    image.square().sum().backward()
    assert image.shape == x.shape and (z.grad != 0).all()


def test_an_inpainter_is_told_the_mask_and_cannot_see_behind_it():
    torch.manual_seed(0)
    network, x, mask = Inpainter(16, 4), torch.rand(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    mask[..., :20] = 1
    changed = torch.where(mask.bool(), x, torch.rand_like(x))
    assert torch.equal(network(x, mask), network(changed, mask))
    seen = network(x * mask, torch.ones_like(mask))
    assert not torch.equal(network(x * mask, mask), seen)  # black, or hidden?


def test_codes_do_not_depend_on_the_batch():
    model = Autoencoder(8, 4)
    together, apart = (encode(model, IMAGES[:7], batch_size=n) for n in (1000, 3))
    assert together.shape == (7, 8) and torch.allclose(together, apart, atol=1e-5)
    assert draw(model, together).shape == (7, 3, 64, 64)


@pytest.mark.parametrize("build", [Autoencoder, Inpainter])
def test_training_beats_the_mean_image(build):
    torch.manual_seed(0)
    run = train_autoencoder(build(8, 6), IMAGES[:48], IMAGES[48:], SETTINGS)
    x = IMAGES / 255
    assert run.history[-1]["test"] < 0.85 * (x - x.mean(0)).square().mean().item()
    assert not run.model.training


def test_training_that_diverges_stops():
    with pytest.raises(FloatingPointError, match="diverged"):
        train_autoencoder(Autoencoder(4, 2), IMAGES, IMAGES, replace(SETTINGS, lr=float("inf")))
