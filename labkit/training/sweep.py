"""The same experiment over many settings and seeds, one process a core."""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from labkit.data import images
from labkit.files import replacing


def sweep(
    function: Callable[..., Any],
    settings: list[dict[str, Any]],
    checkpoint: str | os.PathLike | None = None,
    workers: int | None = None,
    desc: str = "",
    store: str | os.PathLike | None = None,
) -> list[Any]:
    """`[function(**s) for s in settings]`, in that order, with `workers` processes of one thread
    each (default: one a core).

    Small recurrent networks leave a second thread idle, a second process not. One thread also makes
    a result independent of the number of cores. `function` must be importable (defined in a module,
    not in the notebook) and return what torch.save can hold.
    checkpoint: a file that keeps what is finished when the sweep is interrupted or fails, so that
    running it again computes only the rest; removed at the end. It is ignored if function or
    settings have changed.
    store: a folder that keeps every finished run for good, a file a setting: what is there with the
    same settings is not computed again, in this sweep or another, unless labkit's data, models or
    training have changed since, or the real sets at hand. Delete it to start anew.
    """
    key = hashlib.sha256(
        json.dumps([function.__module__, function.__qualname__, settings], sort_keys=True).encode()
    ).hexdigest()
    path = Path(checkpoint) if checkpoint else None
    done = _finished(path, key)
    files = [Path(store) / f"{_name(function, s)}.pt" for s in settings] if store else []
    on_disk = {k: _read(file) for k, file in enumerate(files) if file.exists() and k not in done}
    if on_disk:
        print(
            f"{Path(store).name}: {len(on_disk)} of {len(settings)} runs are on disk with these settings"
        )
    done |= on_disk
    todo = [k for k in range(len(settings)) if k not in done]
    bar = tqdm(
        total=len(settings),
        initial=len(done),
        desc=desc,
        file=sys.stdout,
        ncols=100,
        mininterval=0.5,
    )

    def keep(k: int, result: Any) -> None:
        done[k] = result
        bar.update()
        if path:
            with replacing(path) as temporary:
                torch.save({"key": key, "done": done}, temporary)
        if files:
            with replacing(files[k]) as temporary:
                torch.save(result, temporary)

    workers = min(workers or os.cpu_count() or 1, len(todo))
    with bar:
        if workers <= 1:
            for k in todo:
                keep(k, _single_thread(function, settings[k]))
        else:
            _in_processes(function, settings, todo, workers, keep)
    if path:
        path.unlink(missing_ok=True)
    return [done[k] for k in range(len(settings))]


def _in_processes(
    function: Callable,
    settings: list[dict],
    todo: list[int],
    workers: int,
    keep: Callable[[int, Any], None],
) -> None:
    # spawn, not fork: a forked child inherits torch's locked thread pools and can hang
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )  # Jupyter interrupts the whole process group; the parent alone decides what to do
    try:
        futures = {pool.submit(_single_thread, function, settings[k]): k for k in todo}
        for future in as_completed(futures):
            keep(futures[future], future.result())
    except (
        BaseException
    ):  # an interrupt or a failed setting: what is finished is kept, the rest is not waited for
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        raise
    pool.shutdown()


def _single_thread(function: Callable, setting: dict) -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(**setting)
    finally:
        torch.set_num_threads(threads)


def _name(function: Callable, setting: dict) -> str:
    key = json.dumps(
        [_code(), _data(), function.__module__, function.__qualname__, setting], sort_keys=True
    )
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _data() -> list[str]:
    """The real sets there are: a run on drawn stand-ins is not one on photographs."""
    folders = [root for _, root in images._roots() if root.is_dir()]
    return sorted(
        {
            path.name
            for root in folders
            for path in root.iterdir()
            if path.name.startswith(("MNIST", "FashionMNIST", "cats"))
        }
    )


@cache
def _code() -> str:
    """Hash of the files that decide what a run gives."""
    root = Path(__file__).parents[1]
    files = sorted(
        path for part in ("data", "models", "training") for path in (root / part).rglob("*.py")
    )
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _read(path: Path) -> Any:
    try:
        return torch.load(path, weights_only=True)
    except Exception as error:
        raise RuntimeError(
            f"{path} is not a whole checkpoint ({type(error).__name__}); delete it to start anew"
        ) from error


def _finished(path: Path | None, key: str) -> dict[int, Any]:
    if not path or not path.exists():
        return {}
    content = _read(path)
    if content["key"] != key:
        print(f"{path.name} belongs to other settings; starting anew")
        return {}
    print(f"{path.name}: {len(content['done'])} runs were finished before")
    return content["done"]
