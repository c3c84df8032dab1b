"""The verification: every registered name has its case, cases pass, its oracles can fail, its command says so."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

import handmade as hm
from reference.__main__ import main
from reference.cases import ACTIVATIONS, LOSSES, OPTIMIZERS
from reference.networks import all_cases, residual
from reference.verify import Figure, verify

CASES = all_cases()

# ---- the table of cases ----------------------------------------------------------------------------------------------


def test_every_activation_has_a_row():
    assert {case.name for case in ACTIVATIONS} == set(hm.activations.ACTIVATIONS)


def test_every_loss_with_a_gradient_has_a_row_with_its_formula():
    assert {case.name for case in LOSSES if case.exact} == set(hm.losses.LOSSES) - {"zero_one_loss"}


def test_every_optimizer_of_torch_has_a_row():
    here = set(hm.optimizers.__all__) & set(dir(torch.optim))
    # In torch Muon computes in bfloat16; LBFGS needs a function, see tests/test_lbfgs.py.
    assert {name for name, _ in OPTIMIZERS} == here - {"Muon", "LBFGS"}


def test_every_row_of_the_table_is_verified():
    names = "\n".join(case.name for case in CASES)
    for label in [case.label for case in ACTIVATIONS] + [case.title for case in LOSSES]:
        assert f" {label} " in names, label
    assert [case.optimizer for case in CASES[-2 * len(OPTIMIZERS) :: 2]] == list(OPTIMIZERS)


def test_names_of_cases_are_distinct_and_both_dtypes_occur():
    assert len(CASES) >= 124
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.dtype for case in CASES} == {np.float32, np.float64}
    assert {case.smooth for case in CASES} == {True, False}


# ---- the verification ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES[::6], ids=lambda case: case.name)
def test_every_sixth_case_passes(case):
    row = verify(case)
    assert row.counts[2] == row.torch_count
    assert row.wrong == 0
    for name, figure in row.figures.items():
        assert figure.passed, (name, figure)


def test_first_row_is_the_lectures_network():
    row = verify(CASES[0])
    assert CASES[0].network == "3-4-2 sigmoid"
    assert row.counts == (6, 20, 26)


AMPLIFYING = next(case for case in CASES if case.build is residual)


def test_training_that_amplifies_rounding_has_a_wider_bound():
    # From different sums alone, SGD with lr = 0.1 ends about 1e-8 apart on this network.
    row = verify(dataclasses.replace(AMPLIFYING, optimizer=("SGD", {"lr": 0.1})))
    steps = row.figures["steps"]
    assert steps.passed and 1e-12 < steps.value < steps.tolerance < 1e-3
    assert verify(AMPLIFYING).figures["steps"].tolerance == 1e-12


def test_amplified_rounding_does_not_excuse_a_wrong_step(monkeypatch):
    class WrongSGD(hm.SGD):
        def step(self, theta, gradient):
            super().step(theta, 1.001 * gradient)

    monkeypatch.setattr(hm, "SGD", WrongSGD)
    steps = verify(dataclasses.replace(AMPLIFYING, optimizer=("SGD", {"lr": 0.1}))).figures["steps"]
    assert not steps.passed


def test_chaotic_training_fails():
    # With this learning rate one ULP at the start becomes a difference in the third digit.
    case = next(case for case in CASES if case.name == "64-24-10 log_softmax cross_entropy float64")
    steps = verify(dataclasses.replace(case, optimizer=("SGD", {"lr": 0.1}))).figures["steps"]
    assert not steps.passed and steps.tolerance == 1e-12


class WrongDense(hm.Dense):
    """A layer whose bias gradient is 0.1 % too large."""

    def backward(self, dA, cache, need_dX=True):
        dX = super().backward(dA, cache, need_dX)
        self.db *= 1.001
        return dX


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_wrong_layer_fails_every_oracle_of_the_gradient(dtype):
    def build(rng, dtype):
        return hm.Network([WrongDense(64, 10, rng=rng, dtype=dtype)])

    template = next(case for case in CASES if "identity cross_entropy" in case.name)
    row = verify(dataclasses.replace(template, build=build, dtype=dtype, optimizer=("SGD", {"lr": 0.1})))
    assert not row.passed
    assert row.wrong > 0
    assert not row.figures["autograd"].passed
    assert not row.figures["steps"].passed
    assert row.figures["loss"].passed  # the forward pass is right


def test_figure_that_is_not_a_number_fails():
    assert not Figure(float("nan"), 1.0).passed
    assert not Figure(0.0, float("nan")).passed


def test_command_prints_and_writes_every_figure(tmp_path, capsys):
    file = tmp_path / "figures.json"
    assert main(["--case", "3-4-2", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "3-4-2 sigmoid cross_entropy float64" in printed
    assert "2 of 2 cases, 8 figures: 2 cases passed, 0 failed" in printed
    records = json.loads(file.read_text())
    assert [record["parameters"] for record in records] == [26, 26]
    assert records[0]["figures"]["autograd"]["value"] <= 1e-12


def test_command_fails_when_a_case_fails(monkeypatch, capsys):
    monkeypatch.setattr("reference.verify.GRADIENT", 0.0)
    assert main(["--case", "3-4-2"]) == 1
    assert "FAILED: 3-4-2 sigmoid cross_entropy float64" in capsys.readouterr().out


def test_command_refuses_wrong_arguments(tmp_path, capsys):
    assert main(["--case", "4-3-2"]) == 2
    assert "got '4-3-2'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--json", str(tmp_path / "no folder" / "figures.json")])
    assert "expected a file in a folder that exists" in capsys.readouterr().err


def test_compiled_passes_are_verified(capsys):
    pytest.importorskip("numba")
    assert main(["--case", "3-4-2", "--compiled"]) == 0
    assert "2 of 2 cases, compiled, 8 figures: 2 cases passed, 0 failed" in capsys.readouterr().out


def test_cases_without_a_compiled_form_are_named(capsys, monkeypatch):
    compiled = pytest.importorskip("handmade.compiled")

    def unsupported(case, seed, compiled_passes):
        raise compiled.Unsupported("compile: expected a layer with a compiled form")

    monkeypatch.setattr("reference.__main__.verify", unsupported)
    assert main(["--case", "3-4-2", "--compiled"]) == 0
    printed = capsys.readouterr().out
    assert "no compiled form: 3-4-2 sigmoid cross_entropy float64: compile: expected a layer" in printed
    assert "0 of 2 cases, compiled" in printed


def test_interrupted_run_keeps_the_finished_cases(monkeypatch, capsys):
    finished = []

    def verify_two(case, seed, compiled):
        if len(finished) == 2:
            raise KeyboardInterrupt
        finished.append(verify(case, seed))
        return finished[-1]

    monkeypatch.setattr("reference.__main__.verify", verify_two)
    assert main([]) == 1
    assert f"2 of {len(CASES)} cases" in capsys.readouterr().out
