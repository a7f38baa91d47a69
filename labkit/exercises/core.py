"""What an exercise is: a reference, probes, and mistakes that are code themselves.

A function is known by its observation: what it returns on the probes, with shapes and kinds, the
gradients with respect to its inputs and parameters, and what it changes in place. A student's
function with the observation of a mistake made that mistake.

Observations are data (plain tensors, numbers, texts, and errors as texts), so that a process that
never runs the student's code can judge them.
"""

import contextlib
import functools
import inspect
import io
import itertools
import linecache
import math
import random
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch._dynamo  # the first optimizer would import it, a second within a check
from torch import Tensor, nn

Function = Callable[..., Any]
Observation = dict[str, Any]
RIGHT, WRONG, NOT_ATTEMPTED = "right", "wrong", "not attempted"
SEED = 20_240_229
LONGEST = 1_000  # characters of a text in an observation
_RETURNED = {kind for kind in vars(torch.return_types).values() if isinstance(kind, type)}
PLAIN = {Tensor, nn.Parameter, torch.Size, np.ndarray, tuple, list, dict, set}
PLAIN |= {type(None), bool, int, float, complex, str, range, torch.dtype, torch.device}
PLAIN |= set(np.sctypeDict.values()) | _RETURNED  # torch's own kinds of tuples
checking = False  # while a function is being observed


@dataclass(frozen=True)
class Mistake:
    """A wrong implementation, and what to tell the student who made it.

    switches: the keyword arguments that turn the reference into it; mistakes that turn different
    switches are tried together, too. Empty for a mistake with code of its own.
    """

    name: str
    sentence: str
    function: Function
    switches: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a check found. mistakes: the names of the mistakes that were recognized."""

    exercise: str
    state: str
    text: str
    mistakes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Raised:
    """An exception as data. kind: the name of its class; where: the student's own line, or ""."""

    kind: str
    text: str
    where: str = ""

    def __str__(self) -> str:
        if self.kind == Foreign.__name__:
            return f"It returns {self.text}."
        return f"It raises {self.kind}{self.where}: {self.text}"


class Foreign(TypeError):
    """A result, or a part of it, of a class that may pretend to be anything."""


