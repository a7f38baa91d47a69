"""Runs a student's exercises, then their notebook, for grade: python -m labkit.grading.inside

A job comes in on standard input as JSON. What is found goes out as a JSON object a line, as soon as
it is known: the result of each exercise, then the executed notebook. This process runs no line of a
student's. It imports what the lab needs and forks children that do: for the exercises, whose
observations are data that are judged here, and for the notebook's kernel.
"""

import builtins
import contextlib
import ctypes
import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from labkit import exercises
from labkit.exercises import NOT_ATTEMPTED, RIGHT, WRONG, Verdict
from labkit.grading import answering, children
from labkit.grading.records import CRASHED, MANUAL, REPAIRED, Finding

STOPPED = "crashed"  # the state of an exercise that ended its process
SECONDS = 20  # for an exercise
HIDDEN = "It passes the check, but not a further test on other inputs."
TAMPERED = "It changes the library while it is tested, so a human has to look at it."
TAMPERS = "changes the library while tested"
LINE = 12  # characters of a line of a test that no text may show
UNSEEN = "What it returns cannot be compared with what is expected."
BEFORE = {"begin": "", "seen": "begin", "tested": "seen"}  # the message before, of an exercise
PR_SET_DUMPABLE = 4
Send = Callable[[dict[str, Any]], None]


def main() -> int:
    job = json.load(sys.stdin.buffer)
    send = private_output()
    with tempfile.TemporaryDirectory(prefix="labkit-") as scratch:
        os.environ.setdefault("LABKIT_RESULTS", scratch)
        os.chdir(scratch)  # where it starts, nothing can be written
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a process that has used one cannot fork
        os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # the kernel's
        names, kernel = set_up(job), None
        if job.get("notebook"):
            from labkit.grading import rerun  # the kernel that it forks has its imports, too

            kernel = rerun.Forked()
        send({"event": "started"})  # whatever ends this process from now on is a student's code
        states = grade_exercises(job, names, send)
        if kernel:
            send(rerun.notebook(job, kernel, states))
    return 0


def private_output() -> Send:
    """Keeps standard output to this process; in its usual place is /dev/null from now on."""
    with contextlib.suppress(OSError, AttributeError):
        # others of this user can then neither trace this process nor open its files by /proc
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    out, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for usual in (0, 1):
        os.dup2(nothing, usual)
    os.close(nothing)
    children.private.append(out)
    return lambda event: children.write(out, json.dumps(event).encode() + b"\n")


def set_up(job: dict[str, Any]) -> dict[str, Any]:
    """Imports what the lab imports, and returns those names."""
    torch.set_num_threads(1)
    exercises.names()
    names: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
    exec(compile(job.get("imports", ""), "<imports>", "exec"), names)
    return names


def grade_exercises(job: dict[str, Any], names: dict[str, Any], send: Send) -> dict[str, str]:
    """Sends an event for each exercise, and returns their states.

    One child runs them all. If it dies, another begins with the exercise at which it did; what
    ends that one, too, is `crashed`, and the next child runs the others.
    """
    todo, states, tests = list(job["exercises"]), {}, PutAway(job)
    seconds = job.get("exercise_seconds", SECONDS)

    def settle(heard: dict[str, Any], why: str = "") -> None:
        item = todo.pop(0)
        try:
            event = result(item, heard, why, job["nonce"], seconds)
        except (TypeError, ValueError, AttributeError):  # what no child of this kit says
            event = result(item, {}, "forged", job["nonce"], seconds)
        states[event["name"]] = event["state"]
        send(tests.cut_from(event, item["source"]))

    while todo:
        chosen = [item["name"] for item in todo]
        given = job | {"hear": tests.opened()}
        child = children.start(functools.partial(answering.answer, given, chosen, names))
        begun, heard, why, last = False, {}, "", ""
        with contextlib.closing(children.messages(child, seconds)) as said:
            for message in said:
                what, why = message["what"], message.get("why", "")
                if what not in ("done", "end"):
                    turn = last == BEFORE.get(what) and todo
                    if not turn or message.get("name") != todo[0]["name"]:
                        why = "forged"
                        break
                    if what == "begin":
                        begun, heard = True, {}
                    last = what
                heard |= message
                if what == "seen":
                    tests.tell(message["name"])
                if what == "tested" or what == "seen" and "error" in message:
                    settle(heard)
                    last = ""
        if todo and not begun and job.get("added"):
            job = job | {"added": []}  # for what was added to the notebook ends the process
        elif todo and todo[0]["name"] == chosen[0]:
            settle(heard if begun else {}, why or "exit 0")
    return states


