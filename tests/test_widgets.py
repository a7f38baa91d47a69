"""Panels follow their controls, survive bad input, and leave a picture for classifiers without a
kernel.
"""

import base64
import io

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from labkit import latent, widgets
from labkit.models import LSTM, Classifier
from labkit.widgets import canvas
from labkit.widgets.panel import PADDING, Unfinished, applied
from labkit.widgets.sequences import COLUMNS, HISTORY, UNITS

PNG = b"\x89PNG\r\n\x1a\n"
VIEW = "application/vnd.jupyter.widget-view+json"


def grey(level, side=4):
    """PNG of a square of one grey."""
    return canvas.png(np.full((side, side, 3), level, np.uint8))


def ipywidgets_in(widget):
    """A widget and all that are in it."""
    return [widget, *(w for child in getattr(widget, "children", ()) for w in ipywidgets_in(child))]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return LSTM(10, 8, 10)


@pytest.fixture
def panel(network):
    return widgets.palindrome_gates(network, "1232")


def test_a_panel_follows_its_control():
    control = ipywidgets.IntSlider(value=3, max=9)
    panel = widgets.Panel(lambda n: (grey(n), f"n is {n}"), {"n": control})
    assert (panel.image.value, panel.sentence) == (grey(3), "n is 3")
    control.value = 7
    assert (panel.image.value, panel.sentence) == (grey(7), "n is 7")
    assert {control, panel.image} <= set(ipywidgets_in(panel.box))


def test_a_panel_has_as_many_pictures_as_are_drawn():
    control = ipywidgets.IntSlider(value=2, min=1, max=3)
    panel = widgets.Panel(lambda n: ([grey(k) for k in range(n)], ""), {"n": control})
    for n in (2, 3, 1):
        control.value = n
        assert [image.value for image in panel.shown.children] == [grey(k) for k in range(n)]


def test_an_error_is_amber_and_what_is_not_yet_typed_is_not():
    def render(n):
        if n:
            raise (Unfinished if n == 1 else ValueError)("type more" if n == 1 else "wrong")
        return grey(n), "fine"

    panel = widgets.Panel(render, {"n": ipywidgets.IntSlider()})
    for n, state in ((1, {"labkit-unfinished"}), (2, {"labkit-refused"}), (0, set())):
        panel.controls["n"].value = n
        marks = {"labkit-unfinished", "labkit-refused"} & set(panel.box._dom_classes)
        assert marks == state and panel.image.value == grey(0)
        assert 'aria-live="polite"' in panel.message.value and panel.sentence in panel.message.value


