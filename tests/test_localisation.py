"""Wrong steps found by algebra, and their formulas by regression: on batches small and large, one or many at once."""

from __future__ import annotations

import numpy as np
import pytest

import handmade as hm
from handmade.checking.backward_pass import BackwardPass
from handmade.checking.formulas.patterns import pattern_of
from handmade.checking.localisation import _Search, localise
from handmade.checking.mistakes import mistakes
from handmade.checking.regression import Term, fit

RNG = np.random.default_rng(11)
NETWORK = hm.MLP([5, 6, 4, 3], activation="tanh", rng=0)


def batch(N):
    return RNG.normal(size=(N, 5)), RNG.integers(0, 3, N)


def steps_of(of, gradient):
    return [step.name for step in localise(of, gradient, np.zeros(gradient.size), 1e-7).steps]


@pytest.mark.parametrize("samples", [3, 5, 9])
def test_every_single_mistake_is_placed(samples):
    """More samples than inputs leave dA open; then the blocks below determine the step."""
    of = BackwardPass(NETWORK, *batch(samples))
    truth = of.gradient()
    for mistake in mistakes(of):
        wrong = of.gradient(mistake.steps, 0.05)
        if len(mistake.steps) > 1 or not np.isfinite(wrong).all() or np.abs(wrong - truth).max() < 1e-9:
            continue
        place = next(iter(mistake.steps))
        number = place // 2 * 2
        found = steps_of(of, wrong)
        if place in (1, 3, 5):
            expected = {f"dA[{number}]"}
        else:  # a dense layer: its own gradients, or what it passes down
            expected = {f"{name}[{number}]" for name in ("dW", "db", "dA")} | {f"dA[{number - 2}]"}
        assert found and set(found) <= expected, mistake


def test_many_wrong_steps_are_judged_one_by_one():
    of = BackwardPass(NETWORK, *batch(4))
    every = {m.where: m for m in mistakes(of) if m.name == "activation derivative missing" and len(m.steps) == 1}
    steps = {i: step for mistake in every.values() for i, step in mistake.steps.items()}
    assert steps_of(of, of.gradient(steps)) == ["dA[2]", "dA[0]"]


def planted(of, seed):
    """Return a pass with a wrong step in two of four dense layers, the names of the steps, and the wrong signals."""
    rng = np.random.default_rng(seed)
    steps, names = {}, []

    def noise(array):
        return array + rng.normal(size=array.shape) * np.abs(array).max()

    def of_parameter(name):
        def step(of, i, dH):
            dX = of.layers[i].backward(dH, of.caches[i])
            gradient = getattr(of.layers[i], name)
            gradient[...] = noise(gradient)
            return dX

        return step

    for dense in sorted(rng.choice(4, 2, replace=False), reverse=True):
        kind = rng.choice(["dA", "dW", "db"])
        place = 2 * dense + 1 if kind == "dA" else 2 * dense  # the activation above, or the loss; or the layer itself
        if kind == "dA":
            of_loss = place == len(of.layers)
            right = (
                (lambda of, i, H: of.loss_gradient)
                if of_loss
                else lambda of, i, dH: of.layers[i].backward(dH, of.caches[i])
            )
            steps[place] = lambda of, i, dH, right=right: noise(right(of, i, dH))
        else:
            steps[place] = of_parameter(kind)
        names.append(f"{kind}[{2 * dense}]")
    gradient = of.gradient(steps)
    return gradient, names, {prefix: dA.copy() for prefix, dA in of.incoming.items()}


@pytest.mark.parametrize("seed", range(24))
def test_planted_steps_are_found_with_their_numbers(seed):
    rng = np.random.default_rng(seed)
    network = hm.MLP([6, 5, 7, 5, 4], "tanh", rng=seed)
    of = BackwardPass(network, rng.normal(size=(4, 6)), rng.integers(0, 4, 4))
    gradient, names, signals = planted(of, seed)
    found = localise(of, gradient, np.zeros(gradient.size), 1e-7)
    assert [step.name for step in found.steps] == names
    assert (found.complete, found.undecided, found.rows) == (True, "", 5)
    for prefix, dA in found.actual.items():
        assert np.allclose(dA, signals[prefix], rtol=1e-7, atol=1e-7 * np.abs(signals[prefix]).max())
    for step in found.steps:
        kinds = {"A": "dA", "W": "weight", "b": "bias"}
        assert (step.kind, step.unique, f"{step.prefix}") == (kinds[step.name[1]], True, step.name[3:-1] + ".")
        above = f"dA[{int(step.prefix[:-1]) + 2}]" if step.prefix != "6." else "the loss"
        assert step.source == (above if step.kind == "dA" else f"dA[{step.prefix[:-1]}]")
        path = ("loss",) if step.prefix == "6." else (f"{int(step.prefix[:-1]) + 2}.", f"{int(step.prefix[:-1]) + 1}.")
        assert step.path == (path if step.kind == "dA" else (step.prefix,))


