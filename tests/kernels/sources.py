"""Finds what AOTInductor refuses in the sources of the kernels, before it does.

It packages no kernel with launch hooks, with clusters (`num_ctas`), with more than one tuning decorator, or with a grid
that is not a tuple; and it sees only launches that go through `wrap_triton`.
"""

from __future__ import annotations

import ast
from pathlib import Path

import fastreg.kernels

HOOKS = ("pre_hook", "post_hook", "num_ctas")
TUNERS = ("autotune", "heuristics")


def complaints(source: str, name: str = "<source>") -> list[str]:
    """What is wrong with a source text, one sentence each."""
    found = []
    for node in ast.walk(ast.parse(source)):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call):
            found += [f"{where}: {word.arg} is refused" for word in node.keywords if word.arg in HOOKS]
            if isinstance(node.func, ast.Subscript) and _launches(node.func.value):
                if not isinstance(node.func.slice, ast.Tuple):
                    found.append(f"{where}: a grid must be a tuple written at the launch")
                if not _is_wrapped(node.func.value):
                    found.append(f"{where}: a kernel is launched without wrap_triton")
        elif isinstance(node, ast.FunctionDef):
            tuners = [decorator for decorator in node.decorator_list if _name(decorator) in TUNERS]
            if len(tuners) > 1:
                found.append(f"{where}: {node.name} has {len(tuners)} tuning decorators, one is the most")
        elif isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            found += [f"{where}: {key} is refused" for key in keys if key in HOOKS]
    return found


def check_package() -> list[str]:
    """What is wrong with the sources of the kernels and of their launches."""
    (folder,) = fastreg.kernels.__path__
    found = []
    for path in sorted(Path(folder).rglob("*.py")):
        found += complaints(path.read_text(), path.name)
    return found


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_wrapped(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _name(node) == "wrap_triton"


def _launches(node: ast.expr) -> bool:
    return _is_wrapped(node) or _name(node).endswith("_kernel")
