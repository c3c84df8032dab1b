"""The worked examples of the lecture, by plain Python and by the library: a test per system."""

from __future__ import annotations

import math

import numpy as np
import pytest

from handmade import MLP, SGD, Activation, Dense, Network, delta_rule, fit, trace
from handmade.activations import sigmoid, sigmoid_backward, softmax
from handmade.information import entropy, information, kl_divergence
from handmade.losses import (
    binary_cross_entropy_backward,
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_backward,
    cross_entropy,
    cross_entropy_backward,
    half_squared_error,
    hinge_loss,
    l1_loss,
    mse_loss,
    zero_one_loss,
)

# Numbers such as 0.25 and 1.5 are exact in binary, and so are sums and products of a few: == below is meant.


def s(a):
    """Return the sigmoid of the slides."""
    return 1 / (1 + math.exp(-a))


def linear_unit(*w):
    """yhat = w1 x1 + w2 x2 + ..."""
    network = Network([Dense(len(w), 1, bias=False)])
    network.theta[:] = w
    return network


def chain(w, b):
    """Compute one sigmoid unit per layer, the first with a bias: a1 = w1 x + b, a2 = w2 f1(a1), ..."""
    layers = [Dense(1, 1), Activation("sigmoid")]
    for _ in w[1:]:
        layers += [Dense(1, 1, bias=False), Activation("sigmoid")]
    network = Network(layers)
    network.theta[:] = [w[0], b, *w[1:]]
    return network


def test_one_line_of_code_trains_a_unit():
    """System 2: w = w + (y_n - yhat) x_n, here with the eta of System 7."""
    x, y, eta = [1.0, 2.0, -0.5], [3.0, 4.0, 1.0], 0.25
    w, path = 0.0, [0.0]
    for x_n, y_n in zip(x, y, strict=True):
        w = w + eta * (y_n - w * x_n) * x_n
        path.append(w)
    assert path == [0, 0.75, 2, 1.75]
    columns = np.array([x]).T, np.array([y]).T
    assert delta_rule(columns[0], y, eta=eta, return_path=True).ravel().tolist() == path
    network, options = linear_unit(0.0), {"batch_size": 1, "shuffle": False, "epochs": 1, "progress": False}
    fit(network, *columns, loss="half_squared_error", optimizer=SGD(lr=eta), **options)
    assert network.theta.tolist() == [w]


def test_counts_of_the_3_4_2_network():
    """System 4: 4 + 2 = 6 neurons, 3 x 4 + 4 x 2 = 20 weights, 20 + 4 + 2 = 26 parameters."""
    network = MLP([3, 4, 2])
    assert (network.neuron_count, network.weight_count, network.parameter_count) == (6, 20, 26)
    assert network.theta.shape == network.gradient.shape == (26,)
    shapes = {name: array.shape for name, array in network.state_dict().items()}
    assert shapes == {"0.weight": (4, 3), "0.bias": (4,), "2.weight": (2, 4), "2.bias": (2,)}


@pytest.mark.parametrize(
    ("yhat", "y", "l1", "l2", "hinge"),
    [
        (0.25, 1, 0.75, 0.5625, 0.75),
        (-2.0, 1, 3, 9, 3),
        (3.0, 1, 2, 4, 0),
        (1.0, 1, 0, 0, 0),
        (0.5, -1, 1.5, 2.25, 1.5),
    ],
)
def test_losses_equal_the_lectures(yhat, y, l1, l2, hinge):
    """System 5: |yhat - y|, (yhat - y)^2 and its half, max(0, 1 - y yhat), and 1 where the label is wrong."""
    assert l1_loss([yhat], [y]) == l1
    assert mse_loss([yhat], [y]) == l2
    assert half_squared_error([yhat], [y]) == l2 / 2
    assert hinge_loss([yhat], [y]) == hinge
    label = 1 if yhat >= 0 else -1
    # The slide prints 1[yhat = y], by which a perfect prediction would lose.
    assert zero_one_loss([label], [y]) == (label != y)


