"""The arguments of `fit`: bad ones are named, and nothing has changed."""

from __future__ import annotations

import functools
import inspect

import numpy as np
import pytest
from trainings import (
    X_LONG,
    Y_LONG,
    assert_same_state,
    fit,
    flat,
    mean_output,
    rows_seen,
    samples,
    state,
    stateful,
    targets,
    warned,
    with_middle,
    with_row,
)

import handmade as hm
from handmade import (
    L1,
    MLP,
    SGD,
    Adam,
    Chain,
    ClipGradNorm,
    EarlyStopping,
    ExponentialLR,
    History,
    OneCycleLR,
    ReduceLROnPlateau,
    losses,
)
from handmade.metrics import accuracy, top_k_accuracy

# ---- bad input -------------------------------------------------------------------------------------------------------

with_last = functools.partial(with_row, -1)


def pair_without_reduction():
    return lambda input, target: float(((input - target) ** 2).sum()), lambda input, target: 2 * (input - target)


BAD = {
    "nan in X": ({"X": with_last(X_LONG, [0, np.nan, 0])}, ValueError, "X: expected finite numbers, got nan"),
    "infinity in X": ({"X": with_middle(X_LONG, np.inf)}, ValueError, "X: expected finite numbers, got inf"),
    "words in X": ({"X": np.full((2500, 3), "a")}, TypeError, "X: expected numbers"),
    "X of one dimension": ({"X": X_LONG[:, 0]}, ValueError, "X"),
    "X too wide": ({"X": np.ones((2500, 4))}, ValueError, r"X: expected shape \(N, 3\).*4"),
    "no samples": ({"X": X_LONG[:0], "y": Y_LONG[:0]}, ValueError, r"N at least 1, got \(0, 3\)"),
    "lengths": ({"y": Y_LONG[1:]}, ValueError, r"y: expected one target per row.*2499"),
    "a number for y": ({"y": 1}, ValueError, "y: expected one target per row"),
    "nan in y": (
        {"y": with_middle(X_LONG, np.nan), "loss": "mse_loss"},
        ValueError,
        "y: expected finite numbers",
    ),
    "label too large": ({"y": with_last(Y_LONG, 3)}, ValueError, "from 0 to 2, got 3"),
    "label below zero": ({"y": with_middle(Y_LONG, -1)}, ValueError, "from 0 to 2, got -1"),
    "labels as words": ({"y": Y_LONG.astype(str)}, TypeError, "^y: "),
    "labels as floats": ({"y": Y_LONG.astype(float)}, TypeError, "y: expected integer"),
    "labels for mse": ({"loss": "mse_loss"}, ValueError, "y: expected the shape"),
    "hinge labels": (
        {"y": with_middle(np.ones((2500, 3)), 0), "loss": "hinge_loss"},
        ValueError,
        "labels -1 and",
    ),
    "unknown loss": ({"loss": "crossentropy"}, ValueError, "loss: expected one of.*'crossentropy'"),
    "loss of no kind": ({"loss": 3}, TypeError, "loss"),
    "loss without gradient": (
        {"loss": "zero_one_loss", "y": np.zeros((2500, 3))},
        TypeError,
        "zero_one_loss has no gradient",
    ),
    "loss of many numbers": (
        {"loss": functools.partial(losses.cross_entropy, reduction="none")},
        ValueError,
        "reduction='none'",
    ),
    "loss of many numbers, last batch dropped": (
        {
            "loss": functools.partial(losses.cross_entropy, reduction="none"),
            "drop_last": True,
            "batch_size": 499,
        },
        ValueError,
        "reduction='none'",
    ),
    "weights for a pair without reduction": (
        {"loss": pair_without_reduction(), "y": np.zeros((2500, 3)), "sample_weight": np.ones(2500)},
        TypeError,
        "reduction",
    ),
    "no epochs": ({"epochs": 0}, ValueError, "epochs: expected an integer of at least 1, got 0"),
    "half epochs": ({"epochs": 1.5}, TypeError, "epochs"),
    "no batch": ({"batch_size": 0}, ValueError, "batch_size: expected an integer of at least 1, got 0"),
    "half batch": ({"batch_size": 2.5}, TypeError, "batch_size"),
    "last batch of one": ({"batch_size": 2499}, ValueError, "at least 2 samples"),
    "fraction above one": ({"validation": 1.5}, ValueError, "validation: expected a fraction.*1.5"),
    "fraction of zero": ({"validation": 0.0}, ValueError, "validation"),
    "fraction of all": ({"validation": 0.99999}, ValueError, "validation.*leaves samples to train on"),
    "a count for a fraction": ({"validation": 10}, ValueError, "validation"),
    "validation of one part": ({"validation": (X_LONG,)}, ValueError, "validation"),
    "validation too wide": (
        {"validation": (np.ones((2, 4)), [0, 1])},
        ValueError,
        r"X: expected shape \(N, 3\)",
    ),
    "validation label": ({"validation": (X_LONG, with_last(Y_LONG, 3))}, ValueError, "from 0 to 2, got 3"),
    "validation nan": ({"validation": (with_last(X_LONG, np.nan), Y_LONG)}, ValueError, "X: expected finite"),
    "validation empty": ({"validation": (X_LONG[:0], Y_LONG[:0])}, ValueError, "N at least 1"),
    "unknown metric": ({"metrics": ["precision"]}, ValueError, "metrics: .*accuracy.*'precision'"),
    "metric of no kind": ({"metrics": [3]}, ValueError, "metrics"),
    "two metrics of one name": ({"metrics": [accuracy, "accuracy"]}, ValueError, "metrics: .*accuracy"),
    "metric that does not fit": (
        {"metrics": ["accuracy"], "loss": "mse_loss", "y": X_LONG},
        ValueError,
        "expected one-hot rows",
    ),
    "schedule_every": (
        {"schedule_every": "step"},
        ValueError,
        "schedule_every: .*'epoch' or 'batch', got 'step'",
    ),
    "plateau by batch": (
        {"schedule": ReduceLROnPlateau(SGD()), "schedule_every": "batch"},
        (ValueError, TypeError),
        "ReduceLROnPlateau",
    ),
    "negative weight": ({"sample_weight": with_middle(np.ones(2500), -1)}, ValueError, "at least 0"),
    "nan weight": (
        {"sample_weight": with_middle(np.ones(2500), np.nan)},
        ValueError,
        "sample_weight: expected finite",
    ),
    "all weights zero": ({"sample_weight": np.zeros(2500)}, ValueError, "sample_weight, class_weight: .*one above"),
    "one weight short": ({"sample_weight": np.ones(2499)}, ValueError, r"one weight per sample.*2500.*2499"),
    "one weight for all": ({"sample_weight": 1.0}, ValueError, "one weight per sample"),
    "one short, with classes": (
        {"sample_weight": np.ones(2499), "class_weight": [1, 1, 1]},
        ValueError,
        "one weight per sample.*2500.*2499",
    ),
    "weights as words": ({"sample_weight": np.full(2500, "a")}, (ValueError, TypeError), "sample_weight"),
    "class missing": (
        {"class_weight": {0: 1.0, 2: 1.0}},
        ValueError,
        r"class_weight: .*\[0, 1, 2\], missing \[1\]",
    ),
    "too few classes": ({"class_weight": [1.0, 1.0]}, ValueError, r"missing \[2\]"),
    "class weight below zero": ({"class_weight": [1, 1, -1]}, ValueError, "at least 0"),
    "class weight nan": ({"class_weight": [1, 1, np.nan]}, ValueError, "finite"),
    "class weights without classes": (
        {"class_weight": [1, 1, 1], "loss": "mse_loss", "y": X_LONG},
        TypeError,
        "class_weight: expected targets that are class indices",
    ),
    "nothing to stop on": ({"early_stopping": 3}, ValueError, "early_stopping: .*validation"),
    "no patience": ({"early_stopping": 0, "validation": 0.5}, ValueError, "early_stopping"),
    "no optimizer": ({"optimizer": "adam"}, (TypeError, AttributeError), "step"),
}


