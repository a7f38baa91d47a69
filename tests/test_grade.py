"""The run: nothing is lost, nothing is done twice, and whoever stops it finds it whole."""

import concurrent.futures
import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import nbformat
import pytest
from grading_toys import STEM, hand_in, in_a_while, lay_out, sandboxed, written

from labkit import folders
from labkit.grading import autograde, course, grade, report, sandbox, submissions
from labkit.grading.autograde import Settings
from labkit.grading.grade import Options
from labkit.grading.records import CRASHED, MANUAL, REFUSED, Finding, Graded, Refused, Submission

pytest.importorskip("nbgrader.preprocessors", reason="pip install -r tests/requirements.txt")

RIGHT, STUDENT = "return x  # right", Submission("ada", "Ada Lovelace", "ada.ipynb")


@pytest.fixture
def top(tmp_path, monkeypatch):
    lay_out(tmp_path)
    monkeypatch.setattr(folders, "repository", lambda: tmp_path)
    monkeypatch.setattr(sandbox, "run", sandboxed)
    monkeypatch.setattr(sandbox, "problem", lambda: "")
    monkeypatch.setattr(report, "write", table)
    return tmp_path


@pytest.fixture
def lab(top):
    return course.lab_of(top / "notebooks" / f"{STEM}.ipynb")


def table(out, lab, load):
    """In the place of report.write: it is tested elsewhere."""
    lines = [f"{g.student} {g.status} {g.total} {[f.kind for f in g.findings]}" for g in load()]
    (out / "grades.csv").write_text("\n".join(lines))


@pytest.fixture
def handed(top):
    """Five submissions: all right, one wrong, unwritten, broken, nothing at all."""
    hand_in(
        top / "handed",
        ada=written(top, double=RIGHT, triple=RIGHT, essay="A text."),
        bob=written(top, double=RIGHT, triple="return 4"),
        cleo=written(top),
        dan=b"{",
    )
    (top / "handed" / "eve").mkdir()
    (top / "handed" / "eve" / "report.pdf").write_bytes(b"%PDF")
    return top / "handed"


def run(where, work=autograde.autograde, **options):
    return grade.main(Options(where, "1", **{"out": where.parent / "out"} | options), work)


def graded(top, student, out="out"):
    kept = gzip.decompress((top / out / "work" / f"{student}.json.gz").read_bytes())
    return Graded.from_dict(json.loads(kept)["graded"])


def files(out):
    """Everything that a run left, without the order of rows and random names in the grade book."""
    found = {p.relative_to(out): p for p in out.rglob("*") if p.is_file()}
    book = [p for p in found if p.name == "gradebook.db"]
    left = {name: path.read_bytes() for name, path in found.items() if name not in book}
    query = """select student_id, base_cell.name, auto_score, manual_score, needs_manual_grade
        from grade join base_cell on cell_id = base_cell.id
        join submitted_notebook on grade.notebook_id = submitted_notebook.id
        join submitted_assignment on submitted_notebook.assignment_id = submitted_assignment.id"""
    for path in book:
        with sqlite3.connect(found[path]) as connection:
            left[path] = sorted(connection.execute(query).fetchall())
    return left


# one submission


def one(lab, raw, **given):
    return autograde.autograde(raw, STUDENT, lab, Settings(**given))


def by_name(result):
    return {answer.name: answer for answer in result.answers}


