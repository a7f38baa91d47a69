"""Batches: each epoch visits each image once, in an order of its own."""

import pytest
import torch

from labkit.training.batches import Batches, batch_of, due_at

IMAGES = torch.arange(64, dtype=torch.uint8)[:, None, None, None].expand(64, 1, 2, 2)


def test_an_epoch_visits_each_image_once_in_an_order_of_its_own():
    batches = Batches(IMAGES, 16, seed=3)
    assert batches.per_epoch == 4
    epochs = [torch.cat([batches(4 * e + k)[0][:, 0, 0, 0] for k in range(4)]) for e in (0, 1)]
    for order in epochs:
        assert order.sort().values.equal(torch.arange(64, dtype=torch.uint8))
    assert not torch.equal(*epochs)
    first, other = (Batches(IMAGES, 16, seed)(0)[0] for seed in (3, 4))
    assert torch.equal(first, batches(0)[0]) and not torch.equal(first, other)


def test_a_last_smaller_batch_is_left_out_and_the_next_epoch_is_whole():
    seen = torch.cat([batch_of(step, 10, 4, seed=0) for step in (0, 1)])
    assert len(seen) == len(seen.unique()) == 8
    epochs = torch.stack(
        [torch.cat([batch_of(2 * e + k, 10, 4, 0) for k in (0, 1)]) for e in (0, 1)]
    )
    assert not torch.equal(*epochs) and (epochs.max() < 10)


def test_labels_stay_with_their_images():
    batches = Batches(IMAGES, 16, seed=0, labels=torch.arange(64) + 100)
    for step in range(5):
        x, y = batches(step)
        assert x.dtype == torch.uint8 and torch.equal(x[:, 0, 0, 0] + 100, y)
    assert Batches(IMAGES, 16, seed=0)(0)[1] is None


@pytest.mark.parametrize(
    ("images", "size", "message"),
    [
        (IMAGES / 255, 16, "uint8 .*got torch.float32"),
        (IMAGES.long(), 16, "uint8 .*got torch.int64"),
        (IMAGES[:, 0], 16, r"\(N, C, H, W\), got torch.uint8 \(64, 2, 2\)"),
        (IMAGES, 65, "65 images and there are 64.*smaller batch_size"),
        (IMAGES[:0], 16, "there are 0"),
        (IMAGES, 0, "a batch has 0"),
    ],
)
def test_what_is_no_set_of_images_is_refused(images, size, message):
    with pytest.raises(ValueError, match=message):
        Batches(images, size, seed=0)


@pytest.mark.parametrize("labels", [torch.zeros(63), torch.zeros(64, 10)])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(ValueError, match="64 images need as many labels"):
        Batches(IMAGES, 16, seed=0, labels=labels)


def test_epochs_may_be_fractions_and_make_at_least_a_step():
    batches = Batches(IMAGES, 16, seed=0)
    assert [batches.steps(epochs) for epochs in (0.01, 0.5, 2, 2.25)] == [1, 2, 8, 9]
    for epochs in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="more than 0"):
            batches.steps(epochs)


def test_stages_on_the_same_step_are_all_due_and_the_end_is_due_at_the_end():
    assert due_at((0, 0.1, 0.2, 0.25), 1, 4, 4) == {0: [0, 0.1], 1: [0.2, 0.25], 4: [1]}
    assert due_at((1,), 1, 4, 4) == {4: [1, 1]}
    assert due_at((), 0.1, 4, 1) == {1: [0.1]}  # a run is at least a step long


@pytest.mark.parametrize("stage", [-0.1, 1.01, 2, float("nan")])
def test_a_stage_that_a_run_does_not_reach_is_refused(stage):
    with pytest.raises(ValueError, match=f"stage {stage} is not in a run of 1 epochs"):
        due_at((stage,), 1, 4, 4)
