"""Runs notebooks in order; each leaves an executed .ipynb, a page and a record, all a summary.

Files of an earlier run are moved to `previous/` first, so that nothing old passes for new.
"""

import asyncio
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import nbformat
import psutil

from labkit import folders, pages, results
from labkit.console import ENOUGH, Progress, clock, one_line, say
from labkit.execute import Stop, execute, is_run
from labkit.files import replacing

MACHINE = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
SUFFIXES = (".ipynb", ".html", ".json")  # what a run leaves of each notebook
DATE = "%Y-%m-%d %H:%M"
FACTS = ("profile", "status", "detail", "seconds", "date")  # of an outcome, in its notebook


class RunError(Exception):
    """A run that cannot start or go on; the message names the remedy."""


@dataclass
class Outcome:
    """What became of one notebook: passed, failed, no record, interrupted or not run, and why."""

    stem: str
    profile: str = ""
    status: str = "not run"
    detail: str = ""
    seconds: float = 0.0
    date: str = ""
    record: dict = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.stem}  {self.status}  {clock(self.seconds)}  {self.detail}".rstrip()


@dataclass
class Run:
    """What the notebooks of one run share; paces: those of `Progress`, by source and profile."""

    out: Path
    profile: str
    stream: TextIO
    stop: Stop
    minutes: float = math.inf
    paces: dict[tuple, list] = field(default_factory=dict)


def pick_notebooks(folder: Path, picks: list[str]) -> list[Path]:
    """The notebooks of `folder`, or those that begin with a pick (`1`, `01`, a path).

    Raises RunError, listing what exists, for a pick that fits nothing.
    """
    found = sorted(folder.glob("*.ipynb"))
    if not found:
        raise RunError(f"no notebooks in {folder}: run this inside a clone of the repository")
    chosen = set() if picks else set(found)
    for pick in picks:
        prefix = pick.zfill(2) if pick.isdigit() else Path(pick).name
        fits = {path for path in found if path.name.startswith(prefix)}
        if not fits:
            names = ", ".join(path.stem for path in found)
            raise RunError(f"no notebook starts with {pick!r}; there are: {names}")
        chosen |= fits
    return sorted(chosen)


