"""What the command line prints: streams that never fail, errors on one line, and a live forecast."""

import os
import re
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress

PLAIN_EVERY = 10.0  # seconds between progress lines where there is no terminal to redraw
ENOUGH = 10.0  # known seconds of finished cells that say something about this machine
BAR_SETTLES = 5.0  # seconds before a progress bar's own forecast is believed: first steps are slow
BAR = re.compile(r"\[((?:\d+:)?\d+:\d+)<((?:\d+:)?\d+:\d+)")  # tqdm's "[elapsed<left"


def open_streams() -> None:
    """Makes stdin, stdout and stderr usable: open, and printing "?" for what they cannot encode."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:  # closed by the caller; the next file opened would take its number
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def close_stdout() -> None:
    """Flushes stdout; if its reader has gone, what is left is dropped without a message."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(error: object, length: int = 200) -> str:
    """The first line of an error, without control characters and at most `length` long."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return "".join(c if c.isprintable() else "?" for c in lines[0])[:length]


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds: 75 is 1:15."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Console:
    """A stream for print(file=...) that drops what cannot be written: a run outlives its terminal."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self.stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()


class Pace:
    """How long cells take on this machine, as a multiple of times known from elsewhere.

    comparable: whether the known times are of the same profile. If so the multiple starts at 1;
    if not there is none until `ENOUGH` seconds of known times have been seen.
    """

    def __init__(self, comparable: bool = True):
        self.seen = [(1.0, ENOUGH)] * comparable  # (multiple, weight)

    def add(self, seconds: float, known: float) -> None:
        """Notes that a cell took `seconds` where `known` were expected."""
        if known > 0:
            self.seen.append((seconds / known, known))

    def multiple(self, *running: tuple[float, float]) -> float | None:
        """The median over cells, each with its known seconds as weight; None if too few are known.

        A median, because one download in a cell of half a second must not stretch the forecast.
        running: (multiple, weight) of the cell that has not ended yet.
        """
        seen = sorted([*self.seen, *running])
        half = sum(weight for _, weight in seen) / 2
        if half < ENOUGH / 2:
            return None
        for multiple, weight in seen:
            half -= weight
            if half <= 0:
                return multiple
        return None


class Progress:
    """The live line of one notebook: name, cell i/n, elapsed, forecast; a terminal redraws it.

    known: expected seconds by cell id, on the machine and profile that `pace` is relative to.
    """

    def __init__(
        self,
        stem: str,
        cells: list[str],
        stream,
        known: dict[str, float],
        pace: Pace | None = None,
        now: Callable[[], float] = time.monotonic,
    ):
        self.stem, self.cells, self.known, self.stream = stem, cells, known, stream
        self.pace, self.now = pace or Pace(), now
        self.seconds: dict[str, float] = {}  # of the cells that ended, by id
        self.current, self.drawn = 0, float("-inf")
        self.began = self.cell_began = now()
        self.bar: tuple[float, float] | None = None  # (when it was printed, seconds left then)
        self.bars_ended = 0

    def start_cell(self, cell_id: str) -> None:
        self.current, self.cell_began = self.cells.index(cell_id), self.now()
        self.bar, self.bars_ended = None, 0

    def end_cell(self, cell_id: str) -> None:
        self.seconds[cell_id] = round(self.now() - self.cell_began, 3)
        self.pace.add(self.seconds[cell_id], self.known.get(cell_id, 0.0))

    def hear(self, text: str) -> None:
        """Takes the forecast of a tqdm bar in what the running cell prints."""
        for bar in BAR.finditer(text):
            elapsed, left = (_seconds(part) for part in bar.groups())
            if left == 0:
                self.bar, self.bars_ended = None, self.bars_ended + 1
            elif elapsed >= BAR_SETTLES:
                self.bar = (self.now(), left)

    def forecast(self) -> float | None:
        """Seconds left, or None while nothing is known.

        The running cell's own progress bar counts first, then the known times at this machine's
        pace; a notebook without known times is forecast from its cells so far.
        """
        spent, bar = self.now() - self.cell_began, None
        if self.bar:
            bar = max(self.bar[1] - (self.now() - self.bar[0]), 0.0)
        times = self.known or self.seconds
        if not times:
            return bar
        multiple = self._multiple(spent, bar) if self.known else 1.0
        if multiple is None:
            return None
        typical = statistics.median(times.values())
        here, *later = (times.get(cell, typical) for cell in self.cells[self.current :])
        left = max(here * multiple - spent, 0.0)
        if bar is not None:  # after a first bar a second covers only a part of the cell
            left = max(bar, left) if self.bars_ended else bar
        return left + multiple * sum(later)

    def _multiple(self, spent: float, bar: float | None) -> float | None:
        """The pace, with what the running cell adds: its bar's forecast, or that it is overdue."""
        multiple, known = self.pace.multiple(), self.known.get(self.cells[self.current], 0.0)
        told = bar is not None and not self.bars_ended
        overdue = multiple is not None and spent > known * multiple
        if known > 0 and (told or overdue):
            return self.pace.multiple(((spent + (bar or 0.0)) / known, known))
        return multiple

    def draw(self) -> None:
        """Prints the line: at each call on a terminal, else every `PLAIN_EVERY` seconds."""
        now, live = self.now(), self.stream.isatty()
        if not self.cells or (not live and now - self.drawn < PLAIN_EVERY):
            return
        self.drawn, left = now, self.forecast()
        line = f"{self.stem}  cell {self.current + 1}/{len(self.cells)}"
        line += f"  {clock(now - self.began)} elapsed"
        line += "" if left is None else f"  about {clock(left)} left"
        width = shutil.get_terminal_size().columns - 1
        text, end = (f"\r\x1b[K{line[:width]}", "") if live else (line, "\n")
        print(text, end=end, file=self.stream, flush=True)


def _seconds(text: str) -> float:
    """Seconds of tqdm's clock, e.g. 4:05 or 1:04:05."""
    total = 0
    for part in text.split(":"):
        total = 60 * total + int(part)
    return float(total)
