"""Streams that never fail, and a forecast that holds on machines of any speed."""

import io
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.console import ENOUGH, Progress, one_line, say

SAME = [1.0] * ENOUGH  # times of the same profile: as fast as they say, until more is known
ROOT = Path(__file__).resolve().parents[1]


class Clock:
    """A time that only moves when it is told to."""

    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time


def bar(elapsed: float, left: float) -> str:
    """What tqdm prints in the middle of its work."""

    def text(seconds):
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"

    return f"\rGANs:  40%|████      | 2/5 [{text(elapsed)}<{text(left)}, 15.5s/it]"


def forecasts(cells, known, pace=None, bars=False):
    """(elapsed, forecast, truly left) at each second of a notebook whose cells take `cells`."""
    now, names = Clock(), [str(i) for i in range(len(cells))]
    times = dict(zip(names, known, strict=True)) if known else {}
    pace = list(SAME) if pace is None else pace
    progress = Progress("00", names, io.StringIO(), times, pace, now)
    began, total = now(), sum(cells)
    rows = []
    for name, seconds in zip(names, cells, strict=True):
        progress.start_cell(name)
        start = now()
        while now() < start + seconds:
            now.time = min(now.time + 1, start + seconds)
            if bars and seconds > 20:
                progress.hear(bar(now() - start, start + seconds - now()))
            rows.append((now() - began, progress.forecast(), total - (now() - began)))
        progress.end_cell(name)
    return rows


def misses(rows, after=60.0):
    """Rows from the first minute on in which the expected duration is wrong by more than 1.5."""
    return [
        (elapsed, told, left)
        for elapsed, told, left in rows
        if elapsed >= after and not 1 / 1.5 <= (elapsed + (told or 1e-9)) / (elapsed + left) <= 1.5
    ]


KNOWN = [4.0, 1.0, 9.0, 2.0, 180.0, 3.0, 1.0, 100.0, 4.0, 5.0]


