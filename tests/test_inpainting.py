"""Nothing looks behind the mask, baselines are what they say, and the search finds a code that
explains what is visible.
"""

import math

import pytest
import torch
from torch import nn

from labkit.data.masks import SIDES, random_masks, visible_part
from labkit.models import draw
from labkit.models.autoencoder import Inpainter
from labkit.models.vae import VAE, face_vae
from labkit.studies import inpainting as I
from labkit.studies.inpainting import psnr_hidden

HALF = visible_part(0.5)


@pytest.fixture(scope="module")
def images():
    return torch.randint(
        0, 256, (12, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


@pytest.fixture(scope="module")
def linear():
    """A VAE whose decoder is one layer, so that a code can be found again exactly."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 8))
    decoder = nn.Sequential(nn.Linear(4, 3 * 64 * 64), nn.Unflatten(1, (3, 64, 64)))
    return VAE(encoder, decoder, 4).eval()


STANDARD = I.Prior(torch.zeros(4), torch.eye(4))


def behind(images, mask):
    """The images with other pixels behind the mask."""
    return torch.where(mask.bool(), images, 255 - images)


@pytest.mark.parametrize("side", SIDES)
def test_a_mask_shows_its_share_from_its_side(side):
    mask = visible_part(0.25, side)
    assert mask.mean() == 0.25
    edge = {
        "left": mask[0, :, 0],
        "right": mask[0, :, -1],
        "top": mask[0, 0],
        "bottom": mask[0, -1],
    }
    opposite = dict(left="right", right="left", top="bottom", bottom="top")[side]
    assert edge[side].all() and not edge[opposite].any()


def test_masks_begin_with_nothing_and_end_with_all():
    assert not visible_part(0).any() and visible_part(1).all()


@pytest.mark.parametrize(("share", "side"), [(-0.1, "left"), (1.1, "left"), (0.5, "middle")])
def test_other_masks_are_refused(share, side):
    with pytest.raises(ValueError, match="share from 0 to 1"):
        visible_part(share, side)


def test_random_masks_are_of_all_sides_and_half_visible_on_average():
    masks = random_masks(2000, torch.Generator().manual_seed(0))
    assert masks.shape == (2000, 1, 64, 64) and set(masks.unique().tolist()) == {0, 1}
    assert masks.mean() == pytest.approx(0.5, abs=0.03)
    one_of = torch.cat(
        [torch.stack([visible_part(k / 64, side) for k in range(65)]) for side in SIDES]
    )
    assert all((one_of == mask).flatten(1).all(1).any() for mask in masks[:50])
    corners = masks[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert {tuple(row) for row in corners.int().tolist()} >= {
        (1, 0, 1, 0),
        (0, 1, 0, 1),
        (1, 1, 0, 0),
        (0, 0, 1, 1),
    }


def test_psnr_of_a_known_error(images):
    images = images // 2
    guess = images / 255 + 0.1 * (1 - HALF)  # off by 0.1 where hidden: 10 log10(1 / 0.01) = 20 dB
    assert torch.allclose(
        psnr_hidden(images, guess, HALF), torch.full((12,), 20.0, dtype=torch.float64), atol=1e-4
    )
    assert (psnr_hidden(images, images / 255, HALF) == math.inf).all()


def test_psnr_does_not_count_what_was_visible(images):
    guess = torch.rand(images.shape)
    elsewhere = torch.where(HALF.bool(), torch.rand(images.shape), guess)
    assert torch.equal(psnr_hidden(images, guess, HALF), psnr_hidden(images, elsewhere, HALF))


def test_psnr_of_images_in_another_range_is_refused(images):
    for bad in (images.float(), images / 255 * 2 - 1, torch.full(images.shape, math.nan)):
        for pair in ((images, bad), (bad, images)):
            with pytest.raises(ValueError, match="expected float images"):
                psnr_hidden(*pair, HALF)


def test_psnr_of_nothing_hidden_is_refused(images):
    with pytest.raises(ValueError, match="nothing is hidden"):
        psnr_hidden(images, images / 255, visible_part(1))
    with pytest.raises(ValueError, match="must fit"):
        psnr_hidden(images, images[:3] / 255, HALF)


def test_no_constant_guess_is_closer_than_the_mean(images):
    mean = I.by_mean(images, HALF, images)
    errors = [
        (images / 255 - guess).square().mean()
        for guess in (mean, mean + 0.02, mean - 0.02, 0.5 * mean + 0.25)
    ]
    assert min(errors) == errors[0]


def test_the_neighbour_of_an_image_among_the_references_is_itself(images):
    assert torch.equal(I.by_neighbour(images, HALF, images.flip(0)), images / 255)


def test_the_neighbour_is_the_closest_where_it_counts(images):
    query = images[:1].clone()
    query[..., :32] = images[5, :, :, :32]  # looks like 5 on the left, like 0 on the right
    assert torch.equal(I.by_neighbour(query, HALF, images)[0], images[5] / 255)
    assert torch.equal(I.by_neighbour(query, 1 - HALF, images)[0], images[0] / 255)


def test_with_nothing_visible_the_neighbour_is_the_mean(images):
    nothing = visible_part(0)
    assert torch.equal(I.by_neighbour(images, nothing, images), I.by_mean(images, nothing, images))


def test_fill_keeps_what_is_visible(images):
    filled = I.fill(images, HALF, torch.tensor(0.5))
    assert torch.equal(filled[..., :32], images[..., :32] / 255) and (filled[..., 32:] == 0.5).all()


@pytest.mark.parametrize("way", ["mean", "neighbour", "network", "search"])
def test_no_way_looks_behind_the_mask(way, images, linear):
    torch.manual_seed(1)
    network = Inpainter(16, 4).eval()
    restore = {
        "mean": lambda x: I.by_mean(x, HALF, images),
        "neighbour": lambda x: I.by_neighbour(x, HALF, images),
        "network": lambda x: I.by_network(network, x, HALF),
        "search": lambda x: I.by_search(linear, x, HALF, STANDARD, steps=5),
    }[way]
    query = images.flip(3)
    assert torch.equal(restore(query), restore(behind(query, HALF)))


def test_the_network_does_look_at_what_is_visible(images):
    torch.manual_seed(1)
    network = Inpainter(16, 4).eval()
    assert not torch.equal(
        I.by_network(network, images, HALF), I.by_network(network, 255 - images, HALF)
    )


def test_the_search_finds_the_code_behind_half_an_image(linear):
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
    x = draw(linear, z)
    found = I.search(linear, x, HALF, STANDARD, steps=150, trust=10.0)
    assert (found - z).norm(dim=1).max() < 0.05 * z.norm(dim=1).min()
    guess = I.by_search(linear, x, HALF, STANDARD, steps=150, trust=10.0)
    assert (
        psnr_hidden(x, guess, HALF).min() > 10 + psnr_hidden(x, I.by_mean(x, HALF, x), HALF).max()
    )


def test_without_trust_or_sight_the_search_stays_at_the_mean_of_the_prior(linear, images):
    prior = I.Prior(torch.tensor([1.0, -1.0, 0.5, 0.0]), 2 * torch.eye(4))
    for mask, trust in ((HALF, 0.0), (visible_part(0), 1.0)):
        assert torch.allclose(
            I.search(linear, images, mask, prior, steps=10, trust=trust), prior.mean.expand(12, 4)
        )


def test_the_search_does_not_depend_on_neighbours_and_leaves_the_model_alone(linear, images):
    before = {name: value.clone() for name, value in linear.state_dict().items()}
    linear.train()
    together = I.search(linear, images, HALF, STANDARD, steps=10)
    alone = I.search(linear, images[3:4], HALF, STANDARD, steps=10)
    assert torch.allclose(together[3], alone[0], atol=1e-4)
    assert linear.training and all(p.requires_grad and p.grad is None for p in linear.parameters())
    assert all(torch.equal(value, before[name]) for name, value in linear.state_dict().items())
    linear.eval()


def test_watching_sees_every_step(linear, images):
    seen = []
    z = I.search(
        linear,
        images,
        HALF,
        STANDARD,
        steps=4,
        watch=lambda step, z: seen.append((step, z.clone())),
    )
    assert [step for step, _ in seen] == [1, 2, 3, 4] and torch.equal(seen[-1][1], z)


def test_the_fitted_prior_has_the_moments_of_the_codes(images):
    """Codes of known moments: the encoder passes on four pixels as μ, and σ² = 0.25."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 8))
    with torch.no_grad():
        encoder[1].weight.zero_()
        encoder[1].weight[torch.arange(4), torch.arange(4)] = 1.0
        encoder[1].bias.copy_(torch.tensor([0.0] * 4 + [math.log(0.25)] * 4))
    vae = VAE(encoder, nn.Identity(), 4)
    codes = images.flatten(1)[:, :4].double() / 255
    prior = I.fitted_prior(vae, images, batch_size=5)
    assert torch.allclose(prior.mean.double(), codes.mean(0), atol=1e-5)
    assert torch.allclose(
        prior.precision.double().inverse(), codes.T.cov() + 0.25 * torch.eye(4), atol=1e-4
    )


def test_one_image_has_no_covariance(linear, images):
    with pytest.raises(ValueError, match="two images or more"):
        I.fitted_prior(linear, images[:1])


@pytest.mark.parametrize("way", ["mean", "neighbour", "network", "search"])
def test_floats_of_0_to_255_are_refused(way, images, linear):
    bad, network = images.float(), Inpainter(16, 4).eval()
    restore = {
        "mean": lambda: I.by_mean(images, HALF, bad),
        "neighbour": lambda: I.by_neighbour(bad, HALF, images),
        "network": lambda: I.by_network(network, bad, HALF),
        "search": lambda: I.by_search(linear, bad, HALF, STANDARD, steps=1),
    }[way]
    with pytest.raises(ValueError, match="expected float images"):
        restore()


def test_the_search_works_with_the_networks_of_the_lab(images):
    torch.manual_seed(0)
    vae = face_vae(8, base=4)
    guess = I.by_search(vae, images[:2], HALF, I.fitted_prior(vae, images), steps=3)
    assert guess.shape == (2, 3, 64, 64) and guess.min() >= 0 and guess.max() <= 1