def test_small_change_of_a_weight_moves_the_output_by_its_slope():
    """System 6: turning knob w_k by a small dw changes the loss by dL/dw_k dw, for all 26 knobs of 3-4-2."""
    network, dw = MLP([3, 4, 2], activation="sigmoid", rng=0), 1e-5
    x, y = np.array([[0.5, -1.0, 2.0]]), np.array([[1.0, 0.0]])

    def loss_of(theta):
        turned = network.astype(float)
        turned.theta[:] = theta
        return half_squared_error(turned.predict(x), y)

    loss, gradient = network.loss_and_gradient(x, y, "half_squared_error")
    for k in range(26):
        change = loss_of(network.theta + dw * np.eye(26)[k]) - loss
        # What is left is curvature, dw^2 / 2 times a second derivative: nothing here is above 5.
        assert abs(change - gradient[k] * dw) <= 5**2 / 2 * dw**2
        assert abs(gradient[k]) * dw > 5**2 / 2 * dw**2
    downhill = -gradient / np.linalg.norm(gradient)
    others = np.random.default_rng(0).normal(size=(100, 26))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    falls = [loss - loss_of(network.theta + 1e-3 * direction) for direction in [downhill, *others]]
    assert max(falls) == falls[0] > 0  # nothing goes down as fast as the direction opposite of the gradient


def test_smallest_perceptrons_have_the_lectures_gradients():
    """System 7: the "two BP lines" dw_i = -(y - yhat) x_i, and w_i = w_i - eta dw_i, sample by sample."""
    eta, w1, w2 = 0.5, 1.0, -1.0
    network = linear_unit(w1, w2)
    for x1, x2, y in [(3.0, 2.0, 2.0), (0.5, -1.0, 0.25), (-1.0, 0.5, 1.5)]:
        yhat = w1 * x1 + w2 * x2
        dw1, dw2 = -(y - yhat) * x1, -(y - yhat) * x2
        loss, gradient = network.loss_and_gradient([[x1, x2]], [[y]], "half_squared_error")
        assert loss == (y - yhat) ** 2 / 2
        assert gradient.tolist() == [dw1, dw2]
        w1, w2 = w1 - eta * dw1, w2 - eta * dw2
        network.theta -= eta * gradient
        assert network.theta.tolist() == [w1, w2]
    _, gradient = linear_unit(2.0).loss_and_gradient([[3.0]], [[10.0]], "half_squared_error")
    assert gradient.tolist() == [-(10 - 2 * 3) * 3]


def test_chain_of_four_layers_is_one_equation():
    """System 8: y = f4(w4 f3(w3 f2(w2 f1(w1 x + b1)))), the whole network in one line."""
    w1, w2, w3, w4, b1 = 0.25, -0.5, 0.75, 1.5, 0.125
    network = chain([w1, w2, w3, w4], b1)
    for x in (-2.0, 0.0, 0.5, 3.0):
        y = s(w4 * s(w3 * s(w2 * s(w1 * x + b1))))
        assert network.predict([[x]]).item() == pytest.approx(y, rel=1e-15)
    assert (network.neuron_count, network.weight_count, network.parameter_count) == (4, 4, 5)


def test_chain_rule_reuses_computed_factors():
    """System 9: dL/dw3, dL/dw2, dL/dw1, dL/db of three layers, each from the product of the one before."""
    w1, w2, w3, b, x, y = 0.5, -1.0, 2.0, 0.25, 1.5, 1.0
    f1 = s(w1 * x + b)
    f2 = s(w2 * f1)
    f3 = s(w3 * f2)
    prefix = -(y - f3) * f3 * (1 - f3)  # dL/df3 df3/da3
    expected = {"dL/dw3": prefix * f2}
    prefix = prefix * w3 * f2 * (1 - f2)  # ... da3/df2 df2/da2: re-use!
    expected["dL/dw2"] = prefix * f1
    prefix = prefix * w2 * f1 * (1 - f1)  # ... da2/df1 df1/da1: re-use!
    expected |= {"dL/dw1": prefix * x, "dL/db1": prefix * 1}

    network = chain([w1, w2, w3], b)
    traced = trace(network, x, y)
    for name, value in expected.items():
        assert traced[name].item() == pytest.approx(value, rel=1e-14)
    assert [product.name for product in traced.products] == list(expected)
    _, gradient = network.loss_and_gradient([[x]], [[y]], "half_squared_error")
    order = ["dL/dw1", "dL/db1", "dL/dw2", "dL/dw3"]
    assert gradient.tolist() == pytest.approx([expected[name] for name in order], rel=1e-14)


