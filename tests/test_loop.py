"""The loop: a resumed run ends like an uninterrupted one, and checkpoints never mix."""

import os
import signal

import pytest
import torch
from resuming import same
from torch import nn
from torch.optim.swa_utils import AveragedModel

from labkit.training import Loop
from labkit.training.loop import in_sweep

NORMAL = dict(hidden=8, lr=0.1, steps=30, facts=None, activation=nn.ReLU, seed=0, draws=0)


class Fit:
    """A tiny regression with dropout, momentum, an average of the weights and a generator: all that
    resuming must carry over.
    """

    def __init__(self, checkpoint=None, model=None, **changed):
        s = {**NORMAL, **changed}
        torch.manual_seed(s["seed"])
        layers = nn.Linear(3, s["hidden"]), s["activation"](), nn.Dropout(0.5)
        self.model = model or nn.Sequential(*layers, nn.Linear(s["hidden"], 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=s["lr"])
        self.average = AveragedModel(self.model)
        self.generator = torch.Generator().manual_seed(s["draws"])
        state = dict(model=self.model, optimizer=self.optimizer, generator=self.generator)
        state["average"] = self.average
        self.loop = Loop(s["steps"], state, checkpoint, s["facts"], show=False, save_every=1e9)

    def run(self, interrupt_at=None, fail_at=None):
        for step in self.loop:
            x = torch.randn(4, 3, generator=self.generator)
            loss = ((self.model(x) - x.sum(1, keepdim=True)) ** 2).mean()
            self.optimizer.zero_grad()
            loss.backward()
            if step == interrupt_at:
                os.kill(os.getpid(), signal.SIGINT)  # lands between backward and the step
            if step == fail_at:
                raise RuntimeError("out of memory")
            self.optimizer.step()
            self.average.update_parameters(self.model)
            self.loop.log(loss=loss.item())
            if step % 10 == 0:
                self.loop.snapshot(self.model[0].weight.detach().clone())
        return self

    def interrupted(self, at=5):
        with pytest.raises(KeyboardInterrupt, match=rf"{at + 1} of .*run again.*step {at + 1}$"):
            self.run(interrupt_at=at)
        return self

    def result(self):
        loop, models = self.loop, (self.model, self.average)
        return [loop.history, loop.snapshots, [m.state_dict() for m in models]]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.partial"


def test_an_interrupted_run_resumes_to_the_very_same_result(path):
    whole = Fit().run()
    for interrupt_at in (7, 20):
        Fit(path).interrupted(interrupt_at)
        torch.rand(5)  # whatever the student does in between
    resumed = Fit(path)
    assert resumed.loop.step == 21
    assert same(resumed.run().result(), whole.result())
    assert not list(path.parent.iterdir())


def test_a_run_killed_without_warning_resumes_from_its_last_save(path):
    killed = Fit(path)
    killed.loop.save_every = 0  # save after every step
    with pytest.raises(RuntimeError, match="out of memory"):
        killed.run(fail_at=12)
    resumed = Fit(path)
    assert resumed.loop.step == 12 and same(resumed.run().result(), Fit().run().result())


def test_an_interrupted_network_that_is_run_again_goes_on(path):
    """As in a notebook, where the cell that trains runs again and the one that builds does not."""
    first = Fit(path).interrupted(5)
    again = Fit(path, model=first.model).interrupted(20)
    third = Fit(path, model=again.model)
    assert third.loop.step == 21
    third.interrupted(25)
    fresh = Fit(path)  # the kernel was started anew
    assert fresh.loop.step == 26 and same(fresh.run().result(), Fit().run().result())


OTHERS = {
    "steps": dict(steps=31),
    "width": dict(hidden=9),
    "activation": dict(activation=nn.ELU),
    "learning rate": dict(lr=0.2),
    "first weights": dict(seed=1),
    "draws": dict(draws=1),
    "settings": dict(facts={"max_norm": 5.0}),
    "images of equal shape": dict(facts=torch.ones(8, 1, dtype=torch.uint8)),
}


@pytest.mark.parametrize("changed", OTHERS.values(), ids=OTHERS)
def test_a_checkpoint_of_another_run_is_neither_taken_up_nor_touched(path, capsys, changed):
    Fit(path).interrupted()
    (kept,) = path.parent.iterdir()
    before = kept.read_bytes()
    other = Fit(path, **changed)
    assert other.loop.step == 0 and f"{kept} belongs to" in capsys.readouterr().out
    other.interrupted(3)
    assert kept.read_bytes() == before and len(list(path.parent.iterdir())) == 2
    assert Fit(path, **changed).run().loop.step == other.loop.steps
    assert [*path.parent.iterdir()] == [kept] and kept.read_bytes() == before
    resumed = Fit(path)
    assert resumed.loop.step == 6 and same(resumed.run().result(), Fit().run().result())


def test_a_damaged_checkpoint_is_refused_by_name(path):
    Fit(path).interrupted()
    (file,) = path.parent.iterdir()
    file.write_bytes(b"half a file")
    with pytest.raises(RuntimeError, match=f"{file} is no whole checkpoint.*delete it"):
        Fit(path)


@pytest.mark.parametrize("error", [RuntimeError("unexpected pos 64 vs 0"), OSError("disk full")])
def test_a_full_disk_costs_the_checkpoint_and_not_the_result(path, monkeypatch, capsys, error):
    Fit(path).interrupted()
    (good,) = path.parent.iterdir()
    before, calls = good.read_bytes(), []

    def full_disk(*args, **kwargs):
        calls.append(1)
        raise error  # a full disk is a RuntimeError to torch

    monkeypatch.setattr(torch, "save", full_disk)
    run = Fit(path)
    run.loop.save_every = 0  # tries to save after every step
    assert same(run.run().result(), Fit().run().result())
    said = capsys.readouterr().out
    assert said.count("cannot write") == 1 and "without checkpoints" in said and len(calls) == 1
    assert [*path.parent.iterdir()] == [good] and good.read_bytes() == before


def test_a_run_that_is_over_leaves_no_file_and_begins_anew(path):
    kept = Fit(path)
    kept.loop.save_every = 0
    kept.run()
    assert not list(path.parent.iterdir()) and Fit(path).loop.step == 0


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_DFL])
def test_the_signal_handler_is_put_back(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        Fit().run()
        with pytest.raises(RuntimeError):
            Fit().run(fail_at=3)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_interrupt_stops_in_the_middle_of_a_step():
    loop, seen = Loop(5, {}, show=False), []
    with pytest.raises(KeyboardInterrupt):
        for _ in loop:
            os.kill(os.getpid(), signal.SIGINT)
            seen.append("goes on")
            os.kill(os.getpid(), signal.SIGINT)
            seen.append("too far")
    assert seen == ["goes on"] and loop.step == 0


def test_a_run_without_a_checkpoint_does_not_promise_one():
    with pytest.raises(KeyboardInterrupt, match="stopped after step 6 of 30$"):
        Fit().run(interrupt_at=5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_advice(value):
    loop = Loop(5, {}, show=False)
    with pytest.raises(FloatingPointError, match="loss is .* at step 0.*learning rate"):
        for _ in loop:
            loop.log(loss=value)


def test_stop_ends_after_the_step():
    loop = Loop(100, {}, show=False)
    for step in loop:
        loop.log(loss=1.0)
        loop.snapshot(step)
        if step == 4:
            loop.stop("solved")
    assert loop.step == 5 and loop.stopped == "solved"
    assert [row["step"] for row in loop.history] == list(loop.snapshots) == [1, 2, 3, 4, 5]


def test_a_bar_shows_the_progress_but_not_in_a_sweep_which_has_its_own(capsys):
    list(Loop(3, {}, desc="digits"))
    assert "digits: 100%" in capsys.readouterr().out
    token = in_sweep.set(True)
    list(Loop(3, {}, desc="digits"))
    in_sweep.reset(token)
    list(Loop(3, {}, desc="digits", show=False))
    assert capsys.readouterr().out == ""


def test_no_steps_is_an_error():
    with pytest.raises(ValueError, match="at least 1"):
        Loop(0, {})