def test_what_outlives_the_kernel_has_the_sentence_a_hint_and_the_picture(panel, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    panel._ipython_display_()
    live, note = shown
    assert live[VIEW]["model_id"] == panel.box.model_id
    name = f"labkit-still-{panel.box.model_id}"
    assert panel.sentence in note["text/html"] and "run this cell" in note["text/html"]
    assert f'class="{name}"' in note["text/html"] and live["image/png"] in note["text/html"]
    parts = [w.value for w in ipywidgets_in(panel.box) if isinstance(w, ipywidgets.HTML)]
    assert sum(f".{name} {{ display: none }}" in part for part in parts) == 1
    assert not any("run this cell" in part for part in parts)


def test_a_sentence_below_a_picture_wraps_and_is_no_markup():
    panel = widgets.Panel(lambda n: (grey(n), f"{n} < 9 & 'x'"), {"n": ipywidgets.IntSlider(max=9)})
    assert panel.sentence == "0 < 9 & 'x'" and "0 &lt; 9 &amp; 'x'" in panel.message.value
    assert isinstance(panel.message, ipywidgets.HTML)  # a Label would be cut at the panel's edge


def test_only_bad_input_is_turned_into_a_message():
    def render(n):
        raise KeyError("a mistake of ours")

    with pytest.raises(KeyError):
        widgets.Panel(render, {"n": ipywidgets.IntSlider()})


def test_bad_arguments_are_errors_when_a_panel_is_made(network):
    with pytest.raises(ValueError, match="for example 1232"):
        widgets.palindrome_gates(network, "")


def test_tests_find_a_panel_by_its_class(panel):
    assert {"labkit-panel", "labkit-palindrome-gates"} <= set(panel.box._dom_classes)


def test_typing_digits_changes_picture_and_prediction(panel):
    before = bytes(panel.image.value)
    assert before.startswith(PNG) and panel.sentence.startswith("After 1232 the model predicts")
    panel.controls["digits"].value = "98 7"
    assert bytes(panel.image.value).startswith(PNG) and panel.image.value != before
    assert panel.sentence.startswith("After 987 the model predicts")


def test_the_prediction_is_the_networks_own(network):
    x = torch.nn.functional.one_hot(torch.tensor([[4, 0, 4]]), 10).float()
    probabilities = network(x).softmax(1)[0]
    message = widgets.palindrome_gates(network, "404").sentence
    assert f"predicts {probabilities.argmax()} with p = {probabilities.max():.3f}" in message
    assert ("not the first digit, which was 4" in message) == (probabilities.argmax() != 4)


@pytest.mark.parametrize("typed", ["12a4", "", "   ", "1" * 100, "-1", "1.5", "²", "٣"])
def test_what_is_no_row_of_digits_gets_a_message_and_the_picture_stays(panel, typed):
    before = panel.image.value
    panel.controls["digits"].value = typed
    assert panel.image.value == before
    assert panel.sentence.startswith("Type 1 to 99 digits and nothing else, for example 1232")
    panel.controls["digits"].value = "11"
    assert panel.sentence.startswith("After 11 ")


@pytest.mark.parametrize("typed", ["7", "1234567890" * 9 + "123456789"])
def test_the_shortest_and_the_longest_row_are_drawn(network, typed):
    panel = widgets.palindrome_gates(network, typed)
    assert bytes(panel.image.value).startswith(PNG) and f"After {typed} " in panel.sentence


def test_another_digit_leaves_the_history_of_those_before_it_as_it_was(panel):
    before = [decoded(panel, k) for k in range(4)]
    panel.controls["digits"].value = "12329"
    wide = canvas.DENSITY * HISTORY // COLUMNS  # pixels of a digit
    for k, picture in enumerate(before):
        history = slice(canvas.DENSITY * canvas.LINE, canvas.DENSITY * (canvas.LINE + UNITS))
        assert (decoded(panel, k)[history, : 4 * wide] == picture[history, : 4 * wide]).all()
        assert (decoded(panel, k)[history, 4 * wide : 5 * wide] != 255).any()


def test_the_output_has_the_live_view_a_picture_and_a_sentence_without_a_kernel(panel):
    bundle, metadata = panel._repr_mimebundle_()
    assert bundle[VIEW]["model_id"] == panel.box.model_id
    picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).convert("RGB")
    still, live = np.asarray(picture).astype(int), decoded(panel)
    assert np.abs(still[: len(live), : live.shape[1]] - live).mean() < 1
    assert metadata["image/png"]["width"] == picture.width / canvas.DENSITY
    assert bundle["text/plain"].startswith("After 1232 the model predicts")
    assert metadata["image/png"]["alt"] == panel.sentence


def decoded(panel, k=0):
    """Picture k of a panel as an array (H, W, 3) of int."""
    picture = bytes(panel.shown.children[k].value)
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


class Blot(nn.Module):
    """Codes (N, D) → images (N, 1, 28, 28) in [−1, 1] whose brightness is the first coordinate;
    batch norm makes train mode show.
    """

    def __init__(self, dim=2):
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)

    def forward(self, z):
        return self.norm(z)[:, :1, None, None].expand(-1, 1, 28, 28).tanh()


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return Classifier().eval()


@pytest.fixture
def frames():
    return [canvas.png(np.full((40 + k, 50, 3), 9 * k, np.uint8)) for k in range(4)]


