"""The benchmark of the bugs: what it counts, that it goes on where it was stopped, and the tables it writes."""

from __future__ import annotations

import dataclasses
import doctest
import json

import numpy as np
import pytest

import handmade as hm
from benchmarks.bugs import __main__ as command
from benchmarks.bugs import campaign, catalogue, claims, outcomes, readings, report, right_gradients
from benchmarks.bugs.campaign import PARTS, collect
from benchmarks.bugs.claims import of_public_bug, of_zoo_bug
from benchmarks.bugs.examples import EXAMPLES
from benchmarks.bugs.families import FAMILIES, recorded, switched_off
from benchmarks.bugs.heldout import HELD_OUT
from benchmarks.bugs.mended import MENDED
from benchmarks.bugs.outcomes import outcome, places
from benchmarks.bugs.peers import PEERS, accused_by
from benchmarks.bugs.public import BUGS as PUBLIC
from benchmarks.bugs.readings import READINGS
from benchmarks.bugs.right_gradients import KINDS, right_gradient
from handmade.checking import mistakes
from handmade.checking.backward_pass import BackwardPass
from handmade.checking.explanation import Explanation
from handmade.checking.places import Place

PUBLISHED = {bug.name: bug for bug in PUBLIC}
FEW = {
    "zoo": ("sign of p - y", "dropout mask not applied"),
    "public": ("target_minus_output, as function", "bias_averaged_again, as arrays"),
    "heldout": ("absolute_error_derived_as_a_square, as function",),
    "mended": (),
    "examples": ("VAE, sign of the KL term",),
    "right": ("1", "8"),
    "peers": ("zoo: sign of p - y", "right: 1"),
}


@pytest.fixture
def few(monkeypatch):
    parts = {name: dataclasses.replace(part, cases=FEW[name]) for name, part in PARTS.items()}
    monkeypatch.setattr(campaign, "PARTS", parts)
    monkeypatch.setattr(command, "PARTS", parts)


# ---- the command ---------------------------------------------------------------------------------------------------


def test_command_prints_a_table_per_part(few, capsys, tmp_path):
    assert command.main(["--json", str(tmp_path / "records.json")]) == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("## ")] == [
        "## Published, held-out and mended mistakes",
        "## The zoo, with and without its catalogue",
        "## Functions with terms",
        "## Right gradients",
        "## Other libraries on the same gradients",
    ]
    assert "| 1 published, as a function of (parameters, X, y) | 1 (100 %) | 1 (100 %) | 1 (100 %) |" in printed
    assert "| 1 held-out, as a function of (parameters, X, y) | 1 (100 %) | " in printed
    assert "| bugs that the catalogue was built with | 2 | 2 | 2 | 0 | 0 |" in printed
    assert "| VAE | sign of the KL term | sign of kl | yes |" in printed
    assert "| **all** | 2 | 0 | 0 | 0 | 0 |" in printed
    for peer in PEERS:
        assert f"| `{peer}` | 1 of 1 | 0 of " in printed
    records = json.loads((tmp_path / "records.json").read_text())
    assert len(records) == sum(map(len, FEW.values()))


def test_run_goes_on_where_ctrl_c_stopped_it(few, monkeypatch, capsys, tmp_path):
    file, judged = tmp_path / "records.jsonl", []

    def judge(case, seed):
        judged.append(case)
        if len(judged) == 2:
            raise KeyboardInterrupt
        return {"verdict": "right", "kind": KINDS[0], "description": case, "by_check": False, "seconds": 0.0}

    monkeypatch.setitem(campaign.PARTS, "right", dataclasses.replace(campaign.PARTS["right"], judge=judge))
    arguments = ["--only", "right", "--resume", str(file)]
    assert command.main(arguments) == 1
    assert "interrupted" in capsys.readouterr().out
    with file.open("a") as stream:
        stream.write('{"key": "right: 8", "verd')  # as when the process was killed
    assert command.main(arguments) == 0
    assert judged == ["1", "8", "8"]


def test_command_writes_its_tables_between_the_marks(few, capsys, tmp_path):
    page = tmp_path / "bugs.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    assert command.main(["--only", "examples", "--docs", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert "| VAE |" in text and "old" not in text
    page.write_text("no marks")
    with pytest.raises(ValueError, match="expected the marks"):
        command.main(["--only", "examples", "--docs", str(page)])
    assert page.read_text() == "no marks"


RIGHT = {"kind": KINDS[0], "description": "a network", "by_check": False, "verdict": "right", "seconds": 0.0}


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, []),
        ({"verdict": "undecided"}, []),
        ({"by_check": True}, ["accused by check (all layers): a network"]),
        ({"verdict": "located"}, ["accused by diagnosis (all layers): a network"]),
        ({"verdict": "named", "by_check": True}, ["accused by both (all layers): a network"]),
    ],
)
def test_accused_right_gradient_is_a_missed_target(change, missed):
    assert report.is_met({"right: 0": RIGHT | change}) == missed


def test_undetected_or_unnamed_bug_is_a_missed_target():
    record = {"rare": False, "expected": ["sign"], "said": ["sign"], "detected": False}
    assert report.is_met({"zoo: a": record}) == ["not detected: a"]
    assert report.is_met({"zoo: a": record | {"detected": True, "said": []}}) == ["named in the zoo: 0 of 1"]


def test_cases_are_those_that_the_page_promises():
    assert len(PARTS["right"].cases) == 2000
    assert len(PARTS["public"].cases) == 2 * len(PUBLIC)
    assert len(PARTS["heldout"].cases) == 2 * len(HELD_OUT)
    assert len(PARTS["mended"].cases) == 2 * len(MENDED)
    assert len(PARTS["examples"].cases) == 20
    shared = [int(case.split()[1]) for case in PARTS["peers"].cases if case.startswith("right")]
    assert {seed % len(KINDS) for seed in shared} == set(range(len(KINDS)))


