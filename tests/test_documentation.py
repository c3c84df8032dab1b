"""What the documents say is true: their examples run, and the names and files they mention exist."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import handmade as hm
import reference

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MODULES = [
    module.name
    for package in (hm, reference)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


@pytest.mark.parametrize("name", ["handmade", *MODULES])
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("document, least", [("README.md", 25), ("docs/conventions.md", 8)])
def test_examples_in_documents(document, least):
    outcome = doctest.testfile(str(ROOT / document), module_relative=False)
    assert outcome.attempted >= least
    assert outcome.failed == 0


def test_the_grading_example_prints_what_the_readme_says(tmp_path):
    blocks = re.findall(r"^```(?:python|text)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for block in blocks:
        if title := re.match(r"# (\w+\.py)\n", block):
            (tmp_path / title[1]).write_text(block)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["handmade.grading"]\n')
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--student=alice.py"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    (expected,) = (block for block in blocks if block.startswith("alice.py: "))
    assert run.returncode == 1
    assert expected in run.stdout


def test_the_lecture_table_names_what_exists():
    section = README.partition("## From the lecture to the code")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(table) == 15, "one row per system of the lecture"
    for row in table:
        names, files = re.findall(r"`hm\.([\w.]+)`", row), re.findall(r"`(tests/\w+\.py)`", row)
        assert names and files, row
        for name in names:
            found = hm
            for part in name.split("."):
                found = getattr(found, part)
        for file in files:
            assert (ROOT / file).is_file(), file


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_two_lines_are_exactly_two():
    assert len(re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)) == 2


def test_every_public_name_is_documented_and_exists():
    for name in hm.__all__:
        assert getattr(hm, name).__doc__, name


def test_importing_handmade_loads_numpy_alone():
    # In an interpreter of its own: this one has loaded everything already.
    code = (
        "import sys, numpy; before = set(sys.modules); import handmade; "
        "loaded = {m.partition('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names); "
        "print(sorted(loaded - {'numpy'}), 'numpy.random' in sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert loaded.stdout.split() == ["['handmade']", "False"]  # numpy.random costs time, and only some need it
