"""The run of `python -m labkit grade`: all submissions of a lab, on all cores or on a cluster.

Effects, all below one folder: submitted/ (files as handed in), work/ (a result each), course/
(nbgrader's), marks.csv, and what report.py writes. A result is kept with a key of everything that
it depends on, so a run that was killed goes on where it was, and a second run changes nothing.
"""

import gzip
import hashlib
import importlib.util
import json
import os
import re
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from labkit import folders, runner
from labkit.console import PLAIN_EVERY, clock, one_line, say
from labkit.execute import Stop
from labkit.files import replacing
from labkit.grading import autograde, course, gradebook, marks, release, sandbox, submissions
from labkit.grading.autograde import FAILED, Settings
from labkit.grading.records import (
    GRADED,
    REFUSED,
    REPAIRED,
    STATUSES,
    Finding,
    Graded,
    Lab,
    Refused,
    Submission,
)

SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
UNSAFE = "or add --unsafe: the students' code can then read and change what you can"
Work = Callable[[bytes, Submission, Lab, Settings], Graded]


@dataclass
class Options:
    """What the command line says. workers: None for as many as the machine bears."""

    where: Path
    lab: str
    out: Path | None = None
    course: Path | None = None
    marks: Path | None = None
    workers: int | None = None
    scheduler: str = ""
    unsafe: bool = False
    again: bool = False


@dataclass
class Run:
    """What the parts of one run share. results: the students whose result is in work/."""

    lab: Lab
    out: Path
    settings: Settings
    stop: Stop
    work: Work = autograde.autograde
    again: bool = False
    total: int = 0
    done: int = 0
    workers: int = 1
    seconds: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    drawn: float = float("-inf")


class GradeError(Exception):
    """A run that cannot start; the message names the remedy."""


def main(options: Options, work: Work = autograde.autograde) -> int:
    """Grades all submissions and returns the exit status.

    That is 0 also if students' code crashed, 1 if something of the kit failed, 2 if the run could
    not start, 128 + its number after a signal.
    """
    try:
        lab = lab_named(options.lab)
        out = (options.out or folders.repository() / "grades" / lab.stem).expanduser().resolve()
        found = submissions_in(options.where.expanduser(), lab)
        given = given_marks(options, out, lab)
        settings = Settings(unsafe=options.unsafe, code=autograde.code_version())
        with Stop() as stop, runner.alone_in(out):
            run = Run(lab, out, settings, stop, work, options.again, len(found))
            sweep(out)
            work_through(found, run, options)
            if stop.received:
                told = f"{stop.reason} after {run.done} of {run.total}; the same command goes on"
                say(f"\nlabkit: {told}", sys.stderr)
                return stop.exit_status
            return finish(found, run, options, given)
    except (GradeError, runner.RunError, ValueError, OSError) as error:
        print(f"labkit: {error}", file=sys.stderr)
        return 2


# before the run


def lab_named(pick: str) -> Lab:
    """The one lab that begins with a pick. Raises runner.RunError."""
    paths = runner.pick_notebooks(folders.repository() / "notebooks", [pick])
    masters = release.masters(paths)
    if len(masters) != 1:
        there = ", ".join(path.stem for path in masters) or "none with exercises"
        raise runner.RunError(f"--lab {pick} should name one lab with exercises; it fits {there}")
    return course.lab_of(masters[0])


def submissions_in(where: Path, lab: Lab) -> list[Submission]:
    """The submissions in a folder or zip. Raises GradeError where there is none."""
    if not where.exists():
        raise GradeError(f"{where} is not there: give the folder or the zip of the submissions")
    found = submissions.find(where, lab.stem)
    if not found:
        raise GradeError(f"{where} has no submissions: expected a folder or an .ipynb a student")
    if strange := [one.student for one in found if not SAFE.fullmatch(one.student)]:
        raise GradeError(f"{strange[0]!r} cannot be the name of a file: rename that folder")
    return found


def given_marks(options: Options, out: Path, lab: Lab) -> list[marks.Mark]:
    """The rows of marks.csv in `out`, then those of --marks, which count more."""
    if options.marks and not options.marks.is_file():
        raise GradeError(f"--marks {options.marks}: there is no such file")
    paths = dict.fromkeys(p.resolve() for p in (out / "marks.csv", options.marks) if p)
    return marks.unique([mark for path in paths for mark in marks.read(path, lab)])


def problem(unsafe: bool) -> str:
    """What a machine lacks to grade, with the remedy, or ""."""
    if importlib.util.find_spec("nbgrader") is None:
        return 'grading needs nbgrader: pip install -e ".[grading]"'
    missing = "" if unsafe else sandbox.problem()
    return f"{missing}; {UNSAFE}" if missing else ""


def sweep(out: Path) -> None:
    """Deletes what a killed run left half written."""
    for path in out.rglob(".*.partial"):
        path.unlink(missing_ok=True)


# where the work is done


