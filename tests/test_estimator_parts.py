"""The parts of an estimator, one by one: targets, scores, weights, the count of epochs, and checks."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from estimators_of_tests import LABELS, NUMBER, THREE, TWO, X
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.utils import get_tags

import handmade as hm
from handmade.activations import logsigmoid, sigmoid, softmax
from handmade.estimators import MLPClassifier, MLPRegressor, PerceptronClassifier
from handmade.estimators._targets import class_targets, number_targets
from handmade.estimators._trainer import SMALLEST_LR, Batches, Trainer, initialize
from handmade.estimators._validate import check_missing

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---- targets ---------------------------------------------------------------------------------------------------------

OUTPUTS = np.random.default_rng(1).normal(size=(4, 3))
Y3, Y2 = np.array(["a", "c", "b", "a"]), np.array([5, 7, 7, 5])


@pytest.mark.parametrize(
    ("y", "loss", "outputs", "encoded"),
    [
        (Y3, None, 3, [0, 2, 1, 0]),
        (Y2, None, 1, [[0], [1], [1], [0]]),
        (Y3, "cross_entropy", 3, [0, 2, 1, 0]),
        (Y2, "cross_entropy", 2, [0, 1, 1, 0]),
        (Y3, "hinge_loss", 3, [[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]),  # signs
        (Y2, "hinge_loss", 1, [[-1], [1], [1], [-1]]),
        (Y3, "binary_cross_entropy_with_logits", 3, [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]),
        (Y2, "binary_cross_entropy_with_logits", 1, [[0], [1], [1], [0]]),
        (LABELS[:4], None, 3, LABELS[:4]),
        (LABELS[:4], "hinge_loss", 3, LABELS[:4]),
    ],
)
def test_labels_are_encoded_as_the_loss_takes_them(y, loss, outputs, encoded):
    targets = class_targets(y, None, loss)
    assert targets.n_outputs == outputs
    assert targets.encode(y).tolist() == np.asarray(encoded).tolist()
    if y.ndim == 1:
        assert targets.classes.tolist() == sorted(set(y.tolist()))
    else:
        assert targets.classes.tolist() == [0, 1, 2]


def test_outputs_become_probabilities_and_labels():
    several, two, each, labels = (
        class_targets(Y3, None, None), class_targets(Y2, None, None), class_targets(Y3, None, "hinge_loss"),
        class_targets(LABELS[:4], None, None),
    )  # fmt: skip
    assert np.array_equal(several.values(OUTPUTS), softmax(OUTPUTS))
    assert np.array_equal(each.values(OUTPUTS), softmax(logsigmoid(OUTPUTS)))
    assert np.array_equal(labels.values(OUTPUTS), sigmoid(OUTPUTS))
    assert np.array_equal(
        two.values(OUTPUTS[:, :1]), np.column_stack([sigmoid(-OUTPUTS[:, 0]), sigmoid(OUTPUTS[:, 0])])
    )
    assert several.decode(OUTPUTS).tolist() == [["a", "b", "c"][i] for i in OUTPUTS.argmax(axis=1)]
    assert labels.decode(np.array([[0.5, 0.51, 0.2]])).tolist() == [[0, 1, 0]]
    assert [t.out_activation for t in (several, two, each, labels)] == ["softmax", "logistic", "logistic", "logistic"]


@pytest.mark.parametrize(
    ("y", "error"),
    [
        (np.array([[0, 1, 2], [1, 1, 0]]), "expected an indicator matrix of 0 and 1, got 2"),
        (np.zeros((2, 2)), r"expected an indicator matrix of 3 labels, got shape \(2, 2\)"),
        (np.zeros(3), r"expected an indicator matrix of 3 labels, got shape \(3,\)"),
    ],
)
def test_labels_of_another_kind_are_refused(y, error):
    with pytest.raises(ValueError, match=f"^y: {error}"):
        class_targets(LABELS, None, None).encode(y)
    with pytest.raises(ValueError, match=r"^y: expected labels among \['a', 'b', 'c'\], got 'd'"):
        class_targets(Y3, None, None).encode(np.array(["a", "d", "b"]))
    with pytest.raises(ValueError, match=r"^y: expected 1 columns, got shape \(4, 2\)"):
        number_targets(NUMBER, None).encode(np.zeros((4, 2)))


@pytest.mark.parametrize(("y", "vector"), [(NUMBER[:4], True), (NUMBER[:4, np.newaxis], False), (X[:4], False)])
def test_numbers_keep_their_shape(y, vector):
    targets = number_targets(y, None)
    Y = targets.encode(y)
    assert Y.shape == (4, targets.n_outputs) == (4, 1 if vector else y.shape[1])
    assert np.array_equal(targets.decode(targets.values(Y)), y)
    counts = number_targets(np.abs(y), "poisson")
    assert np.array_equal(counts.values(Y), np.exp(Y)) and counts.out_activation == "exp"


@pytest.mark.parametrize(
    "loss", [class_targets(Y2, None, None).loss, number_targets(Y2, "poisson").loss], ids=["log", "poisson"]
)
def test_losses_of_the_estimators_are_sums_over_outputs(loss):
    """Half of scikit-learn's Poisson deviance, and its log loss; each reduction, and its gradient by differences."""
    value, backward = loss
    target = (
        np.array([[0.0, 1, 2], [1, 1, 0], [0, 0, 1], [3, 0, 1]]) if value.__name__ == "poisson" else LABELS[:4] * 1.0
    )
    rows = value(OUTPUTS, target, reduction="none")
    if value.__name__ == "poisson":
        mean, log_target = np.exp(OUTPUTS), np.log(np.where(target > 0, target, 1))
        expected = (target * (log_target - OUTPUTS) - target + mean).sum(axis=1)
    else:
        expected = -(target * logsigmoid(OUTPUTS) + (1 - target) * logsigmoid(-OUTPUTS)).sum(axis=1)
    assert np.allclose(rows, expected, rtol=1e-14)
    assert value(OUTPUTS, target) == pytest.approx(rows.mean())
    assert value(OUTPUTS, target, reduction="sum") == pytest.approx(rows.sum())
    for reduction in "mean", "sum":
        numerical = hm.numerical_gradient(
            lambda A, r=reduction: float(value(A.reshape(4, 3), target, reduction=r)), OUTPUTS.ravel()
        )
        assert np.allclose(backward(OUTPUTS, target, reduction=reduction).ravel(), numerical, atol=1e-8)