def without_slopes(of):
    """Return a gradient with the activations in place of their derivatives, and the gradients by the outputs."""
    gradient = of.gradient({i: lambda of, i, dH: dH * of.values[i] for i in (1, 3)})
    return gradient, {prefix: array.copy() for prefix, array in of.incoming.items()}


def test_a_step_that_a_large_batch_hides_ends_the_search():
    of = BackwardPass(NETWORK, *batch(400))
    gradient, incoming = without_slopes(of)
    found = localise(of, gradient, np.zeros(gradient.size), 1e-7)
    assert ([step.name for step in found.steps], found.undecided, found.complete) == (["dA[2]"], "dA[2]", False)
    (step,) = found.steps
    assert not step.unique and step.actual is step.right  # nothing is known of the claimed one
    assert found.rows == 4  # the width below the last layer: as many equations as unknowns
    assert list(found.actual) == ["4."]
    given = {prefix: incoming[prefix] for prefix in ("2.", "0.")}
    found = localise(of, gradient, np.zeros(gradient.size), 1e-7, given)
    assert [step.name for step in found.steps] == ["dA[2]", "dA[0]"]
    assert (found.undecided, found.complete, found.ties) == ("", True, [])
    for step in found.steps:
        assert step.unique and step.actual is given[step.prefix]


def test_a_bias_gradient_that_cancels_is_as_exact_as_its_terms():
    """The gradients by the outputs sum to 0 over the samples: what is left is rounding of a tenth of their sizes."""
    X, T = RNG.normal(size=(9, 5)), RNG.normal(size=(9, 3))
    T -= T.mean(axis=0)
    of = BackwardPass(NETWORK, X, T, (lambda H, T: (H * T).sum(), lambda H, T: T))
    truth, terms = of.gradient(), np.abs(T).sum(axis=0).max()
    for error, expected in (0.5, []), (2.0, ["db[4]"]):
        claimed = truth.copy()
        of.network.blocks(claimed)["4.bias"][0] += error * 1e-7 * 0.1 * terms
        found = localise(of, claimed, np.zeros(claimed.size), 1e-7)
        assert [step.name for step in found.steps] == expected


def test_a_function_of_the_batch_is_called_with_few_rows():
    """64 rows hide dA; the function gives the gradient of as few as it takes."""
    sizes = []

    def gradients(parameters, X, y):
        sizes.append(len(X))
        W0, b0, W1, b1, W2, b2 = parameters
        H0 = np.tanh(X @ W0.T + b0)
        H1 = np.tanh(H0 @ W1.T + b1)
        dA2 = (hm.activations.softmax(H1 @ W2.T + b2) - np.eye(3)[y]) / len(X)
        dA1 = dA2 @ W2 - H1**2
        dA0 = dA1 @ W1 - H0**2
        return [dA0.T @ X, dA0.sum(0), dA1.T @ H0, dA1.sum(0), dA2.T @ H1, dA2.sum(0)]

    found = hm.diagnose_gradient(NETWORK, *batch(64), gradients)
    assert found.verdict == "named" and found.formula == "dA[2] = dH - H^2"
    assert [step.split()[0] for step in found.steps] == ["dA[2]", "dA[0]"]
    assert min(sizes) <= 5


def test_the_rows_are_shown_where_nothing_explains():
    X, y = batch(4)
    gradient = BackwardPass(NETWORK, X, y)
    odd = RNG.normal(size=(4, 4))
    wrong = gradient.rerun(incoming={"2.": odd})
    found = hm.diagnose_gradient(NETWORK, X, y, wrong)
    assert (found.verdict, found.step.split()[0]) == ("located", "dA[2]")
    assert np.allclose(found.rows.actual, odd)
    assert "<table>" in found._repr_html_() and "right" in str(found.rows)


