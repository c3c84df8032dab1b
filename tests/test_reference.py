"""The verification run: its cases pass, its oracles can fail, its command line says what it did."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import handmade as hm
from reference.__main__ import main
from reference.cases import all_cases
from reference.verify import Figure, verify

CASES = all_cases()


@pytest.mark.parametrize("case", CASES[::6], ids=lambda case: case.name)
def test_a_sixth_of_the_cases(case):
    row = verify(case)
    assert row.counts[2] == row.torch_count
    assert row.wrong == 0
    for name, figure in row.figures.items():
        assert figure.passed, (name, figure)


def test_the_first_row_is_the_lectures_network():
    row = verify(CASES[0])
    assert CASES[0].network == "3-4-2 sigmoid"
    assert row.counts == (6, 20, 26)


def test_the_cases_cover_what_they_promise():
    assert len(CASES) >= 100
    assert len({case.name for case in CASES}) == len(CASES)
    text = "\n".join(case.name for case in CASES)
    for name in [*hm.activations.ACTIVATIONS, *hm.losses.LOSSES.keys() - {"zero_one_loss"}]:
        assert name in text, name
    assert {case.dtype for case in CASES} == {np.float32, np.float64}
    assert {case.optimizer[0] for case in CASES} == {"SGD", "Adagrad", "RMSprop", "Adam", "AdamW"}
    assert {case.smooth for case in CASES} == {True, False}


class WrongDense(hm.Dense):
    """A bias gradient 0.1 % too large."""

    def backward(self, dA, cache, need_dX=True):
        dX = super().backward(dA, cache, need_dX)
        self.db *= 1.001
        return dX


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_wrong_layer_fails_every_oracle_of_the_gradient(dtype):
    def build(rng, dtype):
        return hm.Network([WrongDense(64, 10, rng=rng, dtype=dtype)])

    template = next(case for case in CASES if "identity cross_entropy" in case.name)
    row = verify(dataclasses.replace(template, build=build, dtype=dtype, optimizer=("SGD", {"lr": 0.1})))
    assert not row.passed
    assert row.wrong > 0
    assert not row.figures["autograd"].passed
    assert not row.figures["steps"].passed
    assert row.figures["loss"].passed  # the forward pass is right


def test_a_figure_that_is_not_a_number_fails():
    assert not Figure(float("nan"), 1.0).passed
    assert not Figure(0.0, float("nan")).passed


def test_the_command(tmp_path, capsys):
    file = tmp_path / "figures.json"
    assert main(["--case", "3-4-2", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "3-4-2 sigmoid cross_entropy float64" in printed
    assert "2 of 2 cases, 8 figures: 2 cases passed, 0 failed" in printed
    records = json.loads(file.read_text())
    assert [record["parameters"] for record in records] == [26, 26]
    assert records[0]["figures"]["autograd"]["value"] <= 1e-12


def test_the_command_fails_where_a_case_fails(monkeypatch, capsys):
    monkeypatch.setattr("reference.verify.GRADIENT", 0.0)
    assert main(["--case", "3-4-2"]) == 1
    assert "FAILED: 3-4-2 sigmoid cross_entropy float64" in capsys.readouterr().out


def test_the_command_refuses_what_it_cannot_do(tmp_path, capsys):
    assert main(["--case", "4-3-2"]) == 2
    assert "no case is named like '4-3-2'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--json", str(tmp_path / "no folder" / "figures.json")])
    assert "expected a file in a folder that exists" in capsys.readouterr().err


def test_an_interrupted_run_keeps_what_it_has(monkeypatch, capsys):
    finished = []

    def verify_two(case, seed):
        if len(finished) == 2:
            raise KeyboardInterrupt
        finished.append(verify(case, seed))
        return finished[-1]

    monkeypatch.setattr("reference.__main__.verify", verify_two)
    assert main([]) == 1
    assert f"2 of {len(CASES)} cases" in capsys.readouterr().out
