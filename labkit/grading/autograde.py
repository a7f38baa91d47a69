"""One submission: pre-check, the sandbox, and what each exercise earns. Runs on a worker."""

import copy
import functools
import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_output

import labkit
from labkit.console import one_line
from labkit.grading import integrity, precheck, sandbox
from labkit.grading.records import (
    CHECK,
    CRASHED,
    EXERCISE,
    GRADED,
    MANUAL,
    REFUSED,
    STATUSES,
    Finding,
    Graded,
    Lab,
    Refused,
    Response,
    Submission,
)

FAILED = "grading failed"  # kind of the finding where the kit, not the student, is at fault
FREE_TEXT = "free text"
HIDDEN = "It passes the check, but not a further test on other inputs."
START_UP = 60  # seconds
ONLY_THERE = "right only in the notebook"
STATES = ("right", "wrong", "not attempted", "crashed")
REASONS = {
    "time": "it took too long",
    "memory": "it needed too much memory",
    "processes": "it started too many processes or threads",
    "output": "it printed too much",
}
# modules that decide on no points, so that a change there grades nobody anew
NO_POINTS = "class_page course feedback grade gradebook marks pictures release report sheets"
NO_POINTS += " similarity submissions"
Event = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How submissions are graded. unsafe: without a sandbox; code: `code_version()` of the run."""

    limits: sandbox.Limits = field(default_factory=sandbox.Limits)
    exercise_seconds: float = 20
    cell_seconds: float = 60
    unsafe: bool = False
    code: str = ""


@dataclass
class Seen:
    """What came out of the sandbox. why: what ended it early, or ""; started: it got that far."""

    exercises: dict[str, Event] = field(default_factory=dict)
    notebook: Event | None = None
    why: str = ""
    started: bool = False


@functools.cache
def code_version() -> str:
    """What tells the code that decides on points from other versions of it."""
    kit = Path(labkit.__file__).parent
    paths = [p for p in sorted(kit.glob("grading/*.py")) if p.stem not in NO_POINTS.split()]
    paths += sorted(kit.glob("exercises/*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:12]


def autograde(raw: bytes, submission: Submission, lab: Lab, settings: Settings) -> Graded:
    """The result for a notebook as handed in; whatever goes wrong becomes a finding."""
    try:
        if settings.code and settings.code != code_version():
            raise RuntimeError("this worker has another version of labkit: install the same there")
        return graded(raw, submission, lab, settings)
    except Refused as error:
        return refused(submission, Finding("cannot be graded", str(error), REFUSED))
    except Exception as error:
        return failed(submission, lab, error)


def result(submission: Submission, *findings: Finding, **facts: Any) -> Graded:
    """A result with what is known of the submission and of the student."""
    names = ("student", "name", "source", "identifier", "file")
    known = {name: getattr(submission, name) for name in names}
    unique = list(dict.fromkeys([*submission.findings, *findings]))
    return Graded(**known, findings=unique, **facts)


def refused(submission: Submission, *findings: Finding) -> Graded:
    """The result for a file that cannot be graded: no points, which is not 0 points."""
    return result(submission, *findings)


def failed(
    submission: Submission, lab: Lab, error: BaseException, known: Iterable[Finding] = ()
) -> Graded:
    """The result where grading itself failed: all points are left to a human, or to a new run."""
    text = f"Grading stopped by {type(error).__name__}: {one_line(error)}. Run it again."
    answers = [Response(name, points, None, "crashed") for name, points in lab.points.items()]
    return result(submission, Finding(FAILED, text, CRASHED), *known, answers=answers)


def graded(raw: bytes, submission: Submission, lab: Lab, settings: Settings) -> Graded:
    """The result for a notebook as handed in. Raises Refused, and whatever fails in the kit."""
    checked = precheck.check(raw, lab)
    answers, found = [], [*checked.findings, *scanned(checked, lab)]
    try:
        seen = look(checked, lab, settings)
    except Exception as error:
        return failed(submission, lab, error, found)
    for name, points in lab.points.items():
        text = name in lab.free_text
        one = free_text if text else exercise_answer
        answer, more = one(name, points, checked, lab if text else seen)
        answers.append(unseen(answer, checked))
        found += more
    found += [*contradicted(checked, answers), *notebook_findings(seen)]
    notebook = autograded(checked, lab, seen, answers)
    safe = not settings.unsafe
    return result(submission, *found, answers=answers, notebook=notebook, sandboxed=safe)


# what the lab says


@functools.lru_cache(8)
def cells(notebook: str) -> list[nbformat.NotebookNode]:
    """The cells of a notebook that is given as JSON."""
    return nbformat.reads(notebook, 4).cells


def solutions(notebook: str) -> dict[str, str]:
    """The source of each exercise's cell, by the exercise."""
    found = {}
    for cell in cells(notebook):
        if cell.metadata.get("nbgrader", {}).get("solution") and cell.cell_type == "code":
            named = EXERCISE.search(cell.source)
            if named:
                found[named[1]] = cell.source
    return found


