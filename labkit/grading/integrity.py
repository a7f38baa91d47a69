"""Whether a student's code changed what judges it, and what it looks at beyond its exercise.

`snapshot` and `restore` work in the process in which the code runs; `scan` only reads the code.
Both find what a student may plausibly try. Code in the same process can always do more.
"""

import ast
import builtins
import contextlib
import functools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
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
MILD = _words("csv glob io json operator pathlib sqlite3 tempfile zipfile")
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
WITHIN = DANGEROUS - _words("code http platform resource select signal site types")  # as torch.os
BY_NAME = _words("operator.attrgetter operator.methodcaller")  # reach attributes without a dot
MAGICS = _words("config load_ext matplotlib pip pinfo pinfo2 precision time timeit capture prun")
RUNS = _words("time timeit prun")  # magics that run the code beside them
HOLDS = RUNS | {"capture"}  # magics that run the code below them
OPTIONS = re.compile(r"(\s*-[nrlsTD]\s*\S+|\s*-\w)*\s*")  # of those
INNER = re.compile(r"(?<![A-Za-z0-9])__[A-Za-z]")  # the start of a name such as __class__
TELLS = _words("dir display help print repr")  # what only shows a module
OWN = re.compile(  # harmless in a cell that belongs to no exercise
    r"import (sys|gc|os|os\.path|types|platform)|import (types\.SimpleNamespace|os\.environ)"
    r"|types\.SimpleNamespace|gc\.collect|os\.(path|environ|getcwd|listdir|cpu_count|makedirs)"
    r"|(import )?os\.path\.(join|exists|isdir|isfile|basename|dirname|abspath|getsize|splitext)"
    r"|os\.environ\.(get|setdefault)|os\.environ = …|platform\.\w+"
    r"|sys\.(version|version_info|executable|platform|path|maxsize|getsizeof|stdout)"
    r"|sys\.path\.(append|insert)|sys\.stdout\.flush|sys\.version_info\.\w+"
    r"|torch\.backends\.[\w.]+ = …|(pandas\.|torch\.)?\w*\.?options\.[\w.]+ = …"
    r"|run_(line|cell)_magic (autoreload|reload_ext|cd|pwd|ls|env|set_env|whos?|html|latex|svg)"
    r"|run_cell_magic (markdown|writefile)"
    r"|system (nvidia-smi|pwd|ls|pip3?|python3?)( [-\w=.,/ ]*)?"
)
MORE, KITS, LEFT = "looks at more than the exercise", "uses the kit's own answer", "left-in raise"
SENTENCES = (
    (MORE, MANUAL, "It uses what no exercise needs: {}."),
    (MORE, GRADED, "It uses what the exercise does not need: {}."),
    (KITS, MANUAL, "It uses labkit where the lab's own solution does not: {}."),
    (LEFT, GRADED, "The `raise` of the stub is still there beside written lines, in {}."),
)


@dataclass(frozen=True)
class Own:
    """What to know for a look at a cell of the student's own.

    exercises: the names of the lab's exercises and of their functions; names: what the student's
    cells bind.
    """

    exercises: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


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


