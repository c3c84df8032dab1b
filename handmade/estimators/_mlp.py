"""MLPClassifier and MLPRegressor: scikit-learn's estimators of these names, on this library's networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight

from .._types import Array, Optimizer
from .._validation import as_array
from ._base import BaseMLP
from ._sklearn import ClassifierMixin, RegressorMixin, Tags, available_if
from ._targets import Targets, class_targets, number_targets
from ._trainer import Batches, Trainer
from ._validate import check_classes, check_labels, check_missing, check_numbers, check_samples

__all__ = ["MLPClassifier", "MLPRegressor"]

Activation = str | tuple[Callable[..., Array], Callable[..., Array]]
SolverName = Literal["adam", "sgd", "lbfgs"]


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A classifier: a multi-layer perceptron with scikit-learn's interface.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int
        The width of each hidden layer.
    activation : str, pair of functions, or a list of them
        A name of `handmade.activations`, or ``"logistic"``: one for all hidden layers, or a list with one for each.
    solver : {"adam", "sgd", "lbfgs"} or optimizer
        A name, or an optimizer such as ``hm.RMSprop(lr=0.01)``, which is copied. "lbfgs" is SciPy's. ``hm.LBFGS()``,
        each step of which takes all samples, also allows early stopping and callbacks.
    alpha : float
        The weight of the squared norm of the weight matrices: alpha / 2 |W|^2, divided by the batch's sum of weights.
    batch_size : int or "auto"
        "auto" is 200, or all samples if these are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}
        The schedule for "sgd". "invscaling" divides by ``(t + 1) ** power_t`` after t samples, "adaptive" by 5 when
        training no longer improves.
    learning_rate_init, power_t : float
        The initial learning rate, and the exponent of "invscaling".
    max_iter : int
        The largest number of epochs, or of iterations of "lbfgs".
    shuffle : bool
        Whether each epoch takes the samples in a new order.
    random_state : int, RandomState or None
        Draws weights, split and orders: the same numbers as in scikit-learn.
    tol, n_iter_no_change : float
        Training stops after more than n_iter_no_change epochs that do not improve by tol.
    verbose : bool
        Whether to print the loss of each epoch.
    warm_start : bool
        Whether a second `fit` goes on where the first one ended, with the same optimizer, random generator and order,
        so that two calls of 10 epochs are like one of 20. Other ``hidden_layer_sizes`` raise an error. The other
        parameters of network and optimizer (``activation``, ``solver``, ``alpha``, ``loss``, ``dropout``, ...) stay
        those of the first call.
    momentum, nesterovs_momentum : float, bool
        The momentum of "sgd", and whether it is Nesterov's.
    early_stopping : bool
        Whether to hold out samples, stop when these no longer improve (see ``monitor``), and keep the best weights. The
        held-out samples have the proportions of the classes, if these are large enough.
    validation_fraction : float
        The fraction of the samples to hold out.
    beta_1, beta_2, epsilon : float
        The parameters of "adam".
    max_fun : int
        The largest number of calls of the loss by "lbfgs".
    loss : str, callable or pair, optional
        The log loss by default; for others see `handmade.losses.find_loss`. A loss of your own gets logits of shape
        (N, K) and class indices; or targets of -1 and +1, or of 0 and 1, for each class, where two classes share one
        output; or, for several labels per sample, an indicator matrix.
    dropout : float
        The probability of `Dropout` after each hidden layer.
    normalization : {None, "batch", "layer", "rms"}
        The normalization before each hidden activation.
    class_weight : dict, "balanced" or None
        How much each class counts.
    monitor : {"loss", "score"}
        What early stopping monitors on the held-out samples. scikit-learn monitors the score.
    callbacks : sequence of callable
        Functions of the estimator, called after each epoch. If one returns True, the training ends.
    progress : bool
        Whether to show a progress bar.
    compile : bool or "auto"
        Whether to compile the training steps with `handmade.compile`. If a part has no compiled form, "auto" warns and
        uses the NumPy code.

    Attributes
    ----------
    network_ : MLP
        The trained network, for `hm.save`, `hm.export` and other functions of networks. Its outputs are logits.
    classes_ : ndarray
        The labels.
    loss_curve_, validation_loss_curve_, validation_scores_ : list of float, or None
        Training loss, validation loss and validation score after each epoch; None if not computed.
    coefs_, intercepts_, n_iter_, n_layers_, n_outputs_, out_activation_, t_, loss_, best_loss_, best_validation_score_
        As in scikit-learn.

    Notes
    -----
    ``partial_fit`` with ``early_stopping`` holds out ``validation_fraction`` of the samples of all calls, at least two,
    and validates on all that are held out so far. If calls have single samples, some only add to these. When training
    stops, the best weights are restored, and later calls change nothing.

    Examples
    --------
    >>> from handmade.estimators import MLPClassifier
    >>> X, y = hm.data.xor()
    >>> model = MLPClassifier([8], "tanh", solver="lbfgs", random_state=0).fit(X, np.array(["no", "yes"])[y])
    >>> model.predict(X).tolist()
    ['no', 'yes', 'yes', 'no']
    """

    class_weight: Any
    _own_losses = ("log_loss",)

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (100,),
        activation: Activation | list[Activation] = "relu",
        *,
        solver: SolverName | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: Literal["constant", "invscaling", "adaptive"] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: Any = None,
        dropout: float = 0.0,
        normalization: Literal["batch", "layer", "rms"] | None = None,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        monitor: Literal["loss", "score"] = "loss",
        callbacks: Sequence[Callable[[Any], Any]] = (),
        progress: bool = False,
        compile: bool | Literal["auto"] = False,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name not in ("self", "__class__")})

    def _check_data(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        check_labels(y, "y")
        X, y = super()._check_data(X, y, reset=reset)
        check_classes(y)
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _check_targets(self, y: Any, classes: Any = None) -> Targets:
        return class_targets(y, classes, None if self._has_default_loss() else self.loss)

    def _class_weight(self, y: Any) -> Array | None:
        given = self.class_weight
        if given is None:
            return None
        of_labels = isinstance(given, list) and y.ndim == 2 and all(isinstance(one, Mapping) for one in given)
        if not (isinstance(given, Mapping) or of_labels or (isinstance(given, str) and given == "balanced")):
            raise ValueError(f"class_weight: expected a dict of weights by class, 'balanced' or None, got {given!r}")
        try:
            weight: Array = np.asarray(compute_sample_weight(given, y), np.float64)
        except (TypeError, ValueError) as error:  # a weight is not a number, or a list is for other labels
            raise ValueError(f"class_weight: expected a number for each class, got {given!r}: {error}") from error
        if not (np.isfinite(weight).all() and weight.min() >= 0 and weight.max() > 0):
            raise ValueError(f"class_weight: expected finite numbers of at least 0, not all 0, got {given!r}")
        return weight

    def _stratify(self, y: Any) -> Any:
        return y if y.ndim == 1 else None

    def _score_of(self, y_true: Any, y_predicted: Any, weight: Array | None) -> float:
        return float(accuracy_score(y_true, y_predicted, sample_weight=weight))

    def _finish(self, targets: Targets, trainer: Trainer, n_iter: int) -> Self:
        self.classes_: Array = targets.classes  # type: ignore[attr-defined]
        return super()._finish(targets, trainer, n_iter)

    @available_if(BaseMLP._takes_batches)
    def partial_fit(
        self, X: Any, y: Any, classes: npt.ArrayLike | None = None, sample_weight: npt.ArrayLike | None = None
    ) -> Self:
        """Train for one epoch on some of the samples.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like, shape (K,), optional
            All labels that will occur; the first call needs them.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As for `fit`, or if the first call lacks ``classes``.
        """
        if classes is None and not hasattr(self, "_trainer"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        check_labels(classes, "classes")
        classes = None if classes is None else as_array(classes, "classes")
        known = getattr(self, "classes_", None)
        if classes is not None and known is not None and list(np.unique(classes)) != list(known):
            raise ValueError(
                f"classes: expected those of the first call, {known.tolist()}, got {np.unique(classes).tolist()}"
            )
        return self._partial_fit(X, y, classes, sample_weight)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, shape (N, K), or of each label of an indicator matrix.

        Raises
        ------
        NotFittedError, ValueError
            As for `predict`.
        """
        return self._values(X)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, BaseMLP):
    """A regressor: a multi-layer perceptron with scikit-learn's interface, for one number or several.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, \
shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, \
beta_1, beta_2, epsilon, n_iter_no_change, max_fun, dropout, normalization, monitor, callbacks, progress, compile
        As for `MLPClassifier`.
    loss : str, callable or pair, optional
        The squared error by default; ``"poisson"`` for counts; for others see `handmade.losses.find_loss`.

    Attributes
    ----------
    network_ : MLP
        The trained network. Its outputs are the predictions, or with ``loss="poisson"`` their logarithms.
    loss_curve_, validation_loss_curve_, validation_scores_ : list of float, or None
        Training loss, validation loss and validation score after each epoch; None if not computed.
    coefs_, intercepts_, n_iter_, n_layers_, n_outputs_, out_activation_, t_, loss_, best_loss_, best_validation_score_
        As in scikit-learn.

    Examples
    --------
    >>> from handmade.estimators import MLPRegressor
    >>> X = np.linspace(-1, 1, 50).reshape(-1, 1)
    >>> model = MLPRegressor([10], "tanh", solver="lbfgs", random_state=0).fit(X, X[:, 0] ** 2)
    >>> model.score(X, X[:, 0] ** 2) > 0.99
    True
    """

    _own_losses = ("squared_error", "poisson")

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (100,),
        activation: Activation | list[Activation] = "relu",
        *,
        solver: SolverName | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: Literal["constant", "invscaling", "adaptive"] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: Any = None,
        dropout: float = 0.0,
        normalization: Literal["batch", "layer", "rms"] | None = None,
        monitor: Literal["loss", "score"] = "loss",
        callbacks: Sequence[Callable[[Any], Any]] = (),
        progress: bool = False,
        compile: bool | Literal["auto"] = False,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name not in ("self", "__class__")})

    def _check_data(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        check_numbers(y)
        check_missing(y, "y")
        X, y = check_samples(self, X, y, reset=reset, multi_output=True, y_numeric=True)
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _check_targets(self, y: Any, classes: Any = None) -> Targets:
        return number_targets(y, self.loss)

    def _batches(self, X: Any, y: Any, targets: Targets, sample_weight: Any, dtype: Any = None) -> Batches:
        data = super()._batches(X, y, targets, sample_weight, dtype)
        data.Y = data.Y.astype(data.dtype)
        return data

    def _score_of(self, y_true: Any, y_predicted: Any, weight: Array | None) -> float:
        return float(r2_score(y_true, y_predicted, sample_weight=weight))

    @available_if(BaseMLP._takes_batches)
    def partial_fit(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Train for one epoch on some of the samples.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As for `fit`.
        """
        return self._partial_fit(X, y, None, sample_weight)
