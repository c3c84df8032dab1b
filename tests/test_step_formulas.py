"""The formula of a wrong step, and of what it should compute: by layer, loss, parameter and size of batch."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import handmade as hm
from handmade.activations import sigmoid, softmax
from handmade.checking.backward_pass import BackwardPass
from handmade.checking.formulas.step_equations import known_numbers
from handmade.checking.formulas.step_formulas import VAGUE, Case, dA_of, formula_of, right_formula
from handmade.checking.localisation import localise

RNG = np.random.default_rng(5)
X, REALS, LABELS = RNG.normal(size=(40, 5)), RNG.normal(size=(40, 4)), RNG.integers(0, 4, 40)
LAYERS = {
    "tanh": lambda: [hm.Activation("tanh")],
    "leaky_relu": lambda: [hm.Activation("leaky_relu", negative_slope=0.2)],
    "dropout": lambda: [hm.Dropout(0.4, rng=3)],
    "batch norm": lambda: [hm.BatchNorm(6), hm.Activation("tanh")],
    "residual": lambda: [hm.Residual([hm.Dense(6, 6, rng=4), hm.Activation("tanh")])],
}
OUTPUT = 3  # the place of the loss, behind three layers
HUBER = functools.partial(hm.losses.huber_loss, delta=0.7)


def network_of(layers="tanh"):
    network = hm.Network([hm.Dense(5, 6, rng=0), *LAYERS[layers](), hm.Dense(6, 4, rng=1)])
    network.theta = np.random.default_rng(1).normal(scale=0.6, size=network.theta.size)
    return network


def case_of(network, steps, rows, first, loss="mse_loss"):
    """Return the localisation of a backward pass with these steps, over some rows from the first on."""
    y = (LABELS if loss == "cross_entropy" else REALS)[first : first + rows]
    of = BackwardPass(network, X[first : first + rows], y, loss)
    claimed = of.gradient(steps)
    return Case(of, localise(of, claimed, np.zeros(claimed.size), 1e-9))


def formulas(place, step, layers="tanh", loss="mse_loss", sizes=(4, 4, 5), right=(), name="", facts=None, more=()):
    """Return the formulas of a wrong step, simplest first, and the formula of what it should compute.

    Batches as large as the first are fitted, the others and those in which all is right confirm.
    """
    network = network_of(layers)
    cases = [case_of(network, {place: step, **dict(more)}, rows, 5 * i, loss) for i, rows in enumerate(sizes)]
    fitted = [case for case, rows in zip(cases, sizes, strict=True) if rows == sizes[0]]
    others = cases[len(fitted) :] + [case_of(network, {}, rows, 20, loss) for rows in right]
    name = name or fitted[0].found.steps[0].name
    with np.errstate(all="ignore"):
        found = formula_of(name, fitted, facts or {}, 1e-8, others)
        return found, right_formula(name, fitted, found[0], facts or {}, others) if found else ""


# ---- steps -----------------------------------------------------------------------------------------------------------


def right(of, i, dH):
    return of.layers[i].backward(dH, of.caches[i])


def times(factor):
    """Return a step that is the right one times a number, or times a function of the number of rows."""
    return lambda of, i, dH: right(of, i, dH) * (factor(len(dH)) if callable(factor) else factor)


def of_weight(change):
    """Return a step of a dense layer with another dW, a function of (layer, X, dA)."""

    def step(of, i, dH):
        dX = right(of, i, dH)
        of.layers[i].dW[...] = change(of.layers[i], of.values[i], dH)
        return dX

    return step


def of_bias(change):
    """Return a step of a dense layer with another db, a function of dA."""

    def step(of, i, dH):
        dX = right(of, i, dH)
        of.layers[i].db[...] = change(dH)
        return dX

    return step


def masked(factor):
    return lambda of, i, dH: factor * dH * (np.random.default_rng(9).random(dH.shape) < 0.6)


def one_hot(of):
    return np.eye(4)[of.y]


SLOPE, SENT = "right = dH f'(A)", "right = dA @ W[2]"
OF_LAYERS = [
    ("tanh", lambda of, i, dH: dH, "dH", SLOPE),
    ("tanh", lambda of, i, dH: dH * of.values[i + 1], "dH H", SLOPE),
    ("tanh", lambda of, i, dH: dH * np.exp(of.values[i]), "dH exp(A)", SLOPE),
    ("tanh", lambda of, i, dH: dH - of.values[i + 1] ** 2, "dH - H^2", SLOPE),
    ("tanh", lambda of, i, dH: dH * (1 - of.values[i + 1]), "dH - dH H", SLOPE),
    ("tanh", lambda of, i, dH: 0 * dH, "0", SENT),
    ("tanh", times(2), "2 dA @ W[2]", SENT),
    ("tanh", times(-0.37), "-0.37 dA @ W[2]", SENT),
    ("tanh", times(0.25), "(1/K or 1/width) dA @ W[2]", SENT),
    ("tanh", times(lambda N: N), "N dA @ W[2]", SENT),
    ("tanh", times(lambda N: 1 / N), "1/N dA @ W[2]", SENT),
    ("tanh", times(lambda N: 1.5 / N), "6/(N K) dA @ W[2]", SENT),
    ("tanh", lambda of, i, dH: np.where(of.values[i] < 0, 0.1 * dH, right(of, i, dH)),
     "0.1 dH [A < 0] + dH f'(A) [A > 0]", SLOPE),
    ("tanh", lambda of, i, dH: right(of, i, dH) * (np.arange(len(dH)) == 0)[:, np.newaxis],
     "dA @ W[2] of the first sample", SENT),
    ("tanh", lambda of, i, dH: right(of, i, dH) * np.arange(1, 7),
     "right, each column times a number of its own: 1, 2, 3, 4, 5, 6", ""),
    ("tanh", lambda of, i, dH: np.clip(right(of, i, dH), -0.02, 0.02), "right, clipped at 0.02", ""),
    ("leaky_relu", lambda of, i, dH: np.where(of.values[i] > 0, dH, 0.04 * dH), "dH f'(A)^2", SLOPE),
    ("leaky_relu", lambda of, i, dH: np.where(of.values[i] > 0, dH, 0.2), "dH [A > 0] + negative_slope [A < 0]", SLOPE),
    ("dropout", lambda of, i, dH: dH, "dH", "right = 1/(1-p) dH [kept]"),
    ("dropout", times(0.6), "dH [kept]", "right = 1/(1-p) dH [kept]"),
    ("dropout", times(0.36), "(1-p) dH [kept]", "right = 1/(1-p) dH [kept]"),
    ("dropout", times(1 / 0.6), "1/(1-p)^2 dH [kept]", "right = 1/(1-p) dH [kept]"),
    ("dropout", masked(1 / 0.6), "1/(1-p) dH, with another mask than that of the forward pass",
     "right = 1/(1-p) dH [kept]"),
    ("dropout", masked(-3.3), "-3.3 dH, with another mask than that of the forward pass", "right = 1/(1-p) dH [kept]"),
    ("batch norm", lambda of, i, dH: np.clip(right(of, i, dH), -0.02, 0.02), "right, clipped at 0.02", ""),
    ("batch norm", lambda of, i, dH: right(of, i, dH) * (np.arange(len(dH)) == 0)[:, np.newaxis],
     "right, but rows 1, 2, 3 are 0", ""),
    ("residual", times(2), "2 dH of the other paths + 2 dA @ W[1.0]", "right = dH of the other paths + dA @ W[1.0]"),
    ("residual", lambda of, i, dH: np.where(of.values[i] < 0, 0.1 * dH, right(of, i, dH)),
     "right where A > 0, else 0.1 dH of the other paths", None),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "step", "formula", "meant"), OF_LAYERS)
def test_formula_of_what_a_layer_passes_down(layers, step, formula, meant):
    found, of_right = formulas(1, step, layers)
    assert str(found[0]) == f"dA[0] = {formula}"
    assert meant in (of_right, None)
    assert [one.cost for one in found] == sorted(one.cost for one in found)
    assert {one.rows for one in found if one.factors != (("1",),)} <= {4}
    assert all(one.place in ("1", "1.", "2.") for one in found) or layers != "tanh"


OF_LOSSES = [
    ("mse_loss", lambda of, i, A: A - of.y, "2 N right", ""),
    ("mse_loss", lambda of, i, A: 2 * (of.y - A) / A.size, "-right", ""),
    ("mse_loss", lambda of, i, A: (A - of.y) ** 2, "(A-Y)^2", "right = 1/(2 N) (A-Y)"),
    ("mse_loss", lambda of, i, A: np.abs(A - of.y), "|A-Y|", "right = 1/(2 N) (A-Y)"),
    ("cross_entropy", lambda of, i, A: softmax(A) / len(A), "1/N P", "right = 1/N (P-Y)"),
    ("cross_entropy", lambda of, i, A: softmax(A) - one_hot(of), "N right", ""),
    ("cross_entropy", lambda of, i, A: (A - one_hot(of)) / len(A), "1/N (A-Y)", "right = 1/N (P-Y)"),
    ("cross_entropy", lambda of, i, A: (sigmoid(A) - one_hot(of)) / len(A), "1/N (sigmoid(A)-Y)", "right = 1/N (P-Y)"),
    ("cross_entropy", lambda of, i, A: (softmax(A) - one_hot(of)) * softmax(A) * (1 - softmax(A)) / len(A),
     "1/N (P-Y) P (1-P)", "right = 1/N (P-Y)"),
    ("cross_entropy", lambda of, i, A: (softmax(A, 0) - one_hot(of)) / len(A),
     "-1/N Y + 1/N softmax over the samples", "right = 1/N (P-Y)"),
    (HUBER, lambda of, i, A: (A - of.y) / A.size, "1/(N K) (A-Y)", "right = 1/(N K) (A-Y) clipped at delta"),
    (HUBER, lambda of, i, A: 0.7 * of.loss_gradient, "delta right", ""),
    (HUBER, lambda of, i, A: np.where(abs(A - of.y) < 0.7, A - of.y, np.sign(A - of.y)) / A.size,
     "1/delta right where |A-Y| > delta, else right", ""),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "step", "formula", "meant"), OF_LOSSES)
@pytest.mark.parametrize("layers", ["tanh", "residual"])
def test_formula_of_the_gradient_of_a_loss(loss, step, formula, meant, layers):
    found, of_right = formulas(OUTPUT, step, layers, loss)
    assert (str(found[0]), found[0].place) == (f"dA[2] = {formula}", "loss")
    assert of_right == meant


OF_PARAMETERS = [
    (0, of_weight(lambda layer, X, dA: -dA.T @ X), "dW[0] = -right", ""),
    (0, of_weight(lambda layer, X, dA: dA.T @ X / len(X)), "dW[0] = 1/N right", ""),
    (0, of_weight(lambda layer, X, dA: dA.T @ X + 0.01 * layer.W), "dW[0] = right + 0.01 W[0]", ""),
    (2, of_weight(lambda layer, X, dA: dA.T @ X**2), "dW[2] = dA^T @ X^2", "right = dA^T @ X"),
    (0, of_bias(lambda dA: dA.max(axis=0)), "db[0] = max(dA)", "right = sum(dA)"),
    (0, of_bias(lambda dA: dA.mean(axis=0)), "db[0] = 1/N right", ""),
    (2, of_bias(lambda dA: 0 * dA[0]), "db[2] = 0", "right = sum(dA)"),
    (2, of_bias(lambda dA: dA[0]), "db[2] = first row of dA", "right = sum(dA)"),
    (2, of_bias(lambda dA: 1e-16 * dA[0]), "db[2] = 0", "right = sum(dA)"),  # which is rounding
]


@pytest.mark.parametrize(("place", "step", "formula", "meant"), OF_PARAMETERS)
def test_formula_of_the_gradient_of_a_parameter(place, step, formula, meant):
    found, of_right = formulas(place, step)
    assert (str(found[0]), of_right) == (formula, meant)


def above(quantity, bound, factor):
    """Return a step that is multiplied by a number where a quantity is large."""

    def step(of, i, dH):
        array = of.loss_gradient if i == OUTPUT else right(of, i, dH)
        return np.where(quantity(of, i, dH) > bound, factor * array, array)

    return step


@pytest.mark.parametrize(
    ("place", "loss", "step", "formula"),
    [
        (OUTPUT, "mse_loss", above(lambda of, i, A: A, 0.3, 3), "right where A < about 0.3, else 1/K (A-Y)"),
        (OUTPUT, "mse_loss", above(lambda of, i, A: A - of.y, 0.5, 3), "right where A-Y < 1/2, else 1/K (A-Y)"),
        (OUTPUT, "mse_loss", above(lambda of, i, A: A * of.y, 0.5, 0), "right where Y A < 1/2, else 0"),
        (OUTPUT, "cross_entropy", above(lambda of, i, A: softmax(A), 0.3, 3),
         "1/N (P-Y) where P < about 0.3, else 1/2 (P-Y)"),
        (1, "mse_loss", above(lambda of, i, dH: of.values[i], 1.2, 3), "right where A < about 1.2, else 3 right"),
        (1, "mse_loss", above(lambda of, i, dH: dH, 0.05, 3), "right where dH < about 0.05, else 3 right"),
    ],
)  # fmt: skip
def test_formula_of_two_pieces(place, loss, step, formula):
    (found,), _ = formulas(place, step, loss=loss, sizes=(6, 6, 6))
    assert str(found) == f"dA[{2 if place == OUTPUT else 0}] = {formula}"
    assert found.place == ("loss" if place == OUTPUT else "1.")


def test_the_right_formula_of_a_loss_of_ones_own_has_its_factor():
    loss = (lambda A, y, reduction="mean": 0.37 / 2 * ((A - y) ** 2).sum() / len(A),
            lambda A, y, reduction="mean": 0.37 * (A - y) / len(A))  # fmt: skip
    found, meant = formulas(OUTPUT, lambda of, i, A: (A - of.y) ** 2, loss=loss)
    assert (str(found[0]), meant) == ("dA[2] = (A-Y)^2", "right = 0.37/N (A-Y)")


def test_a_product_of_terms_is_contradicted_too():
    def step(of, i, dH):
        return dH**2 * of.values[i] * (1 if len(dH) == 4 else 2)

    assert str(formulas(1, step, sizes=(4, 4))[0][0]) == "dA[0] = dH^2 A"
    assert formulas(1, step)[0] == []


def test_two_batches_with_two_patterns_have_none():
    def step(of, i, dH):
        is_first = (of.values[0][0] == X[0]).all()
        return np.clip(right(of, i, dH), -0.02, 0.02) if is_first else np.round(right(of, i, dH), 3)

    assert formulas(1, step, sizes=(4, 4))[0] == []


def test_of_many_numbers_a_part_is_fitted():
    network = hm.MLP([70, 70, 4], "tanh", rng=0)
    X, y = np.random.default_rng(0).normal(size=(64, 70)), LABELS[np.arange(64) % 40]
    of = BackwardPass(network, X, y)
    case = Case(
        of, localise(of, of.gradient({1: lambda of, i, dH: dH - of.values[i + 1] ** 2}), 0 * network.theta, 1e-9)
    )
    with np.errstate(all="ignore"):
        (found,) = formula_of("dA[0]", [case], {}, 1e-8)
    assert (str(found), found.rows) == ("dA[0] = dH - H^2", 64)


def with_noise(size):
    """Return the terms of the formulas of a step that is off by 1 %, and by noise of this relative size."""

    def step(of, i, dH):
        exact = right(of, i, dH)
        return 1.01 * exact + size * np.abs(exact).max() * np.random.default_rng(0).choice([-1, 1], exact.shape)

    case = case_of(network_of(), {1: step}, 4, 0)
    with np.errstate(all="ignore"):
        return [found.terms for found in formula_of("dA[0]", [case], {}, 1e-2)]


def test_a_formula_may_leave_a_hundredth_of_the_difference():
    """The largest entry is far less than 1: what counts is the size beside it."""
    assert ("dA @ W[2]",) in with_noise(2e-5)


def test_a_formula_may_not_leave_more_of_the_difference():
    assert ("dA @ W[2]",) not in with_noise(2e-3)


# ---- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "sizes", "formula"),
    [
        (lambda N: N, (4, 4, 5), "N dA @ W[2]"),
        (4, (4, 4, 5), "(K or width) dA @ W[2]"),
        (4, (4, 4), "(N or K or width) dA @ W[2]"),  # one size does not tell
        (lambda N: N, (3,), "N dA @ W[2]"),
        (lambda N: 7 * N, (4, 5), "7 N dA @ W[2]"),
        (lambda N: 0.37 / N, (4, 5), "0.37/N dA @ W[2]"),
        (0.61, (4, 5), "tau dA @ W[2]"),
        (0.62, (4, 5), "0.62 dA @ W[2]"),
    ],
)
def test_batches_of_other_sizes_tell_the_numbers_apart(factor, sizes, formula):
    found, _ = formulas(1, times(factor), sizes=sizes, facts={"tau": 0.61, "zero": 0.0, "outputs": 0.62})
    assert str(found[0]) == f"dA[0] = {formula}"


@pytest.mark.parametrize(
    "factor",
    [np.sqrt, lambda N: 2 if N == 4 else 3],
    ids=["sqrt", "by size"],
)
def test_a_formula_that_another_batch_contradicts_is_none(factor):
    assert formulas(1, times(factor))[0] == []


ODD_STEPS = [
    times(2),
    lambda of, i, dH: right(of, i, dH) * (np.arange(len(dH)) == 0)[:, np.newaxis],
    lambda of, i, dH: np.random.default_rng(0).normal(size=dH.shape),
]


@pytest.mark.parametrize("rows", [4, 5])
@pytest.mark.parametrize("step", ODD_STEPS, ids=["twice", "first row", "noise"])
def test_in_a_batch_where_all_is_right_a_formula_gives_that(step, rows):
    assert formulas(1, step, sizes=(4, 4), right=(rows,))[0] == []


def test_a_pattern_may_make_no_difference_elsewhere():
    (found,), _ = formulas(1, lambda of, i, dH: np.clip(right(of, i, dH), -0.02, 0.02), sizes=(4,), right=(5,))
    assert str(found) == "dA[0] = right, clipped at 0.02"


def test_a_hidden_dA_is_known_where_all_is_right():
    assert formulas(1, times(2), sizes=(20,), right=(20,))[0] == []


def test_a_small_contradiction_is_one_too():
    """Beside entries of 0.05 a difference of 1e-5 of them counts, as it does beside entries of 1."""
    assert formulas(1, times(lambda N: 2 if N == 4 else 2 + 1e-5), sizes=(4, 5))[0] == []


@pytest.mark.parametrize(
    ("place", "step", "sizes"),
    [
        (1, times(2), (20,)),
        (0, of_weight(lambda layer, X, dA: -dA.T @ X), (4, 4)),
        (0, of_bias(lambda dA: 2 * dA[0]), (4,)),
    ],
)
def test_so_it_does_for_parameters_and_where_dA_is_unknown(place, step, sizes):
    assert formulas(place, step, sizes=sizes)[0] != []
    assert formulas(place, step, sizes=sizes, right=sizes[:1])[0] == []


def test_a_step_is_explained_by_what_arrives_there():
    """The loss is wrong, too: a formula is made of the numbers that the claim has, not of the right ones."""
    square = {OUTPUT: lambda of, i, A: (A - of.y) ** 2}
    found, meant = formulas(1, lambda of, i, dH: dH * of.values[i + 1], sizes=(4,), name="dA[0]", more=square)
    assert (str(found[0]), meant) == ("dA[0] = dH H", SLOPE)


def test_a_step_beside_a_path_is_explained_by_what_arrives_there():
    square = {OUTPUT: lambda of, i, A: (A - of.y) ** 2}
    found, _ = formulas(1, times(-2), "residual", sizes=(4,), name="dA[0]", more=square)
    assert str(found[0]) == "dA[0] = -2 dH of the other paths - 2 dA @ W[1.0]"


def test_the_loss_of_a_network_with_paths_is_explained():
    found, _ = formulas(OUTPUT, lambda of, i, A: np.abs(A - of.y), "residual", sizes=(4,))
    assert (str(found[0]), found[0].place) == ("dA[2] = |A-Y|", "loss")


@pytest.mark.parametrize(
    ("step", "formula", "meant"),
    [
        (lambda of, i, dH: dH * of.values[i + 1], "dA[0] = dH H", SLOPE),
        (lambda of, i, dH: dH - of.values[i + 1] ** 2, "dA[0] = dH - H^2", SLOPE),
        (times(2), "dA[0] = 2 dA @ W[2]", SENT),
    ],
)
def test_where_dA_is_unknown_its_layers_gradients_are_fitted(step, formula, meant):
    found, of_right = formulas(1, step, sizes=(20,))
    assert (str(found[0]), of_right) == (formula, meant)


def test_a_step_that_no_batch_has_has_no_formula():
    assert formulas(1, times(2), name="dW[0]")[0] == []


def test_a_number_for_each_row_or_column_is_vague():
    (columns,), _ = formulas(1, lambda of, i, dH: right(of, i, dH) * np.arange(1, 7))
    (clipped,), _ = formulas(1, lambda of, i, dH: np.clip(right(of, i, dH), -0.02, 0.02))
    assert clipped.cost < columns.cost == VAGUE
    assert (columns.left, columns.coefficients, columns.factors) == ("dA[0]", (1.0,), (("1",),))


@pytest.mark.parametrize(
    ("place", "step"),
    [
        (1, lambda of, i, dH: dH - of.values[i + 1] ** 2),
        (1, times(2)),
        (1, times(0)),
        (3, lambda of, i, A: (A - of.y) ** 2),
        (3, lambda of, i, A: A * of.y + 3 * (A - of.y)),
    ],
)
def test_a_formula_gives_the_numbers_of_its_step(place, step):
    case = case_of(network_of(), {place: step}, 4, 0)
    (wrong,) = case.found.steps
    with np.errstate(all="ignore"):
        found = formula_of(wrong.name, [case], {}, 1e-8)
        made = dA_of(found[0], case, wrong)
    assert np.allclose(made, wrong.actual, rtol=1e-9, atol=1e-12)


# ---- numbers that coefficients are made of ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "place", "more"),
    [
        ("tanh", "1.", {}),
        ("tanh", "0.", {"width": 6, "inputs": 5}),
        ("tanh", "loss", {"delta": 0.7}),
        ("leaky_relu", "1.", {"negative_slope": 0.2}),
        ("dropout", "1.", {"p": 0.4, "(1-p)": 0.6, "(1-p)^2": 0.36}),
        ("batch norm", "1.", {"width": 6}),
    ],
)
def test_the_numbers_of_a_layer_are_known(layers, place, more):
    loss = functools.partial(hm.losses.huber_loss, delta=0.7, reduction="mean")
    of = BackwardPass(network_of(layers), X[:8], REALS[:8], loss)
    assert known_numbers(of, place, {"eta": 0.01, "zero": 0.0, "outputs": 4}) == pytest.approx(
        {"N": 8, "K": 4, "(N-1)": 7, "eta": 0.01, **more}
    )


def test_of_one_batch_too_another_mask_is_seen():
    found, _ = formulas(1, masked(1 / 0.6), "dropout", sizes=(5,))
    assert str(found[0]) == "dA[0] = 1/(1-p) dH, with another mask than that of the forward pass"


def test_a_dropout_that_drops_nothing_has_no_numbers():
    network = hm.Network(
        [hm.Dense(5, 6, rng=0), hm.Dropout(0.0), hm.Activation("elu", alpha=1.7), hm.Dense(6, 4, rng=1)]
    )
    of = BackwardPass(network, X[:8], REALS[:8], "mse_loss")
    assert set(known_numbers(of, "1.", {})) == {"N", "K", "(N-1)"}
    assert known_numbers(of, "2.", {})["alpha"] == 1.7