def test_the_scrubber_starts_at_the_end_and_shows_the_frame_of_its_label(frames):
    panel = widgets.scrubber(frames, ["0", "0", "5", "30"])  # a label may come twice
    assert (
        panel.image.value == frames[3]
        and panel.sentence == "epoch 30 (4 of 4)"
        and panel.image.layout.width == f"{25 + PADDING}px"
    )
    panel.controls["frame"].index = 1
    assert panel.image.value == frames[1] and panel.sentence == "epoch 0 (2 of 4)"
    assert (
        panel.controls["frame"].description == "epoch"
        and "labkit-scrubber" in panel.box._dom_classes
    )


def test_the_scrubber_can_be_played(frames):
    panel = widgets.scrubber(frames, list("abcd"))
    slider, play = panel.box.children[0].children
    assert (
        slider is panel.controls["frame"]
        and isinstance(play, ipywidgets.Play)
        and (play.min, play.max) == (0, 3)
    )


def test_the_scrubber_refuses_what_it_cannot_show(frames):
    for wrong in ([], frames[:1]):
        with pytest.raises(ValueError, match="one label a frame"):
            widgets.scrubber(wrong, ["0", "1"][: 2 * len(wrong)])
    with pytest.raises(ValueError, match=r"plots\.png"):
        widgets.scrubber([b"GIF89a"], ["0"])


@pytest.fixture
def codes():
    return dict(
        zip("835", torch.randn(3, 16, generator=torch.Generator().manual_seed(1)), strict=True)
    )


def test_a_walk_draws_the_code_on_the_way_as_the_generator_in_eval_mode_does(codes):
    generator = Blot(16)
    panel = widgets.walk(generator, codes)
    panel.controls["start"].value, panel.controls["end"].value = "8", "3"
    for way, interpolate in {"LERP": latent.lerp, "SLERP": latent.slerp}.items():
        for t in (0, 0.35, 1):
            panel.controls["way"].value, panel.controls["t"].value = way, t
            z = interpolate(codes["8"], codes["3"], t)
            expected = 127.5 * (generator.eval()(z[None])[0, 0, 0, 0].item() + 1)
            assert np.abs(decoded(panel)[-400:] - expected).max() <= 4
            assert panel.sentence == f"8 → 3, {way}, t = {t:.2f}, |z| = {z.norm():.2f}."


def test_a_walk_shows_its_ends_at_the_ends_of_the_strip(codes):
    panel = widgets.walk(Blot(16), codes)
    panel.controls["t"].value = 0
    strip = decoded(panel, 1)[-60]
    assert np.abs(strip[10] - decoded(panel)[-1, 0]).max() == 0
    panel.controls["t"].value = 1
    assert np.abs(strip[-10] - decoded(panel)[-1, 0]).max() == 0


def test_a_walk_goes_between_the_chosen_codes_and_back_to_itself(codes, classifier):
    assert widgets.walk(Blot(16), codes).sentence.startswith("3 → 8, ")
    panel = widgets.walk(Blot(16), codes, classifier, start=("8", "3"))
    panel.controls["end"].value = "5"
    assert panel.sentence.startswith("8 → 5, ")
    panel.controls["start"].value = "5"
    assert panel.sentence.startswith(
        f"5 → 5, SLERP, t = 0.50, |z| = {codes['5'].norm():.2f}: the classifier sees "
    )


def test_a_walk_goes_the_ways_that_it_is_given(codes):
    asked = []

    def detour(a, b, t):
        asked.append(t)
        return a + t[:, None] ** 2 * (b - a)

    generator = Blot(16).eval()
    panel = widgets.walk(generator, codes, start="83", ways={"detour": detour, "LERP": latent.lerp})
    assert panel.controls["way"].options == ("detour", "LERP")
    panel.controls["t"].value = 0.7
    z = detour(codes["8"], codes["3"], torch.tensor([0.7]))
    expected = 127.5 * (generator(z)[0, 0, 0, 0].item() + 1)
    assert np.abs(decoded(panel)[-400:] - expected).max() <= 4
    assert panel.sentence == f"8 → 3, detour, t = 0.70, |z| = {z.norm():.2f}."
    assert {tuple(t.shape) for t in asked} == {(1,), (9,)}
    panel.controls["way"].value = "LERP"
    z = latent.lerp(codes["8"], codes["3"], 0.7)
    assert panel.sentence == f"8 → 3, LERP, t = 0.70, |z| = {z.norm():.2f}."


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"8": torch.ones(4)},
        {"8": torch.ones(4), "3": torch.ones(5)},
        {"8": torch.ones(1, 4), "3": torch.ones(1, 4)},
    ],
)
def test_a_walk_refuses_codes_that_it_cannot_walk_between(wrong):
    with pytest.raises(ValueError, match="two codes or more of one length"):
        widgets.walk(Blot(4), wrong)


