"""Reads a notebook that somebody handed in: any bytes give a valid notebook or a Refused.

Nothing in the file is trusted: each part is copied if it is of the type that it should be, and left
out otherwise. What was left out is told.
"""

import json
import re
import sys
from typing import Any

import nbformat
from nbformat import NotebookNode, reader

from labkit.console import one_line
from labkit.grading.records import REPAIRED, Finding, Refused

BYTES = 30_000_000  # of a notebook
CELLS = 2_000  # of a notebook
SOURCE = {"code": 200_000, "markdown": 5_000_000, "raw": 5_000_000}  # characters of a cell
OUTPUTS = 20_000  # of a notebook
CONTAINERS = 300_000  # lists and objects of the JSON: each costs memory, however few bytes it has
DEPTH = 60  # of nested lists and objects
CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")  # may be half a character of UTF-16
JSON_TYPE = re.compile(r"application/(.*\+)?json")


def read(raw: bytes) -> NotebookNode:
    """The notebook in a file, valid for nbformat 4.5. Raises Refused if there is none in it."""
    return opened(raw)[0]


def opened(raw: bytes) -> tuple[NotebookNode, list[Finding]]:
    """The notebook in a file, and what had to be repaired for it to be valid. Raises Refused."""
    given, wrong = parsed(raw), []
    if isinstance(given, dict) and "cells" not in given and "worksheets" in given:
        given = upgraded(given)
    if not isinstance(given, dict) or not isinstance(given.get("cells"), list):
        raise Refused("The file is no notebook: it has no list of cells.")
    if len(given["cells"]) > CELLS:
        many = len(given["cells"])
        raise Refused(f"The notebook has {many:,} cells; more than {CELLS:,} are not read.")
    cells = [cell_of(cell, number, wrong) for number, cell in enumerate(given["cells"], 1)]
    cells = [cell for cell in cells if cell]
    if (many := sum(len(cell.get("outputs", [])) for cell in cells)) > OUTPUTS:
        raise Refused(f"The notebook has {many:,} outputs; more than {OUTPUTS:,} are not read.")
    facts = {k: mapping(v) for k, v in mapping(given.get("metadata")).items() if k == "labkit"}
    whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": facts, "cells": cells}
    findings = give_ids(cells, has_ids=has_ids(given))
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        text = f"Not a valid notebook: {'; '.join(wrong[:3])}{more}. It was left out."
        findings.insert(0, Finding("not valid", text, REPAIRED))
    notebook = nbformat.from_dict(whole)
    try:
        nbformat.validate(notebook)
    except Exception as error:
        raise Refused(f"The file is no valid notebook: {one_line(error)}") from error
    return notebook, findings


def parsed(raw: bytes) -> Any:
    """The JSON of a file, without numbers that JSON does not have. Raises Refused."""
    if len(raw) > BYTES:
        size, most = len(raw) / 1e6, BYTES / 1e6
        raise Refused(f"The file has {size:.0f} MB; notebooks above {most:.0f} MB are not read.")
    if not raw.strip():
        raise Refused("The file is empty.")
    if raw.count(b"{") + raw.count(b"[") > CONTAINERS:
        raise Refused(f"The file has more than {CONTAINERS:,} lists and objects.")
    rules = {"parse_constant": nothing, "parse_float": finite, "parse_int": whole_number}
    try:
        given = json.loads(raw.removeprefix(b"\xef\xbb\xbf"), **rules)
        if HALF_PAIR.search(raw):
            text = json.dumps(given, ensure_ascii=False).encode("utf-8", "replace")
            given = json.loads(text, **rules)
    except (ValueError, RecursionError) as error:
        remedy = "Save the notebook, download it again and hand in that file."
        text = f"The file is damaged or was cut off: it is no JSON ({one_line(error)}). {remedy}"
        raise Refused(text) from error
    layer = [given]
    for _ in range(DEPTH):
        layer = [v for c in layer for v in inside(c) if isinstance(v, list | dict)]
    if layer:
        raise Refused(f"The JSON of the file is nested more than {DEPTH} levels deep.")
    return given


