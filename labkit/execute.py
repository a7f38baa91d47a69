"""Executes one notebook in a kernel of this interpreter and says what went wrong in which cell.

Ctrl-C, a signal or the time limit are requests: the running cell gets a KeyboardInterrupt and a few
seconds to save its work, then the kernel is shut down.
"""

import asyncio
import logging
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from labkit.console import Progress, one_line

GRACE = 5.0  # seconds a cell has after an interrupt to save its work
SIGNALS = [getattr(signal, s) for s in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, s)]


class Stop:
    """Turns Ctrl-C, SIGTERM and SIGHUP into requests: `act(reason, hurry)` is called for each.

    hurry: whether the user has asked before. A closing terminal sends SIGHUP more than once, and
    under nohup SIGHUP is ignored and stays so.
    """

    def __init__(self):
        self.received: list[int] = []
        self.reason, self.exit_status = "", 0  # of the first: 130 for Ctrl-C, 143 for SIGTERM, …
        self.act = lambda reason, hurry: None

    def __enter__(self):
        chosen = [s for s in SIGNALS if s == signal.SIGINT or signal.getsignal(s) != signal.SIG_IGN]
        self.before = {number: signal.signal(number, self._receive) for number in chosen}
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _):
        again = number in self.received and number != getattr(signal, "SIGHUP", None)
        if not self.received:
            name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
            self.reason, self.exit_status = f"stopped by {name}", 128 + number
        self.received.append(number)
        self.act(self.reason, again)


class ThisInterpreter(KernelSpecManager):
    """Any kernel name means this interpreter: no kernel need be registered, no other is used."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())


class Client(NotebookClient):
    """nbclient's client, which lets `hear` listen to what the cells print."""

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] == "stream":
            self.hear(msg["content"]["text"])
        return super().process_message(msg, cell, cell_index)


def is_run(cell) -> bool:
    """Whether a cell is code that is to be executed."""
    skipped = "skip-execution" in cell.metadata.get("tags", [])
    return cell.cell_type == "code" and bool(cell.source.strip()) and not skipped


class Execution:
    """A notebook in its kernel, from the start to the first error or to `end`."""

    def __init__(self, notebook, progress: Progress):
        self.notebook, self.progress = notebook, progress
        self.kernel = AsyncKernelManager(kernel_spec_manager=ThisInterpreter())
        self.client = Client(
            notebook,
            km=self.kernel,
            timeout=None,
            coalesce_streams=True,
            extra_arguments=["--log-level=ERROR"],
        )
        self.client.hear = progress.hear
        # what they have to say arrives as an exception
        self.client.log = self.kernel.log = logging.Logger("quiet", logging.CRITICAL + 1)
        self.words = tempfile.TemporaryFile()  # of the kernel itself  # noqa: SIM115
        self.started, self.ended_by = False, ""

    async def run(self, folder: Path, env: dict[str, str]) -> None:
        words = {"stdout": self.words, "stderr": self.words}
        await self.client.async_start_new_kernel(cwd=str(folder), env=env, **words)
        await self.client.async_start_new_kernel_client()
        self.started = True
        for index, cell in enumerate(self.notebook.cells):
            if is_run(cell) and not self.ended_by:
                self.progress.start_cell(cell.id)
                self.progress.draw()
                number = self.client.code_cells_executed + 1
                await self.client.async_execute_cell(cell, index, execution_count=number)
                self.progress.end_cell(cell.id)

    async def end(self, work: asyncio.Task, reason: str, hurry: bool) -> None:
        """Interrupts the running cell; cancels `work` after a grace, or at once in a hurry."""
        self.ended_by = self.ended_by or reason
        if self.started and not hurry:
            with suppress(Exception):  # it may have died a moment ago
                await self.kernel.interrupt_kernel()
            await asyncio.sleep(GRACE)
        work.cancel()

    async def close(self) -> None:
        with suppress(Exception):  # a kernel that does not answer ends when its parent does
            if self.client.kc:
                self.client.kc.stop_channels()
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
            return (
                "the kernel died, most often for want of memory:"
                " close other programs or try --profile smoke"
            )
        return f"{type(error).__name__}: {one_line(error)}"


async def keep_drawing(progress: Progress) -> None:
    while True:
        await asyncio.sleep(0.25)
        progress.draw()


async def execute(
    notebook,
    folder: Path,
    env: dict[str, str],
    progress: Progress,
    stop: Stop,
    minutes: float | None = None,
) -> tuple[str, str]:
    """Runs the cells of `notebook` in place, in `folder`, up to the first error.

    minutes: how long the notebook may take; None: as long as it needs. Returns the status (passed,
    failed or interrupted) and the detail of `runner.Outcome`.
    """
    execution, loop = Execution(notebook, progress), asyncio.get_running_loop()
    work = loop.create_task(execution.run(folder, env))
    tasks = [loop.create_task(keep_drawing(progress))]  # kept, so that none is collected

    def end(reason: str, hurry: bool = False) -> None:
        tasks.append(loop.create_task(execution.end(work, reason, hurry)))

    stop.act = lambda *request: loop.call_soon_threadsafe(end, *request)
    if stop.received:  # before there was a loop to tell
        end(stop.reason, hurry=True)
    if minutes is not None:
        late = f"took longer than {minutes:g} min; allow more with --timeout MINUTES"
        loop.call_later(60 * minutes, end, late)
    error = None
    try:
        await work
    except (Exception, asyncio.CancelledError) as raised:
        error = raised
    finally:
        stop.act = lambda *request: None
        for task in tasks:
            task.cancel()
        failure = execution.what_failed(error) if error and not execution.ended_by else ""
        await execution.close()
    where = f"cell {progress.current + 1}: " if execution.started else ""
    if execution.ended_by:
        return "interrupted" if stop.received else "failed", where + execution.ended_by
    return ("failed", where + failure) if failure else ("passed", "")
