"""The check before grading: any file is read or refused, and what is graded is there once."""

import base64
import copy
import io
import json
import random
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from labkit import folders, results
from labkit.grading import handed_in, outputs, precheck
from labkit.grading.records import GRADED, MANUAL, REPAIRED, Lab, Refused, gravest

STEM = "08_toy"
STUB = "    raise NotImplementedError  # write your own lines here"
DOUBLE = '@exercise("double")\ndef double(x):\n    """2 x"""\n'
SQUARE = '@exercise("square")\ndef square(x):\n    """x times x"""\n'
ANSWERS = {"double": DOUBLE + "    return x + x", "square": SQUARE + "    return x * x"}
BAND = {"profile": "cpu", "data": "mnist (LABKIT_DATA)", "data_content": ["abc"]}
LOSSES = [1.0, 1.01, 0.99, 1.0, 1.02]


def graded(grade_id, **given):
    facts = {"grade": False, "solution": False, "locked": False, "schema_version": 3}
    return {"nbgrader": facts | {"grade_id": grade_id, "task": False} | given}


def released():
    """A lab as it is handed out: two exercises, a free text, and the cell that records."""
    cells = [
        new_markdown_cell("# Toy", id="toy-title"),
        new_code_cell("import torch\n\ndef shown(x):\n    return x", id="toy-imports"),
        new_code_cell(DOUBLE + STUB, id="toy-double", metadata=graded("double", solution=True)),
        new_code_cell('check("double")', id="toy-double-test"),
        new_code_cell("plot(double)", id="toy-plot"),
        new_code_cell("plot(double, shown)", id="toy-still", metadata={"tags": ["still"]}),
        new_code_cell(SQUARE + STUB, id="toy-square", metadata=graded("square", solution=True)),
        new_code_cell('check("square")\nassert square(3) == 9', id="toy-square-test"),
        new_markdown_cell("Why are both even?\n\n*Write here.*", id="toy-why"),
        new_markdown_cell("Do not change this.", id="toy-locked"),
        new_code_cell('results.found("08_toy", {"loss": loss}, data=x, seed=0)', id="toy-end"),
    ]
    for k, name in ((3, "double"), (7, "square")):
        cells[k].metadata = nbformat.from_dict(
            graded(f"{name}-test", grade=True, locked=True, points=2) | {"editable": False}
        )
    cells[8].metadata = nbformat.from_dict(graded("why", grade=True, solution=True, points=3))
    cells[9].metadata = nbformat.from_dict(graded("note", locked=True))
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "labkit": {"lab": STEM, "release": "0123456789ab"},
    }
    return new_notebook(cells=cells, metadata=metadata)


LAB = Lab(STEM, "", nbformat.writes(released()))