def test_classes_of_the_first_call_are_all_there_will_be():
    first = THREE != "top"
    model = MLPClassifier([4], random_state=0).partial_fit(X[first], THREE[first], classes=["top", "low", "mid"])
    assert model.classes_.tolist() == ["low", "mid", "top"] and model.n_outputs_ == 3
    assert model.partial_fit(X, THREE).classes_.tolist() == ["low", "mid", "top"]


@pytest.mark.parametrize(
    "model", [MLPClassifier([3], max_iter=2, random_state=0), PerceptronClassifier(random_state=0)]
)
def test_a_column_of_labels_is_a_vector_with_a_warning(model):
    expected = model.fit(X, TWO).predict(X)
    with pytest.warns(DataConversionWarning):
        found = model.fit(X, TWO[:, np.newaxis]).predict(X)
    assert found.tolist() == expected.tolist()


# ---- scores and weights ----------------------------------------------------------------------------------------------


def test_scores_are_weighted():
    assert MLPClassifier()._score_of([0, 1], [0, 0], np.array([3.0, 1.0])) == 0.75
    assert MLPRegressor()._score_of([0.0, 1, 2], [0.0, 1, 1], np.array([1.0, 1, 0])) == 1
    model = MLPClassifier([4], early_stopping=True, random_state=0, max_iter=4).fit(X, THREE)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert MLPClassifier([4], max_iter=1).fit(X, TWO).best_validation_score_ is None


