"""Processes that are forked to run a student's code, and what they say, which is data alone."""

import base64
import contextlib
import json
import math
import os
import resource
import secrets
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from labkit.exercises.core import Observation, Raised

LINE = 64 * 2**20  # bytes of a child's longest message
LARGEST = 16 * 2**20  # bytes of a tensor in a message
MEMORY = 3 * 2**30  # bytes of address space that a child may add to what it was forked with
DTYPES = {
    name: kind
    for name, kind in vars(torch).items()
    if isinstance(kind, torch.dtype) and not name.startswith(("q", "bits"))
}
Say = Callable[[dict[str, Any]], None]
private: list[int] = []  # descriptors of this process that no child keeps


@dataclass
class Child:
    """A forked process. pipe: where its messages arrive; token: what each of them begins with."""

    pid: int
    pipe: int
    token: bytes


def write(descriptor: int, text: bytes) -> None:
    left = memoryview(text)
    while left:
        left = left[os.write(descriptor, left) :]


def fork(work: Callable[[], None]) -> int:
    """Runs `work` in a child without this process's input and output; returns its number."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        for descriptor in private:
            os.close(descriptor)
        nothing = os.open(os.devnull, os.O_RDWR)
        for usual in (0, 1, 2):
            os.dup2(nothing, usual)
        with open("/proc/self/statm") as file:
            most = int(file.read().split()[0]) * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        work()
        status = 0
    finally:
        os._exit(status)


def start(work: Callable[[Say], None]) -> Child:
    """Forks a child whose messages arrive in a pipe."""
    reading, writing = os.pipe()
    token = secrets.token_hex(8).encode()

    def run() -> None:
        os.close(reading)
        work(lambda message: write(writing, token + json.dumps(message).encode() + b"\n"))

    pid = fork(run)
    os.close(writing)
    return Child(pid, reading, token)


def messages(child: Child, seconds: float) -> Iterator[dict[str, Any]]:
    """What a child says, and at last {"what": "end", "why": …}, with "" if it was done.

    seconds: how long it may take to its next "begin", "done" or end. The child is ended then, and
    also if a message is not its own harness's ("forged") or too long ("output").
    """
    try:
        why = yield from _heard(child, seconds)
    finally:  # also where nobody listens any longer
        how = end(child.pid)
        os.close(child.pipe)
    yield {"what": "end", "why": how if why == "ended" else why}


def _heard(child: Child, seconds: float) -> Iterator[dict[str, Any]]:
    """What a child says; returns why no more is heard: "" after "done", "ended" after its end."""
    rest, deadline = b"", time.monotonic() + seconds
    while True:
        left = max(0.0, deadline - time.monotonic())
        if not select.select([child.pipe], [], [], left)[0]:
            return "time"
        piece = os.read(child.pipe, 2**20)
        *lines, rest = (rest + piece).split(b"\n")
        for message in (_understood(line, child.token) for line in lines):
            if message is None:
                return "forged"
            yield message
            deadline = time.monotonic() + seconds if message["what"] == "begin" else deadline
            if message["what"] == "done":
                return ""
        if not piece or len(rest) > LINE:
            return "output" if piece else "ended"


def _understood(line: bytes, token: bytes) -> dict[str, Any] | None:
    """A message, or None if it is not from the child's own harness."""
    if not line.startswith(token):
        return None
    try:
        message = json.loads(line[len(token) :])
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and "what" in message else None


def end(pid: int) -> str:
    """Ends a child with all its group, and says how it had ended: "exit 3", "signal 11"."""
    number, status = 0, 0
    for _ in range(50):  # it may be about to end by itself
        number, status = os.waitpid(pid, os.WNOHANG)
        if number:
            break
        time.sleep(0.01)
    for kill in (os.killpg, os.kill)[: 1 if number else 2]:  # it may have left its group
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while not number and time.monotonic() < until:
        time.sleep(0.002)
        number, status = os.waitpid(pid, os.WNOHANG)
    if not number:
        return "signal 9"  # on its way, for it was sent
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit {code}"


# ── observations as JSON ──


def packed(found: list[Observation]) -> list[dict[str, Any]]:
    """Observations as what JSON can hold."""
    return [{name: _pack(value) for name, value in seen.items()} for seen in found]


def _pack(value: Any) -> Any:
    if isinstance(value, Raised):
        return {"kind": value.kind, "text": value.text, "where": value.where}
    if not isinstance(value, torch.Tensor):
        return value
    if value.numel() * value.element_size() > LARGEST:
        return f"a tensor of {value.numel():,} numbers"
    raw = value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    kind = str(value.dtype).removeprefix("torch.")
    return {"dtype": kind, "shape": list(value.shape), "bytes": base64.b64encode(raw).decode()}


def unpacked(given: Any) -> list[Observation]:
    """Observations from JSON. Raises ValueError for anything else: it may be a student's."""
    try:
        return [_observation(seen) for seen in given]
    except (TypeError, KeyError, AttributeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"no observation: {error}") from None


def _observation(given: dict[str, Any]) -> Observation:
    seen = {name: _unpack(value) for name, value in given.items()}
    if "raised" in seen and not isinstance(seen["raised"], Raised):
        raise ValueError("an error that is none")
    if any(isinstance(v, Raised) and name != "raised" for name, v in seen.items()):
        raise ValueError("an error in another place")
    return seen


def _unpack(value: Any) -> Any:
    if isinstance(value, bool | int | float | str | None):
        return value
    if "kind" in value:
        return Raised(*(str(value[part]) for part in ("kind", "text", "where")))
    shape, kind = [int(n) for n in value["shape"]], DTYPES[value["dtype"]]
    raw = base64.b64decode(value["bytes"], validate=True)
    if math.prod(shape) * kind.itemsize != len(raw) or min(shape, default=0) < 0:
        raise ValueError("a tensor of another size")
    if not raw:
        return torch.empty(shape, dtype=kind)
    numbers = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
    if kind is torch.bool:
        return numbers.ne(0).view(shape)
    return numbers.view(kind).view(shape)
