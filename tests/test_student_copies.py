"""Every lab that is handed out: fresh, without solutions, and running whatever a student wrote.

Unsolved, the copies run from top to bottom as tests of nbval, for they lie in notebooks/student/.
Here exercises are solved, half done and wrong, in one process, which is faster than a kernel.
"""

import ast
import random
import re

import matplotlib.pyplot as plt
import nbformat
import pytest
from traitlets.config import Config

from labkit import exercises, folders
from labkit.grading import pictures, release

pytest.importorskip("nbgrader", reason="pip install -r tests/requirements.txt")

FOLDER = folders.repository() / "notebooks"
MASTERS = release.masters(sorted(FOLDER.glob("*.ipynb")))
MIXTURES = 3  # a lab
HALF_DONE = ("return None", "half = 1 / 0", "yield")
EXERCISE = r'^@exercise\("(\w+)"\)'
REGION = r"^[ \t]*### BEGIN {0}$.*?^[ \t]*### END {0}$\n?"


@pytest.fixture(params=MASTERS, ids=lambda path: path.stem)
def master(request):
    return request.param


@pytest.fixture
def solved(master):
    return nbformat.read(master, 4)


@pytest.fixture
def handed_out(master):
    path = release.copy_of(master)
    assert path.is_file(), f"there is no {path}: python -m labkit release"
    return nbformat.read(path, 4)


@pytest.fixture
def shell(monkeypatch, tmp_path):
    """IPython in this process, in the folder of the student copies."""
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("LABKIT_RESULTS", str(tmp_path))
    monkeypatch.setenv("LABKIT_PROFILE", "smoke")
    monkeypatch.setattr(exercises, "_handles", {})
    monkeypatch.setattr(exercises, "_hints", {})
    monkeypatch.chdir(FOLDER)
    config = Config(HistoryManager={"enabled": False}, InteractiveShell={"xmode": "Plain"})
    yield InteractiveShell.instance(config=config)
    InteractiveShell.clear_instance()
    plt.close("all")


def run(shell, source):
    """Runs a cell and returns what it raised."""
    result = shell.run_cell(source)
    return result.error_before_exec or result.error_in_exec


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def lines(source):
    return {line.strip() for line in source.splitlines() if line.strip()}


def parts(notebook, *roles):
    """The cells that set a lab up, and those of its exercises and tests."""
    first = code(notebook)[:2]
    return first + [cell for cell in code(notebook)[2:] if release.role(cell) in roles]


def test_the_copy_is_what_a_release_makes_now(solved, master, capsys):
    release.draw(solved, FOLDER / "pictures")
    text = nbformat.writes(release.student_copy(solved, master)) + "\n"
    remedy = f"run `python -m labkit release {master.stem[:2]}` and commit what it writes"
    assert release.copy_of(master).read_text(encoding="utf-8") == text, remedy
    assert len(text.encode()) < 1_000_000


def test_diagrams_agree_with_their_svg(solved):
    for cell in solved.cells:
        if cell.cell_type == "markdown":
            assert "](attachment:" not in cell.source, f"{cell.id}: python -m labkit release"
            for found in pictures.EMBEDDED.findall(cell.source):
                name, mark = pictures.origin(found)
                assert not name or mark == pictures.mark_of(FOLDER / "pictures" / name), cell.id


def test_no_line_of_a_solution_or_a_hidden_test_is_left(solved, handed_out):
    """Each line of code of the copy stands outside of the master's regions, or is the stub."""
    regions = "|".join(REGION.format(name) for name in ("SOLUTION", "HIDDEN TESTS"))
    allowed, hidden = {release.STUB}, set()
    for cell in code(solved):
        left = re.sub(regions, "", cell.source, flags=re.S | re.M)
        allowed |= lines(left)
        hidden |= lines(cell.source) - lines(left)
    given = set().union(*(lines(cell.source) for cell in code(handed_out)))
    assert given <= allowed
    texts = "\n".join(c.source for c in handed_out.cells if c.cell_type == "markdown")
    assert not [line for line in hidden if len(line) > 20 and line in texts]
    assert not any(cell.get("outputs") or cell.get("attachments") for cell in handed_out.cells)
    assert "### " not in "".join(cell.source for cell in code(handed_out))


def test_cells_are_those_of_the_master(solved, handed_out):
    ids = [cell.id for cell in handed_out.cells]
    assert [k for k in ids if not k.endswith("-still")] == [cell.id for cell in solved.cells]
    assert len(set(ids)) == len(ids)
    names = [
        name for cell in code(solved) for name in re.findall(r'@exercise\("(\w+)"', cell.source)
    ]
    of_lab = [n for n, (lab, _) in exercises.names().items() if lab == names_lab(solved)]
    assert sorted(names) == sorted(of_lab), "every exercise of a lab is in it, once"


def names_lab(notebook):
    """The number of the lab whose exercises a notebook has."""
    name = re.search(r'@exercise\("(\w+)"', "\n".join(c.source for c in code(notebook)))[1]
    return exercises.names()[name][0]


def test_no_stub_passes_its_test(handed_out, shell, monkeypatch):
    monkeypatch.setenv("LABKIT_GRADING", "1")
    for cell in parts(handed_out, "solution", "test"):
        error = run(shell, cell.source)
        if release.role(cell) == "test":
            assert isinstance(error, AssertionError), (cell.id, error)
        else:
            assert error is None, (cell.id, error)


def test_solutions_of_the_master_score_full(solved, shell, monkeypatch):
    monkeypatch.setenv("LABKIT_GRADING", "1")
    for cell in parts(solved, "solution", "test"):
        error = run(shell, cell.source)
        assert error is None, (cell.id, error)


def wrong(cell, body):
    """A student's cell with `body` in the place of the stub."""
    return cell.source.replace(release.STUB, body)


def mistaken(cell, name, k):
    """A student's cell that makes the known mistake number k."""
    functions = [
        node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.FunctionDef)
    ]
    spec = functions[0].args
    arguments = ", ".join(argument.arg for argument in spec.posonlyargs + spec.args)
    body = f"return __import__('labkit.exercises').exercises.names()[{name!r}][1].mistakes[{k}]"
    return wrong(cell, f"{body}.function({arguments})")


def written(name, cell, answer, mixture):
    """What a student has written for an exercise: in mixture 0 a mistake, in others any state."""
    number = len(exercises.names()[name][1].mistakes)
    mistake = random.Random(f"{name} {mixture}").randrange(number)
    states = [("solved", answer.source), ("unwritten", cell.source)]
    states += [(body, wrong(cell, body)) for body in HALF_DONE]
    states += [(f"mistake {mistake}", mistaken(cell, name, mistake))]
    if mixture:
        random.Random(name).shuffle(states)
    return states[mixture - 1]


@pytest.mark.parametrize("mixture", range(MIXTURES))
def test_a_lab_runs_to_its_end_in_any_mixture(solved, handed_out, shell, mixture):
    """The mixtures are the same each time, and an exercise has another state in each."""
    answers, chosen = {cell.id: cell for cell in code(solved)}, {}
    for cell in code(handed_out):
        source = cell.source
        if release.role(cell) == "solution":
            name = re.search(EXERCISE, source, re.M)[1]
            chosen[name], source = written(name, cell, answers[cell.id], mixture)
        error = run(shell, source)
        plt.close("all")
        assert error is None, (cell.id, error, chosen)
