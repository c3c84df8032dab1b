"""The conventions of four libraries: every formula equals the number from the library itself."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import handmade as hm
from reference import conventions
from reference.convention_table import LIBRARIES, Formula, defaults, definitions
from reference.conventions import Comparison, measure, print_conventions
from reference.libraries import installed, path, scikit_learn_path, torch_path

CONVENTIONS = [*definitions(), *defaults()]
DEFINITIONS = [(convention, library) for convention in CONVENTIONS for library in convention.definitions]

# Two formulas of one number. Any other two formulas must have different numbers, or the example cannot tell them apart.
ONE_NUMBER = {
    ("e / N", "e / N: O times that of its loss"),
    ("mean over N and O of |e|", "as a metric: mean over N and O of |e|"),
    ("mean of max(0, 1 - y a), y = -1 or 1", "as a metric, of any two labels"),
    ("mean of max(0, 1 - y a), y = -1 or 1", "the same; y = 0 or 1 is converted"),
    ("as a metric, of any two labels", "the same; y = 0 or 1 is converted"),
    ("by hand: target (1 - s) t + s / 2", "target (1 - s) t + s / 2"),
    ("sum w l / sum w", "sum w l / sum w, w by sample"),
    ("v = mu v + g, theta -= lr v", "v = mu v - lr g, theta += v"),
    ("theta -= lr (g + mu v)", "theta += mu v - lr g"),
}


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Run the command in a process with its own home directory, since Keras would write into the user's."""
    home = tmp_path_factory.mktemp("home")
    file = home.parent / "numbers.json"
    code = (
        "import sys; from reference.__main__ import main; print({'keras', 'sklearn'} & set(sys.modules)); "
        f"sys.exit(main(['--conventions', '--json', {str(file)!r}]))"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"HOME": str(home)},
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout.splitlines(), json.loads(file.read_text()), home


@pytest.mark.parametrize(("convention", "library"), DEFINITIONS, ids=lambda x: x if isinstance(x, str) else x.quantity)
def test_library_agrees_with_its_formula(command, convention, library):
    if not installed(library):
        pytest.skip(f"{library} is not installed")
    _, records, _ = command
    [record] = [r for r in records if (r["quantity"], r["library"]) == (convention.quantity, library)]
    assert record["expected"] == pytest.approx(convention.definitions[library][0].value, rel=1e-15)
    assert abs(record["measured"] - record["expected"]) <= record["tolerance"]
    assert record["passed"]


def test_command_prints_every_quantity(command):
    lines, records, _ = command
    assert {line.split()[0] for line in lines if line.startswith(" def")} == {"definitions", "defaults"}
    for convention in CONVENTIONS:
        assert sum(line.startswith(f" {convention.quantity}  ") for line in lines) == 1, convention.quantity
    assert f"{len(records)} numbers, 0 of them not equal to their formula; torch {torch.__version__}" in lines[-1]
    [line] = [line for line in lines if line.startswith(" L2 term: slope by a weight")]
    assert "lambda w: of 1/2 |w|^2" in line
    assert not installed("scikit-learn") or "x 0.2" in line  # 1 / N
    assert not installed("Keras") or line.rstrip().endswith("x 2")


def test_command_imports_late_and_leaves_no_keras_settings(command):
    lines, _, home = command
    assert lines[0] == "set()"
    assert not (home / ".keras").exists()


def test_command_fails_when_a_formula_is_wrong(monkeypatch, capsys):
    convention = definitions()[0]
    formula, compute = convention.definitions["torch"]
    wrong = dataclasses.replace(
        convention, definitions=convention.definitions | {"torch": (Formula("half of it", formula.value / 2), compute)}
    )
    monkeypatch.setattr(conventions, "definitions", lambda: [wrong])
    monkeypatch.setattr(conventions, "defaults", list)
    monkeypatch.setattr(conventions, "installed", lambda library: library in ("handmade", "torch"))
    assert print_conventions() == 1
    printed = capsys.readouterr().out
    assert f"WRONG: {formula.value:.9g}, not {formula.value / 2:.9g}: half of it" in printed
    assert printed.count("not installed") == 2
    assert "2 numbers, 1 of them not equal to their formula" in printed


@pytest.mark.parametrize("convention", definitions(), ids=lambda convention: convention.quantity)
def test_example_distinguishes_any_two_formulas(convention):
    formulas = list({id(formula): formula for formula, _ in convention.definitions.values()}.values())
    for one, other in itertools.combinations(formulas, 2):
        same = abs(one.value - other.value) <= 1e-3 * abs(one.value)  # a hundred times what Keras's float32 blurs
        assert same == ((one.text, other.text) in ONE_NUMBER), (one, other)


def test_every_library_has_a_column():
    assert {library for _, library in DEFINITIONS} == set(LIBRARIES)
    assert len({convention.quantity for convention in definitions()}) == len(definitions())
    for convention in CONVENTIONS:
        assert "handmade" in convention.definitions, convention.quantity


def test_handmade_is_torch_but_for_sample_weights():
    differing = {
        convention.quantity
        for convention in CONVENTIONS
        if "torch" in convention.definitions
        and convention.definitions["torch"][0].value != convention.definitions["handmade"][0].value
    }
    assert differing == {"sample weights, squared error"}


@pytest.mark.parametrize("library", ["handmade", "torch"])
@pytest.mark.parametrize("convention", definitions(), ids=lambda convention: convention.quantity)
def test_measurement_can_be_repeated(convention, library):
    if library in convention.definitions:
        for _ in range(2):
            assert measure(convention, library).passed


def test_wrong_formula_does_not_pass():
    convention = definitions()[0]
    for library, (formula, compute) in convention.definitions.items():
        if library != "Keras" and installed(library):
            wrong = Formula(formula.text, formula.value * (1 + 1e-13))
            broken = dataclasses.replace(convention, definitions={library: (wrong, compute)})
            assert not measure(broken, library).passed
    assert not Comparison(Formula("", 1.0), float("nan"), 1.0).passed
    assert not Comparison(Formula("", 0.0), 1e-300, 0.0).passed


def test_paths_of_one_parameter_begin_at_the_start():
    assert path(hm.SGD(lr=0.5), [1.0], start=3.0) == 2.5
    assert path(hm.SGD(lr=0.5), [1.0, 1.0], lrs=[0.25, 1.0], start=3.0) == 1.75
    assert torch_path(torch.optim.SGD, [1.0, 1.0], lrs=[0.25, 1.0], start=3.0) == 1.75
    if installed("scikit-learn"):
        options = dict(lrs=[0.25, 1.0], start=3.0, momentum=0.0)
        assert scikit_learn_path("SGDOptimizer", [1.0, 1.0], **options) == 1.75
