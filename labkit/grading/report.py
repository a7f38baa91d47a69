"""What comes out of grading: the grades as CSV files, a page for each student, one of the class.

Everything that comes out of a notebook is hostile here. The pages hold no scripts and load nothing.
The same results give the same files, byte for byte: there are no dates and no durations in them.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from labkit.files import replacing
from labkit.grading import class_page, feedback, sheets
from labkit.grading.records import Graded, Lab

KEY = re.compile(r"[\w.-]*[\w-][\w.-]*", re.ASCII)
LONGEST = 20_000  # characters of an answer that are kept for the class page


def write(out: Path, lab: Lab, load: Callable[[], Iterator[Graded]]) -> None:
    """Writes into the folder `out` what is reported of the submissions that `load` yields.

    Files: grades.csv; moodle.csv and canvas.csv, where a submission came from there; class.html;
    feedback/STUDENT.html. Such files of an earlier run that have no place in this one are deleted.
    Only one submission at a time is held as a whole. Raises ValueError if the key of a student is
    no file name or is there twice, and OSError if a file cannot be written.
    """
    kept: dict[str, Graded] = {}
    for whole in load():
        graded = feedback.without_tests(whole, lab)
        if not KEY.fullmatch(graded.student) or graded.student in kept:
            remedy = "submissions.find() makes keys of letters, digits, '-', '_' and '.', each once"
            raise ValueError(f"the student's key {graded.student!r} cannot name a page; {remedy}")
        put(out / "feedback" / f"{graded.student}.html", feedback.page(graded, lab))
        kept[graded.student] = light(graded)
    results = [kept[student] for student in sorted(kept)]
    for name, text in sheets.of(results, lab).items():
        if text:
            put(out / name, text)
        else:
            (out / name).unlink(missing_ok=True)
    put(out / "class.html", class_page.page(results, lab))
    for page in (out / "feedback").glob("*.html"):
        if page.stem not in kept:
            page.unlink()


def light(graded: Graded) -> Graded:
    """A result without what takes memory: notebook, pictures, and the end of endless answers."""
    answers = [replace(a, picture="", source=a.source[:LONGEST]) for a in graded.answers]
    return replace(graded, notebook="", answers=answers)


def put(path: Path, text: str) -> None:
    """Replaces a file by a text, as UTF-8 with the line ends of the text."""
    with replacing(path) as part:
        part.write_bytes(text.encode("utf-8", "replace"))
