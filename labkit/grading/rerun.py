"""Runs a submitted notebook in a kernel that was forked before any student's code ran.

The kernel has torch and the lab's imports from the start, which saves it half of its time. What it
shows gives no points: those come from the exercises. It gives pictures, and says whether the
notebook runs at all.
"""

import asyncio
import contextlib
import logging
import os
import signal
import tempfile
from dataclasses import asdict
from typing import Any

import nbformat
from ipykernel.iostream import OutStream
from ipykernel.kernelapp import IPKernelApp
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from labkit.exercises import RIGHT
from labkit.grading import children
from labkit.grading.records import CHECK, CRASHED, GRADED, MANUAL, Finding

SECONDS = 60  # for a cell
MOST = 16 * 2**20  # characters of all outputs
FLOODED = 77  # the exit status of a kernel that printed more
LINES = 1_000  # of an output that is text
CANARY = "labkit-canary"
LATE = {"ename": "CellTimeoutError", "evalue": "This cell took too long.", "traceback": []}


class Forked:
    """A forked process that waits, becomes a kernel, and can be waited for like a Popen."""

    stdin = stdout = stderr = None

    def __init__(self):
        reading, self._pipe = os.pipe()

        def wait() -> None:
            os.close(self._pipe)
            if connection := os.read(reading, 4096).decode():
                limit_prints()
                app = IPKernelApp.instance()
                app.initialize(["-f", connection, "--HistoryManager.enabled=False"])
                app.start()

        self.pid = children.fork(wait)
        self.returncode: int | None = None
        os.close(reading)
        children.private.append(self._pipe)

    def become_kernel(self, connection_file: str) -> None:
        os.write(self._pipe, connection_file.encode())

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self) -> int | None:
        return self._reap(0)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def limit_prints() -> None:
    """Ends this kernel when a cell prints without end: it would send gigabytes in one message."""
    write, room = OutStream.write, MOST

    def limited(self: OutStream, string: str) -> int | None:
        nonlocal room
        room -= len(string)
        if room < 0:
            os._exit(FLOODED)
        return write(self, string)

    OutStream.write = limited


class Provisioner(LocalProvisioner):
    """Starts a kernel by telling a forked process to become one."""

    forked: Forked

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        self.forked.become_kernel(self.parent.connection_file)
        self.process, self.pid, self.pgid = self.forked, self.forked.pid, self.forked.pid
        return self.connection_info


class Rerun(NotebookClient):
    """Runs the cells of a notebook one after the other, errors or not, and keeps count."""

    shown, late = 0, False

    async def note(self, cell: NotebookNode, cell_index: int, execute_reply: dict) -> None:
        self.late = execute_reply["content"].get("evalue") == LATE["evalue"]

    def process_message(self, msg: dict, cell: NotebookNode, cell_index: int) -> Any:
        if msg["msg_type"] in ("stream", "display_data", "execute_result", "error"):
            self.shown += len(str(msg["content"]))
            if self.shown > MOST:
                self.km.provisioner.forked.kill()  # more than anybody reads
                return None
        return super().process_message(msg, cell, cell_index)


def notebook(job: dict[str, Any], kernel: Forked, states: dict[str, str]) -> dict[str, Any]:
    """The event with the executed notebook. states: how its exercises did in a clean process."""
    made = nbformat.reads(job["notebook"], 4)
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    canary = nbformat.v4.new_code_cell(f"assert False, {job['nonce']!r}", id=CANARY)
    made.cells.append(canary)
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        manager = manager_of(kernel, folder)
        why = asyncio.run(execute(made, manager, job.get("cell_seconds", SECONDS)))
    made.cells.pop()
    findings = [Finding("crashed", why, CRASHED)] if why else []
    if canary.execution_count and not failed_with(canary, job["nonce"]):
        text = "After the last cell of the notebook, an assert that must fail does not."
        findings.append(Finding("asserts are switched off", text, MANUAL))
    points = passed(made)
    for name, state in states.items():
        if points.get(name) and state != RIGHT:
            text = f"{name} passes its test in the notebook, and not in a process of its own."
            findings.append(Finding("right only in the notebook", text, MANUAL, name))
    findings += errors(made)
    for cell in made.cells:
        shorten(cell)
    return {
        "event": "notebook",
        "notebook": nbformat.writes(made),
        "findings": [asdict(finding) for finding in findings],
        "points": points,
    }


