"""The order of the folders: an import goes only downwards, and there is no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import fastreg

ROOT = Path(fastreg.__file__).parent

#: From the ground up; what stands in one line may not import its neighbours, either.
LAYERS = (
    ("_version",),
    ("kernels", "metrics", "machine"),
    ("parts",),
    ("operators",),
    ("fidelities",),
    ("priors",),
    ("models",),
    ("problem",),
    ("solvers",),
    ("restorer",),
    ("compiled", "io"),
    ("tasks",),
    ("arrays", "evaluation", "training", "batch"),
    ("export",),
    ("cli",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
#: Modules that stand lower than their folder: writing a file whole or not at all.
LOWER = {"fastreg.io.atomic": 0}
#: Within a line: evaluation and training restore as a folder of images is restored.
BESIDE = {("evaluation", "batch"), ("training", "batch"), ("training", "evaluation")}


def modules() -> dict[str, Path]:
    """Every module of the package by its name."""
    found = {}
    for path in _sources(ROOT):
        parts = ("fastreg", *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _sources(folder: Path) -> list[Path]:
    """Also in folders that are links."""
    found = list(folder.glob("*.py"))
    return found + [path for inner in folder.iterdir() if inner.is_dir() for path in _sources(inner)]


def imports(name: str, known: dict[str, Path], in_functions: bool) -> set[str]:
    """Modules of the package that a module imports when it is imported itself, or also later in its functions."""
    found: set[str] = set()
    for node in _nodes(ast.parse(known[name].read_text()), in_functions):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{name} has a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return {other for other in found if other in known and other not in (name, "fastreg")}


def _nodes(tree: ast.AST, in_functions: bool) -> Iterator[ast.AST]:
    """All of a module that is run, so nothing that only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not typing_only and (in_functions or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))):
            yield node
            yield from _nodes(node, in_functions)


def level(name: str) -> tuple[str, int]:
    """The folder (or loose file) of a module, and its line."""
    top = name.split(".")[1]
    return top, LOWER.get(name, LEVEL[top])


def test_an_import_goes_only_downwards() -> None:
    known = modules()
    assert len(known) > 80
    upward = []
    for name in known.keys() - {"fastreg"}:
        top, mine = level(name)
        for other in imports(name, known, in_functions=True):
            folder, its = level(other)
            if folder != top and its >= mine and (top, folder) not in BESIDE:
                upward.append(f"{name} -> {other}")
    assert upward == []


def test_no_module_is_in_a_circle() -> None:
    known = modules()
    graph = {name: imports(name, known, in_functions=False) for name in known}
    list(TopologicalSorter(graph).static_order())  # raises where there is a circle