def test_slerp_from_a_zero_code_gets_a_message_and_lerp_goes_on(codes):
    panel = widgets.walk(Blot(16), {**codes, "0": torch.zeros(16)}, start="83")
    before = panel.image.value
    panel.controls["end"].value = "0"
    assert "use lerp" in panel.sentence and panel.image.value == before
    panel.controls["way"].value = "LERP"
    assert panel.sentence.startswith("8 → 0, LERP") and panel.image.value != before


@pytest.fixture
def plane(classifier):
    points = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    return widgets.latent_plane(
        lambda z: z.sigmoid().prod(1).view(-1, 1, 1, 1).expand(-1, 1, 28, 28),
        points,
        torch.arange(300) % 10,
        classifier,
    )


def test_the_plane_decodes_where_the_sliders_are_and_reads_what_it_shows(plane, classifier):
    plane.controls["z1"].value, plane.controls["z2"].value = 1.5, -0.5
    level = round(255 * float(torch.tensor([1.5, -0.5]).sigmoid().prod()))
    assert np.abs(decoded(plane, 1)[-448:] - level).max() <= 3
    p = classifier(torch.full((1, 1, 28, 28), level, dtype=torch.uint8)).softmax(1)[0]
    assert (
        plane.sentence
        == f"z = (+1.50, −0.50) σ: the classifier sees {p.argmax()} with p = {p.max():.2f}."
    )


def test_the_point_moves_right_with_the_first_slider_and_up_with_the_second(plane):
    def changed():
        """Middle (column, row) of what differs on the scatter from the start."""
        rows, columns, _ = np.nonzero(np.abs(decoded(plane) - start) > 100)
        return columns.mean(), rows.mean()

    start = decoded(plane)
    seen = {}
    for name, z in {
        "right": (2.5, 0),
        "left": (-2.5, 0),
        "up": (0, 2.5),
        "down": (0, -2.5),
    }.items():
        plane.controls["z1"].value, plane.controls["z2"].value = z
        seen[name] = changed()
    assert seen["right"][0] > seen["left"][0] + 50 and seen["up"][1] < seen["down"][1] - 50


def test_pixels_of_the_scatter_are_where_matplotlib_drew_the_points():
    point = np.array([[1.0, -2.0]])
    drawn, to_pixels = canvas.scatter(
        np.repeat(point, 50, axis=0), np.zeros(50, int), 3.0, [" "], 420
    )
    column, row = to_pixels(*point[0])
    without, _ = canvas.scatter(np.full((1, 2), 9.0), np.zeros(1, int), 3.0, [" "], 420)
    with_point, without = (np.asarray(p.convert("RGB")).astype(int) for p in (drawn, without))
    rows, columns = np.nonzero(np.abs(with_point - without).sum(2) > 50)
    assert abs(rows.mean() + 0.5 - row) < 1 and abs(columns.mean() + 0.5 - column) < 1


def test_the_plane_has_labelled_sliders_to_its_limit(plane):
    for name, subscript in {"z1": "z₁", "z2": "z₂"}.items():
        slider = plane.controls[name]
        assert (
            subscript in slider.description
            and (slider.min, slider.max) == (-3, 3)
            and 0 < slider.step <= 0.2
        )


