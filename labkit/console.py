"""What the command line prints: streams that do not fail, errors on one line, a live forecast."""

import os
import re
import shutil
import statistics
import sys
import time
from contextlib import suppress

PLAIN_EVERY = 10.0  # seconds between progress lines where there is no terminal to redraw
ENOUGH = 10  # known seconds of finished cells that say something about this machine
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


class Progress:
    """The live line of one notebook: name, cell i/n, elapsed, forecast; a terminal redraws it.

    known: expected seconds by cell id. pace: how many times longer cells took on this machine, once
    for each known second; cells that end are added, so that the next notebook profits.
    """

    def __init__(
        self, stem: str, cells: list[str], stream, known: dict, pace: list, now=time.monotonic
    ):
        self.stem, self.cells, self.stream, self.now = stem, cells, stream, now
        self.known, self.pace = known, pace
        self.seconds: dict[str, float] = {}  # of the cells that ended, by id
        self.current, self.drawn = 0, float("-inf")
        self.began = self.cell_began = now()
        self.bar_ends: float | None = None  # when a progress bar of this cell says it will end
        self.first_bar = True

    def start_cell(self, cell_id: str) -> None:
        self.current, self.cell_began = self.cells.index(cell_id), self.now()
        self.bar_ends, self.first_bar = None, True

    def end_cell(self, cell_id: str) -> None:
        self.seconds[cell_id] = round(self.now() - self.cell_began, 3)
        self.pace += self._pace_of(cell_id, self.seconds[cell_id])

    def hear(self, text: str) -> None:
        """Takes the forecast of a tqdm bar in what the running cell prints."""
        for bar in BAR.findall(text):
            elapsed, left = map(_seconds, bar)
            if left == 0:
                self.bar_ends, self.first_bar = None, False
            elif elapsed >= BAR_SETTLES:
                self.bar_ends = self.now() + left

    def forecast(self) -> float | None:
        """Seconds left, or None while nothing is known.

        The known times are scaled by the median pace: one download in a cell of half a second must
        not stretch the forecast. The first progress bar of the running cell tells when that ends.
        A notebook without known times is forecast from its cells so far.
        """
        spent = self.now() - self.cell_began
        bar = max(self.bar_ends - self.now(), 0.0) if self.bar_ends else None
        times = self.known or self.seconds
        pace = self.pace if self.known else [1.0] * ENOUGH
        if not times:
            return bar
        whole = bar is not None and self.first_bar  # a second bar covers only a part of the cell
        if whole:
            pace = pace + self._pace_of(self.cells[self.current], spent + bar)
        if len(pace) < ENOUGH:
            return None
        multiple, typical = statistics.median(pace), statistics.median(times.values())
        here, *later = (multiple * times.get(cell, typical) for cell in self.cells[self.current :])
        return (bar if whole else max(here - spent, bar or 0.0)) + sum(later)

    def _pace_of(self, cell_id: str, seconds: float) -> list[float]:
        known = self.known.get(cell_id, 0.0)
        return [seconds / known] * round(known) if known else []

    def draw(self) -> None:
        """Prints the line: at each call on a terminal, else every `PLAIN_EVERY` seconds."""
        now, live = self.now(), self.stream.isatty()
        if not self.cells or (not live and now - self.drawn < PLAIN_EVERY):
            return
        self.drawn, left = now, self.forecast()
        place = f"{self.stem}  cell {self.current + 1}/{len(self.cells)}"
        line = f"{place}  {clock(now - self.began)} elapsed"
        line += "" if left is None else f"  about {clock(left)} left"
        width = shutil.get_terminal_size().columns - 1
        say(f"\r\x1b[K{line[:width]}" if live else line, self.stream, end="" if live else "\n")


def _seconds(text: str) -> int:
    """Seconds of tqdm's clock, e.g. 4:05 or 1:04:05."""
    return sum(60**power * int(part) for power, part in enumerate(reversed(text.split(":"))))
