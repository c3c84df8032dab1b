"""Mistakes at operations: each wrong gradient here has one line of a formula that differs from the right one."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.operations_of_tests import explained

RNG = np.random.default_rng(7)
X, W, V, b = RNG.normal(size=(6, 8)), RNG.normal(size=(3, 4, 8)), RNG.normal(size=(5, 5)), RNG.normal(size=(3, 4))
C = RNG.normal(size=(6, 6, 3))  # the factors of each result in the loss


def windows(X):
    return sum((X[:, k : k + 3] * C[:, k]).sum() for k in range(6))


def test_windows_that_overwrite_each_other_are_seen():
    assigned, first = np.zeros(X.shape), np.zeros(X.shape)
    for k in range(6):
        assigned[:, k : k + 3] = C[:, k]
        first[:, 5 - k : 8 - k] = C[:, 5 - k]
    assert "assigned each time, not added" in (text := explained(windows, {"X": X}, X=assigned))
    assert "the first time last" not in text
    assert "assigned each time, not added, the first time last" in explained(windows, {"X": X}, X=first)


def powers(V):
    H = np.ones((2, 5))
    for _ in range(4):
        H = np.tanh(H @ V)
    return H.sum()


def test_a_turn_of_a_loop_that_counts_alone_is_named():
    states, dV = [np.ones((2, 5))], []
    for _ in range(4):
        states.append(np.tanh(states[-1] @ V))
    dH = np.ones((2, 5))
    for k in (3, 2, 1, 0):
        dA = dH * (1 - states[k + 1] ** 2)
        dV.append(states[k].T @ dA)
        dH = dA @ V.T
    for turn, word in (1, "only the third of 4"), (2, "only the second of 4"), (3, "only the first of 4"):
        assert word in explained(powers, {"V": V}, V=dV[turn])
    assert "the second of 4" in explained(powers, {"V": V}, V=sum(dV) - dV[2])


def test_a_mistake_beside_a_factor_is_both():
    def maxima(X):
        return (X.reshape(6, 2, 4).max(axis=2) * C[:, :2, 0]).sum()

    spread = np.repeat(C[:, :2, :1], 4, axis=2).reshape(6, 8)
    assert "sent to all entries times 1/4" in explained(maxima, {"X": X}, X=spread / 4)
    text = explained(maxima, {"X": X}, X=spread)
    assert "sent to all entries" in text
    assert "times" not in text


def maxout(X, W, b):
    products = np.einsum("koi,ni->kno", W, X)
    Z = products + b[:, None]
    return (Z.max(axis=0) * C[:, :4, 0]).sum()


def test_a_maximum_routed_by_another_array_is_named():
    products = np.einsum("koi,ni->kno", W, X)
    chosen = (products == products.max(axis=0)) * C[:, :4, 0]
    dX, dW = np.einsum("kno,koi->ni", chosen, W), np.einsum("kno,ni->koi", chosen, X)
    text = explained(maxout, {"X": X, "W": W, "b": b}, X=dX, W=dW, b=chosen.sum(axis=1))
    assert "with products in place of Z" in text


def test_a_missing_factor_of_a_product_of_several_is_named():
    dW = np.einsum("no,ni->oi", C[:, :4, 0], np.ones((6, 8)))[None] + 0 * W
    text = explained(lambda X, W: np.einsum("koi,ni,no->", W, X, C[:, :4, 0]), {"X": X, "W": W}, W=dW)
    assert text.startswith("factor X missing in the gradient by W of `einsum(")


@pytest.mark.parametrize("axis", [0, 2])
def test_a_softmax_derived_over_another_axis_is_named(axis):
    def shares(Z):
        E = np.exp(Z)
        return (E / E.sum(axis=1, keepdims=True) * C).sum()

    Z = RNG.normal(size=C.shape)
    S = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    wrong = S * (C - (C * S).sum(axis=axis, keepdims=True))
    assert "`E / sum(E, axis=1, keepdims=True)` (line" in (text := explained(shares, {"Z": Z}, Z=wrong))
    assert text.endswith(f"over axis {axis}")


def test_the_transpose_of_another_matrix_is_named():
    mask = (V > 0) * 1.0

    def masked(H, V):
        U = V * mask
        return (H @ U.T * C[:, :5, 0]).sum()

    H = RNG.normal(size=(6, 5))
    text = explained(masked, {"H": H, "V": V}, H=C[:, :5, 0] @ V)
    assert "without `V * mask`" in text or "with V.T in place of U.T" in text


def test_arrays_in_lists_are_written_with_their_number():
    Ws = [V, V.T + 1]

    def chain(H):
        return (H @ Ws[0] @ Ws[1] * C[:, :5, 1]).sum()

    text = explained(chain, {"H": RNG.normal(size=(6, 5))}, H=C[:, :5, 1] @ Ws[1].T @ Ws[0])
    assert "`H @ Ws[0]`" in text


def decaying(U, V):
    H, total = np.zeros((6, 5)), 0.0
    for k in range(3):
        H = np.tanh(X[:, k : k + 4] @ U.T + H @ V.T)
        total = total + (H * C[:, :5, k % 3]).sum()
    return total


def test_a_derivative_missing_in_one_of_two_paths_is_named():
    U = RNG.normal(size=(5, 4))
    states = [np.zeros((6, 5))]
    for k in range(3):
        states.append(np.tanh(X[:, k : k + 4] @ U.T + states[-1] @ V.T))
    dU, dV, carried = np.zeros(U.shape), np.zeros(V.shape), np.zeros((6, 5))
    for k in (2, 1, 0):
        dH = C[:, :5, k] + carried
        dA = dH * (1 - states[k + 1] ** 2)
        dU, dV = dU + dA.T @ X[:, k : k + 4], dV + dA.T @ states[k]
        carried = dH @ V  # in place of dA @ V
    text = explained(decaying, {"U": U, "V": V}, U=dU, V=dV)
    assert text.startswith("derivative of `tanh(")
    assert "missing in the gradient by H of `H @ V.T`" in text


def test_a_value_computed_from_another_array_is_named():
    E = np.exp(-X * X)

    def bump(Z):
        squares = Z * Z
        return (np.exp(-squares) * C[:, 0, :1]).sum()

    wrong = C[:, 0, :1] * np.exp(-X) * -2 * X  # exp(-x) in place of exp(-x^2)
    assert "computed from Z in place of squares" in explained(bump, {"Z": X}, Z=wrong)
    assert explained(bump, {"Z": X}, Z=C[:, 0, :1] * E * np.cos(X)) == ""

    def pooled(Z):
        return (np.log(np.exp(3 * Z).sum(axis=1)) * C[:, 0, 0]).sum()

    weights = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)
    text = explained(pooled, {"Z": X}, Z=3 * weights * C[:, 0, :1])
    assert text.startswith("value of `exp(3 * Z)` (line")
    assert text.endswith("and all that follows, computed from Z in place of 3 * Z")


def test_a_factor_that_is_not_divided_out_is_named():
    def distances(Z):
        d = np.sqrt((Z * Z).sum(axis=1) + 0.1)
        return (np.where(C[:, 0, 0] > 0, d**2, (4 - d) ** 2)).sum()

    d = np.sqrt((X * X).sum(axis=1, keepdims=True) + 0.1)
    wrong = np.where(C[:, 0, :1] > 0, 2 * X, -2 * (4 - d) * X)
    assert explained(distances, {"Z": X}, Z=wrong).endswith("= right d")


def test_axes_not_turned_back_in_one_of_two_calls_are_named():
    P, Q = RNG.normal(size=(2, 5, 8))

    def heads(A):
        return A.reshape(5, 4, 2).transpose(1, 0, 2)

    def product(P, Q):
        left, right = heads(P), heads(Q)
        return ((left * right) ** 2).sum()

    dP, dQ = 2 * heads(P) * heads(Q) ** 2, 2 * heads(Q) * heads(P) ** 2
    assert "not undone in the gradient by reshape(" in explained(product, {"P": P, "Q": Q}, Q=dQ.reshape(5, 8))
    assert "not undone in the gradient by reshape(" in explained(product, {"P": P, "Q": Q}, P=dP.reshape(5, 8))

    def looped(P, Q):
        left, right = [heads(A) for A in (P, Q)]
        return ((left * right) ** 2).sum()

    text = explained(looped, {"P": P, "Q": Q}, Q=dQ.reshape(5, 8))
    assert text.endswith(", the last of 2 times only")


def test_maxima_of_overlapping_windows_that_overwrite_are_named():
    def pooled(Z):
        return sum((Z[:, k : k + 4].max(axis=1) * C[:, k, 0]).sum() for k in range(5))

    def picked(Z):
        chosen = np.stack([k + Z[:, k : k + 4].argmax(axis=1) for k in range(5)], axis=1)
        return (np.take_along_axis(Z, chosen, axis=1) * C[:, :5, 0]).sum()

    Z, wrong, rows = X.copy(), np.zeros(X.shape), np.arange(6)
    Z[:3, 3] += 3  # wins in several windows
    for k in range(5):
        wrong[rows, k + Z[:, k : k + 4].argmax(axis=1)] = C[:, k, 0]
    assert "assigned each time where it is not 0, not added" in explained(pooled, {"Z": Z}, Z=wrong)
    assert "assigned, not added, where entries repeat" in explained(picked, {"Z": Z}, Z=wrong)


def test_a_gradient_that_is_taken_beside_its_place_is_named():
    def padded(Z):
        P = np.pad(Z, ((0, 0), (1, 1)))
        return ((P[:, :-2] + 2 * P[:, 1:-1] - P[:, 2:]) * X).sum()

    Z, G = RNG.normal(size=X.shape), np.zeros((6, 10))
    for factor, columns in ((1, slice(0, 8)), (2, slice(1, 9)), (-1, slice(2, 10))):
        G[:, columns] += factor * X
    assert explained(padded, {"Z": Z}, Z=G[:, :8]).endswith("taken 1 too early along the last axis")
    assert explained(padded, {"Z": Z}, Z=G[:, 2:]).endswith("taken 1 too late along the last axis")


def test_an_operation_applied_in_place_of_its_transpose_is_named():
    def summed_up(Z):
        return (np.cumsum(Z, axis=1) * X).sum()

    text = explained(summed_up, {"Z": X}, Z=np.cumsum(X, axis=1))
    assert text.endswith("applied to the gradient by Z, not its transpose")
    assert "cumsum(Z, axis=1)" in text


def test_a_mean_whose_gradient_is_of_another_axis_is_named():
    def centred(Z):
        return ((Z - Z.mean(axis=1, keepdims=True)) * X).sum()

    Z = RNG.normal(size=X.shape)
    text = explained(centred, {"Z": Z}, Z=X - X.mean(axis=0))
    assert text.startswith("gradient of `mean(Z, axis=1, keepdims=True)`")
    assert text.endswith("taken over axis 0")


def test_a_gradient_that_goes_back_one_turn_only_is_named():
    def leaky(Z):
        y, total = np.zeros(6), 0.0
        for k in range(5):
            y = 0.7 * y + Z[:, k]
            total = total + (y * C[:, k, 0]).sum()
        return total

    wrong = C[:, :5, 0].copy()
    wrong[:, :-1] += 0.7 * C[:, 1:5, 0]
    assert explained(leaky, {"Z": X}, Z=np.pad(wrong, ((0, 0), (0, 3)))).endswith("goes back one turn only")


@pytest.mark.parametrize("step", [1, 3])
def test_slices_at_a_wrong_distance_are_named(step):
    def dilated(Z):
        return sum((Z[:, 2 * k : 2 * k + 3] * C[:, k : k + 1, 0]).sum() for k in range(3))

    wrong = np.zeros((6, 12))
    for k in range(3):
        wrong[:, step * k : step * k + 3] += C[:, k : k + 1, 0]
    words = f"added 1 {'earlier' if step == 1 else 'later'} along axis 1 with each turn"
    assert explained(dilated, {"Z": RNG.normal(size=(6, 12))}, Z=wrong).endswith(words)


def test_gradients_of_two_parts_that_are_exchanged_are_named():
    H = RNG.normal(size=(6, 8))

    def gated(Z):
        value, gate = Z[:, :4], Z[:, 4:]
        return (value / (1 + np.exp(-gate)) * C[:, :4, 0]).sum()

    s = 1 / (1 + np.exp(-H[:, 4:]))
    wrong = np.hstack([H[:, :4] * s * (1 - s) * C[:, :4, 0], s * C[:, :4, 0]])
    text = explained(gated, {"Z": H}, Z=wrong)
    assert text.startswith("gradients of `Z[:, :4]` (line")
    assert text.endswith(" exchanged")

    def attention(Z):
        q, k, v = Z[:, :2], Z[:, 2:4], Z[:, 4:6]
        return (np.tanh(q @ k.T) @ v * C[:, 0, :2]).sum()

    q, k, v = H[:, :2], H[:, 2:4], H[:, 4:6]
    S = np.tanh(q @ k.T)
    dS = C[:, 0, :2] @ v.T * (1 - S**2)
    rotated = np.hstack([dS.T @ q, S.T @ C[:, 0, :2], dS @ k, np.zeros((6, 2))])
    text = explained(attention, {"Z": H}, Z=rotated)
    assert re.fullmatch(r"gradients of `Z.*` .* and `Z.*` .* and `Z.*` .* exchanged", text)

    def joined(A, B):
        return (np.tanh(np.concatenate([A, B], axis=1)) * H).sum()

    A, B = RNG.normal(size=(2, 6, 4))
    dA, dB = H[:, :4] * (1 - np.tanh(A) ** 2), H[:, 4:] * (1 - np.tanh(B) ** 2)
    text = explained(joined, {"A": A, "B": B}, A=dB, B=dA)
    assert text.startswith("gradients by A and B of `concatenate(")


def test_a_factor_is_not_taken_for_clipping():
    logits = RNG.normal(size=4)
    shares = np.exp(logits) / np.exp(logits).sum()

    def mixture(logits):
        return 12 * np.log(np.exp(logits).sum()) - (logits * np.arange(4)).sum()

    assert "clipped" not in (text := explained(mixture, {"logits": logits}, logits=shares - np.arange(4)))
    assert text != ""


def test_clipping_is_named_where_some_entries_are_left():
    def scaled(Z):
        return (np.tanh(Z) * 3 * F).sum()

    F = RNG.normal(size=X.shape)
    passed = np.clip(3 * F, -1, 1)
    assert explained(scaled, {"Z": X}, Z=passed * (1 - np.tanh(X) ** 2)).endswith("clipped at 1")


def test_a_minimum_that_passes_on_to_one_operand_alone_is_named():
    def bounded(X):
        return np.minimum(X * C[:, :1, 0], np.clip(X, -0.5, 0.5) * C[:, :1, 0]).sum()

    inside = np.abs(X) < 0.5  # where both are equal
    assert explained(bounded, {"X": X}, X=inside * C[:, :1, 0]).startswith("gradient of `minimum(")
    assert "sent to clip(X, -0.5, 0.5) * C[:, :1, 0] alone, whatever the condition" in explained(
        bounded, {"X": X}, X=inside * C[:, :1, 0]
    )


def test_a_sorted_gradient_that_is_sorted_once_more_is_named():
    x, weights = X[:, 0], np.arange(6.0)
    order = np.argsort(x)
    right = np.zeros(6)
    right[order] = weights
    assert not np.array_equal(weights[order], right)
    text = explained(lambda x: (np.sort(x) * weights).sum(), {"x": x}, x=weights[order])
    assert text.endswith("applied to the gradient by x, not its transpose")


def test_rows_and_columns_of_windows_exchanged_are_named():
    images, weights = RNG.normal(size=(3, 4, 4)), RNG.normal(size=(3, 2, 2))

    def pooled(images):
        return (images.reshape(3, 2, 2, 2, 2).max(axis=(2, 4)) * weights).sum()

    windows = images.reshape(3, 2, 2, 2, 2)
    largest = (windows == windows.max(axis=(2, 4), keepdims=True)) * weights[:, :, None, :, None]
    text = explained(pooled, {"images": images}, images=largest.swapaxes(2, 4).reshape(3, 4, 4))
    assert text.startswith("axes 2 and 4 of the gradient of `reshape(images, 3, 2, 2, 2, 2)`")


@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_a_gradient_spread_along_the_other_axis_is_named(reduce):
    weights, square = np.arange(1.0, 6.0), V**2

    def weighted(V):
        return (weights * getattr(V**2, reduce)(axis=1)).sum()

    scale = 5 if reduce == "mean" else 1
    assert not np.allclose(square * weights, square * weights[:, None])
    text = explained(weighted, {"V": V}, V=2 * V * weights / scale)
    assert re.search(rf"gradient of `{reduce}\(V \*\* 2, axis=1\)` .* spread over V \*\* 2 along axis 0", text)


def test_an_array_without_a_name_is_written_as_in_the_code():
    def noisy(b):
        return (np.exp(b[0, 0]) * np.eye(4)).sum() + (X[:3, :4] * b[:, [1]]).sum()

    wrong = np.zeros(b.shape)
    wrong[:, 1] = X[:3, :4].sum(axis=1)
    text = explained(noisy, {"b": b}, b=wrong + 16 * np.eye(3, 4) * [1, 0, 0, 0] * np.exp(b[0, 0]))
    assert "np.eye(4)" in text


def test_two_mistakes_one_above_the_other_are_both_named():
    def layered(W, b):
        return np.tanh(np.tanh(X @ W.T) @ b.T).sum()

    H, dA = np.tanh(X @ W[0].T), np.ones((6, 3))  # the derivative of the upper tanh is missing
    text = explained(layered, {"W": W[0], "b": b}, W=(dA @ b * (1 - H)).T @ X, b=dA.T @ H)
    first, second = text.split(" and ")
    assert first.startswith("derivative of `tanh(tanh(X @ W.T) @ b.T)`") and first.endswith("missing")
    assert second.startswith("derivative of `tanh(X @ W.T)`") and second.endswith("written as 1 - h")


def test_two_mistakes_in_one_recurrent_step_are_both_named():
    def recurrent(V):
        H = X[:, :5]
        for _ in range(3):
            H = np.tanh(H @ V)
        return (H * C[:, :5, 0]).sum()

    states, dV = [X[:, :5]], 0.0
    for _ in range(3):
        states.append(np.tanh(states[-1] @ V))
    dH = C[:, :5, 0]
    for t in (2, 1, 0):
        dA = dH * (1 + states[t + 1] ** 2)  # for 1 - H^2
        dV = dV + states[t].T @ dA
        dH = dA @ V  # for V.T
    text = explained(recurrent, {"V": V}, V=dV)
    assert "written as 1 + h^2 and factor transposed in the gradient by H of `H @ V`" in text
