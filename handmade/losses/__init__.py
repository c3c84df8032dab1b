"""3. Losses: ``loss(input, target)`` and, directly under it, ``loss_backward``, its gradient.

The contract of every pair, without exception: both take the same arguments, first ``input``, the output of the network
(predictions, or logits if the name says so), then ``target``. ``loss_backward`` returns the gradient with respect to
``input``, in the shape of ``input``: the first dH of the backward pass.

Losses of several inputs, in `pairs`, and `gaussian_nll_loss` take the inputs before ``target`` or instead of it, and
their backward returns a gradient for each input. `handmade.fit` refuses them, because a network has one output.

``reduction`` says how the terms, one per element or sample, become the loss: ``"mean"`` (the default, as in PyTorch),
``"sum"``, or ``"none"``. With ``"none"`` the loss is the array of the terms, and the gradient that of their sum. Each
docstring says which 1/N and which one-half it means.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from .. import _types
from .._types import Array, LossName
from .._validation import as_array, as_floating, check_choice, check_finite
from ._own import own
from ._terms import as_numbers, check_reduction
from .likelihoods import (
    gaussian_nll_loss,
    gaussian_nll_loss_backward,
    kl_div,
    kl_div_backward,
    nll_loss,
    nll_loss_backward,
    poisson_nll_loss,
    poisson_nll_loss_backward,
)
from .margins import (
    hinge_embedding_loss,
    hinge_embedding_loss_backward,
    hinge_loss,
    hinge_loss_backward,
    multi_margin_loss,
    multi_margin_loss_backward,
    soft_margin_loss,
    soft_margin_loss_backward,
    zero_one_loss,
    zero_one_loss_backward,
)
from .multilabel import (
    multilabel_margin_loss,
    multilabel_margin_loss_backward,
    multilabel_soft_margin_loss,
    multilabel_soft_margin_loss_backward,
    sigmoid_focal_loss,
    sigmoid_focal_loss_backward,
)
from .pairs import (
    cosine_embedding_loss,
    cosine_embedding_loss_backward,
    margin_ranking_loss,
    margin_ranking_loss_backward,
    triplet_margin_loss,
    triplet_margin_loss_backward,
)
from .probabilities import (
    binary_cross_entropy,
    binary_cross_entropy_backward,
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_backward,
    cross_entropy,
    cross_entropy_backward,
    cross_entropy_value_and_backward,
)
from .regression import (
    half_squared_error,
    half_squared_error_backward,
    huber_loss,
    huber_loss_backward,
    l1_loss,
    l1_loss_backward,
    mse_loss,
    mse_loss_backward,
    quantile_loss,
    quantile_loss_backward,
    smooth_l1_loss,
    smooth_l1_loss_backward,
)

__all__ = [
    "l1_loss",
    "l1_loss_backward",
    "mse_loss",
    "mse_loss_backward",
    "half_squared_error",
    "half_squared_error_backward",
    "huber_loss",
    "huber_loss_backward",
    "smooth_l1_loss",
    "smooth_l1_loss_backward",
    "hinge_loss",
    "hinge_loss_backward",
    "multi_margin_loss",
    "multi_margin_loss_backward",
    "zero_one_loss",
    "zero_one_loss_backward",
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "quantile_loss",
    "quantile_loss_backward",
    "soft_margin_loss",
    "soft_margin_loss_backward",
    "hinge_embedding_loss",
    "hinge_embedding_loss_backward",
    "multilabel_margin_loss",
    "multilabel_margin_loss_backward",
    "multilabel_soft_margin_loss",
    "multilabel_soft_margin_loss_backward",
    "sigmoid_focal_loss",
    "sigmoid_focal_loss_backward",
    "nll_loss",
    "nll_loss_backward",
    "kl_div",
    "kl_div_backward",
    "poisson_nll_loss",
    "poisson_nll_loss_backward",
    "gaussian_nll_loss",
    "gaussian_nll_loss_backward",
    "margin_ranking_loss",
    "margin_ranking_loss_backward",
    "cosine_embedding_loss",
    "cosine_embedding_loss_backward",
    "triplet_margin_loss",
    "triplet_margin_loss_backward",
    "find_loss",
    "loss_and_backward",
]


@dataclasses.dataclass(frozen=True)
class LossFunctions:
    """A loss and its gradient, into which it unpacks, with what a network needs to know of them.

    Attributes
    ----------
    value, backward : callable
        The loss and its gradient, functions of (input, target).
    value_and_backward : callable, optional
        A function that returns both, for a loss that computes them from one intermediate result.
    activation : str, optional
        An activation that the loss computes more exactly together with itself, such as "sigmoid".
    on_activation : LossFunctions, optional
        The loss of that activation, as a function of the pre-activation; it loses no digits.
    least_outputs : int
        The least number of outputs of a network: the softmax of a single one is always 1.
    options : mapping
        The options that `with_options` has given to each of the functions.
    takes_logits : bool
        Whether the loss computes probabilities from its input.
    """

    value: Callable[..., Any]
    backward: Callable[..., Any]
    value_and_backward: Callable[..., tuple[Any, Array]] | None = None
    activation: str | None = None
    on_activation: LossFunctions | None = None
    least_outputs: int = 1
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    takes_logits: bool = False

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return iter((self.value, self.backward))

    def check_outputs(self, count: int) -> None:
        """Raise ValueError if ``count`` outputs are too few for the loss."""
        if count < self.least_outputs:
            name = getattr(self.value, "func", self.value).__name__
            raise ValueError(
                f"loss: expected at least {self.least_outputs} outputs for {name}, got {count}; for one output use "
                "binary_cross_entropy_with_logits (two classes) or mse_loss (numbers)"
            )

    def with_options(self, options: dict[str, Any]) -> LossFunctions:
        """Return the same functions with these options given."""
        both = self.value_and_backward and functools.partial(self.value_and_backward, **options)
        fused = self.on_activation and self.on_activation.with_options(options)
        value, backward = (functools.partial(f, **options) for f in self)
        options = {**self.options, **options}
        return dataclasses.replace(
            self, value=value, backward=backward, value_and_backward=both, on_activation=fused, options=options
        )


Loss: TypeAlias = _types.Loss | LossFunctions

_WITH_LOGITS = LossFunctions(
    binary_cross_entropy_with_logits, binary_cross_entropy_with_logits_backward, takes_logits=True
)

LOSSES: dict[LossName, LossFunctions] = {
    cast(LossName, functions.value.__name__): functions
    for functions in (
        LossFunctions(l1_loss, l1_loss_backward),
        LossFunctions(mse_loss, mse_loss_backward),
        LossFunctions(half_squared_error, half_squared_error_backward),
        LossFunctions(huber_loss, huber_loss_backward),
        LossFunctions(smooth_l1_loss, smooth_l1_loss_backward),
        LossFunctions(hinge_loss, hinge_loss_backward),
        LossFunctions(multi_margin_loss, multi_margin_loss_backward),
        LossFunctions(zero_one_loss, zero_one_loss_backward),
        LossFunctions(
            binary_cross_entropy, binary_cross_entropy_backward, activation="sigmoid", on_activation=_WITH_LOGITS
        ),
        _WITH_LOGITS,
        LossFunctions(
            cross_entropy, cross_entropy_backward, cross_entropy_value_and_backward, least_outputs=2, takes_logits=True
        ),
        LossFunctions(quantile_loss, quantile_loss_backward),
        LossFunctions(soft_margin_loss, soft_margin_loss_backward),
        LossFunctions(hinge_embedding_loss, hinge_embedding_loss_backward),
        LossFunctions(multilabel_margin_loss, multilabel_margin_loss_backward),
        LossFunctions(multilabel_soft_margin_loss, multilabel_soft_margin_loss_backward),
        LossFunctions(sigmoid_focal_loss, sigmoid_focal_loss_backward),
        LossFunctions(nll_loss, nll_loss_backward),
        LossFunctions(kl_div, kl_div_backward),
        LossFunctions(poisson_nll_loss, poisson_nll_loss_backward),
    )
}

# Losses of several inputs, or with a gradient for each: none takes the output of a network alone.
SEVERAL_INPUTS: dict[str, tuple[Callable[..., Any], Callable[..., tuple[Array, ...]]]] = {
    "gaussian_nll_loss": (gaussian_nll_loss, gaussian_nll_loss_backward),
    "margin_ranking_loss": (margin_ranking_loss, margin_ranking_loss_backward),
    "cosine_embedding_loss": (cosine_embedding_loss, cosine_embedding_loss_backward),
    "triplet_margin_loss": (triplet_margin_loss, triplet_margin_loss_backward),
}


def find_loss(loss: Loss) -> LossFunctions:
    """Return the two functions of a loss that is given by name, function, partial or pair.

    Parameters
    ----------
    loss : str, callable, functools.partial or (callable, callable)
        A name, ``"mse_loss"``; a function, ``losses.mse_loss``; a function with options, which then hold for the
        gradient, too, ``functools.partial(losses.huber_loss, delta=2.0)``; or a pair of functions of your own,
        ``f(input, target)`` and ``f_backward(input, target)``. With sample weights, the two functions of a pair are
        called with ``reduction="none"``.

    Returns
    -------
    LossFunctions
        It unpacks into the loss and its gradient.

    Raises
    ------
    ValueError
        If no loss has this name, the loss has several inputs, like `triplet_margin_loss`, or has no such option.
    TypeError
        If ``loss`` is something else.

    Examples
    --------
    >>> import functools
    >>> f, f_backward = hm.losses.find_loss(functools.partial(hm.losses.huber_loss, delta=2.0))
    >>> f_backward([3.0], [0.0])
    array([2.])
    """
    if isinstance(loss, LossFunctions):
        return loss
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    several = loss if isinstance(loss, str) else getattr(loss, "__name__", None)
    if several in SEVERAL_INPUTS and loss in (several, SEVERAL_INPUTS[several][0]):
        raise ValueError(
            f"loss: expected a loss of an input and a target, got {several}, which has several inputs; call it and "
            f"{several}_backward, and pass the gradients to network.backward"
        )
    if isinstance(loss, str):
        check_choice(loss, "loss", LOSSES)  # raises
    if isinstance(loss, functools.partial):
        return _find_partial(loss)
    if isinstance(loss, tuple) and len(loss) == 2 and all(map(callable, loss)):
        return LossFunctions(own(loss[0]), own(loss[1]))
    for functions in LOSSES.values():
        if functions.value is loss:
            return functions
    raise TypeError(
        f"loss: expected a name, a function of handmade.losses, a functools.partial of one, or a pair "
        f"(f, f_backward) of functions, got {loss!r}"
    )


def _find_partial(loss: functools.partial[Any]) -> LossFunctions:
    """Return the functions of a loss with the options of a partial; raise unless the loss has them."""
    if loss.args:
        raise TypeError(f"loss: expected a partial with options by name, got {loss.args}; e.g. partial(f, delta=2.0)")
    functions = find_loss(loss.func)
    for name in loss.keywords:
        if name not in _options_of(loss.func):
            check_choice(name, f"option of {loss.func.__name__}", _options_of(loss.func))
    return functions.with_options(loss.keywords)


@functools.cache
def _options_of(loss: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a loss's options, which a partial may give."""
    return tuple(inspect.signature(loss).parameters)[2:]