@contextmanager
def threads(workers: int, stop: Stop) -> Iterator[futures.Executor]:
    """Threads that each wait for a sandbox; after Ctrl-C or an error the sandboxes are ended."""
    before = set(psutil.Process().children(recursive=True))
    pool, well, ended = futures.ThreadPoolExecutor(workers, "grade"), False, threading.Event()
    try:
        yield pool
        well = not stop.received
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        if not well:
            threading.Thread(target=end_children, args=(before, ended), daemon=True).start()
        pool.shutdown(wait=True)
        ended.set()


def end_children(before: set[psutil.Process], ended: threading.Event) -> None:
    """Kills the processes below this one that were not there before, until `ended` is set."""
    while not ended.wait(0.05):
        for child in set(psutil.Process().children(recursive=True)) - before:
            with suppress(psutil.Error):
                child.kill()


@contextmanager
def cluster(address: str, unsafe: bool) -> Iterator[tuple[futures.Executor, int]]:
    """The workers of a Dask cluster, and how many tasks they take at once."""
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise GradeError('--scheduler needs Dask: pip install -e ".[grading]"') from error
    try:
        client = Client(address, timeout="20s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise GradeError(f"no Dask scheduler answers at {address} ({one_line(error)})") from error
    with client:
        slots = sum(client.nthreads().values())
        if not slots:
            raise GradeError(f"the scheduler at {address} has no workers: start `dask worker`")
        for worker, missing in client.run(problem, unsafe).items():
            if missing:
                raise GradeError(f"worker {worker}: {missing}")
        with client.get_executor(retries=0) as pool:
            yield pool, slots


def fitting(limits: sandbox.Limits) -> int:
    """How many sandboxes this machine bears at once: one a core, as far as memory allows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, psutil.virtual_memory().total // limits.memory))


def work_through(found: list[Submission], run: Run, options: Options) -> None:
    """Grades what has no result yet. Raises GradeError where a sandbox is missing."""
    (run.out / "work").mkdir(exist_ok=True)
    if options.scheduler:
        with cluster(options.scheduler, options.unsafe) as (pool, slots):
            run.workers = options.workers or slots
            grade_all(found, run, pool)
            if run.stop.received:
                pool.shutdown(wait=False)
    else:
        if missing := problem(options.unsafe):
            raise GradeError(missing)
        run.workers = options.workers or fitting(run.settings.limits)
        with threads(run.workers, run.stop) as pool:
            grade_all(found, run, pool)


def grade_all(found: list[Submission], run: Run, pool: futures.Executor) -> None:
    """Hands submissions out, at most two a worker at a time, and keeps what comes back."""
    waiting: dict[futures.Future, tuple[Submission, str]] = {}
    for submission in found:
        if run.stop.received:
            break
        raw, refusal = read(submission)
        key = key_of(raw or b"", submission, run)
        keep_raw(submission, raw, run)
        if not run.again and has_result(submission, key, run):
            run.done += 1
        elif raw is None:
            save(autograde.refused(submission, *refusal), key, run)
        else:
            future = pool.submit(timed, run.work, raw, submission, run.lab, run.settings)
            waiting[future] = submission, key
        while len(waiting) >= 2 * run.workers and not run.stop.received:
            collect(waiting, run)
    while waiting and not run.stop.received:
        collect(waiting, run)
    for future in waiting:
        future.cancel()


def timed(work: Work, *given: Any) -> tuple[Graded, float]:
    """A result, and the seconds that it took on its worker."""
    began = time.monotonic()
    return work(*given), time.monotonic() - began


def read(submission: Submission) -> tuple[bytes | None, list[Finding]]:
    """The file as handed in, or None and why it is refused."""
    if any(finding.status == REFUSED for finding in submission.findings):
        return None, []
    try:
        return submissions.read(submission), []
    except Refused as error:
        text = str(error)
    except (OSError, ValueError) as error:
        text = f"{submission.file or submission.path} cannot be read: {one_line(error)}"
    return None, [Finding("cannot be read", text, REFUSED)]


def collect(waiting: dict, run: Run) -> None:
    """Waits a moment, and saves the results that have come."""
    ended, _ = futures.wait(waiting, 0.2, futures.FIRST_COMPLETED)
    if run.stop.received:  # what ended now may have been ended by that
        return
    for future in ended:
        submission, key = waiting.pop(future)
        try:
            graded, seconds = future.result()
            run.seconds += [seconds] * (graded.status != REFUSED)  # which takes no time
        except (Exception, futures.CancelledError) as error:  # a worker that was lost
            graded = autograde.failed(submission, run.lab, error)
        save(graded, "" if is_failed(graded) else key, run)
    draw(run)


def is_failed(graded: Graded) -> bool:
    """Whether the kit, not the student, is at fault: such a result is not kept for another run."""
    return any(finding.kind == FAILED for finding in graded.findings)


def draw(run: Run) -> None:
    """The live line: how many are done, elapsed, forecast by the median so far."""
    now, live = time.monotonic(), sys.stdout.isatty()
    if not live and now - run.drawn < PLAIN_EVERY:
        return
    run.drawn, elapsed = now, now - run.began
    line = f"submission {run.done}/{run.total}  {clock(elapsed)} elapsed"
    if run.seconds:
        left = statistics.median(run.seconds) * (run.total - run.done) / run.workers
        line += f"  about {clock(left)} left"
    width = shutil.get_terminal_size().columns - 1
    say(f"\r\x1b[K{line[:width]}" if live else line, sys.stdout, end="" if live else "\n")


# results on the disk


def key_of(raw: bytes, submission: Submission, run: Run) -> str:
    """What a result depends on: the file, the student, the lab, the limits, the code, the bands."""
    student = asdict(submission) | {"path": "", "member": ()}
    bands = folders.measured() / "labs" / f"{run.lab.stem}.json"
    parts = [repr(student), run.lab.key, repr(run.settings)]
    parts.append(bands.read_text(encoding="utf-8") if bands.is_file() else "")
    return hashlib.sha256(raw + "\0".join(parts).encode("utf-8", "replace")).hexdigest()


def result_path(student: str, run: Run) -> Path:
    return run.out / "work" / f"{student}.json.gz"


def has_result(submission: Submission, key: str, run: Run) -> bool:
    try:
        return load(result_path(submission.student, run))[0] == key
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return False


def load(path: Path) -> tuple[str, Graded]:
    """The key of a result, and the result."""
    kept = json.loads(gzip.decompress(path.read_bytes()))
    return kept["key"], Graded.from_dict(kept["graded"])


def save(graded: Graded, key: str, run: Run) -> None:
    text = json.dumps({"key": key, "graded": graded.as_dict()})
    with replacing(result_path(graded.student, run)) as part:
        part.write_bytes(gzip.compress(text.encode(), 6, mtime=0))
    run.done += 1


def keep_raw(submission: Submission, raw: bytes | None, run: Run) -> None:
    """Keeps the file as handed in, or deletes an earlier one where there is none now."""
    path = run.out / "submitted" / submission.student / f"{run.lab.stem}.ipynb"
    if raw is None:
        path.unlink(missing_ok=True)
    elif not path.is_file() or path.read_bytes() != raw:
        with replacing(path) as part:
            part.write_bytes(raw)


# after the run


def finish(found: list[Submission], run: Run, options: Options, given: list[marks.Mark]) -> int:
    """Writes the grade book, marks.csv and the reports; says what there is; the exit status."""
    from labkit.grading import report

    students = [submission.student for submission in found]
    place = (options.course or run.out / "course").expanduser().resolve()

    def results() -> Iterator[Graded]:
        return (load(result_path(student, run))[1] for student in sorted(students))

    def marked() -> Iterator[Graded]:
        return (marks.apply(graded, all_marks) for graded in results())

    problems, all_marks = [], given
    try:
        gradebook.update(place, run.lab, results, run.out / "submitted", given)
        all_marks = gradebook.manual_scores(place, run.lab) + given
    except Exception as error:  # the grades are worth more than the book: they are written anyway
        told = error if isinstance(error, gradebook.BookError) else named(error)
        problems.append(f"the grade book is not up to date: {told}")
    waiting = marks.write(run.out / "marks.csv", run.lab, marked(), given)
    try:
        report.write(run.out, run.lab, marked)
    except Exception as error:
        problems.append(f"the reports are not complete: {named(error)}")
    unknown = {mark.student for mark in given} - set(students)
    for student in sorted(unknown):
        say(f"labkit: marks.csv has marks for {student}, who handed nothing in", sys.stderr)
    return summary(marked(), run, place, waiting, problems)


def named(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


def summary(
    results: Iterable[Graded], run: Run, place: Path, waiting: int, problems: list[str]
) -> int:
    """Prints numbers by status, who needs a human, and where the files are; the exit status."""
    count, look, ours = dict.fromkeys(STATUSES, 0), [], len(problems)
    for graded in results:
        count[graded.status] += 1
        ours += is_failed(graded)
        if graded.status not in (GRADED, REPAIRED):
            gravest = next(f for f in graded.findings if f.status == graded.status)
            look.append(f"  {graded.student}: {graded.status}: {one_line(gravest.text, 120)}")
    elapsed = clock(time.monotonic() - run.began)
    told = ", ".join(f"{number} {status}" for status, number in count.items() if number)
    erase = "\r\x1b[K" if sys.stdout.isatty() else ""
    lines = [f"{erase}{run.total} submissions in {elapsed}: {told}"]
    if look:
        lines += ["", "To look at:", *look]
    if waiting:
        lines += ["", f"{waiting} answers wait for your points in {run.out / 'marks.csv'};"]
        lines += ["fill in the column `points` and run the same command again."]
    lines += ["", f"grades        {run.out / 'grades.csv'}"]
    lines += [f"feedback      {run.out / 'feedback'}", f"class         {run.out / 'class.html'}"]
    lines += [f"nbgrader      {place}"]
    say("\n".join(lines), sys.stdout)
    for trouble in problems:
        say(f"labkit: {trouble}", sys.stderr)
    return int(ours > 0)
