"""The loop around a training step: progress with a forecast, history, snapshots, early stop, and
resume after an interrupt.

A training function stays a page of plain PyTorch:

    loop = Loop(steps=10_000, state={"model": model, "optimizer": optimizer, "generator":
    generator}, checkpoint="lstm.pt") for step in loop:
        ...  # draw a batch from `generator`, compute the loss, step the optimizer
        if step % 100 == 0:
            loop.log(loss=loss.item())
            if accuracy == 1.0:
                loop.stop("solved")
"""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from labkit.files import replacing
from labkit.fingerprint import fingerprint


def batch_of(step: int, n: int, batch_size: int, seed: int) -> Tensor:
    """Indices (batch_size,) of batch `step` of n images. Every epoch is a new order, found from
    seed and epoch alone, so that a resumed run goes on in the middle of it. The last, smaller batch
    of an epoch is left out.
    """
    epoch, k = divmod(step, n // batch_size)
    return _order(n, epoch, seed)[k * batch_size : (k + 1) * batch_size]


@lru_cache(maxsize=1)
def _order(n: int, epoch: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed * 100_003 + epoch))


class Loop:
    """Iterates over step numbers 0 … steps − 1, or on from where an interrupted run stopped.

    state: name → anything with state_dict / load_state_dict, or a torch.Generator: all that a step
        changes. Torch's global generators are kept as well, so a resumed run gives the very same
        result as an uninterrupted one.
    checkpoint: file for that state; written every `save_every` seconds and at an interrupt, removed
    at the end. None: no resume.
    facts: what else shapes the run, as `fingerprint` takes it; a checkpoint of other facts is set
    aside with a word.
    show: draw the progress bar (text, on stdout, so that saved notebooks stay readable).

    A first Ctrl-C (or Jupyter's stop button) lets the current step finish, saves, and raises
    KeyboardInterrupt; a second one stops at once.
    Attributes: history (list of rows, as seaborn and pandas take them), snapshots (step → whatever
    was kept), stopped (a reason or None).
    """

    def __init__(
        self,
        steps: int,
        state: dict[str, Any],
        checkpoint: str | os.PathLike | None = None,
        facts: Any = (),
        desc: str = "",
        show: bool = True,
        save_every: float = 30.0,
    ):
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.steps, self.state, self.desc, self.show, self.save_every = (
            steps,
            state,
            desc,
            show,
            save_every,
        )
        self.checkpoint = Path(checkpoint) if checkpoint else None
        self.settings = fingerprint(steps, facts)
        self.history: list[dict[str, Any]] = []
        self.snapshots: dict[int, Any] = {}
        self.stopped: str | None = None
        self.step = 0  # steps done
        if self.checkpoint and self.checkpoint.exists():
            self._load()

    def __iter__(self) -> Iterator[int]:
        saved_at = time.monotonic()
        with (
            _DeferredInterrupt() as interrupt,
            tqdm(
                total=self.steps,
                initial=self.step,
                desc=self.desc,
                file=sys.stdout,
                disable=not self.show,
                mininterval=0.5,
                dynamic_ncols=False,
                ncols=100,
            ) as self._bar,
        ):
            while self.step < self.steps and not self.stopped:
                yield self.step
                self.step += 1
                self._bar.update()
                if interrupt.requested:
                    self._save()
                    where = f"; run again to go on from step {self.step}" if self.checkpoint else ""
                    raise KeyboardInterrupt(
                        f"stopped after step {self.step} of {self.steps}{where}"
                    )
                if time.monotonic() - saved_at > self.save_every:
                    self._save()
                    saved_at = time.monotonic()
        if self.checkpoint:
            self.checkpoint.unlink(missing_ok=True)

    def log(self, **row: Any) -> None:
        """Add a row to the history, beginning with the number of steps done. Raises
        FloatingPointError if a value is not finite.
        """
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise FloatingPointError(
                    f"{name} is {value} at step {self.step}: training diverged; try a smaller learning rate or gradient clipping"
                )
        self.history.append({"step": self.step + 1, **row})
        self._bar.set_postfix(
            {k: f"{v:.3g}" for k, v in row.items() if isinstance(v, float)}, refresh=False
        )

    def snapshot(self, value: Any) -> None:
        """Keep `value` (tensors, numbers, strings) under the number of steps done."""
        self.snapshots[self.step + 1] = value

    def stop(self, reason: str) -> None:
        """End after the current step."""
        self.stopped = reason

    def stalled(self, name: str, patience: int, higher_is_better: bool = False) -> bool:
        """Whether `name` has not improved on its best in the last `patience` rows of the history
        that have it: early stopping.
        """
        values = [
            row[name] if higher_is_better else -row[name] for row in self.history if name in row
        ]
        return len(values) > patience and max(values[-patience:]) <= max(values[:-patience])

    def _save(self) -> None:
        if not self.checkpoint:
            return
        random_states = {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        content = {
            "settings": self.settings,
            "step": self.step,
            "history": self.history,
            "snapshots": self.snapshots,
            "stopped": self.stopped,
            "random": random_states,
            "state": {
                k: v.get_state() if isinstance(v, torch.Generator) else v.state_dict()
                for k, v in self.state.items()
            },
        }
        with replacing(self.checkpoint) as temporary:
            torch.save(content, temporary)

    def _load(self) -> None:
        try:
            content = torch.load(self.checkpoint, weights_only=True)
        except Exception as error:
            raise RuntimeError(
                f"{self.checkpoint} is not a whole checkpoint ({type(error).__name__}); delete it to start anew"
            ) from error
        if content["settings"] != self.settings:
            print(
                f"{self.checkpoint} belongs to other settings ({content['settings']}); starting anew"
            )
            return
        for name, part in self.state.items():
            (part.set_state if isinstance(part, torch.Generator) else part.load_state_dict)(
                content["state"][name]
            )
        torch.set_rng_state(content["random"]["torch"])
        if content["random"]["cuda"]:
            torch.cuda.set_rng_state_all(content["random"]["cuda"])
        self.step, self.history, self.snapshots, self.stopped = (
            content[k] for k in ("step", "history", "snapshots", "stopped")
        )
        print(f"resuming {self.desc or self.checkpoint.name} at step {self.step} of {self.steps}")


class _DeferredInterrupt:
    """Turns the first SIGINT into a flag, so that a step is never cut in half; the second goes to
    the old handler.
    """

    def __enter__(self) -> "_DeferredInterrupt":
        self.requested = False
        self._active = (
            threading.current_thread() is threading.main_thread()
        )  # only the main thread may set handlers
        if self._active:
            self._old = signal.signal(signal.SIGINT, self._on_interrupt)
        return self

    def _on_interrupt(self, signum: int, frame: Any) -> None:
        if self.requested:
            signal.signal(signal.SIGINT, self._old)
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *exception: Any) -> None:
        if self._active:
            signal.signal(signal.SIGINT, self._old)