@pytest.mark.parametrize(("changes", "error", "match"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_before_anything_changes(changes, error, match):
    network, optimizer = stateful(), Adam()
    before = state(network)
    options = {"X": X_LONG, "y": Y_LONG, "epochs": 1, "batch_size": 500, "optimizer": optimizer} | changes
    with pytest.raises(error, match=match):
        fit(network, **options)
    assert_same_state(state(network), before)
    assert optimizer.t == 0


def test_optimizer_of_another_network_is_refused():
    network, optimizer = stateful(), Adam()
    optimizer.step(np.zeros(3), np.zeros(3))
    before = state(network)
    with pytest.raises(ValueError, match="make a new optimizer"):
        fit(network, X_LONG, Y_LONG, optimizer=optimizer)
    assert_same_state(state(network), before)


def test_weights_that_are_all_set_aside_are_refused():
    trained = set(flat(rows_seen(10, validation=0.25, rng=0, epochs=1)))
    weight = np.array([n not in trained for n in range(10)], dtype=float)
    network = MLP([3, 5, 3], rng=0)
    before = state(network)
    with pytest.raises(ValueError, match="sample_weight"):
        fit(network, *samples(), validation=0.25, rng=0, sample_weight=weight)
    assert_same_state(state(network), before)


# ---- options that do not fit together --------------------------------------------------------------------------------


HALVED = ExponentialLR(SGD(), 0.5)


class Plain:
    """A step of a user's own: what `fit` does without one."""

    def __init__(self, network, loss="cross_entropy", optimizer=None):
        self.network, self.loss, self.optimizer = network, loss, optimizer

    def __call__(self, X, y, weight):
        value, gradient = self.network.loss_and_gradient(X, y, self.loss, sample_weight=weight)
        self.optimizer.step(self.network.theta, gradient)
        return value


def test_a_step_of_ones_own_trains_as_fit_does():
    (X, _), Y, weight = samples(), targets("mse_loss"), np.linspace(0, 2, 10)
    networks = [MLP([3, 4, 3], rng=0) for _ in range(2)]
    for network, compile in zip(networks, (Plain, False), strict=True):
        optimizer, options = Adam(lr=0.1), dict(epochs=2, batch_size=4, sample_weight=weight, rng=1)
        fit(network, X, Y, loss="mse_loss", optimizer=optimizer, compile=compile, **options)
        assert optimizer.t == 6
    np.testing.assert_array_equal(networks[0].theta, networks[1].theta)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"optimizer": Adam}, TypeError, r"optimizer: expected an object with step.*Adam\(\)"),
        ({"optimizer": ClipGradNorm(1.0)}, ValueError, "optimizer: expected one that moves theta"),
        ({"schedule": 3}, TypeError, "schedule: expected an object such as StepLR"),
        ({"schedule": ExponentialLR}, TypeError, "schedule: expected an object such as StepLR"),
        ({"schedule": ExponentialLR(SGD(), 0.5)}, ValueError, "schedule: expected one of the optimizer in use"),
        ({"schedule": [HALVED]}, TypeError, "schedule: expected pairs such as .*, got ExponentialLR"),
        ({"schedule": [(HALVED,)]}, TypeError, "schedule: expected pairs such as"),
        ({"schedule": [[HALVED, "epoch"]]}, TypeError, "schedule: expected pairs such as"),
        ({"schedule": [(HALVED, "day")]}, TypeError, "schedule: expected pairs such as .* got .*'day'"),
        ({"compile": 1}, ValueError, "compile: expected True, False, 'auto' or a function, got 1"),
        ({"compile": "AUTO"}, ValueError, "compile: expected True, False, 'auto' or a function, got 'AUTO'"),
        ({"compile": Plain(MLP([3, 3]))}, TypeError, "compile: expected a function that makes a step, got a step"),
        ({"callbacks": "print"}, TypeError, "callbacks: expected functions"),
        ({"callbacks": [3]}, TypeError, "callbacks: expected functions of the network and the history, got 3"),
        ({"callbacks": hm.AveragedModel}, TypeError, "callbacks: expected functions .* got <class"),
        ({"callbacks": [hm.AveragedModel]}, TypeError, "callbacks: expected functions .* got <class"),
        ({"callbacks": 3}, TypeError, "callbacks: expected functions of the network and the history, got 3$"),
        ({"metrics": 3}, TypeError, "metrics: expected names or functions, got 3$"),
        ({"X": [[1.0, 2.0, 3.0], [1.0]]}, ValueError, "^X: "),
        ({"y": [[0], [1, 2]]}, ValueError, "^y: "),
        ({"sample_weight": [[1], [1, 2]]}, ValueError, "^sample_weight: "),
        ({"class_weight": [[1], [1, 2]]}, ValueError, "^class_weight: "),
        (
            {
                "y": np.eye(3, dtype=int)[samples()[1]],
                "loss": "binary_cross_entropy_with_logits",
                "class_weight": [1, 1],
            },
            TypeError,
            "^class_weight: expected targets that are class indices, got int64 of shape",
        ),
        ({"callbacks": lambda: None}, TypeError, "callbacks: expected functions"),
        ({"callbacks": [lambda network: None]}, TypeError, "callbacks: expected functions"),
        ({"callbacks": EarlyStopping(3)}, TypeError, "callbacks: .*; pass it as early_stopping"),
        ({"shuffle": "no"}, TypeError, "shuffle: expected True or False"),
        ({"class_weight": "balanced"}, TypeError, "class_weight: expected a mapping or a sequence"),
        ({"class_weight": {0: None, 1: 1, 2: 1}}, ValueError, "class_weight: expected finite numbers"),
        ({"X": np.ones((12, 2, 3))}, ValueError, r"X: expected shape \(N, 3\) .*, got \(12, 2, 3\); flatten it"),
    ],
)
def test_options_are_looked_at_before_anything_changes(options, error, message):
    network = MLP([3, 3], rng=0)
    before = network.theta.copy()
    with pytest.raises(error, match=message):
        fit(network, **({"X": samples()[0], "y": samples()[1], "progress": False} | options))
    assert np.array_equal(network.theta, before)