def png(colour="red", size=(8, 8)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


def record(loss=1.0, **given):
    """What the recording cell shows, by labkit itself."""
    facts = {"notebook": STEM, "seed": 0, "date": "2026-01-01 12:00", "torch": "2", "claims": []}
    content = BAND | facts | {"fingerprint": "f", "metrics": {"loss": loss}} | given
    made = results.Found(content, Path())
    data = {"text/plain": repr(made), "text/html": made._repr_html_()}
    data |= json.loads(json.dumps(made._repr_mimebundle_()))
    return {"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": 8}


def display(data):
    return {"output_type": "display_data", "data": data, "metadata": {}}


@pytest.fixture(autouse=True)
def kit(tmp_path, monkeypatch):
    """The kit with a band for the toy lab."""
    monkeypatch.setattr(results.folders, "measured", lambda: tmp_path / "kit")
    results.write(
        tmp_path / "kit" / "labs" / f"{STEM}.json", BAND | {"date": "", "metrics": {"loss": LOSSES}}
    )


@pytest.fixture
def perfect(kit):
    """A perfect submission, as JSON."""
    made = json.loads(nbformat.writes(released()))
    count = 0
    for cell in made["cells"]:
        cell["source"] = "".join(cell["source"])
        for name, answer in ANSWERS.items():
            if cell["id"] == f"toy-{name}":
                cell["source"] = answer
        if cell["id"] == "toy-why":
            cell["source"] = "Because 2 divides them."
        if cell["cell_type"] == "code":
            cell["execution_count"] = count = count + 1
    by_id(made)["toy-plot"]["outputs"] = [display({"image/png": png("green")})]
    by_id(made)["toy-still"]["outputs"] = [display({"image/png": png("red")})]
    by_id(made)["toy-end"]["outputs"] = [record()]
    return made


def by_id(notebook):
    return {cell["id"]: cell for cell in notebook["cells"]}


def check(notebook, lab=LAB):
    """The result; and of each: the notebook is valid and each graded cell is there once."""
    made = precheck.check(json.dumps(notebook).encode(), lab)
    nbformat.validate(made.notebook)
    ids = [cell.id for cell in made.notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in nbformat.reads(lab.released, 4).cells:
        settings = cell.metadata.get("nbgrader")
        if settings:
            (ours,) = [c for c in made.notebook.cells if c.metadata.get("nbgrader") == settings]
            assert (ours.id, ours.cell_type) == (cell.id, cell.cell_type)
            assert ours.source == cell.source or settings["solution"]
    given = [cell for cell in made.notebook.cells if cell.metadata.get("nbgrader")]
    assert len(given) == 6 and set(made.answers) == {"double", "square", "why"}
    assert all(f.text[0].isupper() and f.text[-1] in ".)" for f in made.findings)
    return made


def kinds(made):
    return {finding.kind: finding.status for finding in made.findings}


def test_nothing_is_said_of_a_perfect_submission(perfect):
    made = check(perfect)
    assert made.findings == [] and made.added == []
    assert made.answers == ANSWERS | {"why": "Because 2 divides them."}
    assert made.pictures == {"double": png("red")}, "the still one, although it is not the first"
    for cell, ours in zip(perfect["cells"], made.notebook.cells, strict=True):
        assert (ours.id, ours.source) == (cell["id"], cell["source"])
        assert [dict(o) for o in ours.get("outputs", [])] == cell.get("outputs", [])


def test_the_released_copy_itself_is_unwritten_and_not_executed():
    made = check(json.loads(LAB.released))
    assert kinds(made) == {"not executed": GRADED, "no recorded result": GRADED}
    assert made.answers["double"] == DOUBLE + STUB and made.pictures == {}


def test_white_space_alone_is_no_change(perfect):
    for cell in perfect["cells"]:
        cell["source"] += "  \n\n"
    assert check(perfect).findings == []


# repairs


def without_metadata(notebook):
    for cell in notebook["cells"]:
        cell["metadata"] = {}
    del notebook["metadata"]["labkit"]


def without_ids(notebook):
    for cell in notebook["cells"]:
        del cell["id"]
    notebook["nbformat_minor"] = 0


def as_colab_may(notebook):
    without_metadata(notebook)
    without_ids(notebook)
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
        cell["metadata"] = {"id": "x1"}
        cell.pop("execution_count", None)


def one_id_for_all(notebook):
    for cell in notebook["cells"]:
        cell["id"] = "a"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (without_metadata, {"metadata lost": REPAIRED}),
        (without_ids, {"no cell ids": GRADED}),
        (as_colab_may, {"metadata lost": REPAIRED, "no cell ids": GRADED, "not executed": GRADED}),
        (one_id_for_all, {"cell ids": REPAIRED}),
    ],
)
def test_cells_are_known_by_what_is_left(perfect, change, found):
    before = check(perfect)
    change(perfect)
    made = check(perfect)
    assert kinds(made) == found
    assert made.answers == before.answers and made.pictures == before.pictures
    assert [c.source for c in made.notebook.cells] == [c.source for c in before.notebook.cells]


def test_a_cell_twice_counts_once_and_the_last_that_was_written_counts(perfect):
    cells = perfect["cells"]
    k = [cell["id"] for cell in cells].index("toy-double")
    newer = cells[k] | {"source": DOUBLE + "    return 2 * x", "id": "toy-copy"}
    stub = cells[k] | {"source": DOUBLE + STUB}
    cells[k + 2 : k + 2] = [newer, stub]
    made = check(perfect)
    assert made.answers["double"] == newer["source"] and kinds(made)["cell twice"] == REPAIRED
    code = [cell.source for cell in made.notebook.cells if cell.cell_type == "code"]
    assert [s for s in code if s.startswith(DOUBLE)] == [newer["source"]]
    raw = [cell.source for cell in made.notebook.cells if cell.cell_type == "raw"]
    assert raw == [ANSWERS["double"]], "the other answer is kept, the empty copy is not"
    assert made.added == []
    ids = [cell.id for cell in made.notebook.cells]
    assert ids.index("toy-double") < ids.index("toy-double-test")


