"""What a student's code changed is found and put back; what it looks at is read, not run."""

import builtins
import sys
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from labkit import exercises, folders
from labkit.exercises import core
from labkit.grading import autograde, integrity, release
from labkit.grading.integrity import KITS, LEFT, MORE, scan
from labkit.grading.records import EXERCISE, GRADED, MANUAL
from labkit.models import vae as V

MASTERS = release.masters(sorted((folders.repository() / "notebooks").glob("*.ipynb")))


@pytest.fixture
def before():
    exercises.names()
    found = integrity.snapshot()
    yield found
    integrity.restore(found)


def test_nothing_is_changed_by_what_labs_do(before):
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    for task in (exercises.names()["scale"][1], exercises.names()["slerp"][1]):
        task.observations(lambda *arguments: 1 / 0)
    assert integrity.restore(before) == []


def fake(*args, **kwargs):
    return True


PLACES = [
    (torch, "allclose"),
    (torch.Tensor, "__eq__"),
    (torch.Tensor, "allclose"),  # is defined by a class above it
    (F, "relu"),
    (np, "allclose"),
    (np.testing, "assert_allclose"),
    (torch.nn.Linear, "forward"),
    (torch.optim.Adam, "step"),
    (builtins, "abs"),
    (builtins, "AssertionError"),
    (builtins, "isinstance"),
    (builtins, "zip"),
    (builtins, "type"),
    (exercises, "yours"),
    (core.Exercise, "judge"),
    (core.Exercise, "__eq__"),
    (exercises.names()["scale"][1], "reference"),
    (exercises.names()["scale"][1], "expected"),
    (V, "kl_divergence"),
    (torch, "new_name"),
]


@pytest.mark.parametrize(("thing", "name"), PLACES, ids=[name for _, name in PLACES])
def test_a_changed_attribute_is_named_and_put_back(thing, name):
    assert exercises.names()["scale"][1].expected  # once it was computed, it must stay
    before = integrity.snapshot()
    old = thing.__dict__.get(name, fake)
    setattr(thing, name, fake)
    try:
        changed = integrity.restore(before)
    finally:
        again = integrity.restore(before)
    assert [what.split(".")[-1] for what in changed] == [name] and not again
    assert thing.__dict__.get(name, fake) is old and thing.__dict__.get(name) is not fake


def test_changed_code_and_defaults_of_functions_are_put_back(before):
    old = V.kl_divergence.__code__
    V.kl_divergence.__code__ = fake.__code__
    core.Exercise.same.__defaults__ = (None,)
    changed = integrity.restore(before)
    assert {what.split(".")[-1] for what in changed} == {"kl_divergence", "same"}
    assert V.kl_divergence.__code__ is old and core.Exercise.same.__defaults__ is None


def test_removed_attributes_and_modules_come_back(before):
    relu, module = F.relu, sys.modules["labkit.exercises.core"]
    del F.relu
    sys.modules["labkit.exercises.core"] = builtins
    assert len(integrity.restore(before)) == 2
    assert F.relu is relu and sys.modules["labkit.exercises.core"] is module


class Counts(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **kwargs or {})


@pytest.mark.parametrize(
    "change",
    [
        lambda: sys.settrace(lambda *args: None),
        lambda: sys.setprofile(lambda *args: None),
        lambda: Counts().__enter__(),
        lambda: torch.set_grad_enabled(False),
        lambda: torch.set_default_dtype(torch.float64),
    ],
)
def test_what_redirects_all_code_is_ended(before, change):
    trace = sys.gettrace()  # of a debugger or of what measures coverage
    sys.settrace(None)
    try:
        change()
        assert integrity.restore(before) and not integrity.restore(before)
    finally:
        sys.settrace(trace)
    assert torch.is_grad_enabled() and torch.ones(1).dtype is torch.float32


IMPORTS = """import torch
import torch.nn.functional as F
from torch import nn
from labkit import data, plots
from labkit.data.arithmetic import SYMBOLS
from labkit.exercises import check, exercise, hint, progress, yours
from labkit.metrics import latent as order
from labkit.models import vae as V
"""


def seen(source, solution=""):
    found = scan(source, solution, IMPORTS)
    return {(finding.kind, finding.status) for finding in found}


