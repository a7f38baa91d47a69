"""nbgrader's grade book and course layout, and the points that a human gives."""

import csv
import os
import subprocess
import sys

import nbformat
import pytest
from grading_toys import STEM, hand_in, lay_out, sandboxed, written

from labkit import folders
from labkit.grading import course, grade, gradebook, marks, report, sandbox
from labkit.grading.grade import Options
from labkit.grading.marks import Mark
from labkit.grading.records import CRASHED, MANUAL, Finding, Graded, Response

api = pytest.importorskip("nbgrader.api", reason="pip install -r tests/requirements.txt")
RIGHT = "return x  # right"


@pytest.fixture
def top(tmp_path, monkeypatch):
    lay_out(tmp_path)
    monkeypatch.setattr(folders, "repository", lambda: tmp_path)
    monkeypatch.setattr(sandbox, "run", sandboxed)
    monkeypatch.setattr(sandbox, "problem", lambda: "")
    monkeypatch.setattr(report, "write", totals)
    return tmp_path


def totals(out, lab, load):
    """In the place of report.write, which is tested elsewhere."""
    lines = [f"{graded.student},{graded.total}\n" for graded in load()]
    (out / "grades.csv").write_text("".join(lines))


@pytest.fixture
def lab(top):
    return course.lab_of(top / "notebooks" / f"{STEM}.ipynb")


@pytest.fixture
def graded(top):
    """The run of two submissions and of one that is broken."""
    ada = written(top, double=RIGHT, triple=RIGHT, essay="One, two.")
    hand_in(top / "handed", ada=ada, bob=written(top, double=RIGHT), cleo=b"{")
    return lambda **options: grade.main(Options(top / "handed", "1", top / "out", **options))


def book(top):
    return api.Gradebook(f"sqlite:///{top / 'out' / 'course' / 'gradebook.db'}")


def grades(top, student):
    """(grader's points, human's points, to be marked) by cell."""
    with book(top) as open_book:
        notebook = open_book.find_submission_notebook(STEM, STEM, student)
        return {
            g.name: (g.auto_score, g.manual_score, g.needs_manual_grade) for g in notebook.grades
        }


def score(top, student):
    with book(top) as open_book:
        return open_book.find_submission(STEM, student).score


def given_in_formgrader(top, student, cell, points):
    with book(top) as open_book:
        grade_of = open_book.find_grade(cell, STEM, STEM, student)
        grade_of.manual_score, grade_of.needs_manual_grade = points, False
        open_book.db.commit()


def total(top, student):
    lines = (top / "out" / "grades.csv").read_text().splitlines()
    return dict(line.split(",") for line in lines)[student]


# the grade book


def test_the_book_has_every_student_with_points(top, graded):
    graded()
    assert grades(top, "ada") == {
        "double-test": (2, None, False),
        "triple-test": (3, None, False),
        "essay": (None, None, True),
    }
    assert grades(top, "bob")["triple-test"] == (0, None, False)
    assert (score(top, "ada"), score(top, "bob")) == (5, 2)


def test_a_refused_submission_earned_nothing_yet_and_waits_for_a_human(top, graded):
    graded()
    assert set(grades(top, "cleo").values()) == {(None, None, True)}
    page = nbformat.read(top / "out" / "course" / "autograded" / "cleo" / STEM / f"{STEM}.ipynb", 4)
    assert "could be graded" in page.cells[0].source and "JSON" in page.cells[0].source


def test_points_go_where_the_work_went(top, graded):
    """nbgrader keeps full marks where a student hands in again without the cells."""
    graded()
    hand_in(top / "handed", ada=written(top, double=RIGHT), bob=b"{")
    graded()
    assert score(top, "ada") == 2 and total(top, "ada") == "2.0"
    assert set(grades(top, "bob").values()) == {(None, None, True)}


def test_points_of_a_human_in_the_book_stay_and_count(top, graded):
    graded()
    assert total(top, "ada") == "None"
    given_in_formgrader(top, "ada", "essay", 3.5)
    given_in_formgrader(top, "bob", "triple-test", 1)
    graded()
    assert grades(top, "ada")["essay"] == (None, 3.5, False)
    assert grades(top, "bob")["triple-test"] == (0, 1, False)
    assert (total(top, "ada"), total(top, "bob")) == ("8.5", "3.0")
    assert (score(top, "ada"), score(top, "bob")) == (8.5, 3)


def test_points_of_a_human_are_looked_at_again_when_another_text_comes(top, graded):
    graded()
    given_in_formgrader(top, "ada", "essay", 3.5)
    raw = written(top, double=RIGHT, triple=RIGHT, essay="Another text.")
    hand_in(top / "handed", ada=raw)
    graded()
    assert grades(top, "ada")["essay"] == (None, 3.5, True) and total(top, "ada") == "None"


