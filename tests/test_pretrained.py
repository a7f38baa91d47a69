"""The classifier of the 13 symbols: trained on train pictures alone, it reads test ones, signs and
smudged blanks among them.
"""

import pytest
import torch

from labkit import weights
from labkit.data import synthetic
from labkit.data.arithmetic import BLANK, SYMBOLS, all_queries, glyphs, handwrite
from labkit.data.images import DIGITS, STAND_IN, ImageSet
from labkit.metrics.answers import ceiling
from labkit.models.classifier import Classifier
from labkit.pretrained import symbol_accuracy, train_symbol_classifier
from labkit.training.classify import predict


@pytest.fixture(scope="module")
def digits():
    train, test = synthetic.digits(3000, seed=0), synthetic.digits(1000, seed=1)
    return ImageSet(
        "mnist",
        "MNIST stand-in",
        STAND_IN,
        train.images,
        test.images,
        train.labels,
        test.labels,
        DIGITS,
    )


@pytest.fixture(scope="module")
def classifier(digits):
    return train_symbol_classifier(
        glyphs(digits, "train"), images=6_000, epochs=1, shift_by=1, batch_size=64, lr=3e-3
    )


def test_it_reads_test_pictures_of_every_symbol(classifier, digits):
    each = symbol_accuracy(classifier, glyphs(digits, "test"))
    assert list(each) == list(SYMBOLS) and min(each.values()) > 0.8
    assert each["+"] > 0.97 and each["-"] > 0.97 and each[" "] == 1


def test_a_faint_blank_is_still_a_blank(classifier):
    assert (
        predict(
            classifier, torch.arange(0, 13, 3).byte()[:, None, None, None].expand(-1, 1, 28, 28)
        ).argmax(1)
        == BLANK
    ).all()


def test_it_is_frozen(classifier):
    assert not classifier.training and not any(p.requires_grad for p in classifier.parameters())


def test_its_ceiling_is_what_it_reads_of_whole_queries(classifier, digits):
    bank, tokens = glyphs(digits, "test"), all_queries().tokens()[::21]
    read = (
        predict(classifier, handwrite(tokens, bank, torch.Generator().manual_seed(0)).flatten(0, 1))
        .argmax(1)
        .view(tokens.shape)
    )
    assert (read == tokens).all(1).double().mean().item() == pytest.approx(
        ceiling(symbol_accuracy(classifier, bank), tokens), abs=0.04
    )


def test_the_shipped_one_reads_the_stand_in_signs_and_blanks(digits):
    classifier = Classifier(len(SYMBOLS))
    facts = weights.load("classifier_symbols", classifier)
    assert facts["measured"]["test_accuracy"] > 0.99
    each = symbol_accuracy(classifier, glyphs(digits, "test"))
    assert each["+"] > 0.98 and each["-"] > 0.98 and each[" "] == 1
