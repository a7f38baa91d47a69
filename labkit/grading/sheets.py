"""The grades as CSV files: for the instructor, for Moodle and for Canvas."""

import csv
import html
import io
import re
import unicodedata
from collections.abc import Iterable

from labkit.grading.records import REFUSED, Finding, Graded, Lab, Response

FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")  # what a spreadsheet would compute
JOINERS = "\u200c\u200d"  # format characters that are part of names and emojis
ASKED = 255  # characters of a sentence in a comment


def of(results: list[Graded], lab: Lab) -> dict[str, str]:
    """The text of each CSV file by its name, "" for a file that nobody needs."""
    sources = {graded.source for graded in results}
    return {
        "grades.csv": grades(results, lab),
        "moodle.csv": moodle(results, lab) if "moodle" in sources else "",
        "canvas.csv": canvas(results, lab) if "canvas" in sources else "",
    }


def grades(results: list[Graded], lab: Lab) -> str:
    """All that was found, a row a student; what is not decided is empty and never 0."""
    names = list(lab.points)
    head = ["student", "name", "identifier", "file", "status", "total", "max", *names, "findings"]
    rows = [head]
    for graded in results:
        answers = decided(graded)
        row = [graded.student, graded.name, graded.identifier, graded.file, graded.status]
        row += [number(graded.total), number(sum(lab.points.values()))]
        row += [number(answers[name].earned) if name in answers else "" for name in names]
        findings = [f"{plain(kind(f))}: {plain(f.text)}" for f in graded.findings]
        rows.append([*row, "; ".join(findings)])
    return written(rows)


def kind(finding: Finding) -> str:
    """What sort of finding it is, and of which exercise, unless its text names that."""
    named = not finding.exercise or finding.exercise in finding.text
    return finding.kind if named else f"{finding.kind} ({finding.exercise})"


def moodle(results: list[Graded], lab: Lab) -> str:
    """Moodle's grading worksheet (assignment → Upload grading worksheet).

    Moodle needs the columns Identifier, Grade and "Last modified (grade)", and passes over an empty
    grade. The "-" in the last is Moodle's own word for "never": a grade that somebody gave there
    since is not overwritten, unless one ticks the box for it. Comments are HTML.
    """
    head = ["Identifier", "Full name", "Grade", "Maximum grade", "Last modified (grade)"]
    rows = [[*head, "Feedback comments"]]
    most = number(sum(lab.points.values()))
    for graded in results:
        if graded.source == "moodle":
            who = [graded.identifier, graded.name]
            rows.append([*who, number(graded.total), most, "-", comment(graded)])
    return written(rows, keep=("-",))


def canvas(results: list[Graded], lab: Lab) -> str:
    """Canvas's grade book (Grades → Import): the column makes or fills an assignment of its name.

    Who has no total yet is left out, because Canvas deletes the grade that a student has where the
    cell is empty.
    """
    rows = [["Student", "ID", "SIS User ID", "SIS Login ID", "Section", lab.stem]]
    rows.append(["Points Possible", "", "", "", "", number(sum(lab.points.values()))])
    for graded in results:
        if graded.source == "canvas" and graded.total is not None:
            rows.append([graded.name, graded.identifier, "", "", "", number(graded.total)])
    return written(rows)


def comment(graded: Graded) -> str:
    """What Moodle shows a student below the grade: a line an exercise, as HTML."""
    answers = decided(graded).values()
    lines = [f"{a.name}: {marks(a)}, {a.state}. {plain(a.text)[:ASKED]}".rstrip() for a in answers]
    if graded.status == REFUSED:
        lines = [plain(f.text) for f in graded.findings if f.status == REFUSED]
    return "<br>".join(html.escape(plain(line), quote=False) for line in lines)


def decided(graded: Graded) -> dict[str, Response]:
    """The answers by name; none of a refused notebook, whatever stands there."""
    return {} if graded.status == REFUSED else {answer.name: answer for answer in graded.answers}


def marks(answer: Response) -> str:
    """The points of an answer in words: "2 of 3", or "? of 3" while nobody has decided."""
    return f"{number(answer.earned) or '?'} of {number(answer.points)}"


def number(points: float | None) -> str:
    """Points without needless digits, "" for None."""
    return "" if points is None else f"{points:.2f}".rstrip("0").rstrip(".")


def plain(text: object, lines: bool = False) -> str:
    """A text that cannot disturb what is around it: no control or direction characters.

    It is one line, unless `lines` asks for tabs and line ends as they are.
    """
    text = str(text).encode("utf-8", "replace").decode()
    text = text if lines else " ".join(text.split())
    kept = "\n\t" + JOINERS
    return "".join(
        c if c in kept or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else "\ufffd"
        for c in text.replace("\r\n", "\n").replace("\r", "\n")
    )


def written(rows: Iterable[list[str]], keep: tuple[str, ...] = ()) -> str:
    """Rows as CSV; a cell that a spreadsheet would compute begins with an apostrophe.

    keep: texts that are harmless though they look like a formula.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    for row in rows:
        cells = [plain(cell) for cell in row]
        writer.writerow([f"'{c}" if FORMULA.match(c) and c not in keep else c for c in cells])
    return buffer.getvalue()
