"""The runner: every notebook gets its turn, its files and a true line in the summary, whatever
happens to it.
"""

import base64
import errno
import html
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
import numpy as np
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from labkit import execute, folders, pages, results, runner
from labkit.__main__ import main
from labkit.console import ENOUGH

ROOT = Path(__file__).resolve().parents[1]
RECORD = """import json, os, pathlib, sys
metrics = {"final_accuracy": 0.99954, "python": sys.executable}
claim = {"claim": "it < learns", "reported": "99 %", "reproduced": "98 %"}
verdicts = ["holds", "holds along the cell; but", "not tested: 2 of 9 epochs", "not tested: 1 of 9"]
record = {"notebook": "NAME", "profile": os.environ["LABKIT_PROFILE"], "data": "stand-in",
    "seeds": [0, 7], "machine": "a machine", "metrics": metrics | {"b_f = 3": 0.5},
    "claims": [claim | {"verdict": verdict} for verdict in verdicts]}
pathlib.Path(os.environ["LABKIT_RESULTS"], "NAME.json").write_text(json.dumps(record))
"""
LESSON = r"""# Gates
[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/a/b)

Of $W_{gx}$, priced at \$5, `$PATH` and `$HOME`.

$$\begin{aligned} c_t &= g_t \odot i_t + c_{t-1} \odot f_t \\
h_t &= \tanh(c_t) \odot o_t \end{aligned}$$

```python
fenced = "$x$"
```
"""


