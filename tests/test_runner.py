"""The runner: every notebook gets its turn, its files and a true line in the summary, whatever
happens to it.
"""

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labkit import execute, pages, runner
from labkit.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
RECORD = """import json, os, pathlib, sys
metrics = {"accuracy": 0.99954, "python": sys.executable}
record = {"notebook": "NAME", "profile": os.environ["LABKIT_PROFILE"], "data": "stand-in",
"metrics": metrics} pathlib.Path(os.environ["LABKIT_RESULTS"],
"NAME.json").write_text(json.dumps(record))
"""
LESSON = r"""# Gates
[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/a/b)

Of $W_{gx}$, priced at \$5, `$PATH` and `$HOME`.

$$\begin{aligned} c_t &= g_t \odot i_t + c_{t-1} \odot f_t \\ h_t &= \tanh(c_t) \odot o_t \end{aligned}$$

```python
fenced = "$x$"
```
"""


def notebook(folder: Path, stem: str, *cells: str) -> Path:
    """Writes a notebook with stale outputs: `cells` that begin with # are Markdown, NAME stands for its stem."""
    stale = [new_output("stream", name="stdout", text="of an earlier run\n")]
    made = [
        new_markdown_cell(c)
        if c.startswith("#")
        else new_code_cell(c.replace("NAME", stem), outputs=stale)
        for c in cells
    ]
    metadata = {
        "kernelspec": {"name": "nobody-registered-this", "display_name": "", "language": "python"},
        "widgets": {},
    }
    nbformat.write(new_notebook(cells=made, metadata=metadata), folder / f"{stem}.ipynb")
    return folder / f"{stem}.ipynb"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(exit status, results folder, printed text) of one run over a notebook of each kind, after an earlier run left a record of each."""
    folder, out = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("results")
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    notebook(folder, "00_good", LESSON, plot, RECORD)
    notebook(folder, "01_fails", "print('kept')", RECORD, "1 / 0", "print('never')")
    notebook(folder, "02_dies", "import os; os._exit(9)")
    notebook(folder, "03_silent", "print(1)")
    (folder / "04_broken.ipynb").write_text('{"cells": [')
    for path in folder.glob("*.ipynb"):
        (out / f"{path.stem}.json").write_text('{"metrics": {"accuracy": 0.123}}')
    foreign = tmp_path_factory.mktemp("jupyter") / "kernels" / "python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text(
        '{"argv": ["/another/venv/bin/python"], "display_name": "", "language": "python"}'
    )
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(foreign.parents[1]))
        status = runner.run(runner.pick_notebooks(folder, []), out, "smoke", printed)
    return status, out, printed.getvalue()


def line_of(printed: str, stem: str) -> str:
    table = printed[printed.index("key metrics") :]
    return next(line for line in table.splitlines() if line.startswith(stem))


def test_one_failure_makes_the_status_1_and_stops_nobody(finished):
    status, _, printed = finished
    assert status == 1
    assert [line_of(printed, stem).split("  ")[0] for stem in ("00", "01", "02", "03", "04")]


def test_a_good_notebook_leaves_its_files_and_its_record(finished):
    _, out, printed = finished
    record = json.loads((out / "00_good.json").read_text())
    assert record["profile"] == "smoke"
    assert os.path.samefile(record["metrics"]["python"], sys.executable)
    assert nbformat.read(out / "00_good.ipynb", as_version=4).cells[2].execution_count == 2
    assert "passed" in line_of(printed, "00_good") and "accuracy 0.9995" in line_of(
        printed, "00_good"
    )
    assert 'href="00_good.html"' in (out / "summary.html").read_text()


def test_a_failure_is_named_by_notebook_cell_and_error_and_kept_as_far_as_it_came(finished):
    _, out, printed = finished
    assert "01_fails: failed: cell 3: ZeroDivisionError: division by zero" in printed
    assert "cell 3: ZeroDivisionError" in (out / "summary.html").read_text()
    cells = nbformat.read(out / "01_fails.ipynb", as_version=4).cells
    assert cells[0].outputs[0].text == "kept\n" and cells[3].outputs == []
    assert "ZeroDivisionError" in (out / "01_fails.html").read_text()


def test_a_dead_kernel_and_a_broken_file_are_told_with_a_remedy(finished):
    _, _, printed = finished
    assert re.search(r"02_dies: failed: cell 1: the kernel died.*--profile smoke", printed)
    assert re.search(
        r"04_broken: failed: .*04_broken.ipynb is not a readable notebook.*git checkout", printed
    )


def test_a_record_of_an_earlier_run_never_passes_for_new(finished):
    _, out, printed = finished
    assert "0.123" not in printed + (out / "summary.html").read_text()
    assert "no record" in line_of(printed, "03_silent") and not (out / "03_silent.json").exists()
    assert "0.123" in (out / "previous" / "03_silent.json").read_text()


def test_executed_notebooks_carry_no_widget_state_and_no_part_files_stay(finished):
    _, out, _ = finished
    assert "widgets" not in nbformat.read(out / "00_good.ipynb", as_version=4).metadata
    assert not list(out.glob(".*"))


def test_pages_load_nothing_and_show_pictures_and_equations_offline(finished):
    _, out, _ = finished
    for page in out.glob("*.html"):
        text = page.read_text()
        assert (
            "<script" not in text
            and "<link" not in text
            and not re.search(r"""(src=["']|@import|url\(["']?)https?:""", text)
        )
    text = (out / "00_good.html").read_text()
    assert 'src="data:image/png;base64,' in text and text.count("<math") == 2
    assert "<mi>&</mi>" not in text and text.count("<mtr>") == 2, (
        "the aligned equation has two rows"
    )
    assert "priced at $5" in text and "$PATH" in text and "$x$" in text
    assert ">Open In Colab</a>" in text, "a badge of the web becomes its text"


def test_tex_that_cannot_be_drawn_stays_tex():
    assert pages.equation(r"\left( 1", "inline") == r"<code>\left( 1</code>"
    assert pages.equation(r"\nosuchthing x < 1", "inline") == r"<code>\nosuchthing x &lt; 1</code>"


def test_cell_times_of_an_earlier_run_are_the_forecast(finished, monkeypatch):
    _, out, _ = finished
    cells = nbformat.read(out / "00_good.ipynb", as_version=4).cells
    assert set(runner.earlier_times(out / "00_good.ipynb")) == {
        cell.id for cell in cells if cell.cell_type == "code"
    }
    assert runner.earlier_times(out / "04_broken.ipynb") == {}
    now = 100.0
    monkeypatch.setattr(execute.time, "monotonic", lambda: now)
    progress = execute.Progress(
        "00", ["a", "b", "c"], {"a": 10.0, "b": 20.0, "c": 40.0}, io.StringIO()
    )
    progress.start_cell("b")
    now = 105.0
    assert progress.forecast() == 15 + 40
    fresh = execute.Progress("00", ["a", "b", "c"], {}, io.StringIO())
    assert fresh.forecast() is None
    now = 111.0
    fresh.end_cell("a")
    fresh.start_cell("b")
    assert fresh.forecast() == 12, "two of three cells are left, the first took 6 s"


def test_notebooks_are_picked_by_number_or_name(tmp_path):
    for stem in ("00_data", "01_lstm", "04_gan"):
        notebook(tmp_path, stem)

    def picked(*picks):
        return [path.stem for path in runner.pick_notebooks(tmp_path, list(picks))]

    assert picked() == ["00_data", "01_lstm", "04_gan"]
    assert picked("04", "1") == picked("04_g", "notebooks/01_lstm.ipynb") == ["01_lstm", "04_gan"]
    with pytest.raises(runner.RunError, match="'7'; there are: 00_data, 01_lstm, 04_gan"):
        picked("00", "7")
    with pytest.raises(runner.RunError, match="clone"):
        runner.pick_notebooks(tmp_path / "nowhere", [])


def test_an_unknown_profile_names_the_three(capsys, monkeypatch):
    assert main(["run", "--profile", "bad"]) == 2
    assert re.search("bad.*smoke.*cpu.*full", capsys.readouterr().err)
    monkeypatch.setenv("LABKIT_PROFILE", "worse")
    assert main(["run"]) == 2
    assert re.search("worse.*smoke.*cpu.*full", capsys.readouterr().err)


def test_a_folder_that_cannot_be_written_is_told_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("in the way")
    path = notebook(tmp_path, "00_x", f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(runner.RunError, match=r"cannot write .*file.*--out DIR"):
        runner.run([path], tmp_path / "file" / "results", "smoke", io.StringIO())
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    runner.save(tmp_path / "page.html", "old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(
        runner.RunError, match="No space left on device.*Free some space.*--out DIR"
    ):
        runner.save(tmp_path / "page.html", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"] and (
        tmp_path / "page.html"
    ).read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to one process on Windows")
def test_ctrl_c_ends_the_kernel_and_keeps_what_is_done(tmp_path):
    pid = tmp_path / "pid"
    sleep = f"import os, pathlib, time\npathlib.Path({str(tmp_path / 'part')!r}).write_text(str(os.getpid()))\n"
    sleep += f"os.replace({str(tmp_path / 'part')!r}, {str(pid)!r})\ntime.sleep(120)"
    paths = [
        notebook(tmp_path, "00_stopped", "print('kept')", sleep),
        notebook(tmp_path, "01_later", RECORD),
    ]
    code = "import sys; from pathlib import Path; from labkit.runner import run; "
    code += f"sys.exit(run([Path(p) for p in {[str(p) for p in paths]}], Path({str(tmp_path / 'out')!r}), 'smoke'))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        for _ in range(600):
            if pid.exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    assert "interrupted" in line_of(printed, "00_stopped") and "not run" in line_of(
        printed, "01_later"
    )
    assert (
        nbformat.read(tmp_path / "out" / "00_stopped.ipynb", as_version=4).cells[0].outputs[0].text
        == "kept\n"
    )
    assert "interrupted" in (tmp_path / "out" / "summary.html").read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
