"""Whether a student's code changed what judges it, and what it looks at beyond its exercise.

`snapshot` and `restore` work in the process in which the code runs; `scan` only reads the code.
Both find what a student may plausibly try. Code in the same process can always do more.
"""

import ast
import builtins
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

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
    """What a student's code should leave alone, as it was before."""

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
    for held in before.held:  # builtins are the first, and nothing up to there calls one
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


def _of_torch_or_labkit(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("torch", "labkit")


def _is_exercise(value: Any) -> bool:
    return type(value).__module__ == "labkit.exercises.core" and hasattr(value, "reference")


def _functions(value: Any) -> Iterator[FunctionType]:
    """The Python functions behind an attribute: behind properties and decorators, too."""
    for _ in range(8):
        if isinstance(value, FunctionType):
            yield value
        value = next(
            (
                inner
                for key in ("__wrapped__", "__func__", "fget")
                if (inner := getattr(type(value), key, None) and getattr(value, key, None))
                or (inner := isinstance(value, FunctionType) and value.__dict__.get(key))
            ),
            None,
        )
        if value is None:
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

DANGEROUS = set(
    "IPython _thread ast asyncio atexit builtins cffi cloudpickle code codeop concurrent ctypes dill"
    " dis faulthandler fcntl ftplib gc http importlib inspect joblib linecache marshal mmap"
    " multiprocessing nbgrader os pickle pkgutil platform psutil pty requests resource runpy"
    " select shelve shutil signal site socket ssl subprocess sys threading traceback types unittest"
    " urllib weakref zipimport".split()
)
MILD = set("csv glob io json pathlib sqlite3 tempfile zipfile".split())
CALLS = set(
    "__import__ breakpoint compile delattr eval exec globals locals memoryview setattr vars".split()
)
ENDS = {"exit", "quit"}
POSES = set(  # methods by which an object can pretend to be another
    "__array__ __array_function__ __array_ufunc__ __bool__ __class__ __contains__ __del__ __eq__"
    " __float__ __ge__ __getattr__ __getattribute__ __gt__ __hash__ __index__ __instancecheck__"
    " __int__ __le__ __lt__ __ne__ __setattr__ __subclasscheck__ __torch_dispatch__"
    " __torch_function__".split()
)
USUAL = set("__init__ __call__ __len__ __getitem__ __name__ __doc__ __iter__ __next__".split())
OURS = {"reference", "solutions", "probes", "diagnose", "_handles", "whose"}
GIVEN = {"check", "display", "exercise", "hint", "progress", "yours"}  # every lab imports these
HARMLESS = ("labkit.plots", "labkit.profile", "labkit.results", "labkit.widgets", "labkit.exercises")
MAGICS = set("config load_ext matplotlib pip precision time timeit capture".split())


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
    for kind, status, told in (
        ("looks at more than the exercise", MANUAL, "It uses what no exercise needs: {}."),
        ("looks at more than the exercise", GRADED, "It uses what the exercise does not need: {}."),
        ("uses the kit's own answer", MANUAL, "It calls labkit where the lab's solution does not:"),
        ("left-in raise", GRADED, "The stub's `raise` is still there beside written lines."),
    ):
        found = sorted({what for k, s, what in seen - usual if (k, s) == (kind, status)})
        if found:
            text = told.format(", ".join(found)) if "{}" in told else told
            text += f" {', '.join(found)}." if told.endswith(":") else ""
            findings.append(Finding(kind, text[:1_000], status))
    return findings


def _uses(tree: ast.AST, known: dict[str, str]) -> set[tuple[str, str, str]]:
    """(kind, status, what) of everything in a tree that a human may want to see."""
    aliases = known | _aliases(tree)
    found = set()
    more = "looks at more than the exercise"
    for node in ast.walk(tree):
        found |= {(more, status, what) for status, what in _imported(node)}
        found |= {(more, status, what) for status, what in _called(node, aliases)}
        found |= {(more, MANUAL, what) for what in _reached(node, aliases)}
        found |= {("uses the kit's own answer", MANUAL, what) for what in _of_kit(node, aliases)}
        if isinstance(node, ast.FunctionDef) and _stub_left(node):
            found.add(("left-in raise", GRADED, node.name))
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
        elif node.id in ENDS | {"input"}:
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
        harmless = node.func.attr.endswith("_magic") and first in MAGICS
        yield (GRADED if harmless else MANUAL), f"{node.func.attr} {first}".strip()[:80]
    elif name == "get_ipython" and not getattr(node, "harmless", False):
        yield GRADED, "get_ipython"


def _reached(node: ast.AST, aliases: dict[str, str]) -> Iterator[str]:
    """Inner parts of objects, classes that pose as others, and changes of imported modules."""
    if isinstance(node, ast.Attribute):
        name = _dotted(node, aliases)
        inner = node.attr.startswith("__") and node.attr.endswith("__") and node.attr not in USUAL
        if inner or node.attr in OURS or name.startswith(("labkit.grading", "torch._C")):
            yield f".{node.attr}"
        elif not isinstance(node.ctx, ast.Load) and name.partition(".")[0] in _tops(aliases):
            yield f"{name} = …"
        elif name.partition(".")[0] in DANGEROUS and name.partition(".")[0] in _tops(aliases):
            yield name
        elif name.startswith("torch.") and node.attr in ("load", "save", "hub", "ops", "library"):
            yield name
        elif name.startswith("labkit.exercises.") and node.attr not in GIVEN:
            yield name
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in POSES:
        yield f"def {node.name}"
    elif isinstance(node, ast.ClassDef) and any(k.arg == "metaclass" for k in node.keywords):
        yield "metaclass"


def _tops(aliases: dict[str, str]) -> set[str]:
    return {name.partition(".")[0] for name in aliases.values()}


def _of_kit(node: ast.AST, aliases: dict[str, str]) -> Iterator[str]:
    """Functions and classes of labkit, constants and what draws pictures apart."""
    if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
        name = _dotted(node, aliases)
        last = name.split(".")[-1]
        if not name.startswith("labkit.") or name.startswith(HARMLESS) or last.isupper():
            return
        module = sys.modules.get(name)
        if not isinstance(module, ModuleType) and not _is_module(name):
            yield name


def _is_module(name: str) -> bool:
    """Whether a dotted name is a module of labkit, which is not imported for that."""
    from pathlib import Path

    import labkit

    path = Path(labkit.__file__).parent.joinpath(*name.split(".")[1:])
    return path.is_dir() or path.with_suffix(".py").is_file()


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
