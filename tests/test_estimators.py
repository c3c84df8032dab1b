"""Estimators: scikit-learn's contract, its numbers from the same start, and what its own MLP refuses."""

from __future__ import annotations

import functools
import pickle
import warnings

import numpy as np
import pytest
from estimators_of_tests import CLASSIFIED, COUNTS, LABELS, NUMBER, NUMBERS, RNG, THREE, TWO, X
from scipy import sparse
from sklearn import neural_network
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import check_estimator

import handmade as hm
from handmade.estimators import MLPClassifier, MLPRegressor, PerceptronClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---- the contract --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator", [MLPClassifier(max_iter=100), MLPRegressor(max_iter=100), PerceptronClassifier(max_iter=20)], ids=str
)
def test_check_estimator_finds_no_failure(estimator):
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert len(results) > 50
    assert {r["check_name"]: r["exception"] for r in results if r["status"] not in ("passed", "skipped")} == {}
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    assert skipped <= {"check_array_api_input", "check_classifiers_multilabel_output_format_decision_function"}


def test_pipelines_searches_and_calibration_work():
    pipeline = make_pipeline(StandardScaler(), MLPClassifier([5], max_iter=30, learning_rate_init=0.05, random_state=0))
    search = GridSearchCV(pipeline, {"mlpclassifier__dropout": [0.0, 0.3], "mlpclassifier__alpha": [0.0, 0.1]}, cv=2)
    assert search.fit(X, THREE).best_score_ > 0.5
    assert cross_val_score(MLPRegressor([5], solver="lbfgs", random_state=0), X, NUMBER, cv=3).mean() > 0.5
    P = CalibratedClassifierCV(MLPClassifier([5], solver="lbfgs", random_state=0), cv=2).fit(X, TWO).predict_proba(X)
    np.testing.assert_allclose(P.sum(axis=1), 1)


def test_estimators_are_pickled_and_cloned():
    model = MLPClassifier([5], max_iter=3, random_state=0, dropout=0.2).fit(X, THREE)
    again = pickle.loads(pickle.dumps(model))
    assert (again.predict_proba(X) == model.predict_proba(X)).all()
    with pytest.raises(NotFittedError):
        clone(model).predict(X)


# ---- moved from scikit-learn ---------------------------------------------------------------------------------------


def both(name: str, y, **options):
    """Return scikit-learn's estimator and this library's, fitted on the same data from the same start."""
    options = {"hidden_layer_sizes": (7, 5), "random_state": 3, "max_iter": 15, "batch_size": 32, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(neural_network, name)(**options).fit(X, y)
        ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[name](**options, monitor="score").fit(
            X, y
        )
    return theirs, ours


def assert_same_model(theirs, ours, tolerance: float) -> None:
    for a, b in zip([*theirs.coefs_, *theirs.intercepts_], [*ours.coefs_, *ours.intercepts_], strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance)
    predicted = theirs.predict(X)
    if predicted.dtype.kind == "f":
        np.testing.assert_allclose(ours.predict(X), predicted, rtol=0, atol=100 * tolerance)
    else:
        assert (ours.predict(X) == predicted).all()
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=10 * tolerance)
    assert ours.out_activation_ == theirs.out_activation_ and ours.n_layers_ == theirs.n_layers_
    assert ours.n_iter_ == theirs.n_iter_ and ours.t_ == theirs.t_


