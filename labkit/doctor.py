"""`python -m labkit doctor`: one line for each item, ok or the one remedy.

Imports only Python's own library at first, so that it works where a dependency is missing.
"""

import importlib
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path

from labkit import folders
from labkit.console import close_stdout, one_line
from labkit.files import online
from labkit.profile import has_bf16

OLDEST_PYTHON, TESTED_PYTHON = (3, 10), "3.11"
NEEDED_DISK = 2.0  # GB: the downloads, the caches and a run of every notebook
MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"  # where torchvision fetches MNIST
MODULES = {"scikit-learn": "sklearn", "pillow": "PIL"}  # packages imported by another name
INSTALL = "pip install -r requirements.txt"


@dataclass
class Item:
    """One line of the report: what was found, and the remedy if something must be mended."""

    name: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{self.name}: {self.found}"
        return f"mend {line}: {self.remedy}" if self.remedy else f"ok   {line}"


def requirements(lines: list[str]) -> dict[str, tuple[str, str]]:
    """Package → (operator, version) of lines such as `torch==2.14.1`; other lines are left out."""
    form = re.compile(r"([A-Za-z0-9_.-]+)\s*(==|>=)\s*([0-9][\w.]*)")
    return {match[1]: (match[2], match[3]) for match in map(form.match, lines) if match}


def numbers(version: str) -> tuple[int, ...]:
    """The first three numbers of a version, to compare it by: "2.14.1+cu130" → (2, 14, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def check_packages(root: Path) -> Iterator[Item]:
    """labkit itself, each pin of `root`/requirements.txt and each lower bound of labkit."""
    pins, bounds = root / "requirements.txt", {}
    tested = requirements(pins.read_text(encoding="utf-8").splitlines()) if pins.exists() else {}
    try:
        bounds = requirements(metadata.requires("labkit") or [])
        yield Item("labkit", f"{metadata.version('labkit')}, notebooks can import it")
    except metadata.PackageNotFoundError:
        yield Item("labkit", "notebooks cannot import it", "pip install --no-deps -e .")
    for name in {**tested, **bounds}:
        pin, oldest = tested.get(name, ("", None))[1], bounds.get(name, ("", None))[1]
        wanted = f"--force-reinstall {name}=={pin}" if pin else f'"{name}>={oldest}"'
        yield check_package(name, pin, oldest, f"pip install {wanted}")


def check_package(name: str, tested: str | None, oldest: str | None, install: str) -> Item:
    """Imports a package, for an installed one may be broken, and compares its version."""
    module_name = MODULES.get(name, name.replace("-", "_"))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # built for another torch, it fails with RuntimeError and others
        if isinstance(error, ModuleNotFoundError) and error.name == module_name:
            return Item(name, "not installed", INSTALL if tested else install)
        reason = f"{type(error).__name__}: {one_line(error, 120)}"
        return Item(name, f"does not import ({reason})", install)
    version = str(getattr(module, "__version__", "0"))
    with suppress(metadata.PackageNotFoundError):
        version = metadata.version(name)
    if oldest and numbers(version) < numbers(oldest):
        return Item(name, f"{version} is older than {oldest}", install)
    same = tested is None or numbers(version) == numbers(tested)
    return Item(name, version if same else f"{version} (tested: {tested})")


def check_kernel() -> Item:
    """The runner starts a kernel of its own interpreter; JupyterLab goes by the registered one."""
    try:
        import ipykernel
        from jupyter_client.kernelspec import KernelSpecManager

        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except Exception as error:
        return Item("kernel", f"none ({type(error).__name__}: {error})", INSTALL)
    if command in ("python", "python3", sys.executable):
        return Item("kernel", f"ipykernel {ipykernel.__version__}, this interpreter")
    remedy = f"{sys.executable} -m ipykernel install --sys-prefix"
    return Item("kernel", f"python3 is {command}, not this interpreter", remedy)


def check_device() -> Item:
    """What torch can compute on, and whether that has instructions for bfloat16."""
    try:
        import torch
    except Exception:
        return Item("device", "unknown without torch", INSTALL)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    item = Item("device", f"{cores} CPU cores, {'' if has_bf16(kind) else 'no '}bf16 instructions")
    if kind == "cuda":
        card = torch.cuda.get_device_properties(0)
        item.found += f", CUDA, {card.name}, {card.total_memory / 2**30:.0f} GB"
    elif torch.backends.mps.is_available():
        item.found += ", MPS (Apple GPU)"
    elif shutil.which("nvidia-smi"):
        item.found += "; this torch cannot use the NVIDIA driver"
        item.remedy = "update the driver, or install a torch with CUDA from https://pytorch.org"
    return item


def check_data(reachable: bool) -> Iterator[Item]:
    """An item for each data set: what load() takes from this disk, or its error, or will do."""
    try:
        from labkit.data import images

        places = [str(folder) for _, folder in folders.image_folders()]
    except (OSError, ValueError) as error:
        yield Item("LABKIT_DATA", "cannot be used", str(error))
        return
    except Exception as error:
        yield Item("data", f"unknown, labkit.data does not import ({error})", INSTALL)
        return
    for name, known in images.SETS.items():
        said = io.StringIO()
        will = "downloads it" if reachable and known.folder else "draws a built-in stand-in"
        item = Item(name, f"not in {' or '.join(places)}; the first load {will}")
        try:
            with redirect_stdout(said):
                if (place := images.find(name)) and images.load(name, download=False):
                    item.found = f"{place[1]}: {' '.join(said.getvalue().split())}"
        except (OSError, ValueError) as error:
            item = Item(name, "cannot be loaded", str(error))
        yield item


def check_all() -> Iterator[Item]:
    """Every item, each as soon as it is known."""
    found = f"{sys.version.split()[0]} at {sys.executable} (tested: {TESTED_PYTHON})"
    remedy = f"make the virtual environment with Python {TESTED_PYTHON}"
    yield Item("python", found, remedy if sys.version_info[:2] < OLDEST_PYTHON else "")
    root = folders.repository()
    yield from check_packages(root)
    yield from (check_kernel(), check_device())
    free = shutil.disk_usage(root).free / 1e9
    remedy = f"free some space, a full run needs {NEEDED_DISK:.0f} GB"
    yield Item("disk", f"{free:.1f} GB free in {root}", remedy if free < NEEDED_DISK else "")
    reachable = online(MIRROR)
    offline = "offline: what is not on this disk comes as built-in stand-ins"
    yield Item("network", "the data mirror answers" if reachable else offline)
    yield from check_data(reachable)


def check_grading() -> Iterator[Item]:
    """What an instructor needs beyond that, to grade what students hand in."""
    from labkit.grading import machine

    yield from (Item(*found) for found in machine.check())


def main(grading: bool = False) -> int:
    """Prints the report, with `grading` an instructor's. Returns 1 if something must be mended."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path that can be told from others
    said, broken = set(), 0
    try:
        for item in chain(check_all(), check_grading() if grading else ()):
            if str(item) not in said:  # a package may be needed for two reasons
                print(item, flush=True)
                broken += bool(item.remedy)
            said.add(str(item))
        print(f"\n{broken or 'nothing'} to mend", flush=True)
    except BrokenPipeError:  # e.g. `doctor | head`
        close_stdout()
        return 1
    return int(broken > 0)
