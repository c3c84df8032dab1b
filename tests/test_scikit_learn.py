"""The MLPs of scikit-learn, step by step in handmade, and their gradient, which is not that of their loss."""

from __future__ import annotations

import dataclasses
import functools
import warnings

import numpy as np
import pytest
from oracles import slope_along

import handmade as hm
from handmade.initializers import xavier_uniform
from reference.scikit_learn import EpsilonHatAdam, Objective, Recipe, VelocitySGD, from_estimator

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.exceptions import ConvergenceWarning, NotFittedError  # noqa: E402
from sklearn.linear_model import LinearRegression  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.neural_network._stochastic_optimizers import BaseOptimizer  # noqa: E402

RNG = np.random.default_rng(0)
N, I, EPOCHS = 30, 4, 20
X = RNG.normal(size=(N, I))
TARGETS = {
    "binary": (MLPClassifier, np.array(["no", "yes"])[RNG.integers(0, 2, N)]),
    "multiclass": (MLPClassifier, np.arange(N) % 3 * 10),
    "multilabel": (MLPClassifier, RNG.integers(0, 2, (N, 3))),
    "regression": (MLPRegressor, RNG.normal(size=N)),
    "regression of 3": (MLPRegressor, RNG.normal(size=(N, 3))),
}
SOLVERS = {
    "sgd": dict(solver="sgd", momentum=0.0),
    "momentum": dict(solver="sgd", nesterovs_momentum=False),
    "nesterov": dict(solver="sgd", alpha=0.0, batch_size="auto"),
    "invscaling": dict(solver="sgd", nesterovs_momentum=False, learning_rate="invscaling"),
    "nesterov, invscaling": dict(solver="sgd", learning_rate="invscaling", power_t=0.3, shuffle=False),
    "nesterov, adaptive": dict(solver="sgd", learning_rate="adaptive", tol=0.2, n_iter_no_change=1),
    "adam": dict(solver="adam"),
    "adam, large epsilon": dict(
        solver="adam", epsilon=1e-2, beta_1=0.8, beta_2=0.9, learning_rate="invscaling"
    ),  # unused
}
COMMON = dict(
    hidden_layer_sizes=(5, 3), learning_rate_init=0.05, alpha=0.5, batch_size=7, max_iter=EPOCHS, random_state=3
)


def make(target: str, **options):
    estimator_class, y = TARGETS[target]
    return estimator_class(**COMMON | options), y


def flat(estimator):
    """Theta of the estimator: its weights are (I, O)."""
    layers = zip(estimator.coefs_, estimator.intercepts_, strict=True)
    return np.concatenate([array.ravel() for coefs, intercepts in layers for array in (coefs.T, intercepts)])


def fit(estimator, y, X=X):
    """Fitted, and theta after each of its steps."""
    thetas, update = [], BaseOptimizer.update_params

    def recording(self, params, grads):
        update(self, params, grads)
        thetas.append(flat(estimator))

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 20 epochs are enough for what is asked
        patch.setattr(BaseOptimizer, "update_params", recording)
        estimator.fit(X, y)
    return estimator, np.array(thetas)


class Recorded(Recipe):
    """A recipe that records theta after each step, and the largest gradient."""

    def __init__(self, estimator, X, y):
        super().__init__(estimator, X, y)
        self.thetas, self.steepest = [], 0.0

    def step(self, X, T):
        loss = super().step(X, T)
        self.thetas.append(self.network.theta.copy())
        self.steepest = max(self.steepest, np.abs(self.network.gradient).sum())
        return loss


def trained(estimator, y, change=lambda recipe: None, X=X):
    recipe = Recorded(estimator, X, y)
    change(recipe)
    recipe.fit(X, y)
    return np.array(recipe.thetas), recipe


