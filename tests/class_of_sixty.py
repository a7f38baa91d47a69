"""A class of more than sixty submissions, honest, broken and hostile, and what grading must say.

The lab is a small one with three exercises of lab 03, so that the whole class runs in minutes.
"""

import base64
import copy
import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from labkit import results
from labkit.grading import release
from labkit.grading.records import Lab

STEM = "03_vae_latent_grid"
POINTS = {"reparameterize": 2, "kl_divergence": 3, "quantile_grid": 2}
R, K, Q = POINTS
ALL = {R: 2, K: 3, Q: 2}
NOT_K = ALL | {K: 0}
NOTHING = dict.fromkeys(POINTS, 0)

SOLUTIONS = {
    R: '''@exercise("reparameterize")
def reparameterize(mu, log_var):
    """z ~ N(μ, σ²), (N, J), differentiable in μ and log σ², (N, J) each."""
    ### BEGIN SOLUTION
    return mu + (0.5 * log_var).exp() * torch.randn_like(mu)
    ### END SOLUTION''',
    K: '''@exercise("kl_divergence")
def kl_divergence(mu, log_var):
    """D_KL(N(μ, σ²) ‖ N(0, I)) in nats, (N,), of μ and log σ², (N, J) each."""
    ### BEGIN SOLUTION
    return 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)
    ### END SOLUTION''',
    Q: '''@exercise("quantile_grid")
def quantile_grid(n):
    """n·n codes (n·n, 2) at normal quantiles, row by row from the top left of a picture."""
    ### BEGIN SOLUTION
    values = torch.special.ndtri((torch.arange(n) + 0.5) / n)
    z2, z1 = torch.meshgrid(values.flip(0), values, indexing="ij")
    return torch.stack([z1, z2], dim=-1).flatten(0, 1)
    ### END SOLUTION''',
}
TESTS = {
    R: """check("reparameterize")
### BEGIN HIDDEN TESTS
_far = yours("reparameterize")(torch.zeros(5, 7), torch.full((5, 7), -60.0))
assert _far.abs().max() < 1e-10
_z = yours("reparameterize")(torch.full((4000, 2), -5.0), torch.full((4000, 2), 3.0))
assert abs(_z.mean() + 5) < 0.4
### END HIDDEN TESTS""",
    K: """check("kl_divergence")
### BEGIN HIDDEN TESTS
_mu, _log_var = torch.randn(6, 9), torch.randn(6, 9)
_q = torch.distributions.Normal(_mu, (0.5 * _log_var).exp())
_prior = torch.distributions.Normal(torch.zeros(6, 9), torch.ones(6, 9))
_expected = torch.distributions.kl_divergence(_q, _prior).sum(1)
assert torch.allclose(yours("kl_divergence")(_mu, _log_var), _expected, rtol=1e-4), "secret"
### END HIDDEN TESTS""",
    Q: """check("quantile_grid")
### BEGIN HIDDEN TESTS
_grid = torch.as_tensor(yours("quantile_grid")(9)).float()
assert _grid.shape == (81, 2) and _grid[40].abs().max() < 1e-6
### END HIDDEN TESTS""",
}
KL = "def kl_divergence(mu, log_var):\n"
RIGHT = "    return 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)\n"


def master() -> nbformat.NotebookNode:
    """The small lab, with solutions and hidden tests."""

    def graded(name: str, test: bool) -> nbformat.NotebookNode:
        grading = {"grade": test, "locked": test, "solution": not test, "task": False}
        grading |= {"grade_id": name + "-test" * test, "schema_version": 3}
        grading |= {"points": POINTS[name]} if test else {}
        source = (TESTS if test else SOLUTIONS)[name]
        cell_id = f"lab03-{name}" + "-test" * test
        return new_code_cell(source, id=cell_id, metadata={"nbgrader": grading})

    cells = [new_markdown_cell("# A small lab", id="lab03-title")]
    imports = "import torch\n\nfrom labkit import results\n"
    imports += "from labkit.exercises import check, exercise, hint, yours"
    cells.append(new_code_cell(imports, id="lab03-01"))
    for name in POINTS:
        cells += [graded(name, False), graded(name, True)]
        cells.append(
            new_code_cell(f"print({name}.whose)", id=f"lab03-use-{name}", metadata={"tags": []})
        )
    recording = f'metrics = {{"KL": 1.0}}\nresults.found("{STEM}", metrics, "none", 0)'
    cells.append(new_code_cell(recording, id="lab03-34"))
    return new_notebook(cells=cells)


