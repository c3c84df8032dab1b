"""Wrong gradients of a user's own code are explained by one operation of it, derived wrongly."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

import handmade as hm

RNG = np.random.default_rng(5)
X, Y, MASK = RNG.normal(size=(7, 4)), RNG.normal(size=(7, 3)), (RNG.random((7, 3)) > 0.3) * 1.0
WORDS = RNG.integers(0, 4, size=(7, 3))
THETA = {"W": RNG.normal(size=(3, 4)), "V": RNG.normal(size=(3, 3)), "g": RNG.uniform(0.5, 1.5, 3)}


def gated(t):
    G, Z = hm.activations.sigmoid(X @ t["W"].T), X @ t["W"].T
    H = G * np.tanh(Z @ t["V"].T)
    return H, G, Z


def loss_of_gated(t):
    H = gated(t)[0]
    n = np.sqrt((H**2).sum(axis=1, keepdims=True) + 0.1)
    return float((((H / n) * t["g"] - Y) ** 2 * MASK).sum())


def gradient_of_gated(t, wrong=""):
    H, G, Z = gated(t)
    T = np.tanh(Z @ t["V"].T)
    n = np.sqrt((H**2).sum(axis=1, keepdims=True) + 0.1)
    U = H / n
    dR = 2 * (U * t["g"] - Y) * (1 if wrong == "mask" else MASK)
    dU = dR * t["g"]
    dH = dU / n - (0 if wrong == "projection" else H * (dU * H).sum(axis=1, keepdims=True) / n**3)
    dG, dT = dH * T, dH * G
    dA = dT * (1 - T * T)
    dZ = dA @ (t["V"].T if wrong == "transposed" else t["V"])
    dZ = dZ + {"gate's derivative": dG, "gate": 0, "sign": -dG * G * (1 - G)}.get(wrong, dG * G * (1 - G))
    if wrong == "clipped":
        dZ = np.clip(dA @ t["V"], -0.1, 0.1) + dG * G * (1 - G)
    dg = (dR * (H if wrong == "another array" else U)).sum(axis=0)
    return {"W": dZ.T @ X, "V": dA.T @ Z * (3 if wrong == "factor" else 1), "g": dg}


@pytest.mark.parametrize(
    ("wrong", "words", "where"),
    [
        ("projection", "n taken for a constant in `H / n`", "W and V"),
        ("transposed", "factor transposed in the gradient by Z of `Z @ transpose(V)`", "W"),
        ("gate's derivative", "derivative of `sigmoid(X @ W.T)` (line", "W"),
        ("gate", "G taken for a constant in `G * ", "W"),
        ("sign", "sign of the gradient by G of `G * tanh(", "W"),
        ("mask", "* MASK` (line", "W and V and g"),
        ("clipped", "of `Z @ transpose(V)` (line", "W"),
        ("another array", "with H in place of H / n", "g"),
    ],
)
def test_functions_are_explained_by_an_operation(wrong, words, where):
    diagnosis = hm.diagnose_gradient(loss_of_gated, THETA, lambda t: gradient_of_gated(t, wrong))
    assert diagnosis.verdict == "named"
    (explanation,) = diagnosis.explanations
    assert words.replace("transpose(V)", "V.T") in explanation.name
    assert explanation.where == where
    assert explanation.at == tuple(where.split(" and "))


def test_function_with_two_mistakes_gets_both():
    def gradient(t):
        return gradient_of_gated(t, "gate") | {"g": gradient_of_gated(t, "another array")["g"]}

    (explanation,) = hm.diagnose_gradient(loss_of_gated, THETA, gradient).explanations
    assert "G taken for a constant" in explanation.name
    assert "with H in place of H / n" in explanation.name
    assert explanation.where == "W, and g"


def test_right_function_is_right_and_noise_is_not_explained():
    assert hm.diagnose_gradient(loss_of_gated, THETA, gradient_of_gated).verdict == "right"
    for seed in range(5):
        noise = np.random.default_rng(seed)
        claim = {n: g + noise.normal(size=g.shape) for n, g in gradient_of_gated(THETA).items()}
        assert hm.diagnose_gradient(loss_of_gated, THETA, claim).verdict == "unknown"


def states(t):
    h, listed = np.zeros((7, 3)), []
    for _ in range(3):
        h = np.tanh(X @ t["W"].T + h @ t["V"].T)
        listed.append(h)
    return listed


def gradient_of_states(t, through=2, count=lambda k: True, slope=0):
    hs = [np.zeros((7, 3)), *states(t)]
    dh, dW, dV = 2 * (hs[3] - Y), 0, 0
    for k in (2, 1, 0):
        da = dh * (1 - hs[k + 1 - slope] ** 2)
        dW = dW + da.T @ X * (k >= 2 - through)
        dV = dV + da.T @ hs[k] * count(k) * (k >= 2 - through)
        dh = da @ t["V"]
    return {"W": dW, "V": dV}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"through": 0}, "h taken for a constant in `h @ V.T`"),
        ({"count": lambda k: k == 2}, "only the last of 3 times of `"),
        ({"count": lambda k: k < 2}, "the last of 3 times of `"),
        ({"slope": 1}, "of the time before in place of"),
    ],
)
def test_loops_are_explained_as_a_whole(options, words):
    theta = {name: THETA[name] for name in ("W", "V")}

    def f(t):
        return float(((states(t)[-1] - Y) ** 2).sum())

    assert hm.diagnose_gradient(f, theta, gradient_of_states).verdict == "right"
    diagnosis = hm.diagnose_gradient(f, theta, lambda t: gradient_of_states(t, **options))
    (explanation,) = diagnosis.explanations
    assert words in explanation.name


def shares(t):
    S = X @ t["W"].T
    E = np.exp(S - S.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def loss_of_shares(t):
    P = shares(t)
    return float(((P * t["g"]) ** 2).sum())


def gradient_of_shares(t, wrong=""):
    P = shares(t)
    G = 2 * P * t["g"] ** 2
    dS = P * (G - (G * P).sum(axis=1, keepdims=True))
    dS = {"constant": P * G, "diagonal": P * (1 - P) * G}.get(wrong, dS)
    dg = (2 * P**2 * t["g"])[: 1 if wrong == "row" else None].sum(axis=0)
    return {"W": dS.T @ (Y[:, :1] * X if wrong == "input" else X), "g": dg}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("constant", "sum(E, axis=1, keepdims=True) taken for a constant in `E / sum("),
        ("diagonal", "diagonal alone of the Jacobian of `E / sum("),
        ("row", "only the first row of `P * g` (line"),
    ],
)
def test_softmax_written_by_hand_is_explained(wrong, words):
    # The maximum that is subtracted changes nothing, and nobody derives it.
    theta = {"W": THETA["W"], "g": THETA["g"]}
    assert hm.diagnose_gradient(loss_of_shares, theta, gradient_of_shares).verdict == "right"
    (explanation,) = hm.diagnose_gradient(loss_of_shares, theta, lambda t: gradient_of_shares(t, wrong)).explanations
    assert words in explanation.name


@pytest.mark.parametrize(
    ("slope", "words"),
    [
        (lambda A, H: 1 - H, "derivative of `tanh(A)` (line 2 of f) written as 1 - h"),
        (lambda A, H: 1 - A * A, "derivative of `tanh(A)` (line 2 of f) written as 1 - x^2"),
        (lambda A, H: 1 - X**2, "derivative of `tanh(A)` (line 2 of f) by A with X in place of A"),
    ],
)
def test_usual_words_for_a_derivative_are_explained(slope, words):
    space = {"np": np, "X": X}
    exec("def f(w):\n    A = X * w; H = np.tanh(A); return float((H**2).sum())", space)  # with lines of its own

    def gradient(w):
        H = np.tanh(X * w)
        slopes = 1 - np.tanh(X) ** 2 if "with X" in words else slope(X * w, H)
        return (2 * H * slopes * X).sum(axis=0)

    (explanation,) = hm.diagnose_gradient(space["f"], RNG.normal(size=4), gradient).explanations
    assert explanation.name == words


def test_variables_are_named_as_the_line_uses_them():
    def f(t):
        c = t["W"][0]
        for _ in range(3):
            new = np.sin(t["g"][0] * c) + c
            c = new
        return float((c**2).sum())

    def gradient(t):  # the factor of g is what the turn has made, not what it was given
        cs = [t["W"][0]]
        for _ in range(3):
            cs.append(np.sin(t["g"][0] * cs[-1]) + cs[-1])
        d, dg = 2 * cs[-1], 0.0
        for old, new in zip(cs[2::-1], cs[:0:-1], strict=True):
            slope = np.cos(t["g"][0] * old)
            dg, d = dg + float((d * slope * new).sum()), d * (slope * t["g"][0] + 1)
        return {"W": np.array([d, 0 * d, 0 * d]), "g": np.array([dg, 0.0, 0.0])}

    theta = {"W": THETA["W"], "g": THETA["g"]}
    (explanation,) = hm.diagnose_gradient(f, theta, gradient).explanations
    assert "by g[0] with new in place of c" in explanation.name


def test_repeated_rows_that_are_assigned_are_explained():
    def f(E):
        return float((E[WORDS].sum(axis=1) ** 3).sum())

    def gradient(E):
        dE = np.zeros_like(E)
        dE[WORDS] = 3 * (E[WORDS].sum(axis=1) ** 2)[:, None]
        return dE

    (explanation,) = hm.diagnose_gradient(f, RNG.normal(size=(6, 3)), gradient).explanations
    assert "assigned, not added, where entries repeat" in explanation.name


# ---- layers, activations and losses of one's own -------------------------------------------------------------------


class Pooled(hm.Layer):
    """The largest of each pair, times a learnt weight, beside the softmax of the pairs' sums."""

    parameters: ClassVar = {"weight": "w"}

    def __init__(self, wrong):
        self.in_features, self.wrong, self.w = 6, wrong, np.array([0.7, -1.2, 0.4])

    def width_after(self, in_features):
        return 3

    def forward(self, X, training=False):
        pairs = X.reshape(len(X), 3, 2)
        P = hm.activations.softmax(pairs.sum(axis=2))
        return pairs.max(axis=2) * self.w + P, (pairs, P)

    def backward(self, dH, cache, need_dX=True):
        pairs, P = cache
        largest = pairs == pairs.max(axis=2, keepdims=True)
        self.dw[...] = (dH * (np.cos(pairs[..., 0]) if self.wrong == "weight" else pairs.max(axis=2))).sum(axis=0)
        through = dH * P if self.wrong == "softmax" else P * (dH - (dH * P).sum(axis=1, keepdims=True))
        spread = np.ones_like(pairs) if self.wrong == "largest" else largest
        dX = (dH * self.w)[..., None] * spread + through[..., None]
        return dX.reshape(len(dH), 6)


