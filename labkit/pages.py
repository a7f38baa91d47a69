"""The pages that a run leaves: a notebook as one HTML file that needs no network, and the summary
of a run as text and as HTML.

Equations become MathML, which browsers draw by themselves, in place of MathJax from a CDN.
nbconvert's own Markdown parser finds them, so a dollar sign in a code fence stays one.
"""

import copy
import html
import re
from pathlib import Path

import jinja2
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

KEY_METRICS = 4  # metrics of a record shown in the summary

# nbconvert's page without the scripts that it would load from a CDN; no widget state is kept, so
# pictures stand in for widgets.
TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block extra_css %}<style>
math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "STIX Math", "DejaVu Math
TeX Gyre", math; font-size: 110%; } math[display="block"] { margin: .8em 0; }
mtd[columnalign="right"] { text-align: right; padding-right: 0; }
mtd[columnalign="left"] { text-align: left; }
</style>{% endblock %}
"""

# TeX that the converter does not know, and what it knows in its place.
SYNONYMS = {
    r"{aligned}": r"{align*}",
    r"{gathered}": r"{align*}",
    r"\operatorname*": r"\operatorname",
}

SUMMARY = jinja2.Template(
    """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Run of the notebooks: {{ profile }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
color: #1a1a1a; background: #fff; } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .8rem; border-bottom: 1px solid #ccc;
} td:nth-child(3) { text-align: right; font-variant-numeric: tabular-nums; }
.passed { color: #00613f; } .bad { color: #a33a00; font-weight: bold; }
</style>
<h1>Run of the notebooks, profile {{ profile }}</h1>
<p>{{ passed }} of {{ rows|length }} passed, {{ seconds }} s in all.</p>
<div class="wide"><table>
<tr><th scope="col">notebook<th scope="col">status<th scope="col">seconds<th scope="col">data<th
scope="col">key metrics {% for row in rows -%}
<tr><td>{% if row.page %}<a href="{{ row.page }}">{{ row.stem }}</a>{% else %}{{ row.stem }}{% endif
%} <td class="{{ 'passed' if row.status == 'passed' else 'bad' }}">{{ row.status }}{% if row.detail
%}: {{ row.detail }}{% endif %} <td>{{ row.seconds }}<td>{{ row.data }}<td>{{ row.metrics }}
{% endfor -%}
</table></div>
</html>
""",
    autoescape=True,
)


def equation(tex: str, display: str) -> str:
    """MathML of a TeX equation; what the converter cannot read stays TeX. `display` is inline or
    block.
    """
    known = tex.strip()
    for unknown, synonym in SYNONYMS.items():
        known = known.replace(unknown, synonym)
    try:
        drawn = convert(known, display=display)
    except Exception:  # the converter has an error class for each thing it does not know, and IndexErrors for the rest
        drawn = ""
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
        path = context.get("resources", {}).get("metadata", {}).get("path", "")
        attachments = context.get("cell", {}).get("attachments", {})
        return MarkdownWithMath(
            OfflineRenderer(escape=False, embed_images=True, path=path, attachments=attachments)
        ).render(source)


def notebook_page(notebook, title: str, folder: Path) -> str:
    """The executed notebook as one HTML page; pictures of `folder` are embedded, those of the web
    become their alternative text.
    """
    notebook = copy.deepcopy(notebook)
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if "text/latex" in output.get(
            "data", {}
        ):  # the Markdown renderer knows what to do with dollars
            output.data.setdefault("text/markdown", output.data["text/latex"])
    exporter = OfflineExporter(
        extra_loaders=[jinja2.DictLoader({"offline.html.j2": TEMPLATE})],
        template_file="offline.html.j2",
    )
    page, _ = exporter.from_notebook_node(
        notebook, {"metadata": {"name": title, "path": str(folder)}}
    )
    return re.sub(r'<img\b[^>]*\bsrc="https?://[^>]*>', alternative_text, page)


def alternative_text(image: re.Match) -> str:
    text = re.search(r'\balt="([^"]*)"', image[0])
    return text[1] if text else ""


def shown(value) -> str:
    """A value of a record in a few characters."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def key_metrics(record: dict) -> str:
    """The first few single numbers of a record, as text."""
    single = {
        name: value
        for name, value in dict(record.get("metrics") or {}).items()
        if isinstance(value, int | float | str)
    }
    return ", ".join(f"{name} {shown(value)}" for name, value in list(single.items())[:KEY_METRICS])


def summary_text(outcomes: list) -> str:
    """The outcomes as an aligned table, what went wrong below it."""
    rows = [("notebook", "status", "seconds", "data", "key metrics")]
    rows += [
        (
            o.stem,
            o.status,
            f"{o.seconds:.1f}",
            shown(o.record.get("data", "")),
            key_metrics(o.record),
        )
        for o in outcomes
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines += [f"{o.stem}: {o.status}: {o.detail}" for o in outcomes if o.detail]
    return "\n".join(lines)


def summary_page(outcomes: list, profile: str, out: Path) -> str:
    """The outcomes as an HTML page for the folder `out`; it links the notebooks' pages that are
    there.
    """
    rows = [
        {
            **vars(o),
            "data": shown(o.record.get("data", "")),
            "metrics": key_metrics(o.record),
            "page": f"{o.stem}.html" if (out / f"{o.stem}.html").exists() else "",
        }
        for o in outcomes
    ]
    seconds = round(sum(o.seconds for o in outcomes), 1)
    return SUMMARY.render(
        rows=rows,
        profile=profile,
        seconds=seconds,
        passed=sum(o.status == "passed" for o in outcomes),
    )
