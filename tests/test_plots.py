"""Figures as files: small, and the same picture."""

import io

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from labkit import plots


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def test_a_drawn_figure_becomes_smaller_and_stays_what_it_was():
    figure, ax = plt.subplots(figsize=(4, 3))
    ax.scatter(*torch.randn(2, 500, generator=torch.Generator().manual_seed(0)), alpha=0.5, c=np.arange(500) % 5, cmap="viridis")
    whole = plots.png(figure)
    small = plots.fewer_bytes(whole)
    assert len(small) < 0.6 * len(whole)
    assert np.abs(pixels(small) - pixels(whole)).mean() < 1


def test_a_photograph_keeps_all_of_its_colours():
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format="png")
    assert np.array_equal(pixels(plots.fewer_bytes(buffer.getvalue())), noise)


def test_what_is_transparent_becomes_white():
    buffer = io.BytesIO()
    Image.new("RGBA", (3, 3), (0, 0, 0, 0)).save(buffer, format="png")
    assert (pixels(plots.fewer_bytes(buffer.getvalue())) == 255).all()


def test_a_grid_shows_every_image_in_its_place():
    images = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 1, 4, 4) * 40
    _, ax = plt.subplots()
    canvas = plots.image_grid(images, 3, ax).images[0].get_array()
    assert canvas.shape == (12, 18)
    for k in range(6):
        y, x = k // 3 * 6 + 1, k % 3 * 6 + 1
        assert np.allclose(canvas[y : y + 4, x : x + 4], 40 * k / 255)
    plt.close()