def test_a_copied_cell_in_which_another_exercise_was_written_is_that_one(perfect):
    copied = by_id(perfect)["toy-double"] | {"source": ANSWERS["square"], "id": "own"}
    perfect["cells"] = [c for c in perfect["cells"] if c["id"] != "toy-square"]
    perfect["cells"].insert(6, copied)
    made = check(perfect)
    assert made.answers["square"] == ANSWERS["square"]
    assert made.answers["double"] == ANSWERS["double"] and "cell twice" not in kinds(made)


def test_the_halves_of_a_cell_that_was_split_are_no_second_answer(perfect):
    k = [cell["id"] for cell in perfect["cells"]].index("toy-double")
    half = copy.deepcopy(perfect["cells"][k]) | {"source": "print(double(4))", "id": "half"}
    perfect["cells"].insert(k + 1, half)
    made = check(perfect)
    assert made.answers["double"] == ANSWERS["double"] and made.added == ["print(double(4))"]


def test_a_scratch_function_of_the_same_name_is_no_second_answer(perfect):
    scratch = "def double(x):\n    return 'try'"
    perfect["cells"].append(json.loads(json.dumps(new_code_cell(scratch))))
    made = check(perfect)
    assert made.answers["double"] == ANSWERS["double"]


def test_merged_exercises_are_taken_apart(perfect):
    cells, found = perfect["cells"], by_id(perfect)
    names = ("toy-double", "toy-double-test", "toy-square")
    found["toy-double"]["source"] = "import math\n" + "\n\n".join(found[n]["source"] for n in names)
    perfect["cells"] = [cell for cell in cells if cell["id"] not in names[1:]]
    made = check(perfect)
    assert {"cells merged", "test missing"} <= set(kinds(made))
    assert made.answers["double"].startswith("import math\n@exercise")
    assert made.answers["square"] == ANSWERS["square"]


@pytest.mark.parametrize("change", ["assert True", 'check("double")\nassert True', ""])
def test_a_changed_test_is_as_released_again_and_says_so(perfect, change):
    by_id(perfect)["toy-double-test"]["source"] = change
    made = check(perfect)
    (finding,) = [f for f in made.findings if f.kind == "test changed"]
    assert (finding.status, finding.exercise) == (REPAIRED, "double") and "cell 4" in finding.text


def test_a_missing_test_is_put_back_behind_its_exercise(perfect):
    perfect["cells"] = [c for c in perfect["cells"] if c["id"] != "toy-double-test"]
    made = check(perfect)
    ids = [cell.id for cell in made.notebook.cells]
    assert kinds(made)["test missing"] == REPAIRED
    assert ids.index("toy-double-test") == ids.index("toy-double") + 1


@pytest.mark.parametrize("with_test", [False, True])
def test_a_missing_solution_is_put_back_as_a_stub_with_no_answer(perfect, with_test):
    gone = ["toy-square"] + ["toy-square-test"] * with_test
    perfect["cells"] = [c for c in perfect["cells"] if c["id"] not in gone]
    made = check(perfect)
    assert kinds(made)["solution missing"] == REPAIRED and made.answers["square"] == ""
    assert by_id(made.notebook)["toy-square"].source == SQUARE + STUB
    ids = [cell.id for cell in made.notebook.cells]
    assert ids.index("toy-square") < ids.index("toy-square-test")


def test_tests_alone_are_a_submission_without_answers(perfect):
    gone = ("toy-double", "toy-square", "toy-why")
    perfect["cells"] = [c for c in perfect["cells"] if c["id"] not in gone]
    made = check(perfect)
    assert set(made.answers.values()) == {""} and made.pictures == {}