# Only rounding separates the two under SGD. Under Adam they scale epsilon differently, as scikit-learn leaves out the
# correction of its start; so it is tiny here.
SOLVERS = [
    ({"solver": "sgd", "learning_rate_init": 0.05}, 1e-10),
    ({"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False, "shuffle": False}, 1e-10),
    ({"solver": "sgd", "learning_rate_init": 0.05, "momentum": 0.0, "learning_rate": "invscaling"}, 1e-10),
    ({"solver": "adam", "learning_rate_init": 0.01, "epsilon": 1e-15}, 1e-7),
    ({"solver": "lbfgs", "alpha": 0.1}, 1e-3),
]


@pytest.mark.parametrize(("options", "tolerance"), SOLVERS, ids=str)
@pytest.mark.parametrize("target", CLASSIFIED)
def test_classifier_trains_as_scikit_learn(target, options, tolerance):
    assert_same_model(*both("MLPClassifier", CLASSIFIED[target], activation="tanh", **options), tolerance)


@pytest.mark.parametrize(("options", "tolerance"), SOLVERS, ids=str)
@pytest.mark.parametrize("activation", ["logistic", "relu"])
def test_regressor_trains_as_scikit_learn(activation, options, tolerance):
    assert_same_model(*both("MLPRegressor", NUMBER, activation=activation, **options), tolerance)


def test_several_numbers_and_counts_train_as_in_scikit_learn():
    options = {"solver": "sgd", "learning_rate_init": 0.01}
    assert_same_model(*both("MLPRegressor", NUMBERS, **options), 1e-10)
    theirs, ours = both("MLPRegressor", COUNTS, loss="poisson", **options)
    assert_same_model(theirs, ours, 1e-10)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_early_stopping_on_the_score_is_that_of_scikit_learn(name):
    y = TWO if name == "MLPClassifier" else NUMBER  # of more classes scikit-learn's split loses the proportions
    options = {
        "early_stopping": True,
        "n_iter_no_change": 3,
        "max_iter": 60,
        "solver": "sgd",
        "learning_rate_init": 0.05,
    }
    theirs, ours = both(name, y, **options)
    assert_same_model(theirs, ours, 1e-9)
    assert ours.n_iter_ < 60
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-9)


def test_stopping_on_the_training_loss_is_that_of_scikit_learn():
    options = {"tol": 0.02, "n_iter_no_change": 2, "max_iter": 100, "solver": "sgd", "learning_rate": "adaptive"}
    theirs, ours = both("MLPRegressor", NUMBER, learning_rate_init=0.05, momentum=0.0, **options)
    assert 2 < theirs.n_iter_ < 100
    assert_same_model(theirs, ours, 1e-9)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)


def test_sample_weights_are_those_of_scikit_learn():
    weight = RNG.uniform(0.1, 3, len(X))
    options = dict(hidden_layer_sizes=[6], solver="sgd", learning_rate_init=0.05, max_iter=10, random_state=0)
    theirs = neural_network.MLPClassifier(**options).fit(X, THREE, sample_weight=weight)
    assert_same_model(theirs, MLPClassifier(**options).fit(X, THREE, sample_weight=weight), 1e-10)


def test_default_settings_predict_as_scikit_learn():
    for name, y in (("MLPClassifier", THREE), ("MLPRegressor", NUMBER)):
        theirs, ours = both(name, y, max_iter=50, batch_size="auto")
        same = (
            np.isclose(ours.predict(X), theirs.predict(X), atol=1e-3)
            if y is NUMBER
            else ours.predict(X) == theirs.predict(X)
        )
        assert same.all()


# ---- what scikit-learn's MLP refuses -------------------------------------------------------------------------------


def test_dropout_normalization_and_losses_train():
    for options in (
        {"dropout": 0.2, "normalization": "batch", "batch_size": 17},  # the last batch of 120 has one sample
        {"normalization": "layer", "activation": ["gelu", "silu"]},
        {"loss": "multi_margin_loss"},
        {"loss": functools.partial(hm.losses.cross_entropy, label_smoothing=0.1)},
        {"solver": hm.RMSprop(lr=0.01), "activation": (hm.activations.elu, hm.activations.elu_backward)},
    ):
        model = MLPClassifier([20, 10], learning_rate_init=0.01, max_iter=40, random_state=0).set_params(**options)
        assert model.fit(X, THREE).score(X, THREE) > 0.8, options
    huber = MLPRegressor([20], loss="huber_loss", learning_rate_init=0.02, max_iter=100, random_state=0)
    assert huber.fit(X, NUMBER).score(X, NUMBER) > 0.7


BINARY = ["binary_cross_entropy_with_logits", "sigmoid_focal_loss", "hinge_loss", "soft_margin_loss", "mse_loss"]


@pytest.mark.parametrize("loss", [*BINARY, "cross_entropy", functools.partial(hm.losses.huber_loss, delta=0.5)])
@pytest.mark.parametrize("y", [TWO, THREE], ids=["two", "three"])
def test_losses_of_every_kind_of_target_classify(loss, y):
    options = dict(learning_rate_init=0.02, max_iter=60, early_stopping=True, random_state=0, loss=loss)
    model = MLPClassifier([20], **options).fit(X, y, np.linspace(0.5, 2, len(X)))
    assert model.score(X, y) > 0.85
    assert max(model.validation_scores_) > 0.8
    P = model.predict_proba(X)
    np.testing.assert_allclose(P.sum(axis=1), 1)
    assert (model.classes_[P.argmax(axis=1)] == model.predict(X)).all()


