"""`python -m labkit doctor`: one line per item, ok or the one remedy.

Needs nothing but Python until an item asks for more, so that it works where a dependency is
missing.
"""

import importlib
import importlib.metadata as metadata
import os
import re
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
ROOT = (
    REPOSITORY if (REPOSITORY / "notebooks").is_dir() else Path.cwd()
)  # installed without the repository, as on Colab
OLDEST_PYTHON, TESTED_PYTHON = (3, 10), "3.11"
NEEDED_DISK = 2.0  # GB: the downloads, the caches and a run of every notebook
NETWORK_SECONDS = 3.0
MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"  # where torchvision fetches MNIST
MODULES = {
    "scikit-learn": "sklearn",
    "pillow": "PIL",
}  # where the import has another name than the package

IDX_BYTES = {  # a whole file: 16 bytes of header and 28×28 a picture, 8 and 1 a label
    "train-images-idx3-ubyte": 16 + 60_000 * 784,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 784,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}
CATS = ("cats", "cats.tar", "cats.tar.gz", "cats.tgz", "cats.zip")


@dataclass
class Item:
    """One line of the report: what was found, and what to type where something must be mended."""

    name: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return (
            f"mend {self.name}: {self.found}: {self.remedy}"
            if self.remedy
            else f"ok   {self.name}: {self.found}"
        )


def requirements(lines: list[str]) -> dict[str, tuple[str, str]]:
    """Package name -> (operator, version) of lines such as `torch==2.14.1` or `torch>=2.6`; other
    lines are left out.
    """
    matches = (re.match(r"([A-Za-z0-9_.-]+)\s*(==|>=)\s*([0-9][\w.]*)", line) for line in lines)
    return {match[1]: (match[2], match[3]) for match in matches if match}


def direct_dependencies(
    root: Path,
) -> tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]]]:
    """(what was tested, the lower bounds): the pins of requirements.txt, where there is one, and
    labkit's own metadata.
    """
    pins = root / "requirements.txt"
    tested = requirements(pins.read_text(encoding="utf-8").splitlines()) if pins.exists() else {}
    try:
        bounds = requirements(metadata.requires("labkit") or [])
    except metadata.PackageNotFoundError:
        bounds = {}
    return tested, bounds


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def check_python() -> Item:
    found = f"{sys.version.split()[0]} at {sys.executable} (tested: {TESTED_PYTHON})"
    old = sys.version_info[:2] < OLDEST_PYTHON
    return Item(
        "python",
        found,
        "install Python 3.11 or newer and make the virtual environment with it" if old else "",
    )


def check_labkit() -> Item:
    try:
        return Item("labkit", f"{metadata.version('labkit')}, notebooks can import it")
    except metadata.PackageNotFoundError:
        return Item(
            "labkit", "not installed, notebooks cannot import it", "pip install --no-deps -e ."
        )


def check_package(name: str, tested: str | None, oldest: str | None, install: str) -> Item:
    """Imports the package, because one that is installed can still be broken, and compares its
    version.
    """
    module_name = MODULES.get(name, name.replace("-", "_"))
    try:
        module = importlib.import_module(module_name)
    except (
        Exception
    ) as error:  # a package built for another torch fails with RuntimeError, OSError and others
        reason = (str(error).splitlines() or [""])[0][:120]
        missing = isinstance(error, ModuleNotFoundError) and error.name == module_name
        return Item(
            name,
            "not installed" if missing else f"does not import ({type(error).__name__}: {reason})",
            install,
        )
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        version = str(getattr(module, "__version__", "0"))
    if oldest and numbers(version) < numbers(oldest):
        return Item(name, f"{version} is older than {oldest}", install)
    same = tested is None or numbers(version) == numbers(tested)
    return Item(name, version if same else f"{version} (tested: {tested})")


def check_packages(root: Path) -> Iterator[Item]:
    tested, bounds = direct_dependencies(root)
    for name in {**tested, **bounds}:
        pin, oldest = tested.get(name, ("", None))[1], bounds.get(name, ("", None))[1]
        install = (
            f"pip install --force-reinstall {name}=={pin}"
            if pin
            else f'pip install "{name}>={oldest}"'
        )
        item = check_package(name, pin, oldest, install)
        if pin and item.found == "not installed":
            item.remedy = "pip install -r requirements.txt"
        yield item


def bf16_speed(torch) -> float:
    """How many times faster a bf16 matrix product is than a float32 one on this CPU."""

    def seconds(dtype) -> float:
        a = torch.ones(512, 512, dtype=dtype)
        a @ a  # the first call sets up the kernels
        began = time.perf_counter()
        for _ in range(5):
            a @ a
        return time.perf_counter() - began

    return seconds(torch.float32) / seconds(torch.bfloat16)