def tests(notebook: str) -> dict[str, tuple[str, str]]:
    """(exercise, source) of each test cell, by its grade_id."""
    found = {}
    for cell in cells(notebook):
        grading = cell.metadata.get("nbgrader", {})
        named = CHECK.search(cell.source)
        if grading.get("grade") and not grading.get("solution") and named:
            found[grading["grade_id"]] = (named[1], cell.source)
    return found


@functools.lru_cache(8)
def imports(notebook: str) -> str:
    """All import statements of the plain code cells."""
    plain = [c for c in cells(notebook) if c.cell_type == "code" and not c.metadata.get("nbgrader")]
    return "\n".join(integrity.imports_of(cell.source) for cell in plain)


# what the code does


def look(checked: "precheck.Checked", lab: Lab, settings: Settings) -> Seen:
    """Runs the exercises and the notebook in a sandbox.

    Where that was ended from outside before all exercises had an answer, each of those left is run
    in a sandbox of its own: one exercise that eats all memory costs no other's points.
    """
    seen = in_sandbox(job(checked, lab, settings), settings)
    left = [name for name in dict(tests(lab.master).values()) if name not in seen.exercises]
    limits, added = settings.limits, bool(checked.added)
    most = min(limits.seconds, START_UP + settings.exercise_seconds)
    short = replace(settings, limits=replace(limits, seconds=most))
    for name in left:
        alone = in_sandbox(job(checked, lab, settings, name, added), short)
        if added and name not in alone.exercises:  # the added cells may be what ended it
            alone = in_sandbox(job(checked, lab, settings, name, added=False), short)
            added = name not in alone.exercises
        why = alone.why or "it ended the process"
        crashed = {"name": name, "state": "crashed", "text": "", "why": why}
        seen.exercises[name] = alone.exercises.get(name, crashed)
    return seen


def job(
    checked: "precheck.Checked", lab: Lab, settings: Settings, only: str = "", added: bool = True
) -> bytes:
    """What the sandbox is to do, as JSON.

    only: one exercise, which is the first then, without the notebook and the code of any other;
    added: with the cells that were added.
    """
    stubs, code = solutions(lab.released), checked.answers
    exercises = []
    for name, test in tests(lab.master).values():
        written = code.get(name, "") if only in ("", name) else ""
        exercises.append({"name": name, "source": written or stubs[name], "test": test})
    exercises.sort(key=lambda one: one["name"] != only)  # which keeps the order of all others
    given = {
        "exercises": exercises,
        "imports": imports(lab.master),
        "added": checked.added if added else [],
        "notebook": "" if only else nbformat.writes(with_tests(checked.notebook, lab)),
        "nonce": secrets.token_hex(16),
        "exercise_seconds": settings.exercise_seconds,
        "cell_seconds": settings.cell_seconds,
    }
    return json.dumps(given).encode()


def with_tests(notebook: nbformat.NotebookNode, lab: Lab) -> nbformat.NotebookNode:
    """A copy without outputs, with the master's test cells, hidden tests included."""
    made, sources = copy.deepcopy(notebook), tests(lab.master)
    for cell in made.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if grade_id in sources:
                cell.source = sources[grade_id][1]
    return made


