"""nbgrader's grade book and course folder: what formgrader and `nbgrader export` show.

One process writes. The book is changed on a copy, which then takes its place: whoever stops the
run finds the old book or the new one. Points that a human gave in the book stay.
"""

import os
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell

from labkit.console import one_line
from labkit.files import replacing
from labkit.grading import course as layout
from labkit.grading.autograde import tests
from labkit.grading.marks import Mark, counts
from labkit.grading.records import Graded, Lab, Response

BOOK = "gradebook.db"
Load = Callable[[], Iterable[Graded]]


class BookError(Exception):
    """A grade book that cannot be written; the message names the remedy."""


def update(course: Path, lab: Lab, load: Load, raw: Path, marks: list[Mark]) -> None:
    """Puts results into the grade book of a course, and the notebooks into its folders.

    load: the results without a human's points; raw: folder of the files as handed in; marks: a
    human's points. Raises BookError.
    """
    layout.lay_out(course, lab)
    for _ in range(3):
        before = stamp(course / BOOK)
        with copy_of(course / BOOK) as book:
            try:
                fill(book, course, lab, load, marks)
            except Exception as error:  # SQLAlchemy's, nbgrader's and SQLite's own kinds
                remedy = "choose another folder with --course DIR, or move the old one away"
                told = f"{type(error).__name__}: {one_line(error)}"
                raise BookError(f"{course / BOOK} was not changed ({told}): {remedy}") from error
            if before == stamp(course / BOOK):
                with replacing(course / BOOK) as part:
                    shutil.copyfile(book, part)
                break
    else:
        raise BookError(f"somebody is writing into {course / BOOK}: close formgrader, run again")
    for graded in load():
        put(course / "autograded" / graded.student / lab.stem, lab, autograded(graded, lab))
        keep(raw / graded.student, course / "submitted" / graded.student / lab.stem, lab)


def stamp(path: Path) -> tuple[int, int]:
    """What changes when a file is written."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime_ns, path.stat().st_size
    return (0, 0)


@contextmanager
def copy_of(book: Path) -> Iterator[Path]:
    """A copy of the grade book in a temporary folder, consistent also while somebody reads it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / BOOK
        if book.is_file():
            with closing(sqlite3.connect(book)) as old, closing(sqlite3.connect(copy)) as new:
                old.backup(new)
        else:
            begin(copy)
        yield copy


def begin(book: Path) -> None:
    """Notes the version in a new book; nbgrader would call `alembic`, which may not be on PATH."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from nbgrader.dbutil import ALEMBIC_DIR

    settings = Config()
    settings.set_main_option("script_location", ALEMBIC_DIR)
    version = ScriptDirectory.from_config(settings).get_current_head()
    with closing(sqlite3.connect(book)) as new:
        new.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        new.execute("INSERT INTO alembic_version VALUES (?)", (version,))
        new.commit()


def fill(book: Path, course: Path, lab: Lab, load: Load, marks: list[Mark]) -> None:
    """Writes the lab and all results into a book by nbgrader's own preprocessors."""
    from nbgrader.api import Gradebook
    from sqlalchemy import text

    url = f"sqlite:///{book}"
    with warnings.catch_warnings(), Gradebook(url) as grades:
        warnings.simplefilter("ignore")  # SQLAlchemy's, about nbgrader
        grades.db.execute(text("PRAGMA synchronous=OFF"))  # a copy: who cares if power fails
        grades.update_or_create_assignment(lab.stem)
        save_cells(url, lab)
        for graded in load():
            submission_of(grades, graded, lab)
            before = scores(grades, graded, lab)
            old = course / "autograded" / graded.student / lab.stem / f"{lab.stem}.ipynb"
            notebook = autograded(graded, lab)
            save_grades(grades, graded, lab, notebook)
            same = answers_of(notebook) == answers_in(old)
            own = [mark for mark in marks if mark.student == graded.student]
            settle(grades, graded, lab, before if same else {}, own)


def save_cells(url: str, lab: Lab) -> None:
    """Tells the book which cells the lab has, as `nbgrader generate_assignment` does."""
    from nbgrader import preprocessors as steps

    notebook, resources = nbformat.reads(lab.master, 4), {}
    names = {"notebook": lab.stem, "assignment": lab.stem, "db_url": url}
    for step in (
        steps.LockCells(),
        steps.ClearSolutions(code_stub={"python": stub()}),
        steps.ClearOutput(),
        steps.CheckCellMetadata(),
        steps.ComputeChecksums(),
        steps.SaveCells(),
    ):
        notebook, resources = step.preprocess(notebook, {"nbgrader": names} | resources)


def stub() -> str:
    from labkit.grading.release import STUB

    return STUB


def submission_of(grades, graded: Graded, lab: Lab) -> None:
    """Makes sure that the book knows the student and the submission."""
    from nbgrader.api import MissingEntry

    try:
        grades.find_student(graded.student)
    except MissingEntry:
        first, _, last = writable(graded.name).strip().rpartition(" ")
        facts = {"first_name": first or None, "last_name": last}
        if graded.identifier:
            facts["lms_user_id"] = writable(graded.identifier)
        grades.add_student(graded.student, **facts)
    grades.update_or_create_submission(lab.stem, graded.student)


def writable(text: str) -> str:
    """A text that UTF-8 can hold: names of files may have parts that it cannot."""
    return text.encode("utf-8", "replace").decode()


