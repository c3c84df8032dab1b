"""Backward passes of loops that take an array from another turn: off by one, overwritten, reversed, begun again."""

from __future__ import annotations

import numpy as np
import pytest

from handmade.checking.operations.recordings import record
from handmade.checking.operations.stale import series_of
from tests.operations_of_tests import explained

RNG = np.random.default_rng(3)
START, XS = RNG.normal(size=(6, 4)), RNG.normal(size=(4, 6, 4))
W, MASKS = 0.5 * RNG.normal(size=(4, 4)), (RNG.random((4, 6, 4)) < 0.7) / 0.7
V = MASKS[0, :4]


def recurrent(W):
    h = START
    for x in XS:
        h = np.tanh(x + h @ W)
    return (h**2).sum()


def of_recurrent(states):
    """Return the gradient by W, if backward has these states."""
    last, dW = START, np.zeros(W.shape)
    for x in XS:
        last = np.tanh(x + last @ W)
    dh = 2 * last
    for t in (3, 2, 1, 0):
        da = dh * (1 - states[t + 1] ** 2)
        dW += states[t].T @ da
        dh = da @ W.T
    return dW


@pytest.fixture(scope="module")
def states():
    found = [START]
    for x in XS:
        found.append(np.tanh(x + found[-1] @ W))
    return found


def test_a_buffer_that_holds_the_last_state_alone_is_named(states):
    text = explained(recurrent, {"W": W}, W=of_recurrent([START] + 4 * [states[4]]))
    assert text == "backward uses `x + (h @ W)` of the last turn, and what follows from it, in each of 4 turns"


def test_states_in_the_order_of_the_forward_pass_are_named(states):
    text = explained(recurrent, {"W": W}, W=of_recurrent([START, *states[:0:-1]]))
    assert text == (
        "backward uses `x + (h @ W)` of the turns in reverse order, and what follows from it, in each of 4 turns"
    )