@dataclass
class Exercise:
    """A task with its reference solution, probes, mistakes and hints.

    reference: a right solution; its keyword-only arguments are switches for `mistake`.
    probes: each makes the arguments of one call from a torch.Generator, the smallest first.
    points: for grading; right: one line for a right solution; hints: two or three, in order.
    tell: names of the parts of what is returned, for messages, e.g. ("h", "c").
    gradients: whether they are compared; calls: how often a function is called in a row on the same
    arguments, which shows state that is kept. rtol counts from the largest expected value.
    observe: takes the place of the probes: function → {what was looked at: tensor or number}.
    """

    name: str
    reference: Function
    probes: Sequence[Callable[[torch.Generator], tuple]] = ()
    points: int = 1
    right: str = ""
    hints: Sequence[str] = ()
    tell: Sequence[str] = ()
    gradients: bool = True
    calls: int = 1
    rtol: float = 1e-4
    atol: float = 1e-5
    observe: Callable[[Function], Observation] | None = None
    mistakes: list[Mistake] = field(default_factory=list)
    solutions: list[Function] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.solutions.insert(0, self.reference)
        if bool(self.probes) == bool(self.observe):
            raise ValueError(f"{self.name}: give either probes or observe")

    # what authors write

    def mistake(self, sentence: str, **switches: Any) -> None:
        """A mistake that is the reference with other switches."""
        name = ", ".join(f"{key}={getattr(v, '__name__', v)}" for key, v in switches.items())
        function = functools.partial(self.reference, **switches)
        self.mistakes.append(Mistake(name, sentence, function, switches))

    def wrong(self, sentence: str) -> Callable[[Function], Function]:
        """Decorates a mistake with code of its own."""

        def add(function: Function) -> Function:
            self.mistakes.append(Mistake(function.__name__, sentence, function))
            return function

        return add

    def also_right(self, function: Function) -> Function:
        """Decorates another right solution, by which the check itself is tested."""
        self.solutions.append(function)
        return function

    # what the check does

    @property
    def arguments(self) -> list[str]:
        """The names of the arguments that a solution takes."""
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(self.reference).parameters.values()
        return [p.name for p in parameters if p.kind in kinds]

    def observations(self, function: Function) -> list[Observation]:
        """What can be seen of a function: an observation a probe, {"raised": …} where it raised."""
        found = []
        for look in self._looks(function):
            with _undisturbed():
                try:
                    found.append(_as_data(look()))
                except (Exception, SystemExit) as error:  # whatever a student's code may raise
                    found.append({"raised": raised(error, _file_of(function))})
        return found

    def same(self, one: list[Observation], other: list[Observation]) -> bool:
        """Whether two functions cannot be told apart by what was observed of them."""
        return all(not self._differences(a, b) for a, b in zip(one, other, strict=True))

    @functools.cached_property
    def expected(self) -> list[Observation]:
        """The observations of the reference. Raises what the reference raises."""
        found = []
        for look in self._looks(self.reference):
            with _undisturbed():
                found.append(_as_data(look()))
        return found

    @functools.cached_property
    def known(self) -> list[tuple[tuple[Mistake, ...], list[Observation]]]:
        """The observations of each mistake, and of each pair that can be made together."""
        single = [((m,), self.observations(m.function)) for m in self.mistakes]
        pairs = []
        for one, other in itertools.combinations(self.mistakes, 2):
            if one.switches and other.switches and not one.switches.keys() & other.switches.keys():
                both = functools.partial(self.reference, **one.switches, **other.switches)
                pairs.append(((one, other), self.observations(both)))
        return single + pairs

    def diagnose(self, function: Function) -> Verdict:
        """Right, not attempted, a mistake by name, or the smallest example that fails."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            found = self.observations(function)
        return self.judge(found, printed.getvalue())

    def judge(self, found: list[Observation], printed: str = "") -> Verdict:
        """The verdict on what was observed of a function, and on what it printed meanwhile."""
        errors = [seen["raised"] for seen in found if "raised" in seen]
        # torch raises the same error, with a text, for what it cannot compute
        if any(error.kind == "NotImplementedError" and not error.text for error in errors):
            return Verdict(self.name, NOT_ATTEMPTED, "not written yet")
        if self.same(self.expected, found):
            return Verdict(self.name, RIGHT, self.right)
        for mistakes, seen in self.known:
            if self.same(seen, found) and (len(errors) < len(found) or _say_the_same(seen, found)):
                sentences = [mistake.sentence for mistake in mistakes]
                if len(sentences) == 2:
                    sentences = [f"{k} {text}" for k, text in zip("①②", sentences, strict=True)]
                    sentences.insert(0, "Two things at once:")
                names = tuple(mistake.name for mistake in mistakes)
                return Verdict(self.name, WRONG, " ".join(sentences), names)
        text = str(errors[0]) if errors else self._example(found)
        if printed:
            text += f"\nYour function printed: {printed[:300].rstrip()}"
        return Verdict(self.name, WRONG, text)

    def _looks(self, function: Function) -> list[Callable[[], Observation]]:
        """What is to be called to observe a function, a call a probe."""
        if self.observe:
            return [functools.partial(self.observe, only_plain(function))]
        return [functools.partial(self._on, probe, function) for probe in self.probes]

    def _on(self, probe: Callable[[torch.Generator], tuple], function: Function) -> Observation:
        """The default observation of a function on the arguments that a probe makes."""
        arguments = probe(torch.Generator().manual_seed(SEED))
        names, inputs, passed, before = self.arguments, {}, [], {}
        for name, value in zip(names, arguments, strict=True):
            if isinstance(value, nn.Module):
                inputs |= {f"{name}.{k}": p for k, p in value.named_parameters()}
            elif isinstance(value, Tensor) and value.is_floating_point() and self.gradients:
                inputs[name] = value.requires_grad_()
                value = value.clone()  # so that a change in place is seen and not refused
            passed.append(value)
            state = value.state_dict() if isinstance(value, nn.Module) else {"": value}
            for key, old in state.items():
                if isinstance(old, Tensor):
                    before[f"{name}.{key}".rstrip(".")] = (old, old.detach().clone())
        # an argument that is left as it was goes unmentioned
        seen: Observation = {}
        for call in range(self.calls):
            where = "the result" + f" of call {call + 1}" * (self.calls > 1)
            seen |= _leaves(function(*passed), where, self.tell)
        outputs = [v for v in seen.values() if _is_tensor(v)]
        if self.gradients:
            seen |= _gradients(outputs, inputs)
        for name, (now, old) in before.items():
            if not torch.equal(now.detach(), old):
                seen[f"{name} afterwards"] = now.detach().clone()
        return seen

    def _differences(self, expected: Observation, got: Observation) -> list[str]:
        """The names of what differs between two observations, in the order of the first."""
        names = list(dict.fromkeys([*expected, *got]))
        return [k for k in names if not self._equal(expected.get(k, _NONE), got.get(k, _NONE))]

    def _equal(self, a: Any, b: Any) -> bool:
        if isinstance(a, Raised) and isinstance(b, Raised):
            return a.kind == b.kind
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            if a.shape != b.shape or _kind(a) != _kind(b):
                return False
            a, b = a.double(), b.double()
            size = a[a.isfinite()].abs().max().item() if a.isfinite().any() else 0.0
            return torch.allclose(a, b, rtol=0, atol=self.atol + self.rtol * size, equal_nan=True)
        numbers = isinstance(a, float | int) and isinstance(b, float | int)
        if numbers and not isinstance(a, bool) and not isinstance(b, bool):
            both_nan = math.isnan(a) and math.isnan(b)
            return both_nan or math.isclose(a, b, rel_tol=self.rtol, abs_tol=self.atol)
        return type(a) is type(b) and a == b

    def _example(self, found: list[Observation]) -> str:
        """The first difference on the smallest probe, in words."""
        pairs = zip(self.expected, found, strict=True)
        k = next(k for k, pair in enumerate(pairs) if self._differences(*pair))
        name = self._differences(self.expected[k], found[k])[0]
        expected, got = (seen[k].get(name, _NONE) for seen in (self.expected, found))
        where = ""
        if not self.observe:
            values = self.probes[k](torch.Generator().manual_seed(SEED))
            pairs = zip(self.arguments, values, strict=True)
            where = "With " + ", ".join(f"{n} = {_text(v)}" for n, v in pairs) + ": "
        if name.endswith("afterwards") and expected is _NONE:
            return f"{where}it changes its argument {name.removesuffix(' afterwards')} in place."
        text = f"{where}{name} should be {_text(expected)} and is {_text(got)}."
        same = isinstance(expected, Tensor) and isinstance(got, Tensor)
        if same and expected.shape == got.shape and expected.numel() > 1:
            apart = (expected.double() - got.double()).abs()
            if _text(expected) == _text(got):  # too large to show, so one place of it
                at = np.unravel_index(apart.nan_to_num(nan=math.inf).argmax().item(), apart.shape)
                at = tuple(map(int, at))
                one, other = expected[at].item(), got[at].item()
                text = f"{where}{name}, of shape {tuple(got.shape)}, should be {_text(one)}"
                text += f" at {list(at)} and is {_text(other)} there."
            text += f" The largest difference is {apart.max():.4g}."
        return text


def _say_the_same(one: list[Observation], other: list[Observation]) -> bool:
    """Whether two functions that always raise also say the same; kinds of errors are too few."""
    return all(a["raised"].text == b["raised"].text for a, b in zip(one, other, strict=True))


class _Nothing:
    """The value of what is not there."""


_NONE = _Nothing()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """The same random numbers for every function, and those of the notebook as they were."""
    global checking
    before, checking = checking, True
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        random.seed(SEED)
        np.random.seed(SEED)
        torch.manual_seed(SEED)
        try:
            yield
        finally:
            checking = before
            random.setstate(states[0])
            np.random.set_state(states[1])


def _leaves(value: Any, name: str, tell: Sequence[str] = ()) -> Observation:
    """What a value is, and the tensors and numbers in it, by name."""
    if isinstance(value, tuple | list):
        parts = {name: f"{len(value)} values" + f" ({', '.join(tell)})" * (len(tell) == len(value))}
        for k, part in enumerate(value):
            label = tell[k] if len(tell) == len(value) else f"value {k + 1}"
            parts |= _leaves(part, f"{label} of {name}")
        return parts
    if isinstance(value, dict):
        pairs = [_leaves(part, f"{key!r} of {name}") for key, part in value.items()]
        keys = {name: f"a dict with the keys {sorted(map(str, value))}"}
        return keys | {k: v for pair in pairs for k, v in pair.items()}
    if isinstance(value, np.ndarray):
        return {name: f"a NumPy array of shape {value.shape}, not a tensor"}
    return {name: value.clone() if _is_tensor(value) else value}


def _is_tensor(value: Any) -> bool:
    """Whether a value is a tensor as torch makes them, and not of a class that poses as one."""
    return type(value) in (Tensor, nn.Parameter) and not vars(value)


def _as_data(seen: Observation) -> Observation:
    """An observation in which all that is no tensor, number or short text is told in words."""
    return {str(name)[:LONGEST]: _datum(value) for name, value in seen.items()}


def _datum(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if _is_tensor(value):
        if value.layout is not torch.strided or value.device.type != "cpu" or value.is_quantized:
            return f"a tensor that is {value.layout}, on {value.device}"
        return value.detach().resolve_conj().resolve_neg()
    if isinstance(value, Tensor):
        return f"a {type(value).__name__}, not a plain tensor"
    if type(value) is int and abs(value) >= 2**63:
        return "a whole number of more than 63 bits"
    if type(value) in (bool, int, float, type(None)):
        return value
    return (value if type(value) is str else _text(value))[:LONGEST]


def foreign(value: Any) -> str:
    """What about a student's result is not plain, e.g. "a Series", or "" if all of it is.

    An object of any class could call itself equal to everything, so tests look at plain results.
    """
    kind = type(value)
    if isinstance(value, Tensor):
        if kind not in PLAIN:
            return f"a {kind.__name__}, not a plain tensor"
        return "a tensor with attributes of its own" if vars(value) else ""
    if kind in (tuple, list, set) or kind in _RETURNED:
        return next(filter(None, map(foreign, value)), "")
    if kind is dict:
        return next(filter(None, (foreign(part) for pair in value.items() for part in pair)), "")
    if kind not in PLAIN or kind is np.ndarray and value.dtype.hasobject:
        return f"a {kind.__name__}"
    return ""


def only_plain(function: Function) -> Function:
    """The function, which raises Foreign where a result is not plain."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if found := foreign(result):
            raise Foreign(f"{found}, where tensors, numbers or tuples of them are expected")
        return result

    return guarded