@pytest.mark.parametrize(
    ("wrong", "words", "at"),
    [
        ("softmax", "sum over the classes taken for a constant in `softmax(", ("1",)),
        ("largest", "gradient of `max(pairs, axis=2)` (line", ("1",)),
    ],
)
def test_layers_of_ones_own_are_explained_by_an_operation(wrong, words, at):
    network = hm.Network([hm.Dense(4, 6, rng=0), Pooled(wrong), hm.Activation("tanh"), hm.Dense(3, 3, rng=1)])
    diagnosis = hm.diagnose_gradient(network, X, np.arange(7) % 3)
    (explanation,) = diagnosis.explanations
    assert words in explanation.name
    assert explanation.where == "dX of layers[1], Pooled"
    assert explanation.at == at


def test_what_no_operation_explains_stays_located():
    network = hm.Network([hm.Dense(4, 6, rng=0), Pooled("weight"), hm.Dense(3, 3, rng=1)])
    diagnosis = hm.diagnose_gradient(network, X, np.arange(7) % 3)
    assert diagnosis.verdict == "located"
    assert diagnosis.places[0].parameters == ("1.weight",)


class Scaled(hm.Layer):
    """A layer that divides each feature by its standard deviation in the batch."""

    def forward(self, X, training=False):
        s = X.std(axis=0)
        return X / s, (X, s)

    def backward(self, dH, cache, need_dX=True):
        return dH / cache[1]


