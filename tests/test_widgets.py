"""Panels follow their controls, survive bad input, and leave a picture for readers without a kernel."""

import base64

import ipywidgets
import pytest
import torch

from labkit import widgets
from labkit.models import LSTM

PNG = b"\x89PNG\r\n\x1a\n"
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return LSTM(10, 8, 10)


@pytest.fixture
def panel(network):
    return widgets.palindrome_reader(network, "1232")


def test_a_panel_follows_its_control():
    control = ipywidgets.IntSlider(value=3, max=9)
    panel = widgets.Panel(lambda n: (PNG + bytes([n]), f"n is {n}"), {"n": control})
    assert (panel.image.value, panel.message.value) == (PNG + b"\3", "n is 3")
    control.value = 7
    assert (panel.image.value, panel.message.value) == (PNG + b"\7", "n is 7")
    assert control in panel.box.children and panel.image in panel.box.children


def test_only_bad_input_is_turned_into_a_message():
    def render(n):
        raise KeyError("a mistake of ours")

    with pytest.raises(KeyError):
        widgets.Panel(render, {"n": ipywidgets.IntSlider()})


def test_typing_digits_changes_picture_and_prediction(panel):
    before = bytes(panel.image.value)
    assert before.startswith(PNG) and panel.message.value.startswith("After 1232 the model predicts")
    panel.controls["digits"].value = "98 7"
    assert bytes(panel.image.value).startswith(PNG) and panel.image.value != before
    assert panel.message.value.startswith("After 987 the model predicts")


def test_the_prediction_is_the_networks_own(network):
    x = torch.nn.functional.one_hot(torch.tensor([[4, 0, 4]]), 10).float()
    probabilities = network(x).softmax(1)[0]
    _, message = widgets.read_digits(network, "404")
    assert f"predicts {probabilities.argmax()} with p = {probabilities.max():.3f}" in message
    assert ("not the first digit, which was 4" in message) == (probabilities.argmax() != 4)


@pytest.mark.parametrize("typed", ["12a4", "", "   ", "1" * 100, "-1", "1.5", "²", "٣"])
def test_what_is_no_row_of_digits_gets_a_message_and_the_picture_stays(panel, typed):
    before = panel.image.value
    panel.controls["digits"].value = typed
    assert panel.image.value == before
    assert panel.message.value.startswith("Type 1 to 99 digits and nothing else, for example 1232")
    panel.controls["digits"].value = "11"
    assert panel.message.value.startswith("After 11 ")


@pytest.mark.parametrize("typed", ["7", "1234567890" * 9 + "123456789"])
def test_the_shortest_and_the_longest_row_are_drawn(network, typed):
    picture, message = widgets.read_digits(network, typed)
    assert picture.startswith(PNG) and f"After {typed} " in message


def test_the_output_has_the_live_view_a_picture_and_a_sentence_without_a_kernel(panel):
    bundle = panel._repr_mimebundle_()
    assert bundle[VIEW]["model_id"] == panel.box.model_id
    assert base64.b64decode(bundle["image/png"]) == panel.image.value and bytes(panel.image.value).startswith(PNG)
    assert bundle["text/plain"].startswith("After 1232 the model predicts")


def test_no_figure_stays_open(network):
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    widgets.read_digits(network, "12")
    assert plt.get_fignums() == before