def test_several_labels_have_class_weights_of_their_own():
    weights = [{0: 1, 1: 2}, {0: 3, 1: 1}, {0: 1, 1: 1}]
    model = MLPClassifier(class_weight=weights)
    expected = np.prod([[one[label] for one, label in zip(weights, row, strict=True)] for row in LABELS], axis=1)
    assert model._class_weight(LABELS).tolist() == expected.tolist()
    assert MLPClassifier(class_weight={0: 2, 1: 5})._class_weight(np.array([0, 1, 1])).tolist() == [2, 5, 5]
    assert MLPClassifier(class_weight="balanced")._class_weight(np.array([0, 1, 1, 1])).tolist() == pytest.approx(
        [2, *[2 / 3] * 3]
    )
    assert MLPClassifier()._class_weight(LABELS) is None
    for given in weights, "even", [1, 2], {0: "two"}:
        with pytest.raises(ValueError, match=r"^class_weight: expected "):
            MLPClassifier(class_weight=given)._class_weight(TWO)


def trainer_of(loss="mse_loss", alpha=0.0, optimizer=None, **options):
    network = hm.MLP([4, 3, 2], "tanh", rng=0, **options)
    return Trainer(network, optimizer or hm.SGD(lr=0.1), loss, alpha, np.random.RandomState(0))


@pytest.mark.parametrize("weight", [None, np.array([1.0, 0, 3, 0.5, 2]), np.zeros(5)], ids=["none", "some", "zero"])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_the_loss_is_a_weighted_mean_with_a_penalty(weight, alpha):
    trainer = trainer_of("half_squared_error", alpha)
    batch = Batches(X[:5], X[:5, :2], weight, np.dtype(float))
    value, gradient = trainer.value_and_gradient(batch)
    w = np.ones(5) if weight is None else weight
    if not w.any():
        assert value == 0
        return
    H = trainer.network.predict(X[:5])
    weights = np.concatenate([layer.W.ravel() for layer in trainer.network.layers if isinstance(layer, hm.Dense)])
    expected = (w * 0.5 * ((H - X[:5, :2]) ** 2).sum(axis=1)).sum() / w.sum() + alpha / 2 * weights @ weights / w.sum()
    assert value == pytest.approx(expected, rel=1e-13)
    theta, found = trainer.network.theta, gradient.copy()

    def f(x):
        theta[:] = x
        return trainer.value_and_gradient(batch)[0]

    assert np.allclose(found, hm.numerical_gradient(f, theta.copy()), atol=1e-8)


def test_a_batch_of_no_weight_takes_no_step():
    trainer = trainer_of()
    before = trainer.network.theta.copy()
    trainer._step(Batches(X[:5], X[:5, :2], np.zeros(5), np.dtype(float)))
    assert (trainer.network.theta == before).all()


# ---- the count of epochs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "tol", "unimproved", "best"),
    [
        ([3, 2, 1], 0.5, 0, 1),
        ([3, 2.6, 2.2], 0.5, 2, 2.2),  # each falls by less than tol
        ([3, 2.5], 0.5, 0, 2.5),
        ([3, 4, 5, 2], 0.0, 0, 2),
        ([3, 4, 5], 0.0, 2, 3),
        ([3, 3], 0.0, 0, 3),
    ],
)
def test_epochs_without_improvement_are_counted(values, tol, unimproved, best):
    trainer = trainer_of()
    for value in values:
        trainer.watch(value, tol, keep_best=True)
    assert (trainer.unimproved, trainer.best) == (unimproved, best)


def test_the_best_weights_come_back_then_the_last_go_on():
    trainer = trainer_of()
    theta = trainer.network.theta
    for value, fill in (3.0, 1.0), (1.0, 2.0), (2.0, 3.0):
        theta[:] = fill
        trainer.watch(value, 0.0, keep_best=True)
        trainer.curve.append(value)
    trainer.restore_best()
    assert set(theta) == {2.0}
    trainer.go_on()
    assert set(theta) == {3.0} and trainer.last is None and trainer.n_iter == 0
    other = trainer_of()
    other.watch(1.0, 0.0, keep_best=False)
    other.restore_best()
    assert other.best_state is None and other.last is None


