"""Student copies: nothing that gives a solution away is in them, and nothing else is lost."""

import base64
import io
import json
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from labkit import exercises, runner
from labkit.exercises import Exercise
from labkit.grading import pictures, release

pytest.importorskip("nbgrader", reason="pip install -r tests/requirements.txt")

BADGE = "https://colab.research.google.com/github/ORG/REPO/blob/main/notebooks/01_toy.ipynb"
SOLVED = '''@exercise("double")
def double(x):
    """2 x"""
    ### BEGIN SOLUTION
    secret = x + x
    return secret
    ### END SOLUTION'''
TESTED = """check("double")
### BEGIN HIDDEN TESTS
assert yours("double")(21) == 42
### END HIDDEN TESTS"""
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20"><path d="M0 0h{}v9z"/></svg>'


def settings(**given):
    return {"nbgrader": dict(schema_version=3, task=False) | given}


def picture(colour="red"):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def toy(monkeypatch):
    made = Exercise("double", lambda x: 2 * x, probes=[lambda g: (3.0,)], points=2)
    monkeypatch.setattr(exercises, "names", lambda: {"double": ("01", made)})


@pytest.fixture
def cells(toy):
    solution = settings(grade=False, solution=True, locked=False, grade_id="double")
    test = settings(grade=True, solution=False, locked=True, grade_id="double-test", points=2)
    shown = new_output(
        "display_data",
        {"image/png": picture(), "text/plain": "Two [a_b] $x$"},
        metadata={"image/png": {"alt": "Two [a_b] $x$"}},
    )
    return [
        new_markdown_cell(f"# Toy [Open in Colab]({BADGE})", id="lab01-01"),
        new_code_cell("import labkit", id="lab01-02", execution_count=1),
        new_markdown_cell(
            "See [the next lab](02_other.ipynb), [the study](studies/01_toy.ipynb#end), "
            '[data](https://example.org/x), <img src="pictures/a.png">, [gone](gone.md)',
            id="lab01-03",
        ),
        new_code_cell(SOLVED, id="lab01-double", metadata=solution, execution_count=2),
        new_code_cell(
            TESTED,
            id="lab01-double-test",
            metadata=test | {"execution": {"iopub.execute_input": "2026"}},
            execution_count=3,
            outputs=[new_output("stream", text="✔ double: 2 of 2 points")],
        ),
        new_code_cell(
            "double(3)",
            id="lab01-06",
            metadata={"tags": ["still"]},
            outputs=[shown],
            execution_count=4,
        ),
    ]


@pytest.fixture
def folder(tmp_path):
    """notebooks/ with another lab, a study and a picture for links to lead to."""
    made = tmp_path / "notebooks"
    (made / "studies").mkdir(parents=True)
    (made / "pictures").mkdir()
    (made / "pictures" / "a.png").write_bytes(b"")
    solution = settings(grade=False, solution=True, locked=False, grade_id="x")
    other = new_notebook(cells=[new_code_cell("x", metadata=solution)])
    nbformat.write(other, made / "02_other.ipynb")
    nbformat.write(new_notebook(), made / "studies" / "01_toy.ipynb")
    return made


def save(cells, folder):
    path = folder / "01_toy.ipynb"
    metadata = {"labkit": {"profile": "cpu"}, "kernelspec": {"name": "other", "display_name": "O"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), path)
    return path


@pytest.fixture
def made(cells, folder):
    master = save(cells, folder)
    release.release(master)
    return nbformat.read(folder / "student" / "01_toy.ipynb", 4)


def by_id(notebook):
    return {cell.id: cell for cell in notebook.cells}


def test_solutions_hidden_tests_and_outputs_are_gone(made, folder):
    text = json.dumps(made)
    for word in (
        "secret",
        "yours",
        "== 42",
        "SOLUTION",
        "HIDDEN",
        "of 2 points",
        "2026",
        "profile",
    ):
        assert word not in text
    found = by_id(made)
    assert found["lab01-double"].source.endswith(f'"""2 x"""\n    {release.STUB}')
    assert found["lab01-double-test"].source == 'check("double")'
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    assert all(cell.execution_count is None and not cell.outputs for cell in code)
    assert set(made.metadata) == {"kernelspec", "labkit", "language_info"}


def test_cells_keep_their_ids_and_order(made, cells):
    ids = [cell.id for cell in cells]
    assert [cell.id for cell in made.cells] == [*ids, "lab01-06-still"]


