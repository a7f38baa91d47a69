"""A whole class graded in one run: every submission gets the right score or the right flag."""

import csv
import functools
import hashlib
import html
import itertools
import os
import re

import class_of_sixty as sixty
import psutil
import pytest

pytest.importorskip("nbgrader", reason="pip install -r tests/requirements.txt")

from labkit.grading import class_page, grade, sandbox, similarity
from labkit.grading.autograde import Settings
from labkit.grading.records import CRASHED, GRADED, MANUAL, REFUSED, REPAIRED

pytestmark = pytest.mark.skipif(bool(sandbox.problem()), reason=sandbox.problem() or "none")
LIMITS = sandbox.Limits(seconds=120, memory=3 * 2**29, processes=80, output=8 * 2**20)
KEYS = {row.name: row for row in sixty.ROWS}


def contents(folder):
    """Every file below a folder: its hash, or where a link leads."""
    found = {}
    for top, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(top, name)
            if os.path.islink(path):
                found[path] = os.readlink(path)
            else:
                with open(path, "rb") as file:
                    found[path] = hashlib.sha256(file.read()).hexdigest()
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The class, graded once: folder, results by the name of the row, and what was there before."""
    top = tmp_path_factory.mktemp("class")
    handed_in, out = top / "handed in", top / "grades"
    sixty.write(handed_in)
    (out / "course").mkdir(parents=True)  # there to be stolen from, if that were possible
    sixty.OUTSIDE.unlink(missing_ok=True)
    before = contents(handed_in)
    short = functools.partial(Settings, limits=LIMITS, exercise_seconds=4, cell_seconds=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grade, "lab_named", lambda pick: sixty.lab())
        patch.setattr(grade, "Settings", short)
        status = grade.main(grade.Options(where=handed_in, lab="03", out=out))
    results = {}
    for path in (out / "work").iterdir():
        graded = grade.load(path)[1]
        results[graded.name] = graded
    return {"status": status, "out": out, "in": handed_in, "before": before, "results": results}


def of(run, name):
    return run["results"][name]


def test_sixty_and_more_submissions_come_and_none_is_lost(run):
    assert run["status"] == 0 and len(sixty.ROWS) >= 60
    assert set(run["results"]) == set(KEYS)
    with open(run["out"] / "grades.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(sixty.ROWS)


@pytest.mark.parametrize("name", KEYS)
def test_each_submission_gets_its_score_or_its_flag(run, name):
    row, graded = KEYS[name], of(run, name)
    told = [f"{finding.status}: {finding.kind}: {finding.text}" for finding in graded.findings]
    told += [f"{answer.name}: {answer.state}: {answer.text}" for answer in graded.answers]
    assert graded.status in row.statuses, (row.why, graded.status, told)
    if graded.status == REFUSED:
        assert row.points is None and graded.total is None and told, row.why
    else:
        earned = {answer.name: answer.earned for answer in graded.answers}
        assert earned == row.points, (row.why, told)
    assert any(row.kind in line for line in told or [""]), (row.why, told)


def test_all_statuses_occur(run):
    found = {graded.status for graded in run["results"].values()}
    assert found == {GRADED, REPAIRED, CRASHED, MANUAL, REFUSED}


def test_nothing_outside_of_a_submissions_own_copy_is_touched(run):
    assert contents(run["in"]) == run["before"]
    assert not sixty.OUTSIDE.exists()
    lines = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
    assert not any(sixty.MARK in line for line in lines)


def test_a_mistake_is_told_by_name(run):
    answer = next(a for a in of(run, "named-mistake").answers if a.name == sixty.K)
    assert answer.mistakes and "dimension" in answer.text


def pages(run):
    out = run["out"]
    files = [*out.glob("feedback/*.html"), out / "class.html", *out.glob("*.csv")]
    assert len(files) > 60
    return {path.name: path.read_text(encoding="utf-8") for path in files}


def test_no_page_shows_a_hidden_test(run):
    hidden = []
    for source in sixty.TESTS.values():
        lines = source.split("### BEGIN HIDDEN TESTS\n")[1].splitlines()
        hidden += [line for line in lines if len(line) > 12 and "###" not in line]
    assert len(hidden) > 5
    for name, text in pages(run).items():
        shown = html.unescape(re.sub(r"<[^>]+>", "", text))
        assert "secret" not in shown, name
        assert not [line for line in hidden if line in shown], name


def test_no_page_runs_what_a_student_wrote(run):
    for name, text in pages(run).items():
        if name.endswith(".html"):
            assert "<script" not in text and "alert(1)<" not in text, name
        else:
            cells = [cell for line in csv.reader(text.splitlines()) for cell in line]
            assert not [cell for cell in cells if cell.startswith("=")], name


def test_copies_are_shown_as_pairs_and_other_work_is_not(run):
    answers = {name: {a.name: a.source for a in g.answers} for name, g in run["results"].items()}
    found = similarity.overlaps(answers, class_page.given(sixty.lab()))
    alike = {frozenset((pair.a, pair.b)) for pair in found if pair.is_alike}
    copies = ("copy-of-one", "copy-of-two", "copy-renamed")
    assert {frozenset(pair) for pair in itertools.combinations(copies, 2)} <= alike
    in_pairs = set().union(*alike)
    assert not in_pairs & {"perfect", "half-done", "other-words", "named-mistake", "own-helper"}
    page = (run["out"] / "class.html").read_text(encoding="utf-8")
    assert all(f'href="feedback/{copy}.html"' in page for copy in copies)


def test_the_grade_book_has_the_same_points(run):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{run['out'] / 'course' / 'gradebook.db'}") as book:
        scores = {s.student.id: s.score for s in book.assignment_submissions(sixty.STEM)}
    for graded in run["results"].values():
        if graded.total is not None:
            assert scores[graded.student] == graded.total, graded.student
        else:
            assert graded.status == REFUSED or graded.student in scores