def test_an_epoch_that_is_not_completed_is_taken_back():
    trainer = trainer_of()
    data = Batches(X, X[:, :2], None, np.dtype(float))
    trainer.epoch(data, 50, True)
    trainer.complete()
    theta, order, seen = trainer.network.theta.copy(), trainer.order.copy(), trainer.seen
    trainer.epoch(data, 50, True)
    trainer.validation_curve.append(1.0)
    trainer.go_back()
    assert (trainer.network.theta == theta).all() and (trainer.order == order).all()
    assert (trainer.seen, len(trainer.curve), trainer.validation_curve) == (seen, 1, []) == (len(X), 1, [])


def test_an_adaptive_rate_falls_by_five_down_to_a_smallest():
    trainer = trainer_of()
    trainer.unimproved = 3
    assert not trainer.lower_learning_rate(False)
    assert trainer.lower_learning_rate(True) and trainer.optimizer.lr == pytest.approx(0.02) and trainer.unimproved == 0
    trainer.optimizer.lr = SMALLEST_LR
    assert not trainer.lower_learning_rate(True) and trainer.optimizer.lr == SMALLEST_LR


@pytest.mark.parametrize(("normalization", "sizes"), [(None, [7, 7, 1]), ("batch", [7, 8])])
def test_a_last_sample_joins_where_statistics_need_two(normalization, sizes):
    trainer, seen = trainer_of(normalization=normalization), []
    trainer._step = lambda batch: seen.append(len(batch)) or float(len(seen))
    value = trainer.epoch(Batches(X[:15], X[:15, :2], None, np.dtype(float)), 7, False)
    assert seen == sizes
    assert value == pytest.approx(np.average(np.arange(1, len(sizes) + 1), weights=sizes))
    assert trainer.seen == 15


def test_validation_averages_losses_and_scores_all():
    trainer = trainer_of("half_squared_error")
    seen = []
    for weight, expected in (None, np.ones(120)), (np.linspace(0, 3, 120),) * 2, (np.zeros(120), np.ones(120)):
        held_out = Batches(X, X[:, :2], weight, np.dtype(float))
        trainer.validate(held_out, lambda outputs, block: seen.append(len(outputs)) or 0.25)
        rows = 0.5 * ((trainer.network.predict(X) - X[:, :2]) ** 2).sum(axis=1)
        assert trainer.validation_curve[-1] == pytest.approx(np.average(rows, weights=expected))
    assert trainer.validation_scores == [0.25] * 3 and seen == [120] * 3


@pytest.mark.parametrize(
    ("activation", "factor"), [("logistic", 2), ("sigmoid", 2), ("tanh", 6), ("relu", 6), (["relu"], 6)]
)
def test_weights_are_drawn_as_in_scikit_learn(activation, factor):
    network = hm.MLP([4, 3, 2], "tanh", rng=0)
    initialize(network, activation, np.random.RandomState(1))
    random = np.random.RandomState(1)
    for layer in network.layers[0], network.layers[2]:
        O, I = layer.W.shape
        bound = np.sqrt(factor / (I + O))
        assert (random.uniform(-bound, bound, (I, O)).T == layer.W).all()
        assert (random.uniform(-bound, bound, O) == layer.b).all()
        assert all(np.shares_memory(array, network.theta) for array in (layer.W, layer.b))


# ---- checks ----------------------------------------------------------------------------------------------------------