def lab() -> Lab:
    made = master()
    path = Path("notebooks") / f"{STEM}.ipynb"
    return Lab(STEM, nbformat.writes(made), nbformat.writes(release.student_copy(made, path)))


def png() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), "white").save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


class Work:
    """A student's notebook in the making: the released copy, solved and executed by hand."""

    def __init__(self, solved: tuple[str, ...] = tuple(POINTS)):
        self.notebook = nbformat.reads(lab().released, 4)
        for name in solved:
            lines = SOLUTIONS[name].splitlines()
            self.write(name, "\n".join(s for s in lines if "### " not in s))

    def cell(self, cell_id: str) -> nbformat.NotebookNode:
        return next(c for c in self.notebook.cells if c.id == f"lab03-{cell_id}")

    def write(self, name: str, source: str) -> "Work":
        self.cell(name).source = source
        return self

    def kl(self, body: str, before: str = "", inside: bool = True) -> "Work":
        """Writes kl_divergence; `before` stands above it in the same cell."""
        body = "".join(f"    {line}\n" for line in body.splitlines()) if inside else body
        return self.write(K, f'{before}@exercise("kl_divergence")\n{KL}{body}')

    def add(self, source: str, after: str = "01") -> "Work":
        """A cell of the student's own."""
        at = self.notebook.cells.index(self.cell(after))
        self.notebook.cells.insert(at + 1, new_code_cell(source))
        return self

    def drop(self, *cell_ids: str) -> "Work":
        gone = [self.cell(cell_id) for cell_id in cell_ids]
        self.notebook.cells = [c for c in self.notebook.cells if c not in gone]
        return self

    def executed(self, metrics: dict | None = None, states: dict | None = None) -> "Work":
        """Outputs as a run in `cpu` on real data leaves them."""
        band = results.band(STEM)
        numbers = {k: sum(v) / len(v) for k, v in band["metrics"].items()} | (metrics or {})
        content = {k: band[k] for k in ("profile", "data", "data_content", "date")}
        content |= {"notebook": STEM, "seed": 0, "metrics": numbers, "claims": []}
        content |= {"fingerprint": "0" * 16, "torch": "2", "device": "cpu", "seconds": 60.0}
        for number, cell in enumerate(self.code(), 1):
            cell.execution_count = number
            cell.outputs = []
            if cell.get("id", "").startswith("lab03-use-"):
                picture = {"image/png": png(), "text/plain": "<Figure>"}
                cell.outputs = [new_output("display_data", data=picture)]
            if cell.source.startswith("check("):
                name = cell.source.split('"')[1]
                earned = POINTS[name] * (states or {}).get(name, True)
                text = f"{'✔' if earned else '○'} {name}: {earned} of {POINTS[name]} points\n"
                cell.outputs = [new_output("stream", name="stdout", text=text)]
        shown = results.Found(content, Path("record.json"))
        data = shown._repr_mimebundle_()
        data |= {"text/html": shown._repr_html_(), "text/plain": repr(shown)}
        last = self.notebook.cells[-1]
        last.outputs = [
            new_output("execute_result", data=data, execution_count=last.get("execution_count"))
        ]
        return self

    def code(self) -> list[nbformat.NotebookNode]:
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    def text(self) -> str:
        return json.dumps(self.notebook, ensure_ascii=False)


