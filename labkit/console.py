"""What the command line prints: streams that do not fail, errors on one line, a live forecast."""

import os
import re
import shutil
import statistics
import sys
import time
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate

PLAIN_EVERY = 10.0  # seconds between progress lines where there is no terminal to redraw
ENOUGH = 10.0  # known seconds of finished cells that say something about this machine
BAR_SETTLES = 5.0  # seconds before a progress bar's own forecast is believed: first steps are slow
BAR = re.compile(r"\[((?:\d+:)?\d+:\d+)<((?:\d+:)?\d+:\d+)")  # tqdm's "[elapsed<left"


def open_streams() -> None:
    """Opens closed standard streams; stdout and stderr print "?" for what they cannot encode."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed; the next file opened would take its number
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
            os.set_inheritable(getattr(sys, name).fileno(), True)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def close_stdout() -> None:
    """Flushes stdout; if its reader has gone, what is left is dropped without a message."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str, stream, end: str = "\n") -> None:
    """Prints to a stream that may have gone: a run outlives its terminal."""
    with suppress(OSError, ValueError):
        print(text, end=end, file=stream, flush=True)


def one_line(error: object, length: int = 200) -> str:
    """The first line of an error, without control characters and at most `length` long."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return "".join(c if c.isprintable() else "?" for c in lines[0])[:length]


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds: 75 is 1:15."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def weighted_median(pairs: list[tuple[float, float]]) -> float:
    """The value with half of the weight at or below it, of (value, weight) pairs."""
    ordered = sorted(pairs)
    sums = list(accumulate(weight for _, weight in ordered))
    return ordered[bisect_left(sums, sums[-1] / 2)][0]


class Progress:
    """The live line of one notebook: name, cell i/n, elapsed, forecast; a terminal redraws it.

    known: expected seconds by cell id. pace: how long cells took on this machine, as (multiple of
    the known seconds, known seconds); cells that end are added, so that the next notebook profits.
    """

    def __init__(
        self,
        stem: str,
        cells: list[str],
        stream,
        known: dict[str, float],
        pace: list[tuple[float, float]],
        now: Callable[[], float] = time.monotonic,
    ):
        self.stem, self.cells, self.stream, self.now = stem, cells, stream, now
        self.known, self.pace = known, pace
        self.seconds: dict[str, float] = {}  # of the cells that ended, by id
        self.current, self.drawn = 0, float("-inf")
        self.began = self.cell_began = now()
        self.bar: tuple[float, float] | None = None  # (when it was printed, seconds left then)
        self.bars_ended = 0

    def start_cell(self, cell_id: str) -> None:
        self.current, self.cell_began = self.cells.index(cell_id), self.now()
        self.bar, self.bars_ended = None, 0

    def end_cell(self, cell_id: str) -> None:
        seconds = self.seconds[cell_id] = round(self.now() - self.cell_began, 3)
        if known := self.known.get(cell_id):
            self.pace.append((seconds / known, known))

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
            bar = max(sum(self.bar) - self.now(), 0.0)
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
        """How much slower than known this machine is; None before `ENOUGH` has been seen.

        A median, because one download in a cell of half a second must not stretch the forecast.
        The running cell counts if its bar tells how long it takes, or if it is overdue.
        """
        known = self.known.get(self.cells[self.current], 0.0)
        running = (spent + (bar or 0.0)) / known if known else 0.0
        seen, told = list(self.pace), known and bar is not None and not self.bars_ended
        if told or (seen and running > weighted_median(seen)):
            seen.append((running, known))
        return weighted_median(seen) if sum(weight for _, weight in seen) >= ENOUGH else None

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
        say(f"\r\x1b[K{line[:width]}" if live else line, self.stream, end="" if live else "\n")


def _seconds(text: str) -> float:
    """Seconds of tqdm's clock, e.g. 4:05 or 1:04:05."""
    parts = [float(part) for part in text.split(":")]
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))