def notebook(folder: Path, stem: str, *cells: str) -> Path:
    """A notebook with stale outputs; cells that begin with # are Markdown, NAME is its stem."""
    stale = [new_output("stream", name="stdout", text="of an earlier run\n")]
    made = [
        new_markdown_cell(c)
        if c.startswith("#")
        else new_code_cell(c.replace("NAME", stem), outputs=stale)
        for c in cells
    ]
    kernel = {"name": "nobody-registered-this", "display_name": "", "language": "python"}
    metadata = {"kernelspec": kernel, "widgets": {}}
    nbformat.write(new_notebook(cells=made, metadata=metadata), folder / f"{stem}.ipynb")
    return folder / f"{stem}.ipynb"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(exit status, results, printed text) of a run over a notebook of each kind.

    An earlier run had left a record of each.
    """
    folder, out = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("results")
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    show = """from IPython.display import display
alt = {"alt": 'Loss < 1 "nat"'}
display({"image/png": "iVBORw0KGgo="}, raw=True, metadata={"image/png": alt})"""
    notebook(folder, "00_good", LESSON, plot, show, RECORD)
    notebook(folder, "01_fails", "print('kept')", RECORD, "1 / 0", "print('never')")
    notebook(folder, "02_dies", "import os; os._exit(9)")
    notebook(folder, "03_silent", "print(1)")
    (folder / "04_broken.ipynb").write_text('{"cells": [')
    for path in folder.glob("*.ipynb"):
        (out / f"{path.stem}.json").write_text('{"metrics": {"accuracy": 0.123}}')
    earlier = new_notebook(metadata={"labkit": {"status": "passed", "date": "1999-12-31 23:59"}})
    nbformat.write(earlier, out / "09_earlier.ipynb")
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


def test_a_result_knows_its_profile_date_machine_and_cell_times(finished):
    _, out, _ = finished
    result = nbformat.read(out / "00_good.ipynb", as_version=4)
    facts = runner.facts_of(out / "00_good.ipynb")
    assert (facts["profile"], facts["status"]) == ("smoke", "passed")
    assert facts["date"] and facts["machine"] and "detail" not in facts
    code = {cell.id for cell in result.cells if cell.cell_type == "code"}
    assert set(facts["cell_seconds"]) == code
    assert runner.facts_of(out / "04_broken.ipynb") == {}


def test_a_good_notebook_leaves_its_files_and_its_record(finished):
    _, out, printed = finished
    record = json.loads((out / "00_good.json").read_text())
    assert record["profile"] == "smoke"
    assert os.path.samefile(record["metrics"]["python"], sys.executable)
    assert nbformat.read(out / "00_good.ipynb", as_version=4).cells[3].execution_count == 3
    assert "passed" in line_of(printed, "00_good") and "final accuracy 0.9995" in line_of(
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


def test_pictures_of_a_page_have_the_alternative_text_of_their_output(finished):
    page = (finished[1] / "00_good.html").read_text()
    _, picture = re.findall(r'<img[^>]*src="data:image/png[^>]*>', page)
    assert re.search(r"""alt=["']Loss < 1 "nat["']""", html.unescape(picture))


def test_tex_that_cannot_be_drawn_stays_tex():
    assert "<mi>log</mi><mspace" in pages.equation(r"\log D", "inline")
    assert pages.equation(r"\left( 1", "inline") == r"<code>\left( 1</code>"
    assert pages.equation(r"\nosuchthing x < 1", "inline") == r"<code>\nosuchthing x &lt; 1</code>"


def test_cell_times_come_from_the_last_good_run_here_else_from_the_committed_notebook(tmp_path):
    path = notebook(tmp_path, "00_x", "1")
    this = runner.Run(tmp_path / "out", "smoke", None, None)
    assert runner.known_times(path, this)[0] == {}

    def write(path, profile, seconds, status="passed"):
        facts = {"profile": profile, "status": status}
        facts["cell_seconds"] = {"a": seconds, "b": "odd"}
        nbformat.write(new_notebook(metadata={"labkit": facts}), path)

    write(path, "cpu", 60.0)
    assert runner.known_times(path, this) == ({"a": 60.0}, []), "a pace must be found first"
    write(path, "smoke", 6.0)
    times, committed = runner.known_times(path, this)
    assert times == {"a": 6.0} and committed == [1.0] * ENOUGH
    (tmp_path / "out" / "previous").mkdir(parents=True)
    write(tmp_path / "out" / "previous" / "00_x.ipynb", "smoke", 1.0, status="interrupted")
    assert runner.known_times(path, this)[0] == {"a": 6.0}
    write(tmp_path / "out" / "previous" / "00_x.ipynb", "smoke", 9.0)
    times, here = runner.known_times(path, this)
    assert times == {"a": 9.0} and here == committed and here is not committed
    assert runner.known_times(path, this)[1] is here, "the next notebook goes on from this pace"


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


def test_studies_are_picked_by_their_folder(tmp_path):
    for folder in (tmp_path, tmp_path / "studies"):
        folder.mkdir(exist_ok=True)
        for stem in ("01_lstm", "04_gan"):
            notebook(folder, stem)
    (tmp_path / "pictures").mkdir()

    def picked(*picks):
        found = runner.pick_notebooks(tmp_path, list(picks))
        return [path.relative_to(tmp_path).with_suffix("").as_posix() for path in found]

    studies = ["studies/01_lstm", "studies/04_gan"]
    assert picked() == ["01_lstm", "04_gan"]
    assert picked("studies") == picked("studies/") == studies
    assert picked("studies/4") == picked("notebooks/studies/04_gan.ipynb") == studies[1:]
    assert picked("01", "studies/01") == ["01_lstm", "studies/01_lstm"]
    with pytest.raises(runner.RunError, match="'studies/7'; there are: 01_lstm, 04_gan"):
        picked("studies/7")
    with pytest.raises(runner.RunError, match="'pictures'; there are: none"):
        picked("pictures")


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository with one lab and a study of the same name, both with records."""
    monkeypatch.setattr(folders, "repository", lambda: tmp_path)
    monkeypatch.setattr(folders, "measured", lambda: tmp_path / "data" / "results")
    monkeypatch.setattr(runner, "kernel_environment", with_labkit(runner.kernel_environment))
    monkeypatch.setenv("LABKIT_SEED", "0")
    (tmp_path / "notebooks" / "studies").mkdir(parents=True)
    cell = """from labkit import results
from labkit.profile import seed_of_run
seed = seed_of_run()
metrics = {"score": 10.0 + seed, "device": "any"}
results.found("NAME", metrics, data="none", seed=seed)"""
    notebook(tmp_path / "notebooks", "01_x", cell)
    study = 'from labkit import results\nresults.record("studies/NAME", {"n": 5}, "none", 0)'
    notebook(tmp_path / "notebooks" / "studies", "01_x", study)
    return tmp_path


def with_labkit(environment):
    return lambda *args: environment(*args) | {"PYTHONPATH": str(ROOT)}


def test_a_lab_and_a_study_of_one_name_leave_files_of_their_own(clone):
    lab, study = clone / "notebooks" / "01_x.ipynb", clone / "notebooks/studies/01_x.ipynb"
    out = clone / "out"
    for paths in ([lab], [study], [study]):
        printed = io.StringIO()
        assert runner.run(paths, out, "smoke", printed) == 0, printed.getvalue()
    for suffix in runner.SUFFIXES:
        assert (out / f"01_x{suffix}").exists() and (out / f"studies/01_x{suffix}").exists()
        assert (out / f"previous/studies/01_x{suffix}").exists()
        assert not (out / f"previous/01_x{suffix}").exists()
    assert "studies/01_x  passed" in printed.getvalue()
    page = (out / "summary.html").read_text()
    assert "2 of 2 notebooks passed" in page
    assert 'href="studies/01_x.html"' in page and 'href="01_x.html"' in page
    read = [results.read(out / f"{name}.json")[0] for name in ("01_x", "studies/01_x")]
    assert [record["metrics"].get("n") for record in read] == [None, 5]


def test_a_band_holds_what_five_seeds_found_and_goes_to_the_kit(clone):
    printed = io.StringIO()
    lab = clone / "notebooks" / "01_x.ipynb"
    assert runner.measure_bands([lab], clone / "out", "smoke", printed) == 0, printed.getvalue()
    band = results.band("01_x")
    assert band["metrics"] == {"score": [10.0, 11.0, 12.0, 13.0, 14.0]}
    assert (band["profile"], band["data"]) == ("smoke", "none")
    assert band["command"] == "python -m labkit run 01_x --profile smoke --band"
    assert band["date"] and band["machine"] and "data/results/labs/01_x.json" in printed.getvalue()


def test_no_band_is_written_of_a_lab_that_fails(clone):
    lab = notebook(clone / "notebooks", "02_y", "1 / 0")
    assert runner.measure_bands([lab], clone / "out", "smoke", io.StringIO()) == 1
    assert results.band("02_y") == {}


def test_an_unknown_profile_names_the_three(capsys, monkeypatch):
    with pytest.raises(SystemExit, match="2"):
        main(["run", "--profile", "bad"])
    assert re.search("bad.*smoke.*cpu.*full", capsys.readouterr().err)
    monkeypatch.setenv("LABKIT_PROFILE", "worse")
    assert main(["run"]) == 2
    assert re.search("worse.*smoke.*cpu.*full", capsys.readouterr().err)


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_a_time_limit_that_is_none_is_refused(capsys, minutes):
    assert main(["run", "--timeout", minutes]) == 2
    assert "--timeout takes the minutes" in capsys.readouterr().err


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


SIGNALS = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "SIGHUP"}


@pytest.mark.skipif(os.name == "nt", reason="no signals can be sent to one process on Windows")
@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_ends_the_kernel_and_keeps_what_is_done(tmp_path, name):
    pid = tmp_path / "pid"
    sleep = f"""import os, pathlib, time
pathlib.Path({str(tmp_path / "part")!r}).write_text(str(os.getpid()))
os.replace({str(tmp_path / "part")!r}, {str(pid)!r})
time.sleep(120)"""
    paths = [
        notebook(tmp_path, "00_stopped", "print('kept')", sleep),
        notebook(tmp_path, "01_later", RECORD),
    ]
    process = start_run(paths, tmp_path / "out")
    try:
        for _ in range(600):
            if pid.exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        process.send_signal(getattr(signal, name))
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + getattr(signal, name), printed
    assert "Traceback" not in printed
    assert f"00_stopped: interrupted: cell 2: stopped by {SIGNALS[name]}" in printed
    assert "not run" in line_of(printed, "01_later")
    stopped = nbformat.read(tmp_path / "out" / "00_stopped.ipynb", as_version=4)
    assert stopped.cells[0].outputs[0].text == "kept\n"
    assert "interrupted" in (tmp_path / "out" / "summary.html").read_text()
    assert not psutil.pid_exists(int(pid.read_text())), "the kernel lives on"


def start_run(paths: list[Path], out: Path, before: str = "") -> subprocess.Popen:
    """`runner.run` over `paths` in a process of its own; `before` is code that runs first."""
    names = [str(path) for path in paths]
    code = f"""import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests ignores
signal.signal(getattr(signal, "SIGHUP", signal.SIGTERM), signal.SIG_DFL)
from labkit.runner import run
{before}
sys.exit(run([Path(name) for name in {names}], Path({str(out)!r}), "smoke"))"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes)


def test_under_nohup_a_hang_up_is_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with execute.Stop() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert stop.received == [] and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_only_a_second_request_hurries_and_a_closing_terminal_never_does():
    asked, before = [], signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with execute.Stop() as stop:
            for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGINT, signal.SIGINT):
                signal.raise_signal(number)
                asked.append(stop.hurry)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert asked == [False, False, False, True] and stop.exit_status == 129