@pytest.mark.parametrize("points, labels", [((9, 64), (9,)), ((9, 2), (8,)), ((9,), (9,))])
def test_the_plane_refuses_other_latents_than_two(points, labels):
    with pytest.raises(ValueError, match="two latent dimensions"):
        widgets.latent_plane(Blot(), torch.zeros(points), torch.zeros(labels, dtype=torch.long))


def test_what_is_no_image_is_refused_with_a_remedy():
    points, labels = torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)
    with pytest.raises(ValueError, match=r"decode gave \(225, 784\), expected images"):
        widgets.latent_plane(lambda z: torch.zeros(len(z), 784), points, labels)
    with pytest.raises(ValueError, match="sigmoid"):
        widgets.latent_plane(lambda z: torch.full((len(z), 1, 28, 28), -7.0), points, labels)
    with pytest.raises(ValueError, match="gave values from nan"):
        widgets.latent_plane(lambda z: torch.full((len(z), 1, 28, 28), torch.nan), points, labels)


def test_a_network_is_used_in_eval_mode_and_left_as_it_was():
    network = Blot()
    z = torch.tensor([[0.5, 0.0]])  # one code in train mode would be an error for batch norm
    assert applied(network, z)[0, 0, 0, 0] == pytest.approx(np.tanh(0.5), abs=1e-4)
    assert applied(network.forward, z)[0, 0, 0, 0] == pytest.approx(np.tanh(0.5), abs=1e-4)
    assert network.training and network.norm.training
    assert network.norm.num_batches_tracked == 0


def test_class_names_stand_in_the_sentence(codes, classifier):
    names = [
        "T-shirt",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Boot",
    ]
    panel = widgets.walk(Blot(16), codes, classifier, classes=names)
    assert any(f"the classifier sees {name} with p" in panel.sentence for name in names)


def test_colour_images_keep_their_colours():
    panel = widgets.walk(
        lambda z: torch.tensor([0.4, -0.2, 0.1])[None, :, None, None].expand(len(z), 3, 64, 64),
        {"a": torch.ones(3), "b": torch.ones(3)},
    )
    assert decoded(panel)[-5, 5].tolist() == [round(127.5 * (1 + c)) for c in (0.4, -0.2, 0.1)]


def test_bars_are_as_long_as_the_probabilities():
    p = torch.tensor([0.5, 0.25, 0.25, 0])
    drawn = canvas.bars(p, ["a", "b", "c", "d"], 150, 40)
    best, others = ((drawn == colour).all(2) for colour in (canvas.ORANGE, canvas.BLUE))
    lengths = [(best | others)[row].sum() for row in (10, 30, 50, 70)]
    assert best[10].any() and not best[30:].any()
    assert (
        lengths[0] == pytest.approx(2 * lengths[1], abs=2)
        and lengths[1] == lengths[2]
        and lengths[3] <= 1
    )


def test_enlarging_repeats_pixels():
    image = torch.arange(4, dtype=torch.uint8).view(1, 2, 2)
    np.testing.assert_array_equal(
        canvas.enlarge(image, 84)[..., 0], np.kron([[0, 1], [2, 3]], np.ones((84, 84), int))
    )


def test_the_bar_that_is_asked_for_is_green_and_the_largest_orange():
    drawn = canvas.bars(torch.tensor([0.7, 0.3]), [], 150, 40, asked=1)
    assert (drawn == canvas.ORANGE).all(2)[:40].any() and not (drawn == canvas.ORANGE).all(2)[
        40:
    ].any()
    assert (drawn == canvas.GREEN).all(2)[40:].any() and not (drawn == canvas.BLUE).all(2).any()


def test_hairs_end_at_the_axes_and_the_ring_is_whole_at_the_limit(plane):
    start = decoded(plane)
    plane.controls["z1"].value = plane.controls["z2"].value = 3
    rows, columns, _ = np.nonzero(np.abs(decoded(plane) - start) > 60)
    ring = 11 * canvas.DENSITY
    high, wide, _ = start.shape
    assert columns.max() + 1 < wide and rows.min() > 0  # not cut at the edge of the picture
    assert columns.min() > 0.14 * wide and rows.max() < 0.88 * high and ring < 0.06 * wide