@pytest.mark.parametrize("alpha", [0.0, 1e-3])
def test_compiled_training_is_that_of_the_numpy_code(alpha):
    pytest.importorskip("numba")
    options = dict(max_iter=5, random_state=0, alpha=alpha, activation="tanh", dropout=0.2)
    for make, y, weight in (MLPClassifier, THREE, None), (MLPRegressor, NUMBER, np.linspace(0.5, 2, len(X))):
        models = [make([6], compile=compile, **options).fit(X, y, weight) for compile in (False, True)]
        losses = [model.loss_curve_ for model in models]
        np.testing.assert_allclose(*losses, rtol=1e-9)  # a few dozen steps, which round otherwise
    again = pickle.loads(pickle.dumps(models[1]))
    np.testing.assert_array_equal(again.predict(X), models[1].predict(X))


def test_compile_names_what_has_no_compiled_form():
    pytest.importorskip("numba")
    options = dict(activation=(hm.activations.elu, lambda dH, A: dH), max_iter=1)
    with pytest.raises(TypeError, match="compiled form"):
        MLPClassifier([3], compile=True, **options).fit(X, TWO)
    with pytest.warns(UserWarning, match="compiled form"):
        MLPClassifier([3], compile="auto", **options).fit(X, TWO)
    with pytest.raises(ValueError, match="compile: expected True, False"):
        MLPClassifier([3], compile="yes", **options).fit(X, TWO)


def test_last_batch_of_one_is_joined():
    MLPClassifier([3], normalization="batch", batch_size=7, max_iter=2).fit(X[:15], TWO[:15])


def test_optimizer_given_is_not_touched():
    optimizer = hm.Adam(lr=0.01)
    MLPClassifier([3], solver=optimizer, max_iter=2).fit(X, TWO)
    assert optimizer.t == 0


def test_groups_of_parameters_train_at_rates_of_their_own():
    def weights(groups):
        solver = hm.ParameterGroups(groups)
        model = MLPClassifier([5], activation="tanh", solver=solver, alpha=0, max_iter=3, random_state=0).fit(X, THREE)
        assert not solver.names  # the model has bound a copy
        return [*model.coefs_, *model.intercepts_]

    begun = weights({"*": hm.SGD(lr=0.0)})
    frozen = weights({"0.*": hm.SGD(lr=0.0), "*": hm.SGD(lr=0.1)})
    whole, alone = weights({"*": hm.SGD(lr=0.1)}), weights({"*.bias": hm.SGD(lr=0.1), "*": hm.SGD(lr=0.1)})
    assert [np.array_equal(*pair) for pair in zip(begun, frozen, strict=True)] == [True, False, True, False]
    assert all(np.array_equal(*pair) for pair in zip(whole, alone, strict=True))
    assert not any(np.array_equal(*pair) for pair in zip(begun, whole, strict=True))


def test_lbfgs_as_an_optimizer_takes_all_samples():
    options = dict(solver=hm.LBFGS(line_search_fn="strong_wolfe"), activation="tanh", random_state=0)
    model = MLPRegressor([8], **options, max_iter=50).fit(X, NUMBER, np.linspace(0.5, 2, len(X)))
    assert model.score(X, NUMBER) > 0.95 and model.t_ == len(X) * model.n_iter_
    assert all(np.diff(model.loss_curve_) <= 0)  # of a line search
    early = MLPClassifier([8], **options, early_stopping=True, n_iter_no_change=2).fit(X, THREE)
    assert early.n_iter_ == len(early.validation_loss_curve_) < 200


def test_weights_are_assigned_as_a_whole_or_not():
    theirs, ours = both("MLPClassifier", THREE)
    zero = clone(ours).set_params(max_iter=1, alpha=0).fit(X, THREE)
    zero.coefs_, zero.intercepts_ = theirs.coefs_, theirs.intercepts_
    np.testing.assert_allclose(zero.predict_proba(X), theirs.predict_proba(X), rtol=1e-12)
    for values in (theirs.coefs_[:-1], [a.T for a in theirs.coefs_], [a * np.nan for a in theirs.coefs_]):
        with pytest.raises(ValueError, match="coefs_: expected"):
            zero.coefs_ = values
    np.testing.assert_allclose(zero.predict_proba(X), theirs.predict_proba(X), rtol=1e-12)


def test_class_weights_move_predictions():
    plain = MLPClassifier([5], solver="lbfgs", random_state=0, alpha=1.0).fit(X, TWO)
    heavy = clone(plain).set_params(class_weight={0: 1, 1: 20}).fit(X, TWO)
    assert heavy.predict(X).mean() > plain.predict(X).mean()
    balanced = clone(plain).set_params(class_weight="balanced").fit(X, THREE)
    weight = compute_sample_weight("balanced", THREE)
    same = clone(plain).fit(X, THREE, sample_weight=weight)
    np.testing.assert_allclose(balanced.predict_proba(X), same.predict_proba(X))


