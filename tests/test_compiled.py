"""The compiled passes against the NumPy code: random networks, losses and optimizers; threads."""

from __future__ import annotations

import copy
import functools
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from compiled_of_tests import OPTIMIZERS, small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import handmade as hm
from handmade import losses

pytest.importorskip("numba")
from handmade.compiled.tables import ACTIVATIONS as ACTIVATIONS_COMPILED  # needs numba

partial = functools.partial
ACTIVATIONS = [
    *sorted({row.function.__name__ for row in ACTIVATIONS_COMPILED}),
    "softmax",
    "log_softmax",
    ("leaky_relu", {"negative_slope": 0.2}),
    ("elu", {"alpha": 0.7}),
    ("softplus", {"beta": 2.0}),
    ("gelu", {"approximate": "tanh"}),
    ("threshold", {"threshold": 0.1, "value": -0.5}),
    ("hardtanh", {"min_val": -0.5, "max_val": 2.0}),
    ("softshrink", {"lambd": 0.2}),
    ("celu", {"alpha": 0.3}),
]
CLASS_LOSSES = [
    losses.cross_entropy,
    partial(losses.cross_entropy, weight=[0.5, 2.0, 1.0]),
    partial(losses.cross_entropy, label_smoothing=0.1),
    partial(losses.cross_entropy, label_smoothing=0.1, weight=[0.5, 2.0, 1.0], ignore_index=1),
    partial(losses.cross_entropy, ignore_index=2, reduction="sum"),
]
NUMBER_LOSSES = [
    losses.mse_loss,
    losses.half_squared_error,
    losses.l1_loss,
    partial(losses.huber_loss, delta=0.5),
    partial(losses.mse_loss, reduction="sum"),
    partial(losses.binary_cross_entropy_with_logits, pos_weight=[0.5, 1.0, 2.0]),
    losses.cross_entropy,  # of probabilities
]


def layers_of(draw, width: int, depth: int, rng) -> list[hm.Layer]:
    """Draw some layers that keep the width."""
    layers: list[hm.Layer] = []
    for _ in range(draw(st.integers(1, depth))):
        kind = draw(st.sampled_from(["dense", "activation", "activation", "dropout", "batch", "layer", "residual"]))
        if kind == "dense":
            layers.append(hm.Dense(width, width, bias=draw(st.booleans()), rng=rng))
        elif kind == "activation":
            name = draw(st.sampled_from(ACTIVATIONS))
            layers.append(hm.Activation(name) if isinstance(name, str) else hm.Activation(name[0], **name[1]))
        elif kind == "dropout":
            layers.append(hm.Dropout(draw(st.sampled_from([0.0, 0.3])), rng=rng))
        elif kind == "batch":
            layers.append(hm.BatchNorm(width))
        elif kind == "layer":
            layers.append(hm.LayerNorm(width))
        elif depth > 1:
            layers.append(hm.Residual(layers_of(draw, width, depth - 1, rng)))
    return layers or [hm.Dense(width, width, rng=rng)]