@pytest.mark.parametrize(
    ("lines", "state", "earned", "kind"),
    [
        (RIGHT, "right", 2, None),
        ("return x  # right, but a cheat", "wrong", 0, None),
        ("return 3", "wrong", 0, None),
        ("exits()", "crashed", 0, "crashed"),
        ("return 3  # bomb", "crashed", 0, "crashed"),
        ("return helper", "wrong", None, "right only in the notebook"),
        ("return patch", "wrong", 0, "right only in the notebook"),
        ("return helper  # tampers", "wrong", 0, "asserts are switched off"),
    ],
)
def test_an_exercise_earns_what_the_clean_process_says(top, lab, lines, state, earned, kind):
    result = one(lab, written(top, double=lines, triple=RIGHT))
    answer = by_name(result)["double"]
    assert (answer.state, answer.earned) == (state, earned)
    assert lines in answer.source
    assert by_name(result)["triple"].earned == 3, "one exercise costs no other's points"
    assert kind is None or kind in [f.kind for f in result.findings]
    assert ("secret" in str(result.answers)) is False


def test_an_exercise_that_was_not_written_is_not_a_crash(top, lab):
    result = one(lab, written(top))
    assert {a.state for a in result.answers} == {"not attempted"}
    assert result.total == 0 and result.status != CRASHED


def test_a_free_text_waits_for_a_human(top, lab):
    result = one(lab, written(top, essay="My text."))
    assert by_name(result)["essay"].earned is None and result.total is None
    assert result.status == MANUAL


def test_the_autograded_notebook_gives_nbgrader_the_same_points(top, lab):
    from nbgrader.utils import determine_grade, is_grade

    result = one(lab, written(top, double=RIGHT, triple="return 3"))
    notebook = nbformat.reads(result.notebook, 4)
    cells = {c.metadata.nbgrader.grade_id: c for c in notebook.cells if is_grade(c)}
    points = {name: determine_grade(cell)[0] for name, cell in cells.items()}
    assert points == {"double-test": 2, "triple-test": 0, "essay": 0}
    assert "secret" in cells["double-test"].source, "the book has the master's tests"
    plain = next(cell for cell in notebook.cells if cell.id == "set-up")
    assert plain.outputs[0].text == "a warning", "outputs of the run"


def test_hidden_tests_come_from_the_master_whatever_was_handed_in(top, lab, monkeypatch):
    raw = written(top, double=RIGHT).replace(b'check(\\"double\\")', b"pass")
    seen = []
    monkeypatch.setattr(sandbox, "run", lambda *a, **k: seen.append(a[1]) or sandboxed(*a, **k))
    one(lab, raw)
    one(lab, raw)
    job, other = map(json.loads, seen)
    assert "secret" in job["exercises"][0]["test"] and job["notebook"].count("secret") == 2
    assert job["imports"].startswith("import math")
    assert job["nonce"] != other["nonce"]


def test_what_is_no_event_is_ignored():
    output = b'[1]\n"x"\n{"event": "exercise", "name": 3}\nnull\n' + b"[" * 100_000 + b'\n{"eve'
    assert [e for e in autograde.events(output)] == [{"event": "exercise", "name": 3}]


def test_malformed_findings_of_the_sandbox_do_no_harm():
    odd = [None, 3, {}, {"kind": 3}, {"kind": "k", "status": "fine"}, {"kind": "k", "text": []}]
    assert [autograde.finding_of(one) for one in odd] == [[], [], [], [], [], [Finding("k", "")]]


def test_a_sandbox_that_does_not_start_is_not_the_student_s_fault(top, lab, monkeypatch):
    ended = sandbox.Ended(b"", "exit 1", "Traceback\nImportError: no torch")
    monkeypatch.setattr(sandbox, "run", lambda *a, **k: ended)
    result = one(lab, written(top, double=RIGHT))
    assert result.status == CRASHED and result.total is None and grade.is_failed(result)
    assert "no torch" in result.findings[0].text


def mortal(module, job, limits, readable=(), unsafe=False):
    """As `sandboxed`, but "kills" in a student's code ends the harness itself."""
    given = json.loads(job)
    for k, one in enumerate(given["exercises"]):
        if "kills" in one["source"] or any("kills" in cell for cell in given["added"]):
            given = json.dumps(given | {"exercises": given["exercises"][:k], "notebook": ""})
            before = sandboxed(module, given, limits).output
            return sandbox.Ended(b'{"event": "started"}\n' + before, "signal 9", "")
    assert limits.seconds == 240 or not given["notebook"]
    return sandboxed(module, job, limits)