def test_a_formula_needs_spare_numbers():
    terms = [Term(f"t{k}", RNG.normal(size=3)) for k in range(6)]
    assert fit(RNG.normal(size=3), terms, {}, 1e-9) == []
    assert fit(RNG.normal(size=40), [Term(f"t{k}", RNG.normal(size=40)) for k in range(30)], {}, 1e-9) == []


@pytest.mark.parametrize(
    ("coefficient", "text"), [(1, "t"), (-1, "-t"), (0.5, "1/2 t"), (1 / 7, "1/N t"), (2 / 7, "2/N t"), (0.3, "0.3 t")]
)
def test_coefficients_are_written_as_known_numbers(coefficient, text):
    t = RNG.normal(size=12)
    assert str(fit(coefficient * t, [Term("t", t)], {"N": 7.0}, 1e-9, "x")[0]) == f"x = {text}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: np.clip(r, -0.5, 0.5), "right, clipped at 0.5"),
        (lambda r: np.round(r, 2), "right, rounded to 2 decimals"),
        (lambda r: r * [1, 2, 3], "right, each column times a number of its own: 1, 2, 3"),
        (lambda r: r[[1, 0, 2, 3]], "right, its rows in the order 1, 0, 2, 3"),
        (lambda r: r[:, [2, 0, 1]], "right, its columns in the order 2, 0, 1"),
        (lambda r: r * [[1], [1], [0], [0]], "right, but rows 2, 3 are 0"),
        (
            lambda r: r * np.minimum(1, 0.7 / np.linalg.norm(r, axis=1, keepdims=True)),
            "right, the norm of each row clipped at 0.7",
        ),
        (lambda r: r**2, ""),
    ],
)
def test_patterns_are_seen(change, message):
    right = np.random.default_rng(3).normal(size=(4, 3))
    assert pattern_of(change(right), right) == message


def test_numbers_in_place_of_zeros_are_seen():
    numbers = np.random.default_rng(3).normal(size=(4, 3))
    right = numbers * [[1], [0], [1], [0]]
    assert pattern_of(numbers, right) == "right, but not 0 where the right one is 0"
    assert pattern_of(numbers + 0.1 * right, right) == ""


# ---- formulas of wrong steps -----------------------------------------------------------------------------------------


def mish(A):
    return A * np.tanh(np.logaddexp(0, A))


def mish_backward(dH, A):
    t = np.tanh(np.logaddexp(0, A))
    return dH * (t + A * (1 - t * t) / (1 + np.exp(-A)))


def wrong_step(layers, place, step, N=5):
    """Return the diagnosis of a backward pass with one step replaced."""
    network = hm.Network(layers)
    theta = np.random.default_rng(1).normal(size=network.theta.size)
    network.theta = network.theta + 0.3 * theta
    X, y = batch(N)
    return hm.diagnose_gradient(network, X, y, BackwardPass(network, X, y).gradient({place: step}))


def test_gamma_forgotten_below_a_batchnorm_is_explained():
    """db is 0 below BatchNorm whatever is wrong above, and says nothing about dA."""

    def without_gamma(of, i, dH):
        dX = of.layers[i].backward(dH / of.layers[i].gamma, of.caches[i])
        of.layers[i].backward(dH, of.caches[i])
        return dX

    layers = [hm.Dense(5, 6, rng=0), hm.BatchNorm(6), hm.Activation("tanh"), hm.Dense(6, 3, rng=1)]
    found = wrong_step(layers, 1, without_gamma)
    assert found.verdict == "named" and [step.split()[0] for step in found.steps] == ["dA[0]"]
    assert found.formula == "dA[0] = inv dH - inv mean(dH) - inv xhat mean(dH xhat)"


def test_an_activation_of_ones_own_is_explained():
    layers = [hm.Dense(5, 6, rng=0), hm.Activation((mish, mish_backward)), hm.Dense(6, 3, rng=1)]
    found = wrong_step(layers, 1, lambda of, i, dH: dH * np.tanh(np.logaddexp(0, of.values[i])))
    assert found.formula == "dA[0] = dH H/A"