def save(path: Path, text: str) -> None:
    """Writes `text` so that `path` is the whole new file or the old one. Raises RunError."""
    try:
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise RunError(f"{error}, with --out DIR") from error


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Holds the folder `out` by a file with this process's number. RunError if another does."""
    lock = out / ".running"
    with suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int(lock.read_text()))
        # a process that is younger than the lock has only got the number of the one that wrote it
        old = process.create_time() <= lock.stat().st_mtime + 1
        if old and process.status() != psutil.STATUS_ZOMBIE:
            raise RunError(
                f"process {process.pid} is running notebooks into {out}: wait for it or stop it,"
                f" choose another folder with --out DIR, or delete {lock} if that is no run"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.unlink(missing_ok=True)
        with open(lock, "x") as file:
            file.write(str(os.getpid()))
    except OSError as error:
        raise RunError(f"cannot write {lock} ({error}): choose a folder with --out DIR") from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def facts_of(path: Path) -> dict:
    """What a run wrote into its notebook: profile, status, date, cell_seconds, …; {} if nothing."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["metadata"]["labkit"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def set_aside(out: Path, stem: str) -> None:
    """Moves the files of an earlier run to `previous/`, where the last good run stays."""

    def good(folder: Path) -> bool:
        passed = facts_of(folder / f"{stem}.ipynb").get("status") == "passed"
        return passed and (folder / f"{stem}.json").exists()

    previous = out / "previous"
    left, before = ([folder / f"{stem}{s}" for s in SUFFIXES] for folder in (out, previous))
    if not any(path.exists() for path in left):
        return
    try:
        previous.mkdir(exist_ok=True)
        for path in left if good(previous) and not good(out) else before:
            path.unlink(missing_ok=True)
        for path in filter(Path.exists, left):
            os.replace(path, previous / path.name)
    except OSError as error:
        remedy = "rename or delete that, or choose a folder with --out DIR"
        raise RunError(f"cannot move {stem}.* to {previous} ({error}): {remedy}") from error


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """The notebook without outputs and widget state. Raises RunError for a file that is none."""
    try:
        notebook = nbformat.read(path, as_version=4)
        # 4.5 brought the cell ids that the cell times are kept under
        notebook.nbformat_minor = max(notebook.nbformat_minor, 5)
        notebook.metadata.pop("widgets", None)  # saved widget state breaks GitHub's preview
        for index, cell in enumerate(notebook.cells):
            cell.setdefault("id", f"cell-{index}")
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.validate(notebook)
        return notebook
    except Exception as error:  # JSON, Unicode, Key, Attribute errors and nbformat's own
        remedy = f"restore it with `git checkout -- {path.parent.name}/{path.name}`"
        reason = one_line(error, 100)
        raise RunError(f"{path} is not a readable notebook ({reason}): {remedy}") from error


def known_times(path: Path, run: Run) -> tuple[dict[str, float], list]:
    """Seconds by cell id of the last good run here, else as committed, and the pace here."""
    for source in (run.out / "previous" / path.name, path):
        facts = facts_of(source)
        times, profile = facts.get("cell_seconds"), str(facts.get("profile"))
        if isinstance(times, dict) and times and facts.get("status") == "passed":
            known = {cell: float(s) for cell, s in times.items() if isinstance(s, int | float)}
            start = [1.0] * ENOUGH if profile == run.profile else []
            return known, run.paces.setdefault((source is path, profile), start)
    return {}, []


def kernel_environment(out: Path, profile: str) -> dict[str, str]:
    """The environment of a kernel: profile, absolute folders of data and results, labkit."""
    env = os.environ | {"LABKIT_PROFILE": profile, "LABKIT_RESULTS": str(out.resolve())}
    path = [str(folders.repository()), env.get("PYTHONPATH")]
    env["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    env.pop("MPLBACKEND", None)  # a set back-end would hide the inline figures
    if data := folders.named("LABKIT_DATA"):
        env["LABKIT_DATA"] = str(data)
    return env


def run_notebook(path: Path, run: Run) -> Outcome:
    """Executes one notebook and saves what it has, also when it failed."""
    outcome = Outcome(path.stem, run.profile, date=time.strftime(DATE))
    began = time.monotonic()
    try:
        notebook = read_notebook(path)
        cells = [cell.id for cell in notebook.cells if is_run(cell)]
        progress = Progress(path.stem, cells, run.stream, *known_times(path, run))
        env = kernel_environment(run.out, run.profile)
        work = execute(notebook, path.parent, env, progress, run.stop, run.minutes)
        outcome.status, outcome.detail = asyncio.run(work)
        outcome.seconds = round(time.monotonic() - began, 1)
        outcome.record, complaint = results.read(run.out / f"{path.stem}.json")
        if outcome.status == "passed" and complaint:
            outcome.status, outcome.detail = "no record", complaint
        facts = {name: fact for name in FACTS if (fact := getattr(outcome, name))}
        facts |= {"machine": MACHINE, "cell_seconds": progress.seconds}
        notebook.metadata["labkit"] = facts
        save(run.out / path.name, nbformat.writes(notebook) + "\n")
        page = pages.notebook_page(notebook, path.stem, path.parent)
        save(run.out / f"{path.stem}.html", page)
    except Exception as error:  # one page that cannot be drawn must not stop the other notebooks
        known = isinstance(error, RunError)
        reason = error if known else f"no HTML page: {type(error).__name__}: {one_line(error)}"
        outcome.status, outcome.detail = "failed", f"{outcome.detail} {reason}".strip()
    return outcome


def all_outcomes(run: Run, outcomes: dict[str, Outcome]) -> list[Outcome]:
    """The outcomes of this run and of all notebooks that earlier runs left in its folder."""
    known = dict(outcomes)
    for path in run.out.glob("*.ipynb"):
        facts = {"status": "unknown"} | facts_of(path)
        if path.stem not in known and len(facts) > 1:
            told = {n: facts[n] for n in FACTS if type(facts.get(n)) is type(getattr(Outcome, n))}
            record, _ = results.read(run.out / f"{path.stem}.json")
            known[path.stem] = Outcome(path.stem, **told, record=record)
    return [known[stem] for stem in sorted(known)]


def run(notebooks: list[Path], out: Path, profile: str, stream=None, minutes=math.inf) -> int:
    """Executes `notebooks` into the folder `out`, printing to `stream`; returns the exit status.

    That is 0 when all passed, 128 + its number after a signal (130 for Ctrl-C), 1 otherwise. Raises
    RunError where `out` cannot be written or another run writes into it.
    """
    outcomes = {path.stem: Outcome(path.stem, profile) for path in notebooks}
    summary = out / "summary.html"
    with Stop() as stop, alone_in(out):
        this = Run(out, profile, stream or sys.stdout, stop, minutes)
        for stem in outcomes:
            set_aside(out, stem)
        save(summary, "<!doctype html><title>labkit</title>This run has not ended.")
        say(f"profile {profile}, results in {out}", this.stream)
        try:
            for path in notebooks:
                if not stop.received:
                    outcomes[path.stem] = run_notebook(path, this)
                    erase = "\r\x1b[K" if this.stream.isatty() else ""
                    say(f"{erase}{outcomes[path.stem]}", this.stream)
        finally:
            facts = {"profile": profile, "date": time.strftime(DATE), "machine": MACHINE}
            page = pages.summary_page(all_outcomes(this, outcomes), out, **facts)
            text = pages.summary_text(list(outcomes.values()))
            try:
                save(summary, page)
            finally:
                say(f"\n{text}\nsummary: {summary}", this.stream)
    failed = any(outcome.status != "passed" for outcome in outcomes.values())
    return stop.exit_status or int(failed)
