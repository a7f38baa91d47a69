"""Student copies: notebooks/student/NAME.ipynb, made from the master notebooks/NAME.ipynb.

Effects, in this order:
- the diagrams of a master are drawn anew where their SVG has changed (the master is written);
- a master with a mistake in its exercises is refused, by the id of the cell;
- nbgrader's own preprocessors take solutions, hidden tests and outputs out, and lock the tests;
- after a cell with the tag `still` stands its picture in the master: yours should look like this;
- the copy says of which lab and release it is, so that `labkit check` knows an old one;
- the Colab badge leads to the copy, and relative links lead out of its folder.
Nothing changes if nothing has changed: a second release writes no file.
"""

import ast
import copy
import hashlib
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat

from labkit import exercises, folders, runner
from labkit.console import one_line
from labkit.files import replacing
from labkit.grading import pictures

STUB = "raise NotImplementedError  # write your own lines here"
STILL = "Yours should look like this:"
KEPT = ("nbgrader", "tags", "editable", "deletable")  # of a cell's metadata
CALLS = re.compile(r"\b(exercise|check|hint|yours)\(\s*[\"']([^\"']+)[\"']\s*\)")
LINK = re.compile(r"(\]\(|(?:src|href)=\")([^)\"#\s]+)")


class ReleaseError(Exception):
    """A lab that cannot be handed out; the message names the cell and what to do."""


def main(picks: list[str], folder: Path | None = None) -> int:
    """Releases the labs that begin with a pick (all without), and returns the exit status."""
    folder = folder or folders.repository() / "notebooks"
    try:
        chosen = masters(runner.pick_notebooks(folder, picks))
    except runner.RunError as error:
        print(f"labkit: {error}", file=sys.stderr)
        return 2
    status = 0
    for master in chosen:
        try:
            size = release(master)
            print(f"{master.stem}: {size / 1000:.0f} kB in {folder.name}/student/")
        except (ReleaseError, pictures.PictureError) as error:
            print(f"{master.stem}: not released.\n  {error}")
            status = 1
    return status


def masters(paths: Iterable[Path]) -> list[Path]:
    """Those notebooks that have exercises."""
    return [path for path in paths if any(map(role, nbformat.read(path, 4).cells))]


def release(master: Path) -> int:
    """Writes the student copy of a master, and the master if a diagram changed; returns bytes."""
    notebook = nbformat.read(master, 4)
    draw(notebook, master.parent / "pictures")
    text = nbformat.writes(student_copy(notebook, master)) + "\n"
    write(master, nbformat.writes(notebook) + "\n")
    write(copy_of(master), text)
    return len(text.encode())


def copy_of(master: Path) -> Path:
    """Where the student copy of a master is."""
    return master.parent / "student" / master.name