def _readable(source: str) -> ast.AST:
    """A cell's tree, which is empty where it cannot be read."""
    try:
        return _plain(ast.parse(as_python(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


def imports_of_any(source: str) -> str:
    """The same for a cell of a student, which may be no Python; code in magics counts, too."""
    nodes = ast.walk(_readable(source))
    return "\n".join(ast.unparse(n) for n in nodes if isinstance(n, ast.Import | ast.ImportFrom))


def defined(source: str) -> frozenset[str]:
    """The names of the functions and classes that a cell defines."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return frozenset(n.name for n in ast.walk(_readable(source)) if isinstance(n, kinds))


def bound(source: str) -> frozenset[str]:
    """The names to which a cell binds values."""
    nodes = [n for n in ast.walk(_readable(source)) if isinstance(n, ast.Name)]
    return frozenset(n.id for n in nodes if isinstance(n.ctx, ast.Store))


def scan(
    source: str, solution: str = "", imports: str = "", own: Own | None = None
) -> list[Finding]:
    """What a cell uses beyond its exercise, read and not run.

    solution: the master's cell, which shows what may be used; imports: what the notebook imports;
    own: set for a cell of the student's own, where more is harmless.
    """
    try:
        return _scan(source, solution, imports, own)
    except SyntaxError as error:
        said = f"SyntaxError in line {error.lineno}: {error.msg}"[:300]
    except ValueError as error:
        said = type(error).__name__
    except (RecursionError, MemoryError) as error:  # so deep that nothing is known of it
        text = f"The cell is too deeply nested to be read: {type(error).__name__}."
        return [Finding("no Python", text, MANUAL)]
    return [Finding("no Python", f"The cell cannot be read: {said}.")]


def _scan(source: str, solution: str, imports: str, own: Own | None) -> list[Finding]:
    tree, allowed = _plain(ast.parse(as_python(source))), _readable(solution)
    known = _aliases(ast.parse(as_python(imports)))
    seen = _uses(tree, known, own)
    if own:
        seen = {_mildly(one) for one in seen}
        seen = {one for one in seen if one[0] != KITS or one[2].split(".")[-1] in own.exercises}
    seen -= _uses(allowed, known)
    findings = []
    for kind, status, sentence in SENTENCES:
        found = sorted({what for k, s, what in seen if (k, s) == (kind, status)})
        if found:
            findings.append(Finding(kind, sentence.format(", ".join(found)[:500]), status))
    return findings


def _mildly(use: tuple[str, str, str]) -> tuple[str, str, str]:
    """A use as it counts in a cell that belongs to no exercise."""
    kind, status, what = use
    return kind, GRADED if kind == MORE and OWN.fullmatch(what) else status, what


def _uses(tree: ast.AST, known: dict[str, str], own: Own | None = None) -> set[tuple]:
    """(kind, status, what) of everything in a tree that a human may want to see."""
    aliases = known | _aliases(tree)
    bound = _Bound()
    bound.visit(tree)
    beside = own.names if own else frozenset()
    found = {(MORE, MANUAL, what) for what in _bare(tree, aliases, bound.found, beside)}
    for node in ast.walk(tree):
        found |= {(MORE, status, what) for status, what in _imported(node)}
        if id(node) not in bound.found:
            found |= {(MORE, status, what) for status, what in _called(node, aliases)}
        found |= {(MORE, status, what) for status, what in _reached(node, aliases)}
        found |= {(KITS, MANUAL, what) for what in _of_kit(node, aliases)}
        if isinstance(node, ast.FunctionDef) and _stub_left(node):
            found.add((LEFT, GRADED, node.name))
    return found


class _Plain(ast.NodeTransformer):
    """Puts code that is written as text in the place of that text."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        texts = [a.value if isinstance(a, ast.Constant) else None for a in node.args]
        gets = isinstance(node.func, ast.Name) and node.func.id == "getattr"
        if gets and len(texts) > 1 and isinstance(texts[1], str):
            made = ast.Attribute(node.args[0], texts[1], ast.Load())
            return ast.BoolOp(ast.Or(), [made, *node.args[2:]]) if node.args[2:] else made
        of_magic = isinstance(node.func, ast.Attribute) and node.func.attr.endswith("_magic")
        if of_magic and len(texts) > 1 and all(isinstance(text, str) for text in texts):
            node.args[1:] = [ast.Constant("")] * len(node.args[1:])
            codes = [OPTIONS.sub("", texts[1], count=1)] if texts[0] in RUNS else []
            is_file = texts[0] == "writefile" and texts[1].strip().endswith(".py")
            codes += texts[2:] if texts[0] in HOLDS or is_file else []
            parsed = [_plain(ast.parse(as_python(code))) for code in codes if code.strip()]
            node.keywords += [ast.keyword("code", part) for part in parsed]
        return node


def _plain(tree: ast.Module) -> ast.Module:
    """A tree without docstrings, with the code that magics and `getattr` are given as text."""
    for node in ast.walk(tree):
        has = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if has and ast.get_docstring(node, clean=False) is not None:
            node.body[0].value.value = ""
    return _Plain().visit(tree)


class _Bound(ast.NodeVisitor):
    """Finds the names that stand for what the cell itself bound before, by their nodes' ids."""

    def __init__(self) -> None:
        self.scopes: list[set[str]] = [set()]
        self.found: set[int] = set()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.scopes[-1].add(node.id)
        elif any(node.id in scope for scope in self.scopes):
            self.found.add(id(node))

    def visit_alias(self, node: ast.alias) -> None:
        self.scopes[-1].discard(node.asname or node.name.partition(".")[0])

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.scopes[-1] |= {node.name} if node.name else set()
        self.generic_visit(node)

    def value_first(self, node: Any) -> None:
        """Visits what is bound before the names that it is bound to."""
        for name in sorted(node._fields, key=lambda name: name not in ("iter", "value")):
            below = getattr(node, name)
            for one in below if isinstance(below, list) else [below]:
                if isinstance(one, ast.AST):
                    self.visit(one)

    visit_Assign = visit_AnnAssign = visit_NamedExpr = visit_For = visit_AsyncFor = value_first

    def comprehension(self, node: Any) -> None:
        self.visit(node.generators[0].iter)
        self.scopes.append(set())
        for part in node.generators:
            for one in (*([] if part is node.generators[0] else [part.iter]), part.target):
                self.visit(one)
            for one in part.ifs:
                self.visit(one)
        for name in ("elt", "key", "value"):
            if getattr(node, name, None):
                self.visit(getattr(node, name))
        self.scopes.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = comprehension

    def function(self, node: Any) -> None:
        """Visits defaults and decorators outside, and the body with the parameters bound."""
        around = [*getattr(node, "decorator_list", []), node.args, getattr(node, "returns", None)]
        for one in around:
            if one:
                self.visit(one)
        if not isinstance(node, ast.Lambda):
            self.scopes[-1].add(node.name)
        self.scopes.append({a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)})
        for one in node.body if isinstance(node.body, list) else [node.body]:
            self.visit(one)
        self.scopes.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scopes.append(set())
        self.generic_visit(node)
        self.scopes.pop()
        self.scopes[-1].add(node.name)


@functools.cache
def _is_module(name: str) -> bool:
    """Whether a dotted name is that of a module, from its files and without an import."""
    top, *parts = name.split(".")
    if not top or name in MODULES or name in sys.builtin_module_names:
        return bool(top)
    spec = None
    with contextlib.suppress(ValueError, ImportError):  # of __main__, for one
        spec = find_spec(top)  # also of a package that is installed to be edited
    if not parts or spec is None:
        return spec is not None
    paths = [Path(path, *parts) for path in spec.submodule_search_locations or ()]
    return any(path.is_dir() or path.with_name(f"{path.name}.py").is_file() for path in paths)


def _bare(
    tree: ast.AST, aliases: dict[str, str], bound: set[int], beside: frozenset[str]
) -> Iterator[str]:
    """Imported modules that are passed on under another name.

    bound: names that stand for something else; beside: the same, from other cells.
    """
    fine = set(bound)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            fine.add(id(node.value))
        tells = isinstance(node, ast.Call) and getattr(node.func, "id", "") in TELLS
        if tells and id(node.func) not in bound:
            fine |= {id(one) for one in node.args}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in fine:
            full = aliases.get(node.id, "")
            given = full.startswith("labkit.exercises.") and full.split(".")[-1] in GIVEN
            if full and node.id not in beside and not given and _is_module(full):
                yield f"the module {full} itself"


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
        top, last = name.partition(".")[0], name.split(".")[-1]
        of_exercises = name.startswith("labkit.exercises") and last not in (*GIVEN, "*")
        hidden = any(part.lstrip("_") in WITHIN for part in name.split("."))
        hidden |= name in BY_NAME or name.startswith("labkit.grading")
        hidden |= top == "labkit" and last == "*" and name != "labkit.exercises.*"
        if top in DANGEROUS or of_exercises or hidden:
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
        elif node.id == "getattr":  # one with a constant name was replaced by the attribute
            yield MANUAL, "getattr by a computed name"
    text = node.value if isinstance(node, ast.Constant) else ""
    if isinstance(text, str) and text != "__main__" and INNER.search(text):
        yield MANUAL, f"the text {text[:40]!r}"
    if not isinstance(node, ast.Call):
        return
    name = _dotted(node.func, aliases)
    if name == "open" or name == "io.open":
        modes = [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "mode")]
        reads = all(isinstance(m, ast.Constant) and str(m.value) in ("r", "rb") for m in modes)
        yield (GRADED if reads else MANUAL), "open" if reads else "open for writing"
    of_shell = isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call)
    if of_shell and _dotted(node.func.value.func, aliases) == "get_ipython":
        first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
        known = all(isinstance(one, ast.Constant) for one in node.args) and not any(
            keyword.arg != "code" for keyword in node.keywords
        )
        harmless = known and node.func.attr.endswith("_magic") and first in MAGICS | {""}
        harmless |= node.func.attr == "show_usage"  # a lonely question mark
        yield (GRADED if harmless else MANUAL), f"{node.func.attr} {first}".strip()[:80]
        node.func.value.told = True  # the walk comes to it later
    elif name == "get_ipython" and not hasattr(node, "told"):
        yield MANUAL, "get_ipython"