def loss_and_backward(
    loss: Loss, input: npt.ArrayLike, target: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
) -> tuple[Any, Array]:
    """Return the loss and its gradient with respect to ``input``.

    Parameters
    ----------
    loss : str, callable, functools.partial or (callable, callable)
        See `find_loss`.
    input : array_like, shape (N, ...)
        Outputs of a network.
    target : array_like
        Targets, in the form that the loss takes.
    sample_weight : array_like, shape (N,), optional
        A weight w_i for each sample. The loss becomes sum_i w_i l_i / N, where l_i is the loss of sample i (the mean
        over its outputs). A sample with an ignored label has l_i = 0 but counts in N. With ``reduction="sum"`` nothing
        is divided. Weights may be negative, such as the advantages of a policy gradient.

    Returns
    -------
    value : float
        The loss.
    dH : ndarray
        Its gradient, in the shape of ``input``.

    Raises
    ------
    ValueError
        If the weights are not one finite number per sample, ``reduction`` is "none", or the loss raises it.

    Examples
    --------
    >>> weight = [1.0, 0.0]
    >>> hm.losses.loss_and_backward("mse_loss", np.array([[1.0], [3.0]]), [[0.0], [0.0]], sample_weight=weight)
    (np.float64(0.5), array([[1.],
           [0.]]))
    """
    functions = find_loss(loss)
    if functions.options:
        check_one_number(functions)
    if sample_weight is None and functions.value_and_backward is not None:
        return functions.value_and_backward(input, target)
    input = as_floating(input, "input")
    if sample_weight is not None:
        return _weighted_by_sample(functions, input, target, sample_weight)
    dH = np.asarray(functions.backward(input, target), input.dtype)
    if dH.shape != input.shape:  # the loss may be a user's own
        raise ValueError(f"loss: expected its backward to return the shape of the input {input.shape}, got {dH.shape}")
    value = functions.value(input, target)
    if np.ndim(value) != 0:
        raise TypeError(f"loss: expected one number, got an array of shape {np.shape(value)}; return its mean or sum")
    if not isinstance(value, complex) and not hasattr(value, "__float__"):
        raise TypeError(f"loss: expected one number, got {value!r}")
    return value, dH if dH.flags.writeable else dH.copy()  # a user's own may return its input