@pytest.mark.parametrize(
    ("keep", "formula"), [((0, 1), "dA[0] = dA @ W[2.0]"), ((1, 0), "dA[0] = dH of the other paths")]
)
def test_one_of_two_paths_is_explained(keep, formula):
    """The first layer's activation is the identity, so that dA is dH."""
    chain = [hm.Dense(6, 4, rng=1), hm.Activation("tanh")]
    layers = [hm.Dense(5, 6, rng=0), hm.Activation("identity"), hm.Concatenate(chain), hm.Dense(10, 3, rng=2)]

    def one_path(of, i, dH):
        dX = of.layers[i].backward(dH, of.caches[i])
        return keep[0] * dH[:, :6] + keep[1] * (dX - dH[:, :6])

    assert wrong_step(layers, 2, one_path).formula == formula


def test_a_product_of_two_factors_is_explained():
    layers = [hm.Dense(5, 6, rng=0), hm.Activation("sigmoid"), hm.Dense(6, 3, rng=1)]
    found = wrong_step(layers, 1, lambda of, i, dH: dH * of.values[i + 1] * np.exp(-of.values[i]) * of.values[i])
    assert found.verdict == "named" and found.steps[0].startswith("dA[0]")


def test_a_parameter_clipped_by_norm_is_named():
    X, y = batch(5)
    gradient = BackwardPass(NETWORK, X, y).gradient()
    block = NETWORK.blocks(gradient)["2.weight"]
    block *= 0.01 / np.linalg.norm(block)
    found = hm.diagnose_gradient(NETWORK, X, y, gradient)
    assert [explanation.name for explanation in found.explanations] == ["clipped by norm, to 0.01"]


# ---- the parts of a search -------------------------------------------------------------------------------------------


def search_of(network, X, y, relative=1e-7, **claimed):
    """Return a search in the true gradient, some blocks of which are replaced; names have _ in place of a dot."""
    of = BackwardPass(network, X, y)
    gradient = of.gradient()
    blocks = network.blocks(gradient)
    for name, values in claimed.items():
        blocks[name[1:].replace("_", ".")][...] = values
    return _Search(of, gradient, np.zeros(gradient.size), relative, {}, False)


def test_a_network_without_dense_layers_needs_one_row():
    network = hm.Network([hm.LayerNorm(3), hm.PReLU(3)])
    of = BackwardPass(network, RNG.normal(size=(4, 3)), [0, 1, 2, 0])
    gradient = of.gradient()
    network.blocks(gradient)["1.weight"][:] += 1
    found = localise(of, gradient, np.zeros(gradient.size), 1e-7)
    assert found.rows == 1 and [step.name for step in found.steps] == ["dslope[1]"]


def test_a_bias_gradient_is_evidence_unless_all_of_it_is_zero():
    X, y = batch(4)
    dA = np.ones((4, 3))
    for bias, is_evidence in ([0.0, 0.0, 1.0], True), (0.0, False), (3e-6, False), (5e-6, True):
        assert search_of(NETWORK, X, y, _4_bias=bias)._is_weighed("4.", dA) is is_evidence  # of 4 rows of ones


def test_dA_is_not_recovered_from_rows_that_are_nearly_dependent():
    network = hm.MLP([3, 2], rng=0)
    for smallest, relative, is_recovered in (
        (1e-4, 1e-7, True),
        (5e-6, 1e-7, False),
        (5e-6, 1e-9, True),
        (5e-7, 1e-9, False),
    ):
        X = np.diag([1.0, 1.0, smallest])  # whose condition is 1 / smallest
        search = search_of(network, X, [0, 1, 0], relative)
        dA = search._recovered("0.")
        assert (dA is not None) is is_recovered
        if is_recovered:
            assert np.allclose(dA, search.of.incoming["0."], rtol=1e-5)


def test_equations_are_scaled_by_the_largest_of_their_block():
    X, y = batch(4)
    search = search_of(NETWORK, X, y, _4_bias=[-3.0, 0.0, 1.0], _2_bias=0.0)
    assert search._scale("4.bias") == 3 and search._scale("2.bias") == 1


def test_rows_that_are_zero_have_no_factor_of_their_own():
    right = np.arange(12.0).reshape(4, 3) + 1
    right[1] = 0
    assert pattern_of(0.6 * right, right) == ""
    assert pattern_of(right * [[2], [5], [3], [4]], right).startswith(
        "right, each row times a number of its own: 2, 0, 3"
    )