@pytest.mark.parametrize("a", [-3.0, -0.5, 0.0, 0.5, 2.0])
def test_sigmoid_and_derivative_equal_the_lectures(a):
    """System 10: s(a) = 1 / (1 + e^-a), s'(a) = s(a) (1 - s(a)); and where the slide's formulas end."""
    assert sigmoid(np.array(a)) == pytest.approx(s(a), rel=1e-15)
    assert sigmoid_backward(1.0, np.array(a)) == pytest.approx(s(a) * (1 - s(a)), rel=1e-14)
    assert sigmoid(np.array(-800.0)) == 0  # e^800 is too large for a float, and nothing overflows
    assert s(40.0) * (1 - s(40.0)) == 0  # the slide's formula in floating point: 1 - s has lost every digit
    assert sigmoid_backward(1.0, np.array(40.0)) == pytest.approx(math.exp(-40), rel=1e-15)


def test_update_of_the_parameter_vector():
    """System 11: theta <- theta - eta dL/dtheta is w3 <- w3 - eta dL/dw3, and so on; a plus would climb."""
    eta, x, y = 0.5, [[1.5]], [[1.0]]
    network = chain([0.5, -1.0, 2.0], 0.25)
    loss, gradient = network.loss_and_gradient(x, y, "half_squared_error")
    w1, b, w2, w3 = network.theta.tolist()
    dw1, db, dw2, dw3 = gradient.tolist()
    one_by_one = [w1 - eta * dw1, b - eta * db, w2 - eta * dw2, w3 - eta * dw3]
    uphill = chain([w1 + eta * dw1, w2 + eta * dw2, w3 + eta * dw3], b + eta * db)
    fit(network, x, y, loss="half_squared_error", optimizer=SGD(lr=eta), epochs=1, progress=False)
    assert network.theta.tolist() == one_by_one
    assert half_squared_error(network.predict(x), y) < loss < half_squared_error(uphill.predict(x), y)


def test_softmax_cross_entropy_and_entropy_equal_the_lectures():
    """System 12: p = e^x / sum e^x, L = -sum t log p, I = -log p, H = -sum p log p; dL/dx = p - t."""
    x, t = [2.0, 1.0, 0.1], [0.0, 1.0, 0.0]
    powers = [math.exp(x_i) for x_i in x]
    p = [power / sum(powers) for power in powers]
    assert [round(p_i, 3) for p_i in p] == [0.659, 0.242, 0.099]
    assert softmax(np.array(x)).tolist() == pytest.approx(p, rel=1e-15)
    loss = -sum(t_i * math.log(p_i) for t_i, p_i in zip(t, p, strict=True))
    for target in [1], [t]:
        assert cross_entropy([x], target) == pytest.approx(loss, rel=1e-15)
        slopes = [p_i - t_i for p_i, t_i in zip(p, t, strict=True)]
        assert cross_entropy_backward([x], target).ravel().tolist() == pytest.approx(slopes, rel=1e-14)

    assert information(np.array(p)).tolist() == pytest.approx([-math.log(p_i) for p_i in p], rel=1e-15)
    assert entropy([0.5, 0.25, 0.25]) == pytest.approx(1.5 * math.log(2), rel=1e-15)  # one and a half bits
    q = [0.2, 0.5, 0.3]  # cross-entropy: the expected information of p with respect to the distribution q
    crossed = -sum(q_i * math.log(p_i) for q_i, p_i in zip(q, p, strict=True))
    assert cross_entropy([x], [q]) == pytest.approx(crossed, rel=1e-14)
    assert entropy(q) + kl_divergence(q, p) == pytest.approx(crossed, rel=1e-14)


@pytest.mark.parametrize(("a", "y"), [(0.5, 1.0), (0.5, 0.0), (-2.0, 1.0), (3.0, 0.25)])
def test_binary_cross_entropy_and_gradient(a, y):
    """System 12: L = -(y log p + (1 - y) log(1 - p)); the slide's p - y is the slope by the logit."""
    p = s(a)
    expected = -(y * math.log(p) + (1 - y) * math.log(1 - p))
    assert binary_cross_entropy_with_logits([a], [y]) == pytest.approx(expected, rel=1e-14)
    assert binary_cross_entropy_with_logits_backward([a], [y]).item() == pytest.approx(p - y, rel=1e-14)
    assert binary_cross_entropy_backward([p], [y]).item() == pytest.approx((p - y) / (p * (1 - p)), rel=1e-14)