@pytest.mark.parametrize(
    ("taken", "which"),
    [
        ([1, 2, 3, 4], "of the turn after"),
        ([0, 0, 1, 2], "of the turn before"),
        ([0, 0, 0, 0], "of the first turn"),
        ([0, 1, 0, 1], "of the first 2 turns again"),
        ([3, 3, 3, 3], "of the last turn"),
        ([4, 4, 4, 4], "as it is after the last turn"),
        ([3, 2, 1, 0], "of the turns in reverse order"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_states_of_other_turns_are_named(taken, which):
    def euler(W):
        h = START
        for _ in range(4):
            h = h + 0.25 * np.tanh(h @ W)
        return (h**2).sum()

    states = [START]
    for _ in range(4):
        states.append(states[-1] + 0.25 * np.tanh(states[-1] @ W))
    dh, dW = 2 * states[4], np.zeros(W.shape)
    for t in (3, 2, 1, 0):
        h = states[taken[t]]
        da = 0.25 * dh * (1 - np.tanh(h @ W) ** 2)
        dW += h.T @ da
        dh = dh + da @ W.T
    text = explained(euler, {"W": W}, W=dW)
    assert text == f"backward uses `h` {which}, and what follows from it, in each of 4 turns"


def test_a_state_of_another_turn_in_the_jacobian_alone_is_named():
    observed = RNG.random((6, 2))

    def predators_and_prey(rates):
        x, total = np.array([1.0, 0.8]), 0.0
        for seen in observed:
            total = total + ((x - seen) ** 2).sum()
            x = x + 0.1 * np.array([rates[0] * x[0] - x[0] * x[1], x[0] * x[1] - rates[1] * x[1]])
        return total

    rates, states = np.array([1.1, 0.9]), [np.array([1.0, 0.8])]
    for _ in observed:
        u, v = states[-1]
        states.append(states[-1] + 0.1 * np.array([rates[0] * u - u * v, u * v - rates[1] * v]))
    gradient, adjoint = np.zeros(2), np.zeros(2)
    for t in range(5, -1, -1):
        (u, v), (p, q) = states[t], states[t + 1]  # the Jacobian is taken at the end of the step
        gradient += 0.1 * adjoint * [u, -v]
        jacobian = np.array([[rates[0] - q, -p], [q, p - rates[1]]])
        adjoint = adjoint + 0.1 * adjoint @ jacobian + 2 * (states[t] - observed[t])
    text = explained(predators_and_prey, {"rates": rates}, rates=gradient)
    assert text == (
        "backward uses `x` of the turn after, and what follows from it, in each of 5 turns, on the way back through it"
    )


@pytest.mark.parametrize(
    ("everywhere", "also"), [(True, ""), (False, ", but not on the way back")], ids=["everywhere", "in dW alone"]
)
def test_a_row_of_the_turn_before_that_no_turn_takes_is_known(everywhere, also):
    rows = RNG.random((6, 4))

    def forward_algorithm(W):
        a = np.full(4, 0.25)
        for t in range(1, 6):
            a = (a @ np.exp(W)) * rows[t]
        return np.log(a.sum())

    states, gradient = [np.full(4, 0.25)], np.zeros(W.shape)
    for t in range(1, 6):
        states.append((states[-1] @ np.exp(W)) * rows[t])
    adjoint = np.ones(4) / states[5].sum()
    for t in range(5, 0, -1):
        gradient += np.outer(states[t - 1], adjoint * rows[t - 1]) * np.exp(W)
        adjoint = np.exp(W) @ (adjoint * rows[t - 1 if everywhere else t])
    text = explained(forward_algorithm, {"W": W}, W=gradient)
    assert text == f"backward uses `rows[t]` of the turn before, in each of 5 turns{also}"


def test_constants_alone_are_told_from_all_that_follows():
    states = [START]
    for mask in MASKS:
        states.append(np.tanh(states[-1] @ W) * mask)
    dh, dW = 2 * states[4], np.zeros(W.shape)
    for t in (3, 2, 1, 0):
        da = dh * MASKS[max(t - 1, 0)] * (1 - np.tanh(states[t] @ W) ** 2)
        dW += states[t].T @ da
        dh = da @ W.T
    assert explained(masked, {"W": W}, W=dW) == "backward uses `mask` of the turn before, in each of 4 turns"


def masked(W):
    h = START
    for mask in MASKS:
        h = np.tanh(h @ W) * mask
    return (h**2).sum()


def test_constants_of_the_first_turns_used_again_are_named():
    inputs, dW = [START], np.zeros(W.shape)
    for mask in MASKS:
        inputs.append(np.tanh(inputs[-1] @ W) * mask)
    dh = 2 * inputs[4]
    for start in (2, 0):
        h, kept = inputs[start], []
        for t in (0, 1):
            kept.append((h, np.tanh(h @ W)))
            h = kept[-1][1] * MASKS[t]  # in place of MASKS[start + t]
        for t in (1, 0):
            da = dh * MASKS[t] * (1 - kept[t][1] ** 2)
            dW += kept[t][0].T @ da
            dh = da @ W.T
    text = explained(masked, {"W": W}, W=dW)
    assert text == "backward uses `mask` of the first 2 turns again, and what follows from it, in each of 4 turns"


def test_what_follows_in_a_list_of_arrays_is_computed_anew(states):
    def joined(W):
        h = START
        for x in XS:
            h = np.tanh(np.concatenate([x, h], axis=1) @ np.concatenate([np.eye(4), W]))
        return (h**2).sum()

    text = explained(joined, {"W": W}, W=of_recurrent([START] + 4 * [states[4]]))
    assert "of the last turn, and what follows from it, in each of 4 turns" in text


def test_each_array_of_a_loop_is_listed_once():
    recording = record(masked, [W], ["W"], tuple)
    turns = {}
    for one in recording.operations:
        turns.setdefault(one.place, []).append(one)
    series = series_of([listed for listed in turns.values() if len(listed) > 1])
    assert {one.name: len(one.values) for one in series} == {"h": 4, "h @ W": 4, "tanh(h @ W)": 4, "mask": 4}
    assert len(series) == 4
    (masks,) = (one for one in series if one.name == "mask")
    assert [(turn, np.array_equal(masks.values[turn], MASKS[turn])) for *_, turn in masks.uses] == [
        (turn, True) for turn in range(4)
    ]


def test_an_operation_with_options_takes_no_other_constant():
    recording = record(lambda W: (np.clip(W, -0.1, 0.2) * np.tensordot(W, V, axes=1)).sum(), [W], ["W"], tuple)
    clipped, product = (next(one for one in recording.operations if one.name == name) for name in ("clip", "tensordot"))
    assert np.array_equal(clipped.with_parts({1: np.array(-0.3)}).value, np.clip(W, -0.3, 0.2))
    assert np.array_equal(product.with_parts({0: 2 * W}).value, 2 * W @ V)
    with pytest.raises(ValueError, match="has options"):
        product.with_parts({1: V + 1})


def test_an_operation_before_a_loop_may_be_its_turn_before():
    A, logits = RNG.random((3, 3)), RNG.normal(size=(3, 6))

    def forward_algorithm(A, logits):
        B = np.exp(logits)
        a = B[:, 0]
        for t in range(1, 6):
            a = (a @ A) * B[:, t]
        return np.log(a.sum())

    B = np.exp(logits)
    states = [B[:, 0]]
    for t in range(1, 6):
        states.append((states[-1] @ A) * B[:, t])
    adjoint, dA = np.ones(3) / states[5].sum(), np.zeros(A.shape)
    for t in range(5, 0, -1):
        dA += np.outer(states[t - 1], adjoint * B[:, t - 1])  # of the step before; the way back is right
        adjoint = A @ (adjoint * B[:, t])
    text = explained(forward_algorithm, {"A": A, "logits": logits}, A=dA)
    assert text.endswith("of the turn before, in each of 5 turns, but not on the way back")