def inside(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def nothing(_: str) -> None:
    """In the place of NaN and Infinity."""


def finite(text: str) -> float | None:
    value = float(text)
    return value if abs(value) <= sys.float_info.max else None


def whole_number(text: str) -> int | None:
    return int(text) if len(text) < 18 else None


def upgraded(given: dict) -> Any:
    """A notebook of nbformat 3 as one of nbformat 4. Raises Refused."""
    try:
        return nbformat.convert(reader.reads(json.dumps(given)), 4)
    except Exception as error:  # nbformat looks at old notebooks without checking types
        old = "The notebook has an old format (nbformat 3 or before) and cannot be upgraded"
        raise Refused(f"{old}: {one_line(error)}") from error


def has_ids(given: dict) -> bool:
    """Whether the format of a notebook has cell ids: nbformat 4.5 and later."""
    numbers = given.get("nbformat"), given.get("nbformat_minor")
    return "worksheets" not in given and all(type(n) is int for n in numbers) and numbers >= (4, 5)


def cell_of(given: Any, number: int, wrong: list[str]) -> dict[str, Any] | None:
    """A valid cell, but for its id, or None; adds to `wrong`. Raises Refused for a huge one."""
    if not isinstance(given, dict):
        wrong.append(f"cell {number} is no object")
        return None
    kind = given.get("cell_type")
    if kind not in ("code", "markdown", "raw"):
        wrong.append(f"cell {number} has no known type")
        kind = "raw"
    cell: dict[str, Any] = {"cell_type": kind, "id": given.get("id")}
    cell["source"] = text_of(given.get("source"))
    if cell["source"] is None:
        wrong.append(f"the source of cell {number} is no text")
        cell["source"] = ""
    if (many := len(cell["source"])) > SOURCE[kind]:
        most = f"more than {SOURCE[kind]:,} are not read"
        raise Refused(f"Cell {number} has {many:,} characters; {most}.")
    if "\0" in cell["source"]:
        wrong.append(f"there is a null character in cell {number}")
        cell["source"] = cell["source"].replace("\0", "")
    metadata = mapping(given.get("metadata"))
    cell["metadata"] = {k: mapping(v) for k, v in metadata.items() if k == "nbgrader"}
    if kind == "code":
        count, outputs = given.get("execution_count"), given.get("outputs", [])
        cell["execution_count"] = count if type(count) is int and count >= 0 else None
        listed = outputs if isinstance(outputs, list) else [None]
        made = [output_of(output) for output in listed]
        if None in made:
            wrong.append(f"an output of cell {number} is none")
        cell["outputs"] = [output for output in made if output]
    elif files := mapping(given.get("attachments")):
        cell["attachments"] = {name: bundle(mapping(file)) for name, file in files.items()}
    return cell


def text_of(given: Any) -> str | None:
    """Text, or lines of text joined, or None for anything else."""
    if isinstance(given, list) and all(isinstance(line, str) for line in given):
        return "".join(given)
    return given if isinstance(given, str) else None


def bundle(given: dict[str, Any]) -> dict[str, Any]:
    """The parts of a MIME bundle that are of the right type."""
    made = {k: v if JSON_TYPE.fullmatch(k) else text_of(v) for k, v in given.items()}
    return {kind: value for kind, value in made.items() if value is not None}


def output_of(given: Any) -> dict[str, Any] | None:
    """A valid output, or None."""
    if not isinstance(given, dict):
        return None
    kind, text = given.get("output_type"), text_of(given.get("text"))
    if kind == "stream" and text is not None:
        name = "stderr" if given.get("name") == "stderr" else "stdout"
        return {"output_type": kind, "name": name, "text": text}
    if kind == "error":
        said = {name: text_of(given.get(name)) or "" for name in ("ename", "evalue")}
        lines = given.get("traceback")
        lines = [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []
        return {"output_type": kind, **said, "traceback": lines}
    if kind in ("display_data", "execute_result") and isinstance(given.get("data"), dict):
        about = mapping(given.get("metadata"))
        made = {"output_type": kind, "data": bundle(given["data"]), "metadata": about}
        count = given.get("execution_count")
        valid = count if type(count) is int and count >= 0 else None
        return made | ({"execution_count": valid} if kind == "execute_result" else {})
    return None


def mapping(given: Any) -> dict[str, Any]:
    """An object of the JSON; an empty one in the place of anything else."""
    return given if isinstance(given, dict) else {}


def give_ids(cells: list[dict], has_ids: bool) -> list[Finding]:
    """Gives every cell an id of its own, always the same for the same file, and tells of it."""
    taken: set[str] = set()
    missing, twice = [], []
    for number, cell in enumerate(cells, 1):
        given = cell["id"] if isinstance(cell["id"], str) else ""
        if CELL_ID.fullmatch(given) and given not in taken:
            taken.add(given)
        else:
            (twice if given in taken else missing).append(number)
    for number in missing + twice:
        name = f"cell-{number}"
        while name in taken:
            name += "-"
        taken.add(name)
        cells[number - 1]["id"] = name
    findings = []
    if twice:
        text = f"The ids of cells {listing(twice)} were there before; they have new ones."
        findings.append(Finding("cell ids", text, REPAIRED))
    if missing and has_ids:
        text = f"Cells {listing(missing)} had no valid id; they have new ones."
        findings.append(Finding("cell ids", text, REPAIRED))
    elif missing:
        text = "Saved in a format without cell ids, as Colab does; cells are known by content."
        findings.append(Finding("no cell ids", text))
    return findings


def listing(things: list) -> str:
    """The first few of a list, e.g. "1, 2, 3 and 40 more"."""
    first = ", ".join(map(str, things[:6]))
    return f"{first} and {len(things) - 6} more" if len(things) > 6 else first