@pytest.mark.parametrize(
    "config", ["import os; os._exit(3)", "c.IPKernelApp.kernel_class = 'no.such.Kernel'"]
)
def test_a_kernel_that_does_not_start_is_one_line_and_the_next_has_its_turn(tmp_path, config):
    paths = [notebook(tmp_path, stem, RECORD) for stem in ("00_a", "01_b")]
    folder = tmp_path / "ipython" / "profile_default"
    folder.mkdir(parents=True)
    (folder / "ipython_kernel_config.py").write_text(config)
    before = f"import os; os.environ['IPYTHONDIR'] = {str(folder.parent)!r}"
    process = start_run(paths, tmp_path / "out", before)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and len(printed.splitlines()) < 15, printed
    for stem in ("00_a", "01_b"):
        assert re.search(f"{stem}: failed: the kernel did not start .*labkit doctor`", printed)
    assert "did not start" in (tmp_path / "out" / "summary.html").read_text()


def run_quietly(path: Path, out: Path, **options) -> tuple[int, str]:
    printed = io.StringIO()
    return runner.run([path], out, "smoke", printed, **options), printed.getvalue()


STUBBORN = """while True:
    try:
        import time; time.sleep(60)
    except KeyboardInterrupt:
        pass"""


@pytest.mark.parametrize("cell", ["while True: pass", STUBBORN])
def test_a_notebook_that_never_ends_fails_at_the_time_limit(tmp_path, monkeypatch, cell):
    monkeypatch.setattr(execute, "GRACE", 1.0)
    path = notebook(tmp_path, "00_x", "print('kept')", cell, RECORD)
    status, printed = run_quietly(path, tmp_path / "out", minutes=0.1)
    assert status == 1
    assert "00_x: failed: cell 2: took longer than 0.1 min; allow more with --timeout" in printed
    result = nbformat.read(tmp_path / "out" / "00_x.ipynb", as_version=4)
    assert result.cells[0].outputs[0].text == "kept\n" and result.cells[2].outputs == []