@pytest.mark.parametrize("master", MASTERS, ids=lambda path: path.stem)
def test_solutions_use_nothing_that_a_human_has_to_see(master):
    code = [cell for cell in nbformat.read(master, 4).cells if cell.cell_type == "code"]
    imports = "\n".join(integrity.imports_of(c.source) for c in code if not release.role(c))
    for cell in code:
        if EXERCISE.search(cell.source):
            assert scan(cell.source, cell.source, imports) == []
            assert {f.kind for f in scan(cell.source, "", imports)} <= {KITS}


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import os.path as p",
        "from subprocess import run",
        "import labkit.grading.inside",
        "from labkit.exercises import names",
        "from labkit.exercises.lab03 import kl_divergence",
        "import labkit\nlabkit.exercises.names()",
        "torch.os.system('ls')",
        "eval('1')",
        "__import__('os')",
        "f = exec",
        "globals()['x'] = 1",
        "().__class__.__bases__",
        "f.__globals__",
        "__builtins__",
        "kl.task.reference(1)",
        "torch.allclose = f",
        "F.relu.__code__ = f",
        "torch.Tensor.item = f",
        "del torch.allclose",
        "setattr(torch, 'x', 1)",
        "getattr(torch, 'all' + 'close')",
        "class A:\n    def __eq__(self, other): return True",
        "class A(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls): pass",
        "class A(metaclass=B): pass",
        "open('x', 'w')",
        "open('x', mode=m)",
        "!ls",
        "%%bash\nls",
        "%%writefile x\ny",
        "get_ipython().ast_transformers.append(x)",
        "ip = get_ipython()",
        "torch.load('x')",
        "torch.overrides.TorchFunctionMode()",
        "torch._C._add_docstr",
        "%%time\nimport os",
        "%%time\n%%capture out\nimport os",
        "%%timeit -n 10 -r3\nexec('1')",
        "%time x = eval('1')",
        "get_ipython().run_line_magic(a, b)",
        "from labkit.models.vae import *",
        "W = V",
        "V = V",
        "(V,)[0].kl_divergence",
        "def f(V=V): return V",
        "class A:\n    V = 1\nW = V",
        "[W for W in [V]]",
        "T = torch; T.os",
        "from torch import sys",
        "from collections import _sys",
        "import random\nrandom._os",
        "import collections\ncollections._sys.modules",
        "getattr(f, '__globals__')",
        "g = getattr",
        "match f:\n    case object(__globals__=g): pass",
        "from operator import attrgetter",
        "import operator\noperator.methodcaller('x')",
        "x = '{0.__class__}'",
        "exec = exec",
    ],
)
def test_what_no_exercise_needs_is_told_to_a_human(source):
    assert (MORE, MANUAL) in seen(source)


@pytest.mark.parametrize("source", ["import pathlib", "open('x')", "exit()", "%timeit f()"])
def test_what_is_odd_and_harmless_is_noted(source):
    assert seen(source) == {(MORE, GRADED)}


@pytest.mark.parametrize(
    "source",
    [
        "",
        "def f(x):\n    return torch.stack([F.relu(x), x.mean(0)]).sum().item()",
        "class A(nn.Module):\n    def __init__(self):\n        super().__init__()",
        "import math, itertools\nfrom collections import Counter\nimport tqdm, time, random",
        "x = plots.PALETTE; n = SYMBOLS.index('+'); s = data.arithmetic.BLANK",
        "x = f'{torch.ones(3).shape}'\nx.y = 3\nhint('x')",
        "getattr(p, 'W_ix')",
        "def f(data, order):\n    vars = [data, order]\n    return vars",
        "data = torch.ones(3)\nfor x in data:\n    print(x, data[0])",
        "print([data for data in range(3)])",
        "def exec(x):\n    return x\ny = exec(2)",
        'def f():\n    """Of __init__."""\n    x = \'sub__name\'',
        "from torch import signal\nx = torch.select(y, 0, 1)",
        "def stub():\n    raise NotImplementedError",
        "def f(x):\n    if x:\n        raise NotImplementedError('so')\n    return x",
    ],
)
def test_ordinary_code_gives_no_finding(source):
    assert seen(source) == set()


def test_the_kit_s_own_functions_are_found_unless_the_solution_uses_them():
    for call in (
        "V.VAE(2)",
        "V.kl_divergence(m, v)",
        "f = V.kl_divergence",
        "order.knn_accuracy(z, y)",
    ):
        assert seen(call) == {(KITS, MANUAL)} and seen(call, call) == set()
    assert seen("from labkit.models.vae import kl_divergence as k\nk(m, v)") == {(KITS, MANUAL)}
    (finding,) = scan("V.kl_divergence(m, v)", "", IMPORTS)
    assert "labkit.models.vae.kl_divergence" in finding.text


def test_a_raise_that_was_left_in_is_noted():
    source = 'def f(x):\n    """Text."""\n    y = x\n    raise NotImplementedError\n    return y'
    assert seen(source) == {(LEFT, GRADED)}


