"""Executes one notebook in a kernel of this interpreter and says what went wrong in which cell.

After Ctrl-C, a signal or the time limit the running cell gets a KeyboardInterrupt and a few seconds
to save its work, then the kernel is shut down.
"""

import asyncio
import logging
import math
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from labkit.console import Progress, one_line

GRACE = 5.0  # seconds a cell has after an interrupt to save its work
SIGNALS = [s for s in signal.Signals if s.name in ("SIGINT", "SIGTERM", "SIGHUP")]


class Stop:
    """Notes Ctrl-C, SIGTERM and SIGHUP instead of ending the process at once.

    hurry: whether the user asked twice. A closing terminal sends SIGHUP more than once, and under
    nohup SIGHUP is ignored and stays so.
    """

    def __init__(self):
        self.received: list[int] = []
        self.reason, self.exit_status = "", 0  # of the first: 130 for Ctrl-C, 143 for SIGTERM, …
        self.hurry = False

    def __enter__(self):
        chosen = [s for s in SIGNALS if s == signal.SIGINT or signal.getsignal(s) != signal.SIG_IGN]
        self.before = {number: signal.signal(number, self._receive) for number in chosen}
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _):
        name = signal.Signals(number).name
        if not self.received:
            self.reason = f"stopped by {'Ctrl-C' if name == 'SIGINT' else name}"
            self.exit_status = 128 + number
        self.hurry |= number in self.received and name != "SIGHUP"
        self.received.append(number)


def is_run(cell) -> bool:
    """Whether a cell is code that is to be executed."""
    skipped = "skip-execution" in cell.metadata.get("tags", [])
    return cell.cell_type == "code" and bool(cell.source.strip()) and not skipped


class Execution(NotebookClient):
    """A notebook in a kernel of this interpreter, up to the first error or interrupt."""

    def __init__(self, notebook, progress: Progress):
        # no folder of kernels is searched, so the kernel is this interpreter's, whatever its name
        self.kernel = AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
        quiet = ["--log-level=ERROR"]
        super().__init__(
            notebook, km=self.kernel, timeout=None, coalesce_streams=True, extra_arguments=quiet
        )
        # what they log arrives as an exception, too
        self.log = self.kernel.log = logging.Logger("quiet", logging.CRITICAL + 1)
        self.words = tempfile.TemporaryFile()  # of the kernel itself  # noqa: SIM115
        self.progress, self.started, self.ended_by = progress, False, ""

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] == "stream":
            self.progress.hear(msg["content"]["text"])
        return super().process_message(msg, cell, cell_index)

    async def run(self, folder: Path, env: dict[str, str]) -> None:
        words = {"stdout": self.words, "stderr": self.words}
        await self.async_start_new_kernel(cwd=str(folder), env=env, **words)
        await self.async_start_new_kernel_client()
        self.started = True
        for index, cell in enumerate(self.nb.cells):
            if is_run(cell) and not self.ended_by:
                self.progress.start_cell(cell.id)
                number = self.code_cells_executed + 1
                await self.async_execute_cell(cell, index, execution_count=number)
                self.progress.end_cell(cell.id)

    async def close(self) -> None:
        with suppress(Exception):  # a kernel that does not answer ends when its parent does
            if self.kc:
                self.kc.stop_channels()
            if self.kernel.has_kernel:
                await self.kernel.shutdown_kernel(now=bool(self.ended_by) or not self.started)
        self.words.close()

    def what_failed(self, error: BaseException) -> str:
        """The cell and the reason on one line, with the remedy if there is one."""
        if not self.started:
            self.words.seek(0)
            words = self.words.read().decode(errors="replace").strip().splitlines()
            reason = one_line(words[-1] if words else error)
            return f"the kernel did not start ({reason}): run `python -m labkit doctor`"
        if isinstance(error, CellExecutionError):
            return f"{error.ename}: {one_line(error.evalue) if error.evalue else ''}"
        if isinstance(error, DeadKernelError):
            remedy = "close other programs or try --profile smoke"
            return f"the kernel died, most often for want of memory: {remedy}"
        return f"{type(error).__name__}: {one_line(error)}"


async def execute(
    notebook, folder: Path, env: dict, progress: Progress, stop: Stop, minutes: float
) -> tuple[str, str]:
    """Runs the cells of `notebook` in place, in `folder`, up to the first error.

    minutes: how long the notebook may take. Returns the status (passed, failed or interrupted) and
    the detail of `runner.Outcome`.
    """
    execution = Execution(notebook, progress)
    work = asyncio.create_task(execution.run(folder, env))
    limit, cancel = time.monotonic() + 60 * minutes, math.inf
    while not work.done():
        progress.draw()
        await asyncio.wait([work], timeout=0.25)
        now = time.monotonic()
        if not execution.ended_by and (stop.received or now > limit):
            late = f"took longer than {minutes:g} min; allow more with --timeout MINUTES"
            execution.ended_by = stop.reason or late  # no other cell is started
            cancel = now + GRACE * execution.started
            with suppress(Exception):  # it may not be there yet, or have died a moment ago
                await execution.kernel.interrupt_kernel()
        if stop.hurry or now >= cancel:
            work.cancel()
    error = None if work.cancelled() else work.exception()
    reason = execution.ended_by or (execution.what_failed(error) if error else "")
    await execution.close()
    if not reason:
        return "passed", ""
    status = "interrupted" if execution.ended_by and stop.received else "failed"
    return status, f"cell {progress.current + 1}: {reason}" if execution.started else reason
