"""One fingerprint for every checkpoint, store and cache: a hash of all that shaped a result."""

import dataclasses
import functools
import hashlib
import inspect
import json
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

EXPERIMENTS = 1  # raise it when a change of labkit changes what a run gives


def fingerprint(*facts: Any, **named: Any) -> str:
    """16 hexadecimal digits that change when a fact, or the version of torch, does.

    Facts: numbers, strings, None, paths, lists, tuples, dicts, sets, dataclasses (but for fields of
    compare=False), tensors (by content), functions and classes (by name, those of a notebook also
    by their code and what it uses), modules (by their structure, not their weights). Raises
    TypeError for anything else.
    """
    everything = [EXPERIMENTS, torch.__version__, _plain(facts), _plain(named)]
    plain = json.dumps(everything, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(plain.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def content(tensor: Tensor) -> str:
    """16 hexadecimal digits that change when a tensor's type, shape or values do."""
    tensor = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _plain(fact: Any) -> Any:
    if isinstance(fact, bool | int | float | str | None):
        return fact  # JSON tells 1.0 from 1: the one may be a share, the other a count
    if isinstance(fact, Path | torch.device | torch.dtype | range):
        return str(fact)
    if isinstance(fact, dict):
        return {"dict": sorted(([_plain(k), _plain(v)] for k, v in fact.items()), key=repr)}
    if dataclasses.is_dataclass(fact) and not isinstance(fact, type):
        shaping = [f.name for f in dataclasses.fields(fact) if f.compare]
        return {type(fact).__qualname__: {name: _plain(getattr(fact, name)) for name in shaping}}
    if isinstance(fact, list | tuple):
        return [_plain(part) for part in fact]
    if isinstance(fact, set | frozenset):
        return ["set", sorted(map(_plain, fact), key=repr)]
    if isinstance(fact, Tensor):
        return {"tensor": content(fact)}
    if isinstance(fact, nn.Module):
        shapes = {name: value.shape for name, value in fact.state_dict().items()}
        return {"module": [repr(fact), _plain(shapes), [_settings(m) for m in fact.modules()]]}
    if isinstance(fact, functools.partial):
        return {"partial": _plain([fact.func, fact.args, fact.keywords])}
    if callable(fact) and hasattr(fact, "__qualname__"):
        return [getattr(fact, "__module__", None), fact.__qualname__, _definition(fact)]
    raise TypeError(f"a {type(fact).__name__} has no fingerprint; pass numbers, text or tensors")


def _settings(module: nn.Module) -> Any:
    """A module's own attributes, because its text may leave them out."""
    own = {k: v for k, v in vars(module).items() if k[0] != "_" and k != "training"}
    return _plain({name: value for name, value in own.items() if _has_one(value)})


def _has_one(value: Any) -> bool:
    """Whether a value that is found, not passed, has a fingerprint and does not change by use."""
    if isinstance(value, tuple):
        return all(map(_has_one, value))
    return isinstance(value, bool | int | float | str | Tensor) or hasattr(value, "__qualname__")


def _definition(fact: Any, seen: tuple = ()) -> Any:
    """The code of a function or class, but for the kit's, and of what it uses of its own file."""
    fact = inspect.unwrap(fact)  # what a decorator such as lru_cache stands in front of
    if fact in seen or not isinstance(fact, type | FunctionType):
        return None
    if fact.__module__.startswith(("labkit", "torch")):
        return None
    seen = (*seen, fact)
    if isinstance(fact, type):
        methods = [part for part in vars(fact).values() if isinstance(part, FunctionType)]
        return [[method.__name__, _definition(method, seen)] for method in methods]

    def plain(value: Any) -> Any:
        own = getattr(value, "__module__", None) == fact.__module__
        return _definition(value, seen) if own and callable(value) else _plain(value)

    names, hashed = _code(fact.__code__)
    used = [v for v in map(fact.__globals__.get, names) if _has_one(v)]
    cells = [cell.cell_contents for cell in fact.__closure__ or ()]
    defaults = [fact.__defaults__, fact.__kwdefaults__]
    return [hashed, _plain(defaults), [plain(value) for value in (*used, *cells)]]


def _code(code: CodeType) -> tuple[list[str], Any]:
    """The names that code uses, and all that it is."""
    nested = [_code(part) for part in code.co_consts if isinstance(part, CodeType)]
    names = [*code.co_names, *(name for names, _ in nested for name in names)]
    constants = [c for c in code.co_consts if not isinstance(c, CodeType)]
    constants = [sorted(map(repr, c)) if isinstance(c, frozenset) else repr(c) for c in constants]
    digest = hashlib.sha256(code.co_code).hexdigest()[:16]
    return names, [digest, names, constants, [hashed for _, hashed in nested]]
