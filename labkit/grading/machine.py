"""What `doctor --grading` looks at: whether this machine can grade, and how many at a time."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

INSTALL = 'pip install -e ".[grading]"'
NEEDED_DISK = 3.0  # GB: 300 submissions as handed in, autograded, and their pages
OTHERS = 2 * 2**30  # bytes for the system and the run itself


def check() -> Iterator[tuple[str, str, str]]:
    """(item, what was found, the remedy or "") for each thing that grading needs."""
    yield _package("nbgrader", f"not installed, grading needs it: {INSTALL}")
    yield _package("distributed", "")
    yield from _sandbox()
    yield _memory()
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    remedy = f"free some space, a class of 300 needs {NEEDED_DISK:.0f} GB"
    yield "grading disk", f"{free:.1f} GB free in {Path.cwd()}", remedy * (free < NEEDED_DISK)


def _package(name: str, remedy: str) -> tuple[str, str, str]:
    try:
        return name, metadata.version(name), ""
    except metadata.PackageNotFoundError:
        missing = "not installed" if remedy else "not installed, needed only for a Dask cluster"
        return name, missing, remedy.partition(": ")[2]


def _sandbox() -> Iterator[tuple[str, str, str]]:
    """bubblewrap and, for root, setpriv; a sandbox is made and Python started in it."""
    try:
        from labkit.grading import sandbox, syscalls
    except ModuleNotFoundError as error:
        yield "sandbox", f"{error.name} is not installed", INSTALL
        return
    if wrong := sandbox.problem():
        what, _, remedy = wrong.partition("; ")
        yield "sandbox", what, remedy or wrong
        return
    known = bool(syscalls.filter_of(platform.machine()))
    filtered = "" if known else f", without a filter of system calls ({platform.machine()})"
    numbers = ".".join(map(str, sandbox.version()))
    yield "sandbox", f"bubblewrap {numbers}, Python runs in it{filtered}", ""
    if os.geteuid() == 0:
        yield "setpriv", "you are root: submissions run as a user who owns nothing", ""


def _memory() -> tuple[str, str, str]:
    """How many submissions fit into memory side by side, if each takes all that it may."""
    from labkit.grading.sandbox import Limits

    each, total = Limits().memory, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    fit = max(total - OTHERS, 0) // each
    found = f"{total / 2**30:.0f} GiB; up to {each / 2**30:.0f} a submission, {fit} side by side"
    if not fit:
        return "grading memory", found, "grade on a machine with more memory"
    remedy = f"{cores} cores would be {cores} side by side: grade with --workers {fit}"
    return "grading memory", found, remedy * (fit < cores)