def test_only_a_network_is_trained():
    with pytest.raises(TypeError, match="network: expected a Network, got Dense"):
        fit(MLP([3, 3]).layers[0], *samples())


@pytest.mark.parametrize(("every", "enough"), [("epoch", 4), ("batch", 12)])
def test_a_schedule_of_a_fixed_length_lasts_or_is_refused(every, enough):
    for total_steps in (enough, enough - 1):
        optimizer = SGD(lr=0.1, momentum=0.9)
        schedule = OneCycleLR(optimizer, max_lr=0.1, total_steps=total_steps)
        options = {"optimizer": optimizer, "schedule": schedule, "schedule_every": every, "batch_size": 4}
        if total_steps == enough:
            assert len(fit(MLP([3, 3], rng=0), *samples(), epochs=4, progress=False, **options)) == 4
        else:
            with pytest.raises(ValueError, match=f"schedule: .* {enough} steps, got {total_steps} left"):
                fit(MLP([3, 3], rng=0), *samples(), epochs=4, progress=False, **options)


@warned
def test_divergence_takes_the_optimizers_momentum_back_too():
    X, Y = samples(32)[0], targets("mse_loss", 32)
    network, optimizer = MLP([3, 8, 3], rng=0), SGD(lr=1e6, momentum=0.9)
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(FloatingPointError, match="Network and optimizer"):
        fit(network, X, Y, loss="mse_loss", optimizer=optimizer, epochs=60, progress=False)
    assert optimizer.momentum_buffer is None or np.isfinite(optimizer.momentum_buffer).all()


