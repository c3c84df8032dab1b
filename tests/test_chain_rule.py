"""The chain rule of one sample: factors by plain Python, products by the network, the print word for word."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import re
from itertools import pairwise
from textwrap import dedent

import numpy as np
import pytest
from oracles import assert_close

from handmade import (
    MLP,
    Activation,
    BatchNorm,
    Dense,
    Dropout,
    LayerNorm,
    Network,
    Residual,
    losses,
    trace,
)


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


# ---- the four-layer chain of the slides --------------------------------------------------------------------


def slide_chain(w, b):
    """a1 = w1 x + b, a2 = w2 f1, a3 = w3 f2, y = f4(w4 f3): four weights, one bias, sigmoids (System 8)."""
    layers = [Dense(1, 1), Activation("sigmoid")]
    for _ in range(3):
        layers += [Dense(1, 1, bias=False), Activation("sigmoid")]
    network = Network(layers)
    network.theta[:] = [w[0], b, *w[1:]]
    return network


CHAINS = [
    (0.5, 1.0, [0.25, -0.5, 0.75, 1.5], 0.125),
    (-2.0, 0.0, [1.0, 2.0, -3.0, 0.5], -1.0),
    (3.0, 0.5, [-0.4, 0.9, 1.1, -2.5], 2.0),
]


def by_hand(x, y, w, b):
    """Everything on the slides, by plain Python: the forward pass, each factor, each derivative."""
    a, f = {}, {0: x}
    for n in range(1, 5):
        a[n] = w[n - 1] * f[n - 1] + (b if n == 1 else 0)
        f[n] = sigmoid(a[n])
    factors = {"dL/df4": f[4] - y, "da1/db1": 1.0}
    for n in range(1, 5):
        factors[f"df{n}/da{n}"] = f[n] * (1 - f[n])
        factors[f"da{n}/dw{n}"] = f[n - 1]
        factors[f"da{n}/df{n - 1}"] = w[n - 1]
    return a, f, (f[4] - y) ** 2 / 2, factors


# From the last weight down, as on the slides; in brackets what is "already computed, re-use (propagate)!".
FORMULAS = {
    "dL/dw4": "dL/df4 * df4/da4 * da4/dw4",
    "dL/dw3": "[dL/df4 * df4/da4] * da4/df3 * df3/da3 * da3/dw3",
    "dL/dw2": "[dL/df4 * df4/da4 * da4/df3 * df3/da3] * da3/df2 * df2/da2 * da2/dw2",
    "dL/dw1": "[dL/df4 * df4/da4 * da4/df3 * df3/da3 * da3/df2 * df2/da2] * da2/df1 * df1/da1 * da1/dw1",
    "dL/db1": "[dL/df4 * df4/da4 * da4/df3 * df3/da3 * da3/df2 * df2/da2 * da2/df1 * df1/da1] * da1/db1",
}


@pytest.mark.parametrize(("x", "y", "w", "b"), CHAINS)
def test_every_factor_of_the_slides_chain_is_right(x, y, w, b):
    traced = trace(slide_chain(w, b), x, y)
    a, f, loss, factors = by_hand(x, y, w, b)
    expected = [x] + [value for n in range(1, 5) for value in (a[n], f[n])]
    assert [value.item() for _, value in traced.forward] == pytest.approx(expected, rel=1e-14)
    assert traced.loss == pytest.approx(loss, rel=1e-13)
    assert {product.name: product.formula() for product in traced.products} == FORMULAS
    for product in traced.products:
        parts = [*product.shared, *product.factors]
        for factor in parts:
            # A few roundings each; 1 - f and f - y may lose a digit of f.
            assert factor.value.item() == pytest.approx(factors[factor.name], rel=1e-13), factor.name
        assert product.value.item() == pytest.approx(math.prod(factors[factor.name] for factor in parts), rel=1e-12)
        if product.shared:
            shared = math.prod(factors[factor.name] for factor in product.shared)
            assert product.prefix.item() == pytest.approx(shared, rel=1e-12)


@pytest.mark.parametrize(("x", "y", "w", "b"), CHAINS)
def test_every_printed_line_of_the_slides_chain_is_right(x, y, w, b):
    a, f, loss, factors = by_hand(x, y, w, b)
    lines = [
        "forward",
        f"  x = {x:.7g}",
        f"  a1 = w1 x + b1 = {a[1]:.7g}",
        f"  f1 = sigmoid(a1) = {f[1]:.7g}",
    ]
    for n in (2, 3, 4):
        lines += [f"  a{n} = w{n} f{n - 1} = {a[n]:.7g}", f"  f{n} = sigmoid(a{n}) = {f[n]:.7g}"]
    lines += [f"  L = half_squared_error(f4, y) = {loss:.7g}", "", "backward"]
    for name, formula in FORMULAS.items():
        reused, _, new = formula.rpartition("] * ")
        reused = [factors[part] for part in reused.strip("[").split(" * ")] if reused else []
        new = [factors[part] for part in new.split(" * ")]
        numbers = [f"[{math.prod(reused):.7g}]"] * bool(reused) + [f"{value:.7g}" for value in new]
        lines += [f"  {name} = {formula}", f"         = {' * '.join(numbers)}"]
        lines += [f"         = {math.prod(reused + new):.7g}"]
    assert str(trace(slide_chain(w, b), x, y)).splitlines() == lines


# ---- any chain ---------------------------------------------------------------------------------------------


def squash(A, out=None):
    return np.divide(A, 1 + np.abs(A), out=out)


def squash_backward(dH, H, out=None):
    """1 / (1 + |a|)^2 in terms of h = a / (1 + |a|)."""
    return np.multiply(dH, (1 - np.abs(H)) ** 2, out=out)


LOSSES = {
    "half_squared_error": [0.25, -1.0],
    "mse_loss": [0.25, -1.0],
    "huber_loss": [0.25, -1.0],
    "hinge_loss": [1, -1],
    "cross_entropy": 1,
    "multi_margin_loss": [0],
    "binary_cross_entropy_with_logits": [1.0, 0.5],
}
NETWORKS = {
    "one layer": functools.partial(MLP, [3, 2]),
    "3-4-2": functools.partial(MLP, [3, 4, 2], activation="sigmoid"),
    "tanh out": functools.partial(MLP, [3, 4, 2], activation=["relu", "tanh"]),
    "no activation": functools.partial(MLP, [3, 4, 2], activation=[None, None]),
    "deep": functools.partial(MLP, [3, 5, 1, 4, 2], activation="gelu"),
    "no bias": functools.partial(MLP, [3, 4, 2], activation="silu", bias=False),
    "dropout": functools.partial(MLP, [3, 4, 2], activation="softplus", dropout=0.5),
    "own activation": functools.partial(MLP, [3, 4, 2], activation=(squash, squash_backward)),
    "options": lambda **options: Network(
        [Dense(3, 2, rng=options["rng"]), Activation("leaky_relu", negative_slope=0.25)],
        dtype=options["dtype"],
    ),
}
SAMPLE = np.array([0.5, -1.0, 2.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("architecture", NETWORKS)
def test_the_products_are_the_gradient_of_the_network(architecture, loss, dtype):
    network = NETWORKS[architecture](rng=3, dtype=dtype)
    traced = trace(network, SAMPLE, LOSSES[loss], loss)
    y = np.reshape(LOSSES[loss], 1 if np.size(LOSSES[loss]) == 1 else (1, 2))
    value, gradient = network.loss_and_gradient(SAMPLE[np.newaxis], y, loss, training=False)
    assert traced.loss == value
    blocks = network.blocks(gradient)
    numbers = {index: n for n, index in enumerate(dict.fromkeys(name.split(".")[0] for name in blocks), 1)}
    assert len(traced.products) == len(blocks)
    for name, block in blocks.items():
        index, kind = name.split(".")
        letter = "b" if kind == "bias" else "w" if block.size == 1 else "W"
        actual = traced[f"dL/d{letter}{numbers[index]}"]
        assert actual.dtype == dtype
        # At most four layers of at most five terms and a slope each, taken in another order.
        assert_close(actual, block, operations=4 * 8)


def names(factors):
    return [factor.name for factor in factors]


def all_but_the_last(product):
    """Return the product of everything but its last factor: matrices from the right, vectors entry by entry."""
    if product.shared:
        value, factors = product.prefix, product.factors
    else:
        value, factors = product.factors[0].value, product.factors[1:]
    for factor in factors[:-1]:
        value = value @ factor.value if factor.value.ndim == 2 else value * factor.value
    return value


@pytest.mark.parametrize("architecture", NETWORKS)
def test_what_is_re_used_is_what_the_layer_above_has_computed(architecture):
    traced = trace(NETWORKS[architecture](rng=3, dtype=np.float64), SAMPLE, [0.25, -1.0])
    weights = [product for product in traced.products if not product.name.startswith("dL/db")]
    assert weights[0].shared == ()
    for above, below in pairwise(weights):
        assert names(below.shared) == names([*above.shared, *above.factors[:-1]])
        assert_close(below.prefix, all_but_the_last(above))
    for product in weights:
        assert_close(product.value, np.outer(all_but_the_last(product), product.factors[-1].value))
        assert product.factors[-1].name == product.name.replace("dL", f"da{product.name[-1]}")


@pytest.mark.parametrize("architecture", [name for name in NETWORKS if name != "no bias"])
def test_a_bias_re_uses_what_stands_beside_its_weight(architecture):
    traced = trace(NETWORKS[architecture](rng=3, dtype=np.float64), SAMPLE, [0.25, -1.0])
    for weight, bias in zip(traced.products[::2], traced.products[1::2], strict=True):
        assert names(bias.shared) == names([*weight.shared, *weight.factors[:-1]])
        assert_close(bias.prefix, all_but_the_last(weight))
        n = bias.name[-1]
        assert [(factor.name, factor.value.tolist()) for factor in bias.factors] == [(f"da{n}/db{n}", [1.0])]
        assert np.array_equal(bias.value, bias.prefix)


# ---- printed -----------------------------------------------------------------------------------------------


def one_weight(w):
    network = Network([Dense(1, 1, bias=False)])
    network.theta[:] = w
    return network


def test_the_print_of_the_smallest_perceptron():
    """yhat = w x with w = 2, x = 3, y = 10: dL/dw = -(y - yhat) x = -(10 - 6) 3 = -12 (System 7)."""
    assert str(trace(one_weight(2.0), 3.0, 10.0)) == dedent(
        """\
        forward
          x = 3
          a1 = w1 x = 6
          L = half_squared_error(a1, y) = 8

        backward
          dL/dw1 = dL/da1 * da1/dw1
                 = -4 * 3
                 = -12"""
    )


def test_the_print_of_the_3_4_2_network():
    """All weights and biases 1/2: a1 = 1/2 (1 + 0 + 1) + 1/2 = 3/2, a2 = 1/2 (4 f1) + 1/2."""
    network = MLP([3, 4, 2], activation="sigmoid")
    network.theta[:] = 0.5
    assert str(trace(network, [1.0, 0.0, 1.0], [1.0, 0.0])) == dedent(
        """\
        forward
          x = (1, 0, 1)
          a1 = W1 x + b1 = (1.5, 1.5, 1.5, 1.5)
          f1 = sigmoid(a1) = (0.8175745, 0.8175745, 0.8175745, 0.8175745)
          a2 = W2 f1 + b2 = (2.135149, 2.135149)
          L = half_squared_error(a2, y) = 2.923712

        backward
          dL/dW2 = dL/da2 * da2/dW2
            dL/da2 = (1.135149, 2.135149)
            da2/dW2 = (0.8175745, 0.8175745, 0.8175745, 0.8175745)
            dL/dW2 =
                 0.9280688   0.9280688   0.9280688   0.9280688
                  1.745643    1.745643    1.745643    1.745643
          dL/db2 = [dL/da2] * da2/db2
            [re-used] = (1.135149, 2.135149)
            da2/db2 = 1
            dL/db2 = (1.135149, 2.135149)
          dL/dW1 = [dL/da2] * da2/df1 * df1/da1 * da1/dW1
            [re-used] = (1.135149, 2.135149)
            da2/df1 =
                       0.5         0.5         0.5         0.5
                       0.5         0.5         0.5         0.5
            df1/da1 = (0.1491465, 0.1491465, 0.1491465, 0.1491465)
            da1/dW1 = (1, 0, 1)
            dL/dW1 =
                 0.2438767           0   0.2438767
                 0.2438767           0   0.2438767
                 0.2438767           0   0.2438767
                 0.2438767           0   0.2438767
          dL/db1 = [dL/da2 * da2/df1 * df1/da1] * da1/db1
            [re-used] = (0.2438767, 0.2438767, 0.2438767, 0.2438767)
            da1/db1 = 1
            dL/db1 = (0.2438767, 0.2438767, 0.2438767, 0.2438767)"""
    )


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        ("mse_loss", "L = mse_loss(a1, y)"),
        (losses.l1_loss, "L = l1_loss(a1, y)"),
        ((losses.l1_loss, losses.l1_loss_backward), "L = l1_loss(a1, y)"),
        (functools.partial(losses.huber_loss, delta=2.0), "L = huber_loss(a1, y"),
    ],
    ids=["name", "function", "pair", "partial"],
)
def test_the_loss_is_printed_by_its_name(loss, formula):
    traced = trace(one_weight(2.0), 3.0, 10.0, loss)
    assert traced.loss_formula.startswith(formula)
    assert "0x" not in str(traced)  # no address of a Python object
    assert repr(traced) == str(traced)


def test_a_derivative_by_its_name():
    traced = trace(slide_chain([1, 2, 3, 4], 5), 0.5, 1.0)
    assert traced["dL/dw3"].shape == (1, 1)
    with pytest.raises(KeyError, match="dL/dw4, dL/dw3, dL/dw2, dL/dw1, dL/db1; got 'dL/dw5'"):
        traced["dL/dw5"]


# ---- what stays --------------------------------------------------------------------------------------------


def test_a_trace_keeps_its_numbers_when_training_goes_on():
    network, x, y = MLP([3, 4, 2], rng=0), SAMPLE.copy(), np.array([0.25, -1.0])
    traced = trace(network, x, y)
    before = str(traced)
    network.theta += 1.0
    x += 1.0
    y += 1.0
    assert str(traced) == before


def test_a_trace_changes_nothing():
    network, untouched = MLP([3, 4, 2], dropout=0.5, rng=0), MLP([3, 4, 2], dropout=0.5, rng=0)
    x = SAMPLE.copy()
    trace(network, x, [0.25, -1.0])
    assert np.array_equal(x, SAMPLE)
    assert np.array_equal(network.theta, untouched.theta)
    assert np.array_equal(network.gradient, untouched.gradient)
    one, other = (n.loss_and_gradient([SAMPLE], [1])[0] for n in (network, untouched))
    assert one == other  # the dropout masks go on as if nothing had happened


def test_a_trace_cannot_be_changed():
    traced = trace(MLP([3, 4, 2], rng=0), SAMPLE, [0.25, -1.0])
    product = traced.products[0]
    for part, field in (traced, "loss"), (product, "name"), (product.factors[0], "name"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, field, None)


def test_a_notebook_shows_every_product():
    traced = trace(MLP([3, 4, 2], rng=0), SAMPLE, [0.25, -1.0])
    html = traced._repr_html_()
    assert html.startswith("<table>")
    assert [product.name for product in traced.products if product.name not in html] == []


def test_a_notebook_shows_a_table_for_each_pass():
    """Arrays to four digits, numbers to seven; the derivative by the second weight is -0, and shown as 0."""
    network = MLP([2, 1], bias=False)
    network.theta = [0.123456, -2.0]
    html = trace(network, [1 / 3, 0.0], 1.0)._repr_html_()
    assert "</table>\n<table>" in html
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    assert [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows] == [
        ["forward", "formula", "value"],
        ["x", "", "[[0.3333, 0.    ]]"],
        ["a1", "W1 x", "0.041152"],
        ["L", "half_squared_error(a1, y)", "0.4596947"],
        ["backward", "product, [re-used]", "value"],
        ["dL/dW1", "dL/da1 * da1/dW1", "[[-0.3196,  0.    ]]"],
    ]


def test_an_activation_of_ones_own_is_printed_by_its_name():
    def square(A):
        return A * A

    network = Network([Dense(1, 1, rng=0), Activation((square, lambda dH, A: 2 * A * dH))])
    assert "f1 = square(a1)" in str(trace(network, 2.0, 1.0))


# ---- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layers",
    [
        [Activation("tanh")],
        [Activation("tanh"), Dense(3, 2)],
        [Dense(3, 2), Activation("tanh"), Activation("relu")],
        [Dense(3, 2), Activation("softmax")],
        [Dense(3, 2), Activation("log_softmax")],
        [Dense(3, 2), BatchNorm(2)],
        [Dense(3, 2), LayerNorm(2), Dense(2, 2)],
        [Dense(3, 3), Residual([Dense(3, 3)]), Dense(3, 2)],
    ],
    ids=["alone", "first", "two", "softmax", "log softmax", "batch norm", "layer norm", "residual"],
)
def test_other_layers_are_refused(layers):
    with pytest.raises(ValueError, match="trace: expected Dense layers, each with at most one elementwise"):
        trace(Network(copy.deepcopy(layers)), SAMPLE, [0.0, 1.0])  # a layer belongs to one network


def test_what_is_no_network_of_dense_layers_is_refused():
    with pytest.raises(TypeError, match=r"^network: expected a Network, got list; wrap layers"):
        trace([Dense(3, 2)], SAMPLE, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"^trace: expected at least one Dense layer, got Network\(\[Dropout"):
        trace(Network([Dropout(0.5)]), SAMPLE, SAMPLE, "mse_loss")


@pytest.mark.parametrize(
    ("x", "y", "loss", "error", "match"),
    [
        ([1.0, 2.0], [0, 1], "mse_loss", ValueError, r"X: expected shape \(N, 3\).*\(1, 2\)"),
        ([[1.0], [2.0, 3.0]], [0, 1], "mse_loss", ValueError, "^x: expected an array"),
        (1.0, [0, 1], "mse_loss", ValueError, r"X: expected shape \(N, 3\)"),
        (np.ones((2, 3)), [0, 1], "mse_loss", ValueError, "x: expected one sample, got 2"),
        (np.ones((0, 3)), [0, 1], "mse_loss", ValueError, r"X: expected shape \(N, 3\) with N at least 1"),
        (np.ones((1, 1, 3)), [0, 1], "mse_loss", ValueError, r"X: expected shape \(N, 3\)"),
        ([1.0, np.nan, 2.0], [0, 1], "mse_loss", ValueError, "X: expected finite numbers"),
        (["a", "b", "c"], [0, 1], "mse_loss", TypeError, "X: expected numbers"),
        (
            SAMPLE,
            [0, 1, 2],
            "mse_loss",
            ValueError,
            r"y: expected one class index or 2 target values, got shape \(3,\)",
        ),
        (SAMPLE, [], "mse_loss", ValueError, r"y: expected .*got shape \(0,\)"),
        (SAMPLE, [0, np.nan], "mse_loss", ValueError, "y: expected finite numbers"),
        (SAMPLE, 1, "mse_loss", ValueError, "y: expected the shape"),
        (SAMPLE, ["a", "b"], "mse_loss", TypeError, "y: expected numbers"),
        (SAMPLE, 2, "cross_entropy", ValueError, "from 0 to 1, got 2"),
        (SAMPLE, 1.0, "cross_entropy", TypeError, "integer class indices"),
        (SAMPLE, [0, 1], "squared", ValueError, "loss: expected one of"),
        (SAMPLE, [0, 1], "zero_one_loss", TypeError, "zero_one_loss has no gradient"),
        (SAMPLE, [0, 1], functools.partial(losses.mse_loss, reduction="none"), ValueError, "one number"),
    ],
)
def test_what_does_not_fit_is_refused(x, y, loss, error, match):
    network = Network([Dense(3, 4, rng=0), Activation("tanh"), Dropout(0.5, rng=0), Dense(4, 2, rng=1)])
    with pytest.raises(error, match=match):
        trace(network, x, y, loss)
