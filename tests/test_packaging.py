"""Packaging: the sdist runs its own tests, and an editable install works beside a folder named handmade."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = (".ci", "benchmarks", "docs", "handmade", "reference", "tests")
NOT_SHIPPED = {"__pycache__", "quick"}  # benchmarks/papers/quick holds results of --quick


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a command in the folder, with these environment variables, and return its stdout."""
    environment = os.environ | variables
    return subprocess.run(command, cwd=cwd, env=environment, check=True, capture_output=True, text=True).stdout


def build(hook: str, target: Path, source: Path) -> Path:
    """Let setuptools build an sdist or an editable wheel of the source into the target folder."""
    code = f"from setuptools import build_meta; import sys; print(build_meta.{hook}(sys.argv[1]))"
    target.mkdir()
    return target / run(sys.executable, "-W", "ignore", "-c", code, target, cwd=source).splitlines()[-1]


def copy_project(target: Path) -> Path:
    """Copy the files of the project, and no caches, to a folder; return the folder."""
    for file in files():
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        (target / file).write_bytes((ROOT / file).read_bytes())
    return target


def files() -> list[Path]:
    """Return the paths of the files that belong to the project, relative to its root."""
    found = [path for folder in SHIPPED for path in (ROOT / folder).rglob("*") if path.is_file()]
    found += [ROOT / name for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")]
    found += ROOT.glob("C*.md")
    return sorted(path.relative_to(ROOT) for path in found if not NOT_SHIPPED & set(path.parts))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("clone") / "handmade")


@pytest.fixture(scope="module")
def unpacked(project, tmp_path_factory):
    """Return the folder of an sdist that was built and unpacked."""
    target = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("build_sdist", target / "dist", project)) as archive:
        archive.extractall(target, filter="data")
    return target / "handmade-0.1.0"


def test_sdist_holds_every_file(unpacked):
    missing = [str(file) for file in files() if not (unpacked / file).is_file()]
    assert not missing


def test_sdist_runs_its_tests(unpacked):
    tests = ["tests/test_information.py", "tests/test_packaging.py::test_handmade_is_the_one_beside_the_tests"]
    passed = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, cwd=unpacked, PYTHONPATH="")
    assert " passed" in passed


def test_handmade_is_the_one_beside_the_tests():
    import handmade

    assert Path(handmade.__file__).parent == ROOT / "handmade"


def test_editable_install_works_above_the_clone(project, tmp_path):
    # In the folder above a clone, `handmade` is also the clone, which looks like a namespace package.
    site_packages = tmp_path / "site-packages"
    with zipfile.ZipFile(build("build_editable", tmp_path / "wheel", project)) as wheel:
        wheel.extractall(site_packages)
    code = f"import site; site.addsitedir({str(site_packages)!r}); import handmade; print(handmade.MLP.__module__)"
    # -S leaves out the environment's own .pth files, among them perhaps one of handmade.
    numpy_alone = str(Path(np.__file__).parents[1])
    printed = run(sys.executable, "-S", "-c", code, cwd=project.parent, PYTHONPATH=numpy_alone)
    assert printed.strip() == "handmade.mlp"