def test_a_single_metric_needs_no_list():
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=1, metrics="accuracy", progress=False)
    assert list(history.metrics) == ["accuracy"]


def test_enormous_sample_weights_are_weights_too():
    networks = [MLP([3, 3], rng=0) for _ in range(2)]
    for network, weight in zip(networks, (1.0, 1e308), strict=True):
        fit(network, *samples(), sample_weight=np.full(len(samples()[1]), weight), epochs=1, rng=0, progress=False)
    np.testing.assert_allclose(networks[1].theta, networks[0].theta, rtol=1e-12)


@pytest.mark.parametrize("lr", [1e6, 1e80], ids=["between epochs", "between steps"])
@pytest.mark.parametrize("chained", [False, True])
def test_divergence_takes_the_optimizer_back(lr, chained):
    X, Y = samples(32)[0], targets("mse_loss", 32)
    optimizer = Chain(L1(0.0), SGD(lr=lr, momentum=0.9)) if chained else SGD(lr=lr, momentum=0.9)
    states = [optimizer.state_dict()]
    options = {"loss": "mse_loss", "batch_size": 8, "callbacks": lambda *_: states.append(optimizer.state_dict())}
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(FloatingPointError):
        fit(MLP([3, 8, 3], rng=0), X, Y, optimizer=optimizer, epochs=60, rng=0, **options)
    np.testing.assert_equal(optimizer.state_dict(), states[-1])


def test_a_schedule_may_be_one_of_the_optimizer_inside_a_chain():
    sgd = SGD(lr=1.0)
    chain, schedule = Chain(ClipGradNorm(1.0), sgd), ExponentialLR(sgd, gamma=0.5)
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=3, optimizer=chain, schedule=schedule)
    assert history.lr == [1.0, 0.5, 0.25]


