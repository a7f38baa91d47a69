"""The repository itself: pins, layout, notebooks as they are committed, the look of the code."""

import ast
import graphlib
import re
import subprocess
import sys
from importlib.util import resolve_name
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from labkit import results

ROOT = Path(__file__).resolve().parents[1]
tomllib = pytest.importorskip("tomllib", reason="the pins need Python 3.11, which reads TOML")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOP_LEVEL = {
    "notebooks",
    "labkit",
    "data",
    "requirements.txt",
    "environment.yml",
    "tests",
    "README.md",
    "pyproject.toml",
    "LICENSE",
    "CONTRIBUTING.md",
    "docs",
}


def pip_lines(name: str) -> list[str]:
    """The lines of requirements.txt, or of the pip section of environment.yml, without comments."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    if name == "environment.yml":
        lines = [line.strip().removeprefix("- ") for line in lines[lines.index("  - pip:") + 1 :]]
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def paths() -> dict[str, Path]:
    """The executed notebooks, labs and studies, by their path below notebooks/."""
    top = ROOT / "notebooks"
    found = sorted([*top.glob("*.ipynb"), *top.glob("studies/*.ipynb")])
    assert {path.parent for path in found} == {top, top / "studies"}
    return {path.relative_to(top).as_posix(): path for path in found}


def notebooks() -> dict[str, nbformat.NotebookNode]:
    return {name: nbformat.read(path, as_version=4) for name, path in paths().items()}


def test_every_requirement_is_pinned_and_the_last_line_is_the_kit_itself():
    *pins, last = pip_lines("requirements.txt")
    assert last == "-e ."
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", pin) for pin in pins), pins


SUPPORT = {"nbformat", "jinja2", "psutil", "pygments"}  # what JupyterLab brings with it


def test_what_tests_and_grading_need_is_pinned_and_apart():
    first, *pins = pip_lines("tests/requirements.txt")
    assert first == "-r ../requirements.txt"
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", pin) for pin in pins), pins
    students = {pin.split("==")[0] for pin in pip_lines("requirements.txt")}
    assert not students & {pin.split("==")[0] for pin in pins}
    asked = {Requirement(r).name for r in PYPROJECT["project"]["optional-dependencies"]["grading"]}
    pinned = students | {pin.split("==")[0] for pin in pins}
    assert {"nbgrader", "distributed"} == asked - students - SUPPORT and asked <= pinned | SUPPORT


def test_conda_twin_has_the_same_pins():
    assert pip_lines("environment.yml") == pip_lines("requirements.txt")


def test_loose_bounds_of_pyproject_admit_the_pins():
    pins = {
        canonicalize_name(pin.split("==")[0]): pin.split("==")[1]
        for pin in pip_lines("requirements.txt")[:-1]
    }
    for bound in map(Requirement, PYPROJECT["project"]["dependencies"]):
        assert bound.specifier.contains(pins[canonicalize_name(bound.name)]), bound
        assert all(part.operator == ">=" for part in bound.specifier), (
            f"{bound} would make Colab reinstall"
        )


LIGHT = ["labkit", "labkit.__main__", "labkit.console", "labkit.doctor", "labkit.profile"]


@pytest.mark.parametrize("module", LIGHT)
def test_importing_what_comes_first_imports_nothing_heavy(module):
    heavy = {"torch", "numpy", "matplotlib", "nbclient"}
    code = f"import sys, {module}; print(*{heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def imports() -> dict[str, set[str]]:
    """The modules of labkit that each of them imports when it is imported."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in ROOT.glob("labkit/**/*.py")
    }
    graph = {}
    for name, path in modules.items():
        found = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                here = name if path.name == "__init__.py" else name.rpartition(".")[0]
                source = resolve_name("." * node.level + (node.module or ""), here)
                parts = {f"{source}.{alias.name}" for alias in node.names}
                found |= {part if part in modules else source for part in parts}
        graph[name] = found & set(modules) - {name}
    return graph


def test_no_module_imports_itself_by_way_of_others():
    graph = imports()
    assert "labkit.console" in graph["labkit.runner"]
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_one_module_knows_where_the_repository_is():
    own = re.compile(r"(?<![.\w])__file__")
    files = ROOT.glob("labkit/**/*.py")
    who = {path.name for path in files if own.search(path.read_text(encoding="utf-8"))}
    assert who == {"folders.py"}


def test_committed_notebooks_carry_no_errors_no_stderr_and_no_widget_state():
    for name, notebook in notebooks().items():
        assert "widgets" not in notebook.metadata, name
        for index, output in (
            (i, o) for i, cell in enumerate(notebook.cells) for o in cell.get("outputs", [])
        ):
            assert output.output_type != "error", f"{name}, cell {index}: {output.ename}"
            assert output.get("name") != "stderr", f"{name}, cell {index}: {output.text}"


def test_committed_notebooks_are_small_enough_to_open_and_show_no_path_of_a_machine():
    for name, path in paths().items():
        text = path.read_text(encoding="utf-8")
        assert len(text) < 2e6, name
        assert not re.search(r"/(home|Users|root|work|tmp)/", text), name