def _gradients(outputs: list[Tensor], inputs: dict[str, Tensor]) -> Observation:
    """d(a fixed random weighting of the outputs) / d(each input); zero where nothing arrives."""
    generator = torch.Generator().manual_seed(SEED)
    parts = []
    for out in outputs:
        weights = torch.rand(out.shape, generator=generator, dtype=torch.double) + 0.5
        if out.requires_grad:
            parts.append((out.double() * weights).sum())
    try:
        found = torch.autograd.grad(sum(parts), list(inputs.values()), allow_unused=True)
    except (RuntimeError, TypeError):  # no output depends on an input, or it was overwritten
        found = [None] * len(inputs)
    return {
        f"the gradient that reaches {name}": torch.zeros_like(x) if g is None else g
        for (name, x), g in zip(inputs.items(), found, strict=True)
    }


def _kind(tensor: Tensor) -> str:
    """Whether a tensor holds truth values, bytes, whole or real numbers; precision aside."""
    if tensor.is_floating_point():
        return "real"
    return {torch.bool: "bool", torch.uint8: "uint8"}.get(tensor.dtype, "whole")


def _text(value: Any) -> str:
    """A value for a message: in numbers if it is small, else by its shape."""
    if value is _NONE:
        return "missing"
    if value is None:
        return "None (is there a `return`?)"
    if isinstance(value, Tensor):
        shape = tuple(value.shape)
        shown = value.detach()
        if shown.dtype == torch.bfloat16:  # NumPy has none
            shown = shown.float()
        numbers = np.array2string(shown.numpy(), precision=4, separator=", ")
        kind = str(value.dtype).removeprefix("torch.")
        if value.numel() > 12:
            return f"{'an' if kind[0] == 'i' else 'a'} {kind} tensor of shape {shape}"
        return " ".join(numbers.split()) + (f" of shape {shape}" if len(shape) > 1 else "")
    if isinstance(value, nn.Module | torch.optim.Optimizer):
        return f"{type(value).__name__}(…)"
    if isinstance(value, str):
        return value
    return f"{value:.6g}" if isinstance(value, float) else f"{value!r:.80}"


def _file_of(function: Function) -> str | None:
    return getattr(getattr(function, "__code__", None), "co_filename", None)


def raised(error: BaseException, own: str | None) -> Raised:
    """An exception with the line in which it was raised in the file `own`, the student's."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == own]
    where = ""
    if frames:
        line = linecache.getline(own, frames[-1].lineno).strip()
        where = f" in the line `{line[:LONGEST]}`" if line else f" in line {frames[-1].lineno}"
    try:
        text = str.__str__(str(error))[:LONGEST]
    except Exception:  # of a class of the student's
        text = ""
    return Raised(type(error).__name__, text, where)