def allowed(estimator, y, X=X) -> float:
    """Return the largest difference of two right programs after any of the steps.

    A step rounds once per operation on the longest way from theta to theta: two per input of each unit, forward and
    backward, one per sample of the batch in the sum of dW, and 20 for activation, loss, penalty and update; each by
    half an ulp of the largest numbers about, theta or 1. What was rounded grows from there on as any disturbance of
    theta grows; how much is measured, with a disturbance of the start large enough to stand out of the roundings.
    """
    thetas, recipe = trained(estimator, y, X=X)
    eps = np.finfo(thetas.dtype).eps
    disturbance = np.sqrt(eps) * np.random.default_rng(1).choice([-1, 1], thetas.shape[1]).astype(thetas.dtype)

    def disturb(recipe):
        recipe.network.theta += disturbance

    disturbed, _ = trained(estimator, y, disturb, X)
    steps = min(len(thetas), len(disturbed))
    growth = np.abs(disturbed[:steps] - thetas[:steps]).max() / np.sqrt(eps)
    sizes = [layer.in_features for layer in recipe.network.layers if isinstance(layer, hm.Dense)]
    batch = recipe.options["batch_size"]
    operations = 4 * sum(sizes) + (len(X) if batch == "auto" else batch) + 20 * len(sizes)
    return len(thetas) * operations * eps / 2 * max(1.0, np.abs(thetas).max()) * max(1.0, growth)


# Every target with every solver; the activations take turns, so that each also meets each target and each solver.
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
GRID = [
    (target, solver, ACTIVATIONS[(i + j) % 4]) for i, target in enumerate(TARGETS) for j, solver in enumerate(SOLVERS)
]


@pytest.mark.parametrize(("target", "solver", "activation"), GRID)
def test_fit_equals_theirs_at_every_step(target, solver, activation):
    estimator, y = make(target, activation=activation, **SOLVERS[solver])
    tolerance = allowed(estimator, y)
    assert tolerance < 1e-8
    theirs, expected = fit(estimator, y)
    thetas, recipe = trained(estimator, y)
    assert len(thetas) == len(expected) >= EPOCHS
    assert np.abs(thetas - expected).max() <= tolerance
    assert len(recipe.loss_curve) == theirs.n_iter_
    # The loss moves by at most |gradient|_1 times as much, and is rounded itself.
    assert np.abs(np.subtract(recipe.loss_curve, theirs.loss_curve_)).max() <= (1 + recipe.steepest) * tolerance


@pytest.mark.parametrize(("seed", "shuffle"), [(0, True), (np.random.RandomState(0), True), (0, False)])
@pytest.mark.parametrize("target", TARGETS)
def test_partial_fit_equals_theirs_at_every_call(target, seed, shuffle):
    estimator, y = make(target, solver="adam", shuffle=shuffle, random_state=seed)
    tolerance = allowed(estimator, y)
    recipe = Recorded(estimator, X, y)
    classes = {}
    if target in ("binary", "multiclass", "multilabel"):
        classes = {"classes": np.unique(y) if y.ndim == 1 else np.arange(3)}
    for _ in range(EPOCHS):
        estimator.partial_fit(X, y, **classes)
        recipe.partial_fit(X, y)
        assert np.abs(recipe.network.theta - flat(estimator)).max() <= tolerance
    assert np.array_equal(from_estimator(estimator).theta, flat(estimator))
    assert np.abs(np.subtract(recipe.loss_curve, estimator.loss_curve_)).max() <= (1 + recipe.steepest) * tolerance


@pytest.mark.parametrize("target", ["multiclass", "regression of 3"])
def test_float32_stays_float32(target):
    estimator, y = make(target, solver="adam", activation="tanh")
    single = X.astype(np.float32)
    tolerance = allowed(estimator, y, single)
    _, expected = fit(estimator, y, single)
    thetas, _ = trained(estimator, y, X=single)
    assert expected.dtype == thetas.dtype == np.float32
    assert np.abs(thetas - expected).max() <= tolerance


def test_fit_without_hidden_layers_stops_where_theirs_does():
    estimator, y = make("regression", hidden_layer_sizes=(), solver="sgd", tol=0.02, n_iter_no_change=2)
    theirs, expected = fit(estimator, y)
    thetas, recipe = trained(estimator, y)
    assert theirs.n_iter_ == len(recipe.loss_curve) < EPOCHS
    assert np.abs(thetas - expected).max() <= allowed(estimator, y)


