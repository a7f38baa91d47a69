"""Fingerprints: equal for equal facts, in every process, and another for each fact that differs."""

import functools
import itertools
import os
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labkit import fingerprint as module
from labkit.fingerprint import content, fingerprint
from labkit.models.recurrent import LSTM
from labkit.models.vae import ConditionalVAE


@dataclass(frozen=True)
class Settings:
    lr: float = 0.1
    loss: object = F.softplus
    checkpoint: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class OtherSettings:
    lr: float = 0.1
    loss: object = F.softplus


def written(code):
    """The last thing that a notebook's cell defines."""
    names = {"__name__": "__main__", "T": torch.arange, "np": itertools}
    names |= {"cache": functools.cache, "no_grad": torch.no_grad}
    exec(code, names)
    return list(names.values())[-1]


class Bare(nn.Module):
    """A module whose parameters and settings its text does not show."""

    def __init__(self, width=2, gain=1.0, activation=torch.tanh):
        super().__init__()
        self.weight, self.gain, self.activation = nn.Parameter(torch.rand(width)), gain, activation


DIFFERENT = {
    "numbers": [1, 1.0, True, "1", 2, 1.5, None],
    "sequences": [[1, 2], [2, 1], [[1], 2], {1, 2}, {1: 2}, range(1, 3)],
    "dataclasses": [Settings(), Settings(0.2), Settings(loss=F.relu), OtherSettings()],
    "tensors": [
        torch.zeros(4, dtype=torch.uint8),
        torch.zeros(2, 2, dtype=torch.uint8),
        torch.ones(4, dtype=torch.uint8),
        torch.zeros(4),
        torch.zeros(0),
    ],
    "functions": [
        *map(written, ("f = lambda x: x + 1", "f = lambda x: x + 2", "f = lambda x: x - 1")),
        *map(written, ("f = lambda x: x.sum((1, 2))", "f = lambda x: x.sum((2, 3))")),
        *map(written, ("def f(x, a=1): return x", "def f(x, a=2): return x")),
        *map(written, ("def f(x, *, a=1): return x", "def f(x, *, a=2): return x")),
        *map(written, ("f = lambda x: x in {1, 2}", "f = lambda x: x in {1, 3}")),
        *map(written, ("f = (lambda k: lambda: k)(1)", "f = (lambda k: lambda: k)(2)")),
        *map(written, ("f = lambda: (lambda: 1)", "f = lambda: (lambda: 2)")),
    ],
    "decorated functions": [
        *map(written, ("@cache\ndef f(): return 1", "@cache\ndef f(): return 2")),
        *map(written, ("@no_grad()\ndef f(): return 3", "@no_grad()\ndef f(): return 4")),
    ],
    "methods": [torch.Tensor.sum, torch.Tensor.mean, "".join, len, torch.relu],
    "what a function uses": [
        *map(written, ("RATE = 1\ndef f(): return RATE", "RATE = 2\ndef f(): return RATE")),
        written("def g(): return 1\ndef f(): return g()"),
        written("def g(): return 2\ndef f(): return g()"),
        *map(
            written,
            ("IMAGES = T(3)\ndef f(): return IMAGES", "IMAGES = T(4)\ndef f(): return IMAGES"),
        ),
        *map(
            written, ("SIZES = 1, 2\ndef f(): return SIZES", "SIZES = 1, 3\ndef f(): return SIZES")
        ),
        written("def f(): return f()"),  # itself
        written("def f(x): return x[..., 1:], b'a', 1j, np, object"),
    ],
    "classes": [
        *map(written, ("class A:\n def f(self): return 1", "class A:\n def f(self): return 2")),
        written("class A:\n def f(self): return super().f(A)"),
        nn.ReLU,
        nn.ELU,
    ],
    "partial functions": [partial(F.elu, alpha=1.0), partial(F.elu, alpha=2.0), F.elu],
    "modules": [
        nn.Linear(2, 3),
        nn.Linear(3, 2),
        nn.Sequential(nn.Linear(2, 2), nn.ReLU()),
        nn.Sequential(nn.Linear(2, 2), nn.ELU()),
        nn.Dropout(0.1),
        nn.Dropout(0.2),
        Bare(),
        Bare(width=3),
        Bare(gain=2.0),
        Bare(activation=torch.relu),
        LSTM(10, 8, 10),
        LSTM(10, 16, 10),
        ConditionalVAE(),
        ConditionalVAE(gain=1.0),
    ],
    "places": [Path("a"), Path("b"), torch.device("cpu"), torch.float16, torch.float32],
}


