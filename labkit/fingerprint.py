"""One fingerprint for every checkpoint, store and cache: a hash of all that shaped a result."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

EXPERIMENTS = 1  # raise it when a change of labkit changes what a run gives


def fingerprint(*facts: Any, **named: Any) -> str:
    """16 hexadecimal digits that change when a fact, or the version of torch, does.

    Facts: numbers, strings, None, paths, lists, tuples, dicts, sets, dataclasses (but for fields of
    compare=False, which shape nothing), tensors (by content), functions and classes (those written
    in a notebook by their code, the kit's by their name), modules (by their structure, not their
    weights). Raises TypeError for anything else.
    """
    plain = json.dumps(
        [EXPERIMENTS, torch.__version__, _plain(facts), _plain(named)],
        sort_keys=True,
        ensure_ascii=False,
    )
    return hashlib.sha256(plain.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def content(tensor: Tensor) -> str:
    """16 hexadecimal digits that change when a tensor's type, shape or values do."""
    tensor = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _plain(fact: Any) -> Any:
    if fact is None or isinstance(fact, bool | int | str):
        return fact
    if isinstance(fact, float):
        return f"{fact!r} float"  # 1.0 is not 1: the one may be a share, the other a count
    if isinstance(fact, Path | torch.device | torch.dtype):
        return str(fact)
    if isinstance(fact, dict):
        return {"dict": sorted(([_plain(k), _plain(v)] for k, v in fact.items()), key=repr)}
    if dataclasses.is_dataclass(fact) and not isinstance(fact, type):
        shaping = [f.name for f in dataclasses.fields(fact) if f.compare]
        fields = {name: _plain(getattr(fact, name)) for name in shaping}
        return {type(fact).__qualname__: fields}
    if isinstance(fact, list | tuple):
        return [_plain(part) for part in fact]
    if isinstance(fact, set | frozenset | range):
        return [type(fact).__name__, sorted(map(_plain, fact))]
    if isinstance(fact, Tensor):
        return {"tensor": content(fact)}
    if isinstance(fact, nn.Module):
        return {"module": repr(fact)}
    if isinstance(fact, functools.partial):
        return {"partial": [_plain(part) for part in (fact.func, fact.args, fact.keywords)]}
    if isinstance(fact, CodeType):
        constants = [
            _plain(c) for c in fact.co_consts if isinstance(c, CodeType | int | float | str)
        ]
        return [hashlib.sha256(fact.co_code).hexdigest()[:16], list(fact.co_names), constants]
    if callable(fact) and hasattr(fact, "__qualname__"):
        if fact.__module__.startswith(("labkit", "torch")) or not hasattr(fact, "__code__"):
            return [fact.__module__, fact.__qualname__]
        closure = [cell.cell_contents for cell in fact.__closure__ or ()]
        return [_plain(part) for part in (fact.__code__, fact.__defaults__, closure)]
    raise TypeError(f"a {type(fact).__name__} has no fingerprint; pass numbers, text or tensors")