def test_a_copy_says_which_release_of_which_lab_it_is(made, cells, folder):
    facts = dict(made.metadata.labkit)
    assert set(facts) == {"lab", "release"} and facts["lab"] == "01_toy"
    cells[1].source += "  # changed"
    release.release(save(cells, folder))
    now = nbformat.read(folder / "student" / "01_toy.ipynb", 4).metadata.labkit
    assert now["lab"] == "01_toy" and now["release"] != facts["release"]


def test_nbgrader_finds_both_valid_and_the_tests_locked(made, cells, folder):
    from nbgrader.nbgraderformat import MetadataValidator

    MetadataValidator().validate_nb(nbformat.read(folder / "01_toy.ipynb", 4))
    MetadataValidator().validate_nb(made)
    nbformat.validate(made)
    test = by_id(made)["lab01-double-test"].metadata
    assert test.nbgrader.points == 2 and test.editable is False and test.deletable is False
    assert by_id(made)["lab01-double"].metadata.nbgrader.grade_id == "double"


def test_badge_and_links_lead_where_they_should(made):
    found = by_id(made)
    assert BADGE.replace("notebooks/", "notebooks/student/") in found["lab01-01"].source
    text = found["lab01-03"].source
    assert "](02_other.ipynb)" in text, "its copy is beside this one"
    assert "](../studies/01_toy.ipynb#end)" in text and 'src="../pictures/a.png"' in text
    assert "](https://example.org/x)" in text and "](gone.md)" in text


def test_a_still_picture_is_kept_with_its_alternative_text(made):
    source = by_id(made)["lab01-06-still"].source
    assert source.startswith(release.STILL) and f"data:image/png;base64,{picture()})" in source
    assert r"![Two \[a\_b\] \$x\$](" in source


def test_a_second_release_writes_nothing(made, folder):
    paths = [folder / "01_toy.ipynb", folder / "student" / "01_toy.ipynb"]
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in paths]
    release.release(paths[0])
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in paths] == before


def test_a_lab_without_exercises_is_left_alone(made, folder, capsys):
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), folder / "03_plain.ipynb")
    assert release.main(["1", "3"], folder) == 0
    assert capsys.readouterr().out.startswith("01_toy: ")
    assert not (folder / "student" / "03_plain.ipynb").exists()


def test_a_wrong_name_is_told_with_those_there_are(folder, capsys):
    assert release.main(["9"], folder) == 2
    assert "02_other" in capsys.readouterr().err


def change(cell_id, old, new):
    def edit(cells):
        cell = next(cell for cell in cells if cell.id == cell_id)
        assert old in cell.source
        cell.source = cell.source.replace(old, new)

    return edit


def without_points(cells):
    del cells[4].metadata["nbgrader"]["points"]


def other_points(cells):
    cells[4].metadata["nbgrader"]["points"] = 3


def plain_cell(k):
    def edit(cells):
        del cells[k].metadata["nbgrader"]

    return edit


def not_run(cells):
    cells[5].outputs = []


def no_alternative_text(cells):
    cells[5].outputs[0].metadata = {}


def the_test_first(cells):
    cells[3:5] = cells[4:2:-1]


