"""Callbacks and early stopping: what they see, and when they end a run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from trainings import assert_same_state, fit, follow, samples, stateful

import handmade as hm
from handmade import MLP, SGD, Adam, EarlyStopping, ExponentialLR, History, losses
from handmade.callbacks import Stopper

# ---- early stopping --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("validation_losses", "rule", "epochs", "weight"),
    [
        ([5, 4, 3, 3.5, 3.25, 1], 2, 5, 3),
        ([5, 4, 3, 3.5, 3.25, 1], EarlyStopping(2), 5, 3),
        ([5, 4, 3, 3.5, 3.25, 1], 3, 6, 1),
        ([5, 6, 4, 6, 6, 1], 2, 5, 4),
        ([3, 3, 1], 1, 2, 3),
        ([5, 4, 3, 3.5, 3.25, 1], EarlyStopping(2, restore_best=False), 5, 3.25),
        ([5, 4.8, 4.6, 4.4, 4.3, 4.2, 4.1, 1], EarlyStopping(3, min_delta=0.5, restore_best=False), 7, 4.1),
        ([5, 4.8, 4.6, 4.4, 4.3, 1], EarlyStopping(3, min_delta=1, restore_best=False), 4, 4.4),
        ([5, 3, 2.5, 1], EarlyStopping(1, min_delta=1), 3, 3),
        ([5, 4, 6, 6], 3, 4, 4),
    ],
)
def test_patience_is_counted_from_the_last_improvement(validation_losses, rule, epochs, weight):
    network, history = follow(validation_losses, early_stopping=rule)
    assert history.validation_loss == validation_losses[:epochs]
    assert history.stopped == ("early stopping" if epochs < len(validation_losses) else "all epochs")
    assert network.theta.tolist() == [weight]


def test_the_best_epoch_is_restored_exactly():
    X, y = samples(20)
    held = samples(20, seed=8)  # labels of pure chance: the validation loss soon rises
    network, states = stateful(), []
    options = {"epochs": 100, "batch_size": 8, "early_stopping": 5, "rng": 1, "optimizer": Adam(lr=0.05)}
    history = fit(network, X, y, validation=held, callbacks=lambda n, _: states.append(n.state_dict()), **options)
    assert history.stopped == "early stopping"
    assert len(history) == history.best_epoch + 6
    assert_same_state(network.state_dict(), states[history.best_epoch])
    assert losses.cross_entropy(network.predict(held[0]), held[1]) == min(history.validation_loss)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"patience": 0}, ValueError),
        ({"patience": 2.5}, TypeError),
        ({"min_delta": -1.0}, ValueError),
        ({"min_delta": float("nan")}, ValueError),
        ({"restore_best": 1}, TypeError),
        ({"monitor": 3}, TypeError),
        ({"mode": "least"}, ValueError),
        ({"mode": 3}, ValueError),
    ],
)
def test_early_stopping_refuses(options, error):
    with pytest.raises(error, match=f"^{next(iter(options))}: expected"):
        EarlyStopping(**options)


def test_early_stopping_is_a_constant_of_plain_numbers():
    rule = EarlyStopping(min_delta=1)
    assert (rule.patience, type(rule.min_delta)) == (10, float)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.patience = 3


# ---- callbacks -------------------------------------------------------------------------------------------------------


def test_a_callback_that_returns_true_ends_training():
    seen = []
    callbacks = [lambda n, h: seen.append(str(h)), lambda n, h: len(h) == 3]
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=9, callbacks=callbacks, progress=False)
    assert len(history) == len(seen) == 3 and history.stopped == "callback"
    assert seen[0].startswith("1 epochs (running): loss")


def test_on_batch_is_called_after_every_update():
    class Batches:
        losses = ()

        def on_batch(self, network, loss):
            self.losses += (loss,)

        def __call__(self, network, history):
            pass

    batches = Batches()
    history = fit(MLP([3, 3], rng=0), *samples(8), epochs=2, batch_size=4, callbacks=batches, progress=False)
    assert np.reshape(batches.losses, (2, 2)).mean(axis=1).tolist() == pytest.approx(history.loss, rel=1e-15)


@pytest.mark.parametrize("decay", [None, 0.75])
def test_averaged_weights_are_those_written_by_hand(decay):
    thetas, every = [], []
    average = hm.AveragedModel(decay, start=2)

    class Recorder:
        def on_batch(self, network, loss):
            every.append(network.theta.copy())

        def __call__(self, network, history):
            thetas.append(network.theta.copy())

    fit(MLP([3, 3], rng=0), *samples(8), epochs=4, batch_size=4, callbacks=[Recorder(), average], progress=False)
    if decay is None:
        expected = np.mean(thetas[1:], axis=0)
    else:
        expected = every[2]
        for theta in every[3:]:
            expected = decay * expected + (1 - decay) * theta
    np.testing.assert_allclose(average.network.theta, expected, rtol=1e-14)
    assert average.n_averaged == (3 if decay is None else 6)


@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
def test_early_stopping_may_watch_the_training_loss_or_a_metric(monitor):
    rule = EarlyStopping(patience=2, monitor=monitor)
    options = dict(metrics="accuracy", optimizer=SGD(lr=0.0), early_stopping=rule, shuffle=False, progress=False)
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=9, **options)
    assert len(history) == 3 and history.stopped == "early stopping"
    with pytest.raises(ValueError, match="early_stopping: expected monitor to be one of validation_loss, loss"):
        fit(MLP([3, 3], rng=0), *samples(), early_stopping=EarlyStopping(monitor="r2"), progress=False)


@pytest.mark.parametrize(
    ("rule", "values", "epochs"),
    [
        (EarlyStopping(2, monitor="loss"), [3.0, 2.0, 2.5, 2.25], 4),  # a loss is to fall
        (EarlyStopping(2, monitor="right"), [0.5, 0.75, 0.625, 0.75], 4),  # any other number is to rise
        (EarlyStopping(2, monitor="right", min_delta=0.25), [0.25, 0.4, 0.45], 3),
        (EarlyStopping(2, monitor="right", min_delta=0.25), [0.25, 0.4, 0.6, 0.7, 0.8], 5),
        (EarlyStopping(2, monitor="loss"), [np.inf, np.nan], 2),  # never better than nothing
        (EarlyStopping(2, monitor="loss", mode="max"), [3.0, 2.0, 2.5], 3),
        (EarlyStopping(2, monitor="right", mode="min"), [0.25, 0.4, 0.6], 3),
    ],
)
def test_early_stopping_knows_which_way_is_better(rule, values, epochs):
    stopper, history = Stopper(MLP([3, 3], rng=0), rule, False, {"right": None}), History(metrics={"right": []})
    stops = []
    for value in values:
        history.add(value, {"right": value}, 0.1, 0.0)
        stops.append(stopper.after(history))
    assert stops == [False] * (epochs - 1) + [True]


def test_a_stratified_fraction_holds_its_share_of_every_class():
    y = np.repeat([0, 1, 2], [80, 16, 4])
    X, seen = np.random.default_rng(0).normal(size=(100, 2)), []

    def count(output, held):
        seen.append(np.bincount(held, minlength=3).tolist())
        return 0.0

    fit(MLP([2, 3], rng=0), X, y, epochs=1, validation=0.25, stratify=True, metrics=count, rng=0, progress=False)
    assert seen[-1] == [20, 4, 1]
    with pytest.raises(TypeError, match="stratify: expected targets that are class indices"):
        fit(MLP([2, 2], rng=0), X, X, loss="mse_loss", validation=0.25, stratify=True, progress=False)


def test_several_schedules_each_have_their_own_time():
    optimizer = SGD(lr=1.0)
    schedule = [(ExponentialLR(optimizer, 0.5), "epoch"), (ExponentialLR(optimizer, 0.9), "batch")]
    history = fit(MLP([3, 3], rng=0), *samples(8), optimizer=optimizer, epochs=2, batch_size=4, schedule=schedule)
    assert history.lr == pytest.approx([0.9, 0.5 * 0.9**3]) and optimizer.lr == pytest.approx(0.25 * 0.9**4)


def test_one_output_for_classes_by_softmax_is_refused():
    X, _ = samples(6)
    with pytest.raises(ValueError, match="expected at least 2 outputs for cross_entropy, got 1; for one output use"):
        fit(MLP([3, 4, 1], rng=0), X, np.zeros(6, int), progress=False)


def test_a_history_is_a_table(tmp_path):
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=2, validation=0.5, metrics="accuracy", progress=False)
    table = history.to_dict()
    assert list(table) == ["epoch", "loss", "validation_loss", "accuracy", "lr", "seconds"] and table["epoch"] == [1, 2]
    history.to_csv(tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_bytes().count(b"\r\n") == 3  # as RFC 4180 has it
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0] == ",".join(table) and len(lines) == 3 and float(lines[2].split(",")[1]) == history.loss[1]


def test_the_best_epoch_is_the_lowest_that_is_a_number():
    history = History(loss=[0.5], validation_loss=[0.25], stopped="all epochs")
    assert repr(history) == str(history) == "1 epochs (all epochs): loss 0.5  validation 0.25; best epoch 1"
    assert History(loss=[1, 1, 1], validation_loss=[0.5, np.nan, 0.3]).best_epoch == 2
    assert History(loss=[1], validation_loss=[np.nan]).best_epoch is None


def test_messages_speak_of_the_caller_s_array():
    X = np.zeros((5000, 3))
    with pytest.raises(ValueError, match=r"^y: .*reshape indices with y.reshape\(5000\)"):
        fit(MLP([3, 3], rng=0), X, np.zeros((5000, 1), int), progress=False)


def test_a_metric_that_is_no_number_is_named_and_cannot_write():
    with pytest.raises(TypeError, match="metrics: expected nothing to return a number, got None"):
        fit(MLP([3, 3], rng=0), *samples(), metrics=nothing, progress=False)
    with pytest.raises(ValueError, match="read-only"):
        fit(MLP([3, 3], rng=0), *samples(), metrics=lambda output, y: output.fill(0), progress=False)


def nothing(output, y):
    return None


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "mse_loss"])
def test_metrics_see_the_outputs_of_the_whole_network(loss):
    """Also under a loss that takes over the last activation and reads the logits itself."""
    X, y = hm.data.xor()
    network = hm.MLP([2, 4, 1], activation=["tanh", "sigmoid"], rng=0)
    seen = []
    hm.fit(
        network,
        X,
        y[:, None].astype(float),
        loss=loss,
        epochs=1,
        metrics=[lambda output, y: seen.append(output) or 0.0],
    )
    np.testing.assert_array_equal(seen[-1], network.predict(X))


@pytest.mark.parametrize("answer", [True, np.True_])
def test_true_of_python_or_numpy_ends_training(answer):
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=5, callbacks=lambda network, history: answer)
    assert (len(history), history.stopped) == (1, "callback")


@pytest.mark.parametrize("answer", [1, "yes", np.ones(2), None, np.False_])
def test_other_answers_do_not_end_training(answer):
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=2, callbacks=lambda network, history: answer)
    assert (len(history), history.stopped) == (2, "all epochs")


def test_an_average_of_two_networks_is_refused():
    average = hm.AveragedModel()
    fit(MLP([3, 3], rng=0), *samples(), epochs=2, callbacks=average)
    before = average.network.theta.copy()
    with pytest.raises(ValueError, match=r"AveragedModel: .* another network; make a new AveragedModel"):
        fit(MLP([3, 4, 3], rng=0), *samples(), epochs=1, callbacks=average)
    assert (average.network.theta == before).all()
    assert average.n_averaged == 2


def averaged():
    """Return an average of two epochs."""
    average = hm.AveragedModel()
    fit(MLP([3, 3], rng=0), *samples(), epochs=2, callbacks=average, progress=False)
    return average


def test_an_average_goes_on_from_its_state():
    average, other = averaged(), hm.AveragedModel()
    other.load_state_dict(average.state_dict(), MLP([3, 3]))
    np.testing.assert_array_equal(other.network.theta, average.network.theta)
    assert (other.n_averaged, other.state_dict()["epoch"]) == (2, 2)
    empty = hm.AveragedModel()
    empty.load_state_dict(hm.AveragedModel().state_dict())
    assert empty.network is None and empty.n_averaged == 0


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda state: list(state), ValueError, r"^state_dict: expected a mapping with the entries \['n_averaged'"),
        (lambda state: state | {"decay": 1}, ValueError, "^state_dict: expected a mapping with the entries"),
        (lambda state: state | {"epoch": -1}, ValueError, "^state_dict: n_averaged, epoch: expected an integer of at"),
        (lambda state: state | {"epoch": [[1], []]}, ValueError, "^state_dict: epoch: expected an array"),
        (lambda state: state, ValueError, "^network: expected the network that is averaged, got None"),
    ],
)
def test_an_average_refuses_another_state(change, error, words):
    average = hm.AveragedModel()
    with pytest.raises(error, match=words):
        average.load_state_dict(change(averaged().state_dict()))
    assert average.network is None and average.n_averaged == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: hm.AveragedModel(2), "^decay: expected"),
        (lambda: hm.AveragedModel(start=0), "^start: expected an integer of at least 1, got 0"),
        (lambda: Stopper(MLP([3, 3]), EarlyStopping(), False, {}), "^early_stopping: expected validation data"),
        (lambda: Stopper(MLP([3, 3]), 0, True, {}), "^early_stopping: expected an integer of at least 1, got 0"),
    ],
)
def test_an_option_of_a_callback_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