def _reached(node: ast.AST, aliases: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Inner parts of objects, classes that pose as others, and changes of imported modules."""
    if isinstance(node, ast.Attribute):
        name, inner = _dotted(node, aliases), node.attr.startswith("__")
        top = name.partition(".")[0]
        imported = top in {full.partition(".")[0] for full in aliases.values()}
        of_exercises = name.startswith("labkit.exercises.") and node.attr not in GIVEN
        hidden = name.startswith(("labkit.grading", "torch._C")) or node.attr in OURS
        within = top in DANGEROUS or node.attr.lstrip("_") in WITHIN
        if node.attr == "__name__" and isinstance(node.ctx, ast.Load):
            node.value.named = True  # x.__class__.__name__ is a text; the walk comes to x later
        if inner and node.attr not in USUAL or of_exercises or hidden:
            harmless = node.attr == "__class__" and hasattr(node, "named")
            yield (GRADED if harmless else MANUAL), f".{node.attr}"
        elif imported and not isinstance(node.ctx, ast.Load):
            yield MANUAL, f"{name} = …"
        elif imported and within or name in OF_TORCH | BY_NAME:
            yield MANUAL, name
    elif isinstance(node, ast.MatchClass):
        for attr in node.kwd_attrs:
            if attr in OURS or attr.startswith("__") or attr.lstrip("_") in WITHIN:
                yield MANUAL, f".{attr}"
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in POSES:
        yield MANUAL, f"def {node.name}"
    elif isinstance(node, ast.ClassDef) and any(k.arg == "metaclass" for k in node.keywords):
        yield MANUAL, "metaclass"


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
