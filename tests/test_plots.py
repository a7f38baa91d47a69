"""Figures as files: small, and the same picture."""

import io

import matplotlib.pyplot as plt
import numpy as np
import torch
from figure_check import check_figure
from PIL import Image

from labkit import plots
from labkit.models.recurrent import LSTMState
from labkit.studies.palindromes import gate_panels


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def test_a_drawn_figure_becomes_smaller_and_stays_what_it_was():
    figure, ax = plt.subplots(figsize=(4, 3))
    ax.scatter(
        *torch.randn(2, 500, generator=torch.Generator().manual_seed(0)),
        alpha=0.5,
        c=np.arange(500) % 5,
        cmap="viridis",
    )
    whole = plots.png(figure)
    kind, small = plots.fewer_bytes(whole)
    assert kind == "image/png" and len(small) < 0.6 * len(whole)
    assert np.abs(pixels(small) - pixels(whole)).mean() < 1


def test_a_photograph_keeps_its_colours_in_a_fraction_of_the_bytes():
    y, x = np.mgrid[0:300, 0:300] / 300  # smooth, in very many colours
    picture = np.stack([255 * x, 255 * y, 255 * (1 - x * y)], -1).astype(np.uint8)
    picture += np.random.default_rng(0).integers(0, 6, picture.shape, dtype=np.uint8) * (
        picture < 250
    )
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png")
    kind, small = plots.fewer_bytes(buffer.getvalue())
    assert kind == "image/jpeg" and len(small) < 0.25 * len(buffer.getvalue())
    assert np.abs(pixels(small) - picture).mean() < 3


def test_a_figure_is_shown_as_what_it_is(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **more: shown.append((data, more)))
    for image in (np.zeros((9, 9)), np.random.default_rng(0).random((300, 300, 3))):
        figure, ax = plt.subplots()
        ax.imshow(image, interpolation="nearest")
        plots.show(figure, "what it shows")
    for (data, more), kind in zip(shown[::2], ("png", "jpeg"), strict=True):
        assert Image.open(io.BytesIO(data[f"image/{kind}"])).format == kind.upper()
        assert (
            more["metadata"] == {f"image/{kind}": {"alt": "what it shows"}}
            and data["text/plain"] == "what it shows"
        )


def test_titles_above_images_are_not_cut_off():
    with plt.rc_context({"figure.constrained_layout.use": True}):
        figure, axes = plt.subplots(1, 3, figsize=(9, 3.2))
        for ax in axes:
            plots.image_grid(torch.zeros(64, 1, 28, 28), 8, ax, "VAE, latent 8")
        assert (pixels(plots.png(figure))[0] == 255).all()


def test_names_of_classes_do_not_overlap_and_stay_inside():
    points = np.random.default_rng(0).normal((1, 2.9), 0.05, (500, 2))
    figure, ax = plt.subplots(figsize=(4.2, 4.2))
    plots.latent_scatter(points, np.arange(500) % 10, ax, classes=["Pullover", *"abcdefghi"])
    assert len(ax.texts) == 10 and check_figure(figure) == []
    boxes = [text.get_window_extent() for text in ax.texts]
    assert all(ax.bbox.x0 <= box.x0 and box.y1 <= ax.bbox.y1 for box in boxes)
    plt.close()


def test_names_stand_at_the_medians_where_there_is_room():
    _, ax = plt.subplots()
    places = np.array([[-2.0, 1.0], [0.0, 0.0], [2.0, -1.0]])
    plots.latent_scatter(places.repeat(5, 0), np.repeat([0, 1, 4], 5), ax)
    assert {text.get_text(): text.get_position() for text in ax.texts} == {
        name: tuple(place) for name, place in zip("014", places, strict=True)
    }
    plt.close()


def test_gates_have_units_digits_and_their_own_scales():
    gate, cell = np.full((4, 8), 0.25), np.linspace(-2, 2, 32).reshape(4, 8)
    trace = LSTMState(*[gate] * 4, cell, gate)
    figure, axes = plt.subplots(2, 4, figsize=(13, 4.2), sharex="col", layout="constrained")
    gate_panels(trace, [3, 1, 1, 3], axes)
    assert check_figure(figure) == []
    assert [image.get_clim() for ax in axes[0] for image in ax.images] == [(0, 1)] * 3 + [(-2, 2)]
    assert [t.get_text() for t in axes[1, 0].get_xticklabels()] == list("3113")
    assert axes[1, 0].lines[0].get_ydata().tolist() == [0.25] * 4
    shown = axes[0, 3].images[0].get_array()
    assert (np.diff(np.abs(shown[:, -1])) <= 0).all()  # the largest |c| at the end is on top
    plt.close()


def test_what_is_transparent_becomes_white():
    buffer = io.BytesIO()
    Image.new("RGBA", (3, 3), (0, 0, 0, 0)).save(buffer, format="png")
    assert (pixels(plots.fewer_bytes(buffer.getvalue())[1]) == 255).all()


def test_a_grid_shows_every_image_in_its_place():
    images = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 1, 4, 4) * 40
    _, ax = plt.subplots()
    canvas = plots.image_grid(images, 3, ax).images[0].get_array()
    assert canvas.shape == (12, 18)
    for k in range(6):
        y, x = k // 3 * 6 + 1, k % 3 * 6 + 1
        assert np.allclose(canvas[y : y + 4, x : x + 4], 40 * k / 255)
    plt.close()


def test_an_attention_map_names_what_was_read_and_written():
    weights = np.eye(3, 5)
    _, ax = plt.subplots()
    plots.attention_map(weights, " 3-12", " -9", ax)
    assert np.array_equal(ax.images[0].get_array(), weights)
    assert [t.get_text() for t in ax.get_xticklabels()] == list("␣3-12") and [
        t.get_text() for t in ax.get_yticklabels()
    ] == list("␣-9")
    plt.close()


def test_a_confusion_shows_the_mistakes_and_leaves_out_what_is_right():
    counts = np.diag([50, 40, 30])
    counts[2, 0] = 7
    _, ax = plt.subplots()
    plots.symbol_confusion(counts, "01 ", ax, "units: ")
    assert ax.get_title() == "units: 7 of 127 wrong" and [t.get_text() for t in ax.texts] == ["7"]
    assert ax.images[0].get_array()[2, 0] == 7 and ax.images[0].get_array().sum() == 7
    plt.close()


def test_thumbnails_stand_where_their_codes_are():
    corners = np.array([[0.5, 0.5], [2.5, 0.5], [0.5, 2.5], [2.5, 2.5], [0, 0], [3, 3]])
    images = torch.arange(40, 246, 41, dtype=torch.uint8)[: len(corners), None, None, None].expand(
        -1, 3, 8, 8
    )
    ax = plots.thumbnails(images, corners, plt.figure().add_subplot(), cells=3, quantile=0)
    canvas = ax.images[0].get_array()
    assert [canvas[y, x, 0] for y, x in ((20, 4), (20, 20), (4, 4), (4, 20))] == images[
        :4, 0, 0, 0
    ].tolist()  # row 0 is the top
    assert (canvas[12, 12] == 255).all()
    plt.close()
