"""nbgrader's course layout: source/, release/ and nbgrader_config.py, on which its commands run."""

import sys
from pathlib import Path

import nbformat

from labkit import folders, runner
from labkit.files import replacing
from labkit.grading import release
from labkit.grading.records import Lab

CONFIG = f'''"""nbgrader's settings for this course. labkit wrote them once; they are yours."""

import os

# the notebooks are short under grading, and check() raises an error unless an exercise is right
os.environ.setdefault("LABKIT_PROFILE", "smoke")
os.environ["LABKIT_GRADING"] = "1"

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "labkit"
c.ClearSolutions.code_stub = {{"python": {release.STUB!r}}}
c.ExecutePreprocessor.timeout = 120
'''


def main(picks: list[str], course: Path) -> int:
    """Lays out the labs that begin with a pick (all without), and returns the exit status."""
    try:
        notebooks = folders.repository() / "notebooks"
        for master in release.masters(runner.pick_notebooks(notebooks, picks)):
            lay_out(course, lab_of(master))
            print(f"{master.stem}: source and release in {course}")
    except (runner.RunError, OSError) as error:
        print(f"labkit: {error}", file=sys.stderr)
        return 2
    return 0


def lab_of(master: Path) -> Lab:
    """A lab with its student copy. Raises runner.RunError where the copy is missing or other."""
    copy = release.copy_of(master)
    remedy = f"make it with `python -m labkit release {master.stem[:2]}`"
    if not copy.is_file():
        raise runner.RunError(f"{copy} is missing, what the students got: {remedy}")
    lab = Lab(master.stem, without_outputs(master), copy.read_text(encoding="utf-8"))
    asked, given = (graded_cells(text) for text in (lab.master, lab.released))
    if asked != given:
        other = ", ".join(sorted(asked ^ given))
        raise runner.RunError(f"{copy} has other graded cells than its master ({other}): {remedy}")
    return lab


def without_outputs(path: Path) -> str:
    """A notebook as JSON, without what its last run left in it."""
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata.pop("labkit", None)
    return nbformat.writes(notebook) + "\n"


def graded_cells(notebook: str) -> set[str]:
    """The grade_ids of a notebook that is given as JSON."""
    settings = [cell.metadata.get("nbgrader", {}) for cell in nbformat.reads(notebook, 4).cells]
    return {one["grade_id"] for one in settings if "grade_id" in one}


def lay_out(course: Path, lab: Lab) -> None:
    """Writes source/, release/ and, where there is none, nbgrader_config.py."""
    for step, text in (("source", lab.master), ("release", lab.released)):
        release.write(course / step / lab.stem / f"{lab.stem}.ipynb", text)
    config = course / "nbgrader_config.py"
    if not config.exists():
        with replacing(config) as part:
            part.write_text(CONFIG, encoding="utf-8", newline="\n")