class PutAway:
    """The tests of a job, where a child that was forked does not have them in its memory.

    They lie in a file without a name; a child hears each once its observations are known here.
    """

    def __init__(self, job: dict[str, Any]):
        given = {item["name"]: item.pop("test", "") for item in job["exercises"]}
        with tempfile.TemporaryFile() as file:
            self._file, self._pipe = os.dup(file.fileno()), ()
        children.write(self._file, json.dumps(given).encode())
        children.private.append(self._file)

    def _read(self) -> dict[str, str]:
        return json.loads(os.pread(self._file, os.fstat(self._file).st_size, 0))

    def opened(self) -> int:
        """The descriptor on which the next child hears tests."""
        for descriptor in self._pipe:
            os.close(descriptor)
            if descriptor in children.private:
                children.private.remove(descriptor)
        self._pipe = os.pipe()
        children.private.append(self._pipe[1])
        return self._pipe[0]

    def tell(self, name: str) -> None:
        children.write(self._pipe[1], json.dumps(self._read()[name]).encode() + b"\n")

    def cut_from(self, event: dict[str, Any], own: str) -> dict[str, Any]:
        """The event without lines of a test that are not the student's own as well."""
        lines = {line.strip() for test in self._read().values() for line in test.splitlines()}
        for part in (event, *event["findings"]):
            for line in lines:
                if len(line) >= LINE and line not in own:
                    part["text"] = part["text"].replace(line, "…")
        return event


def result(
    item: dict[str, Any], heard: dict[str, Any], why: str, nonce: str, seconds: float
) -> dict[str, Any]:
    """The event for an exercise, from what was heard of it and why its process ended, if it did.

    Points are earned if its state is "right": judged right, right in the hidden tests, and nothing
    was changed on which tests rest.
    """
    name, hidden = item["name"], heard.get("hidden")
    verdict = judged(item, heard)
    findings = changes(name, heard, nonce)
    tampered = any(finding.kind == TAMPERS for finding in findings)
    if why and (verdict is None or verdict.state == RIGHT):
        text = reason(why, seconds)
        verdict = Verdict(name, STOPPED, text)
        findings.append(Finding("crashed", f"{name}: {text}", CRASHED, name))
        if why == "forged":
            findings.append(Finding("forged", f"{name} writes into the grading.", MANUAL, name))
    elif verdict.state == RIGHT and (tampered or hidden is not True):
        verdict = Verdict(name, WRONG, TAMPERED if tampered else HIDDEN)
    return {
        "event": "exercise",
        "name": name,
        "state": verdict.state,
        "text": verdict.text.encode(errors="replace").decode()[:2_000],
        "mistakes": list(verdict.mistakes),
        "hidden": hidden if isinstance(hidden, bool) else None,
        "why": why if verdict.state == STOPPED else "",
        "findings": [asdict(finding) for finding in findings],
    }


def judged(item: dict[str, Any], heard: dict[str, Any]) -> Verdict | None:
    """The verdict on what was heard of an exercise, or None if nothing was."""
    name, source = item["name"], item["source"]
    task = exercises.names()[name][1]
    if not source.strip():
        return Verdict(name, NOT_ATTEMPTED, "the cell is missing")
    if "error" in heard:
        error = str(heard["error"])
        if not error:
            error = f'no error, but defines no function below @exercise("{name}")'
        return Verdict(name, WRONG, f"Its cell raises {error}.".replace("..", "."))
    if "found" not in heard:
        return None
    try:
        found = children.unpacked(heard["found"])
        if len(found) != len(task.expected):
            raise ValueError("another number of probes")
        return task.judge(found, str(heard["printed"]))
    except Exception:  # no observations, or of no use
        return Verdict(name, WRONG, UNSEEN)


def changes(name: str, heard: dict[str, Any], nonce: str) -> list[Finding]:
    """What a student's code changed or left out that it should have left alone."""
    found = []
    if before := list(map(str, heard.get("changed", []))):
        text = f"The cell of {name} changes {', '.join(before)[:300]}; it was put back."
        found.append(Finding("changes the library", text, MANUAL, name))
    late = [str(what) for key in ("tampered", "late") for what in heard.get(key, [])]
    if "canary" in heard and heard["canary"] != [nonce]:
        late.append("what `assert` does")
    if late:
        text = f"{name}, while it is tested, changes {', '.join(late)[:300]}."
        found.append(Finding(TAMPERS, text, MANUAL, name))
    if heard.get("repaired") is True:
        text = f"The line @exercise was missing above {name}; the function was taken all the same."
        found.append(Finding("decorator missing", text, REPAIRED, name))
    return found


def reason(why: str, seconds: float) -> str:
    """Why a process ended, for the student."""
    return {
        "time": f"It did not end within {seconds:g} s. Is there a loop without an end?",
        "output": "It returns more than can be compared.",
        "forged": "It ended its own test.",
        "signal 9": "It was killed, most often for want of memory.",
        "signal 11": "It made Python crash (a segmentation fault).",
    }.get(why, f"It ended Python instead of returning ({why}).")


if __name__ == "__main__":
    os._exit(main())  # what libraries do at the end of a process takes them seconds
