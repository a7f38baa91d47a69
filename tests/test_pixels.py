"""Pixel statistics: known images have known answers."""

import pytest
import torch

from labkit.metrics import pixels


def noise(n: int, seed: int = 0, size: int = 6) -> torch.Tensor:
    return torch.randint(
        0, 256, (n, 1, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


def test_the_mean_of_a_class_uses_its_images_only():
    images, labels = noise(30), torch.arange(30) % 3
    means = pixels.class_means(images, labels, 4)
    torch.testing.assert_close(means[1], images[1::3].float().mean(0) / 255)
    assert means[3].abs().max() == 0


def test_copies_are_found_and_near_copies_are_not():
    references, queries = noise(40), noise(5, seed=1)
    queries[2], queries[4] = references[7], references[9]
    queries[4, 0, 0, 0] += 1
    references[30] = references[7]
    assert pixels.exact_copies(queries, references).tolist() == [[2, 7], [2, 30]]
    assert pixels.exact_copies(queries[:2], references).shape == (0, 2)


def test_black_and_white_are_one_apart():
    black, white = (
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
        torch.full((1, 3, 4, 4), 255, dtype=torch.uint8),
    )
    assert pixels.rms_distances(black, torch.cat([black, white])).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 32, 32), (3, 64, 64)])
@pytest.mark.parametrize("low", [0, 200])
def test_copies_are_at_zero_and_one_grey_level_in_one_pixel_is_seen(shape, low):
    """Sums of squared grey levels exceed 2²⁴, where float32 has no odd numbers."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(low, 255, (60, *shape), generator=generator, dtype=torch.uint8)
    images[:, 0, :9] = 255 * (low == 0)  # with black or white parts, as digits have
    queries = images.clone()
    queries[1::2, 0, 10, 10] += 1
    step = 1 / 255 / images[0].numel() ** 0.5
    distances = pixels.rms_distances(queries, images).diagonal()
    assert (distances[0::2] == 0).all()
    torch.testing.assert_close(distances[1::2], torch.full((30,), step))
    assert torch.equal(pixels.nearest(queries, images)[1], torch.arange(60))


def test_float_images_have_the_distances_of_their_bytes():
    a, b = noise(9), noise(20, seed=1)
    expected = pixels.rms_distances(a, b).double()
    torch.testing.assert_close(pixels.rms_distances(a.double() / 255, b), expected)
    assert pixels.rms_distances(a.double() / 255, a).diagonal().max() < 1e-7


@pytest.mark.parametrize(
    "b", [noise(3) / 1.0, noise(3, size=5), noise(3).flatten(1), noise(3).int()]
)
def test_images_that_cannot_be_compared_are_refused(b):
    with pytest.raises(ValueError, match="expected"):
        pixels.rms_distances(noise(3), b)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_nearest_is_the_smallest_of_all_distances(batch_size):
    queries, references = noise(9, seed=1), noise(33)
    distances, indices = pixels.nearest(queries, references, batch_size)
    everything = (
        ((queries[:, None].double() - references[None].double()) / 255)
        .square()
        .mean((2, 3, 4))
        .sqrt()
    )
    assert torch.equal(indices, everything.argmin(1))
    torch.testing.assert_close(distances.double(), everything.amin(1), atol=1e-5, rtol=1e-4)
