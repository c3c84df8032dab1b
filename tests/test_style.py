"""Style of the project's text: ruff's rules, first words of docstrings, and lengths of names (see CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("handmade", "reference", "benchmarks", "tests")
NOT_A_VERB = {"What", "How", "Whether", "So", "That", "Which", "Where", "The", "A", "An", "One"}
ARTICLES = {"A", "An", "The", "One"}
LONGEST = 60  # characters of a test's name


def definitions(*folders: str) -> Iterator[tuple[str, ast.AST]]:
    """Yield each function and class of these folders, after its place."""
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def has_a_proper_summary(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Return whether a function's docstring begins with a verb, and a class's with an article."""
    words = (ast.get_docstring(node) or "").split()
    if not words:
        return True
    if isinstance(node, ast.ClassDef):
        return words[0] in ARTICLES
    if any("property" in ast.unparse(decorator) for decorator in node.decorator_list):
        return words[0] not in NOT_A_VERB - ARTICLES
    return words[0] not in NOT_A_VERB


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_is_content(command):
    run = subprocess.run([sys.executable, "-m", "ruff", *command, "-q", "."], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_summaries_begin_with_a_verb_or_an_article():
    found = [
        f"{place}: {ast.get_docstring(node)[:60]!r}"
        for place, node in definitions(*FOLDERS)
        if not node.name.startswith("test_") and not has_a_proper_summary(node)
    ]
    assert not found, "\n".join(found)


def test_names_of_tests_are_short():
    found = [
        place
        for place, node in definitions("tests", "benchmarks")
        if node.name.startswith("test_") and len(node.name) > LONGEST
    ]
    assert not found, "\n".join(found)


def test_no_test_module_is_imported_under_a_second_name():
    """Pytest imports it as test_x; as tests.test_x its code would run again, and register its layers again."""
    found = [
        path.name
        for path in (ROOT / "tests").rglob("*.py")
        if re.search(r"(?m)^(from|import) tests\.test_", path.read_text())
    ]
    assert not found