def test_tags_say_what_the_estimators_take():
    for model in MLPClassifier(), MLPRegressor():
        assert get_tags(model).input_tags.sparse and get_tags(model).target_tags.multi_output
    assert get_tags(MLPClassifier()).classifier_tags.multi_label
    assert get_tags(PerceptronClassifier()).input_tags.sparse


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 1}, {"batch_size": np.int8(3)}, {"max_iter": 1}, {"tol": 0}, {"alpha": 0}, {"shuffle": np.True_},
        {"verbose": 0}, {"callbacks": None}, {"hidden_layer_sizes": 3}, {"hidden_layer_sizes": ()}, {"momentum": 0},
        {"beta_1": 0}, {"n_iter_no_change": 1}, {"n_iter_no_change": np.inf}, {"epsilon": 0},
        {"validation_fraction": 0},
    ],
    ids=str,
)  # fmt: skip
def test_parameters_at_their_limits_are_legal(options):
    MLPClassifier(**options)._check_parameters()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"solver": b"adam"}, ValueError), ({"solver": None}, ValueError), ({"beta_1": 1.0}, ValueError),
        ({"beta_2": 1}, ValueError), ({"max_iter": 2.0}, ValueError), ({"alpha": True}, ValueError),
        ({"alpha": "0.1"}, ValueError), ({"tol": np.nan}, ValueError), ({"n_iter_no_change": 0.5}, ValueError),
        ({"validation_fraction": 1}, ValueError), ({"shuffle": 1}, TypeError), ({"verbose": "yes"}, TypeError),
        ({"callbacks": 3}, TypeError), ({"callbacks": [3]}, TypeError), ({"batch_size": 2.0}, ValueError),
        ({"batch_size": "all"}, ValueError), ({"learning_rate_init": np.inf}, ValueError),
        ({"max_iter": np.timedelta64(3)}, ValueError), ({"batch_size": np.timedelta64(3)}, ValueError),
    ],
    ids=str,
)  # fmt: skip
def test_parameters_beyond_their_limits_are_named(options, error):
    (name,) = options
    with pytest.raises(error, match=f"^{name}: expected "):
        MLPClassifier(**options)._check_parameters()


def test_missing_classes_are_named():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"^classes: expected no missing values"):
        MLPClassifier().partial_fit(X, TWO, classes=[0, pandas.NA])
    check_missing([np.zeros((2, 2)), np.zeros((2, 3))], "X")  # which NumPy cannot read, nor say what is missing
    with pytest.raises(TypeError, match=r"^classes: expected an array without a mask"):
        MLPClassifier().partial_fit(X, TWO, classes=np.ma.array([0, 1], mask=[False, True]))


def test_an_end_before_convergence_is_told():
    with pytest.warns(ConvergenceWarning, match="max_iter: expected L-BFGS to converge, got .* after 1 iterations"):
        MLPClassifier([3], solver="lbfgs", max_iter=1, random_state=0).fit(X, TWO)
    with pytest.warns(
        ConvergenceWarning, match=r"max_iter: expected the loss to settle \(n_iter_no_change=10, tol=0.0001\)"
    ):
        MLPClassifier([3], max_iter=1, random_state=0).fit(X, TWO)


# ---- the perceptron --------------------------------------------------------------------------------------------------

SIGNS = np.random.default_rng(2).normal(size=(30, 2))


def test_a_perceptron_shuffles_if_asked_to():
    y = np.sign(SIGNS[:, 0] + 0.3).astype(int)
    in_order = PerceptronClassifier(shuffle=False).fit(SIGNS, y).coef_
    shuffled = [PerceptronClassifier(random_state=seed).fit(SIGNS, y).coef_ for seed in (0, 0, 1)]
    order = np.arange(30)
    np.random.RandomState(0).shuffle(order)
    by_hand = PerceptronClassifier(shuffle=False).fit(SIGNS[order], y[order]).coef_
    assert np.array_equal(shuffled[0], shuffled[1]) and np.array_equal(shuffled[0], by_hand)
    assert not np.array_equal(shuffled[0], in_order) and not np.array_equal(shuffled[0], shuffled[2])


def test_one_class_that_no_line_separates_is_told():
    """Of three classes in a row, the middle one has no line of its own."""
    x = np.array([[0.0], [1], [4], [5], [8], [9]])
    with pytest.warns(ConvergenceWarning, match="max_iter: 50 epochs did not end the mistakes"):
        model = PerceptronClassifier(max_iter=50).fit(x, [0, 0, 1, 1, 2, 2])
    assert [unit.converged for unit in model.units_] == [True, False, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PerceptronClassifier(max_iter=50).fit(x, [0, 0, 0, 2, 2, 2])


@pytest.mark.parametrize("name", ["shuffle", "fit_intercept"])
def test_flags_of_a_perceptron_are_checked(name):
    with pytest.raises(TypeError, match=f"^{name}: expected"):
        PerceptronClassifier(**{name: "yes"}).fit(X, TWO)