def test_committed_notebooks_know_how_long_each_cell_took():
    for name, notebook in notebooks().items():
        facts = notebook.metadata["labkit"]
        code = {c.id for c in notebook.cells if c.cell_type == "code" and c.source.strip()}
        assert (facts["profile"], facts["status"]) == ("cpu", "passed"), name
        assert set(facts["cell_seconds"]) == code, name


def test_the_kit_has_the_claims_of_each_executed_study():
    """data/results/studies/ is what the end of a lab quotes: no other verdicts than the study's."""
    form = "- {claim}: reported {reported}; reproduced {reproduced}; {verdict}"
    for name, notebook in notebooks().items():
        if name.startswith("studies/"):
            outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
            texts = [o.get("data", {}).get("text/plain", "") for o in outputs]
            (text,) = [text for text in texts if text.startswith("Reported vs reproduced.")]
            record = results.study(Path(name).stem)
            assert text.splitlines()[1:] == [form.format(**claim) for claim in record["claims"]]
            assert (record["profile"], record["notebook"]) == ("cpu", name.removesuffix(".ipynb"))
            facts = {"seeds", "command", "date", "machine", "data", "data_content", "metrics"}
            assert facts <= record.keys(), name


def test_no_study_decides_about_a_report_from_few_seeds():
    """What may be decided without seeds: what is counted in the data, and exact mathematics."""
    exact = {"20,000 queries of 5 characters, answers of 3, 13 symbols", "∂c(t)/∂c(t−1) = f(t)"}
    for path in sorted((ROOT / "data" / "results" / "studies").glob("*.json")):
        record = results.study(path.stem)
        for claim in record["claims"]:
            decided = claim["verdict"].startswith(("holds", "does not hold"))
            few = len(record["seeds"]) < 5
            assert not (decided and few) or claim["claim"] in exact, (path.name, claim)


def test_studies_are_read_as_papers_and_have_no_panels():
    for name, notebook in notebooks().items():
        if name.startswith("studies/"):
            outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
            kinds = {kind for o in outputs for kind in o.get("data", {})}
            assert not any("widget" in kind for kind in kinds), name
            assert not any("widgets" in cell.source for cell in notebook.cells), name


def test_colab_badges_point_at_this_repository():
    repository = (
        PYPROJECT["project"]["urls"]["Repository"]
        .removeprefix("https://github.com/")
        .removesuffix(".git")
    )
    for name, notebook in notebooks().items():
        links = re.findall(
            r"https://colab\.research\.google\.com/github/[^\s)\"'>]+", notebook.cells[0].source
        )
        assert links, f"{name} has no Colab badge in its first cell"
        for link in links:
            assert re.fullmatch(
                rf".*/github/{re.escape(repository)}/blob/[^/]+/notebooks/{re.escape(name)}", link
            ), link


def test_top_level_is_what_the_layout_says():
    done = (
        subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
        if (ROOT / ".git").exists()
        else None
    )
    if done is None or done.returncode or not done.stdout:
        pytest.skip("not a git checkout with tracked files")
    names = {path.split("/")[0] for path in done.stdout.split("\0") if path}
    assert {name for name in names if not name.startswith(".")} == TOP_LEVEL


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_ruff_has_nothing_to_say(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_installed_labkit_has_every_package_the_weights_and_what_was_measured():
    settings = PYPROJECT["tool"]["setuptools"]
    found = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("labkit/**/__init__.py")
    }
    assert found | {"labkit.shipped", "labkit.measured"} == set(settings["packages"])
    measured = ROOT / settings["package-dir"]["labkit.measured"]
    assert list(measured.glob(settings["package-data"]["labkit.measured"][0]))
    assert list((ROOT / settings["package-dir"]["labkit.shipped"]).glob("*.pt"))
    packed = {
        path
        for package in ("labkit", "labkit.widgets")
        for pattern in settings["package-data"][package]
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    files = {path for path in ROOT.glob("labkit/**/*") if path.is_file() and path.suffix != ".pyc"}
    assert packed == {path for path in files if path.suffix != ".py"}


def test_a_lab_is_an_hour_of_doing():
    """At most 25 code cells, 250 lines, 15 in a cell, 1,600 words; as a student sees them."""
    hidden = re.compile(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.S)
    for name, notebook in notebooks().items():
        if name.startswith("studies"):
            continue
        sources = [hidden.sub("", c.source) for c in notebook.cells if c.cell_type == "code"]
        kept = [[s for s in map(str.strip, text.splitlines()) if s] for text in sources]
        lines = [len([s for s in code if not s.startswith("### ")]) for code in kept]
        assert len(lines) <= 25 and sum(lines) <= 250 and max(lines) <= 15, (name, lines)
        prose = " ".join(c.source for c in notebook.cells if c.cell_type == "markdown")
        words = len(re.sub(r"<[^>]+>|\$[^$]*\$|\]\([^)]*\)", " ", prose).split())
        assert words <= 1_600, f"{name}: {words} words"
        assert not [text for text in sources if "getsource" in text], name