def test_a_book_that_cannot_be_filled_stays_as_it_was(top, graded, monkeypatch, capsys):
    graded()
    path = top / "out" / "course" / "gradebook.db"
    before = path.read_bytes()
    monkeypatch.setattr(gradebook, "settle", lambda *given: 1 / 0)
    hand_in(top / "handed", ada=written(top))
    assert graded() == 1
    assert path.read_bytes() == before and total(top, "ada") == "0.0", "the grades come anyway"
    assert "--course DIR" in capsys.readouterr().err


def test_an_edit_in_the_book_during_the_run_is_not_lost(top, graded, monkeypatch):
    graded()
    fill, calls = gradebook.fill, []

    def slow(*given):
        fill(*given)
        if not calls:
            given_in_formgrader(top, "ada", "essay", 4)
        calls.append(given)

    monkeypatch.setattr(gradebook, "fill", slow)
    assert graded() == 0
    assert len(calls) == 2 and grades(top, "ada")["essay"] == (None, 4, False)


def test_other_labs_and_students_of_a_course_stay(top, graded):
    (top / "course").mkdir()
    gradebook.begin(top / "course" / "gradebook.db")
    with api.Gradebook(f"sqlite:///{top / 'course' / 'gradebook.db'}") as open_book:
        open_book.add_assignment("00_other")
        open_book.add_student("zoe", first_name="Zoe")
    (top / "course" / "nbgrader_config.py").write_text("# mine")
    graded(course=top / "course")
    with api.Gradebook(f"sqlite:///{top / 'course' / 'gradebook.db'}") as open_book:
        assert [a.name for a in open_book.assignments] == ["00_other", STEM]
        assert {s.id for s in open_book.students} == {"ada", "bob", "cleo", "zoe"}
    assert (top / "course" / "nbgrader_config.py").read_text() == "# mine"


def test_formgrader_shows_all_submissions(top, graded, monkeypatch):
    from nbgrader.apps.api import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory

    graded()
    shown = NbGraderAPI(CourseDirectory(root=str(top / "out" / "course")))
    rows = {row["student"]: row for row in shown.get_submissions(STEM)}
    assert {name: row["score"] for name, row in rows.items()} == {"ada": 5, "bob": 2, "cleo": 0}
    assert {name for name, row in rows.items() if row["needs_manual_grade"]} == {"ada", "cleo"}
    assert {row["autograded"] for row in rows.values()} == {True}
    pages = shown.get_notebook_submissions(STEM, STEM)
    assert {page["student"] for page in pages} == {"ada", "bob", "cleo"}
    assert next(p for p in pages if p["student"] == "bob")["failed_tests"]


