"""Calls that the fuzzer once found to break its rule: an error that names nothing, a wrong number, a warning."""

from __future__ import annotations

import warnings

import numpy as np
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