def in_sandbox(work: bytes, settings: Settings) -> Seen:
    """Runs a job. Raises RuntimeError where the sandbox itself did not work."""
    limits, unsafe = settings.limits, settings.unsafe
    ended = sandbox.run("labkit.grading.inside", work, limits, unsafe=unsafe)
    seen = Seen(why=ended.why)
    for event in events(ended.output):
        seen.started |= event.get("event") == "started"
        if event.get("event") == "exercise" and isinstance(event.get("name"), str):
            seen.exercises.setdefault(event["name"], event)
        elif event.get("event") == "notebook" and seen.notebook is None:
            seen.notebook = event
    worked = seen.started or seen.exercises or seen.notebook  # a student's code may end it then
    if seen.started and "Traceback (most" in ended.errors and ended.why == "exit 1":
        worked = (
            seen.exercises or seen.notebook
        )  # an error of the harness itself: no student's code runs in it
    if not worked and ended.why not in REASONS:
        reason = (ended.errors.strip().splitlines() or ["nothing was said"])[-1]
        raise RuntimeError(f"the sandbox ended ({ended.why or 'no result'}): {reason}")
    return seen


def events(output: bytes) -> Iterator[Event]:
    """The events in what the sandbox wrote; the last line may have been cut off."""
    for line in output.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield event


# what follows from it


def text_of(value: Any, limit: int = 2000) -> str:
    return value[:limit] if isinstance(value, str) else ""


def list_of(value: Any) -> list:
    return value if isinstance(value, list) else []


def finding_of(given: Any, exercise: str = "") -> list[Finding]:
    """A finding as the sandbox tells it; none if it is malformed."""
    if not isinstance(given, dict) or given.get("status", GRADED) not in STATUSES:
        return []
    kind, text = text_of(given.get("kind"), 100), text_of(given.get("text"))
    where = text_of(given.get("exercise"), 100) or exercise
    return [Finding(kind, text, given.get("status", GRADED), where)] if kind else []


def exercise_answer(
    name: str, points: float, checked: "precheck.Checked", seen: Seen
) -> tuple[Response, list[Finding]]:
    """What an exercise earns, and what to know of it.

    Right means: judged right in a clean process, and the hidden tests passed there, too.
    """
    event = seen.exercises[name]
    found = [f for given in list_of(event.get("findings")) for f in finding_of(given, name)]
    state = event.get("state") if event.get("state") in STATES else "crashed"
    text = text_of(event.get("text"))
    earned: float | None = 0.0
    if state == "right" and event.get("hidden") is True:
        earned = points
    elif state == "right":
        state = "wrong"
        text = text or HIDDEN
    elif state == "crashed":
        why = text_of(event.get("why"), 100)
        text = f"Your code ended its process: {REASONS.get(why, why or 'for an unknown reason')}."
        said = f"The code of {name} ended its process: {REASONS.get(why, why or 'reason unknown')}."
        known = any(finding.status == CRASHED for finding in found)
        found += [] if known else [Finding("crashed", said, CRASHED, name)]
    if earned == 0 and passed_in_notebook(name, seen):
        said = f"{name} passes in the notebook, but not by itself: it may need another cell."
        found.append(Finding(ONLY_THERE, said, MANUAL, name))
        earned = None if "NameError" in text else earned  # what another cell defines
    given = [str(m)[:200] for m in list_of(event.get("mistakes"))]
    source, picture = checked.answers.get(name, ""), checked.pictures.get(name, "")
    return Response(name, points, earned, state, text, tuple(given), source, picture), found


def unseen(answer: Response, checked: "precheck.Checked") -> Response:
    """An answer that is missing because an older release did not ask for it waits for a human."""
    old = any(f.kind == "old release" and f.status == MANUAL for f in checked.findings)
    lacks = any(
        f.kind == "solution missing" and f.exercise == answer.name for f in checked.findings
    )
    if not (old and lacks):
        return answer
    text = "The release that you worked on may not have had this exercise."
    return replace(answer, earned=None, text=text)


def passed_in_notebook(name: str, seen: Seen) -> bool:
    """Whether a test passed in a notebook in which nothing looked tampered with."""
    event = seen.notebook or {}
    found = [f for given in list_of(event.get("findings")) for f in finding_of(given)]
    points = event.get("points")
    tampered = any(f.status == MANUAL and f.kind != ONLY_THERE for f in found)
    trusted = isinstance(points, dict) and not tampered
    return trusted and points.get(name) is True


def free_text(
    name: str, points: float, checked: "precheck.Checked", lab: Lab
) -> tuple[Response, list[Finding]]:
    """An answer in words, which a human marks; one that was not written earns 0."""
    written = checked.answers.get(name, "")
    given = [c.source for c in cells(lab.released) if is_called(c, name)]
    if not written.strip() or written.strip() in [source.strip() for source in given]:
        return Response(name, points, 0.0, "not attempted", "Not written yet.", source=written), []
    said = f"The text of {name} waits for your mark in marks.csv."
    finding = Finding(FREE_TEXT, said, MANUAL, name)
    return Response(name, points, None, "manual", source=written), [finding]


