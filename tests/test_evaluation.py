"""The evaluation after each epoch: metrics count the rows that the loss counts, and use the network's own predict."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from trainings import fit, samples

from handmade import MLP, metrics
from handmade.losses import cross_entropy, nll_loss, nll_loss_backward

# ---- labels that the loss ignores


def own_loss(input, target, ignore_index=9):
    return nll_loss(input, target, ignore_index=ignore_index)


def own_backward(input, target, ignore_index=9):
    return nll_loss_backward(input, target, ignore_index=ignore_index)


# Loss, the label that it ignores, and the activations that it needs.
LOSSES = [
    ("cross_entropy", -100, "tanh"),
    (cross_entropy, -100, "tanh"),
    (partial(cross_entropy, ignore_index=0), 0, "tanh"),
    (partial(cross_entropy, ignore_index=255, label_smoothing=0.1), 255, "tanh"),
    ("nll_loss", -100, ["tanh", "log_softmax"]),
    ((own_loss, own_backward), 9, ["tanh", "log_softmax"]),
]
TOP = partial(metrics.top_k_accuracy, k=2)


@pytest.mark.parametrize(("loss", "ignored", "activation"), LOSSES)
@pytest.mark.parametrize("validates", [False, True])
def test_metrics_leave_out_the_rows_that_the_loss_ignores(loss, ignored, activation, validates):
    X, y = samples(40)
    y[:2] = y[::3] = ignored  # the first two are those of the trial before the first step
    network, seen = MLP([3, 5, 3], activation=activation, rng=1), []

    def own(output, target):
        seen.append(target)
        return len(output)

    options = {"validation": (X, y)} if validates else {}
    history = fit(network, X, y, loss=loss, epochs=1, metrics=["accuracy", TOP, own], **options)
    counts = y != ignored
    output, target = network.predict(X[counts]), y[counts]
    expected = {"accuracy": metrics.accuracy(output, target), "top_k_accuracy(k=2)": TOP(output, target)}
    assert history.metrics == {name: [value] for name, value in {**expected, "own": counts.sum()}.items()}
    np.testing.assert_array_equal(seen[-1], target)


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        ("multi_margin_loss", np.arange(40) % 3),
        ("cross_entropy", np.eye(3)[np.arange(40) % 3]),  # probabilities, which have no label to ignore
        ("mse_loss", np.where(np.arange(120).reshape(40, 3) % 7, 1, -100)),
    ],
)
def test_metrics_have_all_rows_where_the_loss_ignores_none(loss, y):
    history = fit(MLP([3, 3], rng=0), samples(40)[0], y, loss=loss, epochs=1, metrics=len_of_both)
    assert history.metrics == {"len_of_both": [40]}


def len_of_both(output, y):
    assert len(output) == len(y)
    return len(y)


@pytest.mark.filterwarnings("ignore:constant targets:handmade.TrainingWarning")
@pytest.mark.parametrize(("options", "begin"), [({}, "y: "), ({"validation": 0.25}, "validation: y: ")])
@pytest.mark.parametrize("metric", ["accuracy", TOP])
def test_metrics_need_a_row_that_the_loss_counts(metric, options, begin):
    X, y = samples(40)
    y[:] = -100
    network = MLP([3, 3], rng=0)
    before = network.theta.copy()
    with pytest.raises(ValueError, match=f"^{begin}expected labels for .*accuracy.* that the loss does not ignore"):
        fit(network, X, y, epochs=1, metrics=metric, **options)
    assert (network.theta == before).all()
    assert fit(network, X, y, epochs=1, **options).loss == [0.0]


# ---- a prediction of the network's own


class Labels(MLP):
    """A network that predicts the class."""

    def predict(self, X, *, batch_size=None):
        return super().predict(X, batch_size=batch_size).argmax(axis=1)


class Shifted(MLP):
    """A network that predicts in the units of the targets."""

    def predict(self, X, *, batch_size=None):
        return 100 + 10 * super().predict(X, batch_size=batch_size)


def to_list(X):
    """Predict the same for all, as a list."""
    return [[0.0, 1.0, 0.0]] * len(X)


@pytest.mark.parametrize("validates", [False, True])
def test_metrics_are_of_what_the_network_predicts(validates):
    X, y = samples(40)
    y[::3] = -100
    count = y != -100
    options = {"validation": (X, y)} if validates else {}
    network, plain = Labels([3, 3], rng=0), MLP([3, 3], rng=0)
    history = fit(network, X, y, epochs=2, metrics=["accuracy", dtype_of], rng=0, **options)
    expected = fit(plain, X, y, epochs=2, metrics=["accuracy"], rng=0, **options)
    assert history.metrics == {"accuracy": expected.metrics["accuracy"], "dtype_of": [8, 8]}
    assert history.validation_loss == expected.validation_loss
    assert history.metrics["accuracy"][-1] == metrics.accuracy(network.predict(X[count]), y[count])


def dtype_of(output, y):
    assert output.dtype == np.int64 and not output.flags.writeable
    return output.dtype.itemsize


def test_metrics_of_numbers_are_in_the_units_of_the_prediction():
    X = samples(40)[0]
    network = Shifted([3, 2], rng=0)
    history = fit(network, X, X[:, :2], loss="mse_loss", epochs=1, metrics="r2_score")
    assert history.metrics["r2_score"] == [metrics.r2_score(network.predict(X), X[:, :2])]
    assert history.metrics["r2_score"][0] < -100


def test_a_prediction_replaced_on_the_network_is_evaluated():
    X, y = samples(40)
    network = MLP([3, 3], rng=0)
    network.predict = to_list
    assert fit(network, X, y, epochs=1, metrics="accuracy").metrics["accuracy"] == [np.mean(y == 1)]
