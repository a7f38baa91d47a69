"""The quiz asks each image once, counts fairly, and shows no answer before the end."""

import base64

import ipywidgets
import pytest
import torch

from labkit import widgets

VIEW = "application/vnd.jupyter.widget-view+json"
LABELS = torch.tensor([2, 0, 1])


@pytest.fixture
def quiz():
    images = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8)
    return widgets.Quiz(images, LABELS, ["hat", "shoe", "bag"], {"1-NN": torch.tensor([2, 0, 0])})


def buttons(widget):
    """All buttons in a box, in the order of the tab key."""
    if isinstance(widget, ipywidgets.Button):
        return [widget]
    return [b for child in getattr(widget, "children", ()) for b in buttons(child)]


def test_a_button_a_class_takes_the_answers_and_the_scores_stand_at_the_end(quiz):
    _, shoe, bag, _ = buttons(quiz.box)
    assert quiz.sentence.startswith("Image 1 of 3")
    bag.click()
    shoe.click()
    assert quiz.answers == [2, 1] and quiz.sentence.startswith("Image 3 of 3")
    shoe.click()
    assert quiz.sentence == "Right of 3: you 2, 1-NN 2."
    bag.click()  # no question is left
    assert quiz.answers == [2, 1, 1]


def test_every_button_has_a_name_and_start_again_forgets_the_answers(quiz):
    names = [button.description for button in buttons(quiz.box)]
    assert names == ["hat", "shoe", "bag", "Start again"]
    first = bytes(quiz.image.value)
    for label in LABELS.tolist():
        quiz.answer(label)
    assert quiz.sentence.startswith("Right of 3: you 3") and quiz.image.value != first
    buttons(quiz.box)[-1].click()
    assert quiz.answers == [] and bytes(quiz.image.value) == first


def test_the_still_picture_tells_no_answer(quiz):
    bundle, metadata = quiz._repr_mimebundle_()
    assert bundle[VIEW]["model_id"] == quiz.box.model_id
    assert base64.b64decode(bundle["image/png"])[:4] == b"\x89PNG"
    said = bundle["text/plain"] + metadata["image/png"]["alt"]
    assert "Image 1 of 3" in said and not any(name in said for name in ("shoe", "bag", "1-NN"))


def test_guesses_of_another_length_are_refused(quiz):
    with pytest.raises(ValueError, match="needs as many guesses"):
        widgets.Quiz(quiz.images, LABELS[:2], quiz.classes, {})
