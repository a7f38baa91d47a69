"""Executes one notebook in a kernel of the current interpreter: the live progress line, Ctrl-C, and
what went wrong in which cell.

Ctrl-C is a request: the running cell gets a KeyboardInterrupt and a few seconds to save its work,
then the kernel is shut down.
"""

import asyncio
import logging
import shutil
import signal
import time
from pathlib import Path

from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

GRACE = 5.0  # seconds a cell has after Ctrl-C to save its work
PLAIN_EVERY = 10.0  # seconds between progress lines where there is no terminal to redraw


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Progress:
    """The live line of one notebook: name, cell i/n, elapsed, forecast. On a terminal it
    redraws.
    """

    def __init__(self, stem: str, cells: list[str], earlier: dict[str, float], stream):
        self.stem, self.cells, self.earlier, self.stream = stem, cells, earlier, stream
        self.seconds: dict[str, float] = {}
        self.current, self.began, self.cell_began, self.drawn = (
            0,
            time.monotonic(),
            time.monotonic(),
            float("-inf"),
        )

    def start_cell(self, cell_id: str) -> None:
        self.current, self.cell_began = self.cells.index(cell_id), time.monotonic()

    def end_cell(self, cell_id: str) -> None:
        self.seconds[cell_id] = round(time.monotonic() - self.cell_began, 3)

    def forecast(self) -> float | None:
        """Seconds left: from the earlier run's cell times, else from the share of cells done; None
        before there is either.
        """
        spent, later = time.monotonic() - self.cell_began, self.cells[self.current + 1 :]
        known = [self.earlier[cell] for cell in self.cells if cell in self.earlier]
        known = known or list(self.seconds.values())
        if not known:
            return None
        typical = sum(known) / len(known)
        return max(self.earlier.get(self.cells[self.current], typical) - spent, 0.0) + sum(
            self.earlier.get(c, typical) for c in later
        )

    def draw(self) -> None:
        now, live = time.monotonic(), self.stream.isatty()
        if not self.cells or (not live and now - self.drawn < PLAIN_EVERY):
            return
        self.drawn, left = now, self.forecast()
        line = f"{self.stem}  cell {self.current + 1}/{len(self.cells)}  {clock(now - self.began)} elapsed"
        line += "" if left is None else f"  about {clock(left)} left"
        width = shutil.get_terminal_size().columns - 1
        print(
            f"\r\x1b[K{line[:width]}" if live else line,
            end="" if live else "\n",
            file=self.stream,
            flush=True,
        )

    async def keep_drawing(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            self.draw()


class Stop:
    """Turns Ctrl-C into a request. `act` is called for each press, with the number of presses so
    far.
    """

    def __init__(self):
        self.presses, self.act = 0, lambda presses: None

    def __enter__(self):
        self.before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_):
        signal.signal(signal.SIGINT, self.before)

    def _press(self, *_):
        self.presses += 1
        self.act(self.presses)


class ThisInterpreter(KernelSpecManager):
    """Any kernel name means the interpreter that runs labkit: a fresh venv needs no registered
    kernel, and a foreign one is not used.
    """

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())


def is_run(cell) -> bool:
    return (
        cell.cell_type == "code"
        and bool(cell.source.strip())
        and "skip-execution" not in cell.metadata.get("tags", [])
    )


async def run_cells(
    client: NotebookClient, kernel: AsyncKernelManager, progress: Progress, stop: Stop, **start
) -> None:
    await client.async_start_new_kernel(**start)
    try:
        await client.async_start_new_kernel_client()
        for index, cell in enumerate(client.nb.cells):
            if is_run(cell) and not stop.presses:
                progress.start_cell(cell.id)
                progress.draw()
                await client.async_execute_cell(
                    cell, index, execution_count=client.code_cells_executed + 1
                )
                progress.end_cell(cell.id)
    finally:
        if client.kc:
            client.kc.stop_channels()
        if kernel.has_kernel:
            await kernel.shutdown_kernel(now=bool(stop.presses))


async def execute(
    notebook, folder: Path, env: dict[str, str], progress: Progress, stop: Stop
) -> tuple[str, str]:
    """Runs the cells of `notebook` in place, up to the first error. Returns status and detail, see
    `runner.Outcome`.
    """
    kernel = AsyncKernelManager(kernel_spec_manager=ThisInterpreter())
    quiet = [
        "--log-level=ERROR"
    ]  # else the kernel writes warnings of its own across the progress line
    client = NotebookClient(
        notebook, km=kernel, timeout=None, coalesce_streams=True, extra_arguments=quiet
    )
    client.log = kernel.log = logging.Logger(
        "quiet", logging.CRITICAL + 1
    )  # what they have to say arrives as an exception
    loop = asyncio.get_running_loop()
    cells = loop.create_task(run_cells(client, kernel, progress, stop, cwd=str(folder), env=env))

    async def end(presses: int) -> None:
        if presses == 1 and kernel.has_kernel:
            await kernel.interrupt_kernel()
            await asyncio.sleep(GRACE)
        cells.cancel()

    ticker, endings = (
        loop.create_task(progress.keep_drawing()),
        [],
    )  # the list keeps the tasks from being collected
    stop.act = lambda presses: loop.call_soon_threadsafe(
        lambda: endings.append(loop.create_task(end(presses)))
    )
    error = None
    try:
        await cells
    except (CellExecutionError, RuntimeError, OSError, asyncio.CancelledError) as raised:
        error = raised
    finally:
        ticker.cancel()
        stop.act = lambda presses: None
    where = f"cell {progress.current + 1}"
    if stop.presses:
        return "interrupted", f"{where}: stopped by Ctrl-C"
    if error is None:
        return "passed", ""
    if isinstance(error, CellExecutionError):
        return (
            "failed",
            f"{where}: {error.ename}: {(str(error.evalue).splitlines() or [''])[0][:200]}",
        )
    if isinstance(error, DeadKernelError):
        return (
            "failed",
            f"{where}: the kernel died, most often for want of memory: close other programs or try --profile smoke",
        )
    return "failed", f"the kernel did not start ({error}): run `python -m labkit doctor`"
