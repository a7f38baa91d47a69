"""Exercises: write a function, get an answer that names the mistake, and see your function at work.

    @exercise("lstm_step")
    def lstm_step(x, h, c, W): ...

checks at once and raises nothing. From then on `lstm_step` is the student's function if it is
right, and the kit's own if not; which of them it is, each cell that calls it says.
"""

import functools
import html
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

from labkit.exercises import core
from labkit.exercises.core import NOT_ATTEMPTED, RIGHT, WRONG, Exercise, Verdict

__all__ = ["Exercise", "check", "exercise", "hint", "names", "progress", "yours"]

_SIGNS = {RIGHT: ("✔", "#009E73"), WRONG: ("✘", "#D55E00"), NOT_ATTEMPTED: ("○", "#767676")}
_handles: dict[str, "Handle"] = {}
_hints: dict[str, int] = {}


@functools.cache
def names() -> dict[str, tuple[str, Exercise]]:
    """Every exercise by its name, with the number of its lab; found in labkit/exercises/lab*.py."""
    found: dict[str, tuple[str, Exercise]] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name.startswith("lab"):
            for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
                if isinstance(value, Exercise):
                    found[value.name] = (module.name.removeprefix("lab"), value)
    return found


def _find(name: str) -> Exercise:
    if name not in names():
        raise ValueError(f"no exercise is called {name!r}; there are: {', '.join(names())}")
    return names()[name][1]


def exercise(name: str) -> Callable[[Callable], "Handle"]:
    """Decorates a student's function: checks it, shows the answer, and hands out a right one.

    Raises ValueError for a name that no exercise has, and nothing for whatever the function does,
    except that a loop without an end must be interrupted.
    """
    task = _find(name)

    def decorate(function: Callable) -> "Handle":
        _handles[name] = handle = Handle(task, function)
        _show(handle.verdict)
        return handle

    return decorate


class Handle:
    """A student's function where it is right, else the kit's own. whose: "your" or "the kit's"."""

    def __init__(self, task: Exercise, student: Callable):
        self.task, self.student = task, student
        self.verdict = task.diagnose(student)
        self._choose(student if self.verdict.state == RIGHT else task.reference)
        self._said: str | None = None

    def __reduce__(self) -> tuple:  # what a worker process gets
        return _quietly, (self.task.name, self.student)

    def _choose(self, function: Callable) -> None:
        self.function = function
        self.whose = "your" if function is self.student else "the kit's"
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if core.checking:  # another exercise calls it: what goes wrong there is that one's fault
            return self.function(*args, **kwargs)
        cell = _cell()
        if cell and cell != self._said:
            self._said = cell
            reasons = {WRONG: " (yours is not right yet)", NOT_ATTEMPTED: " (not written yet)"}
            print(f"▸ {self.whose} {self.task.name} at work{reasons.get(self.verdict.state, '')}")
        try:
            return self.function(*args, **kwargs)
        except Exception as error:
            if self.function is not self.student:
                raise
            text = f"passes the check, but raises {type(error).__name__} here: {error}"
            self.verdict = Verdict(self.task.name, WRONG, text)
            self._choose(self.task.reference)
            _show(self.verdict)
            return self.function(*args, **kwargs)


def _quietly(name: str, student: Callable) -> Handle:
    return Handle(_find(name), student)


def check(name: str) -> None:
    """Says in a line how an exercise stands. Under grading, AssertionError unless it is right."""
    task, handle = _find(name), _handles.get(name)
    verdict = handle.verdict if handle else Verdict(name, NOT_ATTEMPTED, "its cell was not run")
    earned = task.points if verdict.state == RIGHT else 0
    print(f"{_SIGNS[verdict.state][0]} {name}: {earned} of {task.points} points")
    if os.environ.get("LABKIT_GRADING"):
        assert verdict.state == RIGHT, f"{name}: {verdict.state}. {verdict.text}"


def yours(name: str) -> Callable:
    """The function that the student wrote, right or wrong. AssertionError if there is none."""
    _find(name)
    assert name in _handles, f"{name} was not written"
    return _handles[name].student


def hint(name: str) -> None:
    """Prints the next hint for an exercise."""
    hints = _find(name).hints
    k = min(_hints.get(name, 0), len(hints) - 1)
    _hints[name] = k + 1
    print(f"Hint {k + 1} of {len(hints)}: {hints[k]}")


def progress() -> Any:
    """A table of the exercises of the labs begun: points and state."""
    import pandas as pd

    begun = {names()[name][0] for name in _handles}
    rows = []
    for name, (lab, task) in names().items():
        if lab in begun or not begun:
            state = _handles[name].verdict.state if name in _handles else NOT_ATTEMPTED
            earned = task.points if state == RIGHT else 0
            rows.append([name, f"{earned} of {task.points}", f"{_SIGNS[state][0]} {state}"])
    table = pd.DataFrame(rows, columns=["exercise", "points", "state"])
    return table.set_index("exercise")


class _Answer:
    """A verdict as it shows in a notebook, and as text elsewhere."""

    def __init__(self, verdict: Verdict):
        sign, self.colour = _SIGNS[verdict.state]
        self.head = f"{sign} {verdict.exercise}"
        if verdict.state == RIGHT:
            self.text = f"right. {verdict.text}".strip()
        else:
            self.text = f"{verdict.text}\nhint({verdict.exercise!r}) gives a hint."

    def __repr__(self) -> str:
        return f"{self.head}: {self.text}"

    def _repr_html_(self) -> str:
        style = f"border-left: 4px solid {self.colour}; padding: 0.2em 0.8em"
        text = html.escape(self.text).replace("\n", "<br>")
        return f'<div style="{style}"><b>{html.escape(self.head)}</b>: {text}</div>'


def _show(verdict: Verdict) -> None:
    answer = _Answer(verdict)
    if _cell():
        from IPython.display import display

        display(answer)
    else:
        print(answer)


def _cell() -> str | None:
    """The request by which a notebook's cell is being run, or None anywhere else."""
    ipython = sys.modules.get("IPython")
    try:
        header = ipython.get_ipython().kernel.get_parent("shell")["header"]  # type: ignore
    except (AttributeError, KeyError, TypeError):
        return None
    return header["msg_id"] if header.get("msg_type") == "execute_request" else None
