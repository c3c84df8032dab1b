"""What MLPClassifier and MLPRegressor share: parameters, training and prediction."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from .._fit_options import compiled_step
from .._types import Array
from .._validation import as_array, check_finite, is_true
from ..layers import Dense
from ..mlp import MLP
from ..network import Network
from ..optimizers import SGD, Adam
from ..progress import progress_bar
from ._parameters import Parameters
from ._sklearn import Tags
from ._targets import Targets
from ._trainer import Batches, Trainer, initialize
from ._validate import as_random_state, check_samples

__all__ = ["BaseMLP"]

# scikit-learn's names -> this library's.
ACTIVATIONS = {"logistic": "sigmoid"}
SOLVERS: dict[str, Callable[[Any], Any]] = {
    "adam": lambda e: Adam(e.learning_rate_init, (e.beta_1, e.beta_2), e.epsilon),
    "sgd": lambda e: SGD(e.learning_rate_init, e.momentum, nesterov=bool(e.nesterovs_momentum and e.momentum > 0)),
}


class BaseMLP(Parameters):
    """A base of both estimators; the subclasses say what the targets are."""

    _own_losses: tuple[str, ...]  # scikit-learn's names
    _targets: Targets
    _trainer: Trainer

    # ---- what differs ----------------------------------------------------------------------------------------------

    def _check_targets(self, y: Any, classes: Any = None) -> Targets:
        """Return the targets of a first fit."""
        raise NotImplementedError

    def _has_default_loss(self) -> bool:
        """Return whether the loss is the one of scikit-learn's estimator."""
        return self.loss is None or (isinstance(self.loss, str) and self.loss in self._own_losses)

    def _class_weight(self, y: Any) -> Array | None:
        """Return the weight of each sample's class."""
        return None

    def _stratify(self, y: Any) -> Any:
        """Return the labels to keep in proportion, or None."""
        return None

    def _score_of(self, y_true: Any, y_predicted: Any, weight: Array | None) -> float:
        """Return the score that `score` returns."""
        raise NotImplementedError

    # ---- fit -------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Train on samples and targets.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (N, I)
            Samples. Sparse ones become dense a batch at a time.
        y : array_like, shape (N,) or (N, O)
            Labels, an indicator matrix of labels, or numbers.
        sample_weight : array_like, shape (N,), optional
            How much each sample counts: a weight of 2 is as good as the sample twice.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If data or parameters are wrong, or training diverges. A fitted estimator is as it was then.
        KeyboardInterrupt
            If training is interrupted in the first epoch, or in "lbfgs". A fitted estimator is as it was then.

        Warns
        -----
        UserWarning
            If training is interrupted later: the estimator is as after the last epoch that was completed.
        """
        self._check_parameters()
        new = copy.copy(self)  # becomes self at the end: a call that fails, or is interrupted, changes nothing
        goes_on = bool(self.warm_start) and self._has_begun()
        X, y = new._check_data(X, y, reset=not goes_on)
        targets = self._targets if goes_on else new._check_targets(y)
        data = new._batches(X, y, targets, sample_weight, self.network_.dtype if goes_on else None)
        trainer = self._trainer.copy() if goes_on else new._start(targets, data)
        trainer.go_on()
        n_iter = new._minimize(trainer, data) if self.solver == "lbfgs" else new._train(trainer, data, y, targets)
        trainer.completed = None
        self.__dict__ = new._finish(targets, trainer, n_iter).__dict__
        return self

    def _has_begun(self) -> bool:
        """Return whether there is a network to go on with; raise if hidden_layer_sizes are no longer its own."""
        if not hasattr(self, "_trainer"):
            return False
        sizes = [layer.out_features for layer in self._dense[:-1]]
        if sizes != self._hidden_sizes():
            raise ValueError(
                f"hidden_layer_sizes: expected {sizes}, those of the network that training goes on with, got "
                f"{self.hidden_layer_sizes!r}; set warm_start=False, or fit a clone"
            )
        return True

    def _check_data(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        """Return X and y as arrays; y may stay a sparse indicator matrix."""
        X, y = check_samples(self, X, y, reset=reset, multi_output=True)
        return X, y

    def _batches(self, X: Any, y: Any, targets: Targets, sample_weight: Any, dtype: Any = None) -> Batches:
        """Return samples, encoded targets and weights, in the dtype of the network or, if there is none yet, of X."""
        weight = None
        if sample_weight is not None:
            kind = as_array(sample_weight, "sample_weight").dtype
            if kind.kind not in "biuf":
                raise TypeError(f"sample_weight: expected an array of numbers, got dtype {kind}")
            weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
            if not weight.any():
                raise ValueError("sample_weight: expected a weight above 0, got zero for all samples")
        class_weight = self._class_weight(y)
        if class_weight is not None:
            weight = class_weight if weight is None else weight * class_weight
        Y = targets.encode(y)
        dtype = dtype or np.dtype(np.float32 if X.dtype == np.float32 else np.float64)
        return Batches(X, Y.astype(dtype) if Y.dtype.kind == "f" else Y, weight, dtype)

    def _start(self, targets: Targets, data: Batches) -> Trainer:
        """Return a training that has not begun: the network and its optimizer."""
        random = as_random_state(self.random_state)
        random = copy.deepcopy(random) if random is self.random_state else random
        widths = [int(data.X.shape[1]), *self._hidden_sizes(), targets.n_outputs]
        options: dict[str, Any] = dict(dropout=self.dropout, normalization=self.normalization, dtype=data.dtype)
        network = MLP(widths, _activation(self.activation), weight_init="zeros", bias_init="zeros", rng=0, **options)
        initialize(network, self.activation, random)
        optimizer = None if self.solver == "lbfgs" else self._optimizer()
        loss = targets.loss if self._has_default_loss() else self.loss
        mean: Any = targets.mean_loss if self._has_default_loss() else None
        step = compiled_step(network, loss if mean is None else mean, optimizer, self.compile)
        return Trainer(
            network, optimizer, loss, float(self.alpha), random, step, 1 if mean is None else targets.n_outputs
        )

    def _optimizer(self) -> Any:
        """Return a new optimizer."""
        if isinstance(self.solver, str):
            return SOLVERS[self.solver](self)
        return copy.deepcopy(self.solver)

    def _train(self, trainer: Trainer, data: Batches, y: Any, targets: Targets) -> int:
        """Train for ``max_iter`` epochs, or until nothing improves; return the number of epochs."""
        held_out = None
        if self.early_stopping:
            if trainer.split is None or sum(map(len, trainer.split)) != len(data):
                trainer.split = self._split(len(data), y, trainer.random)
            data, held_out = data.take(trainer.split[0]), data.take(trainer.split[1])
        if trainer.unimproved > self.n_iter_no_change:
            trainer.unimproved = 0
        size, epoch = self._batch_size(len(data), trainer), 0
        with progress_bar("epoch", self.max_iter, bool(self.progress)) as report:
            try:
                while epoch < self.max_iter:
                    epoch += 1
                    stops = self._epoch(trainer, data, held_out, size, targets)
                    report(epoch, self._news(trainer))
                    if stops:
                        break
                else:
                    self._warn_of_the_end()
            except KeyboardInterrupt:
                if trainer.completed is None:
                    raise
                trainer.go_back()
                text = f"fit: training interrupted; the estimator holds what {trainer.n_iter} epochs have learnt"
                warnings.warn(text, stacklevel=3)
        trainer.restore_best()
        return trainer.n_iter

    def _epoch(self, trainer: Trainer, data: Batches, held_out: Batches | None, size: int, targets: Targets) -> bool:
        """Train for one epoch; return whether to stop."""
        value = trainer.epoch(data, size, self.shuffle)
        if not trainer.is_finite():
            return self._end_of_divergence(trainer)
        if held_out is not None:
            trainer.validate(held_out, lambda outputs, block: self._score_outputs(outputs, block, targets))
            value = -trainer.validation_scores[-1] if self.monitor == "score" else trainer.validation_curve[-1]
        trainer.watch(value, self.tol, keep_best=held_out is not None)
        if self.verbose:
            print(f"Iteration {len(trainer.curve)}, {self._news(trainer)}")
        if self.learning_rate == "invscaling":
            trainer.optimizer.lr = self.learning_rate_init / (trainer.seen + 1) ** self.power_t
        trainer.complete()
        called = [callback(self._seen_by_callbacks(targets, trainer)) for callback in self._called_after_epochs()]
        if any(map(is_true, called)):
            return True
        if trainer.unimproved <= self.n_iter_no_change:
            return False
        return not trainer.lower_learning_rate(self.learning_rate == "adaptive")

    def _end_of_divergence(self, trainer: Trainer) -> bool:
        """Warn, and return True, where early stopping has kept weights to go back to; else raise."""
        text = "the weights are no longer finite, as training diverges; lower learning_rate_init, or scale the inputs"
        if trainer.best_state is None:
            raise ValueError(text)
        warnings.warn(f"fit: {text}; the best weights so far are kept", ConvergenceWarning, stacklevel=5)
        trainer.network.load_state_dict(trainer.best_state)
        return True

    def _seen_by_callbacks(self, targets: Targets, trainer: Trainer) -> Self:
        """Return a fitted view of the estimator as it is now, which shares the network."""
        view = copy.copy(self)
        return view._finish(targets, trainer, trainer.n_iter)

    def _score_outputs(self, outputs: Array, block: Batches, targets: Targets) -> float:
        values = targets.decode(targets.values(outputs))
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            return math.nan  # numbers so large have no score
        Y = block.Y
        if targets.out_activation == "softmax":
            values = targets.encode(values)
        elif targets.out_activation == "logistic":
            Y, values = Y > 0, targets.encode(values) > 0
        if Y.ndim == 2 and Y.shape[1] == 1:
            Y, values = Y.ravel(), values.ravel()
        return float(self._score_of(Y, values, block.weight))

    def _split(self, count: int, y: Any, random: np.random.RandomState) -> tuple[Array, Array]:
        """Return the rows to train on and those to validate on, as scikit-learn draws them."""
        fraction = float(self.validation_fraction)
        size = math.ceil(fraction * count)
        if not 2 <= size < count:
            raise ValueError(
                f"validation_fraction: expected at least 2 samples to validate on and 1 to train on, got {size} and "
                f"{count - size}; {'in' if size < 2 else 'de'}crease it"
            )
        labels = self._stratify(y)
        if labels is not None:
            counts = np.unique(labels, return_counts=True)[1]
            if counts.min() < 2 or len(counts) > min(size, count - size):
                labels = None  # classes too small, or too many, to be on both sides
        options: dict[str, Any] = dict(test_size=fraction, random_state=random, stratify=labels)
        training, held_out = train_test_split(np.arange(count), **options)
        return np.asarray(training), np.asarray(held_out)

    def _batch_size(self, count: int, trainer: Trainer) -> int:
        if isinstance(self.batch_size, str):
            return count if trainer.evaluates else min(200, count)
        if self.batch_size > count:
            warnings.warn(
                f"batch_size: expected at most {count} samples, got {self.batch_size}; all are taken", stacklevel=4
            )
        return min(int(self.batch_size), count)

    def _news(self, trainer: Trainer) -> str:
        text = f"loss = {trainer.curve[-1]:.8f}"
        if trainer.validation_curve:
            text += (
                f", validation loss = {trainer.validation_curve[-1]:.8f}, score = {trainer.validation_scores[-1]:.6f}"
            )
        return text

    def _warn_of_the_end(self) -> None:
        rule = f"n_iter_no_change={self.n_iter_no_change}, tol={float(self.tol):g}"
        warnings.warn(
            f"max_iter: expected the loss to settle ({rule}), got none of that in {self.max_iter} epochs; raise "
            "max_iter or learning_rate_init, or scale the inputs",
            ConvergenceWarning,
            stacklevel=4,
        )

    def _minimize(self, trainer: Trainer, data: Batches) -> int:
        """Minimize the loss of all samples by SciPy's L-BFGS-B; return the number of iterations."""
        if self.dropout or self.early_stopping:
            raise ValueError("solver: expected 'adam' or 'sgd' with dropout or early_stopping, got 'lbfgs'")
        theta = trainer.network.theta

        def loss_and_gradient(x: Array) -> tuple[float, Array]:
            theta[:] = x
            value, gradient = trainer.value_and_gradient(data)
            return value, gradient.astype(np.float64)

        options = dict(maxfun=self.max_fun, maxiter=self.max_iter, gtol=self.tol)
        found = minimize(loss_and_gradient, theta.astype(np.float64), method="L-BFGS-B", jac=True, options=options)
        if found.status != 0:
            text = (
                f"max_iter: expected L-BFGS to converge, got {found.message!r} after {found.nit} iterations; raise it"
            )
            warnings.warn(text, ConvergenceWarning, stacklevel=3)
        if not np.isfinite(found.x).all():
            raise ValueError(
                "X: expected numbers that lead to finite weights, got weights that are not; scale the inputs"
            )
        theta[:] = found.x
        trainer.curve.append(float(found.fun))
        trainer.best = min(trainer.best, float(found.fun))
        return max(int(found.nit), 1)

    def _finish(self, targets: Targets, trainer: Trainer, n_iter: int) -> Self:
        """Set the attributes of a fitted estimator."""
        self._targets, self._trainer = targets, trainer
        self.network_: Network = trainer.network
        self.n_iter_: int = n_iter
        self.t_: int = trainer.seen
        self.n_outputs_: int = targets.n_outputs
        self.out_activation_: str = targets.out_activation
        self.n_layers_: int = 1 + sum(isinstance(leaf, Dense) for _, leaf in trainer.network.leaves())
        self.loss_curve_: list[float] = trainer.curve
        self.loss_: float = trainer.curve[-1]
        self.best_loss_: float | None = min(trainer.curve) if trainer.best_state is None else None
        self.validation_loss_curve_: list[float] | None = trainer.validation_curve or None
        self.validation_scores_: list[float] | None = trainer.validation_scores or None
        scores = [score for score in trainer.validation_scores if not math.isnan(score)]
        self.best_validation_score_: float | None = max(scores, default=None)
        return self

    # ---- partial_fit -----------------------------------------------------------------------------------------------

    def _takes_batches(self) -> bool:
        """Return True; raise if the solver needs all samples at once."""
        if isinstance(self.solver, str) and self.solver == "lbfgs":
            raise AttributeError("partial_fit: expected solver 'adam', 'sgd' or an optimizer, got 'lbfgs'")
        return True

    def _partial_fit(self, X: Any, y: Any, classes: Any, sample_weight: Any) -> Self:
        self._check_parameters()
        new = copy.copy(self)  # as in fit
        goes_on = self._has_begun()
        X, y = new._check_data(X, y, reset=not goes_on)
        targets = self._targets if goes_on else new._check_targets(y, classes)
        data = new._batches(X, y, targets, sample_weight, self.network_.dtype if goes_on else None)
        trainer = self._trainer.copy() if goes_on else new._start(targets, data)
        if trainer.stopped:
            return self
        trainer.go_on()
        data = new._hold_out(trainer, data) if self.early_stopping else data
        if len(data):
            size = new._batch_size(len(data), trainer)
            if new._epoch(trainer, data, trainer.held_out, size, targets) and trainer.held_out is not None:
                trainer.stopped = True
                trainer.restore_best()
        trainer.completed = None
        self.__dict__ = new._finish(targets, trainer, trainer.n_iter).__dict__
        return self

    def _hold_out(self, trainer: Trainer, data: Batches) -> Batches:
        """Hold out samples for early stopping, the fraction of all calls' samples; return the others, maybe none."""
        if not self.validation_fraction:
            raise ValueError("validation_fraction: expected a number above 0 for early_stopping, got 0")
        trainer.offered += len(data)
        old = trainer.held_out
        missing = max(2, math.ceil(self.validation_fraction * trainer.offered)) - (0 if old is None else len(old))
        count = min(max(missing, 0), len(data))
        if not count or (count == len(data) and not trainer.curve):  # the first call has to train
            return data
        rows = trainer.random.permutation(len(data))
        new = data.take(rows[:count])
        if old is None:
            trainer.best, trainer.unimproved = math.inf, 0  # of the training loss until now
        trainer.held_out = new if old is None else _joined(old, new)
        return data.take(rows[count:])

    # ---- predict ---------------------------------------------------------------------------------------------------

    def _values(self, X: Any) -> Array:
        """Return probabilities, or predicted numbers."""
        check_is_fitted(self)
        X = check_samples(self, X, reset=False)
        data = Batches(X, np.zeros(X.shape[0]), None, self.network_.dtype)
        outputs = np.concatenate([self.network_.predict(block.dense()) for block in data.in_blocks(1024)])
        return self._targets.values(outputs)

    def predict(self, X: Any) -> Array:
        """Return the label, the labels or the numbers predicted for each sample.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (N, I)
            Samples.

        Returns
        -------
        ndarray
            In the form of the targets that were fitted.

        Raises
        ------
        NotFittedError, ValueError
            If `fit` was not called, or X has other columns.
        """
        return self._targets.decode(self._values(X)) if hasattr(self, "_targets") else self._values(X)

    @property
    def _dense(self) -> list[Dense]:
        check_is_fitted(self)
        return [leaf for _, leaf in self.network_.leaves() if isinstance(leaf, Dense)]

    @property
    def coefs_(self) -> list[Array]:
        """Return the weights of each Dense layer, of shape (I, O) as in scikit-learn: views into the network."""
        return [layer.W.T for layer in self._dense]

    @coefs_.setter
    def coefs_(self, values: Sequence[npt.ArrayLike]) -> None:
        self._assign(self.coefs_, values, "coefs_")

    @property
    def intercepts_(self) -> list[Array]:
        """Return the biases of each Dense layer: views into the network."""
        return [layer.b for layer in self._dense]

    @intercepts_.setter
    def intercepts_(self, values: Sequence[npt.ArrayLike]) -> None:
        self._assign(self.intercepts_, values, "intercepts_")

    @staticmethod
    def _assign(views: list[Array], values: Sequence[npt.ArrayLike], name: str) -> None:
        """Copy arrays into the network, all or none."""
        if not isinstance(values, Sequence):
            raise TypeError(f"{name}: expected a list of {len(views)} arrays, got {values!r}")
        arrays, shapes = [as_array(value, name) for value in values], [view.shape for view in views]
        for array in arrays:
            if array.dtype.kind not in "biuf":
                raise TypeError(f"{name}: expected arrays of numbers, got dtype {array.dtype}")
        if [array.shape for array in arrays] != shapes:
            raise ValueError(f"{name}: expected the shapes {shapes}, got {[array.shape for array in arrays]}")
        for array in arrays:
            check_finite(array, name)
        for view, array in zip(views, arrays, strict=True):
            view[...] = array

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags


def _activation(activation: Any) -> Any:
    """Return an activation, or a list of them, under the names of this library."""
    if isinstance(activation, list):
        return [_activation(one) for one in activation]
    return ACTIVATIONS.get(activation, activation) if isinstance(activation, str) else activation


def _joined(old: Batches, new: Batches) -> Batches:
    """Return the samples of both."""
    if sparse.issparse(old.X) or sparse.issparse(new.X):
        X = sparse.vstack([sparse.csr_array(old.X), sparse.csr_array(new.X)]).tocsr()
    else:
        X = np.concatenate([old.X, new.X])
    weights = [np.ones(len(part)) if part.weight is None else part.weight for part in (old, new)]
    weight = None if old.weight is None and new.weight is None else np.concatenate(weights)
    return Batches(X, np.concatenate([old.Y, new.Y]), weight, old.dtype)
