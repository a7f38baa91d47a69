import os
import signal

import pytest
import torch
from torch import nn

from labkit.training import Loop
from labkit.training.loop import batch_of


class Fit:
    """A tiny regression with dropout, momentum and a generator, run by a Loop: everything that
    resuming must carry over.
    """

    def __init__(self, checkpoint=None, steps=30, settings=None):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.1)
        self.generator = torch.Generator().manual_seed(0)
        state = {"model": self.model, "optimizer": self.optimizer, "generator": self.generator}
        self.loop = Loop(steps, state, checkpoint, settings, show=False, save_every=1e9)

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
            self.loop.log(loss=loss.item())
            if step % 10 == 0:
                self.loop.snapshot(self.model[0].weight.detach().clone())
        return self


def same(a, b):
    assert all(
        torch.equal(x, y)
        for x, y in zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
    )
    assert a.loop.history == b.loop.history
    assert a.loop.snapshots.keys() == b.loop.snapshots.keys()
    assert all(torch.equal(a.loop.snapshots[k], b.loop.snapshots[k]) for k in a.loop.snapshots)


def test_an_interrupted_run_resumes_to_the_very_same_result(tmp_path):
    path = tmp_path / "checkpoint.pt"
    whole = Fit().run()
    for interrupt_at in (7, 20):
        with pytest.raises(KeyboardInterrupt, match="run again"):
            Fit(path).run(interrupt_at)
        torch.rand(5)  # whatever the student does in between
    resumed = Fit(path).run()
    same(whole, resumed)
    assert not path.exists()


def test_a_run_killed_without_warning_resumes_from_its_last_save(tmp_path):
    path = tmp_path / "checkpoint.pt"
    killed = Fit(path)
    killed.loop.save_every = 0  # save after every step
    with pytest.raises(RuntimeError, match="out of memory"):
        killed.run(fail_at=12)
    same(Fit().run(), Fit(path).run())


def test_the_signal_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    Fit().run()
    with pytest.raises(RuntimeError):
        Fit().run(fail_at=3)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_checkpoint_of_other_settings_is_not_taken_up(tmp_path, capsys):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        Fit(path, settings={"lr": 1}).run(interrupt_at=5)
    assert Fit(path, settings={"lr": 2}).loop.step == 0
    assert "other settings" in capsys.readouterr().out


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"half a file")
    with pytest.raises(RuntimeError, match=f"{path}.*delete it"):
        Fit(path)


def test_a_failed_save_keeps_the_checkpoint_before_it(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        Fit(path).run(interrupt_at=5)
    good = path.read_bytes()

    def full_disk(*args, **kwargs):
        raise RuntimeError("unexpected pos 64 vs 0")  # what torch says when the disk is full

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="cannot write"):
        Fit(path).run(interrupt_at=9)
    assert path.read_bytes() == good and len(list(tmp_path.iterdir())) == 1


def test_a_loss_that_is_not_finite_stops_with_advice():
    loop = Loop(5, {}, show=False)
    with pytest.raises(FloatingPointError, match="learning rate"):
        for _ in loop:
            loop.log(loss=float("nan"))


def test_stop_ends_after_the_step_and_stalled_sees_a_plateau():
    loop, values = Loop(100, {}, show=False), [5, 4, 3, 3, 3, 3, 3]
    for step in loop:
        loop.log(loss=float(values[step]))
        if loop.stalled("loss", patience=3):
            loop.stop("plateau")
    assert loop.step == 6 and loop.stopped == "plateau"
    assert [row["step"] for row in loop.history] == [1, 2, 3, 4, 5, 6]


def test_no_steps_is_an_error():
    with pytest.raises(ValueError, match="at least 1"):
        Loop(0, {})


def test_an_epoch_visits_each_image_once_in_an_order_of_its_own():
    epochs = [
        torch.cat([batch_of(step, 64, 16, seed=3) for step in range(4 * e, 4 * e + 4)])
        for e in (0, 1)
    ]
    for order in epochs:
        assert order.sort().values.equal(torch.arange(64))
    assert not torch.equal(*epochs)
    assert not torch.equal(batch_of(0, 64, 16, seed=3), batch_of(0, 64, 16, seed=4))
