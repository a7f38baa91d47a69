"""The panel of one style in every class shows what its controls say, and refuses the rest."""

import ipywidgets
import pytest
import torch

from labkit.widgets import same_style

STYLES = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def draw(z, y):
    """Images whose brightness is a function of the code and of the label."""
    level = (z.sum(1) + 0.3 * y).sigmoid()
    return level[:, None, None, None].expand(-1, 1, 28, 28)


def sees_brightness(images):
    return images.float().mean((1, 2, 3))[:, None] * torch.linspace(0, 9, 10)


@pytest.fixture
def panel():
    models = {"cDCGAN": (draw, STYLES), "cVAE": (lambda z, y: draw(-z, y), STYLES)}
    return same_style(models, [str(k) for k in range(10)])


def pictures(panel):
    return b"".join(bytes(image.value) for image in panel.shown.children)


def test_the_panel_shows_the_class_the_style_and_the_model(panel):
    assert panel.sentence == "cDCGAN, asked for 0 in style 2.0."
    seen = {pictures(panel)}
    for name, value in (("kind", "7"), ("style", 2.5), ("model", "cVAE"), ("style", 5.0)):
        panel.controls[name].value = value
        seen.add(pictures(panel))
    assert len(seen) == 5 and panel.sentence == "cVAE, asked for 7 in style 5.0."
    assert isinstance(panel.controls["style"], ipywidgets.FloatSlider)
    assert "labkit-same-style" in panel.box._dom_classes


def test_the_classifier_sees_the_image_of_the_chosen_class():
    panel = same_style({"cVAE": (draw, STYLES)}, [str(k) for k in range(10)], sees_brightness)
    assert panel.sentence.endswith("style 2.0: the classifier sees 9 with p = 1.00.")


def test_the_panel_refuses_what_it_cannot_show():
    with pytest.raises(ValueError, match=r"styles \(K, Z\)"):
        same_style({"cVAE": (draw, STYLES[:1])}, ["0", "1"])
    with pytest.raises(ValueError, match="a model or more"):
        same_style({}, ["0"])
    with pytest.raises(ValueError, match="expected 0 to 1"):
        same_style({"logits": (lambda z, y: 100 * draw(z, y), STYLES)}, ["0", "1"])