def test_adaptive_learning_rate_falls_until_training_ends():
    estimator, y = make("multiclass", **SOLVERS["nesterov, adaptive"])
    theirs, _ = fit(estimator, y)
    _, recipe = trained(estimator, y)
    assert len(recipe.loss_curve) == theirs.n_iter_ < EPOCHS
    assert recipe.optimizer.lr == theirs._optimizer.learning_rate <= 1e-6


def without_the_factor_k(recipe):
    recipe.objective = dataclasses.replace(recipe.objective, gradient_factor=recipe.objective.loss_factor)


def penalizing_biases(recipe):
    recipe.is_weight[...] = 1


def with_a_penalty_of_the_whole_alpha(recipe):
    recipe.options["alpha"] *= 7


def with_the_learning_rate_outside(recipe):
    recipe.optimizer = hm.SGD(lr=0.05, momentum=0.9, nesterov=recipe.options["nesterovs_momentum"])


def with_epsilon_after_the_correction(recipe):
    options = recipe.options
    recipe.optimizer = hm.Adam(lr=0.05, betas=(options["beta_1"], options["beta_2"]), eps=options["epsilon"])


def in_the_order_of_the_data(recipe):
    recipe.options["shuffle"] = False


@pytest.mark.parametrize(
    ("change", "target", "solver"),
    [
        (without_the_factor_k, "regression of 3", "sgd"),
        (penalizing_biases, "multiclass", "sgd"),
        (with_a_penalty_of_the_whole_alpha, "multiclass", "sgd"),
        (with_the_learning_rate_outside, "multiclass", "invscaling"),
        (with_the_learning_rate_outside, "multiclass", "nesterov, invscaling"),
        (with_epsilon_after_the_correction, "multiclass", "adam"),
        (in_the_order_of_the_data, "multiclass", "sgd"),
    ],
)
def test_every_term_of_the_recipe_is_needed(change, target, solver):
    estimator, y = make(target, activation="tanh", **SOLVERS[solver])
    _, expected = fit(estimator, y)
    thetas, _ = trained(estimator, y, change)
    assert np.abs(thetas - expected).max() > 100 * allowed(estimator, y)


# ---- the gradient that is not that of the loss ----------------------------------------------------------------------


