"""A panel of one's own: the figure that a function draws follows the controls."""

import ipywidgets
import matplotlib.pyplot as plt
import pytest
import torch

from labkit import widgets
from labkit.widgets import canvas


def bars(height, name="a", twice=False):
    figure, ax = plt.subplots()
    ax.bar([name, "other"], [height * (1 + twice), 1])
    ax.set(ylabel="height (cm)")
    return figure, f"{name}: {height * (1 + twice):g}"


def test_controls_are_those_of_interact_and_the_sentence_follows_them():
    panel = widgets.live(bars, height=(1.0, 3.0, 0.5), name=["a", "b"], twice=False)
    kinds = [type(control).__name__ for control in panel.controls.values()]
    assert kinds == ["FloatSlider", "Dropdown", "Checkbox"] and panel.sentence == "a: 2"
    before = panel.image.value
    panel.controls["name"].value, panel.controls["twice"].value = "b", True
    assert panel.sentence == "b: 4" and panel.image.value != before
    assert not plt.get_fignums()


def test_a_widget_keeps_its_own_name_and_others_get_that_of_the_argument():
    own = ipywidgets.IntSlider(value=2, min=1, max=3, description="how high")
    panel = widgets.live(lambda height_in_cm: bars(height_in_cm), height_in_cm=own)
    assert panel.controls["height_in_cm"].description == "how high"
    made = widgets.live(lambda height_in_cm: bars(height_in_cm), height_in_cm=(1, 3))
    assert made.controls["height_in_cm"].description == "height in cm"


def test_images_are_drawn_as_they_are():
    images = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8)
    panel = widgets.live(lambda k: images[: k + 1], k=(0, 2))
    one = canvas.size_on_page(panel.image.value)[0]
    panel.controls["k"].value = 2
    assert canvas.size_on_page(panel.image.value)[0] > one


def test_frames_are_played_from_the_first_to_the_last():
    moments = widgets.frames(5, 2)
    slider, play = moments.with_play.children
    assert (slider.min, slider.max, slider.value) == (0, 4, 2) == (play.min, play.max, play.value)
    panel = widgets.live(lambda k: bars(k + 1), k=moments)
    assert panel.box.children[0] is moments.with_play
    slider.value = 4
    assert panel.sentence == "a: 5"


def test_a_figure_that_is_hard_to_read_is_refused():
    def unlabelled(x):
        figure, ax = plt.subplots()
        ax.plot([0, x], [0, 1])
        ax.set(xlabel="time (s)", xticks=[])
        return figure

    with pytest.raises(ValueError, match="hard to read"):
        widgets.live(unlabelled, x=(1, 3))
    assert not plt.get_fignums()
