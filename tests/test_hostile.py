"""Calls that the fuzzer once found to break its rule: an error that names nothing, a wrong number, a warning."""

from __future__ import annotations

import fractions
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import handmade as hm
from handmade import export, grading, summary

X = np.random.default_rng(0).normal(size=(6, 3))
Y = np.arange(6) % 2
HUGE = 10**400


def network():
    return hm.MLP([3, 4, 2], "tanh", rng=0)


def square(theta):
    return float(theta @ theta)


REFUSED = {
    "find_lr": (lambda: hm.find_lr(3.0, X, Y), TypeError, "network"),
    "summarize": (lambda: summary.summarize(None), TypeError, "network"),
    "NetworkLoss": (lambda: hm.NetworkLoss("relu", X, Y), TypeError, "network"),
    "huge count": (lambda: summary.summarize(network(), HUGE), ValueError, "batch_size"),
    "last_epoch": (lambda: hm.StepLR(hm.SGD(), 2, last_epoch=HUGE), ValueError, "last_epoch"),
    "T_mult": (lambda: hm.CosineAnnealingWarmRestarts(hm.SGD(), 2, HUGE), ValueError, "T_mult"),
    "path to C": (lambda: export.to_c(network(), 3), TypeError, "path"),
    "path to ONNX": (lambda: export.to_onnx(network(), 1j), TypeError, "path"),
    "softmax": (lambda: export.to_c(network(), softmax=np.ones(3)), TypeError, "softmax"),
    "monitor": (lambda: hm.EarlyStopping(monitor=np.True_), TypeError, "monitor"),
    "compile": (lambda: hm.fit(network(), X, Y, compile=np.ones(3)), ValueError, "compile"),
    "metrics": (lambda: hm.fit(network(), X, Y, metrics=-0.0), TypeError, "metrics"),
    "early_stopping": (lambda: hm.fit(network(), X, Y, early_stopping=0.5), TypeError, "early_stopping"),
    "layer width": (lambda: hm.RMSNorm(2).forward(X), ValueError, "X"),
    "slopes' width": (lambda: hm.PReLU(2).forward(X), ValueError, "X"),
    "dtype": (lambda: hm.Network([hm.Dense(3, 2)], dtype=np.ones(3)), TypeError, "dtype"),
    "threshold": (lambda: hm.activations.softplus(X, threshold=np.ones(3)), TypeError, "threshold"),
    "beta": (lambda: hm.losses.smooth_l1_loss(X, X, beta=np.ones(3)), TypeError, "beta"),
    "reduction": (lambda: hm.losses.kl_div(X, np.abs(X), reduction=np.ones(3)), ValueError, "reduction"),
    "turns": (lambda: hm.data.spirals(4, turns=1e308), ValueError, "turns"),
    "order of labels": (
        lambda: hm.train_test_split(X[:4], np.array(["a", 1.5, "b", 2], object), 0.5, stratify=True),
        TypeError,
        "y",
    ),
    "theta": (lambda: hm.numerical_gradient(square, HUGE), TypeError, "theta"),
    "step": (lambda: hm.numerical_gradient(square, np.ones(2), step=HUGE), ValueError, "step"),
    "masked claim": (lambda: hm.check_gradient(square, np.ones(2), np.ma.array([2.0, 2.0])), TypeError, "gradient"),
    "huge claim": (lambda: hm.check_gradient(square, np.ones(2), HUGE), TypeError, "gradient"),
    "progress of a check": (lambda: hm.check_gradient(network(), X, Y, progress=1.0), TypeError, "progress"),
    "rng of a check": (lambda: hm.check_gradient(network(), X, Y, rng=(0.9,)), TypeError, "rng"),
    "facts": (lambda: hm.diagnose_gradient(network(), X, Y, facts=2), TypeError, "facts"),
    "learning_rate": (lambda: hm.diagnose_gradient(network(), X, Y, learning_rate=""), TypeError, "learning_rate"),
    "points": (lambda: grading.Exercise(network(), X, Y, points=slice(3)), TypeError, "points"),
    "limits": (lambda: grading.Exercise(network(), X, Y, limits=0.1), TypeError, "limits"),
    "forbidden": (lambda: grading.Exercise(network(), X, Y, forbidden=2), TypeError, "forbidden"),
    "milestones": (lambda: hm.MultiStepLR(hm.SGD(), np.array(2)), TypeError, "milestones"),
    "calls of lr_lambda": (lambda: hm.MultiplicativeLR(hm.SGD(), abs, last_epoch=2**31), ValueError, "last_epoch"),
    "huge fraction": (lambda: hm.SGD(lr=fractions.Fraction(HUGE, 3)), ValueError, "lr"),
    "validation": (lambda: hm.fit(network(), X, Y, validation=-HUGE), ValueError, "validation"),
    "class_weight": (lambda: hm.fit(network(), X, Y, class_weight=[HUGE, 1]), ValueError, "class_weight"),
    "metric": (lambda: hm.fit(network(), X, Y, metrics=[lambda H, y: HUGE]), TypeError, "metrics"),
    "metric of a plateau": (lambda: hm.ReduceLROnPlateau(hm.SGD()).step(HUGE), ValueError, "metrics"),
    "metrics of a plateau": (lambda: hm.ReduceLROnPlateau(hm.SGD()).step(np.ones(3)), TypeError, "metrics"),
    "digits that are not printed": (lambda: summary.summarize(network(), -(10**5000)), ValueError, "batch_size"),
    "limit of a sandbox": (lambda: grading.Limits(seconds=HUGE), ValueError, "seconds"),
    "path of a network": (lambda: hm.save(network(), None), TypeError, "path"),
    "metadata of a network": (lambda: hm.save(network(), "n.npz", metadata=[1]), TypeError, "metadata"),
    "names of weights": (lambda: hm.from_torch({0: X}), TypeError, "source"),
    "width of a layer": (lambda: hm.Dense(2, 2).forward(X), ValueError, "X: expected shape"),
    "weights of a layer": (lambda: setattr(hm.Dense(3, 2), "W", np.full((2, 3), "a")), TypeError, "W"),
    "masked gradient": (
        lambda: network().backward(np.ma.ones((6, 2)), network().forward(X)[1]),
        TypeError,
        "dH: expected an array without a mask",
    ),
    "vector of text": (lambda: network().blocks(np.full(26, "a")), TypeError, "vector"),
    "theta of a loss": (lambda: hm.NetworkLoss(network(), X, Y)(np.ones(1)), ValueError, "theta"),
    "masked indices": (
        lambda: hm.numerical_gradient(square, np.ones(2), indices=np.ma.array([0])),
        TypeError,
        "indices",
    ),
    "weights by no sequence": (lambda: hm.fit(network(), X, Y, class_weight={1.0, 2.0}), TypeError, "class_weight"),
    "checkpoint": (lambda: hm.fit(network(), X, Y, checkpoint=""), ValueError, "checkpoint"),
    "resolution": (
        lambda: hm.plots.decision_boundary(hm.MLP([2, 2]), X[:, :2], Y, resolution=2**31),
        ValueError,
        "resolution",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_calls_are_refused_by_name(name):
    call, error, word = REFUSED[name]
    with pytest.raises(error, match=f"^{word}"):
        call()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"beta_1": True}, "beta_1"),
        ({"beta_2": 1.0}, "beta_2"),
        ({"epsilon": ""}, "epsilon"),
        ({"tol": HUGE}, "tol"),
        ({"learning_rate_init": np.inf}, "learning_rate_init"),
        ({"solver": 1j}, "solver"),
        ({"random_state": 1j}, "random_state"),
        ({"callbacks": 2}, "callbacks"),
        ({"progress": 1.0}, "progress"),
        ({"shuffle": np.ones(3)}, "shuffle"),
        ({"verbose": np.ones(3)}, "verbose"),
        ({"callbacks": np.ones(3)}, "callbacks"),
        ({"solver": slice(3)}, "solver"),
        ({"batch_size": np.ones(3)}, "batch_size"),
        ({"epsilon": np.inf}, "epsilon"),
        ({"class_weight": [1, 2]}, "class_weight"),
        ({"class_weight": {0: "a", 1: 2}}, "class_weight"),
        ({"class_weight": {"a": 2}}, "class_weight"),
        ({"class_weight": np.ones(3)}, "class_weight"),
    ],
)
def test_estimators_refuse_options_by_name(options, name):
    with pytest.raises((ValueError, TypeError), match=f"^{name}"):
        hm.estimators.MLPClassifier((4,), **options).fit(X, Y)