@st.composite
def problems(draw):
    """Draw a network, batches, a loss and an optimizer."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    I, width = draw(st.sampled_from([1, 3, 20])), draw(st.sampled_from([2, 5, 33]))
    layers = [
        *([hm.Activation("tanh")] if draw(st.booleans()) else []),
        hm.Dense(I, width, rng=rng),
        *layers_of(draw, width, 3, rng),
        hm.Dense(width, 3, rng=rng),
    ]
    network = hm.Network(layers, dtype=draw(st.sampled_from([np.float64, np.float32])))
    of_classes = draw(st.booleans())
    loss = draw(st.sampled_from(CLASS_LOSSES if of_classes else NUMBER_LOSSES))
    weighted = draw(st.booleans()) and "weight" not in getattr(loss, "keywords", {})
    batches = []
    for N in draw(st.lists(st.sampled_from([2, 7, 40]), min_size=1, max_size=3)):
        y = rng.integers(0, 3, N) if of_classes else rng.random((N, 3)).astype(network.dtype)
        w = rng.random(N).astype(network.dtype) if weighted else None
        batches.append((rng.normal(size=(N, I)).astype(network.dtype), y, w))
    return network, batches, loss, draw(st.sampled_from(OPTIMIZERS))


def amplified_rounding(network, theta, X, y, loss, w):
    """Return how far the gradient moves when every parameter is rounded anew: by one eps of itself, up or down."""
    eps, signs = np.finfo(network.dtype).eps, np.random.default_rng(0).choice([-1, 1], (4, theta.size))
    found = []
    for sign in [np.zeros(theta.size), *signs]:
        other = copy.deepcopy(network)
        other.theta = theta * (1 + eps * sign).astype(network.dtype)
        found.append(other.loss_and_gradient(X, y, loss, sample_weight=w)[1])
    return max(np.abs(one - found[0]).max() for one in found)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(problems())
def test_a_step_is_that_of_the_numpy_code(problem):
    network, batches, loss, make_optimizer = problem
    optimizer, tolerance = make_optimizer(), 2e3 * float(np.finfo(network.dtype).eps)
    step = hm.compile(network, loss, make_optimizer())
    for X, y, w in batches:
        other, theta = copy.deepcopy(network), network.theta.copy()
        value, gradient = hm.compile(copy.deepcopy(network), loss).gradient(X, y, w)
        expected, expected_gradient = other.loss_and_gradient(X, y, loss, sample_weight=w)
        # Sums of at most 40 x 33 terms in another order: some 40 eps, amplified where a normalization divides by
        # a small standard deviation, which shows in the size of the gradient.
        assert value == pytest.approx(expected, rel=tolerance, abs=tolerance)
        scale = 1 + np.abs(expected_gradient).max()
        atol = scale * tolerance + 40 * amplified_rounding(network, theta, X, y, loss, w)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=atol)
        # The update is checked on the compiled gradient: Adam's first step knows its signs alone.
        assert step(X, y, w) == value
        optimizer.step(theta, gradient)
        np.testing.assert_allclose(network.theta, theta, rtol=tolerance, atol=tolerance)
        for name, array in network.state_dict().items():
            if "running" in name:
                np.testing.assert_allclose(array, other.state_dict()[name], rtol=tolerance, atol=tolerance)
        H = network.predict(X)
        np.testing.assert_allclose(step.predict(X), H, rtol=0, atol=tolerance * (1 + np.abs(H).max()))


# ---- exactness -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("logit", [30.0, 50.0, 300.0, 700.0, 1e4])
def test_cross_entropy_keeps_the_digits_of_a_confident_answer(logit):
    network = hm.Network([hm.Dense(2, 2, bias=False)])
    network.theta = [1.0, 0.0, 0.0, 1.0]
    X, y = np.array([[logit, 0.0], [0.0, logit]]), np.array([0, 0])
    loss, gradient = hm.compile(network).gradient(X, y)
    expected, dZ = losses.cross_entropy_value_and_backward(X, y)
    assert loss == pytest.approx(expected, rel=4e-16)
    gradient = gradient.copy()
    alone, _ = hm.compile(network).gradient(X[:1], y[:1])  # log1p(e^-logit), which the textbook's form rounds to 0
    assert alone == pytest.approx(np.log1p(np.exp(-logit)), rel=4e-16, abs=0)
    np.testing.assert_allclose(gradient.reshape(2, 2), dZ.T @ X, rtol=1e-15, atol=0)


# ---- the same arrays as the NumPy code -------------------------------------------------------------------------------


def test_both_forms_take_turns_on_one_network():
    network, step, X, y = small(optimizer=hm.Adam(lr=0.1))
    other, optimizer = copy.deepcopy(network), hm.Adam(lr=0.1)
    for i in range(6):
        if i == 3:
            step.optimizer.load_state_dict(step.optimizer.state_dict())  # new arrays
        step.optimizer.lr = optimizer.lr = 0.1 / (1 + i)
        if i % 2:
            step(X, y)
        else:
            step.optimizer.step(network.theta, network.loss_and_gradient(X, y)[1])
        optimizer.step(other.theta, other.loss_and_gradient(X, y)[1])
    np.testing.assert_allclose(network.theta, other.theta, rtol=1e-9)
    np.testing.assert_allclose(step.optimizer.exp_avg_sq, optimizer.exp_avg_sq, rtol=1e-9)


def test_an_option_set_after_compiling_gets_its_state():
    network, step, X, y = small(optimizer=hm.SGD(lr=0.1))
    step(X, y)
    step.optimizer.momentum = 0.9
    step(X, y)
    assert step.optimizer.momentum_buffer.shape == network.theta.shape


def test_arrays_of_other_kinds_are_converted():
    _, step, X, y = small(dtype=np.float32)
    expected = step.gradient(X, y)[0]
    wide = np.zeros((5, 6), np.float32)
    wide[:, ::2] = X
    readonly = X.copy()
    readonly.flags.writeable = False
    for other in X.astype(np.float64), wide[:, ::2], readonly, X.tolist(), np.asfortranarray(X):
        assert step.gradient(other, y)[0] == expected
        np.testing.assert_array_equal(step.predict(other), step.predict(X))
    for labels in y.astype(np.int32), y.astype(np.uint8), y.tolist():
        assert step.gradient(X, labels)[0] == expected
    assert step.gradient(X, np.eye(2)[y])[0] == pytest.approx(expected, rel=1e-6)  # probabilities


def unaligned(array):
    """Return a copy whose first byte has an odd address."""
    copied = np.ndarray(array.shape, array.dtype, bytearray(array.nbytes + 1), 1)
    copied[...] = array
    return copied


@pytest.mark.parametrize("loss", ["cross_entropy", "mse_loss"])
def test_the_byte_order_of_arrays_is_never_mistaken(loss):
    # Numba tells arrays by a fingerprint, which is the same for unaligned arrays and for those of the other byte order.
    network, step, X, y = small(loss, hm.SGD(0.1))
    other, plain, _, _ = small(loss, hm.SGD(0.1))
    y = y if loss == "cross_entropy" else np.sin(X[:, :2])
    swapped = [array.astype(array.dtype.newbyteorder()) for array in (X, y)]
    for batch in (unaligned(X), unaligned(y)), (X, y), swapped, (X, swapped[1]), (swapped[0], y), (X, y), swapped:
        assert step(*batch) == plain(X, y)
        assert (network.theta == other.theta).all()


def test_predictions_come_in_blocks_of_rows():
    _, step, _, _ = small(sizes=(3, 500, 2))
    X = np.random.default_rng(0).normal(size=(2000, 3))
    np.testing.assert_allclose(step.predict(X), step.network.predict(X), rtol=1e-12, atol=1e-12)


SWITCHED = [
    (partial(hm.RMSprop, lr=0.01), {"centered": True, "momentum": 0.9, "weight_decay": 0.1, "maximize": True}),
    (partial(hm.Adam, lr=0.01), {"amsgrad": True, "weight_decay": 0.1, "maximize": True, "betas": (0.5, 0.9)}),
    (partial(hm.SGD, lr=0.01, momentum=0.5), {"momentum": 0.0, "weight_decay": 0.1, "maximize": True}),
    (partial(hm.SGD, lr=0.01, momentum=0.5), {"nesterov": True}),
    (partial(hm.Adagrad, lr=0.01), {"lr_decay": 0.1, "weight_decay": 0.1, "maximize": True}),
]


@pytest.mark.parametrize(("make", "options"), SWITCHED)
def test_options_switched_in_mid_training_count(make, options):
    network, _, X, y = small()
    for name, value in options.items():
        one, other = make(), make()
        theta, step = network.theta.copy(), hm.compile(network, optimizer=one)
        for setting in value, getattr(one, name), value:
            setattr(one, name, setting)
            setattr(other, name, setting)
            for _ in range(2):
                step(X, y)
                other.step(theta, network.gradient)
        np.testing.assert_allclose(network.theta, theta, rtol=1e-13, err_msg=name)  # 6 steps, each of some 10 roundings


def test_weights_that_are_all_zero_give_the_numpy_codes_loss():
    network, _, X, y = small(sizes=(3, 4, 3))
    loss = partial(losses.cross_entropy, weight=[0.0, 1.0, 1.0], label_smoothing=0.1)
    value, gradient = hm.compile(network, loss).gradient(X, 0 * y)
    gradient = gradient.copy()
    expected, expected_gradient = network.loss_and_gradient(X, 0 * y, loss)
    assert value == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=1e-14 * np.abs(expected_gradient).max())


# ---- threads, and the cache on disk ----------------------------------------------------------------------------------


def test_a_second_thread_in_the_same_step_is_refused():
    network, step, X, y = small()
    with pytest.raises(RuntimeError, match="another thread"):
        network._gradient_writer.run(lambda: step(X, y))
    step(X, y)


def test_threads_train_their_own_networks_and_share_predictions():
    expected = [small(sizes=(3, n, 2)) for n in (4, 40)]
    actual = [small(sizes=(3, n, 2)) for n in (4, 40)]
    shared, results = small()[1], []

    def work(case):
        _, step, X, y = case
        for _ in range(200):
            step(X, y)
            results.append(shared.predict(X))

    for case in expected:
        work(case)
    threads = [threading.Thread(target=work, args=(case,)) for case in actual]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for (one, *_), (other, *_) in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(one.theta, other.theta)
    assert all((results[0] == H).all() for H in results)


@pytest.mark.parametrize("kind", ["*.nbi", "*.nbc"])
@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_damaged_cache_on_disk_is_not_used(kind, content, monkeypatch, tmp_path):
    from handmade.compiled import _jit

    monkeypatch.setattr(_jit.numba.config, "CACHE_DIR", str(tmp_path))
    signature = _jit.types.int64(_jit.types.int64)
    assert _jit._compile(next_number, signature)(1) == 2
    for path in tmp_path.rglob(kind):
        path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"cache on disk to be readable, got .*; delete its files \*next_number\*"):
        assert _jit._compile(next_number, signature)(1) == 2


def next_number(i):
    return i + 1


def test_speed_page_tells_the_lines_of_the_engine():
    page = (Path(__file__).parents[1] / "docs/speed.md").read_text()
    rows = re.findall(r"^\| (.+) \| (\d+) \|", page, re.MULTILINE)
    stated = {tuple(names.replace("\\", "").split(", ")): int(lines) for names, lines in rows if ".py" in names}
    actual = {
        path.name: len(path.read_text().splitlines())
        for path in Path(hm.compile.__code__.co_filename).parent.glob("*.py")
    }
    assert sorted(name for names in stated for name in names) == sorted(actual)
    for names, lines in stated.items():
        assert abs(sum(actual[name] for name in names) - lines) <= 15, names  # rounded to tens, and a few may come