def write(path: Path, text: str) -> None:
    """Replaces a file, unless it says the same already."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8", newline="\n")


def draw(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Puts the diagrams as they are now in `folder` into the markdown cells."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = pictures.refresh(cell.source, folder)
            cell.pop("attachments", None)


def student_copy(notebook: nbformat.NotebookNode, master: Path) -> nbformat.NotebookNode:
    """The student copy of a master with fresh diagrams. Raises ReleaseError."""
    if found := problems(notebook):
        raise ReleaseError("\n  ".join(found))
    stills = {cell.id: still(cell) for cell in notebook.cells if is_still(cell)}
    made = without_solutions(copy.deepcopy(notebook))
    made.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    cells = []
    for cell in made.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in KEPT})
        if cell.cell_type == "markdown":
            cell.source = links(cell.source, master)
        cells += [cell, *filter(None, [stills.get(cell.id)])]
    made.cells = cells
    made.metadata.labkit = {"lab": master.stem, "release": version(cells)}
    nbformat.validate(made)
    return made


def version(cells: list[nbformat.NotebookNode]) -> str:
    """What tells one release of a lab from another: 12 digits of a hash of its cells."""
    text = json.dumps([[cell.id, cell.source] for cell in cells], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def without_solutions(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """What `nbgrader generate_assignment` does to a notebook, without its grade book."""
    try:
        from nbgrader import preprocessors
    except ModuleNotFoundError as error:
        remedy = 'a release needs nbgrader: pip install -e ".[grading]"'
        raise ReleaseError(f"{error.name} is missing; {remedy}") from error
    steps = [
        preprocessors.LockCells(),
        preprocessors.ClearSolutions(code_stub={"python": STUB}),
        preprocessors.ClearOutput(),
        preprocessors.ClearHiddenTests(),
        preprocessors.ClearMarkScheme(),
        preprocessors.ComputeChecksums(),
        preprocessors.CheckCellMetadata(),
    ]
    for step in steps:
        try:
            notebook, _ = step.preprocess(notebook, {})
        except Exception as error:
            raise ReleaseError(f"nbgrader, {type(step).__name__}: {one_line(error)}") from error
    return notebook


def role(cell: nbformat.NotebookNode) -> str:
    """What a cell is to nbgrader: "solution", "test", or nothing."""
    settings = cell.metadata.get("nbgrader", {})
    return "solution" if settings.get("solution") else "test" if settings.get("grade") else ""


def problems(notebook: nbformat.NotebookNode) -> list[str]:
    """What forbids handing a lab out, each with the id of its cell."""
    found: list[str] = []
    tested: dict[str, bool] = {}  # the exercises so far, and whether they have a test
    for cell in notebook.cells:
        if cell.cell_type == "code":
            here = [*regions(cell), *exercise_calls(cell, tested)]
            if is_still(cell):
                here += pictures_missing(images(cell))
            found += [f"cell {cell.id}: {problem}" for problem in here]
    return found + [f"exercise {name!r} has no test cell" for name, ok in tested.items() if not ok]


def exercise_calls(cell: nbformat.NotebookNode, tested: dict[str, bool]) -> list[str]:
    """What is wrong with the exercises that a code cell calls by name; notes them in `tested`."""
    found, checks, known = [], 0, exercises.names()
    for call, name in CALLS.findall(cell.source):
        if name not in known:
            found.append(f"no exercise is called {name!r}")
        elif call == "exercise":
            if role(cell) != "solution":
                found.append("@exercise(…) belongs into a solution cell of nbgrader")
            if name in tested:
                found.append(f"exercise {name!r} was there before")
            tested[name] = False
        elif call == "check":
            given, expected, checks = points(cell), known[name][1].points, checks + 1
            if role(cell) != "test":
                found.append("check(…) belongs into a test cell of nbgrader")
            elif name not in tested:
                found.append(f"exercise {name!r} comes after its test, or not at all")
            elif given and given != expected:
                found.append(f"{given} points, but exercise {name!r} has {expected}")
            tested[name] = True
    if role(cell) == "test" and not points(cell):
        found.append("a test cell needs points")
    if role(cell) == "test" and checks != 1:
        found.append("a test cell has one check(…)")
    return found


def points(cell: nbformat.NotebookNode) -> float:
    return cell.metadata.get("nbgrader", {}).get("points", 0)


def regions(cell: nbformat.NotebookNode) -> list[str]:
    """What is wrong with the marked regions of a code cell, and with what is left without them."""
    rules = {"SOLUTION": "solution", "HIDDEN TESTS": "test"}
    for name, needed in rules.items():
        marks = re.findall(rf"^\s*### (BEGIN|END) {name}$", cell.source, re.M)
        if marks != ["BEGIN", "END"] * (len(marks) // 2):
            return [f"each ### BEGIN {name} needs its ### END {name}"]
        if cell.source.count(f"BEGIN {name}") != len(marks) // 2:
            return [f"write the lines `### BEGIN {name}` and `### END {name}` exactly so"]
        if marks and role(cell) != needed:
            return [f"### BEGIN {name} belongs into a {needed} cell of nbgrader"]
    if role(cell) != "solution":
        return []
    if "### BEGIN SOLUTION" not in cell.source:
        return ["a solution cell needs ### BEGIN SOLUTION and ### END SOLUTION"]
    left = re.sub(r"### BEGIN SOLUTION$.*?### END SOLUTION$", STUB, cell.source, flags=re.S | re.M)
    try:
        tree = ast.parse(left)
    except SyntaxError as error:
        return [f"without the solution it is no Python: {error.msg} in line {error.lineno}"]
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    raises = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    if any(id(node) not in inside for node in raises):
        return ["the solution must lie inside of a function, or the stub stops the notebook"]
    return []


def pictures_missing(shown: list[tuple[str, str, str]]) -> list[str]:
    """What is wrong with the pictures of a cell that has the tag `still`."""
    if not shown:
        return ["it is tagged `still` and has no picture: run the master first"]
    if not all(alt for _, _, alt in shown):
        return [
            "a picture without alternative text: plots.show gives one, or a sentence of a panel"
        ]
    return []


def is_still(cell: nbformat.NotebookNode) -> bool:
    return "still" in cell.metadata.get("tags", [])


def images(cell: nbformat.NotebookNode) -> list[tuple[str, str, str]]:
    """MIME type, base64 text and alternative text of the pictures that a cell has shown."""
    found = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        kind = next((k for k in ("image/png", "image/jpeg") if k in data), None)
        if kind:
            alt = plain(output.metadata.get(kind, {}).get("alt", ""))
            found.append((kind, "".join(data[kind].split()), alt))
    return found


def plain(alt: str) -> str:
    """A text that markdown leaves as it is, on one line."""
    return re.sub(r"([]\\[*_`<$])", r"\\\1", " ".join(alt.split()))


def still(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A cell with the picture that the master has."""
    shown = [f"![{alt}{pictures.link(kind, picture)}" for kind, picture, alt in images(cell)]
    made = nbformat.v4.new_markdown_cell("\n\n".join([STILL, *shown]), id=f"{cell.id}-still")
    made.metadata["editable"] = False  # a double click would show the text of the picture
    return made


def links(markdown: str, master: Path) -> str:
    """The text with the badge of the copy, and with relative links that lead out of its folder."""
    markdown = markdown.replace(f"/notebooks/{master.name}", f"/notebooks/student/{master.name}")

    def moved(match: re.Match) -> str:
        target = master.parent / match[2]
        if ":" in match[2] or not target.exists():
            return match[0]
        beside = target.parent == master.parent and target.suffix == ".ipynb" and masters([target])
        return match[0] if beside else f"{match[1]}../{match[2]}"  # so are the copies

    return LINK.sub(moved, markdown)
