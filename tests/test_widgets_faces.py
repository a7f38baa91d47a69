"""Panels for photographs follow their sliders; principal axes are those of an oracle; the map shows
each image where its code is.
"""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA

from labkit import latent, widgets
from labkit.data.masks import visible_part
from labkit.widgets import canvas

MIXING = torch.tensor([[3.0, 0, 0], [1, 2, 0], [0, 0, 0.5]])


@pytest.fixture(scope="module")
def codes():
    return torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) @ MIXING + torch.tensor(
        [1.0, 2, 3]
    )


def decode(z):
    """The first two coordinates as red and green of a picture."""
    colour = torch.cat([z[:, :2].sigmoid(), torch.zeros(len(z), 1)], 1)
    return colour[:, :, None, None].expand(-1, 3, 64, 64)


def pixels(panel, k=0):
    """Picture k of a panel, from below its caption."""
    picture = Image.open(io.BytesIO(panel.shown.children[k].value)).convert("RGB")
    return np.asarray(picture).astype(int)[80:]


def test_principal_axes_agree_with_an_oracle(codes):
    axes, oracle = latent.principal_axes(codes), PCA(3).fit(codes.numpy())
    assert np.allclose(axes.mean, oracle.mean_, atol=1e-5)
    assert np.allclose(axes.sd, oracle.explained_variance_**0.5, atol=1e-4)
    assert np.allclose(axes.share, oracle.explained_variance_ratio_, atol=1e-5)
    assert np.allclose(np.abs(axes.directions.numpy() @ oracle.components_.T), np.eye(3), atol=1e-3)
    assert (axes.directions.gather(1, axes.directions.abs().argmax(1, keepdim=True)) > 0).all()


def test_places_along_principal_axes_are_uncorrelated_and_have_their_sd(codes):
    axes = latent.principal_axes(codes)
    places = (codes - axes.mean) @ axes.directions.T
    assert torch.allclose(places.T.cov(), axes.sd.square().diag(), atol=1e-3)


@pytest.mark.parametrize("shape", [(3, 3), (5,), (2, 4)])
def test_too_few_codes_have_no_principal_axes(shape):
    with pytest.raises(ValueError, match="N > J"):
        latent.principal_axes(torch.rand(shape))


def test_directions_move_the_code_by_sigmas_along_an_axis(codes):
    axes = latent.principal_axes(codes)
    panel = widgets.directions(
        decode, axes, {"mean": axes.mean, "first": codes[0]}, 2, start="mean"
    )

    def expected(z):
        return (255 * decode(z[None])[0, :, 0, 0]).round()

    assert np.allclose(pixels(panel)[20, 20], expected(axes.mean), atol=1)
    panel.controls["direction_2"].value = -1.5
    assert np.allclose(
        pixels(panel)[20, 20], expected(axes.mean - 1.5 * axes.sd[1] * axes.directions[1]), atol=1
    )
    assert "direction 2: −1.50 σ" in panel.sentence
    panel.controls["face"].value = "first"
    assert np.allclose(
        pixels(panel)[20, 20], expected(codes[0] - 1.5 * axes.sd[1] * axes.directions[1]), atol=1
    )


def test_directions_refuse_more_axes_than_there_are(codes):
    axes = latent.principal_axes(codes)
    for faces, count in (({}, 2), ({"mean": axes.mean}, 4), ({"mean": axes.mean}, 0)):
        with pytest.raises(ValueError, match="1 to 3 directions"):
            widgets.directions(decode, axes, faces, count)


def test_completeness_follows_slider_and_side():
    images = torch.full((2, 3, 64, 64), 255, dtype=torch.uint8)
    images[1] = 0
    panel = widgets.completeness(
        images,
        {"black": lambda x, m: torch.zeros(x.shape), "white": lambda x, m: torch.ones(x.shape)},
    )
    assert "black 0.0 dB, white inf dB" in panel.sentence  # a white image
    shown = [pixels(panel, k)[10] for k in range(4)]  # visible, black, white, original
    assert (shown[0][[10, -10]] == [[255] * 3, [128] * 3]).all()
    assert (shown[1][[10, -10]] == [[255] * 3, [0] * 3]).all()
    panel.controls["side"].value = "right"
    assert (pixels(panel)[10, [10, -10]] == [[128] * 3, [255] * 3]).all()
    panel.controls["cat"].value = 1
    assert "white 0.0 dB" in panel.sentence
    panel.controls["percent"].value = 100
    assert "nothing to restore" in panel.sentence


def test_the_best_restored_face_is_marked():
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    methods = {"white": lambda x, m: torch.ones(x.shape), "grey": lambda x, m: x / 255 + 0.5}
    panel = widgets.completeness(images, methods)
    marked = [(pixels(panel, k)[-1, 0] == canvas.ORANGE).all() for k in range(4)]
    assert marked == [False, False, True, False]


def test_reset_takes_all_directions_back_and_a_panel_starts_at_a_face(codes):
    axes = latent.principal_axes(codes)
    panel = widgets.directions(decode, axes, {"the mean": axes.mean, "cat": codes[0]}, 2)
    assert panel.sentence.startswith("cat; no direction moved")
    panel.controls["direction_1"].value = 1.25
    assert "direction 1: +1.25 σ" in panel.sentence
    panel.box.children[0].children[1].click()
    assert "no direction moved" in panel.sentence


def test_completeness_hands_methods_the_mask_that_it_shows():
    seen = []
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    panel = widgets.completeness(images, {"spy": lambda x, m: seen.append(m) or x / 255})
    panel.controls["percent"].value = 25
    assert torch.equal(seen[-1], visible_part(0.25, "left"))


def test_completeness_needs_images_methods_and_a_name_each():
    images = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    for arguments in ((images[:0], {"a": None}), (images, {}), (images, {"a": None}, ["one"])):
        with pytest.raises(ValueError, match="an image, a method"):
            widgets.completeness(*arguments)
