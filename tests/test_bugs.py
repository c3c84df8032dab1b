"""The bug benchmark: right programs are right, each bug is one wrong line, and the command counts both."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from benchmarks.bugs import __main__ as command
from benchmarks.bugs.benchmark import LOSSES, Trial, Verdict, accused, judge, random_setting
from benchmarks.bugs.catalogue import BUGS, RARE, Bug
from benchmarks.bugs.student_programs import ACTIVATIONS, BODIES, HEADS, Setting
from reference import autograd
from reference.twin import twin

SIZES = {"batchnorm": (3, 5, 2), "residual": (3, 4, 4, 2)}
PROGRAMS = [
    Setting(body, activation, head, SIZES.get(body, (3, 5, 4, 2)), N=7)
    for body, activation, head in itertools.product(BODIES, ACTIVATIONS, HEADS)
    if (body, head) != ("loop", "sample_weight")  # whose weights are those of the whole batch
]
LAMBDA = 0.3  # as in the program with a penalty
ROUNDINGS = 64 * np.finfo(float).eps  # two ways to add up seven samples and a few paths


def _handmade(trial: Trial) -> tuple[float, np.ndarray]:
    """The network's loss and gradient, with the penalty that its loss lacks."""
    loss, gradient = trial.network.loss_and_gradient(
        trial.X, trial.y, LOSSES[trial.setting.head], sample_weight=trial.weight
    )
    if trial.setting.body == "L2":
        blocks = trial.network.blocks(trial.theta)
        W = np.concatenate([block.ravel() * (block.ndim == 2) for block in blocks.values()])
        return loss + LAMBDA / 2 * W @ W, gradient + LAMBDA * W
    return loss, gradient


# ---- the correct programs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", PROGRAMS, ids=str)
def test_right_program_equals_handmade(setting):
    trial = Trial(setting, setting.text, seed=1)
    loss, gradient = _handmade(trial)
    assert trial.loss(trial.theta) == pytest.approx(loss, rel=ROUNDINGS)
    assert np.abs(trial.gradient(trial.theta) - gradient).max() <= ROUNDINGS * max(1, np.abs(gradient).max())


@pytest.mark.parametrize(
    "setting", [s for s in PROGRAMS if s.body not in ("dropout", "L2") and s.head != "sample_weight"], ids=str
)
def test_right_program_equals_autograd(setting):
    trial = Trial(setting, setting.text, seed=2)
    loss, gradient = autograd.loss_and_gradient(twin(trial.network), trial.X, trial.y, LOSSES[setting.head])
    assert trial.loss(trial.theta) == pytest.approx(loss, rel=ROUNDINGS)
    assert np.abs(trial.gradient(trial.theta) - gradient).max() <= ROUNDINGS * max(1, np.abs(gradient).max())


def test_cut_returns_the_students_arrays():
    trial = Trial(Setting(sizes=(3, 5, 4)), Setting().text, seed=0)
    assert [part.shape for part in trial.cut(trial.theta)] == [(5, 3), (5,), (4, 5), (4,)]
    assert np.array_equal(np.concatenate([part.ravel() for part in trial.cut(trial.theta)]), trial.theta)


# ---- the bugs ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    return {bug.name: judge(bug) for bug in BUGS}


def test_catalogue_has_over_100_bugs_with_distinct_names():
    assert len(BUGS) > 100
    assert len({bug.name for bug in BUGS}) == len(BUGS)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_replaces_one_place_of_the_text(bug):
    right, wrong = bug.setting.text, bug.text
    above, below = right.split(bug.right)  # in two, or it is not one place
    assert wrong == above + bug.wrong + below != right


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_changes_the_gradient_but_not_the_loss(bug):
    right, wrong = Trial(bug.setting, bug.setting.text, 0), Trial(bug.setting, bug.text, 0)
    assert wrong.loss(wrong.theta) == right.loss(right.theta)
    truth = right.gradient(right.theta)
    calls = [wrong.gradient(wrong.theta) for _ in range(2)]
    # Some are wrong from the second call on. A cast to 11 digits in binary is off by 2^-12 at the most.
    difference = max(np.abs(gradient - truth).max() for gradient in calls)
    assert not difference <= 1e-5 * np.abs(truth).max()  # NaN is a difference too


@pytest.mark.parametrize("name", [bug.name for bug in BUGS])
def test_check_gradient_detects_the_bug(name, verdicts):
    assert verdicts[name].detected


def test_diagnose_gradient_names_95_percent_of_the_bugs(verdicts):
    missed = {name: verdict.said for name, verdict in verdicts.items() if not verdict.named}
    assert len(missed) <= len(BUGS) / 20, missed


@pytest.mark.parametrize("bug", RARE, ids=lambda bug: bug.name)
def test_rare_bug_is_detected_and_never_misnamed(bug):
    verdict = judge(bug)
    assert verdict.detected
    # A formula says what is computed, and a constant factor names no cause.
    assert verdict.named or all(" = " in name or "constant factor" in name for name in verdict.said)


@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_right_gradient_is_not_accused(seed, by_hand):
    assert accused(random_setting(np.random.default_rng(seed)), seed, by_hand) == (False, False)


