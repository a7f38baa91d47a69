"""The pages of a run: each notebook as one HTML file that needs no network, and the summary.

Equations become MathML, which browsers draw without MathJax. nbconvert's own Markdown parser finds
them, so a dollar sign in a code fence stays one.
"""

import base64
import copy
import html
import io
import itertools
import json
import re
from contextlib import suppress
from pathlib import Path

import jinja2
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image

BRIEF = "Smoke: seconds of training, not results"
TEMPLATES = jinja2.PackageLoader("labkit")
NAMED = re.compile("(<mi>(?:log|ln|exp|sin|cos|tanh|min|max)</mi>)(?=<m[in]>)")  # log D, not logD
UNKNOWN = re.compile(r"\{(aligned|gathered)\}")  # environments that the converter does not know


def equation(tex: str, display: str) -> str:
    """MathML of a TeX equation, or the TeX where it cannot be read; display: inline or block."""
    known = UNKNOWN.sub("{align*}", tex.strip()).replace(r"\operatorname*", r"\operatorname")
    drawn = ""
    with suppress(Exception):  # the converter has many error classes of its own, and IndexErrors
        drawn = NAMED.sub(r'\1<mspace width="0.17em"/>', convert(known, display=display))
    return f"<code>{html.escape(tex)}</code>" if not drawn or "<mi>\\" in drawn else drawn


class OfflineRenderer(IPythonRenderer):
    """Markdown to HTML with equations as MathML."""

    def inline_math(self, body: str) -> str:
        return equation(body, "inline")

    def block_math(self, body: str) -> str:
        return equation(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return equation(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")


class OfflineExporter(HTMLExporter):
    """nbconvert's HTML with nothing to load."""

    @jinja2.pass_context
    def markdown2html(self, context, source: str) -> str:
        pictures = {
            "path": context.get("resources", {}).get("metadata", {}).get("path", ""),
            "attachments": context.get("cell", {}).get("attachments", {}),
        }
        renderer = OfflineRenderer(escape=False, embed_images=True, **pictures)
        return MarkdownWithMath(renderer).render(source)


def notebook_page(notebook, title: str, folder: Path) -> str:
    """The executed notebook as one HTML page.

    Pictures in `folder` are embedded; those of the web become their alternative text. Pictures in
    outputs have the alternative text of the output's metadata.
    """
    notebook = copy.deepcopy(notebook)
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if "text/latex" in output.get("data", {}):  # the Markdown renderer knows what dollars mean
            output.data.setdefault("text/markdown", output.data["text/latex"])
    exporter = OfflineExporter(extra_loaders=[TEMPLATES], template_file="notebook.html.j2")
    facts = {"metadata": {"name": title, "path": str(folder)}}
    page, _ = exporter.from_notebook_node(notebook, facts)
    from_web = r'<img\b[^>]*\bsrc="https?://[^>]*>'
    return re.sub(from_web, lambda image: "".join(re.findall(r'\balt="([^"]*)"', image[0])), page)


def key_metrics(record: dict) -> list[tuple[str, str]]:
    """The first four metrics of a record as (name, value) to read."""
    first = list(record.get("metrics", {}).items())[:4]
    said = [(name, f"{v:.4g}" if isinstance(v, float) else str(v)) for name, v in first]
    return [(name.replace("_", " ") if name.isidentifier() else name, v) for name, v in said]


def front(path: Path) -> dict[str, str]:
    """The title of an executed notebook; if it has one, its first figure, small, and the alt."""
    found = {"title": path.stem}
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        if title := re.match("# (.+)", "".join(cells[0]["source"])):
            found["title"] = title[1]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        for output, kind in itertools.product(outputs, ("image/png", "image/jpeg")):
            if picture := small("".join(output.get("data", {}).get(kind, ""))):
                alt = output["metadata"].get(kind, {}).get("alt") or f"A figure of {found['title']}"
                return found | {"picture": picture, "alt": alt}
    return found


def small(picture: str) -> str:
    """A picture in base64 as the data URL of a WebP of at most 30 kB; "" if it cannot be read."""
    with suppress(Exception):  # Pillow has many errors for what is cut off, broken or too large
        image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
        for width in (640, 480, 320, 240):
            image.thumbnail((width, width))
            image.save(buffer := io.BytesIO(), format="webp", quality=75)
            if buffer.tell() <= 30_000:
                return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return ""


def summary_text(outcomes: list) -> str:
    """The outcomes as an aligned table, what went wrong below it."""
    rows = [("notebook", "status", "seconds", "data", "key metrics")]
    for o in outcomes:
        data, metrics = str(o.record.get("data", "")), map(" ".join, key_metrics(o.record))
        rows.append((o.stem, o.status, f"{o.seconds:.1f}", data, ", ".join(metrics)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines += [BRIEF] * any(o.profile == "smoke" and o.record for o in outcomes)
    return "\n".join([*lines, *(f"{o.stem}: {o.status}: {o.detail}" for o in outcomes if o.detail)])


def summary_page(outcomes: list, out: Path, **facts: str) -> str:
    """The outcomes as an HTML page for the folder `out`; facts: profile, date and machine."""
    environment = jinja2.Environment(loader=TEMPLATES, autoescape=True)
    environment.filters["key_metrics"] = key_metrics
    linked = {o.stem for o in outcomes if (out / f"{o.stem}.html").exists()}
    fronts = {o.stem: front(out / f"{o.stem}.ipynb") for o in outcomes}
    template = environment.get_template("summary.html.j2")
    return template.render(labs=outcomes, linked=linked, fronts=fronts, brief=BRIEF, **facts)