def test_who_kills_the_harness_loses_that_exercise_alone(top, lab, monkeypatch):
    monkeypatch.setattr(sandbox, "run", mortal)
    raw = written(top, double="import os; kills()", triple=RIGHT)
    result = one(lab, raw)
    answers, kinds = by_name(result), {f.kind for f in result.findings}
    assert (answers["double"].state, answers["double"].earned) == ("crashed", 0)
    assert answers["triple"].earned == 3
    assert {"crashed", "looks at more than the exercise"} <= kinds and "grading failed" not in kinds


def test_an_added_cell_that_kills_the_harness_costs_no_points(top, lab, monkeypatch):
    monkeypatch.setattr(sandbox, "run", mortal)
    notebook = nbformat.reads(written(top, double=RIGHT, triple=RIGHT).decode(), 4)
    notebook.cells.insert(2, nbformat.v4.new_code_cell("kills()"))
    answers = by_name(one(lab, nbformat.writes(notebook).encode()))
    assert (answers["double"].earned, answers["triple"].earned) == (2, 3)


def test_where_grading_fails_what_was_read_is_told(top, lab, monkeypatch):
    monkeypatch.setattr(sandbox, "run", lambda *args, **kwargs: sandbox.Ended(b"", "exit 1", "x"))
    result = one(lab, written(top, double="import os; return x"))
    kinds = {finding.kind for finding in result.findings}
    assert {"grading failed", "looks at more than the exercise"} <= kinds


def test_a_worker_with_other_code_grades_nothing(top, lab):
    assert grade.is_failed(one(lab, written(top), code="other"))


def test_a_refused_file_has_no_points_instead_of_0(lab):
    result = one(lab, b"{")
    assert (result.status, result.total, result.answers) == (REFUSED, None, [])


def test_without_a_sandbox_the_result_says_so(top, lab):
    assert one(lab, written(top), unsafe=True).sandboxed is False
    assert one(lab, written(top)).sandboxed is True


# the run


def test_every_submission_has_a_result(top, handed, capsys):
    assert run(handed) == 0
    table = (top / "out" / "grades.csv").read_text().splitlines()
    assert [line.split()[:3] for line in table] == [
        ["ada", "manual", "None"],
        ["bob", "graded", "2.0"],
        ["cleo", "graded", "0.0"],
        ["dan", "refused", "None"],
        ["eve", "refused", "None"],
    ]
    said = capsys.readouterr().out
    assert "5 submissions" in said and "2 refused" in said and "  dan: refused" in said
    assert "1 answers wait" in said and "grades.csv" in said


def test_files_are_kept_as_they_were_handed_in(top, handed):
    before = {path: path.read_bytes() for path in handed.rglob("*.*")}
    run(handed)
    for name in ("ada", "dan"):
        for place in ("submitted", "course/submitted"):
            (kept,) = (top / "out" / place / name).rglob("*.ipynb")
            assert kept.read_bytes() == (handed / f"{name}.ipynb").read_bytes()
    assert {path: path.read_bytes() for path in handed.rglob("*.*")} == before


def test_a_second_run_grades_nothing_and_changes_nothing(top, handed):
    calls = []

    def work(*given):
        calls.append(given[1].student)
        return autograde.autograde(*given)

    run(handed, work)
    assert sorted(calls) == ["ada", "bob", "cleo", "dan"]
    before, calls[:] = files(top / "out"), []
    run(handed, work)
    assert calls == [] and files(top / "out") == before
    run(handed, work, again=True)
    assert sorted(calls) == ["ada", "bob", "cleo", "dan"] and files(top / "out") == before
    calls.clear()
    hand_in(handed, bob=written(top, double=RIGHT, triple=RIGHT))
    run(handed, work)
    assert calls == ["bob"] and graded(top, "bob").total == 5


