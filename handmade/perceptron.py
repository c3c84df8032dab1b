"""1. One unit that learns: Rosenblatt's perceptron (slide System 1) and the delta rule (Systems 2 and 7).

Both rules take one sample at a time, in order, and move the weights along that sample's inputs. The perceptron moves
only when its answer, a sign, is wrong. The delta rule moves in proportion to the error of a linear unit, which makes it
gradient descent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Self

import numpy as np
import numpy.typing as npt

from ._types import Array
from ._validation import as_array, check_bool, check_count, not_numbers, positive

__all__ = ["Perceptron", "delta_rule", "is_positive"]

SMALLEST_BLOCK = 32  # samples; a call of NumPy for fewer takes as long
LARGEST_BLOCK = 2**17  # elements: 1 MiB of float64 stays in the processor's cache
LARGEST_VALUE = 1e100  # the product of two such values, summed over any data set, stays far from overflow


def is_positive(score: Array) -> Array:
    """Return whether a score means the positive class: it is 0 or more, because the sign of zero is +1 on the slide.

    All functions that turn a score into one of two classes call this one.

    Examples
    --------
    >>> hm.perceptron.is_positive(np.array([-0.5, 0.0, 2.0]))
    array([False,  True,  True])
    """
    return score >= 0


class Perceptron:
    r"""A perceptron as Rosenblatt's: a unit with output +1 or -1 that learns from its mistakes.

    Slide System 1, "Perceptron Training by SGD". For each sample :math:`x` with label :math:`y`, in order::

        w = 0                             at the start
        yhat = sign(<w, x> + b)           the sign of zero is +1
        w = w + y x,  b = b + y           if yhat != y

    The bias ``b`` is the weight of one more input that is always 1. The slide has none: ``bias=False``.

    If weights of norm 1 separate the two classes with margin :math:`\gamma`, and no input is longer than :math:`R`,
    the rule makes at most :math:`(R / \gamma)^2` mistakes, whatever the order of the samples (Novikoff, "On
    convergence proofs on perceptrons", 1962). With a bias, its input 1 counts in :math:`R`, and its weight in the
    norm. If no weights separate the classes, the mistakes never end, and `converged` stays false.

    Parameters
    ----------
    bias : bool, default True
        Whether the unit has a bias.

    Attributes
    ----------
    w : ndarray of shape (I,), float64, or None before the first `fit`
        The weights.
    b : float
        The bias; 0.0 if the unit has none.
    mistakes_per_epoch : list of int
        The number of mistakes in each epoch so far.
    mistakes, epochs : int
        The sum and the length of ``mistakes_per_epoch``.
    converged : bool
        Whether the last epoch had no mistake.

    References
    ----------
    F. Rosenblatt, "The perceptron: a probabilistic model for information storage and organization in the brain",
    Psychological Review 65, 1958.

    Examples
    --------
    The logical OR, by hand. Epoch 1: (0, 0) scores 0, so the answer is +1, a mistake: b = -1. (0, 1) scores -1, a
    mistake: w = (0, 1), b = 0. (1, 0) scores 0 and (1, 1) scores 1: both right. Epoch 2: (0, 0) is wrong again:
    b = -1. (1, 0) scores -1, a mistake: w = (1, 1), b = 0. Epoch 3: (0, 0) is wrong for the last time: b = -1.
    Epoch 4 has no mistake.

    >>> X = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> unit = hm.Perceptron().fit(X, [-1, 1, 1, 1])
    >>> unit.w, unit.b, unit.mistakes_per_epoch
    (array([1., 1.]), -1.0, [2, 2, 1, 0])
    >>> unit.predict(X)
    array([-1,  1,  1,  1])

    The logical AND takes six epochs. After each, (w1, w2; b) is (1, 1; 0), (2, 1; -1), (2, 1; -2), (2, 2; -2),
    (2, 1; -3) and the same again. The exclusive OR takes for ever: no line separates it.

    >>> unit = hm.Perceptron().fit(X, [-1, -1, -1, 1])
    >>> unit.w, unit.b, unit.mistakes_per_epoch
    (array([2., 1.]), -3.0, [2, 3, 3, 2, 1, 0])
    >>> unit
    Perceptron(inputs=2, bias=True): converged; epochs: 6, mistakes: 11
    >>> hm.Perceptron().fit(X, [-1, 1, 1, -1], max_epochs=100).converged
    False
    """

    def __init__(self, bias: bool = True) -> None:
        self.bias: bool = check_bool(bias, "bias")
        self.w: npt.NDArray[np.float64] | None = None
        self.b: float = 0.0
        self.mistakes_per_epoch: list[int] = []

    @property
    def mistakes(self) -> int:
        """Return the number of mistakes so far, over all epochs."""
        return sum(self.mistakes_per_epoch)

    @property
    def epochs(self) -> int:
        """Return the number of passes over the samples so far."""
        return len(self.mistakes_per_epoch)

    @property
    def converged(self) -> bool:
        """Return whether the last epoch had no mistake."""
        return self.mistakes_per_epoch[-1:] == [0]

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, *, max_epochs: int = 1000) -> Self:
        """Go through the samples in order, again and again, until an epoch has no mistake.

        A second call continues from the present weights and adds to the counts; for a fresh start, make a new
        `Perceptron`. A call that fails changes nothing.

        Parameters
        ----------
        X : array_like of shape (N, I)
            Inputs: 0 and 1 on the slide, but any real numbers will do. They are converted to float64 one block at a
            time, so a `numpy.memmap` may be larger than memory.
        y : array_like of shape (N,)
            Labels, +1 or -1.
        max_epochs : int, default 1000
            Stop after this many epochs in this call. `converged` is then false, unless the last one had no mistake.

        Returns
        -------
        Perceptron
            The unit itself.

        Raises
        ------
        ValueError
            If a shape does not fit, there are no samples, a label is neither +1 nor -1, an input is not finite or
            larger in size than 1e100 (sums of products could overflow), or ``max_epochs`` is below 1.
        TypeError
            If X or y does not hold real numbers, or ``max_epochs`` is not an integer.

        Examples
        --------
        One epoch at a time, without a bias:

        >>> unit = hm.Perceptron(bias=False)
        >>> unit.fit([[1, 0], [1, 1]], [-1, 1], max_epochs=1).w
        array([0., 1.])
        >>> unit.fit([[1, 0], [1, 1]], [-1, 1], max_epochs=1).mistakes_per_epoch
        [2, 1]
        >>> unit.converged, unit.w
        (False, array([-1.,  1.]))
        """
        X, y = _samples(X, y, inputs="I" if self.w is None else self.w.size)
        max_epochs = check_count(max_epochs, "max_epochs")
        if not (np.abs(y) == 1).all():
            raise ValueError(
                f"y: expected labels +1 and -1, got {np.unique(y)[:5].tolist()}; "
                "convert labels 0 and 1 with np.where(y == 1, 1, -1)"
            )
        w = np.zeros(X.shape[1]) if self.w is None else self.w.copy()
        b = self.b
        mistakes_per_epoch: list[int] = []
        while len(mistakes_per_epoch) < max_epochs and mistakes_per_epoch[-1:] != [0]:
            b, mistakes = _epoch(X, y, w, b, self.bias)
            mistakes_per_epoch.append(mistakes)
        self.w, self.b = w, b
        self.mistakes_per_epoch += mistakes_per_epoch
        return self

    def decision_function(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the score of each sample: <w, x> + b.

        Parameters
        ----------
        X : array_like of shape (N, I)
            Inputs.

        Returns
        -------
        ndarray of shape (N,), float64
            The scores: signed distances to the separating hyperplane, times the norm of ``w``.

        Raises
        ------
        ValueError
            If X does not have one column per weight, or holds numbers that `fit` would refuse.
        TypeError
            If X does not hold real numbers.
        RuntimeError
            If the unit has not been trained.

        Examples
        --------
        >>> hm.Perceptron().fit([[0], [2]], [-1, 1]).decision_function([[0], [1], [2]])
        array([-1.,  1.,  3.])
        """
        if self.w is None:
            raise RuntimeError("Perceptron: expected trained weights, got none yet; call fit(X, y) first")
        X = _finite("X", X, ("N", self.w.size), "one row per sample and one column per weight")
        scores = np.empty(len(X))
        for rows in _blocks(X):
            scores[rows] = _scores(np.ascontiguousarray(X[rows], dtype=np.float64), self.w, self.b)
        return scores

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the answer for each sample, +1 or -1: sign(<w, x> + b), where the sign of zero is +1.

        Parameters
        ----------
        X : array_like of shape (N, I)
            Inputs.

        Returns
        -------
        ndarray of shape (N,), int64
            The labels. Once `fit` has converged, they equal its y on its X, to the last sample.

        Raises
        ------
        ValueError, TypeError, RuntimeError
            As in `decision_function`.

        Examples
        --------
        >>> hm.Perceptron().fit([[0], [2]], [-1, 1]).predict([[0], [1], [2]])
        array([-1,  1,  1])
        """
        return np.where(is_positive(self.decision_function(X)), np.int64(1), np.int64(-1))

    def __repr__(self) -> str:
        """Return the state: not trained, converged or gave up, with the counts.

        Examples
        --------
        >>> hm.Perceptron(bias=False).fit([[1], [1]], [1, -1], max_epochs=3)
        Perceptron(inputs=1, bias=False): gave up; epochs: 3, mistakes: 5, in the last epoch: 2; \
the data may not be linearly separable, or need more epochs
        """
        if self.w is None:
            return f"Perceptron(bias={self.bias}): not trained"
        counts = f"epochs: {self.epochs}, mistakes: {self.mistakes}"
        if self.converged:
            verdict = f"converged; {counts}"
        else:
            verdict = (
                f"gave up; {counts}, in the last epoch: {self.mistakes_per_epoch[-1]};"
                " the data may not be linearly separable, or need more epochs"
            )
        return f"Perceptron(inputs={self.w.size}, bias={self.bias}): {verdict}"


def delta_rule(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    eta: float,
    w: npt.ArrayLike | None = None,
    epochs: int = 1,
    return_path: bool = False,
) -> npt.NDArray[np.float64]:
    r"""Train a linear unit, yhat = <w, x>, by the delta rule: one sample at a time, in order.

    The slides' one line of code (System 2), with the learning rate of System 7::

        w = w + eta (y - yhat) x

    It is gradient descent on the half squared error of the sample, :math:`\mathcal{L} = \frac12 (y - \hat y)^2`. By
    the chain rule, and because :math:`\hat y = \sum_i w_i x_i` changes by :math:`x_i` per unit of :math:`w_i`,

    .. math:: \frac{\partial\mathcal{L}}{\partial w_i} = -(y - \hat y) \frac{\partial \hat y}{\partial w_i}
              = -(y - \hat y)\, x_i ,

    so :math:`w - \eta \nabla w` is the line above. For the second smallest perceptron, with two inputs, these are the
    slides' "two BP lines" and the two updates::

        dw1 = -(y - yhat) x1        w1 = w1 - eta dw1 = w1 + eta (y - yhat) x1
        dw2 = -(y - yhat) x2        w2 = w2 - eta dw2 = w2 + eta (y - yhat) x2

    A step multiplies the error of its sample by :math:`1 - \eta \lVert x \rVert^2`, so the weights stay bounded for
    :math:`\eta < 2 / \max \lVert x \rVert^2`. Above it they may grow without end.

    Parameters
    ----------
    X : array_like of shape (N, I)
        Inputs. For a bias, add a column of ones.
    y : array_like of shape (N,)
        Targets: any real numbers.
    eta : float
        Learning rate, above 0. The slides' plain line is ``eta=1``.
    w : array_like of shape (I,), optional
        The weights to start from; zeros by default. They are not changed.
    epochs : int, default 1
        Passes over the samples.
    return_path : bool, default False
        Return the weights before the first step and after every step, to draw the descent.

    Returns
    -------
    ndarray of shape (I,), or (epochs * N + 1, I) with ``return_path``, float64
        The trained weights, or the weights after every step; the last row is then the result.

    Raises
    ------
    ValueError
        If a shape does not fit, there are no samples, a number is not finite or larger in size than 1e100, ``eta`` is
        not above 0, ``epochs`` is below 1, or the weights overflow because ``eta`` is too large.
    TypeError
        If X, y or w does not hold real numbers, ``eta`` is not a number or ``epochs`` is not an integer.

    References
    ----------
    B. Widrow and M. E. Hoff, "Adaptive switching circuits", IRE WESCON Convention Record, part 4, 1960.

    Examples
    --------
    The smallest perceptron, yhat = w x. The first error is 3 - 0, so w = 0 + 1/4 * 3 * 1 = 3/4. The second is
    4 - 3/4 * 2 = 5/2, so w = 3/4 + 1/4 * 5/2 * 2 = 2.

    >>> hm.delta_rule([[1], [2]], [3, 4], eta=0.25, return_path=True)
    array([[0.  ],
           [0.75],
           [2.  ]])

    The second smallest. The error is 2 - (1 * 3 - 1 * 2) = 1, and each weight moves by 1/2 * 1 times its input.

    >>> hm.delta_rule([[3, 2]], [2], eta=0.5, w=[1, -1])
    array([2.5, 0. ])
    """
    X, y = _samples(X, y, inputs="I")
    X = np.ascontiguousarray(X, dtype=np.float64)
    start = np.zeros(X.shape[1]) if w is None else w
    weights: Array = _finite("w", start, X.shape[1:], "one number per input").astype(np.float64)
    epochs, eta = check_count(epochs, "epochs"), positive(eta, "eta")
    if eta > LARGEST_VALUE:
        raise ValueError(f"eta: expected a number of at most {LARGEST_VALUE}, got {eta!r}")
    path = [weights] if check_bool(return_path, "return_path") else None
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow leaves inf or NaN, which is found below
        for epoch in range(1, epochs + 1):
            for x, target in zip(X, y, strict=True):
                weights = weights + eta * (target - weights @ x) * x
                if path is not None:
                    path.append(weights)
            if not np.isfinite(weights).all():
                raise ValueError(
                    f"eta: expected a learning rate below 2 / max ||x||^2 = {2 / np.vecdot(X, X).max():.3g}, "
                    f"got {eta!r}, with which the weights overflowed in epoch {epoch}"
                )
    return weights if path is None else np.array(path)


def _epoch(X: Array, y: Array, w: Array, b: float, has_bias: bool) -> tuple[float, int]:
    """Take the samples once, in order; move w in place, and return b and the number of mistakes.

    Scores change only when the weights do, and the weights only on a mistake. So a block of coming samples is scored
    at once, and all of them before the first mistake are done with. Fewer mistakes make longer blocks.
    """
    block, largest = SMALLEST_BLOCK, max(SMALLEST_BLOCK, LARGEST_BLOCK // X.shape[1])
    answers = y > 0
    mistakes = start = 0
    while start < len(X):
        x = np.ascontiguousarray(X[start : start + block], dtype=np.float64)
        wrong = is_positive(_scores(x, w, b)) != answers[start : start + block]
        first = int(wrong.argmax())
        if not wrong[first]:
            start += block
            block = min(2 * block, largest)
            continue
        w += y[start + first] * x[first]
        b += y[start + first] * has_bias
        mistakes += 1
        start += first + 1
        block = max(block // 2, SMALLEST_BLOCK)
    return float(b), mistakes


def _scores(X: Array, w: Array, b: float) -> Array:
    """Return <w, x> + b for each row of a C-contiguous X, with the bits of ``w @ x + b``.

    The matrix product ``X @ w`` is faster but sums in another order; where the score is near zero, its last bit would
    decide the sign.
    """
    return np.vecdot(X, w) + b


def _blocks(X: Array) -> Iterator[slice]:
    """Yield slices of rows that fit into the processor's cache."""
    rows = max(1, LARGEST_BLOCK // math.prod(X.shape[1:]))
    return (slice(start, start + rows) for start in range(0, len(X), rows))


def _samples(X: npt.ArrayLike, y: npt.ArrayLike, inputs: int | str) -> tuple[Array, Array]:
    """Return inputs and targets as arrays that fit together."""
    X = as_array(X, "X")
    if X.size == 0:
        raise ValueError(f"X: expected at least one sample and one input, got shape {X.shape}")
    X = _finite("X", X, ("N", inputs), "one row per sample and one column per input")
    return X, _finite("y", y, X.shape[:1], "one number per sample").astype(np.float64)


def _finite(name: str, values: npt.ArrayLike, shape: tuple[int | str, ...], meaning: str) -> Array:
    """Return values as an array of real, finite numbers of this shape, in which a letter stands for any size."""
    array = as_array(values, name)
    if array.dtype.kind not in "biuf":
        raise not_numbers(array, name, "real numbers")
    sizes = zip(shape, array.shape, strict=False)
    if len(shape) != array.ndim or any(expected != size for expected, size in sizes if isinstance(expected, int)):
        raise ValueError(f"{name}: expected shape {shape}, {meaning}, got {array.shape}".replace("'", ""))
    for rows in _blocks(array):
        smallest, largest = float(array[rows].min()), float(array[rows].max())
        if not -LARGEST_VALUE <= smallest <= largest <= LARGEST_VALUE:
            raise ValueError(
                f"{name}: expected finite numbers of at most {LARGEST_VALUE} in size, "
                f"got numbers from {smallest} to {largest}; clean or scale them"
            )
    return array