def test_a_notebook_within_its_limit_passes(tmp_path):
    assert run_quietly(notebook(tmp_path, "00_x", RECORD), tmp_path / "out", minutes=5)[0] == 0


def test_what_a_cell_prints_reaches_the_forecast(tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr(execute.Progress, "hear", lambda _, text: heard.append(text))
    cell = "print('GANs:  40%|██| 2/5 [00:31<00:46, 15.5s/it]')"
    run_quietly(notebook(tmp_path, "00_x", cell), tmp_path / "out")
    assert "[00:31<00:46" in "".join(heard)


def leave(folder: Path, status: str | None, metric: float, suffixes=runner.SUFFIXES) -> None:
    """The files of a run, as an earlier command left them."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"status": status, "metric": metric}
    contents = {".json": json.dumps({"metrics": {"metric": metric}}), ".html": str(metric)}
    contents[".ipynb"] = json.dumps({"metadata": {"labkit": facts}})
    for suffix in suffixes:
        (folder / f"00_x{suffix}").write_text(contents[suffix])


def kept(folder: Path) -> dict[str, float]:
    return {
        path.suffix: float(re.search(r"\d\.\d", path.read_text())[0])
        for path in folder.glob("00_x.*")
    }


def test_files_of_a_run_are_set_aside_together_and_a_failed_one_never_displaces_a_good_one(
    tmp_path,
):
    previous = tmp_path / "previous"
    leave(tmp_path, "failed", 0.1, [".ipynb", ".html"])
    runner.set_aside(tmp_path, "00_x")
    assert kept(previous) == {".ipynb": 0.1, ".html": 0.1}, "a failed run is better than nothing"
    leave(tmp_path, "passed", 0.2)
    runner.set_aside(tmp_path, "00_x")
    good = {".ipynb": 0.2, ".html": 0.2, ".json": 0.2}
    assert kept(previous) == good and kept(tmp_path) == {}
    for suffixes in ([".ipynb"], [".json"], runner.SUFFIXES):
        leave(tmp_path, "failed", 0.3, suffixes)
        runner.set_aside(tmp_path, "00_x")
        assert kept(previous) == good and kept(tmp_path) == {}
    leave(tmp_path, "passed", 0.4, [".ipynb", ".json"])
    runner.set_aside(tmp_path, "00_x")
    assert kept(previous) == {".ipynb": 0.4, ".json": 0.4}, "no page of another run stays"


def test_a_folder_previous_that_cannot_take_the_files_is_told_with_a_remedy(tmp_path):
    leave(tmp_path / "out", "passed", 0.1)
    (tmp_path / "out" / "previous").write_text("a file in the way")
    path = notebook(tmp_path, "00_x", "1")
    with pytest.raises(runner.RunError, match="previous.*rename or delete.*--out DIR"):
        run_quietly(path, tmp_path / "out")


@pytest.mark.parametrize(
    "record",
    [
        '{"metrics": [1, 2]}',
        '{"metrics": null}',
        '{"metrics": {"a": [1]}}',
        '{"metrics": {}, "claims": [1]}',
        '{"metrics": {}, "claims": {"verdict": "holds"}}',
        "[1]",
        "[" * 100_000,
        "",
    ],
)
def test_an_odd_record_counts_as_none_and_the_summary_is_made(tmp_path, record):
    cell = f"import os; open(os.environ['LABKIT_RESULTS'] + '/00_x.json', 'w').write({record!r})"
    if len(record) > 1000:
        cell = cell.replace(repr(record), "'[' * 100_000")
    (tmp_path / "00_x.json").write_text(record)
    found, complaint = results.read(tmp_path / "00_x.json")
    assert found == {} and "is no readable record" in complaint
    outcome = runner.Outcome("00_x", "smoke", "no record", complaint, record=found)
    assert complaint.split(":")[0] in pages.summary_text([outcome])
    facts = {"profile": "smoke", "date": "today", "machine": "this"}
    assert "no record" in pages.summary_page([outcome], tmp_path, **facts)


def test_two_runs_do_not_share_a_folder_and_the_lock_of_a_dead_one_is_taken_over(tmp_path):
    lock = tmp_path / ".running"
    with runner.alone_in(tmp_path):
        assert int(lock.read_text()) == os.getpid()
        with pytest.raises(runner.RunError, match=rf"process {os.getpid()}.*--out DIR"):
            run_quietly(notebook(tmp_path, "00_x", "1"), tmp_path)
        assert lock.exists(), "the refused run must not take the lock away"
    assert not lock.exists()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for stale in (str(dead.pid), "", "not a number"):
        lock.write_text(stale)
        with runner.alone_in(tmp_path):
            assert int(lock.read_text()) == os.getpid()
    lock.write_text(str(os.getpid()))
    os.utime(lock, (0, 0))  # written before this process began: its number was used again
    with runner.alone_in(tmp_path):
        pass


def test_kernels_get_absolute_folders_whatever_the_caller_wrote(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LABKIT_DATA", "~/dl")
    monkeypatch.chdir(tmp_path)
    env = runner.kernel_environment(Path("out"), "smoke")
    assert env["LABKIT_DATA"] == str(tmp_path / "dl")
    assert env["LABKIT_RESULTS"] == str(tmp_path / "out")
    assert (Path(env["PYTHONPATH"].split(os.pathsep)[0]) / "labkit").is_dir()


def test_the_summary_is_written_before_the_closing_text_and_without_a_terminal(tmp_path):
    class Terminal(io.StringIO):
        def write(self, text):
            if "summary" in text:
                self.summary = (tmp_path / "out" / "summary.html").read_text()
            raise OSError(errno.EIO, "the terminal has gone")

    terminal = Terminal()
    path = notebook(tmp_path, "00_x", RECORD)
    assert runner.run([path], tmp_path / "out", "smoke", terminal) == 0
    assert "1 of 1 notebooks passed" in terminal.summary


def test_a_full_disk_while_a_result_is_written_does_not_stop_the_others(tmp_path, monkeypatch):
    def full(path, text):
        if path.suffix == ".ipynb":
            raise runner.RunError(f"cannot write {path}: no space left")
        return save(path, text)

    save = runner.save
    monkeypatch.setattr(runner, "save", full)
    status, printed = run_quietly(notebook(tmp_path, "00_x", RECORD), tmp_path / "out")
    assert status == 1 and "00_x: failed: cannot write" in printed
    assert "cannot write" in (tmp_path / "out" / "summary.html").read_text()


def test_the_summary_tells_of_all_labs_of_the_folder_with_date_and_profile(finished):
    _, out, printed = finished
    text = (out / "summary.html").read_text()
    assert "2 of 6 notebooks passed" in text and "09_earlier" not in printed
    assert "09_earlier" in text and "1999-12-31 23:59" in text
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text
    assert f"Profile smoke, {time.strftime('%Y')}" in text


def section(out: Path, stem: str) -> str:
    """The part of the summary about one notebook, as its reader sees it."""
    parts = (out / "summary.html").read_text().split("<section")
    return html.unescape(next(part for part in parts if f'href="{stem}.html"' in part))


def test_a_lab_in_the_summary_has_its_title_data_seeds_machine_and_readable_names(finished):
    text = section(finished[1], "00_good")
    assert re.search(r"<h2><a [^>]*>Gates</a>", text), "the title of the notebook, not of its file"
    for fact in ("stand-in", "seeds 0, 7", "a machine", "smoke", time.strftime("%Y-%m-%d")):
        assert fact in text, fact
    assert "final accuracy" in text and "final_accuracy" not in text and "b_f = 3" in text


def test_verdicts_are_counted_by_kind_and_listed_with_their_claims(finished):
    text = section(finished[1], "00_good")
    assert "not tested (2)" in text and "holds along the cell (1)" in text
    assert "it < learns" in text and "98 %" in text and "not tested: 2 of 9 epochs" in text


def test_numbers_of_smoke_never_pass_for_results(finished):
    _, out, printed = finished
    text = section(out, "00_good")
    assert "seconds of training, not results" in text and 'class="good"' not in text
    assert "seconds of training, not results" in printed
    facts = {"profile": "cpu", "date": "today", "machine": "this"}
    record = {"metrics": {"accuracy": 0.5}}
    long = runner.Outcome("00_good", "cpu", "passed", record=record)
    page = pages.summary_page([long], out, **facts)
    assert 'class="good"' in page and "not results" not in page
    assert "not results" not in pages.summary_text([long])


def png_of(pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_lab_in_the_summary_has_its_first_figure_small_and_with_alternative_text(tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(900, 2000, 3), dtype=np.uint8)
    bundles = [
        {"data": {"image/png": "iVBORw0KGgo="}, "metadata": {}},  # cut off
        {
            "data": {"image/png": png_of(noise), "text/plain": ""},
            "metadata": {"image/png": {"alt": 'Loss < 1 "nat"'}},
        },
        {"data": {"image/png": png_of(noise[:30])}, "metadata": {}},
    ]
    outputs = [new_output("display_data", **bundle) for bundle in bundles]
    made = new_notebook(cells=[new_code_cell("", outputs=outputs)])
    nbformat.write(made, tmp_path / "00_x.ipynb")
    (tmp_path / "00_x.html").write_text("")
    facts = {"profile": "cpu", "date": "today", "machine": "this"}
    page = pages.summary_page([runner.Outcome("00_x", "cpu", "passed")], tmp_path, **facts)
    (picture,) = re.findall(r"<img[^>]*>", page)
    assert """alt="Loss < 1 "nat\"""" in html.unescape(picture)
    drawn = base64.b64decode(re.search(r"base64,([^\"]*)", picture)[1])
    assert len(drawn) <= 30_000 and Image.open(io.BytesIO(drawn)).width >= 240
    odd = '{"cells": [{"source": "", "outputs": [{"data": {"image/png": 3}}]}]}'
    for text in ("", "[1]", '{"cells": [1]}', odd):
        (tmp_path / "00_x.ipynb").write_text(text)
        page = pages.summary_page([runner.Outcome("00_x", "cpu", "passed")], tmp_path, **facts)
        assert "<img" not in page and "00_x" in page


@pytest.mark.parametrize("lab", ["00_explore_the_data", "03_vae_latent_grid"])
def test_no_picture_of_a_page_loses_its_alternative_text(lab):
    path = ROOT / "notebooks" / f"{lab}.ipynb"
    made = nbformat.read(path, as_version=4)
    outputs = [output for cell in made.cells for output in cell.get("outputs", [])]
    told = [m["alt"] for o in outputs for m in o.get("metadata", {}).values() if "alt" in m]
    written = [re.findall(r"!\[([^]]+)\]\((?!https)", cell.source) for cell in made.cells]
    pictures = re.findall(r"<img[^>]*>", pages.notebook_page(made, lab, path.parent))
    shown = [html.unescape(re.search(r'\balt="([^"]*)"', picture)[1]) for picture in pictures]
    assert sorted(shown) == sorted(told + sum(written, [])) and all(shown) and len(shown) > 2
