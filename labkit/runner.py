"""Runs the notebooks in order and leaves for each the executed .ipynb, a self-contained .html and
its record, then one summary.

Files of an earlier run are moved to `previous/` first, so that nothing old passes for new; their
cell times are the forecast.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from labkit import pages
from labkit.execute import Progress, Stop, clock, execute, is_run
from labkit.files import replacing
from labkit.profile import PROFILES
from labkit.profile import profile as current_profile

ROOT = Path(__file__).resolve().parents[1]


class RunError(Exception):
    """A run that cannot start or go on; the message names the remedy."""


@dataclass
class Outcome:
    """What became of one notebook: `status` is passed, failed, no record, interrupted or not run;
    `detail` is the reason and remedy.
    """

    stem: str
    status: str = "not run"
    seconds: float = 0.0
    detail: str = ""
    record: dict = field(default_factory=dict)


def pick_notebooks(folder: Path, picks: list[str]) -> list[Path]:
    """The notebooks of `folder` in order, or those whose name starts with one of `picks` (`1`,
    `01`, `04_gan`, a path).

    Raises RunError, listing what exists, for a pick that fits nothing.
    """
    found = sorted(folder.glob("*.ipynb"))
    if not found:
        raise RunError(f"no notebooks in {folder}: run this inside a clone of the repository")
    chosen = set()
    for pick in picks:
        prefix = pick.zfill(2) if pick.isdigit() else Path(pick).name
        fits = [path for path in found if path.name.startswith(prefix)]
        if not fits:
            raise RunError(
                f"no notebook starts with {pick!r}; there are: {', '.join(path.stem for path in found)}"
            )
        chosen.update(fits)
    return sorted(chosen) if picks else found


def save(path: Path, text: str) -> None:
    """Writes `text` so that `path` is either the whole new file or what it was before. Raises
    RunError where it cannot.
    """
    try:
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{error}, with --out DIR") from error


def prepare(out: Path, stems: list[str]) -> None:
    """Moves the files that an earlier run left for `stems` to `previous/`. Raises RunError where
    `out` cannot be written.
    """
    save(
        out / "summary.html",
        "<!doctype html><title>running</title><p>This run has not finished.</p>",
    )
    for old in (
        out / f"{stem}{suffix}" for stem in stems for suffix in (".ipynb", ".html", ".json")
    ):
        if old.exists():
            (out / "previous").mkdir(exist_ok=True)
            os.replace(old, out / "previous" / old.name)


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """The notebook without outputs and widget state. Raises RunError for a file that is not a
    notebook.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        notebook.nbformat_minor = max(
            notebook.nbformat_minor, 5
        )  # 4.5 brought the cell ids that the cell times are kept under
        for index, cell in enumerate(notebook.cells):
            cell.setdefault("id", f"cell-{index}")
        nbformat.validate(notebook)
    except (
        Exception
    ) as error:  # nbformat raises its own, JSON, Unicode, Key and Attribute errors for broken files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
        remedy = f"restore it with `git checkout -- {path.parent.name}/{path.name}`"
        raise RunError(f"{path} is not a readable notebook ({reason}): {remedy}") from error
    notebook.metadata.pop("widgets", None)  # saved widget state breaks GitHub's preview
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def earlier_times(path: Path) -> dict[str, float]:
    """Seconds by cell id of an earlier run of the notebook, {} where there was none."""
    try:
        return dict(
            json.loads(path.read_text(encoding="utf-8"))["metadata"]["labkit"]["cell_seconds"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def report(outcome: Outcome, stream) -> None:
    """The line that stays when a notebook is over."""
    start = "\r\x1b[K" if stream.isatty() else ""
    print(
        f"{start}{outcome.stem}  {outcome.status}  {clock(outcome.seconds)}  {outcome.detail}".rstrip(),
        file=stream,
        flush=True,
    )


def kernel_environment(out: Path, profile: str) -> dict[str, str]:
    """The environment of a kernel: the profile, the results folder, labkit importable, and paths
    that hold in the notebook's folder.
    """
    env = {
        key: value for key, value in os.environ.items() if key != "MPLBACKEND"
    }  # a set back-end would hide the inline figures
    env |= {"LABKIT_PROFILE": profile, "LABKIT_RESULTS": str(out.resolve())}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    if env.get("LABKIT_DATA"):
        env["LABKIT_DATA"] = os.path.abspath(env["LABKIT_DATA"])
    return env


def read_record(path: Path) -> tuple[dict, str]:
    """The record a notebook left and, where there is none to read, why."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))), ""
    except FileNotFoundError:
        return {}, f"{path.name} was not written: end the notebook with labkit.results.record(...)"
    except (OSError, ValueError, TypeError) as error:
        return (
            {},
            f"{path.name} is no readable record ({error}): write it with labkit.results.record(...)",
        )


def run_notebook(path: Path, out: Path, profile: str, stop: Stop, stream) -> Outcome:
    """Executes one notebook and saves what it has, also when it failed. Raises RunError where `out`
    cannot be written.
    """
    outcome, began = Outcome(path.stem), time.monotonic()
    try:
        notebook = read_notebook(path)
    except RunError as error:
        outcome.status, outcome.detail = "failed", str(error)
        return outcome
    cells = [cell.id for cell in notebook.cells if is_run(cell)]
    progress = Progress(path.stem, cells, earlier_times(out / "previous" / path.name), stream)
    environment = kernel_environment(out, profile)
    outcome.status, outcome.detail = asyncio.run(
        execute(notebook, path.parent, environment, progress, stop)
    )
    outcome.seconds = round(time.monotonic() - began, 1)
    outcome.record, complaint = read_record(out / f"{path.stem}.json")
    if outcome.status == "passed" and complaint:
        outcome.status, outcome.detail = "no record", complaint
    notebook.metadata["labkit"] = {"profile": profile, "cell_seconds": progress.seconds}
    save(out / path.name, nbformat.writes(notebook) + "\n")
    try:
        page = pages.notebook_page(notebook, path.stem, path.parent)
    except Exception as error:  # one page that cannot be drawn must not stop the other notebooks
        outcome.status, outcome.detail = (
            "failed",
            f"{outcome.detail} no HTML page: {type(error).__name__}: {error}".strip(),
        )
        return outcome
    save(out / f"{path.stem}.html", page)
    return outcome


def run(notebooks: list[Path], out: Path, profile: str, stream=None) -> int:
    """Executes `notebooks` in `profile` into the folder `out`, printing to `stream` (stdout).

    Returns the exit status: 0 when all passed, 130 after Ctrl-C, 1 otherwise. Raises RunError where
    `out` cannot be written.
    """
    stream = stream or sys.stdout
    prepare(out, [path.stem for path in notebooks])
    outcomes = [Outcome(path.stem) for path in notebooks]
    print(f"profile {profile}, results in {out}", file=stream, flush=True)
    with Stop() as stop:
        for index, path in enumerate(notebooks):
            if not stop.presses:
                outcomes[index] = run_notebook(path, out, profile, stop, stream)
                report(outcomes[index], stream)
        print(f"\n{pages.summary_text(outcomes)}", file=stream, flush=True)
        save(out / "summary.html", pages.summary_page(outcomes, profile, out))
    print(f"summary: {out / 'summary.html'}", file=stream, flush=True)
    return 130 if stop.presses else int(any(outcome.status != "passed" for outcome in outcomes))


def main(picks: list[str], profile: str | None, out: Path | None) -> int:
    """`python -m labkit run`: see `run`. Raises RunError for an unknown profile or pick."""
    if profile and profile not in PROFILES:
        raise RunError(
            f"--profile {profile} is not a profile; choose one of: {', '.join(PROFILES)}"
        )
    try:
        profile = profile or current_profile()
    except ValueError as error:
        raise RunError(str(error)) from error
    folder = next(
        (base / "notebooks" for base in (ROOT, Path.cwd()) if (base / "notebooks").is_dir()),
        ROOT / "notebooks",
    )
    return run(
        pick_notebooks(folder, picks), (out or ROOT / "results" / profile).resolve(), profile
    )