def test_warnings_of_a_wrong_program_are_not_shown(monkeypatch, recwarn):
    def judge(case, seed):
        np.log(np.zeros(1))
        return {}

    monkeypatch.setitem(campaign.PARTS, "right", dataclasses.replace(PARTS["right"], cases=("0",), judge=judge))
    assert collect(["right"], 1, 0, None) == ({"right: 0": {}}, True)
    assert collect(["right"], 1, 0, None, right=0) == ({}, True)
    assert not recwarn.list


# ---- outcomes ------------------------------------------------------------------------------------------------------


def diagnosed(verdict, places=(), name="", where="0.bias"):
    explanations = [Explanation(name, where, "", "", 0.0)] if name else []
    return hm.Diagnosis(verdict, ["0.weight"], explanations, {}, 1e-8, 1, 0, 1.0, places=list(places))


BUG = PUBLISHED["hidden_bias_before_the_tanh_slope"]  # the step is "0 db"
DB, DW, ABOVE = Place((), ("0.bias",)), Place((), ("0.weight",)), Place(("2", "1"))


@pytest.mark.parametrize(
    ("diagnosis", "expected"),
    [
        (diagnosed("right"), (False, False, True)),
        (diagnosed("unknown"), (False, False, False)),
        (diagnosed("located", [DB]), (True, False, False)),
        (diagnosed("named", [DB], "db0 = sum(dH)"), (True, True, False)),
        (diagnosed("named", [DB], "a spelling mistake"), (True, False, False)),
        (diagnosed("located", [DW]), (False, False, True)),
        (diagnosed("located", [DB, ABOVE]), (False, False, True)),
        (diagnosed("located", [Place(("2", "1"), ("0.bias",))]), (True, False, False)),
    ],
)
def test_outcome_compares_step_and_words(diagnosis, expected):
    record = outcome(BUG, diagnosis)
    assert (record["step_right"], record["explained"], record["misleading"]) == expected


def test_a_step_means_the_layers_that_it_goes_through():
    (place,) = places(diagnosed("located", [Place(("loss", "3", "1.0"))]))
    assert place == {"loss"} | {f"{layer} {kind}" for layer in ("3", "1.0", "1") for kind in ("dX", "slope")}


def test_a_parameter_means_its_gradient_and_its_name():
    (place,) = places(diagnosed("named", [Place((), ("1.0.weight", "b0"))], "times N"))
    assert place == {"1.0 dW", "1.0 dgamma", "1.0.weight", "b0"}


def test_readings_are_of_bugs_that_exist():
    assert set(READINGS) <= set(campaign.MISTAKES)


# ---- claims, families, peers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [True, False])
@pytest.mark.parametrize("name", ["dropout_mask_without_its_scale", "penalty_subtracted", "bias_of_the_first_sample"])
def test_published_mistake_is_detected_in_both_forms(name, form):
    claim = of_public_bug(PUBLISHED[name], form)
    assert claim.is_accused()
    assert claim.diagnose().verdict != "right"


def test_families_are_the_whole_catalogue():
    X, y = np.random.default_rng(0).normal(size=(6, 4)), np.array([0, 1, 2, 0, 1, 2])
    layers = [
        hm.Dense(4, 4),
        hm.BatchNorm(4),
        hm.Residual([hm.Dense(4, 4), hm.Activation("tanh")]),
        hm.Activation("tanh"),
        hm.Dropout(0.2, rng=0),
        hm.Dense(4, 3),
    ]
    passes = BackwardPass(hm.Network(layers), X, y)
    with recorded() as names:
        known = {mistake.name for mistake in mistakes.mistakes(passes)}
    assert all(names.values()) and set().union(*names.values()) == known
    with switched_off("dropout"):
        assert {mistake.name for mistake in mistakes.mistakes(passes)} == known - (
            names["dropout"] - set().union(*(of for family, of in names.items() if family != "dropout"))
        )
    with switched_off(*FAMILIES):
        assert mistakes.mistakes(passes) == []


def test_every_kind_of_right_gradient_is_right():
    for seed in range(len(KINDS)):
        kind, description, claim = right_gradient(seed)
        assert kind == KINDS[seed] and f"seed {seed}: " in description
        assert np.isfinite(claim.gradient(claim.theta)).all()
        assert not claim.is_accused() and claim.diagnose().verdict in ("right", "undecided"), description


@pytest.mark.parametrize("peer", PEERS)
def test_peer_tells_a_wrong_gradient_from_a_right_one(peer):
    assert accused_by(peer, of_zoo_bug(campaign.ZOO["sign of p - y"], seed=0))
    assert not accused_by(peer, right_gradient(1)[2])


@pytest.mark.parametrize("name", EXAMPLES)
def test_right_gradient_of_an_example_is_right(name):
    example = EXAMPLES[name]()
    assert example.diagnose().verdict == "right"
    assert len(example.mistakes) == 5


def test_most_mistakes_of_the_examples_are_named():
    judge = campaign.PARTS["examples"].judge
    assert sum(judge(case, 0)["named"] for case in PARTS["examples"].cases) >= 15


@pytest.mark.parametrize("module", [catalogue, claims, outcomes, readings, right_gradients])
def test_examples_in_docstrings_run(module):
    found = doctest.testmod(module, extraglobs={"np": np, "hm": hm, "BUGS": catalogue.BUGS})
    assert found.attempted and not found.failed