def test_the_steps_that_a_schedule_has_taken_are_not_left():
    optimizer = SGD(lr=0.1, momentum=0.9)
    options = {"optimizer": optimizer, "schedule": OneCycleLR(optimizer, max_lr=0.1, total_steps=6)}
    network = MLP([3, 3], rng=0)
    fit(network, *samples(), epochs=4, **options)
    with pytest.raises(ValueError, match=r"^schedule: expected total_steps to last for 4 steps, got 2 left"):
        fit(network, *samples(), epochs=4, **options)
    assert len(fit(network, *samples(), epochs=2, **options)) == 2


def test_a_single_function_is_a_metric_too():
    network, (X, y) = MLP([3, 3], rng=0), samples()
    history = fit(network, X, y, epochs=1, metrics=mean_output)
    assert history.metrics == {"mean_output": [network.predict(X).mean()]}


def test_the_latest_line_is_about_the_last_epoch_alone():
    history = History([3.0, 2.0, 1.0], [6.0, 5.0, 4.0], {"accuracy": [0.25, 0.5, 0.75]})
    assert history.latest() == "loss 1  validation 4  accuracy 0.75"


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_a_validation_loss_that_is_never_finite_never_improves(patience):
    """Five samples are validated on, and ten trained on: the loss of five is infinite."""

    def loss(input, target):
        return np.inf if len(input) == 5 else losses.mse_loss(input, target)

    X, Y = samples(10)[0], targets("mse_loss", 10)
    options = {"loss": (loss, losses.mse_loss_backward), "validation": (X[:5], Y[:5]), "batch_size": None}
    history = fit(MLP([3, 3], rng=0), X, Y, epochs=9, early_stopping=patience, **options)
    assert history.validation_loss == [np.inf] * patience


def test_a_metric_without_a_name_has_one_for_every_process():
    class Half:
        def __call__(self, output, y):
            return 0.5

    def share(factor, output, y, of):
        return factor * of

    partials = [functools.partial(top_k_accuracy, k=k) for k in (1, 2)]
    metrics = [*partials, "accuracy", Half(), functools.partial(share, 2.0, of=0.5)]
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=1, metrics=metrics)
    names = ["top_k_accuracy(k=1)", "top_k_accuracy(k=2)", "accuracy", "Half", "share(2.0, of=0.5)"]
    assert list(history.metrics) == names and history.metrics["share(2.0, of=0.5)"] == [1.0]


def test_schedules_and_callbacks_may_be_any_that_can_be_called():
    """A schedule may know its optimizer otherwise; Python knows no signature of some functions of C."""

    class Halving:
        def step(self):
            optimizer.lr /= 2

    optimizer = SGD(lr=0.5)
    with pytest.raises(ValueError, match="signature"):
        inspect.signature(max)
    options = {"optimizer": optimizer, "schedule": Halving(), "callbacks": functools.partial(max, key=id)}
    fit(MLP([3, 3], rng=0), *samples(), epochs=2, **options)
    assert optimizer.lr == 0.125


@pytest.mark.parametrize("name", ["epoch", "loss", "validation_loss", "lr", "seconds"])
def test_a_metric_never_takes_the_place_of_another_number(name):
    def metric(output, y):
        return 0.5

    metric.__name__ = name
    with pytest.raises(ValueError, match=f"metrics: expected names of their own .* got '{name}'"):
        fit(MLP([3, 3], rng=0), *samples(), epochs=1, metrics=metric)


@pytest.mark.parametrize(
    ("X", "y", "match"),
    [
        (np.ones((7, 2)), np.zeros(7, int), r"validation: X: expected shape \(N, 3\) .*, got \(7, 2\)"),
        (np.ones((7, 3)), np.zeros(6, int), r"validation: y: expected one target per row of X \(7, 3\)"),
    ],
)
def test_wrong_validation_data_are_called_validation(X, y, match):
    with pytest.raises(ValueError, match=match):
        fit(MLP([3, 3], rng=0), *samples(), validation=(X, y))


def test_text_labels_are_sent_to_the_encoder():
    with pytest.raises(TypeError, match=r"got dtype <U1 .* handmade.data.encode_labels"):
        fit(MLP([3, 3], rng=0), samples()[0], np.array(list("abcabcabca")))


@pytest.mark.parametrize(("validation", "got"), [(None, "none"), (samples(4), "data"), (list(samples(4)), "data")])
def test_a_stratified_split_needs_a_fraction(validation, got):
    X, y = samples(12)
    with pytest.raises(
        ValueError, match=f"^stratify: expected a fraction for validation, such as 0.1, got {got}; leave"
    ):
        fit(MLP([3, 3], rng=0), X, y, validation=validation, stratify=True)
