"""A toy lab with two exercises and a free text, and a sandbox that only reads what it is given."""

import json
import time
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labkit.grading import release, sandbox
from labkit.grading.autograde import autograde

STEM = "01_toy"
ESSAY = "YOUR ANSWER HERE"  # what nbgrader leaves of a text


def settings(name, **given):
    return {"nbgrader": dict(schema_version=3, task=False, grade_id=name) | given}


def exercise(name, points):
    solved = f'@exercise("{name}")\ndef {name}(x):\n    ### BEGIN SOLUTION\n'
    solved += "    return x  # right\n    ### END SOLUTION"
    tested = f'check("{name}")\n### BEGIN HIDDEN TESTS\nassert yours("{name}")(21) == "secret"\n'
    solution = settings(name, grade=False, solution=True, locked=False)
    test = settings(f"{name}-test", grade=True, solution=False, locked=True, points=points)
    return [
        new_code_cell(solved, id=name, metadata=solution),
        new_code_cell(tested + "### END HIDDEN TESTS", id=f"{name}-test", metadata=test),
    ]


def lay_out(top: Path) -> Path:
    """notebooks/ with the master and the student copy of the toy lab, below `top`."""
    essay = settings("essay", grade=True, solution=True, locked=False, points=4)
    cells = [
        new_markdown_cell("# Toy", id="head"),
        new_code_cell("import math\nfrom labkit.exercises import check, exercise", id="set-up"),
        *exercise("double", 2),
        *exercise("triple", 3),
        new_markdown_cell(ESSAY, id="essay", metadata=essay),
    ]
    master = top / "notebooks" / f"{STEM}.ipynb"
    (top / "notebooks" / "student").mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells), master)
    copy = release.without_solutions(nbformat.read(master, 4))
    nbformat.write(copy, release.copy_of(master))
    return master


def written(top: Path, **answers: str) -> bytes:
    """The student copy with answers, by the id of the cell: a function's lines, or a text."""
    notebook = nbformat.read(top / "notebooks" / "student" / f"{STEM}.ipynb", 4)
    for count, cell in enumerate(notebook.cells):
        if cell.id in answers:
            cell.source = cell.source.replace(release.STUB, answers[cell.id])
            cell.source = cell.source.replace(ESSAY, answers[cell.id])
        if cell.cell_type == "code":
            cell.execution_count = count
    return nbformat.writes(notebook).encode()


def hand_in(folder: Path, **files: bytes) -> None:
    """A folder of submissions: NAME.ipynb each."""
    folder.mkdir(exist_ok=True)
    for name, raw in files.items():
        (folder / f"{name}.ipynb").write_bytes(raw)


def sandboxed(module, job, limits, readable=(), unsafe=False):
    """In the place of sandbox.run: a comment in an exercise says what it does."""
    given, lines, passed = json.loads(job), [], {}
    for one in given["exercises"]:
        event = {"event": "exercise", "name": one["name"], "state": "wrong", "hidden": None}
        event |= {"text": "a counterexample", "mistakes": ["forgot=it"], "findings": []}
        source = one["source"]
        if "bomb" in source:
            return sandbox.Ended("\n".join([*lines, '{"event": "exer']).encode(), "memory", "")
        if release.STUB in source:
            event |= {"state": "not attempted", "text": "not written yet", "mistakes": []}
        elif "right" in source:
            event |= {"state": "right", "text": "", "mistakes": [], "hidden": "cheat" not in source}
        elif "exits" in source:
            event |= {"state": "crashed", "text": "", "mistakes": [], "why": "exit 3"}
        elif "helper" in source:
            event |= {"text": "NameError: name 'helper' is not defined"}
        passed[one["name"]] = event["hidden"] is True or "helper" in source or "patch" in source
        lines.append(json.dumps(event))
    if given["notebook"]:
        lines.append(json.dumps(executed(given["notebook"]) | {"points": passed}))
    return sandbox.Ended("\n".join(lines).encode(), "", "")


def executed(notebook: str) -> dict:
    made, found = nbformat.reads(notebook, 4), []
    for cell in made.cells:
        if cell.cell_type == "code":
            assert not cell.outputs, "outputs that were handed in must not come back"
            cell.outputs = [new_output("stream", name="stderr", text="a warning")]
    if "tampers" in notebook:
        found = [{"kind": "asserts are switched off", "text": "They are.", "status": "manual"}]
    return {"event": "notebook", "notebook": nbformat.writes(made), "findings": found}


def in_a_while(raw, submission, lab, given):
    """autograde, but not at once, so that there is time to stop it."""
    sandbox.run, sandbox.problem = sandboxed, lambda: ""  # also on another process's side
    time.sleep(0.03)
    return autograde(raw, submission, lab, given)
