"""The page that a student gets: points, answers, mistakes by name, and what the code drew."""

import base64
import binascii
import io
import re
from dataclasses import replace
from functools import cache
from typing import Any

import jinja2
import nbformat
from PIL import Image
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from labkit.grading import sheets
from labkit.grading.records import (
    CRASHED,
    GRADED,
    MANUAL,
    REFUSED,
    REPAIRED,
    STATUSES,
    Graded,
    Lab,
    Response,
)

SAID = {
    GRADED: "Your notebook was graded as you handed it in.",
    REPAIRED: "Your notebook was repaired before it was graded. What was repaired is said below.",
    CRASHED: "Some of your code did not run to its end. The rest was graded; the reason is below.",
    MANUAL: "A person looks at your notebook before the grade is final. The reason is below.",
    REFUSED: "This file could not be graded. You have no grade yet, which is not a grade of 0."
    " The reason is below. Save your notebook again, and ask whether you may hand it in anew.",
}
SIGNS = {"right": "✔", "wrong": "✘", "not attempted": "○", "crashed": "✕", "manual": "…"}
CODE = 20_000  # characters of an answer that are shown
LARGEST, PIXELS = 1_000_000, 25_000_000  # bytes and pixels of a picture
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS(.*?)### END HIDDEN TESTS", re.S)


def page(graded: Graded, lab: Lab) -> str:
    """The feedback page of one submission as HTML."""
    answers = sheets.decided(graded)
    order = [name for name in lab.points if name in answers]
    findings = sorted(graded.findings, key=lambda f: -STATUSES.index(f.status))
    of_notebook = [f for f in findings if f.exercise not in order]
    blocks = [block(answers[name], graded, lab) for name in order]
    return (
        environment()
        .get_template("feedback.html.j2")
        .render(
            graded=graded,
            title=title(lab),
            total=total(graded, lab),
            said=SAID[graded.status],
            findings=[(f.kind, sheets.plain(f.text, lines=True), f.status) for f in of_notebook],
            answers=blocks,
        )
    )


def block(answer: Response, graded: Graded, lab: Lab) -> dict[str, Any]:
    """What the page shows of one answer."""
    prose, cut = answer.name in lab.free_text, len(answer.source) > CODE
    source = sheets.plain(answer.source[:CODE], lines=True).strip("\n")
    marked = "waits for a person" if answer.earned is None else "marked by a person"
    drawn, width = picture(answer.picture)
    return {
        "name": answer.name,
        "sign": SIGNS.get(answer.state, "…"),
        "state": answer.state,
        "said": answer.state if answer.state != "manual" else marked,
        "marks": sheets.marks(answer),
        "text": sheets.plain(answer.text, lines=True),
        "findings": [
            (f.kind, sheets.plain(f.text, lines=True), f.status)
            for f in graded.findings
            if f.exercise == answer.name
        ],
        "prose": source if prose else "",
        "code": "" if prose else coloured(source),
        "cut": cut,
        "picture": drawn,
        "width": width,
    }


def total(graded: Graded, lab: Lab) -> dict[str, str]:
    """The points as the page's head shows them: what there is, of how many, and what is open."""
    most = sheets.number(sum(lab.points.values()))
    if graded.total is not None:
        return {"points": sheets.number(graded.total), "most": most, "open": ""}
    known = sum(a.earned or 0 for a in graded.answers)
    waiting = sum(a.points for a in graded.answers if a.earned is None)
    if graded.status == REFUSED:
        return {"points": "", "most": most, "open": "no grade yet"}
    waits = f"{sheets.number(waiting)} more wait for a person"
    return {"points": sheets.number(known), "most": most, "open": f"so far; {waits}"}


@cache
def environment() -> jinja2.Environment:
    """The templates, with everything escaped that is put into them."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("labkit"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {"plain": sheets.plain, "number": sheets.number, "decided": sheets.decided}
    made.globals["code_colours"] = code_colours
    return made


def coloured(source: str) -> str:
    """Python code as HTML, escaped and in colours."""
    return highlight(source, PythonLexer(), HtmlFormatter(nowrap=True)) if source.strip() else ""


def code_colours(style: str) -> str:
    """The CSS of highlighted code in one of the styles of Pygments."""
    lines = HtmlFormatter(style=style).get_style_defs("code").splitlines()
    rules = [line.split("/*")[0].strip() for line in lines if line.startswith("code .")]
    return "\n".join(re.sub(r";?\s*(?:background-color|border)[^;}]*", "", rule) for rule in rules)


def picture(given: str) -> tuple[str, int]:
    """A picture as data URI, and its width; ("", 0) unless it is a PNG of sensible size."""
    try:
        data = base64.b64decode(given, validate=True)
        if not data or len(data) > LARGEST:
            return "", 0
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        if image.width * image.height > PIXELS:
            return "", 0
        image.verify()
    except (binascii.Error, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "", 0
    return f"data:image/png;base64,{base64.b64encode(data).decode()}", image.width


def without_tests(graded: Graded, lab: Lab) -> Graded:
    """The same with no assertion of a hidden test in its texts, should one ever get there."""

    def safe(text: str) -> str:
        for line in secrets(lab.master):
            text = text.replace(line, "…")
        return text

    findings = [replace(f, text=safe(f.text)) for f in graded.findings]
    answers = [replace(a, text=safe(a.text)) for a in graded.answers]
    return replace(graded, findings=findings, answers=answers)


@cache
def secrets(master: str) -> tuple[str, ...]:
    """The assertions of a master's hidden tests."""
    cells = [cell.source for cell in nbformat.reads(master, 4).cells]
    lines = [
        line.strip()
        for cell in cells
        for part in HIDDEN.findall(cell)
        for line in part.splitlines()
    ]
    return tuple(sorted({line for line in lines if line.startswith("assert ")}, key=len)[::-1])


@cache
def title(lab: Lab) -> str:
    """The first heading of a lab, or its file name."""
    for cell in nbformat.reads(lab.master, 4).cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^# (.+)", cell.source, re.M)):
            return sheets.plain(found[1])
    return lab.stem