def nbgrader(folder, *arguments):
    """Runs one of nbgrader's own commands in a course folder."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    command = [sys.executable, "-m", "nbgrader", *arguments]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )


def test_nbgrader_s_own_commands_run_on_the_folder(top, graded):
    graded()
    folder = top / "out" / "course"
    made = nbgrader(folder, "generate_assignment", STEM, "--force")
    assert made.returncode == 0, made.stderr
    copy = (folder / "release" / STEM / f"{STEM}.ipynb").read_text()
    assert "write your own lines here" in copy and "secret" not in copy
    made = nbgrader(folder, "export")
    assert made.returncode == 0, made.stderr
    rows = list(csv.DictReader((folder / "grades.csv").open()))
    assert {row["student_id"]: float(row["score"]) for row in rows} == dict(ada=5, bob=2, cleo=0)


def test_release_lays_out_the_course(top, capsys, monkeypatch):
    from labkit import __main__
    from labkit.grading import release

    monkeypatch.setattr(release, "main", lambda picks: 0)
    folder = top / "course"
    assert __main__.main(["release", "01", "--course", str(folder)]) == 0
    source = (folder / "source" / STEM / f"{STEM}.ipynb").read_text()
    copy = (folder / "release" / STEM / f"{STEM}.ipynb").read_text()
    assert "secret" in source and "secret" not in copy
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.*")}
    assert __main__.main(["release", "01", "--course", str(folder)]) == 0
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*.*")} == before
    compile((folder / "nbgrader_config.py").read_text(), "nbgrader_config.py", "exec")


# points of a human


def rows(top):
    with (top / "out" / "marks.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def fill_in(path, top, **given):
    found = rows(top)
    for row in found:
        row.update(given)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, found[0])
        table.writeheader()
        table.writerows(found)


def test_marks_csv_asks_for_what_waits_and_gives_what_was_filled_in(top, graded, capsys):
    graded()
    (row,) = rows(top)
    asked = ("ada", "essay", "", "4", "One, two.")
    assert tuple(row[k] for k in ("student", "cell", "points", "of", "text")) == asked
    assert "1 answers wait" in capsys.readouterr().out
    fill_in(top / "out" / "marks.csv", top, points="2.5", comment="Good.")
    before = (top / "out" / "marks.csv").read_bytes()
    assert graded() == 0
    assert total(top, "ada") == "7.5" and score(top, "ada") == 7.5
    assert list(csv.reader((top / "out" / "marks.csv").open())) == list(
        csv.reader(before.decode().splitlines())
    )
    assert "wait for your points" not in capsys.readouterr().out
    with book(top) as open_book:
        assert open_book.find_comment("essay", STEM, STEM, "ada").manual_comment == "Good."


def test_marks_of_another_file_count_more_and_are_kept(top, graded):
    graded()
    fill_in(top / "out" / "marks.csv", top, points="1")
    fill_in(top / "mine.csv", top, points="4")
    graded(marks=top / "mine.csv")
    assert total(top, "ada") == "9.0" and [row["points"] for row in rows(top)] == ["4"]
    graded()
    assert total(top, "ada") == "9.0"


def test_a_mark_counts_for_its_text_only(top, graded):
    graded()
    fill_in(top / "out" / "marks.csv", top, points="4")
    graded()
    raw = written(top, double=RIGHT, triple=RIGHT, essay="=Another, worse text.")
    hand_in(top / "handed", ada=raw)
    graded()
    assert total(top, "ada") == "None" and grades(top, "ada")["essay"][2]
    found = [(row["points"], row["text"]) for row in rows(top)]
    assert found == [("4", "One, two."), ("", "'=Another, worse text.")], "no formula"
    table = (top / "out" / "marks.csv").read_text().replace("essay,,", "essay,1,")
    (top / "out" / "marks.csv").write_text(table)
    graded()
    assert total(top, "ada") == "6.0"


def waiting():
    answers = [
        Response("double", 2, None, "crashed", source="x"),
        Response("essay", 4, None, "manual", source="A\ntext"),
    ]
    found = [Finding("crashed", "It crashed.", CRASHED, "double")]
    found += [Finding("free text", "It waits.", MANUAL, "essay")]
    return Graded("ada", "Ada", answers=answers, findings=found)


def test_a_human_can_mark_what_crashed_and_settles_what_waits():
    done = marks.apply(waiting(), [Mark("ada", "essay", 3, "Good."), Mark("ada", "double", 1)])
    assert done.total == 4 and done.answers[1].text == "Good."
    assert done.status == CRASHED, "that it crashed stays true"
    assert (
        marks.apply(waiting(), [Mark("bob", "essay", 3), Mark("ada", "essay", None)]).total is None
    )
    only = marks.apply(waiting(), [Mark("ada", "double", 1)])
    assert only.status == MANUAL and only.total is None


@pytest.mark.parametrize(
    "text",
    [
        "student,cell,points\nada,essay,2.5\n",
        "\ufeffstudent;name;cell;points;comment;text\nada;;essay;2,5;;A  text\n",
        'student\tcell\tpoints\ttext\nada\tessay\t2.5\t"A\r\ntext"\n\n',
    ],
)
def test_marks_csv_is_read_as_spreadsheets_write_it(lab, tmp_path, text):
    path = tmp_path / "marks.csv"
    path.write_text(text, encoding="utf-8", newline="")
    (mark,) = marks.read(path, lab)
    assert mark.points == 2.5 and marks.counts(mark, waiting().answers[1])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("student,points\nada,2\n", "no column 'cell'"),
        ("student,cell,points\nada,essay,2\nada,esay,2\n", "line 3: 01_toy has no graded cell"),
        ("student,cell,points\nada,essay,5\n", "line 2: '5' points; write a number from 0 to 4"),
        ("student,cell,points\nada,essay,-1\n", "from 0 to 4"),
        ("student,cell,points\nada,essay,nan\n", "from 0 to 4"),
        ("student,cell,points\nada,essay,two\n", "from 0 to 4"),
    ],
)
def test_a_mistake_in_marks_csv_is_told_before_anything_runs(top, graded, capsys, text, told):
    (top / "mine.csv").write_text(text)
    assert graded(marks=top / "mine.csv") == 2
    assert told in capsys.readouterr().err
    assert not (top / "out" / "work").exists()


def test_marks_for_nobody_are_told(top, graded, capsys):
    (top / "mine.csv").write_text("student,cell,points\nzoe,essay,2\n")
    assert graded(marks=top / "mine.csv") == 0
    assert "marks for zoe" in capsys.readouterr().err
    assert "zoe" in {row["student"] for row in rows(top)}, "nothing that was written is lost"