def test_early_stopping_on_the_loss_restores_the_best():
    model = MLPRegressor([30], learning_rate_init=0.05, max_iter=300, early_stopping=True, random_state=1)
    model.fit(X, NUMBER)
    curve = model.validation_loss_curve_
    assert model.n_iter_ == len(curve) < 300 and min(curve) < curve[-1]
    held_out = model._trainer.split[1]
    loss = np.mean((model.predict(X[held_out]) - NUMBER[held_out]) ** 2) / 2
    assert loss == pytest.approx(min(curve), rel=1e-12)


@pytest.mark.parametrize("y", [np.append(THREE[1:], "rare"), np.arange(len(X)) % 50], ids=["rare", "many"])
def test_classes_too_small_to_split_do_not_stop_it(y):
    model = MLPClassifier([3], early_stopping=True, max_iter=3, random_state=0).fit(X, y)
    assert model.classes_.tolist() == np.unique(y).tolist()


def test_divergence_in_early_stopping_keeps_the_best():
    options = dict(solver="sgd", activation="identity", early_stopping=True, max_iter=100, random_state=0)
    model = MLPRegressor([20], learning_rate_init=1.0, **options)
    with (
        pytest.warns(ConvergenceWarning, match="diverges.*the best weights so far are kept"),
        np.errstate(all="ignore"),
    ):
        model.fit(X, NUMBER)
    assert model.n_iter_ < 100 and np.isfinite(model.predict(X)).all() and model.best_loss_ is None


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"dropout": 0.3}, {"solver": "sgd"}], ids=str)
def test_warm_start_continues_exactly(options):
    options = dict(hidden_layer_sizes=[6], random_state=0, tol=0.0, n_iter_no_change=np.inf, **options)
    whole = MLPClassifier(max_iter=20, **options).fit(X, THREE)
    halves = MLPClassifier(max_iter=10, warm_start=True, **options).fit(X, THREE).fit(X, THREE)
    assert halves.loss_curve_ == whole.loss_curve_
    assert halves.validation_loss_curve_ == whole.validation_loss_curve_
    assert (halves.predict_proba(X) == whole.predict_proba(X)).all()


def test_partial_fit_goes_on_and_equals_epochs():
    options = dict(hidden_layer_sizes=[6], random_state=0)
    model = MLPRegressor(**options)
    for _ in range(7):
        model.partial_fit(X, NUMBER)
    assert (model.predict(X) == MLPRegressor(**options, max_iter=7).fit(X, NUMBER).predict(X)).all()


def test_partial_fit_is_absent_under_lbfgs():
    for make in MLPClassifier, MLPRegressor:
        assert not hasattr(make(solver="lbfgs"), "partial_fit") and hasattr(make(solver=hm.LBFGS()), "partial_fit")


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
def test_partial_fit_stops_early_and_keeps_the_best(convert):
    model = MLPClassifier([20], learning_rate_init=0.1, early_stopping=True, n_iter_no_change=5, random_state=0)
    calls = 0
    while not model.__dict__.get("_trainer") or not model._trainer.stopped:
        rows = RNG.permutation(len(X))[:60]
        model.partial_fit(convert(X[rows]), THREE[rows], classes=["low", "mid", "top"])
        calls += 1
        assert calls < 300
    curve = model.validation_loss_curve_
    assert len(curve) == calls and min(curve) < curve[-1]
    before = model.network_.theta.copy()
    model.partial_fit(X, THREE)
    assert (model.network_.theta == before).all()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_partial_fit_of_few_samples_holds_out_the_fraction(size):
    model = MLPRegressor([4], early_stopping=True, n_iter_no_change=1000, random_state=0)
    starts = range(0, len(X) - size + 1, size)
    for start in starts:
        model.partial_fit(X[start : start + size], NUMBER[start : start + size])
    n_samples = size * len(starts)
    held_out = model._trainer.held_out
    assert len(held_out) == np.ceil(0.1 * n_samples) and model.t_ + len(held_out) == n_samples
    assert model.validation_loss_curve_ and model._trainer.best == min(model.validation_loss_curve_)


def test_callbacks_see_and_stop():
    seen = []

    def stop_at_three(model):
        seen.append((model.n_iter_, model.loss_, model.score(X, TWO)))
        return model.n_iter_ == 3

    model = MLPClassifier([5], callbacks=[stop_at_three], random_state=0).fit(X, TWO)
    assert model.n_iter_ == 3 == len(seen) and [loss for _, loss, _ in seen] == model.loss_curve_


