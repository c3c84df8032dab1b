"""What the estimators refuse, and how they say so."""

from __future__ import annotations

import re

import numpy as np
import pytest
import sklearn.exceptions
from estimators_of_tests import LABELS, NUMBER, THREE, TWO, X

import handmade as hm
from handmade.estimators import MLPClassifier, MLPRegressor, PerceptronClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"solver": "newton"}, "solver: expected 'adam'"),
        ({"learning_rate": "fast"}, "learning_rate: expected one of constant"),
        ({"solver": hm.LBFGS(), "batch_size": 9}, "batch_size, dropout: expected 'auto' and 0 with LBFGS"),
        ({"monitor": "r2"}, "monitor: expected one of loss"),
        ({"max_iter": 0}, "max_iter: expected an integer from 1"),
        ({"alpha": -1}, "alpha: expected a number from 0"),
        ({"batch_size": 0}, "batch_size: expected 'auto'"),
        ({"hidden_layer_sizes": "poisson"}, "hidden_layer_sizes: expected an integer of at least 1, got 'poisson'"),
        ({"hidden_layer_sizes": [5, 7.9]}, "hidden_layer_sizes: expected an integer of at least 1, got 7.9"),
        ({"hidden_layer_sizes": [0]}, "hidden_layer_sizes: expected an integer of at least 1, got 0"),
        ({"activation": "reelu"}, "activation: expected one of"),
        ({"loss": "mse"}, "loss: expected one of"),
        ({"solver": "lbfgs", "dropout": 0.5}, "with dropout"),
        ({"solver": hm.Adam}, "solver: expected 'adam', 'sgd', 'lbfgs' or an optimizer such as Adam(), got <class"),
        ({"early_stopping": True, "validation_fraction": 0.005}, "validation_fraction: expected at least 2"),
        ({"early_stopping": True, "validation_fraction": 0.9999}, "and 1 to train on, got 120 and 0; decrease it"),
        ({"validation_fraction": 1}, "validation_fraction: expected a number in [0, 1), got 1"),
    ],
    ids=str,
)
def test_bad_parameters_are_named(options, match):
    for estimator in (MLPClassifier(), MLPRegressor()):
        with pytest.raises((ValueError, TypeError), match=re.escape(match)):
            estimator.set_params(**options).fit(X, TWO)


MASKED = np.ma.array(X, mask=X > 1)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda model: model.fit(MASKED, TWO), "X"),
        (lambda model: model.fit(list(MASKED), TWO), "X"),
        (lambda model: model.fit(X, np.ma.array(TWO, mask=X[:, 0] > 1)), "y"),
        (lambda model: model.fit(X, TWO).predict(MASKED), "X"),
    ],
)
@pytest.mark.parametrize("model", [MLPClassifier(max_iter=2), PerceptronClassifier()], ids=["MLP", "perceptron"])
def test_a_masked_array_is_refused_by_name(model, call, name):
    with pytest.raises(TypeError, match=f"^{name}: expected an array without a mask, got MaskedArray; fill it with "):
        call(model)


def test_failed_fit_leaves_the_estimator_as_it_was():
    model = MLPClassifier([5], max_iter=5, random_state=0, warm_start=True).fit(X, THREE)
    before = model.predict_proba(X)
    for y in (np.where(THREE == "mid", "new", THREE), TWO, LABELS):
        with pytest.raises(ValueError):
            model.fit(X, y)
    with pytest.raises(ValueError, match="classes: expected those of the first call"):
        model.partial_fit(X, THREE, classes=["low", "mid"])
    with pytest.raises(ValueError, match="labels among"):
        model.partial_fit(X, np.where(THREE == "mid", "new", THREE))
    assert (model.predict_proba(X) == before).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_divergence_is_an_error():
    with pytest.raises(ValueError, match="training diverges"):
        MLPRegressor([5], "identity", solver="sgd", learning_rate_init=1e6).fit(X, NUMBER)


def test_one_class_and_negative_counts_are_refused():
    for estimator in (MLPClassifier(), PerceptronClassifier()):
        with pytest.raises(ValueError, match="at least 2 classes"):
            estimator.fit(X, np.zeros(len(X)))
    with pytest.raises(ValueError, match="Poisson"):
        MLPRegressor(loss="poisson").fit(X, NUMBER)


def test_text_is_refused_where_numbers_are_expected():
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    labels, pairs = np.array(["no", "yes"])[y], np.array(["no", "yes"])[np.stack([y, 1 - y], axis=1)]
    for fit in MLPRegressor().fit, MLPRegressor().partial_fit:
        for text in labels, labels.astype(object), labels.tolist(), pairs:
            with pytest.raises(ValueError, match=r"y: expected numbers, got 'no'; for labels, use MLPClassifier"):
                fit(X, text)
    with pytest.raises(
        ValueError, match=r"y: expected a vector of labels or an indicator matrix.*<U3 of shape \(20, 2\)"
    ):
        MLPClassifier().partial_fit(X, pairs, classes=["no", "yes"])
    model = MLPClassifier([3]).partial_fit(X, np.stack([y, 1 - y], axis=1), classes=[0, 1])
    with pytest.raises(ValueError, match=r"y: expected an indicator matrix of 0 and 1, got 'no'"):
        model.partial_fit(X, pairs)
    with pytest.raises(ValueError, match=r"y: expected an indicator matrix of 2 labels, got shape \(20,\)"):
        model.partial_fit(X, labels)