def test_a_test_above_its_exercise_is_moved_below(perfect):
    perfect["cells"][2:4] = perfect["cells"][3:1:-1]
    made = check(perfect)
    assert kinds(made)["order changed"] == REPAIRED
    assert [c.id for c in made.notebook.cells] == [c.id for c in released().cells]


@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_a_solution_that_became_text_is_code_again(perfect, kind):
    cell = by_id(perfect)["toy-double"]
    cell["cell_type"] = kind
    del cell["outputs"], cell["execution_count"]
    made = check(perfect)
    assert kinds(made)["not a code cell"] == REPAIRED
    assert made.answers["double"] == ANSWERS["double"]


def test_a_lost_decorator_is_put_back(perfect):
    cell = by_id(perfect)["toy-double"]
    cell["source"] = "import math\n" + cell["source"].partition("\n")[2]
    made = check(perfect)
    assert kinds(made) == {"decorator missing": REPAIRED}
    assert made.answers["double"] == "import math\n" + ANSWERS["double"]


def test_a_changed_locked_cell_is_as_released_again(perfect):
    by_id(perfect)["toy-locked"]["source"] = "I did."
    assert kinds(check(perfect)) == {"locked cell changed": REPAIRED}
    del perfect["cells"][9]
    assert kinds(check(perfect)) == {"locked cell missing": REPAIRED}


def test_an_answer_in_words_is_found_by_its_place(perfect):
    without_metadata(perfect)
    without_ids(perfect)
    assert check(perfect).answers["why"] == "Because 2 divides them."
    del perfect["cells"][8]
    made = check(perfect)
    assert made.answers["why"] == "" and kinds(made)["answer missing"] == REPAIRED


def test_a_renamed_function_is_known_by_the_rest_of_its_cell(perfect):
    without_metadata(perfect)
    without_ids(perfect)
    renamed = 'def two(x):\n    """x times x"""\n    raise NotImplementedError  # write your own'
    perfect["cells"][6]["source"] = renamed + " lines here\n    return x * x"
    assert check(perfect).answers["square"].startswith("def two")


def test_what_students_add_is_told_apart_from_what_the_lab_has(perfect):
    own = new_code_cell("def helper(x):\n    return x", id="mine", metadata={"tags": ["x"]})
    again = new_code_cell('check("double")', id="again")
    perfect["cells"][2:2] = json.loads(json.dumps([own]))
    perfect["cells"].insert(6, json.loads(json.dumps(again)))
    imports = by_id(perfect)["toy-imports"]
    imports["source"] = "import math\n" + imports["source"]
    made = check(perfect)
    assert made.added == ["import math", own.source, again.source]
    assert "test changed" not in kinds(made) and "cell twice" not in kinds(made)
    (finding,) = [f for f in made.findings if f.kind == "cells changed"]
    assert "toy-imports" in finding.text and finding.status == GRADED
    assert by_id(made.notebook)["mine"].metadata == {}, "a tag could let errors pass"


def test_an_old_release_is_noted_and_waits_for_a_human_if_it_lacks_an_exercise(perfect):
    perfect["metadata"]["labkit"]["release"] = "old"
    by_id(perfect)["toy-double-test"]["source"] += "  # as it was"
    assert kinds(check(perfect)) == {"old release": GRADED}
    perfect["cells"] = [c for c in perfect["cells"] if not c["id"].startswith("toy-square")]
    made = check(perfect)
    assert kinds(made)["old release"] == MANUAL
    assert "square" in next(f.text for f in made.findings if f.kind == "old release")


# refused


def test_another_lab_is_refused_naming_both():
    path = folders.repository() / "notebooks" / "student" / "04_gan_vs_vae_fid.ipynb"
    with pytest.raises(Refused, match=f"lab 04.*{STEM}"):
        precheck.check(path.read_bytes(), LAB)


def test_a_notebook_without_any_exercise_is_refused():
    with pytest.raises(Refused, match=f"None of the exercises of {STEM}"):
        precheck.check(nbformat.writes(new_notebook(cells=[new_code_cell("1")])).encode(), LAB)


