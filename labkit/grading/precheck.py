"""The check of a notebook before it is graded, and `python -m labkit check` for students.

Says what is wrong with what was handed in and repairs what it safely can. Knows the released copy
of the lab only, so a student can run it; executes nothing.
"""

import copy
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from labkit import folders
from labkit.console import one_line, say
from labkit.files import replacing
from labkit.grading import handed_in, outputs, repair
from labkit.grading.handed_in import listing, read
from labkit.grading.records import CHECK, EXERCISE, GRADED, MANUAL, REPAIRED, Finding, Lab, Refused

__all__ = ["Checked", "check", "main", "read"]

STUDENTS = ("not executed", "executed out of order", "error in outputs", "no recorded result")
RELEASE = {"test changed", "locked cell changed"}  # what an old release explains


@dataclass
class Checked:
    """A notebook that can be graded, and what is known of it so far.

    answers: what the student wrote, by exercise or grade_id of a free text, "" where the cell is
    missing; pictures: PNG in base64 by exercise, as saved in the file; added: the student's own
    code cells, and what they added to others, in order; claimed: the exercises that are right by
    the saved outputs.
    """

    notebook: NotebookNode
    findings: list[Finding]
    answers: dict[str, str]
    pictures: dict[str, str]
    added: list[str]
    claimed: frozenset[str] = frozenset()


@lru_cache(maxsize=16)
def parts_of(released: str) -> tuple[NotebookNode, list[repair.Part]]:
    notebook = nbformat.reads(released, 4)
    return notebook, repair.parts(notebook)


def check(raw: bytes, lab: Lab) -> Checked:
    """Compares what was handed in with the released copy of a lab, and repairs it.

    Raises Refused for a file that is no notebook, or not one of this lab.
    """
    notebook, findings = handed_in.opened(raw)
    released, known = parts_of(lab.released)
    cells, merged = repair.split(notebook.cells, known)
    meant = repair.recognize(cells, known)
    if all(k is None or known[k].kind in (repair.PLAIN, repair.LOCKED) for k in meant):
        raise Refused(stranger(notebook, lab))
    made = repair.mend(cells, meant, known)
    mended = made.findings
    old = release_note(notebook, released, mended)
    if old:
        mended = [finding for finding in mended if finding.kind not in RELEASE]
    elif made.changed:
        old = [Finding("cells changed", f"Cells of the lab were changed: {listing(made.changed)}.")]
    facts = {"nbformat": 4, "nbformat_minor": 5, "metadata": copy.deepcopy(released.metadata)}
    whole = nbformat.from_dict(facts | {"cells": made.cells})
    findings += merged + old + mended + outputs.findings(notebook.cells)
    findings += outputs.results_of(cells, known, made.places, lab)
    drawn = outputs.pictures(cells, known, made.places)
    claimed = outputs.claimed(notebook.cells)
    return Checked(whole, list(dict.fromkeys(findings)), made.answers, drawn, made.added, claimed)


def release_note(
    notebook: NotebookNode, released: NotebookNode, mended: list[Finding]
) -> list[Finding]:
    """Whether a notebook says that it began as another release of the lab."""
    ours, theirs = (n.metadata.get("labkit", {}).get("release") for n in (released, notebook))
    if not ours or not isinstance(theirs, str) or theirs == ours:
        return []
    text = f"It began as another release of the lab ({one_line(theirs, 12)}, now {ours})."
    if lacks := [f.exercise for f in mended if f.kind == "solution missing"]:
        text += f" Exercises that it may not have had: {listing(lacks)}."
    return [Finding("old release", text, MANUAL if lacks else GRADED)]


def stranger(notebook: NotebookNode, lab: Lab) -> str:
    """Why a notebook without any exercise of a lab is refused."""
    named = names_in(notebook)
    if named:
        from labkit import exercises  # imports torch

        others = sorted({exercises.names()[n][0] for n in named if n in exercises.names()})
        if others:
            labs = " and ".join(f"lab {number}" for number in others)
            return f"The exercises in it are those of {labs}, not of {lab.stem}."
    return f"None of the exercises of {lab.stem} was found in it."


def names_in(notebook: NotebookNode) -> set[str]:
    """The exercises that the cells of a notebook name."""
    return {
        name
        for cell in notebook.cells
        for pattern in (EXERCISE, CHECK)
        for name in pattern.findall(cell.source)
    }


def lab_of(notebook: NotebookNode, folder: Path) -> Lab:
    """The lab that a notebook began as, among the student copies. Raises Refused."""
    labs = [Lab(p.stem, "", p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.ipynb"))]
    if not labs:
        raise Refused(f"There are no labs in {folder}: work in a clone of the course's repository.")
    ids = {cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells}
    ids = {grade_id for grade_id in ids if isinstance(grade_id, str)} | names_in(notebook)

    def shared(lab: Lab) -> int:
        cells = parts_of(lab.released)[0].cells
        named = {cell.metadata.get("nbgrader", {}).get("grade_id") for cell in cells}
        named |= {part.name for part in parts_of(lab.released)[1]}
        return len(ids & (named - {None, ""}))

    best = max(labs, key=shared)
    if not shared(best):
        names = ", ".join(lab.stem for lab in labs)
        raise Refused(f"It has no exercise of any lab; there are {names}.")
    return best


def main(path: Path, repair: Path | None = None) -> int:
    """Prints what there is to mend in a notebook, and returns the exit status.

    0: nothing; 1: something; 2: it cannot be read. repair: where a repaired copy goes.
    """
    try:
        if repair and repair.exists():
            raise Refused(f"{repair} exists: give --repair the name of a new file.")
        raw = bounded(path)
        lab = lab_of(read(raw), folders.repository() / "notebooks" / "student")
        found = check(raw, lab)
        if repair:
            with replacing(repair) as part:
                part.write_text(nbformat.writes(found.notebook) + "\n", "utf-8", newline="\n")
    except (OSError, Refused) as error:
        if isinstance(error, FileNotFoundError):
            error = "there is no such file; give the notebook that you would hand in"
        print(f"labkit: {path}: {one_line(error, 500)}", file=sys.stderr)
        return 2
    mend = [f for f in found.findings if f.status != GRADED or f.kind in STUDENTS]
    say(f"{path.name}: {lab.stem}, {len(found.answers)} exercises", sys.stdout)
    for finding in found.findings:
        word = "mend" if finding in mend else "see "
        say(f"  {word}  {finding.kind}: {one_line(finding.text, 500)}", sys.stdout)
    if not mend:
        say(
            "  ok    it can be handed in; whether answers are right, its own checks say", sys.stdout
        )
    if repair:
        say(f"The repaired copy is {repair}: run all its cells and save it.", sys.stdout)
    elif any(finding.status == REPAIRED for finding in mend):
        say("The file is as it was; --repair NEW.ipynb writes a repaired copy.", sys.stdout)
    return 1 if mend else 0


def bounded(path: Path) -> bytes:
    """The bytes of a file, but no more than are read at all: one more shows that it is longer."""
    with open(path, "rb") as file:
        return file.read(handed_in.BYTES + 1)