@pytest.mark.parametrize("factor", [0.25, 0.7, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("long_bars", [True, False])
def test_committed_times_forecast_a_machine_of_another_speed(factor, long_bars):
    cells = [factor * seconds for seconds in KNOWN]
    assert misses(forecasts(cells, KNOWN, bars=long_bars)) == []


def test_a_download_in_a_short_cell_does_not_stretch_the_forecast():
    cells = [12.0, 60.0, *KNOWN[2:]]
    rows = forecasts(cells, KNOWN)
    assert misses(rows) == []


def test_a_bar_tells_of_a_slow_machine_within_the_first_long_cell():
    known = [2.0, 300.0, 300.0]
    rows = forecasts([6.0, 900.0, 900.0], known, bars=True)
    assert misses(rows) == [] and misses(rows, after=15) == []
    assert misses(forecasts([6.0, 900.0, 900.0], known)), "without a bar it cannot be known"


def test_the_pace_of_earlier_notebooks_is_that_of_the_next():
    pace = list(SAME)
    forecasts([3 * seconds for seconds in KNOWN], KNOWN, pace)
    rows = forecasts([3 * seconds for seconds in KNOWN], KNOWN, pace)
    assert misses(rows, after=0) == []


def test_times_of_another_profile_are_scaled_and_nothing_is_told_before_that():
    cells = [seconds / 30 for seconds in KNOWN]
    rows = forecasts(cells, KNOWN, [])
    assert rows[0][1] is None
    last = rows[-1]
    assert last[1] == pytest.approx(last[2], abs=1.0)


def test_the_forecast_is_that_of_the_bar_until_it_ends():
    now = Clock()
    progress = Progress("00", ["a", "b"], io.StringIO(), {"a": 100.0, "b": 10.0}, list(SAME), now)
    progress.start_cell("a")
    now.time += 4
    progress.hear(bar(4, 400))
    assert progress.forecast() == 96 + 10, "first steps are slow: such a bar is not believed"
    now.time += 26
    progress.hear("no bar [1:2] <3>\n")
    progress.hear(bar(30, 70))
    assert progress.forecast() == 70 + 10
    now.time += 20
    assert progress.forecast() == 50 + 10, "it counts down while the bar does not move"
    now.time += 20
    progress.hear(bar(70, 0))
    assert progress.forecast() == 30 + 10
    progress.hear(bar(6, 6))
    assert progress.forecast() == 30 + 10, "a second bar is only a part of the cell"
    progress.hear(bar(6, 3700))
    assert progress.forecast() >= 3700 + 10, "but the cell takes no less"


def test_a_notebook_without_known_times_is_forecast_from_its_cells_so_far():
    now = Clock()
    progress = Progress("00", ["a", "b", "c"], io.StringIO(), {}, [], now)
    assert progress.forecast() is None
    progress.start_cell("a")
    now.time += 6
    progress.end_cell("a")
    progress.start_cell("b")
    assert progress.forecast() == 12


@pytest.mark.parametrize("live", [True, False])
def test_the_line_is_redrawn_on_a_terminal_and_printed_now_and_then_elsewhere(live):
    stream, now = io.StringIO(), Clock()
    stream.isatty = lambda: live
    progress = Progress("00_x", ["a", "b"], stream, {"a": 60.0, "b": 30.0}, list(SAME), now)
    for _ in range(4):
        progress.draw()
        now.time += 4
    lines = ["00_x  cell 1/2  0:00 elapsed  about 1:30 left"]
    if live:
        assert stream.getvalue().count("\r\x1b[K") == 4 and "\n" not in stream.getvalue()
    else:
        lines += ["00_x  cell 1/2  0:12 elapsed  about 1:18 left"]
        assert stream.getvalue().splitlines() == lines
    assert lines[0] in stream.getvalue()


def test_what_cannot_be_written_is_dropped():
    class Gone(io.StringIO):
        def write(self, text=""):
            raise BrokenPipeError

        flush = write

    say("x", Gone())
    closed = io.StringIO()
    closed.close()
    say("x", closed)


def test_an_error_is_one_short_line_without_control_characters():
    assert one_line("\n bad \x1b[31mname\udc80\nmore") == "bad ?[31mname?"
    assert one_line(ValueError()) == "ValueError" and len(one_line("x" * 1000)) == 200


def labkit(*arguments: str, shell: str = "{}", **env: str) -> subprocess.CompletedProcess:
    command = shell.format(" ".join([sys.executable, "-m", "labkit", *arguments]))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    options = {"capture_output": True, "text": True, "errors": "replace"}
    return subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, timeout=120, **options
    )


PROGRAM = """import sys, types
import labkit.__main__ as cli
runner = types.ModuleType("labkit.runner")
class RunError(Exception): pass
def main(*arguments):
    print("caf\\u00e9 \\u2192 \\u00d7")
    {body}
    return 0
runner.pick_notebooks, runner.RunError = main, RunError
runner.run = lambda *arguments, **more: 0
sys.modules["labkit.runner"] = runner
import labkit
labkit.runner = runner
sys.exit(cli.main(["run"]))
"""


def run_program(body: str, shell: str = "", **env: str) -> subprocess.CompletedProcess:
    code = PROGRAM.format(body=body)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CODE": code, **env}
    command = f'{sys.executable} -c "$CODE" {shell}'
    options = {"capture_output": True, "text": True, "errors": "replace"}
    return subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, timeout=60, **options)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_that_lacks_a_character_prints_a_question_mark(encoding):
    done = run_program("pass", PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and "? " in done.stdout and "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", [">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_streams_are_opened_so_that_no_other_file_takes_their_numbers(shell):
    body = "import os; [os.fstat(i) for i in range(3)]; assert open(os.devnull).fileno() > 2"
    done = run_program(body, shell)
    assert done.returncode == 0 and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        ("raise KeyboardInterrupt", 130, "labkit: stopped by Ctrl-C"),
        ("raise RunError('use --out')", 2, "labkit: use --out"),
        ("raise RuntimeError('operator nms\\nline 2')", 2, "labkit: RuntimeError: operator nms"),
        ("import nosuchthing", 2, "labkit: ModuleNotFoundError: No module named 'nosuchthing'"),
    ],
)
def test_whatever_stops_a_command_is_one_line(body, status, line):
    done = run_program(body.replace("\n", "\\n"))
    assert done.returncode == status
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith(line)


def test_a_reader_that_has_gone_is_no_error():
    body = "[print('line', i, flush=True) for i in range(100_000)]"
    for shell, text in itertools.product(["| head -1", "2>&1 | head -1"], [body, "pass"]):
        done = run_program(text, shell)
        assert done.stdout.count("\n") == 1 and done.stderr == ""
    assert labkit("--help", shell="{} | true").stderr == ""


def test_no_command_at_all_prints_the_help():
    done = labkit()
    assert done.returncode == 0 and "doctor" in done.stdout and done.stderr == ""