def test_a_changed_lab_grades_all_anew(top, handed):
    run(handed)
    path = top / "notebooks" / f"{STEM}.ipynb"
    path.write_text(path.read_text().replace("secret", "other secret"))
    calls = []
    run(handed, lambda *given: calls.append(given[1].student) or autograde.autograde(*given))
    assert sorted(calls) == ["ada", "bob", "cleo", "dan"]


def test_an_error_of_the_kit_stops_no_other_and_is_tried_again(top, handed, capsys):
    def work(raw, submission, lab, given):
        if submission.student == "bob":
            raise MemoryError("none left")
        return autograde.autograde(raw, submission, lab, given)

    assert run(handed, work) == 1
    assert graded(top, "bob").status == CRASHED and graded(top, "bob").total is None
    assert "none left" in graded(top, "bob").findings[0].text
    assert graded(top, "cleo").total == 0
    assert run(handed) == 0 and graded(top, "bob").total == 2


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(top, handed, monkeypatch):
    def read(submission):
        if submission.student == "ada":
            raise Refused("It is a symbolic link.")
        if submission.student == "bob":
            raise PermissionError("not yours")
        return (handed / f"{submission.student}.ipynb").read_bytes()

    monkeypatch.setattr(submissions, "read", read)
    run(handed)
    assert graded(top, "ada").findings[-1].text == "It is a symbolic link."
    assert graded(top, "ada").status == graded(top, "bob").status == REFUSED
    assert graded(top, "cleo").total == 0


def test_an_earlier_file_does_not_stay_where_nothing_was_handed_in_again(top, handed):
    run(handed)
    (handed / "ada.ipynb").unlink()
    (handed / "ada").mkdir()
    run(handed)
    assert graded(top, "ada").status == REFUSED
    assert not list((top / "out" / "submitted" / "ada").iterdir())


def test_at_most_two_a_worker_are_held(top, lab, tmp_path):
    raw = written(top)
    hand_in(tmp_path / "many", **{f"s{k:02}": raw for k in range(12)})
    held = []

    class Counting(concurrent.futures.ThreadPoolExecutor):
        def submit(self, *given):
            future = super().submit(*given)
            open_now = [f for f in [*futures, future] if not f.done()]
            futures.append(future)
            held.append(len(open_now))
            return future

    futures = []
    with grade.Stop() as stop, Counting(2) as pool:
        this = grade.Run(lab, tmp_path / "out", Settings(), stop, in_a_while, workers=2)
        (this.out / "work").mkdir(parents=True)
        grade.grade_all(submissions.find(tmp_path / "many"), this, pool)
    assert len(futures) == 12 and max(held) == 4


