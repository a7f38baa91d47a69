"""Whether a student's code changed what judges it, and what it looks at beyond its exercise.

`snapshot` and `restore` work in the process in which the code runs; `scan` only reads the code.
Both find what a student may plausibly try. Code in the same process can always do more.
"""

import ast
import builtins
import contextlib
import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import labkit
from labkit.grading.records import GRADED, MANUAL, Finding

# ── what a process may have changed ──

MODULES = (
    "builtins",
    "math",
    "random",
    "numpy",
    "numpy.linalg",
    "numpy.testing",
    "torch",
    "torch.autograd",
    "torch.linalg",
    "torch.nn",
    "torch.nn.functional",
    "torch.optim",
    "torch.special",
    "torch.testing",
)
BY_ITSELF = {  # what Python and its library add to a class
    "__abstractmethods__",
    "__annotate__",
    "__annotations__",
    "__annotations_cache__",
    "__doc__",
    "__slotnames__",
}
COMPUTED = ("expected", "known")  # what an exercise keeps once it was asked for
_MISSING = object()


@dataclass
class Held:
    """A module, class or exercise with its attributes as they were."""

    name: str
    thing: Any
    values: dict[str, Any]
    functions: list[tuple[str, FunctionType, tuple]] = field(default_factory=list)


@dataclass
class Snapshot:
    """What a student's code should leave alone, as it was before; builtins are the first."""

    held: list[Held]
    dtype: Any
    gradients: bool


def snapshot() -> Snapshot:
    """Notes the attributes of Python, NumPy, torch and labkit that tests rest on."""
    import torch

    names = [name for name in MODULES if name in sys.modules]
    names += sorted(name for name in sys.modules if name.partition(".")[0] == "labkit")
    things = {id(builtins): ("builtins", builtins)}  # first, for the others are read by means of it
    for name in names:
        module = sys.modules[name]
        things.setdefault(id(module), (name, module))
        if name.partition(".")[0] == "labkit" or name in ("torch.nn", "torch.optim"):
            for key, value in vars(module).items():
                if isinstance(value, type) and _of_torch_or_labkit(value) or _is_exercise(value):
                    things.setdefault(id(value), (f"{name}.{key}", value))
    for kind in (torch.Tensor, torch._C.TensorBase, torch.Generator):
        things[id(kind)] = (f"torch.{kind.__name__}", kind)
    _settle(thing for _, thing in things.values())
    held = []
    for name, thing in things.values():
        values = dict(vars(thing))
        functions = [
            (f"{name}.{key}", function, _inner(function))
            for key, value in values.items()
            for function in _functions(value)
        ]
        held.append(Held(name, thing, values, functions))
    return Snapshot(held, torch.get_default_dtype(), torch.is_grad_enabled())


def restore(before: Snapshot) -> list[str]:
    """Puts everything back as it was, and returns the dotted names of what had been changed."""
    changed: list[str] = []
    for name, old in before.held[0].values.items():  # builtins, of which nothing here calls one
        if builtins.__dict__.get(name, _MISSING) is not old:
            builtins.__dict__[name] = old
            changed += [f"builtins.{name}"]
    for held in before.held:
        now = held.thing.__dict__
        for name, old in held.values.items():
            if now.get(name, _MISSING) is not old:
                _put(held.thing, name, old)
                changed += [f"{held.name}.{name}"]
        changed += [f"{held.name}.{name}" for name in _added(held)]
        for name, function, inner in held.functions:
            if _differs(_inner(function), inner):
                function.__code__, function.__defaults__, function.__kwdefaults__ = inner
                changed += [name]
        if isinstance(held.thing, ModuleType) and sys.modules.get(held.name) is not held.thing:
            sys.modules[held.name] = held.thing
            changed += [f"sys.modules[{held.name!r}]"]
    return changed + _modes(before)


