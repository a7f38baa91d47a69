"""What the tests of training share: a Ctrl-C in a chosen step, and equality to the last bit."""

import os
import signal

import torch

from labkit.training.batches import Batches


def interrupt_in(monkeypatch, step: int) -> None:
    """Send Ctrl-C to this process while `step` of a training begins."""
    take = Batches.__call__

    def batch(self, k):
        if k == step:
            os.kill(os.getpid(), signal.SIGINT)
        return take(self, k)

    monkeypatch.setattr(Batches, "__call__", batch)


def same(a, b) -> bool:
    """Whether two nests of dicts, lists and tensors are equal, in type and to the last bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b