def in_a_fork(where, ready=lambda: None, **options):
    """Starts the run in a process of its own; returns its number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 99
    try:
        status = run(where, in_a_while, **options)
    finally:
        os._exit(status)


def test_a_run_that_is_killed_goes_on_to_the_same_files(top, handed):
    for k in range(8):
        hand_in(handed, **{f"s{k}": written(top, double=RIGHT, triple=f"return {k}")})
    began = time.monotonic()
    assert os.waitpid(in_a_fork(handed, out=top / "undisturbed", workers=2), 0)[1] == 0
    took = time.monotonic() - began
    for part in (0.05, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9):
        pid = in_a_fork(handed, workers=2)
        time.sleep(part * took)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert os.waitpid(in_a_fork(handed, workers=2), 0)[1] == 0
    assert files(top / "out") == files(top / "undisturbed")


def test_ctrl_c_ends_the_sandboxes_and_says_how_to_go_on(top, handed, tmp_path, capfd):
    numbers = tmp_path / "numbers"

    def endless(raw, submission, lab, given):
        with subprocess.Popen(["sleep", "600"]) as child, numbers.open("a") as file:
            file.write(f"{child.pid}\n")
        return autograde.autograde(raw, submission, lab, given)

    pid = os.fork()
    if not pid:
        status = 99
        try:
            status = run(handed, endless, workers=2)
        finally:
            os._exit(status)
    while not numbers.exists() or len(numbers.read_text().splitlines()) < 2:
        time.sleep(0.05)
    os.kill(pid, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    for number in map(int, numbers.read_text().split()):
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
    assert "0 of 5; the same command goes on" in capfd.readouterr().err
    assert not (top / "out" / "grades.csv").exists()
    assert not list((top / "out" / "work").iterdir()), "nothing that was ended counts as a result"
    assert run(handed) == 0


def test_two_runs_do_not_write_into_one_folder(top, handed, capsys):
    (top / "out").mkdir()
    (top / "out" / ".running").write_text(str(os.getpid()))
    assert run(handed) == 2
    assert "--out DIR" in capsys.readouterr().err


def test_a_dask_cluster_gives_the_same_results(top, handed):
    distributed = pytest.importorskip("distributed", reason="pip install -r tests/requirements.txt")
    run(handed, in_a_while, out=top / "threads", unsafe=True)
    options = dict(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None)
    with distributed.LocalCluster(**options) as cluster:
        cluster_run = dict(scheduler=cluster.scheduler_address, unsafe=True)
        assert run(handed, in_a_while, **cluster_run) == 0
    assert files(top / "out") == files(top / "threads")


def test_a_scheduler_that_is_not_there_is_told(top, handed, capsys, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="pip install -r tests/requirements.txt")

    def refuse(*given, **options):
        raise OSError("timed out")

    monkeypatch.setattr(distributed, "Client", refuse)
    assert run(handed, scheduler="tcp://127.0.0.1:1") == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in capsys.readouterr().err


# what stops a run before it begins


def test_without_a_sandbox_nothing_is_run(top, handed, capsys, monkeypatch):
    monkeypatch.setattr(sandbox, "problem", lambda: "bubblewrap is missing: apt install it")
    assert run(handed) == 2
    told = capsys.readouterr().err
    assert "apt install it" in told and "--unsafe" in told
    assert not (top / "out" / "grades.csv").exists()
    assert run(handed, unsafe=True) == 0
    assert not graded(top, "cleo").sandboxed


def test_without_nbgrader_the_remedy_is_told(top, handed, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(handed) == 2
    assert "pip install" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda top: (top / "nowhere", {}), "is not there"),
        (lambda top: (top / "notebooks" / "student" / "x", {}), "has no submissions"),
        (lambda top: (top / "handed", {"marks": top / "none.csv"}), "there is no such file"),
    ],
)
def test_a_run_that_cannot_start_says_why(top, handed, capsys, make, told):
    (top / "notebooks" / "student" / "x").mkdir()
    where, options = make(top)
    assert run(where, **{"out": top / "out"} | options) == 2
    assert told in capsys.readouterr().err


def test_a_copy_that_does_not_fit_its_master_is_told(top, handed, capsys):
    path = top / "notebooks" / "student" / f"{STEM}.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells = [cell for cell in notebook.cells if cell.id != "triple-test"]
    nbformat.write(notebook, path)
    assert run(handed) == 2
    told = capsys.readouterr().err
    assert "triple-test" in told and "python -m labkit release 01" in told
    path.unlink()
    assert run(handed) == 2
    assert "is missing" in capsys.readouterr().err


def test_the_commands_are_there(top, handed, capsys):
    from labkit import __main__

    out = str(top / "out")
    assert __main__.main(["grade", str(handed), "--lab", "1", "--out", out]) == 0
    assert (top / "out" / "grades.csv").exists()
    with pytest.raises(SystemExit):
        __main__.main(["grade", str(handed), "--lab", "1", "--workers", "0"])
    assert __main__.main(["check", str(handed / "dan.ipynb")]) == 2