def their_loss_and_gradient(estimator_class, y, **options):
    """Return the function of its parameters that a fitted estimator's L-BFGS minimizes, and a point."""
    options = dict(solver="lbfgs", hidden_layer_sizes=(5,), activation="tanh", alpha=0.0, random_state=0) | options
    estimator = estimator_class(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.set_params(max_iter=1).fit(X, y)
    X_checked, T = estimator._validate_input(X, y, incremental=False, reset=False)
    T = T.reshape(N, -1)
    depth = len(estimator.coefs_)
    theta = np.concatenate([array.ravel() for array in estimator.coefs_ + estimator.intercepts_])

    def loss_and_gradient(theta):
        memory = [X_checked] + [None] * depth, [None] * depth, [None] * depth, [None] * depth
        return estimator._loss_grad_lbfgs(theta, X_checked, T, None, *memory)

    return loss_and_gradient, theta


@pytest.mark.parametrize(
    ("estimator_class", "y", "options", "ratio"),
    [
        *[(MLPRegressor, RNG.normal(size=(N, k)).squeeze(), {}, k) for k in (1, 2, 3, 5)],
        (MLPRegressor, RNG.poisson(2.0, size=(N, 3)).astype(float), {"loss": "poisson"}, 1),
        (MLPClassifier, TARGETS["multilabel"][1], {}, 1),
        (MLPClassifier, TARGETS["multiclass"][1], {}, 1),
        (MLPClassifier, TARGETS["binary"][1], {}, 1),
    ],
    ids=["1 output", "2 outputs", "3 outputs", "5 outputs", "poisson of 3", "multilabel", "multiclass", "binary"],
)
def test_scikit_learn_1_9_1_steps_along_k_times_the_gradient(estimator_class, y, options, ratio):
    # Its squared_loss takes the mean over the k outputs as well, its gradient does not. Every other loss is summed over
    # the outputs, and its gradient fits.
    loss_and_gradient, theta = their_loss_and_gradient(estimator_class, y, **options)
    _, gradient = loss_and_gradient(theta)
    V = np.random.default_rng(2).normal(size=theta.shape)
    slope = slope_along(lambda moved: loss_and_gradient(moved)[0], theta, V)
    # Good to 1e-9 of the terms that cancel in the sum (oracles.assert_pulls_back).
    text = f"scikit-learn {sklearn.__version__}: {gradient @ V / slope}"
    assert abs(gradient @ V - ratio * slope) <= 1e-9 * ratio * np.abs(gradient * V).sum(), text


def test_penalty_is_not_multiplied_by_k():
    y = TARGETS["regression of 3"][1]
    plain, theta = their_loss_and_gradient(MLPRegressor, y)
    penalized, _ = their_loss_and_gradient(MLPRegressor, y, alpha=0.7)
    weights = theta.copy()
    weights[-(5 + 3) :] = 0  # biases come last
    difference = penalized(theta)[1] - plain(theta)[1]
    assert np.abs(difference - 0.7 / N * weights).max() <= 4 * np.finfo(float).eps * np.abs(plain(theta)[1]).max()


@pytest.mark.parametrize("target", TARGETS)
def test_loss_equals_theirs_and_gradient_has_its_factor(target):
    estimator, y = make(target, alpha=0.0, activation="tanh", solver="sgd")
    recipe = Recipe(estimator, X, y)
    theta, T = recipe.network.theta, recipe.targets(y)
    gradient = recipe.loss_and_gradient(X, T)[1].copy()
    V = np.random.default_rng(2).normal(size=theta.shape)
    start = theta.copy()

    def loss(moved):
        theta[...] = moved
        return recipe.loss_and_gradient(X, T)[0]

    slope = slope_along(loss, start, V)
    ratio = recipe.objective.gradient_factor / recipe.objective.loss_factor
    assert ratio == (3 if target == "regression of 3" else 1)
    assert abs(gradient @ V - ratio * slope) <= 1e-9 * ratio * np.abs(gradient * V).sum()


# ---- the start, and what comes back ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("activation", "gain"), [("tanh", 1.0), ("relu", 1.0), ("logistic", 3**-0.5)])
def test_their_start_is_xavier_uniform(activation, gain):
    estimator, y = make("regression", activation=activation, solver="sgd", learning_rate_init=1e-300)
    theirs, _ = fit(estimator, y)
    rng = np.random.Generator(np.random.MT19937())
    state = np.random.RandomState(3)
    rng.bit_generator.state = state.get_state(legacy=False)
    for coefs, intercepts, (fan_in, fan_out) in zip(
        theirs.coefs_, theirs.intercepts_, ((4, 5), (5, 3), (3, 1)), strict=True
    ):
        draw = functools.partial(xavier_uniform, fan_in=fan_in, fan_out=fan_out, rng=rng, gain=gain)
        bound = np.sqrt((2 if activation == "logistic" else 6) / (fan_in + fan_out))
        assert np.abs(draw((fan_in, fan_out)) - coefs).max() <= 4 * np.finfo(float).eps * bound
        assert np.abs(draw((fan_out,)) - intercepts).max() <= 4 * np.finfo(float).eps * bound


@pytest.mark.parametrize("target", TARGETS)
def test_network_predicts_as_the_estimator(target):
    theirs, _ = fit(*make(target, activation="relu", solver="adam"))
    output = from_estimator(theirs).predict(X)
    match target:
        case "multiclass":
            found, expected = hm.activations.softmax(output), theirs.predict_proba(X)
        case "binary":
            found, expected = hm.activations.sigmoid(output)[:, 0], theirs.predict_proba(X)[:, 1]
        case "multilabel":
            found, expected = hm.activations.sigmoid(output), theirs.predict_proba(X)
        case _:
            found, expected = output.squeeze(), theirs.predict(X)
    # Some 60 roundings of numbers not much larger than these.
    assert np.abs(found - expected).max() <= 100 * np.finfo(float).eps * max(1.0, np.abs(output).max())


def test_estimator_and_random_state_stay_unchanged():
    state = np.random.RandomState(0)
    estimator, y = make("regression", random_state=state)
    before = state.get_state(legacy=False)["state"]
    Recipe(estimator, X, y).partial_fit(X, y)
    after = state.get_state(legacy=False)["state"]
    assert before["pos"] == after["pos"] and np.array_equal(before["key"], after["key"])
    assert not hasattr(estimator, "coefs_")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(solver="lbfgs"), "solver: expected 'sgd' or 'adam', got 'lbfgs'"),
        (dict(loss="poisson"), "loss: expected 'squared_error', got 'poisson'"),
        (dict(early_stopping=True), "early_stopping: expected False, got True"),
        (dict(random_state=None), "random_state: expected a seed or a RandomState"),
    ],
)
def test_unsupported_option_is_refused_by_name(options, message):
    estimator, y = make("regression", **options)
    with pytest.raises(ValueError, match=message):
        Recipe(estimator, X, y)


