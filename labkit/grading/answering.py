"""A student's side of the exercises: runs what they wrote and says what was seen, as data."""

import ast
import contextlib
import functools
import io
import json
import linecache
import os
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import torch

from labkit import exercises, profile
from labkit.exercises import core
from labkit.grading import integrity
from labkit.grading.children import Say, packed

PRINTED = 2_000  # characters that are kept of what a function prints
GIVEN = ("check", "exercise", "hint", "progress", "yours")  # of labkit.exercises
RUN_BODY = ("capture", "prun", "time", "timeit")  # magics whose cell is run all the same


def answer(job: dict[str, Any], names: list[str], imported: dict[str, Any], say: Say) -> None:
    """Runs the exercises called `names`, in order, and what others before them only define.

    imported: the names that the lab's import statements bind. An exercise is a message "begin",
    one "seen" with its observations, and one "tested".
    """
    tasks = {name: task for name, (_, task) in exercises.names().items()}
    registered: dict[str, Callable] = {}
    now: list[str] = []  # the exercise that is run and tested
    space = student_space(imported, tasks, registered, now)
    for name in GIVEN:  # for a cell that imports them again
        setattr(exercises, name, space[name])
    before = integrity.snapshot()
    ours = imported | {item["name"]: stand_in(tasks[item["name"]]) for item in job["exercises"]}
    for number, source in enumerate(job.get("added", [])):
        execute(definitions(source), space, f"<added cell {number + 1}>")
    for item in job["exercises"]:
        name, file = item["name"], f"<the cell of {item['name']}>"
        if name not in names:
            execute(definitions(item["source"]), space, file)
            continue
        say({"what": "begin", "name": name})
        registered.pop(name, None)
        now[:] = [name]
        error = execute(item["source"], space, file)
        changed = integrity.restore(before)
        function, repaired = registered.get(name), False
        if function is None and _is_defined_in(space.get(name), file):
            function, repaired = space[name], True
            registered[name], space[name] = function, stand_in(tasks[name], registered, now)
        seen = {"what": "seen", "name": name, "changed": changed, "repaired": repaired}
        if function is None:
            say(seen | {"error": error})
            told(job["hear"])
            continue
        say(seen | observed(tasks[name], function, file) | {"tampered": integrity.restore(before)})
        passed = tested(told(job["hear"]), ours, registered)
        canary = sung(job["nonce"])
        tampered = integrity.restore(before)
        say({"what": "tested", "name": name, "hidden": passed, "canary": canary, "late": tampered})
    say({"what": "done"})


def told(descriptor: int) -> str:
    """A test's source, which the parent tells once it has the observations."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(descriptor, 1)  # and nothing of the next one
        if not piece:
            return "raise EOFError"
        line += piece
    return json.loads(line)


def student_space(
    imported: dict[str, Any],
    tasks: dict[str, core.Exercise],
    registered: dict[str, Callable],
    now: list[str],
) -> dict[str, Any]:
    """The names that a student's cells see. What they decorate goes into `registered`.

    Under the decorated name stands the kit's own function from then on, so that no exercise
    suffers from a mistake in another.
    """
    space = dict(imported)

    def exercise(name: str) -> Callable[[Callable], Callable]:
        if name not in tasks:
            raise ValueError(f"no exercise is called {name!r}")

        def decorate(function: Callable) -> Callable:
            registered[name] = function
            return stand_in(tasks[name], registered, now)

        return decorate

    def nothing(*args: Any, **kwargs: Any) -> None:
        return None

    shell = Shell(lambda source: exec(integrity.as_python(source), space))
    space |= {"exercise": exercise, "check": nothing, "hint": nothing, "progress": nothing}
    space |= {"display": nothing, "get_ipython": lambda: shell}
    space["yours"] = lambda name: registered[name]
    return space


class Shell:
    """Stands in for IPython's shell: runs the cell of `%%time`, and does nothing else."""

    def __init__(self, run: Callable[[str], None]):
        self._run = run

    def run_cell_magic(self, name: str, line: str, body: str) -> None:
        if name in RUN_BODY:
            self._run(body)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


def stand_in(
    task: core.Exercise, registered: dict[str, Callable] | None = None, now: Sequence[str] = ()
) -> Callable:
    """The kit's own function, as a notebook gives it to whoever has not solved an exercise.

    now: the exercise that is run and tested. Its stand-in calls the student's function, since the
    kit's own would solve the exercise for it.
    """

    @functools.wraps(task.reference)
    def function(*args: Any, **kwargs: Any) -> Any:
        if task.name not in now:
            return task.reference(*args, **kwargs)
        if not registered or task.name not in registered:
            raise RuntimeError(f"the kit's own {task.name} is not available while yours is tested")
        return registered[task.name](*args, **kwargs)

    function.whose = "the kit's"  # type: ignore[attr-defined]
    del function.__wrapped__  # type: ignore[attr-defined]
    return function


def execute(source: str, space: dict[str, Any], file: str) -> str:
    """Runs a cell, and returns what it raised in words, or ""."""
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    try:
        code = compile(integrity.as_python(source), file, "exec", dont_inherit=True, optimize=0)
        exec(code, space)
    except SyntaxError as error:
        return f"SyntaxError in line {error.lineno}: {error.msg}"
    except BaseException as error:  # whatever a student's code may raise
        found = core.raised(error, file)
        return f"{found.kind}{found.where}: {found.text}"
    return ""


def definitions(source: str) -> str:
    """The functions, classes, imports and constants of a cell, without what else it does."""
    try:
        tree = ast.parse(integrity.as_python(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    kept = ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
    body = [node for node in tree.body if isinstance(node, kept) or _is_constant(node)]
    return ast.unparse(ast.Module(body, []))


def _is_constant(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    try:
        ast.literal_eval(node.value)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return False
    return True


def _is_defined_in(value: Any, file: str) -> bool:
    return isinstance(value, FunctionType) and value.__code__.co_filename == file


class Printed(io.StringIO):
    """Keeps the beginning of what is printed."""

    def write(self, text: str) -> int:
        room = PRINTED - self.tell()
        return super().write(text[:room]) if room > 0 else 0


def observed(task: core.Exercise, function: Callable, file: str) -> dict[str, Any]:
    """What can be seen of a function on the probes of its exercise, for JSON."""
    printed = Printed()
    try:
        with contextlib.redirect_stdout(printed):
            found = task.observations(function)
    except BaseException as error:  # KeyboardInterrupt and what is made to be uncaught
        found = [{"raised": core.raised(error, file)}] * max(1, len(task.probes))
    return {"found": packed(found), "printed": printed.getvalue()}


def tested(test: str, ours: dict[str, Any], registered: dict[str, Callable]) -> bool:
    """Whether a test cell passes, in names that no student's cell has touched."""

    def yours(name: str) -> Callable:
        assert name in registered, f"{name} was not written"
        return core.only_plain(registered[name])

    def nothing(*args: Any, **kwargs: Any) -> None:
        return None

    space = ours | {"yours": yours, "check": nothing, "display": nothing}
    profile.seed_everything(core.SEED)
    with torch.enable_grad():
        return execute(test, space, "<test>") == ""


def sung(nonce: str) -> list[str]:
    """What a statement raises that must fail with this text, if asserts are what they were."""
    try:
        exec(compile(f"assert False, {nonce!r}", "<canary>", "exec", optimize=0), {})
    except BaseException as error:
        return [str(argument) for argument in error.args] if type(error) is AssertionError else []
    return []