MARK, DEFINED = "### BEGIN SOLUTION", '@exercise("double")\ndef double(x):'


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (change("lab01-double", MARK, "pass"), "cell lab01-double: each ### BEGIN SOLUTION needs"),
        (change("lab01-double", MARK, "# BEGIN SOLUTION"), "cell lab01-double: each"),
        (
            change("lab01-double", "    secret = x + x\n    return secret\n", MARK + "\n"),
            "lab01-double: each",
        ),
        (change("lab01-double", SOLVED, "double = 1"), "a solution cell needs ### BEGIN SOLUTION"),
        (change("lab01-double", DEFINED, "if True:"), "must lie inside of a function"),
        (change("lab01-double", "def double(x):", "def double(x:"), "it is no Python"),
        (change("lab01-double", '"double"', '"dubble"'), "no exercise is called 'dubble'"),
        (change("lab01-double-test", 'check("double")', ""), "a test cell has one check(…)"),
        (change("lab01-double-test", 'yours("double")', 'yours("dble")'), "called 'dble'"),
        (change("lab01-06", "double(3)", 'check("double")'), "cell lab01-06: check(…) belongs"),
        (change("lab01-06", "double(3)", SOLVED), "cell lab01-06: ### BEGIN SOLUTION belongs"),
        (without_points, "cell lab01-double-test: a test cell needs points"),
        (other_points, "3 points, but exercise 'double' has 2"),
        (plain_cell(3), "cell lab01-double: ### BEGIN SOLUTION belongs"),
        (plain_cell(4), "cell lab01-double-test: ### BEGIN HIDDEN TESTS belongs"),
        (not_run, "cell lab01-06: it is tagged `still` and has no picture"),
        (no_alternative_text, "cell lab01-06: a picture without alternative text"),
        (the_test_first, "exercise 'double' comes after its test"),
        (lambda cells: cells.pop(4), "exercise 'double' has no test cell"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_master_with_a_mistake_is_refused(cells, folder, capsys, edit, told):
    edit(cells)
    save(cells, folder)
    assert release.main(["01"], folder) == 1
    assert told in capsys.readouterr().out
    assert not (folder / "student").exists()


def test_without_nbgrader_the_remedy_is_told(cells, folder, capsys, monkeypatch):
    save(cells, folder)
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    assert release.main(["01"], folder) == 1
    assert ".[grading]" in capsys.readouterr().out


def test_students_need_no_nbgrader():
    code = "import sys, labkit.grading.release, labkit.exercises, labkit.widgets; "
    code += "assert 'nbgrader' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


needs_browser = pytest.mark.skipif(
    not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    reason="no Chromium: apt-get install chromium",
)


@pytest.fixture
def diagram(folder):
    path = folder / "pictures" / "01_toy.svg"
    path.write_text(SVG.format(20))
    return path


def embedded(notebook):
    return pictures.EMBEDDED.findall(notebook.cells[0].source)


@needs_browser
def test_a_diagram_is_drawn_and_drawn_again_when_it_changes(cells, folder, diagram):
    cells[0].source = "![A diagram](attachment:01_toy.svg)"
    cells[0].attachments = {"01_toy.svg": {"image/svg+xml": "PHN2Zy8+"}}
    master, seen = save(cells, folder), []
    for width in (20, 20, 30):
        diagram.write_text(SVG.format(width))
        release.release(master)
        notebook, copy = nbformat.read(master, 4), nbformat.read(release.copy_of(master), 4)
        assert "attachments" not in notebook.cells[0] and embedded(copy) == embedded(notebook)
        assert notebook.cells[0].source.startswith("![A diagram](data:image/png;base64,")
        seen += embedded(notebook)
    assert seen[0] == seen[1] != seen[2]
    assert pictures.origin(seen[2]) == ("01_toy.svg", pictures.mark_of(diagram))
    drawn = Image.open(io.BytesIO(base64.b64decode(seen[2])))
    assert drawn.size == (60, 30), "its own size, for screens with finer pixels"
    assert drawn.convert("L").getpixel((30, 3)) == 0 and drawn.convert("L").getpixel((3, 27)) == 255


def test_pictures_of_others_stay(folder):
    text = f"![mine](data:image/png;base64,{picture()})"
    assert pictures.refresh(text, folder / "pictures") == text


def test_a_diagram_that_is_missing_or_cannot_be_drawn_is_told(cells, folder, monkeypatch, capsys):
    cells[0].source = "![A diagram](attachment:01_toy.svg)"
    save(cells, folder)
    assert release.main(["01"], folder) == 1
    assert "there is no picture" in capsys.readouterr().out
    (folder / "pictures" / "01_toy.svg").write_text(SVG.format(20))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert release.main(["01"], folder) == 1
    assert "install Chromium" in capsys.readouterr().out


def test_line_ends_do_not_count_as_a_change(diagram):
    diagram.write_bytes(b"<svg>\n</svg>\n")
    mark = pictures.mark_of(diagram)
    diagram.write_bytes(b"<svg>\r\n</svg>\r\n")
    assert pictures.mark_of(diagram) == mark


def test_the_command_is_there(made, folder, monkeypatch, capsys):
    from labkit import __main__, folders

    monkeypatch.setattr(folders, "repository", lambda: folder.parent)
    assert __main__.main(["release", "01"]) == 0
    assert "01_toy" in capsys.readouterr().out
    assert runner.pick_notebooks(folder, ["01"])[0].name == "01_toy.ipynb"