def loss_of_batch(
    loss: Loss, output: Array, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
) -> tuple[Any, Array]:
    """Return the result of `loss_and_backward`, with error messages that speak of the output and of y."""
    try:
        return loss_and_backward(loss, output, y, sample_weight)
    except (TypeError, ValueError) as error:
        speak_of_y(error)
        raise


def speak_of_y(error: Exception) -> None:
    """Replace ``target`` by y and ``input`` by the output in the message of an error that a loss raised.

    Examples
    --------
    >>> from handmade.losses import speak_of_y
    >>> error = ValueError("target: expected the shape of the input (4, 3), got (4,)")
    >>> speak_of_y(error)
    >>> str(error)
    'y: expected the shape of the output (4, 3), got (4,)'
    """
    text = str(error)
    if text.startswith(("target: ", "input: ")):
        error.args = (re.sub(r"\btarget\b", "y", re.sub(r"^input|(?<=the )input", "output", text)),)


def check_one_number(functions: LossFunctions) -> None:
    """Raise ValueError if the loss is an array, because ``reduction`` is "none"."""
    if functions.options.get("reduction") == "none":
        raise ValueError("loss: expected one number to differentiate, got an array by reduction='none'; use 'mean'")


def _weighted_by_sample(
    functions: LossFunctions, input: Array, target: npt.ArrayLike, sample_weight: npt.ArrayLike
) -> tuple[Any, Array]:
    """Return the loss with one weight per sample, and its gradient."""
    as_array(sample_weight, "sample_weight")  # raises first if it is masked
    if functions.options.get("weight") is not None:
        raise ValueError(
            "sample_weight: expected a loss without weight, got both; multiply them, or use fit's class_weight"
        )
    reduction = functions.options.get("reduction", "mean")
    check_reduction(reduction)
    weight = as_numbers(sample_weight, "sample_weight", np.real(input))
    if weight.shape != (len(input),):
        raise ValueError(f"sample_weight: expected one weight per sample, shape {(len(input),)}, got {weight.shape}")
    check_finite(weight, "sample_weight")
    try:
        terms = functions.value(input, target, reduction="none").reshape(len(input), -1)
        derivatives = functions.backward(input, target, reduction="none").reshape(len(input), -1)
    except TypeError as error:
        if all("reduction" in inspect.signature(f).parameters for f in functions):
            raise
        raise TypeError("loss: expected two functions that take reduction='none', which sample weights need") from error
    scale = weight / terms.size if reduction == "mean" else weight
    return scale @ terms.sum(axis=1), (derivatives * scale[:, np.newaxis]).reshape(input.shape)
