"""The loop around a training step: progress with a forecast, history, and resume after a stop.

A training function stays a page of plain PyTorch:

    loop = Loop(10_000, {"model": model, "optimizer": optimizer}, "lstm.partial", facts=settings)
    for step in loop:
        ...  # a batch, the loss, backward, a step of the optimizer
        if step % 100 == 0:
            loop.log(loss=loss.item())
"""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from labkit.files import replacing
from labkit.fingerprint import content, fingerprint

in_sweep: ContextVar[bool] = ContextVar("in_sweep", default=False)


class Loop:
    """Iterates over step numbers 0 … steps − 1, or on from where an interrupted run stopped.

    state: name → all that a step changes: modules, optimizers, schedulers, torch.Generators.
        Torch's global generators are kept as well, so a resumed run ends like an uninterrupted one.
    checkpoint: where that state is kept, every `save_every` seconds and at an interrupt, until the
        run is over. The file's name gets a fingerprint of the run: another run has another file.
    show: a progress bar; by default there is one unless a sweep, which has its own, runs the loop.
    facts: whatever else shapes the run: settings, images, losses; as `fingerprint` takes them.

    A first Ctrl-C lets the current step finish, saves, and raises KeyboardInterrupt; a second one
    stops at once. Attributes: history (rows), snapshots (step → what was kept), stopped (a reason).
    """

    def __init__(
        self,
        steps: int,
        state: dict[str, Any],
        checkpoint: str | os.PathLike | None = None,
        facts: Any = (),
        desc: str = "",
        show: bool | None = None,
        save_every: float = 30.0,
    ):
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.steps, self.state, self.desc, self.save_every = steps, state, desc, save_every
        self.show = not in_sweep.get() if show is None else show
        self.history: list[dict[str, Any]] = []
        self.snapshots: dict[int, Any] = {}
        self.stopped: str | None = None
        self.step = 0  # steps done
        self.checkpoint = None
        if checkpoint:
            parts = {name: _hyperparameters(part) for name, part in state.items()}
            self._take_up(Path(checkpoint), fingerprint(steps, parts, facts))

    def __iter__(self) -> Iterator[int]:
        saved_at = time.monotonic()
        bar = tqdm(
            total=self.steps,
            initial=self.step,
            desc=self.desc,
            file=sys.stdout,  # as text, so that saved notebooks stay readable
            disable=not self.show,
            mininterval=0.5,
            ncols=100,
        )
        with _DeferredInterrupt() as interrupt, bar as self._bar:
            while self.step < self.steps and not self.stopped:
                yield self.step
                self.step += 1
                self._bar.update()
                if interrupt.requested:
                    self._save()
                    advice = f"; run again to go on from step {self.step}" * bool(self.checkpoint)
                    raise KeyboardInterrupt(
                        f"stopped after step {self.step} of {self.steps}{advice}"
                    )
                if time.monotonic() - saved_at > self.save_every:
                    self._save()
                    saved_at = time.monotonic()
        if self.checkpoint:
            self.checkpoint.unlink(missing_ok=True)

    def log(self, **row: Any) -> None:
        """Add a row to the history, headed by the number of steps done.

        Raises FloatingPointError if a value is not finite.
        """
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise FloatingPointError(
                    f"{name} is {value} at step {self.step}: training diverged; try a smaller "
                    "learning rate or gradient clipping"
                )
        self.history.append({"step": self.step + 1, **row})
        shown = {k: f"{v:.3g}" for k, v in row.items() if isinstance(v, float)}
        self._bar.set_postfix(shown, refresh=False)

    def snapshot(self, value: Any) -> None:
        """Keep `value` (tensors, numbers, strings) under the number of steps done."""
        self.snapshots[self.step + 1] = value

    def stop(self, reason: str) -> None:
        """End after the current step."""
        self.stopped = reason

    def _save(self) -> None:
        if not self.checkpoint:
            return
        gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        saved = {
            **{name: getattr(self, name) for name in ("step", "history", "snapshots", "stopped")},
            "random": {"torch": torch.get_rng_state(), "cuda": gpu},
            "state": {
                name: part.get_state() if isinstance(part, torch.Generator) else part.state_dict()
                for name, part in self.state.items()
            },
            "weights": _weights(self.state),
        }
        try:
            with replacing(self.checkpoint) as temporary:
                torch.save(saved, temporary)
        except OSError as error:
            print(f"{error}\n  Going on without checkpoints: an interrupt would lose this run.")
            self.checkpoint = None

    def _take_up(self, path: Path, key: str) -> None:
        weights = _weights(self.state)
        self.checkpoint = path.with_name(f"{path.stem}-{key}-{weights}{path.suffix}")
        for other in sorted(path.parent.glob(f"{path.stem}-*{path.suffix}")):
            # an interrupted network that is run again goes on under the name that it began with
            ours = other.name.startswith(f"{path.stem}-{key}-")
            if ours and load_checkpoint(other)["weights"] == weights:
                self.checkpoint = other
            elif other != self.checkpoint:
                print(f"{other} belongs to other settings, data or weights and is left alone")
        if not self.checkpoint.exists():
            return
        saved = load_checkpoint(self.checkpoint)
        for name, part in self.state.items():
            restore = part.set_state if isinstance(part, torch.Generator) else part.load_state_dict
            restore(saved["state"][name])
        torch.set_rng_state(saved["random"]["torch"])
        if saved["random"]["cuda"]:
            torch.cuda.set_rng_state_all(saved["random"]["cuda"])
        for name in ("step", "history", "snapshots", "stopped"):
            setattr(self, name, saved[name])
        print(f"resuming {self.desc or path.name} at step {self.step} of {self.steps}")


def load_checkpoint(path: Path) -> Any:
    """What torch.save wrote to `path`; RuntimeError, with the remedy, for a broken file."""
    try:
        return torch.load(path, weights_only=True)
    except Exception as error:
        reason = type(error).__name__
        raise RuntimeError(f"{path} is no whole checkpoint ({reason}); delete it") from error


def state_copy(module: nn.Module) -> dict[str, Tensor]:
    """A module's weights as they are now, on the CPU."""
    return {name: value.cpu().clone() for name, value in module.state_dict().items()}


def _hyperparameters(part: Any) -> Any:
    if isinstance(part, torch.Generator):
        return part.initial_seed()
    if isinstance(part, nn.Module):
        return part
    if isinstance(part, torch.optim.Optimizer):
        return repr(part)
    plain = {k: v for k, v in part.state_dict().items() if isinstance(v, int | float | str | list)}
    return [type(part).__name__, plain]


def _weights(state: dict[str, Any]) -> str:
    modules = [part for part in state.values() if isinstance(part, nn.Module)]
    trained = [m for m in modules if not isinstance(m, AveragedModel)]  # it follows from the others
    return fingerprint([[content(w) for w in module.state_dict().values()] for module in trained])


class _DeferredInterrupt:
    """Turns the first Ctrl-C into a flag, so that no step is cut in half."""

    def __enter__(self) -> "_DeferredInterrupt":
        self.requested = False
        main = threading.current_thread() is threading.main_thread()  # no other may set handlers
        self._old = signal.signal(signal.SIGINT, self._on_interrupt) if main else None
        return self

    def _on_interrupt(self, signum: int, frame: Any) -> None:
        if self.requested:
            signal.signal(signal.SIGINT, self._old)
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *exception: Any) -> None:
        if self._old is not None:
            signal.signal(signal.SIGINT, self._old)