@pytest.mark.parametrize("source", ["def f(:", "\0", "\ud800", "%", "?", "'''", "%%time\nx = ("])
def test_code_that_cannot_be_read_is_no_error(source):
    assert all(finding.status == GRADED for finding in scan(source, "", IMPORTS))


@pytest.mark.parametrize("source", ["x = " + "-" * 50_000 + "1", "x = 1" + " + 1" * 20_000])
def test_code_too_deep_to_be_read_is_for_a_human(source):
    assert {finding.status for finding in scan(source, "", IMPORTS)} == {MANUAL}


def test_a_syntax_error_is_told_with_its_line():
    (finding,) = scan("x = 1\ny = (2", "", IMPORTS)
    assert "line 2" in finding.text and "never closed" in finding.text


OWN = integrity.Own(frozenset({"kl_divergence"}), frozenset({"data"}))


@pytest.mark.parametrize(
    "source",
    [
        "torch.backends.cudnn.deterministic = True",
        "import pandas as pd\npd.options.display.max_rows = 10",
        "import sys; print(sys.version)",
        "import gc; gc.collect()",
        "from types import SimpleNamespace\nx = SimpleNamespace(a=1)",
        "print(x.__class__.__name__)",
        "import os\nos.environ['A'] = 'b'\nos.path.join('a', 'b')",
        "!nvidia-smi",
        "%load_ext autoreload\n%autoreload 2",
        "%cd ..",
        "%env A=b",
        "%who",
        "%%html\n<b>__x</b>",
        "%%writefile notes.txt\n__x",
        "help(V)",
        "x = data[0]; m = V.linear_vae(2)",
    ],
)
def test_usual_things_in_cells_of_their_own_are_at_most_noted(source):
    assert {finding.status for finding in scan(source, "", IMPORTS, OWN)} <= {GRADED}


@pytest.mark.parametrize(
    "source",
    [
        "half = V.kl_divergence",
        "W = V",
        "import sys\nsys.modules",
        "import os\nos.path.os.system('ls')",
        "import os\nos.system('ls')",
        "!nvidia-smi; cat x",
        "%%writefile torch.py\nimport os\nos.system('ls')",
        "torch.allclose = f",
    ],
)
def test_cells_of_their_own_are_read_all_the_same(source):
    assert MANUAL in {finding.status for finding in scan(source, "", IMPORTS, OWN)}


def test_own_cells_are_read_with_the_imports_of_the_lab_and_of_each_other():
    cell, head = nbformat.v4.new_code_cell, "import labkit.models.vae as V"
    solution = cell("@exercise('kl')\ndef kl_divergence(m, v):\n    return m")
    solution.metadata.nbgrader = {"solution": True, "grade_id": "kl"}
    master = nbformat.writes(nbformat.v4.new_notebook(cells=[cell(head), solution]))
    lab = SimpleNamespace(master=master, released=master)

    def told(*sources, answer=""):
        notebook = nbformat.v4.new_notebook(cells=[cell(source) for source in sources])
        checked = SimpleNamespace(notebook=notebook, answers={"kl": answer})
        return {finding.kind for finding in autograde.scanned(checked, lab)}

    assert told("half = V.kl_divergence") == {KITS}
    assert told("from labkit.models import vae as W", "h = W.kl_divergence") == {KITS}
    assert told("m = V.linear_vae(2)", "V.linear_vae(", "data = 1") == {"no Python"}
    used = solution.source.replace("return m", "return W.kl_divergence(m, v)")
    assert told("from labkit.models import vae as W", answer=used) == {KITS}


@pytest.mark.parametrize("master", MASTERS, ids=lambda path: path.stem)
def test_a_change_to_a_cell_of_the_lab_is_not_for_a_human(master):
    text = master.read_text(encoding="utf-8")
    lab, changed = SimpleNamespace(master=text, released=text), nbformat.reads(text, 4)
    for cell in changed.cells:
        if cell.cell_type == "code" and not cell.metadata.get("nbgrader"):
            cell.source = f"{cell.source}\nx = 1" if "\n" in cell.source else cell.source
    checked = SimpleNamespace(notebook=changed, answers={})
    assert all(finding.status == GRADED for finding in autograde.scanned(checked, lab))


def test_imports_are_found_in_cells_with_magics():
    source = "try:\n    import labkit\nexcept E:\n    %pip install x\n\nfrom torch import nn as n\n"
    source += "def f():\n    import os"
    assert integrity.imports_of(source).split("\n") == [
        "from torch import nn as n",
        "import labkit",
    ]