def cells_of(cells):
    return json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}).encode()


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "empty"),
        (b"%PDF-1.4 \xff", "no JSON"),
        (b'{"cells": [', "no JSON"),
        (b"[]", "no list of cells"),
        (b'{"cells": {}}', "no list of cells"),
        (b'{"worksheets": 3, "nbformat": 3}', "old format"),
        (b"[" * 100_000, "no JSON"),
        (b"[" * 100 + b"]" * 100, "levels deep"),
        (b"[{}" + b",{}" * 300_001 + b"]", "lists and objects"),
        (b'{"cells": ' + b"1" * 5_000 + b"}", "no list of cells"),
        (b" " * 30_000_001, "30 MB"),
        (cells_of([{}] * 10_000), "10,000 cells"),
        (
            cells_of(
                [{"cell_type": "code", "outputs": [{"output_type": "stream", "text": ""}] * 20_001}]
            ),
            "20,001 outputs",
        ),
        (cells_of([{"cell_type": "code", "source": "x" * 200_001}]), "200,001 characters"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_notebook_is_refused_with_the_reason(raw, told):
    with pytest.raises(Refused, match=told):
        precheck.read(raw)


def test_notebooks_of_format_3_are_upgraded(perfect):
    old = nbformat.convert(nbformat.reads(json.dumps(perfect), 4), 3)
    made = precheck.check(nbformat.writes(old, 3).encode(), LAB)
    assert made.answers["double"] == ANSWERS["double"]


ODD = [None, True, -1, 10**30, 1e308, "x", "\ud800", "\0", [], [1], [[]], {}, {"a": []}, ["x", 1]]


def places(value, path=()):
    """The way to each part of a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def test_no_change_of_any_part_of_the_file_ends_in_a_traceback(perfect):
    dice, seen = random.Random(0), set()
    ways = [path for path in places(perfect) if path]
    for _ in range(400):
        changed = copy.deepcopy(perfect)
        for path in dice.sample(ways, dice.randint(1, 3)):
            part = changed
            try:
                for key in path[:-1]:
                    part = part[key]
                part[path[-1]] = dice.choice(ODD)
            except (KeyError, IndexError, TypeError):
                continue
        try:
            made = check(changed)
            seen.add(gravest(made.findings))
            nbformat.writes(made.notebook).encode()
        except Refused as error:
            seen.add(str(error)[:20])
    assert len(seen) >= 4


def test_what_is_not_valid_is_left_out_and_told(perfect):
    by_id(perfect)["toy-plot"]["outputs"] = "all"
    by_id(perfect)["toy-why"]["source"] = {"a": 1}
    perfect["cells"] += [3]
    made = check(perfect)
    (finding,) = [f for f in made.findings if f.kind == "not valid"]
    assert finding.status == REPAIRED and "cell 12 is no object" in finding.text


def test_numbers_that_json_does_not_have_are_read_as_nothing():
    raw = b'{"cells": [], "metadata": {"labkit": {"a": NaN, "b": 1e999, "c": Infinity}}}'
    assert precheck.read(raw).metadata.labkit == {"a": None, "b": None, "c": None}


@pytest.mark.parametrize("text", ["\n" * 199_999, "@" * 199_999, "a." * 99_999, "(" * 199_999])
def test_no_text_takes_long_to_look_at(perfect, text):
    """A pattern that goes back and forth over white space would take hours here."""
    for cell in perfect["cells"][:8]:
        cell["source"] = text
    with pytest.raises(Refused):
        precheck.check(json.dumps(perfect | {"cells": perfect["cells"][:2] * 20}).encode(), LAB)


# what the outputs tell


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_cells_executed_out_of_order_or_not_at_all_are_told(perfect):
    code = code_cells(perfect)
    code[3]["execution_count"] = 20
    assert kinds(check(perfect)) == {"executed out of order": GRADED}
    code[3]["execution_count"] = None
    assert kinds(check(perfect))["not executed"] == GRADED


def test_empty_cells_do_not_count(perfect):
    perfect["cells"].insert(3, json.loads(json.dumps(new_code_cell(" \n"))))
    assert check(perfect).findings == []


def test_errors_and_warnings_name_cell_and_reason(perfect):
    error = {"output_type": "error", "ename": "KeyError", "evalue": "'a\x1b[2J'", "traceback": []}
    stream = {"output_type": "stream", "name": "stderr", "text": "UserWarning: old\nmore"}
    by_id(perfect)["toy-still"]["outputs"] += [error, stream]
    found = {f.kind: f.text for f in check(perfect).findings}
    assert set(found) == {"error in outputs", "stderr in outputs"}
    assert "cell 6 (KeyError: 'a?[2J')" in found["error in outputs"]
    assert "cell 6 (UserWarning: old)" in found["stderr in outputs"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"loss": 1.02}, {}),
        ({"loss": 1.04}, {}),
        ({"loss": 3.0}, {"result out of band": MANUAL}),
        ({"loss": 3.0, "data_content": ["other"]}, {}),
        ({"loss": 3.0, "profile": "smoke"}, {"another profile": GRADED}),
        ({"data": "mnist (built-in stand-in)"}, {"stand-in data": GRADED}),
        ({"notebook": "03_vae"}, {"record of another lab": MANUAL}),
    ],
)
def test_recorded_results_are_compared_with_the_band(perfect, given, found):
    by_id(perfect)["toy-end"]["outputs"] = [record(**given)]
    assert kinds(check(perfect)) == found


@pytest.mark.parametrize("loss", [1, 1.0, 1.0123456, 0.99999999, 1e-12])
def test_a_table_as_saved_by_a_browser_agrees_with_its_record(perfect, loss):
    output = record(loss)
    if loss == int(loss):
        output["data"][results.MIME]["metrics"]["loss"] = int(loss)
    by_id(perfect)["toy-end"]["outputs"] = [output]
    assert "record and table differ" not in kinds(check(perfect))
    del output["data"]["text/html"]
    assert "record and table differ" not in kinds(check(perfect))


@pytest.mark.parametrize("form", ["text/html", "text/plain"])
def test_a_table_that_says_other_numbers_than_the_record_is_told(perfect, form):
    output = record(loss=1.0)
    output["data"][form] = output["data"][form].replace("1", "1.01", 1).replace(">1<", ">1.01<")
    output["data"][form] = output["data"][form].replace("you 1;", "you 1.01;")
    if form == "text/plain":
        del output["data"]["text/html"]
    by_id(perfect)["toy-end"]["outputs"] = [output]
    assert kinds(check(perfect)) == {"record and table differ": MANUAL}


@pytest.mark.parametrize("value", [None, 3, [], {}, {"metrics": {"loss": [1]}}, "x"])
def test_a_record_that_cannot_be_read_is_none(perfect, value):
    by_id(perfect)["toy-end"]["outputs"][0]["data"][results.MIME] = value
    assert kinds(check(perfect)) == {"no recorded result": GRADED}


def test_a_changed_recording_cell_waits_for_a_human(perfect):
    by_id(perfect)["toy-end"]["source"] = 'results.found("08_toy", {"loss": 1.0}, data=x, seed=0)'
    assert kinds(check(perfect))["recording cell changed"] == MANUAL


def test_a_band_of_equal_seeds_is_no_division_by_zero(perfect, tmp_path):
    band = BAND | {"date": "", "metrics": {"loss": [0.0] * 5}}
    results.write(tmp_path / "kit" / "labs" / f"{STEM}.json", band)
    by_id(perfect)["toy-end"]["outputs"] = [record(loss=1e-6)]
    assert check(perfect).findings == []
    by_id(perfect)["toy-end"]["outputs"] = [record(loss=0.1)]
    assert kinds(check(perfect)) == {"result out of band": MANUAL}


def bomb():
    """A PNG of 100 megapixels in 13 kB."""
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def jpeg():
    buffer = io.BytesIO()
    Image.new("RGB", (2_000, 20), "red").save(buffer, "jpeg")
    return base64.b64encode(buffer.getvalue()).decode()


def test_only_safe_pictures_are_taken(perfect):
    assert outputs.picture({"image/png": png()}) == png()
    broken = base64.b64encode(base64.b64decode(png())[:40]).decode()
    noise = base64.b64encode(random.Random(0).randbytes(1_100_000)).decode()
    for bad in (broken, noise, bomb(), jpeg(), "<svg onload=alert(1)>", "", "é"):
        assert outputs.picture({"image/png": bad}) == ""
    assert outputs.picture({"text/plain": "x"}) == ""
    made = base64.b64decode(outputs.picture({"image/jpeg": jpeg()}))
    assert Image.open(io.BytesIO(made)).size == (900, 9) and made[:8] == outputs.SIGNATURE
    del by_id(perfect)["toy-still"]["outputs"][0]
    assert check(perfect).pictures == {"double": png("green")}


# the command


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone whose student copies are the toy's and a second lab's."""
    folder = tmp_path / "clone" / "notebooks" / "student"
    folder.mkdir(parents=True)
    (folder / f"{STEM}.ipynb").write_text(LAB.released, encoding="utf-8")
    other = released()
    for cell in other.cells:
        cell.source = cell.source.replace("double", "treble").replace("square", "cube")
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader.grade_id = f"o-{cell.metadata.nbgrader.grade_id}"
    nbformat.write(other, folder / "02_other.ipynb")
    monkeypatch.setattr(folders, "repository", lambda: tmp_path / "clone")
    return folder


def saved(notebook, path):
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


def test_the_command_finds_the_lab_by_content(perfect, clone, tmp_path, capsys):
    path = saved(perfect, tmp_path / "my lab (1).ipynb")
    before = path.read_bytes()
    assert precheck.main(path, None) == 0
    assert f"{STEM}" in (said := capsys.readouterr().out) and "ok    it can be handed in" in said
    assert path.read_bytes() == before


def test_the_command_tells_what_to_mend_and_writes_a_repaired_copy(
    perfect, clone, tmp_path, capsys
):
    by_id(perfect)["toy-double-test"]["source"] = "pass"
    code_cells(perfect)[0]["outputs"] = [
        {"output_type": "stream", "name": "stderr", "text": "careful\x1b[2J"}
    ]
    path, new = saved(perfect, tmp_path / "lab.ipynb"), tmp_path / "repaired.ipynb"
    before = path.read_bytes()
    assert precheck.main(path, new) == 1
    said = capsys.readouterr().out
    assert "  mend  test changed: " in said and "  see   stderr in outputs: " in said
    assert "\x1b" not in said and str(new) in said
    assert path.read_bytes() == before
    code_cells(mended := json.loads(new.read_text()))[0]["outputs"] = []
    code_cells(mended)[2]["execution_count"] = 3
    assert check(mended).findings == []


def test_the_command_overwrites_nothing(perfect, clone, tmp_path, capsys):
    path = saved(perfect, tmp_path / "lab.ipynb")
    before = path.read_bytes()
    assert precheck.main(path, path) == 2
    assert "give --repair the name of a new file" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "told"), [("{", "no JSON"), ('{"cells": []}', "no exercise of any lab; there are 02_")]
)
def test_the_command_says_why_a_file_cannot_be_checked(clone, tmp_path, capsys, text, told):
    path = tmp_path / "lab.ipynb"
    assert precheck.main(path) == 2 and "no such file" in capsys.readouterr().err
    assert precheck.main(tmp_path) == 2 and str(tmp_path) in capsys.readouterr().err
    path.write_text(text)
    assert precheck.main(path) == 2 and told in capsys.readouterr().err
    (clone / "02_other.ipynb").unlink()
    (clone / f"{STEM}.ipynb").unlink()
    path.write_text('{"cells": []}')
    assert precheck.main(path) == 2 and "clone of the course" in capsys.readouterr().err


def test_students_need_no_nbgrader_and_no_torch_for_it():
    code = "import sys, labkit.grading.precheck as p; "
    code += "assert not {'nbgrader', 'torch', 'distributed'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_lab_as_released_is_in_order_and_its_own():
    folder = folders.repository() / "notebooks" / "student"
    for path in sorted(folder.glob("*.ipynb")):
        lab = Lab(path.stem, "", path.read_text(encoding="utf-8"))
        made = precheck.check(path.read_bytes(), lab)
        assert set(kinds(made)) == {"not executed", "no recorded result"}, path
        assert precheck.lab_of(precheck.read(path.read_bytes()), folder).stem == path.stem
        assert all("NotImplementedError" in answer for answer in made.answers.values())
        assert made.notebook.metadata.labkit.lab == path.stem
    assert handed_in.BYTES > 1_000_000
