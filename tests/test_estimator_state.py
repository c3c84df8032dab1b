"""Fitted estimators hold a whole call or nothing, count epochs as scikit-learn, and name plain labels in errors."""

from __future__ import annotations

import pickle
import re
import sys
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import neural_network

import handmade as hm
from handmade.estimators import MLPClassifier, MLPRegressor, PerceptronClassifier
from tests.interrupts import Interrupt

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5))
TWO = (X[:, 0] > 0).astype(int)
THREE = np.digitize(X[:, 0], [-0.4, 0.4])
LABELS = (X[:, :3] > 0).astype(int)
OPTIONS = dict(batch_size=20, random_state=0, tol=0.0)


# ---- interruption --------------------------------------------------------------------------------------------------


def state(model) -> bytes:
    """Return all that a model holds."""
    return pickle.dumps(vars(model))


def press_after(epochs: int):
    """Return a callback that presses Ctrl-C after so many epochs."""

    def press(model):
        if model.n_iter_ == epochs:
            raise KeyboardInterrupt

    return press


CALLS = {
    "fit": (lambda: MLPClassifier([4], max_iter=4, **OPTIONS), "fit"),
    "early stopping": (lambda: MLPClassifier([4], max_iter=4, early_stopping=True, **OPTIONS), "fit"),
    "batch norm": (lambda: MLPRegressor([4], max_iter=3, normalization="batch", solver="sgd", **OPTIONS), "fit"),
    "warm start": (lambda: MLPRegressor([4], max_iter=3, warm_start=True, **OPTIONS), "fit"),
    "partial_fit": (lambda: MLPRegressor([4], **OPTIONS), "partial_fit"),
    "lbfgs": (lambda: MLPClassifier([4], solver="lbfgs", max_iter=4, random_state=0), "fit"),
    "perceptron": (lambda: PerceptronClassifier(max_iter=5, random_state=0), "fit"),
}


@pytest.mark.parametrize("name", CALLS)
# The test interrupts by tracing: a debugger or a measure of coverage would lose its own trace.
@pytest.mark.skipif(sys.gettrace() is not None, reason="another tool traces the lines")
def test_an_interrupt_leaves_an_estimator_whole(name):
    make, method = CALLS[name]
    width = 5 if method == "partial_fit" or name == "warm start" else 4  # of the first fit
    fitted = getattr(make(), method)(X[:, :width], TWO)
    counter = Interrupt()
    counter.run(lambda: getattr(pickle.loads(pickle.dumps(fitted)), method)(X, TWO))
    for line in np.unique(np.linspace(1, counter.seen, 60).astype(int)):
        model = pickle.loads(pickle.dumps(fitted))
        before = state(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                Interrupt(int(line)).run(lambda model=model: getattr(model, method)(X, TWO))
            except KeyboardInterrupt:
                if state(model) == before:
                    continue
        assert model.n_features_in_ == 5 and model.score(X, TWO) > -np.inf
        if name not in ("perceptron", "lbfgs"):
            assert model.loss_ == model.loss_curve_[-1] and model.t_ % 6 == 0
            assert len(model.loss_curve_) == model.n_iter_ + (len(fitted.loss_curve_) if width == 5 else 0)
            if model.validation_scores_:
                assert len(model.validation_scores_) == len(model.validation_loss_curve_) == model.n_iter_


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("when", ["in an epoch", "in a callback"])
def test_an_interrupt_keeps_the_epochs_completed(monkeypatch, solver, when):
    options = dict(OPTIONS, solver=solver, max_iter=3)
    expected = MLPClassifier([4], **options).fit(X, THREE)
    model = MLPClassifier([4], **{**options, "max_iter": 9})
    if when == "in a callback":
        model.set_params(callbacks=[press_after(3)])
    else:
        steps, take = iter(range(100)), hm.MLP.backpropagate

        def interrupted(network, *arguments, **options):
            if next(steps) == 10:  # of 3 steps an epoch: the second of the fourth
                raise KeyboardInterrupt
            return take(network, *arguments, **options)

        monkeypatch.setattr(hm.MLP, "backpropagate", interrupted)
    with pytest.warns(UserWarning, match="fit: training interrupted; the estimator holds what 3 epochs have learnt"):
        model.fit(X, THREE)
    np.testing.assert_array_equal(model.network_.theta, expected.network_.theta)
    assert (model.n_iter_, model.loss_curve_, model.t_) == (3, expected.loss_curve_, expected.t_)
    assert model.predict(X).tolist() == expected.predict(X).tolist()


def test_an_interrupt_before_the_first_epoch_raises():
    model = MLPClassifier([4], max_iter=2, **OPTIONS).fit(X[:, :3], TWO)
    before = state(model)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Pressing(THREE))
    assert state(model) == before and model.n_features_in_ == 3


class Pressing:
    """A vector of targets that presses Ctrl-C when it is read."""

    def __init__(self, y):
        self.y = y

    def __array__(self, *arguments, **options):
        raise KeyboardInterrupt


