"""Runs notebooks in order; each leaves an executed .ipynb, a page and a record, all a summary.

Files of an earlier run are moved to `previous/` first, so that nothing old passes for new.
"""

import asyncio
import json
import math
import os
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
from labkit.results import DATE, MACHINE

SUFFIXES = (".ipynb", ".html", ".json")  # what a run leaves of each notebook
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
    """The labs in `folder`, or the notebooks that begin with a pick (`1`, `01`, a path).

    `studies` picks all notebooks in the subfolder of that name, `studies/4` one of them. Raises
    RunError, listing what exists, for a pick that fits nothing.
    """
    if not any(folder.glob("*.ipynb")):
        raise RunError(f"no notebooks in {folder}: run this inside a clone of the repository")
    groups = {path.name for path in folder.iterdir() if path.is_dir()}
    chosen = set()
    for pick in picks or [""]:
        *_, group, last = "", "", *Path(pick).parts
        group, last = (last, "") if last in groups else (group if group in groups else "", last)
        found = sorted((folder / group).glob("*.ipynb"))
        prefix = last.zfill(2) if last.isdigit() else last
        fits = {path for path in found if path.name.startswith(prefix)}
        if not fits:
            names = ", ".join(path.stem for path in found) or "none"
            raise RunError(f"no notebook starts with {pick!r}; there are: {names}")
        chosen |= fits
    return sorted(chosen)


def name_of(path: Path) -> str:
    """What a notebook's results are called: 01_lstm of a lab, studies/01_lstm of a study."""
    top = folders.repository() / "notebooks"
    below = path.relative_to(top) if path.is_relative_to(top) else Path(path.name)
    return below.with_suffix("").as_posix()


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
        (previous / stem).parent.mkdir(parents=True, exist_ok=True)
        for path in left if good(previous) and not good(out) else before:
            path.unlink(missing_ok=True)
        for path in filter(Path.exists, left):
            os.replace(path, previous / path.relative_to(out))
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
        remedy = f"restore it with `git checkout -- {path}`"
        reason = one_line(error, 100)
        raise RunError(f"{path} is not a readable notebook ({reason}): {remedy}") from error


def known_times(path: Path, run: Run) -> tuple[dict[str, float], list]:
    """Seconds by cell id of the last good run here, else as committed, and the pace here."""
    for source in (run.out / "previous" / f"{name_of(path)}.ipynb", path):
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
    outcome = Outcome(name_of(path), run.profile, date=time.strftime(DATE))
    kept = run.out / f"{outcome.stem}.ipynb"
    began = time.monotonic()
    try:
        notebook = read_notebook(path)
        cells = [cell.id for cell in notebook.cells if is_run(cell)]
        progress = Progress(outcome.stem, cells, run.stream, *known_times(path, run))
        env = kernel_environment(run.out, run.profile)
        work = execute(notebook, path.parent, env, progress, run.stop, run.minutes)
        outcome.status, outcome.detail = asyncio.run(work)
        outcome.seconds = round(time.monotonic() - began, 1)
        outcome.record, complaint = results.read(kept.with_suffix(".json"))
        if outcome.status == "passed" and complaint:
            outcome.status, outcome.detail = "no record", complaint
        facts = {name: fact for name in FACTS if (fact := getattr(outcome, name))}
        facts |= {"machine": MACHINE, "cell_seconds": progress.seconds}
        notebook.metadata["labkit"] = facts
        save(kept, nbformat.writes(notebook) + "\n")
        page = pages.notebook_page(notebook, outcome.stem, path.parent)
        save(kept.with_suffix(".html"), page)
    except Exception as error:  # one page that cannot be drawn must not stop the other notebooks
        known = isinstance(error, RunError)
        reason = error if known else f"no HTML page: {type(error).__name__}: {one_line(error)}"
        outcome.status, outcome.detail = "failed", f"{outcome.detail} {reason}".strip()
    return outcome


def all_outcomes(run: Run, outcomes: dict[str, Outcome]) -> list[Outcome]:
    """The outcomes of this run and of all notebooks that earlier runs left in its folder."""
    known = dict(outcomes)
    for path in [*run.out.glob("*.ipynb"), *run.out.glob("[!.]*/*.ipynb")]:
        stem = path.relative_to(run.out).with_suffix("").as_posix()
        facts = {"status": "unknown"} | facts_of(path)
        if stem not in known and len(facts) > 1 and path.parent.name != "previous":
            told = {n: facts[n] for n in FACTS if type(facts.get(n)) is type(getattr(Outcome, n))}
            record, _ = results.read(path.with_suffix(".json"))
            known[stem] = Outcome(stem, **told, record=record)
    return [known[stem] for stem in sorted(known)]


def run(notebooks: list[Path], out: Path, profile: str, stream=None, minutes=math.inf) -> int:
    """Executes `notebooks` into the folder `out`, printing to `stream`; returns the exit status.

    That is 0 when all passed, 128 + its number after a signal (130 for Ctrl-C), 1 otherwise. Raises
    RunError where `out` cannot be written or another run writes into it.
    """
    outcomes = {name: Outcome(name, profile) for name in map(name_of, notebooks)}
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
                    outcome = outcomes[name_of(path)] = run_notebook(path, this)
                    erase = "\r\x1b[K" if this.stream.isatty() else ""
                    say(f"{erase}{outcome}", this.stream)
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


def measure_bands(notebooks: list[Path], out: Path, profile: str, stream=None, **options) -> int:
    """Runs labs with five seeds; the numbers in all five records go to data/results/labs/.

    Returns the exit status of the first run that failed, or 0.
    """
    records = {name_of(path): [] for path in notebooks}
    for seed in range(5):
        os.environ["LABKIT_SEED"] = str(seed)  # the kernels inherit it
        place = out / "seeds" / str(seed)
        if status := run(notebooks, place, profile, stream, **options):
            return status
        for name, found in records.items():
            found.append(results.read(place / f"{name}.json")[0])
    for name, found in records.items():
        band = {k: found[0][k] for k in ("profile", "data", "data_content", "machine", "date")}
        band["command"] = f"python -m labkit run {name} --profile {profile} --band"
        columns = {key: [one["metrics"].get(key) for one in found] for key in found[0]["metrics"]}
        numbers = {k: v for k, v in columns.items() if all(isinstance(x, int | float) for x in v)}
        path = folders.measured() / "labs" / f"{name}.json"
        results.write(path, band | {"metrics": numbers})
        say(f"wrote {path}", stream or sys.stdout)
    return 0
