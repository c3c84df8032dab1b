"""The zoo of bugs: right programs are right, each bug is one wrong line, and is detected and named."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from benchmarks.bugs.catalogue import BUGS, RARE, Bug
from benchmarks.bugs.claims import of_zoo_bug
from benchmarks.bugs.student_programs import ACTIVATIONS, BODIES, HEADS, Setting
from benchmarks.bugs.trial import LOSSES, Trial, random_setting
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
    """Return the network's loss and gradient, with the penalty that its loss lacks."""
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


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A verdict of both functions on a bug."""

    detected: bool
    said: list[str]


def judged(bug: Bug) -> Verdict:
    claim = of_zoo_bug(bug, seed=0)
    return Verdict(claim.is_accused(), [explanation.name for explanation in claim.diagnose().explanations])


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    return {bug.name: judged(bug) for bug in BUGS}


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
    expected = {bug.name: bug.expected for bug in BUGS}
    missed = {name: v.said for name, v in verdicts.items() if not set(v.said) & set(expected[name])}
    assert len(missed) <= len(BUGS) / 20, missed


@pytest.mark.parametrize("bug", RARE, ids=lambda bug: bug.name)
def test_rare_bug_is_detected_and_never_misnamed(bug):
    verdict = judged(bug)
    assert verdict.detected
    # A formula or an operation says what is computed, and a constant factor names no cause.
    named = set(verdict.said) & set(bug.expected)
    assert named or all(" = " in name or "` (line " in name or "constant factor" in name for name in verdict.said)


def test_random_settings_reach_every_part():
    rng = np.random.default_rng(0)
    settings = [random_setting(rng) for _ in range(300)]
    assert {setting.body for setting in settings} == set(BODIES)
    assert {setting.activation for setting in settings} == set(ACTIVATIONS)
    assert {setting.head for setting in settings} == set(HEADS)
    assert {setting.dtype for setting in settings} == {np.float32, np.float64}
    assert len({setting.N for setting in settings}) > 20


# ---- the texts -----------------------------------------------------------------------------------------------------


def test_seed_changes_the_numbers():
    setting = Setting()
    one, other, same = (Trial(setting, setting.text, seed) for seed in (0, 1, 0))
    assert not np.array_equal(one.theta, other.theta) and not np.array_equal(one.X, other.X)
    assert np.array_equal(one.theta, same.theta) and np.array_equal(one.X, same.X)


def test_bug_refuses_a_line_that_is_not_there_once():
    with pytest.raises(ValueError, match="expected 'no such line' once in the program, got 0"):
        _ = Bug("x", "no such line", "", ("x",), Setting()).text
