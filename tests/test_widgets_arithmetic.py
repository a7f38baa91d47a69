"""The panel of handwritten sums answers what is typed, says what a query looks like, and shows the
pictures that the model reads.
"""

import ipywidgets
import pytest
import torch
import torch.nn.functional as F

from labkit import widgets as panels
from labkit.data import synthetic
from labkit.data.arithmetic import Glyphs, parse

PNG = b"\x89PNG\r\n\x1a\n"


def oracle(tokens):
    """Logits of a model that calculates: right for every query but 1+1, which it takes for 3."""
    text = "".join("0123456789+- "[k] for k in tokens[0])
    answers = parse("1+2" if text == " 1+ 1" else text).answers()
    return 9.0 * F.one_hot(answers, 13).float()


@pytest.fixture(scope="module")
def bank():
    """Pictures of the symbol k: black but for a pixel of brightness k + 1 and one for the hand."""
    images = torch.zeros(13 * 120, 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(13).repeat_interleave(120).byte() + 1
    images[:, 0, 0, 1] = torch.arange(120).repeat(13).byte()
    return Glyphs(images, 120 * torch.arange(13), torch.full((13,), 120))


@pytest.fixture
def panel(bank):
    return panels.handwritten(reads, bank)


def reads(images):
    """The oracle's answer to pictures of the bank."""
    return oracle(images[:, :, 0, 0, 0].long() - 1)


def buttons(widget):
    if isinstance(widget, ipywidgets.Button):
        return [widget]
    return [b for child in getattr(widget, "children", ()) for b in buttons(child)]


@pytest.mark.parametrize(
    "typed, state",
    [
        ("14+", "unfinished"),
        ("1", "unfinished"),
        ("", "unfinished"),
        ("14+2x", "refused"),
        ("123", "refused"),
        ("+", "refused"),
    ],
)
def test_half_a_query_is_no_mistake(typed, state, panel):
    panel.controls["query"].value = typed
    assert f"labkit-{state}" in panel.box._dom_classes


def test_typing_a_query_gives_its_answer(panel):
    pictures = [bytes(image.value) for image in panel.shown.children]
    assert all(picture.startswith(PNG) for picture in pictures)
    assert "14+26: the model says ' 40' with p = 1.00" in panel.sentence
    panel.controls["query"].value = "3 - 17"
    assert "3-17: the model says '-14'" in panel.sentence
    assert panel.sentence.endswith("which is right.")


def test_a_wrong_answer_is_called_wrong(bank):
    panel = panels.handwritten(reads, bank, "1+1")
    assert panel.sentence.endswith("but 1+1 is 2.")


@pytest.mark.parametrize("typed", ["", "14", "abc", "123+4", "1+2+3", "14+"])
def test_what_is_no_query_gets_a_message_and_the_picture_stays(typed, panel):
    before = panel.image.value
    panel.controls["query"].value = typed
    assert panel.image.value == before and "such as" in panel.sentence
    panel.controls["query"].value = "2+3"
    assert "2+3: the model says '  5'" in panel.sentence


def test_a_bad_start_is_an_error(bank):
    with pytest.raises(ValueError, match="14\\+26"):
        panels.handwritten(reads, bank, "fourteen")


def test_the_model_reads_the_pictures_that_were_chosen(bank):
    seen = []

    def answer(images):
        seen.append(images)
        return reads(images)

    panel = panels.handwritten(answer, bank, "14+26")
    assert "14+26: the model says ' 40'" in panel.sentence
    panel.controls["hand2"].value = 55
    assert seen[-1].shape == (1, 5, 1, 28, 28) and seen[-1].dtype == torch.uint8
    assert seen[-1][0, 1, 0, 0, 1] == 55 and seen[-1][0, 1, 0, 0, 0] == 4 + 1
    before, picture = seen[-1], panel.image.value
    for button in (
        b for b in buttons(panel.box) if b.tooltip == "character 2: the next handwriting"
    ):
        button.click()
    assert seen[-1][0, 1, 0, 0, 1] == 56
    next(b for b in buttons(panel.box) if b.description == "Redraw all").click()
    assert not torch.equal(seen[-1], before) and panel.image.value != picture
    assert torch.equal(
        seen[-1][0, :, 0, 0, 0], before[0, :, 0, 0, 0]
    )  # other hands, the same symbols


def test_a_bank_with_few_pictures_of_a_symbol_will_do():
    digits = synthetic.digits(60, seed=0)
    count = torch.cat([digits.labels.bincount(minlength=10), torch.tensor([1, 1, 1])])
    images = torch.cat(
        [digits.images[digits.labels.argsort()], torch.zeros(3, 1, 28, 28, dtype=torch.uint8)]
    )
    panel = panels.handwritten(
        lambda images: torch.zeros(1, 3, 13), Glyphs(images, count.cumsum(0) - count, count)
    )
    assert "but 14+26 is 40." in panel.sentence
