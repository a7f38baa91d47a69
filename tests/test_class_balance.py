"""What is said of generated images, on images whose answer is known."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from labkit.metrics import class_balance
from labkit.metrics.class_balance import (
    class_histogram,
    classes_covered,
    classify,
    codes_of_classes,
    describe,
    histogram_distance,
    histogram_table,
)


class Corner(nn.Module):
    """Takes the brightest of the first ten pixels for the class; features are those pixels."""

    def __init__(self):
        super().__init__()
        self.head = nn.Identity()

    def features(self, x):
        return x.flatten(1)[:, :10].float() / 20


def digits(*counts):
    """Images whose class k, of brightness 200, comes counts[k] times."""
    labels = torch.arange(10).repeat_interleave(torch.tensor(counts))
    images = torch.zeros(len(labels), 1, 28, 28, dtype=torch.uint8)
    images.flatten(1)[torch.arange(len(labels)), labels] = 200
    return images


def test_a_balanced_set_has_all_classes_and_no_divergence():
    images = digits(*[20] * 10)
    said = describe(Corner(), images, classify(Corner(), images)[0])
    assert (
        said["classes"] == 10
        and said["rarest"] == pytest.approx(0.1)
        and said["kl_uniform"] == pytest.approx(0, abs=1e-12)
    )
    assert said["frechet"] == pytest.approx(0, abs=1e-6)
    assert said["confidence"] == pytest.approx(math.exp(10) / (math.exp(10) + 9), rel=1e-5)


def test_collapse_to_one_class_is_seen():
    real = classify(Corner(), digits(*[20] * 10))[0]
    said = describe(Corner(), digits(200, *[0] * 9), real)
    assert (
        said["classes"] == 1
        and said["rarest"] == 0
        and said["kl_uniform"] == pytest.approx(math.log(10))
    )
    assert said["frechet_share"] > 1


def test_a_class_of_one_in_a_hundred_is_not_counted():
    said = describe(Corner(), digits(99, 1, *[0] * 8), classify(Corner(), digits(*[20] * 10))[0])
    assert said["classes"] == 1


def test_histograms_add_up_and_make_a_table():
    p = classify(Corner(), digits(1, 2, 3, *[0] * 7))[1]
    assert class_histogram(p).tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6] + [0] * 7)
    table = histogram_table({"a": p, "b": p}, list("0123456789"))
    assert len(table) == 20 and table.groupby("images")["share"].sum().tolist() == pytest.approx(
        [1, 1]
    )


def test_the_distance_of_histograms_is_the_share_that_would_have_to_move():
    p, q = (
        torch.tensor(shares, dtype=torch.float64) for shares in ([0.5, 0.5, 0.0], [0.25, 0.25, 0.5])
    )
    assert histogram_distance(p, q) == histogram_distance(q, p) == pytest.approx(0.5)
    assert (
        histogram_distance(p, p) == 0 and histogram_distance(p, torch.tensor([0.0, 0.0, 1.0])) == 1
    )


@pytest.mark.parametrize("q", [[0.5, 0.5], [0.5, 0.4, 0.0], [1.5, -0.5, 0.0], [float("nan")] * 3])
def test_what_is_no_histogram_is_refused(q):
    with pytest.raises(ValueError, match="two histograms"):
        histogram_distance(torch.tensor([0.5, 0.5, 0.0]), torch.tensor(q))


def test_covered_classes_are_those_above_the_threshold():
    assert (
        classes_covered(torch.tensor([0.01, 0.02, 0.97])) == 2
        and classes_covered(torch.tensor([0.01, 0.02, 0.97]), 0.5) == 1
    )


@pytest.mark.parametrize(
    "images",
    [
        torch.full((2, 1, 28, 28), -0.5),
        torch.zeros(2, 28, 28),
        torch.zeros(2, 1, 28, 28, dtype=torch.int64),
    ],
)
def test_what_is_no_image_is_not_classified(images):
    with pytest.raises(ValueError, match="expected"):
        classify(Corner(), images)


@pytest.mark.parametrize("p", [torch.full((3, 10), math.nan), torch.zeros(0, 10), torch.ones(10)])
def test_no_histogram_of_what_is_no_probability(p):
    with pytest.raises(ValueError, match="expected finite class probabilities"):
        class_histogram(p)


def test_each_class_gets_the_code_that_the_classifier_is_surest_of(monkeypatch):
    """An image shows the largest component of its code, as bright as that component is."""

    def draw(generator, z):
        images = torch.zeros(len(z), 1, 28, 28)
        largest = z.max(1)
        images.flatten(1)[torch.arange(len(z)), largest.indices] = largest.values / 8
        return (images.clamp(0, 1) * 255).byte()

    monkeypatch.setattr(class_balance, "draw", draw)  # no network is needed here
    generator = SimpleNamespace(latent_dim=4)
    codes = codes_of_classes(generator, Corner(), list("0123456789"), n=500)
    assert list(codes) == list("0123")
    z = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    for k, code in enumerate(codes.values()):
        assert code[k] == code.max() == z[z.argmax(1) == k].max()
