"""What the outputs of a handed-in notebook tell. They give no points, for they can be edited."""

import base64
import html
import io
import itertools
import math
import re
import statistics
import struct
from typing import Any

from nbformat import NotebookNode
from PIL import Image

from labkit import results
from labkit.console import one_line
from labkit.grading.handed_in import listing, mapping
from labkit.grading.records import MANUAL, Finding, Lab
from labkit.grading.repair import PLAIN, SOLUTION, Part, same

STAND_IN = "built-in stand-in"  # as labkit.data.images, which would import torch
DRAWN = Finding("stand-in data", "The images were the built-in stand-in, not real ones.")
RECORDS = re.compile(r"\bresults\.found\(")
CLAIM = re.compile(r"^✔ (\w+):", re.M)  # as labkit.exercises says it
RARE = 1e-4  # the chance that an honest run's number counts as out of its band
SHARE = 0.05  # of the mean: closer is never out of the band, for machines differ
METRICS, TABLE = 200, 200_000  # as many numbers, and characters of their table, are read
PICTURE, PIXELS = 1_000_000, 16_000_000  # bytes and pixels of a picture
LARGEST = 900  # pixels of the longer side of a picture that was a JPEG
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def findings(cells: list[NotebookNode]) -> list[Finding]:
    """What an instructor should know of how a notebook was executed."""
    code = [(n, c) for n, c in enumerate(cells, 1) if c.cell_type == "code" and c.source.strip()]
    found = execution(code) + complaints(code)
    said = [o.text for _, cell in code for o in cell.outputs if o.output_type == "stream"]
    if any(STAND_IN in text for text in said):
        found.append(DRAWN)
    return found


def claimed(cells: list[NotebookNode]) -> frozenset[str]:
    """The exercises that the saved outputs call right."""
    shown = [output for cell in cells for output in cell.get("outputs", [])]
    texts = [output.get("text") or output.get("data", {}).get("text/plain") for output in shown]
    texts = [text for text in texts if isinstance(text, str)]
    return frozenset(name for text in texts for name in CLAIM.findall(text))


def results_of(
    cells: list[NotebookNode], known: list[Part], places: dict[int, int], lab: Lab
) -> list[Finding]:
    """What is wrong with the recorded results; places: where the parts of the release are."""
    recording = next((k for k, part in enumerate(known) if records(part)), None)
    if recording is None:
        return []
    if recording not in places:
        return recorded([], lab)
    cell, changed = cells[places[recording]], []
    if not same(cell, known[recording].cell):
        text = f"Cell {places[recording] + 1}, which records the results, was changed."
        changed = [Finding("recording cell changed", text, MANUAL)]
    return changed + recorded(cell.get("outputs", []), lab)


def records(part: Part) -> bool:
    """Whether a cell of the release records what the lab found."""
    return part.cell.cell_type == "code" and bool(RECORDS.search(part.cell.source))


def execution(code: list[tuple[int, NotebookNode]]) -> list[Finding]:
    """Whether all cells were executed, from top to bottom, in one go."""
    counts = [cell.execution_count for _, cell in code]
    remedy = "Restart the kernel, run all cells and save."
    if not any(counts):
        return [Finding("not executed", f"No cell was executed. {remedy}")] if code else []
    found = []
    if left := [number for (number, _), count in zip(code, counts, strict=True) if not count]:
        text = f"Not executed: {len(left)} of {len(code)} code cells ({listing(left)}). {remedy}"
        found.append(Finding("not executed", text))
    ran = [count for count in counts if count]
    if ran != list(range(1, len(ran) + 1)):
        text = f"The cells were not executed from top to bottom in one go. {remedy}"
        found.append(Finding("executed out of order", text))
    return found


def complaints(code: list[tuple[int, NotebookNode]]) -> list[Finding]:
    """Errors and what was written to stderr, by cell."""
    errors, stderr = [], []
    for number, cell in code:
        for output in cell.outputs:
            if output.output_type == "error":
                what = one_line(f"{output.ename}: {output.evalue}", 100)
                errors.append(f"cell {number} ({what})")
            elif output.output_type == "stream" and output.name == "stderr":
                stderr.append(f"cell {number} ({one_line(output.text, 100)})")
    kinds = {"error in outputs": ("Errors", errors), "stderr in outputs": ("Warnings", stderr)}
    return [Finding(k, f"{what} in {listing(of)}.") for k, (what, of) in kinds.items() if of]


def recorded(shows: list[NotebookNode], lab: Lab) -> list[Finding]:
    """What is wrong with the results that the outputs of the lab's recording cell show."""
    shown = next((o.data for o in shows if results.MIME in o.get("data", {})), None)
    record = checked(shown[results.MIME]) if shown is not None else None
    if record is None:
        unread = " that can be read" if shown is not None else ""
        text = f"The cell at the end of the lab shows no recorded result{unread}."
        return [Finding("no recorded result", text)]
    found = []
    if record["notebook"] != lab.stem:
        text = f"The recorded result is one of {one_line(record['notebook'], 60)}."
        found.append(Finding("record of another lab", text, MANUAL))
    if record["profile"] not in ("cpu", "full"):
        named = one_line(record["profile"], 20)
        text = f"The recorded result is of profile {named}, a short run for tests, not of cpu."
        found.append(Finding("another profile", text))
    if STAND_IN in record["data"]:
        found.append(DRAWN)
    if wrong := hidden(record["metrics"], shown):
        text = f"The record and the visible table differ in {listing(wrong)}."
        found.append(Finding("record and table differ", text, MANUAL))
    return found + out_of_band(record, results.band(lab.stem))