# ---- data of many kinds --------------------------------------------------------------------------------------------


def test_sparse_samples_give_the_same_bits():
    options = dict(hidden_layer_sizes=[5], max_iter=5, random_state=0, batch_size=16)
    for kind in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array):
        one, other = MLPClassifier(**options).fit(X, THREE), MLPClassifier(**options).fit(kind(X), THREE)
        assert (one.predict_proba(X) == other.predict_proba(kind(X))).all()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_have_named_columns(library):
    frames = pytest.importorskip(library)
    names = ["age", "height", "weight", "income"]
    frame = frames.DataFrame(dict(zip(names, X.T, strict=True)))
    model = MLPClassifier([5], max_iter=5, random_state=0).fit(frame, THREE)
    assert list(model.feature_names_in_) == names
    assert (model.predict(frame) == MLPClassifier([5], max_iter=5, random_state=0).fit(X, THREE).predict(X)).all()
    with pytest.raises(ValueError, match=r"expected the columns \['age', .* got \['income', "):
        model.predict(frame[names[::-1]])
    with pytest.raises(ValueError, match="income"):
        model.predict(frame[names[:3]])


def test_dtype_of_samples_is_that_of_the_network():
    for dtype in (np.float32, np.float64):
        model = MLPRegressor([4], max_iter=3).fit(X.astype(dtype), NUMBER)
        assert model.network_.dtype == dtype == model.predict(X.astype(dtype)).dtype


def test_labels_keep_their_kind():
    for y in (THREE, THREE.astype(object), np.digitize(X[:, 0], [0, 1]) + 5, X[:, 0] > 0):
        predicted = MLPClassifier([5], solver="lbfgs", random_state=0, max_iter=50).fit(X, y).predict(X)
        assert predicted.dtype == y.dtype and set(predicted) <= set(y)


@pytest.mark.parametrize("dtype", ["Int64", "UInt8", "boolean"])
def test_nullable_labels_of_pandas_come_back_exactly(dtype):
    pandas = pytest.importorskip("pandas")
    values = np.digitize(X[:, 0], [0, 1]) + (2**53 if dtype == "Int64" else 0)  # float64 lacks 2^53 + 1
    values = values > 1 if dtype == "boolean" else values
    y = pandas.Series(values, dtype=dtype)
    model = MLPClassifier([5], solver="lbfgs", random_state=0, max_iter=50).fit(X, y)
    assert model.classes_.tolist() == np.unique(values).tolist() and model.score(X, y) > 0.9
    assert (model.predict(X) == MLPClassifier(**model.get_params()).fit(X, values).predict(X)).all()
    assert (PerceptronClassifier(max_iter=3).fit(X, y == y[0]).classes_ == [False, True]).all()


def test_indicator_matrix_may_be_sparse():
    model = MLPClassifier([5], max_iter=5, random_state=0)
    assert model.fit(X, LABELS).predict(X).shape == LABELS.shape == model.predict_proba(X).shape


def test_fitted_network_is_saved(tmp_path):
    model = MLPClassifier([5], max_iter=5).fit(X, THREE)
    hm.save(model.network_, tmp_path / "m.npz")
    np.testing.assert_array_equal(
        hm.load(tmp_path / "m.npz").predict(X).argmax(1), np.searchsorted(model.classes_, model.predict(X))
    )


# ---- the perceptron ------------------------------------------------------------------------------------------------


def test_perceptron_classifier_is_the_perceptron():
    y = np.where(X[:, 0] > 0.1, "b", "a")
    model = PerceptronClassifier(shuffle=False).fit(X, y)
    unit = hm.Perceptron().fit(X, np.where(y == "b", 1, -1))
    assert (model.coef_[0] == unit.w).all() and model.n_iter_ == unit.epochs and model.score(X, y) == 1
    with pytest.warns(ConvergenceWarning, match="may not separate"):
        PerceptronClassifier(max_iter=3).fit(X, TWO)


def test_perceptron_classifier_tells_three_classes_apart():
    centers = np.array([[5.0, 0], [-5, 5], [-5, -5]])[np.arange(90) % 3]
    y = np.array(["x", "y", "z"])[np.arange(90) % 3]
    model = PerceptronClassifier(random_state=0).fit(centers + RNG.normal(size=(90, 2)), y)
    assert model.score(centers, y) == 1 and model.decision_function(centers).shape == (90, 3)


def test_numpys_true_of_a_callback_ends_training():
    model = MLPClassifier([3], max_iter=5, random_state=0, callbacks=[lambda model: np.True_])
    assert model.fit(X, TWO).n_iter_ == 1
