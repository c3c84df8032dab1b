"""Imports run one way: no file imports, through others, itself, be it at run time, in a function or for types alone."""

from __future__ import annotations

import ast
import functools
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("handmade", "reference", "benchmarks", "tests")
CORE = "handmade.mlp"  # imports all of it: formulas, layers, composites, the network
LEANING = ("checking", "grading", "plots", "files", "export", "compiled", "estimators", "training", "commands")


@functools.cache
def modules():
    """Return the file of each module, by name."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return dict(zip(names, paths, strict=True))


@functools.cache
def imports(name):
    """Return the modules of this project that a module imports anywhere."""
    path = modules()[name]
    package = name.split(".")[: None if path.name == "__init__.py" else -1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*parents, *filter(None, [node.module])])
            found |= {whole if (whole := f"{source}.{alias.name}") in modules() else source for alias in node.names}
    return (found & modules().keys()) - {name}


def reached_from(*names):
    """Return the modules that these import, directly or through others."""
    found, new = set(), set(names)
    while new:
        found |= new
        new = set().union(*map(imports, new)) - found
    return found


def test_no_file_imports_itself_through_others():
    graph = {name: imports(name) for name in modules()}
    assert sum(map(len, graph.values())) > 1000  # the imports are found
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_the_core_imports_nothing_that_leans_on_it():
    reached = reached_from(CORE)
    assert {"handmade.network", "handmade.normalization", "handmade.losses"} <= reached
    assert not {name for name in reached if name.split(".")[1] in LEANING}


@pytest.mark.parametrize(("lower", "higher"), [("handmade", ["reference", "benchmarks", "tests"]),
                                               ("reference", ["benchmarks", "tests"])])  # fmt: skip
def test_folders_import_one_way(lower, higher):
    reached = reached_from(*(name for name in modules() if name.split(".")[0] == lower))
    assert not {name for name in reached if name.split(".")[0] in higher}