def check_device() -> Item:
    try:
        import torch
    except Exception:
        return Item("device", "unknown without torch", "pip install -r requirements.txt")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        return Item(
            "device",
            f"CUDA, {card.name}, {card.total_memory / 2**30:.0f} GB, {bf16}; {cores} CPU cores",
        )
    if torch.backends.mps.is_available():
        return Item("device", f"MPS (Apple GPU); {cores} CPU cores")
    cpu = f"CPU, {cores} cores, bf16 {bf16_speed(torch):.1f}× the speed of float32"
    if shutil.which("nvidia-smi"):
        remedy = "update the NVIDIA driver, or install a torch with CUDA from https://pytorch.org"
        return Item(
            "device", f"{cpu}; there is an NVIDIA driver but this torch cannot use it", remedy
        )
    return Item("device", cpu)


def check_disk(root: Path) -> Item:
    free = shutil.disk_usage(root).free / 1e9
    return Item(
        "disk",
        f"{free:.1f} GB free in {root}",
        f"free some space, a full run needs {NEEDED_DISK:.0f} GB" if free < NEEDED_DISK else "",
    )


def online() -> bool:
    """Whether torchvision's mirror answers within three seconds, name look-up and proxies
    included.
    """
    answered = []

    def ask() -> None:
        try:
            urllib.request.urlopen(
                urllib.request.Request(MIRROR, method="HEAD"), timeout=NETWORK_SECONDS
            ).close()
        except urllib.error.HTTPError:
            pass  # it answered
        except OSError:
            return
        answered.append(True)

    thread = threading.Thread(target=ask, daemon=True)  # a name look-up has no time-out of its own
    thread.start()
    thread.join(NETWORK_SECONDS)
    return bool(answered)


def check_network(reachable: bool) -> Item:
    return Item(
        "network",
        "the data mirror answers"
        if reachable
        else "offline: what is not on this disk comes as built-in stand-ins",
    )


def idx_problem(folder: Path) -> str:
    """What is wrong with an MNIST-like folder, "" if all four files are whole."""
    for name, size in IDX_BYTES.items():
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
        if (folder / name).stat().st_size != size:
            return (
                f"{folder / name} has {(folder / name).stat().st_size:,} bytes instead of {size:,}"
            )
    return ""


def check_data(folders: list[Path], reachable: bool) -> list[Item]:
    """An item per data set: the first of `folders` that has it, else what the first load will
    do.
    """
    items = []
    fallback = (
        "not on this disk, the first load downloads it"
        if reachable
        else "not on this disk, built-in stand-in"
    )
    for name, layout in {"mnist": "MNIST/raw", "fashion": "FashionMNIST/raw"}.items():
        here = next(
            (
                folder / layout
                for folder in folders
                if any((folder / layout / file).exists() for file in IDX_BYTES)
            ),
            None,
        )
        problem = idx_problem(here) if here else ""
        found = problem or (f"real, in {here}" if here else fallback)
        items.append(Item(name, found, f"delete {here} and load again" if problem else ""))
    cats = next(
        (folder / name for folder in folders for name in CATS if (folder / name).exists()), None
    )
    items.append(
        Item(
            "cats",
            f"real, {cats}"
            if cats
            else "not on this disk, built-in stand-in (real ones: put cats/ or cats.tar into data/)",
        )
    )
    return items


def data_folders(root: Path) -> tuple[list[Path], list[Item]]:
    """The folders of the ladder that are local, and an item where LABKIT_DATA points nowhere."""
    named = os.environ.get("LABKIT_DATA")
    folders = ([Path(named)] if named else []) + [root / "data"]
    lost = [
        Item("LABKIT_DATA", f"{named} is not a folder", "make it, correct it, or unset LABKIT_DATA")
    ]
    return folders, lost if named and not Path(named).is_dir() else []


def check_kernel() -> Item:
    """The runner starts a kernel of its own interpreter; JupyterLab goes by the registered one."""
    try:
        import ipykernel
        from jupyter_client.kernelspec import KernelSpecManager

        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except Exception as error:
        return Item(
            "kernel", f"none ({type(error).__name__}: {error})", "pip install -r requirements.txt"
        )
    if command in ("python", "python3", sys.executable):
        return Item("kernel", f"ipykernel {ipykernel.__version__}, this interpreter")
    return Item(
        "kernel",
        f"python3 is {command}, not this interpreter",
        f"{sys.executable} -m ipykernel install --sys-prefix",
    )


def check_all(root: Path = ROOT) -> Iterator[Item]:
    """Every item, each as soon as it is known."""
    yield from (check_python(), check_labkit())
    yield from check_packages(root)
    yield from (check_kernel(), check_device(), check_disk(root))
    reachable = online()
    yield check_network(reachable)
    folders, lost = data_folders(root)
    yield from lost
    yield from check_data(folders, reachable)


def main() -> int:
    """Prints the report. Returns 0 when nothing must be mended, else 1."""
    broken = 0
    for item in check_all():
        print(item, flush=True)
        broken += bool(item.remedy)
    print(f"\n{broken} to mend" if broken else "\nnothing to mend")
    return int(broken > 0)