# ---- epochs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_epochs_are_counted_as_in_scikit_learn(name):
    counts = []
    for module in (hm.estimators, neural_network):
        make, counted = getattr(module, name), []
        model = make(hidden_layer_sizes=(4,), random_state=0, tol=0.0)
        for _ in range(5):
            model.partial_fit(X, TWO, **({"classes": [0, 1]} if "Classifier" in name else {}))
            counted.append((model.n_iter_, model.t_, len(model.loss_curve_)))
        model = make(hidden_layer_sizes=(4,), random_state=0, max_iter=3, warm_start=True, tol=0.0)
        for _ in range(2):
            model.fit(X, TWO)
            counted.append((model.n_iter_, model.t_, len(model.loss_curve_)))
        counts.append(counted)
    assert counts[0] == counts[1]


# ---- compiled ------------------------------------------------------------------------------------------------------

TARGETS = {"two": TWO, "labels": LABELS, "an empty label": LABELS[:, :1] * [1, 0], "three": THREE}


@pytest.mark.parametrize("compile", [True, "auto"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("target", TARGETS)
def test_compiled_gradients_are_those_of_numpy(target, alpha, weighted, compile):
    pytest.importorskip("numba")
    weight = RNG.uniform(0, 3, len(X)) if weighted else None
    options = dict(activation="tanh", alpha=alpha, max_iter=1, random_state=0, solver=hm.SGD(lr=0.0))
    found = []
    for how in (False, compile):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            warnings.filterwarnings("ignore", category=hm.estimators._base.ConvergenceWarning)
            model = MLPClassifier([6], compile=how, **options).fit(X, TARGETS[target], weight)
        data = model._batches(X, TARGETS[target], model._targets, weight)
        value, gradient = model._trainer.value_and_gradient(data)
        found.append((value, gradient.copy(), model.loss_))
    # Each entry is a sum of N products whose factors went through sums of at most 5, 6 and 3 terms and a few functions;
    # its terms add up to at most 1 in the output layer (|tanh| and |dH| <= 1), and times |W| and |X| below.
    W = model.coefs_[-1]
    magnitude = 1 + np.abs(W).sum(axis=1).max() * np.abs(X).max() + alpha * np.abs(model.network_.theta).max()
    bound = (len(X) + 2 * (5 + 6 + 3) + 40) * np.finfo(float).eps * magnitude
    (value, gradient, loss), (value_2, gradient_2, loss_2) = found
    assert np.abs(gradient - gradient_2).max() <= bound
    assert abs(value - value_2) <= bound * max(1, value) and abs(loss - loss_2) <= bound * max(1, loss)


def test_compiled_pairs_with_a_backward_of_your_own_are_refused():
    pytest.importorskip("numba")
    losses = (hm.losses.mse_loss, lambda input, target, **options: input - target)
    for options in (
        dict(activation=(hm.activations.tanh, lambda dH, A: dH)),
        dict(activation=(hm.activations.softmax, lambda dH, A: dH)),
        dict(loss=losses),
    ):
        with pytest.raises(TypeError, match="compiled form"):
            MLPRegressor([3], compile=True, max_iter=1, **options).fit(X, X[:, 0])


# ---- labels in messages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "unknown"), [([0, 1], 7), (["no", "yes"], "maybe"), ([0.0, 1.0], 2.0), ([False, True], 5)], ids=str
)
def test_labels_in_messages_are_plain(labels, unknown):
    y = np.array(labels)[TWO]
    model = MLPClassifier([3]).partial_fit(X, y, labels)
    with pytest.raises(
        ValueError, match="^" + re.escape(f"classes: expected those of the first call, {labels}, got [")
    ):
        model.partial_fit(X, y, [*labels, unknown])
    with pytest.raises(ValueError) as error:
        model.partial_fit(X, np.full(len(X), unknown))
    assert str(error.value) == f"y: expected labels among {labels}, got {unknown!r}"


# ---- samples of other kinds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(("first", "second"), [(np.float32, np.float64), (np.float64, np.float32)])
def test_training_goes_on_in_the_dtype_of_the_network(first, second, early_stopping):
    """The samples are exact in both, so that their dtype does not tell."""
    exact, thetas = np.round(X * 8) / 8, []
    for kinds in [first] * 5, [first, second, second, "sparse", first]:
        options = dict(early_stopping=early_stopping, warm_start=True, max_iter=2, **OPTIONS)
        model = MLPClassifier([4], **options).fit(exact.astype(kinds[0]), THREE).fit(exact.astype(kinds[1]), THREE)
        for kind in kinds[2:]:
            model.partial_fit(sparse.csr_array(exact) if kind == "sparse" else exact.astype(kind), THREE)
        thetas.append(model.network_.theta)
    assert thetas[0].dtype == thetas[1].dtype == first and (thetas[0] == thetas[1]).all()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_sparse_and_dense_samples_are_held_out_together(order):
    kinds = [sparse.csr_array(X), X]
    models = [MLPRegressor([4], early_stopping=True, **OPTIONS) for _ in range(2)]
    for kind in order:
        models[0].partial_fit(kinds[kind], X[:, 0])
        models[1].partial_fit(X, X[:, 0])
    assert models[0].validation_scores_ == models[1].validation_scores_ and len(models[0].validation_scores_) == 2