def solved() -> Work:
    return Work().executed()


def hostile(body: str, before: str = "") -> Work:
    """All solved, but kl_divergence does `body`."""
    return Work().kl(body, before).executed(states={K: 0})


@dataclass(frozen=True)
class Row:
    """One submission: what it is, why the outcome is expected, and the outcome.

    make: writes it into the student's folder; points: None where no points are given; kind: a part
    of a finding that must be there.
    """

    name: str
    why: str
    make: Callable[[Path], None]
    status: str | tuple[str, ...]
    points: dict | None
    kind: str = ""

    @property
    def statuses(self) -> tuple[str, ...]:
        return (self.status,) if isinstance(self.status, str) else self.status


ROWS: list[Row] = []


def row(name, why, work, status="graded", points=ALL, kind="", file="lab.ipynb"):
    """Adds a submission: a function that gives a Work, text or bytes, or one that writes files."""

    def make(folder: Path) -> None:
        made = work(folder) if work.__code__.co_argcount else work()
        if isinstance(made, Work):
            made = made.text()
        if isinstance(made, str):
            made = made.encode("utf-8", errors="surrogatepass")
        if made is not None:
            (folder / file).write_bytes(made)

    ROWS.append(Row(name, why, make, status, points, kind))


# honest work
row("perfect", "all right: all points", solved)
row("half-done", "two of three", lambda: Work((R, K)).executed(states={Q: 0}), points=ALL | {Q: 0})
unwritten = dict.fromkeys(POINTS, 0)
row("unwritten", "an earned 0", lambda: Work(()).executed(states=unwritten), points=NOTHING)
row("never-run", "points come from running it here", lambda: Work(), kind="not executed")
other = "sigma2 = log_var.exp()\nreturn (mu * mu + sigma2 - log_var - 1).sum(dim=-1) / 2"
row("other-words", "right in other words is right", lambda: hostile(other))
mean = "return 0.5 * (mu**2 + log_var.exp() - 1 - log_var).mean(1)"
row("named-mistake", "averaged over dimensions", lambda: hostile(mean), points=NOT_K)
no_python = '@exercise("kl_divergence")\n' + KL + "    return ("
row("syntax-error", "a cell that is no Python costs its own points only",
    lambda: Work().write(K, no_python).executed(states={K: 0}), points=NOT_K)  # fmt: skip
row("numpy-answer", "an array is no tensor", lambda: hostile(RIGHT.strip() + ".numpy()"),
    points=NOT_K)  # fmt: skip
row("recursion", "a RecursionError is a wrong answer",
    lambda: hostile("f = lambda: f()\nreturn f()"), points=NOT_K)  # fmt: skip
row("stderr-warning", "a warning costs nothing",
    lambda: hostile("import warnings\nwarnings.warn('careful')\n" + RIGHT.strip()))  # fmt: skip
row("left-in-raise", "the stub's raise still stands above the answer: it was never reached",
    lambda: hostile("raise NotImplementedError\n" + RIGHT.strip()),
    points=NOT_K, kind="raise")  # fmt: skip
row("raise-below", "the stub's raise below the return does no harm",
    lambda: hostile(RIGHT.strip() + "\nraise NotImplementedError"), kind="raise")  # fmt: skip
row("own-helper", "a function of the student's in a cell of its own",
    lambda: hostile("return half(mu**2 + log_var.exp() - 1 - log_var).sum(1)")
    .add("def half(x):\n    return 0.5 * x"))  # fmt: skip

# files as they come
row("lab (1)", "a browser's second download", solved, file="lab (1).ipynb")
row("Zoë Müller-Łukasz 李小龙", "a name with spaces and letters of all kinds", solved,
    file="Übung drei – endgültig.ipynb")  # fmt: skip