def test_other_estimator_or_target_is_refused():
    with pytest.raises(TypeError, match="expected an MLPClassifier or an MLPRegressor, got LinearRegression"):
        from_estimator(LinearRegression())
    with pytest.raises(TypeError, match="got LinearRegression"):
        Recipe(LinearRegression(), X, np.zeros(N))
    with pytest.raises(NotFittedError):
        from_estimator(MLPRegressor())
    estimator, _ = make("multiclass", solver="sgd")
    with pytest.raises(ValueError, match=r"y: expected classes.*continuous"):
        Recipe(estimator, X, RNG.normal(size=N))


# ---- the two optimizers ---------------------------------------------------------------------------------------------


def test_velocity_sgd_equals_sgd_while_lr_is_constant():
    gradients, lrs = RNG.normal(size=(10, 3)), [0.5, 0.5, 0.25, 0.0, 1.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    constant, own, published = hm.SGD(lr=0.5, momentum=0.9), VelocitySGD(0.5, 0.9), hm.Momentum1986(0.5, 0.9)
    thetas = np.zeros((3, 3))
    for gradient in gradients:
        constant.step(thetas[0], gradient)
        own.step(thetas[1], gradient)
    assert np.abs(thetas[0] - thetas[1]).max() <= 10 * 4 * np.finfo(float).eps * np.abs(thetas[0]).max()
    own, thetas[1] = VelocitySGD(0.5, 0.9), 0
    for gradient, lr in zip(gradients, lrs, strict=True):
        own.lr = published.lr = lr
        own.step(thetas[1], gradient)
        published.step(thetas[2], gradient)
    assert np.array_equal(thetas[1], thetas[2])


def test_nesterov_without_momentum_is_plain_descent():
    theta = np.zeros(1)
    VelocitySGD(lr=0.5, momentum=0.0, nesterov=True).step(theta, np.ones(1))
    assert theta == -0.5


def test_new_learning_rate_holds_from_the_next_step():
    theta = np.zeros(1)
    optimizer = EpsilonHatAdam(lr=1.0, epsilon=1e-300)
    optimizer.step(theta, np.ones(1))
    optimizer.lr = 0.0
    optimizer.step(theta, np.ones(1))
    assert abs(theta[0] + 1) <= 8 * np.finfo(float).eps


def test_objective_has_the_factors_of_scikit_learn():
    assert Objective.of("multiclass", 3) == Objective("cross_entropy", 1, 1)
    assert Objective.of("binary", 1) == Objective("binary_cross_entropy_with_logits", 1, 1)
    assert Objective.of("multilabel-indicator", 3) == Objective("binary_cross_entropy_with_logits", 3, 3)
    assert Objective.of("regression", 3) == Objective("mse_loss", 0.5, 1.5)