def test_statistics_of_a_batch_taken_for_constants_are_explained():
    network = hm.Network([hm.Dense(4, 6, rng=0), Scaled(), hm.Dense(6, 3, rng=1)])
    (explanation,) = hm.diagnose_gradient(network, X, np.arange(7) % 3).explanations
    assert "s taken for a constant in `X / s`" in explanation.name


def bump(A):
    return A * np.exp(-(A**2) / 2)


def bump_backward(dH, A):
    return dH * np.exp(-(A**2) / 2)


def test_activation_of_ones_own_is_explained_by_an_operation():
    network = hm.Network([hm.Dense(4, 5, rng=0), hm.Activation((bump, bump_backward)), hm.Dense(5, 3, rng=1)])
    (explanation,) = hm.diagnose_gradient(network, X, np.arange(7) % 3).explanations
    assert "taken for a constant in `A * exp(" in explanation.name
    assert explanation.where == "dX of layers[1], Activation('bump')"


def ratio_loss(output, target):
    error = (output - target) ** 2
    return error.sum() / (1 + (output**2).sum())


def ratio_loss_backward(output, target):
    return 2 * (output - target) / (1 + (output**2).sum())


def test_loss_of_ones_own_is_explained_by_an_operation():
    network = hm.Network([hm.Dense(4, 3, rng=0)])
    diagnosis = hm.diagnose_gradient(network, X, Y, loss=(ratio_loss, ratio_loss_backward))
    (explanation,) = diagnosis.explanations
    assert "1 + sum(output ** 2) taken for a constant in" in explanation.name
    assert explanation.at == ("loss",)