row("=cmd|calc", "a name that a spreadsheet would run", solved)
row("<script>alert(1)<", "a name that a browser would run", solved)
row("bom", "saved by an editor that begins files with a byte order mark",
    lambda: "\ufeff" + solved().text(), ("graded", "repaired"))  # fmt: skip
row("broken-json", "cut off in the middle", lambda: solved().text()[:2000], "refused", None)
row("empty-file", "nothing in it", lambda: b"", "refused", None)
row("empty-folder", "nothing handed in", lambda: None, "refused", None, "no notebook")
row("not-a-notebook", "a PDF", lambda: b"%PDF-1.7", "refused", None, file="lab.pdf")
row("json-no-notebook", "JSON, but a list", lambda: "[1, 2, 3]", "refused", None)
row("deep-json", "100,000 brackets", lambda: "[" * 100_000 + "]" * 100_000, "refused", None)
row("strange-types", "cells of no cell type",
    lambda: json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": [], "cells": [1, {}]}),
    "refused", None)  # fmt: skip


def big(folder: Path) -> None:
    with open(folder / "lab.ipynb", "wb") as file:
        file.truncate(200 * 2**20)


def many_cells() -> Work:
    work = solved()
    work.notebook.cells += [new_code_cell("1 + 1") for _ in range(10_000)]
    return work


def symlink(folder: Path) -> None:
    os.symlink("/etc/passwd", folder / "lab.ipynb")


def zip_bomb(folder: Path) -> None:
    with zipfile.ZipFile(folder / "lab.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lab.ipynb", b"\0" * (400 * 2**20))


