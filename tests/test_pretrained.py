"""Classifiers that come with the kit or are trained for a stand-in; that of the 13 symbols is right
about signs and smudged blanks, too.
"""

from dataclasses import replace

import pytest
import torch

from labkit import pretrained, weights
from labkit.data import synthetic
from labkit.data.arithmetic import BLANK, SYMBOLS, all_queries, glyphs, handwrite
from labkit.data.images import DIGITS, STAND_IN, ImageSet
from labkit.metrics.answers import ceiling
from labkit.models.classifier import Classifier
from labkit.pretrained import (
    classifier_for,
    new_classifier,
    new_symbol_classifier,
    symbol_classifier_for,
)
from labkit.studies.classifiers import symbol_accuracy
from labkit.training.classify import ClassifierSettings, accuracy, predict


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
    settings = ClassifierSettings(epochs=1, shift_by=1, batch_size=64)
    return new_symbol_classifier(glyphs(digits, "train"), 6_000, settings)


def test_it_knows_test_pictures_of_every_symbol(classifier, digits):
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


def test_its_ceiling_is_how_often_it_is_right_about_whole_queries(classifier, digits):
    bank, tokens = glyphs(digits, "test"), all_queries().tokens()[::21]
    pictures = handwrite(tokens, bank, torch.Generator().manual_seed(0)).flatten(0, 1)
    found = predict(classifier, pictures).argmax(1).view(tokens.shape)
    expected = ceiling(symbol_accuracy(classifier, bank), tokens)
    assert (found == tokens).all(1).double().mean().item() == pytest.approx(expected, abs=0.04)


def test_the_supplied_one_knows_the_stand_in_signs_and_blanks(digits):
    classifier = Classifier(len(SYMBOLS))
    facts = weights.load("classifier_symbols", classifier)
    assert facts["measured"]["test_accuracy"] > 0.99
    each = symbol_accuracy(classifier, glyphs(digits, "test"))
    assert each["+"] > 0.98 and each["-"] > 0.98 and each[" "] == 1


def test_a_stand_in_gets_a_classifier_of_its_own_kind(digits, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "QUICK_IMAGES", 3000)
    monkeypatch.setattr(weights, "load", lambda *arguments: pytest.fail("the supplied one"))
    before = torch.get_rng_state()
    model = classifier_for(digits)
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    share = accuracy(model, digits.test, digits.test_labels)
    assert share > 0.3  # by chance: 0.1
    said = capsys.readouterr().out
    assert f"MNIST stand-in, trained just now: {share:.2%} of 1,000 test images right" in said
    monkeypatch.setattr(pretrained, "QUICK_IMAGES", 640)
    assert symbol_classifier_for(digits, say=False).head[1].out_features == len(SYMBOLS)
    assert "test images" not in capsys.readouterr().out


def test_real_images_get_the_supplied_one(digits, capsys):
    real = replace(digits, source="LABKIT_DATA")
    model, expected = classifier_for(real), Classifier()
    weights.load("classifier_mnist", expected)
    assert all(map(torch.equal, model.state_dict().values(), expected.state_dict().values()))
    assert not any(p.requires_grad for p in model.parameters())
    symbols = symbol_classifier_for(real)
    assert capsys.readouterr().out.count("supplied with the kit") == 2
    assert symbol_accuracy(symbols, glyphs(digits, "test"))["+"] > 0.98


def test_cats_have_no_classifier(digits):
    with pytest.raises(ValueError, match="no classifier for 'cats'.*'mnist', 'fashion'"):
        classifier_for(replace(digits, name="cats"))


def test_a_new_classifier_follows_its_seed_and_leaves_the_global_generator_alone(digits):
    before = torch.get_rng_state()
    parts = digits.train[:256], digits.train_labels[:256]
    a, b, c = (new_classifier(*parts, ClassifierSettings(1, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    weight = [model.head[1].weight for model in (a, b, c)]
    assert torch.equal(weight[0], weight[1]) and not torch.equal(weight[0], weight[2])


def test_half_of_the_blanks_carry_a_haze(digits, monkeypatch):
    """Seen by what the classifier of symbols is trained on."""
    seen = []
    monkeypatch.setattr(pretrained, "new_classifier", lambda *arguments: seen.append(arguments))
    new_symbol_classifier(glyphs(digits, "train"), 130, ClassifierSettings(1))
    images, labels, _, classes = seen[0]
    assert labels.bincount().tolist() == [10] * 13 and classes == 13
    hazy = images[labels == BLANK].flatten(1).amax(1) > 0
    assert hazy.tolist() == [True, False] * 5 and images[labels == BLANK].max() <= 30
