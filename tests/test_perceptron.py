"""The perceptron against the rule of the slide, taken one sample at a time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from handmade import perceptron
from handmade.metrics import accuracy
from handmade.perceptron import Perceptron, delta_rule

EPS = np.finfo(np.float64).eps
GATES = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


def naive(X, y, *, bias, max_epochs, w=None, b=0.0):
    """Slide System 1, word for word: the oracle."""
    w = np.zeros(X.shape[1]) if w is None else w.copy()
    mistakes_per_epoch = []
    while len(mistakes_per_epoch) < max_epochs and mistakes_per_epoch[-1:] != [0]:
        mistakes_per_epoch.append(0)
        for n in range(len(X)):
            x, label = np.array(X[n], dtype=np.float64), int(y[n])
            s = w @ x + b
            yhat = 1 if s >= 0 else -1
            if yhat != label:
                w += label * x
                if bias:
                    b += label
                mistakes_per_epoch[-1] += 1
    return w, b, mistakes_per_epoch


def assert_same(unit, expected):
    w, b, mistakes_per_epoch = expected
    assert unit.mistakes_per_epoch == mistakes_per_epoch
    assert unit.w.tobytes() == w.tobytes()
    assert (unit.b, unit.w.dtype, type(unit.b)) == (b, np.float64, float)


def separable(rng, shape, flipped=0.0):
    """Points on both sides of a plane through zero, each 1/2 or more away, some with the wrong label."""
    direction = rng.normal(size=shape[1])
    direction /= np.linalg.norm(direction)
    X = rng.normal(size=shape)
    y = np.where(X @ direction >= 0, 1, -1)
    X += np.outer(y, direction) / 2
    return X, np.where(rng.random(shape[0]) < flipped, -y, y)


# Multiples of 0.1 give scores that are zero but for rounding, where the order of summation decides the sign.
TENTHS = st.integers(-1, 1).map(lambda k: k / 10)
NUMBERS = {
    "tenths": (TENTHS, np.float64),
    "tenths32": (TENTHS, np.float32),
    "reals": (st.floats(-100, 100), np.float64),
    "reals32": (st.floats(-100, 100, width=32), np.float32),
    "half": (st.floats(-100, 100, width=16), np.float16),
    "signed": (st.integers(-128, 127), np.int8),
    "unsigned": (st.integers(0, 255), np.uint8),
    "bits": (st.booleans(), np.bool_),
}
LAYOUTS = {
    "rows": lambda X: X,
    "columns": np.asfortranarray,
    "reversed": lambda X: X[::-1, ::-1],
    "every other": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "big-endian": lambda X: X.astype(X.dtype.newbyteorder(">")),
}


@st.composite
def problems(draw):
    """Return a few distinct rows, the zero row among them, many times over; labels of a plane or at random."""
    numbers, dtype = NUMBERS[draw(st.sampled_from(sorted(NUMBERS)))]
    inputs = draw(st.integers(1, 9))
    row = st.lists(numbers, min_size=inputs, max_size=inputs)
    distinct = np.array([*draw(st.lists(row, min_size=1, max_size=12)), [0] * inputs], dtype=dtype)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = distinct[rng.integers(len(distinct), size=draw(st.integers(1, 150)))]
    y = np.where(X.astype(np.float64) @ rng.normal(size=inputs) + rng.normal() >= 0, 1, -1)
    y = np.where(rng.random(len(y)) < draw(st.sampled_from([0.0, 0.02, 0.5])), -y, y)
    return LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](X), y


@settings(deadline=None, max_examples=200)
@given(problems(), st.booleans(), st.integers(1, 5))
def test_perceptron_equals_the_loop_bit_for_bit(problem, bias, max_epochs):
    X, y = problem
    unit = Perceptron(bias=bias).fit(X, y, max_epochs=max_epochs)
    assert_same(unit, naive(X, y, bias=bias, max_epochs=max_epochs))
    again = naive(X, y, bias=bias, max_epochs=2, w=unit.w, b=unit.b)
    before = unit.mistakes_per_epoch.copy()
    assert_same(unit.fit(X, y, max_epochs=2), (*again[:2], before + again[2]))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("shape", "flipped"),
    [
        ((4000, 50), 0.0),
        ((4000, 50), 0.001),
        ((4000, 50), 0.5),
        ((70_000, 2), 0.0),  # more samples than the largest block holds
        ((9, 12_000), 0.0),  # OpenBLAS splits a dot product of this length between its threads
    ],
)
def test_perceptron_equals_the_loop_on_large_data(shape, flipped, dtype):
    X, y = separable(np.random.default_rng(7), shape, flipped)
    X = X.astype(dtype)
    assert_same(Perceptron().fit(X, y, max_epochs=3), naive(X, y, bias=True, max_epochs=3))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_the_memory_layout_changes_no_bit(layout):
    # Some twenty scores here are zero but for rounding, and a sum over a strided row rounds otherwise.
    rng = np.random.default_rng(8)
    X, y = layout(rng.integers(-1, 2, size=(2000, 10)) / 10), rng.choice([-1, 1], size=2000)
    unit = Perceptron(bias=False).fit(X, y, max_epochs=2)
    assert_same(unit, naive(X, y, bias=False, max_epochs=2))
    plain = X.copy(order="C")
    assert unit.decision_function(X).tobytes() == unit.decision_function(plain).tobytes()
    assert delta_rule(X, y, eta=0.1).tobytes() == delta_rule(plain, y, eta=0.1).tobytes()


def test_a_matrix_product_would_make_other_mistakes(monkeypatch):
    """On the data of the test above it sums in another order, and some signs change."""
    rng = np.random.default_rng(8)
    X, y = rng.integers(-1, 2, size=(2000, 10)) / 10, rng.choice([-1, 1], size=2000)
    expected = naive(X, y, bias=False, max_epochs=2)
    monkeypatch.setattr(perceptron, "_scores", lambda X, w, b: X @ w + b)
    assert Perceptron(bias=False).fit(X, y, max_epochs=2).mistakes_per_epoch != expected[2]


@pytest.mark.parametrize("seed", range(3))
def test_long_weights_and_short_samples_keep_every_bit(seed):
    """Terms of a size of 1e6 cancel but for rounding, and the samples themselves are short."""
    rng = np.random.default_rng(seed)
    X, y = rng.integers(-1, 2, size=(2000, 10)) / 10, rng.choice([-1, 1], size=2000)
    X[0], y[0], w = 0, -1, 1e8 * rng.integers(-1, 2, size=10) / 10
    unit = Perceptron(bias=False)
    unit.w = w.copy()
    assert_same(unit.fit(X, y, max_epochs=1), naive(X, y, bias=False, max_epochs=1, w=w))


@pytest.mark.parametrize("labels", [[1, 1, 1, -1], [-1, 1, 1, 1]])
def test_scores_of_zero_are_answered_as_the_rule_does(labels):
    X, y = np.ones((1000, 3)), np.repeat(labels, 250)
    assert_same(Perceptron().fit(X, y, max_epochs=3), naive(X, y, bias=True, max_epochs=3))


@settings(deadline=None, max_examples=50)
@given(problems())
def test_a_converged_perceptron_predicts_its_training_labels(problem):
    X, y = problem
    unit = Perceptron().fit(X, y, max_epochs=30)
    answers = unit.predict(X)
    assert answers.dtype == np.int64
    assert set(answers.tolist()) <= {-1, 1}
    assert np.array_equal(answers, y) or not unit.converged
    scores = [unit.w @ np.array(x, dtype=np.float64) + unit.b for x in X]
    assert unit.decision_function(X).tobytes() == np.array(scores).tobytes()


@pytest.mark.parametrize(
    ("y", "w", "b", "mistakes_per_epoch"),
    [
        ([-1, 1, 1, 1], [1, 1], -1, [2, 2, 1, 0]),  # or, worked by hand in the docstring
        ([-1, -1, -1, 1], [2, 1], -3, [2, 3, 3, 2, 1, 0]),  # and
        ([1, 1, 1, 1], [0, 0], 0, [0]),  # sign(0) = +1: nothing to learn
        ([-1, -1, -1, -1], [0, 0], -1, [1, 0]),
    ],
)
def test_gates_worked_by_hand(y, w, b, mistakes_per_epoch):
    unit = Perceptron().fit(GATES, y)
    assert_same(unit, (np.array(w, dtype=np.float64), b, mistakes_per_epoch))
    assert accuracy(unit.decision_function(GATES), y) == 1
    assert (unit.mistakes, unit.epochs) == (sum(mistakes_per_epoch), len(mistakes_per_epoch))
    assert unit.converged
    assert unit.predict(GATES).tolist() == y


def test_exclusive_or_never_converges():
    unit = Perceptron().fit(GATES, [-1, 1, 1, -1], max_epochs=100)
    assert (unit.converged, unit.epochs) == (False, 100)
    assert min(unit.mistakes_per_epoch) > 0
    assert not np.array_equal(unit.predict(GATES), [-1, 1, 1, -1])


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_novikoff_bounds_the_mistakes(seed, bias):
    # Integers keep every sum exact, so that the theorem holds for the machine's numbers as they are:
    # mistakes <= (R / gamma)^2 with gamma = m / |v|, hence mistakes * m^2 <= R^2 |v|^2.
    rng = np.random.default_rng(seed)
    X = rng.integers(-9, 10, size=(rng.integers(1, 60), 3))
    X[0] = [1, 0, 0]
    v = np.array([20, *rng.integers(-5, 6, size=3)])  # the first row, at least, is not on the plane
    widened = np.column_stack([X, np.full(len(X), int(bias))])
    margins = widened @ v
    X, widened, margins = X[margins != 0], widened[margins != 0], margins[margins != 0]
    unit = Perceptron(bias=bias).fit(X, np.sign(margins), max_epochs=10**6)
    assert unit.converged
    longest = (widened * widened).sum(axis=1).max()
    assert unit.mistakes * np.abs(margins).min() ** 2 <= longest * (v @ v)


def test_bias_is_the_weight_of_an_input_that_is_always_one():
    rng = np.random.default_rng(0)
    X = rng.integers(-5, 6, size=(300, 4))  # integers: sums are exact in any order
    y = rng.choice([-1, 1], size=300)
    unit = Perceptron().fit(X, y, max_epochs=4)
    widened = Perceptron(bias=False).fit(np.column_stack([X, np.ones(300)]), y, max_epochs=4)
    assert widened.w.tolist() == [*unit.w.tolist(), unit.b]
    assert widened.mistakes_per_epoch == unit.mistakes_per_epoch
    assert widened.b == 0.0


def test_epochs_in_several_calls_are_epochs_in_one():
    X, y = separable(np.random.default_rng(1), (500, 10), flipped=0.1)
    steps = Perceptron().fit(X, y, max_epochs=1)
    first, copy = steps.w, steps.w.copy()
    for _ in range(4):
        steps.fit(X, y, max_epochs=1)
    assert np.array_equal(first, copy)  # weights once handed out do not move
    whole = Perceptron().fit(X, y, max_epochs=5)
    assert_same(steps, (whole.w, whole.b, whole.mistakes_per_epoch))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8])
def test_a_memory_map_is_never_copied_whole(tmp_path, dtype):
    X = np.memmap(tmp_path / "X", dtype=dtype, mode="w+", shape=(40_000, 100))
    rng = np.random.default_rng(2)
    X[:] = rng.integers(-9, 10, size=X.shape, dtype=np.int8)
    y = rng.choice([-1, 1], size=len(X))
    X[:, 0] = 100 * y  # so clear that the blocks grow as long as they may
    tracemalloc.start()
    unit = Perceptron().fit(X, y, max_epochs=1)
    unit.predict(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Up to eight vectors over the samples and four blocks of 1 MiB, 7 MB in all; X as float64 is 32 MB.
    assert peak < 8 * y.nbytes + 4 * 2**20
    assert_same(unit, naive(np.array(X), y, bias=True, max_epochs=1))


def test_arguments_may_be_read_only_and_stay_as_they_are():
    X, y = separable(np.random.default_rng(3), (50, 3))
    X.setflags(write=False)
    y.setflags(write=False)
    unit = Perceptron().fit(X, y)
    start = np.ones(3)
    start.setflags(write=False)
    delta_rule(X, y, eta=0.1, w=start)
    assert unit.predict(X[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        (Perceptron(), "Perceptron(bias=True): not trained"),
        (
            Perceptron(bias=False).fit([[1.0]], [-1]),
            "Perceptron(inputs=1, bias=False): converged; epochs: 2, mistakes: 1",
        ),
        (
            Perceptron().fit(GATES, [-1, 1, 1, -1], max_epochs=100),
            # By hand: 3 mistakes, 3, and then 4 in every epoch, from w = (-1, 0), b = 0 round to the same.
            "Perceptron(inputs=2, bias=True): gave up; epochs: 100, mistakes: 398, in the last epoch: 4;"
            " the data may not be linearly separable, or need more epochs",
        ),
    ],
)
def test_repr_says_the_state(unit, text):
    assert repr(unit) == text


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"y": [0, 1, 1, 1]}, ValueError, r"\+1 and -1, got \[0.0, 1.0\]; .*np.where\(y == 1, 1, -1\)"),
        ({"y": [-1, 1, 2, 3]}, ValueError, r"labels \+1 and -1, got \[-1.0, 1.0, 2.0, 3.0\]"),
        ({"y": [-1, 1, 1]}, ValueError, r"y: expected shape \(4,\), one number per sample, got \(3,\)"),
        ({"y": [[-1], [1], [1], [1]]}, ValueError, r"y: expected shape \(4,\), .* got \(4, 1\)"),
        ({"y": ["a", "b", "a", "b"]}, TypeError, "y: expected real numbers, got dtype <U1"),
        ({"y": [-1, 1, np.nan, 1]}, ValueError, "y: expected finite numbers .* nan"),
        ({"X": GATES[0]}, ValueError, r"X: expected shape \(N, 2\), one row per sample .* got \(2,\)"),
        ({"X": GATES[None]}, ValueError, r"X: expected shape \(N, 2\), .* got \(1, 4, 2\)"),
        ({"X": GATES[:, :1]}, ValueError, r"X: expected shape \(N, 2\), .* got \(4, 1\)"),
        ({"X": GATES[:0], "y": []}, ValueError, r"one sample and one input, got shape \(0, 2\)"),
        ({"X": GATES[:, :0]}, ValueError, r"one sample and one input, got shape \(4, 0\)"),
        ({"X": GATES * [1, np.nan]}, ValueError, r"X: expected finite numbers of at most 1e\+100 in size"),
        ({"X": GATES * [1, 1e101]}, ValueError, r"got numbers from 0.0 to 1e\+101; clean or scale"),
        ({"X": np.where(GATES, -np.inf, 1)}, ValueError, r"got numbers from -inf to 1.0"),
        ({"X": GATES.astype(complex)}, TypeError, "X: expected real numbers, got dtype complex128; convert"),
        ({"X": np.ma.array(GATES)}, TypeError, "X: expected an array without a mask, got MaskedArray"),
        ({"y": np.ma.array([-1, 1, 1, 1])}, TypeError, "y: expected an array without a mask"),
        ({"X": scipy.sparse.csr_array(GATES)}, TypeError, r"X: expected a dense array, .* X.toarray\(\)"),
        ({"X": GATES.astype(object)}, TypeError, "X: expected real numbers, got dtype object"),
        ({"max_epochs": 0}, ValueError, "max_epochs: .*at least 1, got 0"),
        ({"max_epochs": 1.5}, TypeError, r"max_epochs: expected an integer.* got 1.5"),
    ],
)
def test_a_failed_fit_names_the_cause_and_changes_nothing(changed, error, words):
    unit = Perceptron().fit(GATES, [-1, -1, -1, 1], max_epochs=2)
    before = (unit.w.copy(), unit.b, unit.mistakes_per_epoch.copy())
    with pytest.raises(error, match=words):
        unit.fit(**({"X": GATES, "y": [-1, 1, 1, 1]} | changed))
    assert_same(unit, before)


def test_a_late_bad_value_is_found():
    X = np.zeros((30_000, 10))  # three blocks of the check
    X[-1, -1] = np.nan
    with pytest.raises(ValueError, match="X: expected finite numbers"):
        Perceptron().fit(X, np.ones(30_000))


def test_perceptron_names_bad_calls():
    with pytest.raises(TypeError, match=r"bias: expected True or False, got 0\.5"):
        Perceptron(bias=0.5)
    with pytest.raises(RuntimeError, match=r"Perceptron: expected trained weights, .* call fit\(X, y\) first"):
        Perceptron().predict(GATES)
    unit = Perceptron().fit(GATES, [-1, 1, 1, 1])
    with pytest.raises(ValueError, match=r"X: expected shape \(N, 2\), .*column per weight, got \(4, 1\)"):
        unit.predict(GATES[:, :1])
    with pytest.raises(ValueError, match="X: expected finite numbers"):
        unit.decision_function([[np.inf, 0.0]])


def test_the_slides_line_with_a_sign_unit_moves_twice_as_far():
    # y - yhat is 2 y where sign(<w, x>) is wrong and 0 where it is right, so w + (y - yhat) x = w + 2 y x.
    # From w = 0 all weights are then doubled; the signs, and so the mistakes, stay. Doubling does not round.
    X, y = separable(np.random.default_rng(4), (200, 6), flipped=0.1)
    w, mistakes = np.zeros(6), 0
    for x, label in zip(X, y, strict=True):
        yhat = 1 if w @ x >= 0 else -1
        w = w + (label - yhat) * x
        mistakes += yhat != label
    unit = Perceptron(bias=False).fit(X, y, max_epochs=1)
    assert unit.mistakes == mistakes > 0
    assert np.array_equal(w, 2 * unit.w)


# ---- at the edges


def test_max_epochs_is_a_thousand_by_default():
    assert Perceptron().fit(GATES, [-1, 1, 1, -1]).epochs == 1000


def test_repr_counts_the_mistakes_of_the_last_epoch():
    unit = Perceptron().fit(GATES, [-1, -1, -1, 1], max_epochs=5)
    assert unit.mistakes_per_epoch == [2, 3, 3, 2, 1]
    assert "gave up; epochs: 5, mistakes: 11, in the last epoch: 1;" in repr(unit)


def test_an_untrained_perceptron_takes_any_number_of_inputs():
    with pytest.raises(ValueError, match=r"^X: expected shape \(N, I\), .* got \(4,\)$"):
        Perceptron().fit(np.ones(4), np.ones(4))


@pytest.mark.parametrize("value", [1e100, -1e100])
def test_the_largest_value_is_taken_and_the_next_is_not(value):
    unit = Perceptron(bias=False).fit([[value]], [-1], max_epochs=2)
    assert unit.w.tolist() == [-value]
    with pytest.raises(ValueError, match=r"^X: expected finite numbers of at most 1e\+100 in size"):
        unit.predict([[np.nextafter(value, 2 * value)]])