@pytest.mark.parametrize("facts", DIFFERENT.values(), ids=DIFFERENT)
def test_each_fact_has_a_fingerprint_of_its_own(facts):
    assert all(len(fingerprint(fact)) == 16 for fact in facts)
    for a, b in itertools.combinations(facts, 2):
        assert fingerprint(a) != fingerprint(b), (a, b)


def test_equal_facts_have_equal_fingerprints():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(a=1, b=2) == fingerprint(b=2, a=1) != fingerprint(a=2, b=1)
    assert fingerprint((1, 2)) == fingerprint([1, 2])  # JSON would not tell them apart either
    assert fingerprint({3, 1, 2, "a"}) == fingerprint({"a", 2, 1, 3})
    assert fingerprint(Settings()) == fingerprint(Settings(checkpoint="here"))
    assert fingerprint(torch.eye(3)) == fingerprint(torch.eye(3).T.clone().T)
    assert fingerprint(written("f = lambda: 1")) == fingerprint(written("f = lambda: 1"))


def test_what_a_function_fills_is_not_what_it_is():
    function = written("SEEN = []\ndef f(): SEEN.append(1)")
    before = fingerprint(function)
    function()
    assert fingerprint(function) == before


def test_a_modules_weights_and_mode_are_not_its_structure():
    torch.manual_seed(0)
    assert fingerprint(nn.Linear(2, 3)) == fingerprint(nn.Linear(2, 3))
    assert fingerprint(nn.Linear(2, 3).eval()) == fingerprint(nn.Linear(2, 3).requires_grad_(False))


def test_another_torch_or_another_version_of_the_experiments_changes_all(monkeypatch):
    before = fingerprint(1)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "1.0")
        assert fingerprint(1) != before
    monkeypatch.setattr(module, "EXPERIMENTS", module.EXPERIMENTS + 1)
    assert fingerprint(1) != before


def test_another_process_finds_the_same():
    function = "def f(x): return x in {'a', 'b', 'c', 1}"
    code = (
        f"from labkit.fingerprint import fingerprint\n{function}\n"
        "print(fingerprint({'a', 'b', 'c'}, f, 'µ', {'k': 1.5}))"
    )  # with another order of sets and dicts
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = fingerprint({"a", "b", "c"}, written(function), "µ", {"k": 1.5})
    assert done.stdout.strip() == found


def test_a_name_that_does_not_decode_has_a_fingerprint():
    assert fingerprint("cat\udcff.jpg") != fingerprint("cat.jpg")


@pytest.mark.parametrize("fact", [object(), 1j, [object()], {"a": object()}])
def test_what_has_no_fingerprint_is_refused(fact):
    with pytest.raises(TypeError, match="a (object|complex) has no fingerprint"):
        fingerprint(fact)


def test_content_is_of_type_shape_and_values():
    x = torch.arange(6, dtype=torch.float32)
    others = [x + 1, x.view(2, 3), x.double(), x.flip(0), x[:0], x.bfloat16(), x > 2]
    assert len({content(x), *map(content, others)}) == 8
    assert content(x.view(2, 3).T) == content(x.view(2, 3).T.contiguous())
    assert content(x.clone().requires_grad_()) == content(x)
    assert content(torch.tensor(1.0)) != content(torch.tensor(2.0))