def manager_of(kernel: Forked, folder: str) -> AsyncKernelManager:
    """A manager of this kernel, whose sockets and connection file lie in a folder."""
    manager = AsyncKernelManager(
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        transport="ipc",
        ip=f"{folder}/kernel",
        connection_file=f"{folder}/kernel.json",
    )
    manager.provisioner = Provisioner(
        parent=manager, kernel_id="forked", kernel_spec=manager.kernel_spec
    )
    manager.provisioner.forked = kernel
    return manager


async def execute(made: NotebookNode, manager: AsyncKernelManager, seconds: float) -> str:
    """Runs the cells up to what stops the kernel, which is returned in words, or ""."""
    kernel = manager.provisioner.forked
    client = Rerun(
        made,
        km=manager,
        timeout=seconds,
        interrupt_on_timeout=True,
        error_on_timeout=LATE,
        raise_on_iopub_timeout=True,
        allow_errors=True,
        coalesce_streams=True,
        store_widget_state=False,
    )
    client.on_cell_executed = client.note
    client.log = manager.log = logging.Logger("quiet", logging.CRITICAL + 1)
    at = "The kernel"
    try:
        await client.async_start_new_kernel()
        await client.async_start_new_kernel_client()
        for index, cell in enumerate(made.cells):
            at = f"Cell {cell.get('id', index + 1)}"
            await client.async_execute_cell(cell, index)
            if client.late:
                return f"{at} took longer than {seconds:g} s; the cells after it were not run."
    except CellTimeoutError:
        return f"{at} took longer than {seconds:g} s and could not be interrupted."
    except DeadKernelError:
        if client.shown > MOST or kernel.poll() == FLOODED:
            return f"{at} shows more than {MOST:,} characters; it was stopped there."
        return f"{at} ended the kernel ({ended(kernel)}); the cells after it were not run."
    except Exception as error:  # the messages are those of a process that a student may control
        return f"{at} cannot be run: {type(error).__name__}."
    finally:
        with contextlib.suppress(Exception):
            if client.kc:
                client.kc.stop_channels()
        kernel.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(kernel.pid, signal.SIGKILL)
        kernel.wait()
        with contextlib.suppress(Exception):
            await manager.cleanup_resources()
    return ""


def ended(kernel: Forked) -> str:
    code = kernel.poll()
    return "it is gone" if code is None else f"exit {code}" if code >= 0 else f"signal {-code}"


def failed_with(cell: NotebookNode, text: str) -> bool:
    errors = [output for output in cell.outputs if output.output_type == "error"]
    return any(e.ename == "AssertionError" and e.evalue == text for e in errors)


def passed(made: NotebookNode) -> dict[str, bool]:
    """Whether the test cell of each exercise ran without an error."""
    found = {}
    for cell in made.cells:
        settings = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and settings.get("grade") and not settings.get("solution"):
            named = CHECK.search(cell.source)
            kinds = {output.output_type for output in cell.outputs}
            if named:
                found[named[1]] = cell.execution_count is not None and "error" not in kinds
    return found


def errors(made: NotebookNode) -> list[Finding]:
    """The first cell that raised an error, test cells aside, for their errors are no surprise."""
    for cell in made.cells:
        if cell.cell_type == "code" and not cell.metadata.get("nbgrader", {}).get("grade"):
            for output in cell.outputs:
                if output.output_type == "error" and output.ename != "KeyboardInterrupt":
                    what = f"{output.ename}: {output.evalue}"[:300]
                    text = f"Cell {cell.get('id')} raises {what} when it is run again."
                    return [Finding("error when run again", text, GRADED)]
    return []


def shorten(cell: NotebookNode) -> None:
    """Cuts long texts among the outputs of a cell, as nbgrader does."""
    for output in cell.get("outputs", []):
        if output.output_type == "stream" and output.text.count("\n") > LINES:
            output.text = "\n".join([*output.text.split("\n")[:LINES], "… output truncated …"])
        elif output.output_type == "error":
            output.traceback = output.traceback[-100:]