def checked(given: Any) -> dict[str, Any] | None:
    """A record, if all in it is of the right type."""
    record = mapping(given)
    metrics, contents = mapping(record.get("metrics")), record.get("data_content")
    texts = [record.get(name) for name in ("notebook", "profile", "data")]
    if not all(isinstance(text, str) and len(text) < 1_000 for text in [*texts, *metrics]):
        return None
    if not isinstance(contents, list) or not 0 < len(metrics) <= METRICS:
        return None
    plain = all(isinstance(v, int | float | str) for v in metrics.values())
    return record if plain else None


def hidden(metrics: dict[str, Any], shown: dict[str, Any]) -> list[str]:
    """The metrics that the table beside a record does not show, or not with this value.

    A browser saves 1.0 as 1, so both ways of writing a number are right.
    """
    table, text = shown.get("text/html", ""), shown.get("text/plain", "")
    if len(table) + len(text) > TABLE:
        return ["everything: the table is too long to be read"]
    if table:
        rows = [[cell_text(cell) for cell in row.split("<td")[1:]] for row in table.split("<tr")]
        seen = [row[:2] for row in rows if len(row) > 1]
    else:
        lines = [line[2:].partition(";")[0] for line in text.splitlines() if line[:2] == "- "]
        seen = [
            [name, line.removeprefix(f"{name}: ").removeprefix("you ")]
            for line in lines
            for name in metrics
            if line.startswith(f"{name}: ")
        ]

    def is_shown(name: str, value: Any) -> bool:
        forms = [str(value)]
        if isinstance(value, int | float):
            forms.append(f"{value:.4g}")
        return any([name, form] in seen for form in forms)

    wrong = [name for name, value in metrics.items() if not is_shown(name, value)]
    return [one_line(name, 60) for name in wrong]


def cell_text(cell: str) -> str:
    """The text of `<td…>text</td>` without its beginning."""
    return html.unescape(cell.partition(">")[2].partition("</td>")[0])


def out_of_band(record: dict[str, Any], band: dict[str, Any]) -> list[Finding]:
    """The numbers that an honest run, with any seed, gives about once in 10,000 labs.

    A prediction interval for one new seed from the mean and the standard deviation of the band's.
    """
    content = "data_content" if record["data_content"] or band.get("data_content") else "data"
    if not band or any(record[fact] != band[fact] for fact in ("profile", content)):
        return []
    from scipy import stats  # half a second

    far = []
    for name, value in record["metrics"].items():
        seeds = [v for v in band["metrics"].get(name, []) if isinstance(v, int | float)]
        if isinstance(value, bool | str) or len(seeds) < 3:
            continue
        n, mean, sd = len(seeds), statistics.fmean(seeds), statistics.stdev(seeds)
        width = stats.t.ppf(1 - RARE / 2, n - 1) * sd * math.sqrt(1 + 1 / n)
        # where all seeds are equal, nothing is known of how they may differ
        if abs(value - mean) > (max(width, SHARE * abs(mean)) or 1e-3):
            near = f"other seeds gave {min(seeds):.4g} to {max(seeds):.4g}"
            far.append(f"{name} is {value:.4g} ({near})")
    if not far:
        return []
    text = f"Of the recorded results, {listing(far)}."
    return [Finding("result out of band", text, MANUAL)]


def pictures(
    cells: list[NotebookNode], known: list[Part], places: dict[int, int]
) -> dict[str, str]:
    """What the code of each exercise drew in the file, as PNG in base64: between an exercise and
    the next, the first cell whose picture the release shows as an example, else the first of all.
    """
    starts = sorted((i, known[k].name) for k, i in places.items() if known[k].kind == SOLUTION)
    still = {
        i
        for k, i in places.items()
        if known[k].kind == PLAIN and "still" in known[k].cell.metadata.get("tags", [])
    }
    found = {}
    for (start, name), (end, _) in itertools.pairwise([*starts, (len(cells), "")]):
        here = sorted(range(start, end), key=lambda i: (i not in still, i))
        drawn = (
            picture(output.data)
            for i in here
            for output in cells[i].get("outputs", [])
            if "data" in output
        )
        if first := next(filter(None, drawn), None):
            found[name] = first
    return found


def picture(data: dict[str, Any]) -> str:
    """A picture of an output as PNG in base64; "" if it has none that is safe to show."""
    kind = next((k for k in ("image/png", "image/jpeg") if k in data), None)
    if not kind or len(data[kind]) > 2 * PICTURE:
        return ""
    try:
        raw = base64.b64decode("".join(data[kind].split()), validate=True)
        if kind == "image/jpeg":
            raw = as_png(raw)
        if len(raw) > PICTURE or raw[:8] != SIGNATURE:
            return ""
        width, height = struct.unpack(">II", raw[16:24])
        if not 0 < width * height <= PIXELS:  # before PIL looks: it warns, which is not thread-safe
            return ""
        Image.open(io.BytesIO(raw), formats=["PNG"]).verify()
    except Exception:  # PIL raises many kinds for files that were made to deceive
        return ""
    return base64.b64encode(raw).decode()


def as_png(raw: bytes) -> bytes:
    """A JPEG as a PNG of moderate size. Raises ValueError or OSError."""
    image = Image.open(io.BytesIO(raw), formats=["JPEG"])
    if image.width * image.height > PIXELS:
        raise ValueError("too large")
    image = image.convert("RGB")
    image.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    image.quantize(256).save(buffer, "png")
    return buffer.getvalue()
