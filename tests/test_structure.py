"""The rules of the house that a machine can check."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "labkit").rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def at_import(tree):
    """The statements that run when a module is imported: those outside of functions."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from at_import(node)


def imports(path):
    """The modules of labkit that importing `path` imports by name."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in at_import(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else base for name in names if base in MODULES)


def circle(graph):
    """A path that ends where it began, or None."""
    state, path = {}, []

    def visit(name):
        state[name] = "open"
        path.append(name)
        for other in graph[name]:
            if state.get(other) == "open":
                return path[path.index(other) :] + [other]
            if other not in state and (found := visit(other)):
                return found
        state[name] = "done"
        path.pop()
        return None

    return next((found for name in graph if name not in state and (found := visit(name))), None)


def test_a_circle_is_found_where_there_is_one():
    assert circle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c", "b"]
    assert circle({"a": ["b", "c"], "b": ["c"], "c": []}) is None


def test_imports_form_no_circle():
    graph = {module: sorted(set(imports(path)) - {module}) for module, path in MODULES.items()}
    assert circle(graph) is None


def test_models_know_only_torch_and_each_other():
    for module, path in MODULES.items():
        if module.startswith("labkit.models"):
            assert all(name.startswith("labkit.models") for name in imports(path)), module


def test_no_two_classes_have_one_name():
    seen = {}
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name not in ("Run", "Kind"):
                assert node.name not in seen, f"{node.name} in {path} and {seen[node.name]}"
                seen[node.name] = path


def test_functions_fit_on_a_screen_and_have_few_arguments():
    """About 50 lines below the docstring, about 8 arguments; a stand-in may have more strokes."""
    large = []
    for path, tree in TREES.items():
        if "synthetic" in path.parts:
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            first = node.body[bool(ast.get_docstring(node) and node.body[1:])]
            arguments = [*node.args.args, *node.args.kwonlyargs]
            if path.parent.name == "exercises":  # a reference's keywords switch its mistakes on
                arguments = node.args.args
            few = len([a for a in arguments if a.arg not in ("self", "cls")]) <= 9
            if node.end_lineno - first.lineno + 1 > 52 or not few:
                large.append(f"{module_of(path)}.{node.name}")
    assert not large


def test_the_library_is_small():
    """A helper library: at most 6,500 lines without what is content, and the instructor's part."""
    content = ("data/synthetic", "studies", "exercises", "grading")
    apart = [ROOT / "labkit" / part for part in content]
    counted = [path for path in FILES if not any(part in path.parents for part in apart)]
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in counted) <= 6_500


def test_one_module_knows_where_the_repository_is():
    for path in FILES:
        if path.name != "folders.py":
            text = path.read_text(encoding="utf-8")
            assert "parents[" not in text, path
