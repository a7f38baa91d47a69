"""The same experiment over many settings and seeds, in parallel, finished runs kept on disk."""

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from labkit.files import replacing
from labkit.fingerprint import fingerprint
from labkit.training.loop import in_sweep, load_checkpoint


class InThisProcess(Executor):
    """Runs what is submitted at once, here: for one core, a GPU, or a debugger."""

    def submit(self, function: Callable, /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        future.set_result(function(*args, **kwargs))
        return future


def dask(address: str) -> Executor:
    """The workers of the Dask scheduler at `address`, for example "tcp://10.0.0.1:8786".

    Raises ImportError if Dask is not installed and OSError if no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(f"{error}: pip install distributed, here and on the workers") from error
    return Client(address, timeout="10s").get_executor(retries=0)


def sweep(
    function: Callable[..., Any],
    grid: Sequence[Any],
    executor: Executor | None = None,
    store: str | os.PathLike | None = None,
    desc: str = "",
    version: int = 1,
) -> list[Any]:
    """The results of `function` for each setting of `grid`, in that order.

    grid: frozen dataclasses, each passed whole, or dicts of keyword arguments. function: may be
        written in a notebook; returns what torch.save can hold.
    executor: any concurrent.futures.Executor, `InThisProcess()` or `dask(address)` among them; by
        default a process a core with one thread each, so that a result does not depend on the
        number of cores.
    store: a folder that keeps each finished run in a file named by the fingerprint of function,
        setting and version. What is there is not computed again, in this sweep or another.
    version: raise it when `function` changes what it returns.
    Raises RuntimeError if a worker dies. Ctrl-C ends the workers; finished runs stay in the store.
    """
    files = [_file(store, function, setting, version) for setting in grid] if store else []
    done = {k: load_checkpoint(file) for k, file in enumerate(files) if file.exists()}
    if done:
        print(f"{Path(store).name}: {len(done)} of {len(grid)} runs are on disk")
    todo = {k: setting for k, setting in enumerate(grid) if k not in done}
    with tqdm(total=len(grid), initial=len(done), desc=desc, file=sys.stdout, ncols=100) as bar:

        def keep(k: int, result: Any) -> None:
            done[k] = result
            bar.update()
            if files:
                _write(files[k], result)

        if todo:
            _run(function, todo, executor, keep)
    return [done[k] for k in range(len(grid))]


def _run(function: Callable, todo: dict, executor: Executor | None, keep: Callable) -> None:
    own = executor is None
    pool = _processes(min(os.cpu_count() or 1, len(todo))) if own else executor
    pending: dict[Future, int] = {}
    try:
        for k, setting in todo.items():
            pending[pool.submit(_single_thread, function, setting)] = k
            for future in [future for future in pending if future.done()]:
                keep(pending.pop(future), future.result())
        for future in as_completed(list(pending)):
            keep(pending.pop(future), future.result())
    except BrokenExecutor as error:
        raise RuntimeError(
            "a worker process died, most often because memory ran out; take fewer workers, for "
            "example executor=concurrent.futures.ProcessPoolExecutor(1), or smaller settings"
        ) from error
    finally:
        ended = [future for future in pending if not future.cancel() and future.done()]
        for future in [future for future in ended if not future.exception()]:
            keep(pending[future], future.result())
        if own:  # after an interrupt or an error the rest is not waited for
            pool.shutdown(wait=all(f.done() for f in pending), kill_workers=True)


def _processes(workers: int) -> Executor:
    # loky: its workers start fresh (a forked child inherits torch's locked thread pools), and it
    # carries functions that were written in a notebook
    from joblib.externals.loky import ProcessPoolExecutor

    return ProcessPoolExecutor(workers, initializer=_as_worker, initargs=(os.getpid(),))


def _as_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent process, and end when it ends, however it ends."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.name == "nt" or os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _single_thread(function: Callable, setting: Any) -> Any:
    threads, token = torch.get_num_threads(), in_sweep.set(True)
    torch.set_num_threads(1)
    try:
        return function(**setting) if isinstance(setting, dict) else function(setting)
    finally:
        torch.set_num_threads(threads)
        in_sweep.reset(token)


def _file(store: str | os.PathLike, function: Callable, setting: Any, version: int) -> Path:
    if not (isinstance(setting, dict) or dataclasses.is_dataclass(setting)):
        raise TypeError(f"a setting is a dataclass or a dict, got a {type(setting).__name__}")
    key = fingerprint(function, setting, version)
    return Path(store) / f"{function.__name__}-{key}.pt"


def _write(file: Path, result: Any) -> None:
    try:
        with replacing(file) as temporary:
            torch.save(result, temporary)
    except OSError as error:
        print(f"{error}\n  Going on: this run is not kept for the next time.")