def _settle(things: Iterator[Any]) -> None:
    """Makes an optimizer of each class, for the first of a class gets its `step` wrapped."""
    import torch

    kinds = [t for t in things if isinstance(t, type) and issubclass(t, torch.optim.Optimizer)]
    for kind in kinds:
        with contextlib.suppress(Exception):  # one that needs more arguments
            kind([torch.nn.Parameter(torch.zeros(1, 1))], lr=0.1)


def _of_torch_or_labkit(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("torch", "labkit")


def _is_exercise(value: Any) -> bool:
    return type(value).__module__ == "labkit.exercises.core" and hasattr(value, "reference")


def _functions(value: Any) -> Iterator[FunctionType]:
    """The Python functions behind an attribute: behind properties and decorators, too."""
    for _ in range(8):
        if isinstance(value, FunctionType):
            yield value
            value = value.__dict__.get("__wrapped__")
        elif isinstance(value, staticmethod | classmethod):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        elif isinstance(value, functools.cached_property):
            value = value.func
        else:
            return


def _inner(function: FunctionType) -> tuple:
    return function.__code__, function.__defaults__, function.__kwdefaults__


def _differs(one: tuple, other: tuple) -> bool:
    return any(a is not b for a, b in zip(one, other, strict=True))


def _put(thing: Any, name: str, value: Any) -> None:
    """Sets or (for _MISSING) removes an attribute past anything that the thing defines itself."""
    if isinstance(thing, type):
        if value is _MISSING:
            type.__delattr__(thing, name)
        else:
            type.__setattr__(thing, name, value)
    elif value is _MISSING:
        del thing.__dict__[name]
    else:
        thing.__dict__[name] = value


def _added(held: Held) -> list[str]:
    """Removes attributes that were not there, and returns their names."""
    is_module = isinstance(held.thing, ModuleType)
    added = []
    for name, value in list(vars(held.thing).items()):
        by_itself = name in BY_ITSELF
        if is_module:  # a part of it that was imported meanwhile, or a register of warnings
            by_itself = isinstance(value, ModuleType) or name.startswith("__")
        by_itself |= name in COMPUTED and _is_exercise(held.thing)
        if name not in held.values and not by_itself:
            _put(held.thing, name, _MISSING)
            added.append(name)
    return added


def _modes(before: Snapshot) -> list[str]:
    """Ends what watches or redirects all code that runs, and returns the names of it."""
    import torch

    changed = []
    for get, put in ((sys.gettrace, sys.settrace), (sys.getprofile, sys.setprofile)):
        if get() is not None:
            put(None)
            changed.append(f"sys.{put.__name__}")
    for kind in ("function", "dispatch"):
        while getattr(torch._C, f"_len_torch_{kind}_stack")():
            getattr(torch._C, f"_pop_torch_{kind}_stack")()
            changed.append(f"a mode of torch that catches every {kind}")
    if torch.get_default_dtype() is not before.dtype:
        torch.set_default_dtype(before.dtype)
        changed.append("torch.set_default_dtype")
    if torch.is_grad_enabled() is not before.gradients:
        torch.set_grad_enabled(before.gradients)
        changed.append("torch.set_grad_enabled")
    return changed


# ── what can be read in a cell ──


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DANGEROUS = _words(
    "IPython _thread ast asyncio atexit builtins cffi cloudpickle code codeop concurrent ctypes"
    " dill dis faulthandler fcntl ftplib gc http importlib inspect joblib linecache marshal mmap"
    " multiprocessing nbgrader os pickle pkgutil platform psutil pty requests resource runpy"
    " select shelve shutil signal site socket ssl subprocess sys threading traceback types"
    " unittest urllib weakref zipimport"
)
MILD = _words("csv glob io json pathlib sqlite3 tempfile zipfile")
CALLS = _words(
    "__import__ breakpoint compile delattr eval exec globals locals memoryview setattr vars"
)
ENDS = _words("exit quit input")
POSES = _words(  # methods by which an object can pretend to be another
    "__array__ __array_function__ __array_ufunc__ __bool__ __class__ __contains__ __del__ __eq__"
    " __float__ __ge__ __getattr__ __getattribute__ __gt__ __hash__ __index__ __instancecheck__"
    " __int__ __le__ __lt__ __ne__ __setattr__ __subclasscheck__ __torch_dispatch__"
    " __torch_function__"
)
USUAL = _words("__init__ __call__ __len__ __getitem__ __name__ __doc__ __iter__ __next__")
OURS = _words("reference solutions probes diagnose judge observations _handles whose")
OF_TORCH = _words("torch.load torch.save torch.hub torch.ops torch.library torch.overrides")
GIVEN = _words("check display exercise hint progress yours")  # every lab imports these
SHOWS = ("plots", "profile", "results", "widgets", "exercises")  # parts of labkit without answers
WITHIN = _words("builtins ctypes gc importlib inspect os socket subprocess sys")  # as torch.os
MAGICS = _words("config load_ext matplotlib pip pinfo pinfo2 precision time timeit capture")
MORE, KITS, LEFT = "looks at more than the exercise", "uses the kit's own answer", "left-in raise"
SENTENCES = (
    (MORE, MANUAL, "It uses what no exercise needs: {}."),
    (MORE, GRADED, "It uses what the exercise does not need: {}."),
    (KITS, MANUAL, "It uses labkit where the lab's own solution does not: {}."),
    (LEFT, GRADED, "The `raise` of the stub is still there beside written lines, in {}."),
)


def as_python(source: str) -> str:
    """A cell's source with IPython's magics as the calls that they stand for."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        return TransformerManager().transform_cell(source)
    except Exception:  # no Python at all: whoever compiles it says where
        return source


def imports_of(source: str) -> str:
    """The import statements of a cell that stand outside of functions, as Python."""
    tree = ast.parse(as_python(source))
    inside = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.ClassDef)
        for node in ast.walk(outer)
    }
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    return "\n".join(ast.unparse(node) for node in nodes if id(node) not in inside)


def scan(source: str, solution: str = "", imports: str = "") -> list[Finding]:
    """What a cell uses beyond its exercise, read and not run.

    solution: the master's cell, which shows what may be used; imports: what the notebook imports.
    """
    try:
        tree = ast.parse(as_python(source))
        allowed = ast.parse(as_python(solution))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return [Finding("no Python", f"The cell cannot be read: {type(error).__name__}.")]
    known = _aliases(ast.parse(as_python(imports)))
    seen, usual = _uses(tree, known), _uses(allowed, known)
    findings = []
    for kind, status, sentence in SENTENCES:
        found = sorted({what for k, s, what in seen - usual if (k, s) == (kind, status)})
        if found:
            findings.append(Finding(kind, sentence.format(", ".join(found)[:500]), status))
    return findings


def _uses(tree: ast.AST, known: dict[str, str]) -> set[tuple[str, str, str]]:
    """(kind, status, what) of everything in a tree that a human may want to see."""
    aliases = known | _aliases(tree)
    found = set()
    for node in ast.walk(tree):
        found |= {(MORE, status, what) for status, what in _imported(node)}
        found |= {(MORE, status, what) for status, what in _called(node, aliases)}
        found |= {(MORE, MANUAL, what) for what in _reached(node, aliases)}
        found |= {(KITS, MANUAL, what) for what in _of_kit(node, aliases)}
        if isinstance(node, ast.FunctionDef) and _stub_left(node):
            found.add((LEFT, GRADED, node.name))
    return found


def _aliases(tree: ast.AST) -> dict[str, str]:
    """The names that import statements bind, with the full names of what they stand for."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"
    return found


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The imports of a statement that no exercise needs."""
    names = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [f"{node.module or ''}.{alias.name}" for alias in node.names]
    for name in names:
        top = name.partition(".")[0]
        of_exercises = name.startswith("labkit.exercises") and name.split(".")[-1] not in GIVEN
        if top in DANGEROUS or of_exercises or name.startswith("labkit.grading"):
            yield MANUAL, f"import {name}"
        elif top in MILD:
            yield GRADED, f"import {name}"


def _called(node: ast.AST, aliases: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Built-in functions, modules and magics that are used by their names."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        if node.id in CALLS or node.id.startswith("__") and node.id != "__name__":
            yield MANUAL, node.id
        elif node.id in ENDS:
            yield GRADED, node.id
    if not isinstance(node, ast.Call):
        return
    name = _dotted(node.func, aliases)
    if name == "open" or name == "io.open":
        modes = [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "mode")]
        reads = all(isinstance(m, ast.Constant) and str(m.value) in ("r", "rb") for m in modes)
        yield (GRADED if reads else MANUAL), "open" if reads else "open for writing"
    if name == "getattr" and not (len(node.args) > 1 and isinstance(node.args[1], ast.Constant)):
        yield MANUAL, "getattr by a computed name"
    of_shell = isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call)
    if of_shell and _dotted(node.func.value.func, aliases) == "get_ipython":
        first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
        harmless = node.func.attr.endswith("_magic") and first in MAGICS | {""}
        harmless |= node.func.attr == "show_usage"  # a lonely question mark
        yield (GRADED if harmless else MANUAL), f"{node.func.attr} {first}".strip()[:80]
        node.func.value.told = True  # the walk comes to it later
    elif name == "get_ipython" and not hasattr(node, "told"):
        yield MANUAL, "get_ipython"


def _reached(node: ast.AST, aliases: dict[str, str]) -> Iterator[str]:
    """Inner parts of objects, classes that pose as others, and changes of imported modules."""
    if isinstance(node, ast.Attribute):
        name, inner = _dotted(node, aliases), node.attr.startswith("__")
        top = name.partition(".")[0]
        imported = top in {full.partition(".")[0] for full in aliases.values()}
        of_exercises = name.startswith("labkit.exercises.") and node.attr not in GIVEN
        hidden = name.startswith(("labkit.grading", "torch._C")) or node.attr in OURS
        if inner and node.attr not in USUAL or of_exercises or hidden:
            yield f".{node.attr}"
        elif imported and not isinstance(node.ctx, ast.Load):
            yield f"{name} = …"
        elif imported and (top in DANGEROUS or node.attr in WITHIN) or name in OF_TORCH:
            yield name
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in POSES:
        yield f"def {node.name}"
    elif isinstance(node, ast.ClassDef) and any(k.arg == "metaclass" for k in node.keywords):
        yield "metaclass"


def _of_kit(node: ast.AST, aliases: dict[str, str]) -> Iterator[str]:
    """Functions and classes of labkit, without constants and what draws pictures."""
    called = isinstance(node, ast.Call)
    if called or isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
        first, *parts = _dotted(node.func if called else node, aliases).split(".")
        if first != "labkit" or not parts or parts[0] in SHOWS:
            return
        if called != any(part.isupper() for part in parts) or called and not parts[-1].isupper():
            return  # a constant, unless it is a class such as LSTM
        path = Path(labkit.__file__).parent.joinpath(*parts)
        if not path.is_dir() and not path.with_suffix(".py").is_file():
            yield ".".join(["labkit", *parts])


def _dotted(node: ast.AST, aliases: dict[str, str]) -> str:
    """The full name of `a.b.c`, with what `a` was imported as, or "" for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([aliases.get(node.id, node.id), *reversed(parts)])


def _stub_left(function: ast.FunctionDef) -> bool:
    """Whether a function has both the stub's `raise NotImplementedError` and lines of its own."""
    body = function.body[bool(ast.get_docstring(function)) :]
    stubs = [
        node
        for node in body
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Name)
        and node.exc.id == "NotImplementedError"
    ]
    return bool(stubs) and len(body) > len(stubs)