def test_estimators_read_tensors_and_refuse_dates():
    unit = hm.estimators.PerceptronClassifier(random_state=0)
    expected = unit.fit(X, Y).predict(X)
    assert np.array_equal(unit.fit(torch.tensor(X, requires_grad=True), Y).predict(X), expected)
    with pytest.raises(TypeError, match=r"^X: expected numbers, got dates"):
        unit.fit(X.astype("datetime64[s]"), Y)
    with pytest.raises(TypeError, match=r"^fit_intercept"):
        hm.estimators.PerceptronClassifier(fit_intercept=()).fit(X, Y)
    with pytest.raises(ValueError, match=r"^X, y: expected numbers that float64 can hold"):
        unit.fit([[HUGE]] * 6, Y)


@pytest.mark.parametrize("make", [hm.estimators.MLPClassifier, hm.estimators.PerceptronClassifier])
def test_estimators_name_data_with_missing_values(make):
    rows = X.astype(object)
    rows[2, 1] = pd.NA
    for y in (pd.Series([0, 1, 0, 1, 0, pd.NA], dtype=object), np.array(["a", "b"] * 2 + ["a", pd.NA], object)):
        with pytest.raises(ValueError, match=r"^y: expected no missing values, got pandas\.NA"):
            make().fit(X, y)
    with pytest.raises(ValueError, match=r"\by\b"):
        make().fit(X, pd.NA)
    with pytest.raises(ValueError, match=r"^X: expected no missing values"):
        make().fit(rows, Y)
    with pytest.raises(ValueError, match=r"^X: expected no missing values"):
        make().fit(pd.DataFrame(rows), Y)
    with pytest.raises(ValueError, match=r"^classes: expected no missing values"):
        hm.estimators.MLPClassifier().partial_fit(X, Y, classes=[0, 1, pd.NA])