def zipped(folder: Path) -> None:
    with zipfile.ZipFile(folder / "lab.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("my work/lab.ipynb", solved().text())


row("200-megabytes", "too large to open", big, "refused", None)
row("10000-cells", "more cells than any lab has", many_cells, "refused", None)
row("symlink", "leads out of the folder", symlink, "refused", None)
row("zip-bomb", "400 kB that unpack to 400 MB", zip_bomb, "refused", None)
row("zipped", "a notebook in an archive", zipped)


# notebooks as students leave them
def reordered() -> Work:
    work = solved()
    first, second = work.code()[2:4]
    first.execution_count, second.execution_count = 9, 2
    return work


def edited_tests() -> Work:
    work = hostile(mean)
    test, text = work.cell(f"{K}-test"), f"✔ {K}: 3 of 3 points"
    test.source = f"print({text!r})"
    test.outputs = [new_output("stream", name="stdout", text=text + "\n")]
    return work


def duplicated() -> Work:
    work = solved()
    twin = copy.deepcopy(work.cell(K))
    work.cell(K).source = '@exercise("kl_divergence")\n' + KL + "    raise NotImplementedError"
    at = work.notebook.cells.index(work.cell(K))
    work.notebook.cells.insert(at + 1, twin)
    return work


def twin_test() -> Work:
    work = solved()
    at = work.notebook.cells.index(work.cell(f"{K}-test"))
    work.notebook.cells.insert(at, copy.deepcopy(work.cell(f"{K}-test")))
    return work


def no_metadata(ids: bool = False) -> Work:
    work = solved()
    for cell in work.notebook.cells:
        cell.metadata = nbformat.from_dict({})
        if not ids:
            cell.pop("id")
    work.notebook.metadata = nbformat.from_dict({})
    return work


def from_colab() -> Work:
    work = solved()
    for cell in work.notebook.cells:
        cell.metadata = nbformat.from_dict({**cell.metadata, "id": "Xy12" + cell.pop("id")[-4:]})
    work.notebook.metadata["colab"] = {"provenance": []}
    work.notebook.nbformat_minor = 0
    return work


def to_markdown() -> Work:
    work = solved()
    cell = work.cell(K)
    cell.cell_type = "markdown"
    for key in ("outputs", "execution_count"):
        cell.pop(key)
    return work


def same_ids() -> Work:
    work = solved()
    for cell in work.notebook.cells[2:5]:
        cell.id = "same"
    return work


def version_3() -> str:
    return nbformat.v3.writes_json(nbformat.convert(solved().notebook, 3))


def another_lab() -> bytes:
    folder = Path(__file__).parents[1] / "notebooks" / "student"
    return (folder / "02_gan_stages.ipynb").read_bytes()


def old_release() -> Work:
    work = solved()
    work.notebook.metadata["labkit"] = {"release": "0123456789ab", "lab": STEM}
    work.cell(f"{K}-test").source += "\n# of last year"
    return work


def out_of_band() -> Work:
    name, values = next(iter(results.band(STEM)["metrics"].items()))
    return Work().executed(metrics={name: 10 * max(map(abs, values)) + 1})


def hard_coded_results() -> Work:
    work = solved()
    work.notebook.cells[-1].source = 'print("test −ELBO 99.9, better than anyone")'
    return work


def two_files(folder: Path) -> None:
    for seconds, (name, work) in enumerate(
        {"lab.ipynb": solved(), "lab (1).ipynb": solved().drop(f"{K}-test")}.items()
    ):
        (folder / name).write_text(work.text(), encoding="utf-8")
        os.utime(folder / name, (1_700_000_000 + seconds, 1_700_000_000 + seconds))


row("out-of-order", "cells run in another order", reordered, kind="order")
row("edited-tests", "the test prints that all is well", edited_tests, "manual", NOT_K, "test")
row("deleted-test", "put back", lambda: solved().drop(f"{K}-test"), "repaired", kind="missing")
row("duplicated-solution", "stub above, answer below", duplicated, "repaired", kind="twice")
row("duplicated-test", "one test counts", twin_test, "repaired", kind="twice")
row("solution-and-test-deleted", "nothing is there to be graded, and it says so",
    lambda: solved().drop(K, f"{K}-test"), "repaired", NOT_K, "missing")  # fmt: skip
row("handed-in-twice", "full marks, then again without a test cell", two_files, "repaired",
    kind="several")  # fmt: skip
row("metadata-lost", "no metadata, no ids", no_metadata, "repaired")
row("metadata-lost-ids-kept", "no metadata", lambda: no_metadata(True), "repaired")
row("colab", "nbformat 4.0, ids of Colab's own", from_colab, ("graded", "repaired"))
row("code-to-markdown", "a slip of the keyboard", to_markdown, "repaired", kind="markdown")
row("same-ids", "several cells have one id", same_ids, "repaired", kind="id")
row("nbformat-3", "of ten years ago", version_3, ("graded", "repaired"))
row("another-lab", "lab 02 instead", another_lab, "refused", None, "those of lab 02")
row("old-release", "last year's copy", old_release, ("graded", "repaired"), kind="old release")
row("results-out-of-band", "a number that no run gives", out_of_band, "manual", kind="band")
row("hard-coded-results", "the cell that records was replaced", hard_coded_results, "manual",
    kind="record")  # fmt: skip
row("forged-outputs", "nothing is written, but every answer says ✔",
    lambda: Work(()).executed(), "manual", NOTHING, "saved")  # fmt: skip


# code that ends, fills or leaves its process
ends = ("crashed", "manual")
row("endless-loop", "ended by the time limit", lambda: hostile("while True:\n    pass"), "crashed",
    NOT_K, "did not end")  # fmt: skip
stubborn = """while True:
    try:
        while True:
            pass
    except BaseException:
        pass"""
row("stubborn-loop", "catches KeyboardInterrupt", lambda: hostile(stubborn), "crashed", NOT_K)
bomb = "x = []\nwhile True:\n    x.append(bytearray(2**27))"
row("memory-bomb", "ended by the limit", lambda: hostile(bomb), ("graded", *ends), NOT_K)
forks = "import os\nwhile True:\n    os.fork()"
row("fork-bomb", "ended by the limit", lambda: hostile(forks), ends, NOT_K)
threads = "import threading, time\nwhile True:\n"
threads += "    threading.Thread(target=time.sleep, args=(60,)).start()"
row("thread-bomb", "ended by the limit", lambda: hostile(threads), ("graded", *ends), NOT_K)
row("output-flood", "prints without end", lambda: hostile("while True:\n    print('x' * 9999)"),
    ends, NOT_K)  # fmt: skip
row("sys-exit", "raises SystemExit", lambda: hostile("import sys\nsys.exit()"),
    ("graded", *ends), NOT_K)  # fmt: skip
row("os-exit", "ends its process, and costs no other exercise",
    lambda: hostile("import os\nos._exit(0)"), ends, NOT_K)  # fmt: skip
row("os-exit-cell", "ends its process when the cell is run",
    lambda: Work().kl(RIGHT, "import os\nos._exit(0)\n\n\n", False).executed(), ends,
    NOT_K)  # fmt: skip
row("kernel-kill", "kill -9", lambda: hostile("import os\nos.kill(os.getpid(), 9)"), ends, NOT_K)
row("segfault", "reads address 0", lambda: hostile("import ctypes\nctypes.string_at(0)"), ends,
    NOT_K)  # fmt: skip


def steals(code: str) -> Work:
    """A right answer that tries something on the way."""
    lines = "".join(f"    {line}\n" for line in code.splitlines())
    tried = f"try:\n{lines}except Exception as error:\n    print(error)\n"
    return hostile(tried + RIGHT.strip())


OUTSIDE = Path("/var/tmp/labkit-was-here")  # a place where anyone may write


def thief(folder: Path) -> Work:
    """Knows where the others' work is, and gives a wrong answer if it can be read."""
    code = f"import os\nif os.path.exists({str(folder.parent)!r}):\n    return mu"
    return steals(code)


def burglar(folder: Path) -> Work:
    """Knows where the grade book is, and gives a wrong answer if it can be read."""
    course = folder.parents[1] / "grades" / "course"
    return steals(f"import os\nif os.path.exists({str(course)!r}):\n    return mu")


row("reads-grade-book", "it is not there", burglar, "manual")
row("reads-other-submissions", "they are not there", thief, "manual")
row("writes-outside", "it cannot",
    lambda: steals(f"open('{OUTSIDE}', 'w').write('x')\nopen('/usr/x', 'w').write('x')"),
    ("graded", "manual"))  # fmt: skip
row("fills-disk", "its own small disk",
    lambda: steals("f = open('/tmp/fill', 'wb')\nwhile True:\n    f.write(bytes(2**20))"),
    ("graded", *ends))  # fmt: skip
row("socket", "there is no network",
    lambda: steals("import socket\nsocket.create_connection(('1.1.1.1', 53), 2)"),
    ("graded", "manual"))  # fmt: skip
MARK = "labkit-daemon-of-a-student"
row("daemon", "ends with its submission",
    lambda: steals("import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time\\n"
                   f"time.sleep(600)', '{MARK}'], start_new_session=True)"),
    ("graded", *ends))  # fmt: skip

# code that would fool a test in its own process
row("patches-checks", "points only for what is right",
    lambda: hostile(mean).add(
        "import labkit.exercises as E\nE.check = lambda name: print('✔')\n"
        "E.core.Exercise.same = lambda *a: True\nE.core.Exercise.judge = lambda *a: None"
    ), "manual", NOT_K)  # fmt: skip
row("patches-in-solution", "the same from the solution's own cell",
    lambda: Work().kl("return mu.sum(1)", "import labkit.exercises.core as core\n"
                      "core.Exercise.same = lambda *a: True\n").executed(),
    "manual", NOT_K)  # fmt: skip
row("patches-allclose", "torch.allclose says yes to all",
    lambda: Work().kl("torch.allclose = lambda *a, **k: True\nreturn mu.sum(1)").executed(),
    "manual", NOT_K)  # fmt: skip
agrees = """class Agrees(torch.Tensor):
    def __eq__(self, other):
        return True
    @classmethod
    def __torch_function__(cls, f, types, args=(), kwargs=None):
        return True if f is torch.allclose else super().__torch_function__(f, types, args, kwargs)
"""
row("eq-always-true", "a result that equals everything",
    lambda: Work().kl("return mu.sum(1).as_subclass(Agrees)", agrees).executed(),
    "manual", NOT_K)  # fmt: skip
drops = """import ast
class Drop(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()
get_ipython().ast_transformers.append(Drop())"""
row("drops-asserts", "an AST transformer deletes them",
    lambda: hostile("return mu.sum(1)").add(drops), "manual", NOT_K)  # fmt: skip
row("own-exercise", "another `exercise` in place of the kit's",
    lambda: hostile("return mu.sum(1)").add("exercise = lambda name: lambda f: f"),
    ("graded", "manual"), NOT_K)  # fmt: skip
row("kits-own-answer", "calls what the kit has for it",
    lambda: Work().kl("return V.kl_divergence(mu, log_var)",
                      "from labkit.models import vae as V\n").executed(),
    "manual", kind="own answer")  # fmt: skip
row("calls-itself", "an exercise that calls itself does not get the kit's own",
    lambda: hostile("return kl_divergence(mu, log_var)"), points=NOT_K)  # fmt: skip
row("borrows-answer", "what the decorator gives back does not solve the exercise",
    lambda: hostile("return own(mu, log_var)", 'own = exercise("kl_divergence")(abs)\n'),
    ("graded", "manual"), NOT_K)  # fmt: skip
vae = "from labkit.models import vae as V\n"
row("own-answer-below-time", "a magic does not hide the cell",
    lambda: Work().kl("return V.kl_divergence(mu, log_var)", "%%time\n" + vae).executed(),
    "manual", kind="own answer")  # fmt: skip
row("own-answer-in-own-cell", "nor does a cell of one's own",
    lambda: Work().kl("return half(mu, log_var)").executed()
    .add(vae + "def half(a, b):\n    return V.kl_divergence(a, b)"),
    "manual", kind="own answer")  # fmt: skip
row("imports-again", "an honest cell that imports the kit's decorator once more",
    lambda: solved().add("from labkit.exercises import check, exercise, hint, yours"))  # fmt: skip
row("kills-its-grader", "costs its own exercise only",
    lambda: hostile("from torch import os\nos.kill(os.getppid(), 9)"), ends, NOT_K)  # fmt: skip
knows = "table = {(2, 3): [1.0, 2.0]}\n"
knows += "return torch.tensor(table.get(tuple(mu.shape), [0.0] * len(mu)))"
row("hard-coded-answers", "numbers of one example", lambda: hostile(knows), points=NOT_K)

# two copies of one work, and one with other names
COPIED = """spread = torch.exp(log_var)
squares = torch.square(mu)
surprise = spread + squares
surprise = surprise - torch.ones_like(mu)
parts = [column for column in torch.unbind(surprise - log_var, dim=1)]
total = torch.zeros_like(mu[:, 0])
for part in parts:
    total = total + part / 2
return total"""
RENAMED = COPIED
for old, new in {"spread": "s2", "squares": "m2", "surprise": "t", "parts": "cols",
                 "column": "c", "part ": "p ", "total": "result"}.items():  # fmt: skip
    RENAMED = RENAMED.replace(old, new)
row("copy-of-one", "the work", lambda: hostile(COPIED))
row("copy-of-two", "the same", lambda: hostile(COPIED))
row("copy-renamed", "the same with other names", lambda: hostile(RENAMED))


def write(folder: Path, rows: list[Row] | None = None) -> None:
    """The whole class: a folder a student."""
    for one in ROWS if rows is None else rows:
        place = folder / one.name
        place.mkdir(parents=True)
        one.make(place)
