"""What is said of generated images, on images whose answer is known."""

import math

import pytest
import torch
from torch import nn

from labkit.metrics.samples import describe, histogram, histogram_table, read


class Corner(nn.Module):
    """Reads the class from the place of the brightest of the first ten pixels; features are those pixels."""

    def __init__(self):
        super().__init__()
        self.classifier = nn.Identity()

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
    said = describe(Corner(), images, read(Corner(), images)[0])
    assert said["classes"] == 10 and said["rarest"] == pytest.approx(0.1) and said["kl_uniform"] == pytest.approx(0, abs=1e-12)
    assert said["frechet"] == pytest.approx(0, abs=1e-6)
    assert said["confidence"] == pytest.approx(math.exp(10) / (math.exp(10) + 9), rel=1e-5)


def test_collapse_to_one_class_is_seen():
    real = read(Corner(), digits(*[20] * 10))[0]
    said = describe(Corner(), digits(200, *[0] * 9), real)
    assert said["classes"] == 1 and said["rarest"] == 0 and said["kl_uniform"] == pytest.approx(math.log(10))
    assert said["frechet_share"] > 1


def test_a_class_of_one_in_a_hundred_is_not_counted():
    said = describe(Corner(), digits(99, 1, *[0] * 8), read(Corner(), digits(*[20] * 10))[0])
    assert said["classes"] == 1


def test_histograms_add_up_and_make_a_table():
    p = read(Corner(), digits(1, 2, 3, *[0] * 7))[1]
    assert histogram(p).tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6] + [0] * 7)
    table = histogram_table({"a": p, "b": p}, list("0123456789"))
    assert len(table) == 20 and table.groupby("images")["share"].sum().tolist() == pytest.approx([1, 1])