@pytest.mark.parametrize(
    "make",
    [
        lambda o: hm.ExponentialLR(o, 1e308),
        lambda o: hm.StepLR(o, 1, 1e308),
        lambda o: hm.MultiStepLR(o, [1, 2, 3], 1e308),
        lambda o: hm.CyclicLR(o, 0.1, 0.2, mode="exp_range", gamma=1e308, cycle_momentum=False),
    ],
)
def test_schedules_whose_powers_overflow_name_gamma(make):
    schedule = make(optimizer := hm.SGD(lr=0.1))
    with pytest.raises(ValueError, match=r"^gamma: expected "):
        for _ in range(4):
            before = schedule.t, optimizer.lr
            schedule.step()
    assert (schedule.t, optimizer.lr) == before


def test_steps_without_eps_warn_of_nothing():
    theta = np.array([1.0, 1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hm.Adagrad(eps=-0.0, weight_decay=1e-320).step(theta, np.array([0.0, 3.0]))
    assert theta[0] == -np.inf
    assert theta[1] < 1


def test_gradients_in_pairs_of_array_likes_are_read():
    net = network()
    blocks = [block.copy() for block in net.blocks(net.loss_and_gradient(X, Y)[1]).values()]
    pairs = [(ArrayLike(W), ArrayLike(b)) for W, b in zip(blocks[::2], blocks[1::2], strict=True)]
    mixed = [tuple(blocks[:2]), pairs[1]]
    for claim in (pairs, mixed, [ArrayLike(block) for block in blocks], tuple(map(ArrayLike, blocks))):
        assert hm.check_gradient(net, X, Y, claim)
    blocks[2][0, 0] += 1
    assert not hm.check_gradient(net, X, Y, pairs)


def test_a_gradient_that_is_not_returned_is_wrong():
    assert "not returned" in str(hm.diagnose_gradient(square, np.ones(2), None))


def test_half_precision_and_large_slopes_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hm.activations.softsign(np.float16(3)) == np.float16(0.75)
        assert hm.Activation("leaky_relu", negative_slope=1e308).options == {"negative_slope": 1e308}


class ArrayLike:
    """An object that only NumPy's protocol turns into an array."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize("dress", [lambda a: torch.tensor(a, requires_grad=True), pd.DataFrame, np.ndarray.tolist])
def test_arrays_of_any_kind_are_read_at_every_door(dress):
    net, dH = network(), np.cos(X[:, :2])
    expected = net.backward(dH, net.forward(X)[1])
    assert np.array_equal(net.backward(dress(dH), net.forward(dress(X))[1]), expected)
    of_list = hm.losses.loss_and_backward("mse_loss", dress(X), dress(X + 1))
    np.testing.assert_array_equal(of_list[1], hm.losses.mse_loss_backward(X, X + 1))
    net.layers[0].W = dress(2 * net.layers[0].W)
    assert np.array_equal(net.layers[0].W, 2 * network().layers[0].W)
    net.theta = network().theta
    theta, weights = torch.tensor(net.theta, requires_grad=True), np.array([1.0, 2.0])
    assert hm.NetworkLoss(net, X, Y)(theta) == hm.NetworkLoss(net, X, Y)(net.theta)
    assert len(net.blocks(theta)) == 4
    assert str(hm.trace(net, torch.tensor(X[0], requires_grad=True), [1.0, 0.0])) == str(
        hm.trace(net, X[0], [1.0, 0.0])
    )
    options = dict(epochs=1, rng=0, progress=False)
    losses = [hm.fit(network(), X, Y, class_weight=w, **options).loss for w in (weights, torch.tensor(weights))]
    assert losses[0] == losses[1]


def unaligned(array):
    buffer = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    buffer[...] = array
    return buffer


@pytest.mark.parametrize(
    "dress",
    [
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: torch.tensor(a, requires_grad=a.dtype.kind == "f"),
        unaligned,
        ArrayLike,
        np.ndarray.tolist,
        lambda a: np.asarray(a).view(type("Own", (np.ndarray,), {})),
    ],
    ids=["other byte order", "tensor", "unaligned", "array-like", "list", "subclass"],
)
def test_compiled_steps_read_arrays_of_any_kind(dress):
    pytest.importorskip("numba")
    weight = np.arange(1.0, 7.0)
    steps = [hm.compile(network(), "cross_entropy", hm.SGD(lr=0.1)) for _ in range(2)]
    losses = steps[0](X, Y, weight), steps[1](dress(X), dress(Y), dress(weight))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-14)  # BLAS may sum in another order
    np.testing.assert_allclose(steps[1].predict(dress(X)), steps[0].predict(X), rtol=1e-12)


def test_compiled_steps_refuse_masked_arrays():
    pytest.importorskip("numba")
    step = hm.compile(network(), "cross_entropy", hm.SGD(lr=0.1))
    before, masked = step.network.theta.copy(), np.ma.array(X, mask=X > 0)
    for call in (lambda: step(masked, Y), lambda: step.predict(masked), lambda: step(X, Y, np.ma.ones(6))):
        with pytest.raises(TypeError, match="expected an array without a mask"):
            call()
    with pytest.raises(ValueError, match=r"^X: expected shape \(N, 3\)"):
        step(np.float64(3), Y)
    assert np.array_equal(step.network.theta, before)