@pytest.mark.parametrize("missing", [None, np.nan, np.datetime64("NaT")])
def test_missing_targets_are_named(missing):
    text = np.array(["no", "yes"], object)[np.arange(len(X)) % 2]
    text[3] = missing
    for fit in MLPClassifier().fit, PerceptronClassifier().fit:
        with pytest.raises(ValueError, match=r"^y: expected no missing values, got "):
            fit(X, text)
    with pytest.raises(ValueError, match=r"^y: expected no missing values, got None; drop those samples"):
        MLPRegressor().fit(X, [*NUMBER[:-1], None])
    with pytest.raises(ValueError, match=r"^classes: expected no missing values, got None"):
        MLPClassifier().partial_fit(X, TWO, classes=[0, 1, None])


def test_rows_of_different_lengths_are_named():
    ragged = [[1, 2], [3]] * (len(X) // 2)
    for model in MLPClassifier(), MLPRegressor(), PerceptronClassifier():
        with pytest.raises(ValueError, match=r"^X: expected an array, got list that NumPy cannot read"):
            model.fit(ragged, TWO)
    with pytest.raises(ValueError, match=r"^y: expected an array, got list that NumPy cannot read"):
        MLPRegressor().fit(X, ragged)


def test_text_and_numbers_are_no_labels_together():
    for fit in MLPClassifier().fit, PerceptronClassifier().fit:
        for kind in list, lambda labels: np.array(labels, object):
            with pytest.raises(TypeError, match=r"^y: expected labels of one type, got 'a' and 1; write all as text"):
                fit(X, kind(["a", *[1] * (len(X) - 1)]))
    with pytest.raises(TypeError, match=r"^classes: expected labels of one type, got 'a' and 1"):
        MLPClassifier().partial_fit(X, TWO, classes=[0, 1, "a"])


def test_classes_that_are_too_few_are_named():
    for classes, got in ([], "none"), ([3], "1 class, 3"):
        with pytest.raises(ValueError, match=f"^classes: expected at least 2 classes, got {got}"):
            MLPClassifier().partial_fit(X, TWO, classes=classes)


def test_a_fraction_of_any_float_type_is_held_out():
    options = dict(early_stopping=True, max_iter=2, random_state=0)
    ours, same = (MLPClassifier(validation_fraction=f(0.25), **options).fit(X, TWO) for f in (float, np.float32))
    assert (ours.coefs_[0] == same.coefs_[0]).all()
    with pytest.raises(ValueError, match="validation_fraction: expected a number above 0 for early_stopping, got 0"):
        MLPRegressor(early_stopping=True, validation_fraction=0.0).partial_fit(X, NUMBER)


def test_weights_that_cannot_be_assigned_are_refused():
    model = MLPClassifier([3], max_iter=2, random_state=0).fit(X, TWO)
    before = model.predict_proba(X)
    for bad in None, 3, [w.astype(str) for w in model.coefs_], [w * 1j for w in model.coefs_]:
        with pytest.raises(TypeError, match=r"^coefs_: expected (a list of 2 arrays|arrays of numbers), got"):
            model.coefs_ = bad
    assert (model.predict_proba(X) == before).all()
    with pytest.raises(sklearn.exceptions.NotFittedError, match="This MLPClassifier instance is not fitted yet"):
        MLPClassifier().coefs_  # noqa: B018
    assert not hasattr(MLPRegressor(), "intercepts_")


def test_other_hidden_layers_are_refused_in_going_on():
    # scikit-learn keeps the old ones without a word.
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    model = MLPClassifier([4], max_iter=2, tol=np.inf, warm_start=True).fit(X, y)
    model.set_params(hidden_layer_sizes=[5])
    for call in model.fit, model.partial_fit:
        with pytest.raises(ValueError, match=r"hidden_layer_sizes: expected \[4\].*got \[5\]; set warm_start=False"):
            call(X, y)
    assert model.set_params(warm_start=False).fit(X, y).coefs_[0].shape == (3, 5)


def test_missing_scikit_learn_is_named(monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.startswith("handmade.estimators")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"handmade\[estimators\]"):
        import handmade.estimators  # noqa: F401


@pytest.mark.parametrize("class_weight", [{0: -1}, {0: 0, 1: 0}, {1: np.nan}])
def test_impossible_class_weights_are_refused(class_weight):
    model = MLPClassifier([3], max_iter=2, random_state=0, class_weight=class_weight)
    with pytest.raises(ValueError, match="class_weight: expected finite numbers of at least 0, not all 0"):
        model.fit(X, TWO)


@pytest.mark.parametrize(
    ("column", "error", "match"),
    [
        (["red", "blue"], ValueError, "got 'red' in column 'extra'; encode it"),
        (["2026-05-31", "1"], ValueError, "got '2026-05-31' in column 'extra'; encode it"),
        (
            np.array(["2026-05-31", "2026-06-01"], "M8[D]"),
            TypeError,
            "got dates of dtype .* in column 'extra'; subtract",
        ),
        ([[1], [2]], TypeError, r"got \[1\] in column 'extra'"),
    ],
    ids=["text", "text of dates", "dates", "lists"],
)
def test_a_column_without_numbers_is_named(column, error, match):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"size": [1.0, 2.0], "extra": list(column)})
    for table in (frame, frame[["extra"]]):
        with pytest.raises(error, match=f"^X: expected numbers, {match}"):
            MLPClassifier([3]).fit(table, [0, 1])