def is_called(cell: nbformat.NotebookNode, grade_id: str) -> bool:
    return cell.metadata.get("nbgrader", {}).get("grade_id") == grade_id


def scanned(checked: "precheck.Checked", lab: Lab) -> list[Finding]:
    """What a look at the student's code, without running it, finds."""
    master, found = solutions(lab.master), []
    given = {cell.source.strip() for cell in cells(lab.released)}
    code = [cell for cell in checked.notebook.cells if cell.cell_type == "code"]
    plain = [c.source for c in code if not c.metadata.get("nbgrader")]
    plain = [source for source in plain if source.strip() not in given]
    known = "\n".join([imports(lab.master), *map(integrity.imports_of_any, plain)])
    for name, solution in master.items():
        source = checked.answers.get(name, "")
        if source and source.strip() not in given:
            seen = integrity.scan(source, solution, known)
            found += [replace(f, exercise=f.exercise or name) for f in seen]
    names = frozenset(master).union(*map(integrity.defined, master.values()))
    own = integrity.Own(names, frozenset().union(*map(integrity.bound, plain)))
    for source in plain:
        found += integrity.scan(source, made_from(source, given), known, own)
    return found


def made_from(source: str, given: set[str]) -> str:
    """The given cell that a student's cell still has most lines of, or "" for a new cell."""
    lines = set(source.strip().split("\n"))
    near = max(sorted(given), key=lambda one: len(lines & set(one.split("\n"))), default="")
    return near if 2 * len(lines & set(near.split("\n"))) >= len(lines) else ""


def contradicted(checked: "precheck.Checked", answers: list[Response]) -> list[Finding]:
    """Exercises that the saved outputs call right, and that the check does not."""
    return [
        Finding(
            "saved answer differs",
            f"The saved outputs call {answer.name} right; run again, it is {answer.state}.",
            MANUAL,
            answer.name,
        )
        for answer in answers
        if answer.name in checked.claimed
        and answer.state in ("wrong", "not attempted")
        and answer.text != HIDDEN  # for that a student could not know
    ]


def notebook_findings(seen: Seen) -> list[Finding]:
    """What the run of the whole notebook showed, or why there was none."""
    if seen.notebook:
        given = list_of(seen.notebook.get("findings"))
        found = [finding for one in given for finding in finding_of(one)]
        return [finding for finding in found if finding.kind != ONLY_THERE]  # known by now
    why = REASONS.get(seen.why, seen.why) or "no reason was told"
    return [Finding("notebook not executed", f"It could not be run to its end: {why}.", CRASHED)]


def autograded(checked: "precheck.Checked", lab: Lab, seen: Seen, answers: list[Response]) -> str:
    """The notebook with outputs of the run; its test cells say what each exercise earned.

    nbgrader reads points from outputs: an error or anything on stderr is 0, no error is all.
    """
    made = with_tests(checked.notebook, lab)
    outputs = outputs_of(seen)
    earned, names = {a.name: a for a in answers}, tests(lab.master)
    for cell in made.cells:
        cell.metadata.pop("execution", None)
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        if cell.cell_type == "code":
            cell.outputs = outputs.get(cell.get("id"), [])
            if grade_id in names:
                cell.outputs = [outcome(earned[names[grade_id][0]])]
    return nbformat.writes(made)


def outputs_of(seen: Seen) -> dict[str, list]:
    """The outputs of the executed notebook by cell id; none from one that is not valid."""
    given = (seen.notebook or {}).get("notebook")
    try:
        executed = nbformat.reads(given, 4)
        nbformat.validate(executed)
        return {c.id: c.outputs for c in executed.cells if c.cell_type == "code"}
    except Exception:  # nbformat raises many kinds for what is no notebook
        return {}


def outcome(answer: Response) -> nbformat.NotebookNode:
    """The output of a test cell, as nbgrader understands it."""
    told = f"{answer.name}: {answer.earned or 0:g} of {answer.points:g} points. {answer.text}"
    if answer.earned == answer.points:
        return new_output("stream", name="stdout", text=told)
    kind = answer.state.replace(" ", "_")
    return new_output("error", ename=kind, evalue=told, traceback=[told])