def save_grades(grades, graded: Graded, lab: Lab, notebook: nbformat.NotebookNode) -> None:
    """What nbgrader's SaveAutoGrades does, in a book that is open already."""
    from nbgrader.preprocessors import SaveAutoGrades

    step = SaveAutoGrades()
    step.gradebook, step.student_id = grades, graded.student
    step.notebook_id = step.assignment_id = lab.stem
    for index, cell in enumerate(notebook.cells):
        step.preprocess_cell(cell, {}, index)


def autograded(graded: Graded, lab: Lab) -> nbformat.NotebookNode:
    """The autograded notebook; for one that could not be graded, the empty lab with the reason."""
    if graded.notebook:
        return nbformat.reads(graded.notebook, 4)
    notebook = nbformat.reads(lab.released, 4)
    reasons = [f"- {finding.text}" for finding in graded.findings]
    told = "\n".join(["**Nothing of this submission could be graded:**", "", *reasons])
    notebook.cells.insert(0, new_markdown_cell(told, id="labkit-refused"))
    return notebook


def answers_of(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """What stands in the solution cells, by grade_id."""
    cells = [(cell.metadata.get("nbgrader", {}), cell.source) for cell in notebook.cells]
    return {grading["grade_id"]: text for grading, text in cells if grading.get("solution")}


def answers_in(path: Path) -> dict[str, str]:
    """The same of a file; nothing if it is not there or not readable."""
    with suppress(Exception):  # nbformat raises many kinds for what is no notebook
        return answers_of(nbformat.read(path, 4))
    return {}


def grade_ids(lab: Lab) -> dict[str, str]:
    """Exercise or free-text question of each graded cell, by its grade_id."""
    return {k: name for k, (name, _) in tests(lab.master).items()} | {k: k for k in lab.free_text}


Scores = dict[str, tuple[float | None, float | None, bool]]


def scores(grades, graded: Graded, lab: Lab) -> Scores:
    """The grader's points, a human's points, and whether these are still to be given, by cell."""
    found = {}
    for grade_id in grade_ids(lab):
        grade = grades.find_grade(grade_id, lab.stem, lab.stem, graded.student)
        found[grade_id] = grade.auto_score, grade.manual_score, grade.needs_manual_grade
    return found


def settle(grades, graded: Graded, lab: Lab, before: Scores, marks: list[Mark]) -> None:
    """Says which cells wait for a human, and writes the points that one gave in marks.csv.

    before: the scores of the same answers in the book, if they were there.
    """
    answers = {answer.name: answer for answer in graded.answers}
    for grade_id, name in grade_ids(lab).items():
        grade = grades.find_grade(grade_id, lab.stem, lab.stem, graded.student)
        answer = answers.get(name, Response(name, 0, None, "manual"))
        given = [mark for mark in marks if mark.points is not None and counts(mark, answer)]
        if answer.earned is None:
            grade.auto_score, grade.needs_manual_grade = None, True
        if given:
            grade.manual_score, grade.needs_manual_grade = given[-1].points, False
            comment(grades, name, graded.student, lab, given[-1].comment)
        elif before.get(grade_id, ())[:2] == (grade.auto_score, grade.manual_score):
            grade.needs_manual_grade = before[grade_id][2]
    grades.db.commit()


def comment(grades, name: str, student: str, lab: Lab, text: str) -> None:
    """Writes a human's comment beside the answer, where the book has a place for one."""
    from nbgrader.api import MissingEntry

    if text:
        with suppress(MissingEntry):
            place = grades.find_comment(name, lab.stem, lab.stem, student)
            place.manual_comment = writable(text)


def manual_scores(course: Path, lab: Lab) -> list[Mark]:
    """The points that a human gave in formgrader, and that are not to be looked at again."""
    from nbgrader.api import Gradebook, MissingEntry

    names, found = grade_ids(lab), []
    if not (course / BOOK).is_file():
        return []
    with Gradebook(f"sqlite:///{(course / BOOK).resolve()}") as grades, suppress(MissingEntry):
        for submission in grades.assignment_submissions(lab.stem):
            for grade in (grade for book in submission.notebooks for grade in book.grades):
                given = grade.manual_score is not None and not grade.needs_manual_grade
                if given and grade.name in names:
                    student, name = submission.student.id, names[grade.name]
                    found.append(Mark(student, name, grade.manual_score))
    return found


def put(folder: Path, lab: Lab, notebook: nbformat.NotebookNode) -> None:
    """Writes a notebook into a folder of the course."""
    text = nbformat.writes(notebook) + "\n"
    with replacing(folder / f"{lab.stem}.ipynb") as part:
        part.write_bytes(text.encode("utf-8", "replace"))


def keep(given: Path, folder: Path, lab: Lab) -> None:
    """Puts the file as it was handed in beside the autograded one, or takes an old one away."""
    raw, kept = given / f"{lab.stem}.ipynb", folder / f"{lab.stem}.ipynb"
    if not raw.is_file():
        kept.unlink(missing_ok=True)
    elif not kept.exists() or not os.path.samefile(raw, kept):
        with replacing(kept) as part:
            part.unlink()
            try:
                os.link(raw, part)
            except OSError:  # another disk, or one without hard links
                shutil.copyfile(raw, part)
