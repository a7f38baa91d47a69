"""Points that a human gives: marks.csv, a row for each answer that waits for one.

A mark counts for the text beside it: where a student hands in another text, a new row asks again.
"""

import csv
import io
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from labkit.files import replacing
from labkit.grading.autograde import FREE_TEXT
from labkit.grading.records import GRADED, MANUAL, Finding, Graded, Lab, Response

COLUMNS = ("student", "name", "cell", "points", "of", "comment", "text")
NEEDED = ("student", "cell", "points")
LONGEST = 30_000  # characters of a text; a cell of a spreadsheet holds 32,767
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Mark:
    """A row of marks.csv. points: None while there are none; text: None: for any text."""

    student: str
    cell: str
    points: float | None
    comment: str = ""
    text: str | None = None
    name: str = ""


def read(path: Path, lab: Lab) -> list[Mark]:
    """The rows of a marks.csv; none if there is no file.

    Takes what spreadsheets make of it: semicolons, decimal commas, a byte-order mark. Raises
    ValueError, naming the line and what was expected.
    """
    if not path.is_file():
        return []
    csv.field_size_limit(sys.maxsize)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8: save it as CSV UTF-8") from error
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    missing = [name for name in NEEDED if name not in (rows.fieldnames or [])]
    if missing:
        first = ", ".join(COLUMNS)
        raise ValueError(f"{path} has no column {missing[0]!r}; its first line should be {first}")
    return [mark_of(row, f"{path}, line {rows.line_num}", lab) for row in rows if any(row.values())]


def mark_of(row: dict[str, str | None], where: str, lab: Lab) -> Mark:
    """A row as a mark. Raises ValueError."""
    cell, given = (row["cell"] or "").strip(), (row["points"] or "").strip()
    if cell not in lab.points:
        there = ", ".join(lab.points)
        raise ValueError(f"{where}: {lab.stem} has no graded cell {cell!r}; there are {there}")
    points, most = None, lab.points[cell]
    if given:
        try:
            points = float(given.replace(",", "."))
        except ValueError:
            points = -1.0
        if not 0 <= points <= most:
            raise ValueError(f"{where}: {given!r} points; write a number from 0 to {most:g}")
    student, comment = (row["student"] or "").strip(), (row.get("comment") or "").strip()
    text = row.get("text") or None
    return Mark(student.lstrip("'"), cell, points, comment, text, row.get("name") or "")


def unique(marks: Iterable[Mark]) -> list[Mark]:
    """One mark for each text of each answer: the last that has points."""
    found: dict[tuple, Mark] = {}
    for mark in marks:
        about = mark.student, mark.cell, plain(mark.text or "")
        if mark.points is not None or about not in found:
            found[about] = mark
    return list(found.values())


def plain(text: str) -> str:
    """A text without white space, cuts and what protects from formulas."""
    return " ".join(text[:LONGEST].lstrip("'").split())


def counts(mark: Mark, answer: Response) -> bool:
    """Whether a mark was given for this answer's text."""
    any_text = mark.text is None
    return mark.cell == answer.name and (any_text or plain(mark.text) == plain(answer.source))


def apply(graded: Graded, marks: Iterable[Mark]) -> Graded:
    """A result with a human's points: they replace those of the grader, and end its waiting."""
    given = [mark for mark in marks if mark.student == graded.student and mark.points is not None]
    answers, findings = [], graded.findings
    for answer in graded.answers:
        mark = next((mark for mark in reversed(given) if counts(mark, answer)), None)
        if mark:
            text = "\n".join(filter(None, [answer.text, mark.comment]))
            answer = replace(answer, earned=mark.points, text=text)
            findings = [settled(finding, answer.name) for finding in findings]
        answers.append(answer)
    return replace(graded, answers=answers, findings=findings)


def settled(finding: Finding, name: str) -> Finding:
    """A finding about an answer that a human has marked, who has therefore seen it."""
    if finding.exercise != name or finding.status != MANUAL:
        return finding
    if finding.kind == FREE_TEXT:
        return replace(finding, status=GRADED, text=f"A human has marked {name}.")
    return replace(finding, status=GRADED, text=f"{finding.text} A human has marked it.")


def write(path: Path, lab: Lab, results: Iterable[Graded], given: list[Mark]) -> int:
    """Writes the rows that wait for points, and all given ones as they are.

    Returns how many wait.
    """
    rows, waiting, used = [], 0, set()
    for graded in results:
        for answer in graded.answers:
            own = [m for m in given if m.student == graded.student and m.cell == answer.name]
            if answer.earned is None and not any(counts(mark, answer) for mark in own):
                own.append(Mark(graded.student, answer.name, None, "", answer.source, graded.name))
            waiting += answer.earned is None and not any(
                counts(mark, answer) and mark.points is not None for mark in own
            )
            rows += own
            used |= set(own)
    rows += [mark for mark in given if mark not in used]
    if rows:
        save(path, lab, rows)
    return waiting


def save(path: Path, lab: Lab, rows: list[Mark]) -> None:
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for mark in rows:
            points = "" if mark.points is None else f"{mark.points:g}"
            cells = [mark.student, mark.name, mark.cell, points, f"{lab.points[mark.cell]:g}"]
            cells += [mark.comment, (mark.text or "")[:LONGEST]]
            table.writerow([harmless(cell) for cell in cells])


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula, nor UTF-8 for broken."""
    text = text.encode("utf-8", "replace").decode().replace("\0", "")
    return f"'{text}" if text.startswith(FORMULA) else text
