"""The lecture's statements: the numbers of each verdict, computed here in another way."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import handmade as hm
from reference import depth_claim
from reference import lecture_claims as claims
from reference.__main__ import main

# Differences are good to about 1e-10; autograd and formulas, to 1e-14.
MEASURED = dict(rel=1e-8)
EXACT = dict(rel=1e-13)


def judge(claim, seed=0, **options):
    return claim(np.random.default_rng(seed), **options)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("seed", [0, 1])
def test_1_zero_one_loss_of_the_slide_prefers_wrong_answers(seed):
    claim = judge(claims.zero_one, seed)
    assert claim.verdict == "false"
    assert (claim.numbers["slide, perfect"], claim.numbers["slide, always wrong"]) == (1, 0)
    assert (claim.numbers["loss, perfect"], claim.numbers["loss, always wrong"]) == (0, 1)
    assert claim.numbers["slide, guess"] == claim.numbers["accuracy, guess"]
    # 1,797 guesses, each right with probability 0.1: the share is within five standard deviations of that.
    assert abs(claim.numbers["accuracy, guess"] - 0.1) < 5 * math.sqrt(0.1 * 0.9 / 1797)


@pytest.mark.parametrize("seed", [0, 1])
def test_2_derivative_of_the_slide_is_eta_times_the_slope(seed):
    claim = judge(claims.learning_rate_in_the_derivative, seed)
    assert claim.verdict == "false"
    assert claim.numbers["ratio"] == pytest.approx(claim.numbers["eta"], **MEASURED)
    assert claim.numbers["handmade"] == pytest.approx(claim.numbers["autograd"], **EXACT)
    assert claim.numbers["differences"] == pytest.approx(claim.numbers["autograd"], **MEASURED)
    assert claim.numbers["right without eta"] == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_3_plus_in_the_update_raises_the_loss(seed):
    claim = judge(claims.plus_in_the_update, seed)
    assert claim.verdict == "false"
    assert claim.numbers["climbs with plus"] == claim.numbers["falls with minus"] == claim.numbers["networks"] == 100
    assert claim.numbers["minus"] < claim.numbers["before"] < claim.numbers["plus"]


@pytest.mark.parametrize("seed", [0, 1])
def test_4_p_minus_y_is_the_slope_by_the_logit_not_by_p(seed):
    claim = judge(claims.binary_slope, seed)
    assert claim.verdict == "false"
    p, y = claim.numbers["p"], claim.numbers["y"]
    by_p, by_logit = tensor(p), tensor(math.log(p / (1 - p)))
    target = torch.tensor([y], dtype=torch.float64)
    F.binary_cross_entropy(by_p, target).backward()
    F.binary_cross_entropy_with_logits(by_logit, target).backward()
    assert claim.numbers["measured"] == pytest.approx(by_p.grad.item(), **MEASURED)
    assert claim.numbers["slide"] == pytest.approx(by_logit.grad.item(), **EXACT)
    assert claim.numbers["slide"] / claim.numbers["measured"] == pytest.approx(p * (1 - p), **MEASURED)
    assert [claim.numbers[f"right {what}"] for what in ("by p", "formula", "by logit")] == [0, 6, 6]


@pytest.mark.parametrize("seed", [0, 1])
def test_5_p_minus_y_is_the_slope_if_targets_sum_to_one(seed):
    claim = judge(claims.softmax_slope, seed)
    assert claim.verdict == "false"
    numbers = claim.numbers
    assert [numbers[f"right by {what}"] for what in ("p", "p with -y / p", "logits")] == [0, 4, 4]
    assert [numbers[f"sum(y) = 2: right{what}"] for what in ("", " with p sum(y) - y")] == [0, 4]
    z = tensor(*np.random.default_rng(seed).normal(size=4))  # the first draw of the test
    for target, name in ([0, 1, 0, 0], "slide"), ([0, 1, 1, 0], "p sum(y) - y"):
        (by_logits,) = torch.autograd.grad(F.cross_entropy(z, torch.tensor(target, dtype=torch.float64)), z)
        assert numbers[name] == pytest.approx(by_logits[1].item(), **EXACT)
    p = torch.softmax(z.detach(), 0).requires_grad_()
    (by_p,) = torch.autograd.grad(F.nll_loss(p.log(), torch.tensor(1)), p)
    assert numbers["-y / p"] == pytest.approx(by_p[1].item(), **EXACT)


@pytest.mark.parametrize("target", [[0.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.5, 2.0, 0.0]])
def test_5_general_slope_equals_autograd(target):
    z, y = tensor(0.3, -1.0, 2.0), torch.tensor(target, dtype=torch.float64)
    F.cross_entropy(z, y).backward()
    p = torch.softmax(z.detach(), 0)
    # Entries below 3, of half a dozen operations each: 1e-14 is some 15 roundings.
    assert (p * y.sum() - y).numpy() == pytest.approx(z.grad.numpy(), abs=1e-14)
    assert np.allclose(p - y, z.grad, rtol=0, atol=1e-14) == (sum(target) == 1)


@pytest.mark.parametrize("seed", [0, 1])
def test_6_half_is_a_factor_of_2_in_the_learning_rate(seed):
    claim = judge(claims.one_half, seed)
    assert claim.verdict == "convention"
    assert (claim.numbers["smallest ratio"], claim.numbers["largest ratio"], claim.numbers["apart"]) == (2, 2, 0)


@pytest.mark.parametrize("seed", [0, 1])
def test_7_line_is_descent_for_a_linear_unit_only(seed):
    claim = judge(claims.one_line_of_code, seed)
    assert claim.verdict == "true"
    assert claim.numbers["right, linear unit"] == 6
    assert claim.numbers["slope, sign unit"] == 0
    assert claim.numbers["mistakes"] == claim.numbers["mistakes, Rosenblatt"] > 0
    assert claim.numbers["from twice Rosenblatt's"] == 0
    assert claim.numbers["length"] == 2 * claim.numbers["length, Rosenblatt's"] > 0


@pytest.mark.parametrize("seed", [0, 1])
def test_8_gradient_has_no_entry_for_f(seed):
    claim = judge(claims.f_among_the_parameters, seed)
    assert claim.verdict == "false"
    names = "weights", "biases", "entries", "entries for f"
    assert [claim.numbers[name] for name in names] == [3 * 4 + 4 * 2, 4 + 2, 26, 0]
    found = [value for name, value in claim.numbers.items() if name.startswith("loss, ")]
    assert len(set(found)) == len(found) == len(claims.EXCHANGED)  # every exchange is a jump
    assert claim.numbers["apart"] < 1e-14


def test_8_sigmoid_is_a_tanh_of_half_the_input():
    a = np.linspace(-5, 5, 101)
    assert (1 + np.tanh(a / 2)) / 2 == pytest.approx(hm.activations.sigmoid(a), abs=4 * np.finfo(float).eps)


@pytest.mark.parametrize("seed", [0, 1])
def test_9_sum_with_x_i_is_no_gradient(seed):
    claim = judge(claims.wrong_index, seed)
    assert claim.verdict == "false"
    assert (claim.numbers["right with x_n"], claim.numbers["passed with x_i"]) == (3, 0)
    assert -1 <= claim.numbers["smallest cosine"] < 0 < claim.numbers["largest cosine"] < 1
    assert 0 < claim.numbers["uphill"] < 20


def test_10_eight_residual_layers_beat_eight_sigmoid_layers():
    effort = depth_claim.Effort(depths=(2, 8), repeats=3, epochs=5)
    numbers = judge(claims.depth, effort=effort).numbers
    assert numbers["sigmoid, 8"] < 30 < 85 < numbers["ReLU, layer normalization, residual, 8"]
    for kind in depth_claim.KINDS:
        # With one depth on each side there is none to choose, and the gain is the difference of two means.
        gain = numbers[f"{kind}, 8"] - numbers[f"{kind}, 2"]
        assert numbers[f"{kind}, deeper less 2-3"] == pytest.approx(gain, abs=1e-12)


@pytest.mark.parametrize(("gain", "clear", "verdict"), [(0.06, 4, "false"), (0.02, 0, "true"), (-0.06, 0, "true")])
def test_10_clear_gain_changes_the_verdict(monkeypatch, gain, clear, verdict):
    noise = np.array([-0.03, 0.0, 0.03])  # standard deviation 0.03, standard error 0.03 / sqrt(3) = 0.017
    scores = np.full((3, len(depth_claim.KINDS), 3, 2), 0.9)
    scores[:, :, 2, 1] += gain + noise[:, np.newaxis]
    monkeypatch.setattr(depth_claim, "_accuracies", lambda effort, rng: scores)
    claim = judge(claims.depth, effort=depth_claim.Effort(depths=(1, 2, 8), repeats=3, epochs=1))
    assert (claim.verdict, claim.numbers["clear gains"]) == (verdict, clear)
    assert claim.numbers["ReLU, deeper less 2-3"] == pytest.approx(100 * gain)
    assert claim.numbers["ReLU, its standard error"] == pytest.approx(3 / math.sqrt(3))


def test_10_validation_data_choose_the_depth():
    #                    depth  1           2           3           5           8       (validation, test)
    scores = np.array([[[[0.5, 0.9], [0.6, 0.1], [0.7, 0.2], [0.9, 0.5], [0.8, 0.99]]]])
    assert depth_claim._gain(scores, (1, 2, 3, 5, 8)) == pytest.approx(np.array([[0.5 - 0.2]]))


@pytest.mark.parametrize("kind", depth_claim.KINDS)
def test_10_depth_counts_hidden_layers_of_32_units(kind):
    for depth in (1, 2, 8):
        network = depth_claim.KINDS[kind](depth, 0)
        assert network.neuron_count == 32 * depth + 10
        assert network.weight_count == 64 * 32 + (depth - 1) * 32 * 32 + 32 * 10


def test_11_gradient_vanishes_at_p_c_1():
    claim = judge(claims.no_push)
    assert claim.verdict == "false"
    assert (claim.numbers["slope at p_c = 1"], claim.numbers["slope at p_c = 0"]) == (0, -1)
    # 1 - p is exp(-37) = 8.5e-17, below half of the spacing 1.1e-16 under 1; and exp(-36) is above.
    assert claim.numbers["p_c rounds to 1 at"] == 37
    assert claim.numbers["slope there"] == pytest.approx(-math.exp(-37), rel=1e-14)
    # The smallest number above 0 is 2^-1074: exp(-745) rounds to it, exp(-746) to 0.
    assert claim.numbers["zero from"] == 746
    assert math.exp(-745) > 0 == math.exp(-746)


HALF = hm.losses.half_squared_error
SGD = hm.SGD


@pytest.mark.parametrize(
    ("claim", "name", "world", "verdict"),
    [
        (claims.learning_rate_in_the_derivative, "losses.half_squared_error", lambda a, b: 0.1 * HALF(a, b), "true"),
        (claims.plus_in_the_update, "losses.half_squared_error", lambda a, b: -HALF(a, b), "true"),
        (claims.binary_slope, "losses.binary_cross_entropy", lambda p, y, reduction: np.sum((p - y) ** 2) / 2, "true"),
        (claims.one_half, "SGD", lambda lr: SGD(lr=0.1), "false"),
        (claims.one_line_of_code, "losses.half_squared_error", lambda a, b: 2 * HALF(a, b), "false"),
        (claims.no_push, "losses.cross_entropy_backward", lambda z, y: np.array([[-0.5, 0.5]]), "true"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_verdict_follows_the_numbers(monkeypatch, claim, name, world, verdict):
    assert judge(claim).verdict != verdict
    monkeypatch.setattr(f"handmade.{name}", world)
    assert judge(claim).verdict == verdict


# ---- the command ---------------------------------------------------------------------------------------------------


def test_command_prints_eleven_rows(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(claims, "QUICK", depth_claim.Effort(depths=(2, 8), repeats=2, epochs=1))
    monkeypatch.setenv("COLUMNS", "400")  # wide enough for each sentence on a line
    file = tmp_path / "claims.json"
    assert main(["--claims", "--quick", "--json", str(file)]) == 0
    printed = capsys.readouterr()
    records = json.loads(file.read_text())
    assert [record["number"] for record in records] == list(range(1, 12))
    for record in records:
        number, sentence, verdict = record["number"], re.escape(record["sentence"]), record["verdict"]
        assert re.search(rf"│ +{number} │ {sentence} +│ {verdict} +│", printed.out), record
    assert "11 of 11 statements: " in printed.out
    assert "training 16/16" in printed.err


def test_same_seed_gives_the_same_claims(monkeypatch):
    monkeypatch.setattr(claims, "QUICK", depth_claim.Effort(depths=(2, 8), repeats=2, epochs=1))
    first, again, other = (claims.check_all(seed, quick=True) for seed in (3, 3, 4))
    assert first == again
    differing = [a.number for a, b in zip(first, other, strict=True) if a.evidence != b.evidence]
    assert differing == [1, 2, 3, 4, 5, 7, 8, 9, 10]  # the exact factor 2, and the two logits, are not drawn


def test_interrupt_in_the_slow_one_keeps_the_other_ten(monkeypatch, capsys):
    def interrupted(effort, rng):
        raise KeyboardInterrupt

    monkeypatch.setattr(depth_claim, "_accuracies", interrupted)
    assert main(["--claims"]) == 1
    assert "10 of 11 statements: " in capsys.readouterr().out


def test_interrupted_training_gives_no_claim(monkeypatch):
    monkeypatch.setattr(hm, "fit", lambda *arguments, **options: hm.History(stopped="interrupted"))
    with pytest.raises(KeyboardInterrupt):
        judge(claims.depth)