def test_wrong_gradient_is_accused(monkeypatch):
    bug = BUGS[0]
    monkeypatch.setattr(Setting, "text", bug.text)
    assert accused(bug.setting, 0, by_hand=True) == (True, True)


def test_random_settings_reach_every_part():
    rng = np.random.default_rng(0)
    settings = [random_setting(rng) for _ in range(300)]
    assert {setting.body for setting in settings} == set(BODIES)
    assert {setting.activation for setting in settings} == set(ACTIVATIONS)
    assert {setting.head for setting in settings} == set(HEADS)
    assert {setting.dtype for setting in settings} == {np.float32, np.float64}
    assert len({setting.N for setting in settings}) > 20


# ---- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch):
    """Three bugs, two rare ones, and four right gradients."""
    monkeypatch.setattr(command, "BUGS", BUGS[:3])
    monkeypatch.setattr(command, "RARE", RARE[:2])
    monkeypatch.setattr(command, "CASES", 4)


def test_command_prints_a_row_per_bug_and_the_totals(few, capsys, tmp_path):
    assert command.main(["--json", str(tmp_path / "bugs.json")]) == 0
    printed = capsys.readouterr().out
    for bug in BUGS[:3]:
        (row,) = [line for line in printed.splitlines() if line.strip().startswith(bug.name)]
        assert bug.wrong in row and str(bug.setting) in row and bug.expected[0] in row
        assert "NO" not in row
    assert "detected by check_gradient: 3 of 3; target 3" in printed
    assert "named by diagnose_gradient: 3 of 3, 3 of them by one name alone; target 3" in printed
    assert "rarer bugs, written when the catalogue was finished: 2 of 2 detected, 2 named, 0 called unknown" in printed
    assert "right gradients accused by check_gradient: 0 of 4; target 0" in printed
    assert "right gradients accused by diagnose_gradient: 0 of 4; target 0" in printed
    record = json.loads((tmp_path / "bugs.json").read_text())
    assert [bug["said"] for bug in record["bugs"][:3]] == [["sign"], ["sum of p and y"], ["target not subtracted"]]
    assert [case["accused"] for case in record["right"]] == [[False, False]] * 4


@pytest.mark.parametrize(
    ("detected", "said", "expected"),
    [
        (False, ["sign"], "detected by check_gradient: 0 of 3; target 3"),
        (True, ["another"], "named by diagnose_gradient: 0 of 3, 0 of them by one name alone; target 3"),
        (True, [], "named by diagnose_gradient: 0 of 3, 0 of them by one name alone; target 3"),
    ],
)
def test_command_fails_when_a_bug_is_missed(detected, said, expected, few, monkeypatch, capsys):
    monkeypatch.setattr(command, "judge", lambda bug, seed: Verdict(bug, detected, said))
    assert command.main([]) == 1
    printed = capsys.readouterr().out
    assert expected in printed and "NO" in printed


@pytest.mark.parametrize(("answer", "name"), [((True, False), "check"), ((False, True), "diagnose")])
def test_command_fails_when_a_right_gradient_is_accused(answer, name, few, monkeypatch, capsys):
    monkeypatch.setattr(command, "accused", lambda setting, seed, by_hand: answer)
    assert command.main([]) == 1
    printed = capsys.readouterr().out
    assert f"accused by {name}_gradient: 4 of 4; target 0" in printed
    assert printed.count("ACCUSED: ") == 4


def test_interrupted_command_prints_what_is_finished(few, monkeypatch, capsys):
    def interrupted(bug, seed):
        if bug is BUGS[2]:
            raise KeyboardInterrupt
        return judge(bug, seed)

    monkeypatch.setattr(command, "judge", interrupted)
    assert command.main([]) == 1
    printed = capsys.readouterr().out
    assert "interrupted" in printed
    assert BUGS[1].name in printed and BUGS[2].name not in printed
    assert "detected by check_gradient: 2 of 2" in printed


def test_quick_takes_every_sixth_bug_and_gradient(monkeypatch, capsys):
    monkeypatch.setattr(command, "judge", lambda bug, seed: Verdict(bug, True, list(bug.expected[:1])))
    monkeypatch.setattr(command, "accused", lambda setting, seed, by_hand: (False, False))
    assert command.main(["--quick"]) == 0
    bugs, cases = len(BUGS[::6]), 1000 // 6
    assert f"{bugs} of {len(BUGS)} bugs, {cases} of 1000 right gradients" in capsys.readouterr().out


def test_seed_changes_the_numbers():
    setting = Setting()
    one, other, same = (Trial(setting, setting.text, seed) for seed in (0, 1, 0))
    assert not np.array_equal(one.theta, other.theta) and not np.array_equal(one.X, other.X)
    assert np.array_equal(one.theta, same.theta) and np.array_equal(one.X, same.X)


def test_bug_refuses_a_line_that_is_not_there_once():
    with pytest.raises(ValueError, match="expected 'no such line' once in the program, got 0"):
        _ = Bug("x", "no such line", "", ("x",), Setting()).text
