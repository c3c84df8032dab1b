"""9. A claimed gradient beside the true one, for a network or for any function.

The truth is measured: the library's own backward pass is taken only where differences confirm it at this point.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._types import Array
from ..network import Network, check_finite_targets, check_passes
from .backward_pass import BackwardPass
from .causes import Block, Cause, tolerance
from .check_table import GradientCheck
from .claims import Parameters, both_layouts, call_repeatedly, is_single, read_gradient
from .differences import numerical_gradient
from .entry_checker import examine, examine_beside
from .measured_layers import measure_layers
from .methods import EPS
from .network_loss import NetworkLoss
from .rounding import network_rounding
from .subjects import Subject, check_parameters, one_sided_gradients, own_gradient, subject_of
from .transforms import GradientMatch

__all__ = ["Problem", "function_problem", "measure_steps", "network_problem"]

PROOF = 60  # entries of the library's own backward pass that are measured before it is taken for the truth
MOST_ENTRIES = 4  # wrong entries that are named one by one
ENOUGH, MANY = MOST_ENTRIES + 1, 50  # wrong entries of a parameter that end its comparison, with a truth and without
MOST_MEASURED = 20_000  # parameters that are measured one by one where the library's backward pass is not proven


@dataclasses.dataclass
class Problem:
    """A claimed gradient beside the true one, with all that is known of the function.

    Attributes
    ----------
    match : GradientMatch
        The claim, and its comparison with candidates.
    truth : ndarray, shape (P,)
        The true gradient.
    odd : list of Cause
        The mistakes that shapes and repeated calls show.
    subject : Subject
        The function and the point.
    backward_pass : BackwardPass, optional
        The right backward pass of a network, if differences confirm it.
    proof : GradientCheck, optional
        The comparison of the right backward pass with differences.
    check : GradientCheck, optional
        The comparison of the claim with differences.
    network : Network, optional
        The network.
    on_rows : callable, optional
        The claimed gradient as a function of (parameters, X, y).
    is_measured : bool
        Whether the backward pass is the library's own only after `measure_steps`.
    options : dict
        The loss, sample_weight and training of the network.
    terms : dict of str to callable
        The terms that a function is the sum of.
    parameters : Parameters, optional
        The form of theta.
    function : callable, optional
        A function of theta in that form, of which nothing else is known.
    is_own : bool
        Whether the claim is the network's own gradient.
    layouts : bool
        Whether the shapes leave open if weights are (O, I) or (I, O).
    """

    match: GradientMatch
    truth: Array
    odd: list[Cause]
    subject: Subject
    backward_pass: BackwardPass | None = None
    proof: GradientCheck | None = None
    check: GradientCheck | None = None
    network: Network | None = None
    on_rows: Callable[..., Any] | None = None
    is_measured: bool = False
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    terms: dict[str, Callable[..., float]] = dataclasses.field(default_factory=dict)
    parameters: Parameters | None = None
    function: Callable[..., float] | None = None
    is_own: bool = False
    layouts: bool = False

    def examined(self, progress: bool) -> GradientCheck:
        """Return the comparison of the claim with differences, and with the truth where they have confirmed that."""
        if self.proof is not None:
            return examine_beside(self.subject, self.truth, self.proof, ENOUGH)
        return examine(self.subject, rng=0, enough=MANY, progress=progress)

    @property
    def facts(self) -> dict[str, float]:
        """The numbers that a coefficient of a formula may be made of, beside those of the network."""
        return {name.replace("learning rate", "eta"): n for name, n in self.match.facts.items() if name != "N"}


# ---- networks ------------------------------------------------------------------------------------------------------


def network_problem(
    network: Network, X: Any, y: Any, gradient: Any = ..., *, options: dict[str, Any], facts: dict[str, Any]
) -> Problem:
    """Return the problem of a network's gradient: somebody's, or the network's own where none is given."""
    check_parameters(network)
    X, y = network.check_input(X), check_finite_targets(y)
    blocks = _network_blocks(network)
    claimed, odd, single = _network_claim(network, X, y, gradient, blocks, options)
    single = single or network.dtype == np.float32
    f = NetworkLoss(network, X, y, **options)
    rounding = network_rounding(network, f, claimed, blocks, single)
    names = network.blocks(np.arange(claimed.size))
    theta = network.theta.astype(np.float64)
    subject = Subject(f, theta, claimed, rounding, names, one_sided_gradients(network, f))
    of = BackwardPass(network, f.X, f.y, **options)
    truth, proof, undecidable, is_measured = _network_truth(subject, of)
    allowed = np.where(undecidable, np.inf, 4 * rounding + 64 * EPS**0.8 * abs(of.value) * (proof is None))
    facts = {"outputs": of.values[-1].shape[-1], **facts, "N": len(X)}
    return Problem(
        GradientMatch(blocks, theta, claimed, allowed, facts, single), truth, odd, subject,
        backward_pass=None if proof is None else of, proof=proof, network=network, options=options,
        on_rows=_on_rows(network, gradient, options), is_measured=is_measured, is_own=gradient is ...,
        layouts=both_layouts(blocks) and isinstance(gradient, list | tuple | Mapping),
    )  # fmt: skip


def _network_claim(
    network: Network, X: Array, y: Array, gradient: Any, blocks: list[Block], options: dict[str, Any]
) -> tuple[Array, list[Cause], bool]:
    """Return a claimed gradient as a vector, the mistakes that its shapes show, and whether it is float32."""

    def read(value: Any) -> tuple[Array, list[Cause]]:
        return read_gradient(value, blocks, len(X))

    if gradient is ...:
        check_passes(network, "diagnose_gradient", ("backward", "loss_and_gradient"))
        own, causes = own_gradient(network, X, y, options, blocks)
        return own, causes, network.dtype == np.float32
    if not _is_function(gradient):
        claimed, odd = read(gradient)
        return claimed, odd, gradient is not None and is_single(gradient, claimed)
    if _takes_batches(gradient):
        return call_repeatedly(lambda: call_with(gradient, network, X, y), read, tolerance)
    return call_repeatedly(lambda: gradient(network.theta.copy()), read, tolerance)


def _on_rows(network: Network, gradient: Any, options: Mapping[str, Any]) -> Callable[..., Any] | None:
    """Return the claimed gradient as a function of (parameters, X, y), if it is one; the network's own always is."""
    if gradient is ...:
        return lambda parameters, X, y: copy.deepcopy(network).backpropagate(X, y, *options.values())[1]
    return gradient if _is_function(gradient) and _takes_batches(gradient) else None


def _is_function(gradient: Any) -> bool:
    return callable(gradient) and not hasattr(gradient, "__array__")


def _network_blocks(network: Network) -> list[Block]:
    """Return the parameters as slices of theta, each with the number of its leaf."""
    layers = {prefix: i for i, (prefix, _) in enumerate(network.leaves())}
    blocks, start = [], 0
    for name, value in network.blocks(network.theta).items():
        blocks.append(Block(name, start, value.shape, layers[name[: name.rindex(".") + 1]]))
        start += value.size
    return blocks


def _takes_batches(gradient: Any) -> bool:
    """Return whether a gradient is a function of (parameters, X, y) rather than of theta."""
    try:
        parameters = list(inspect.signature(gradient).parameters.values())
    except (TypeError, ValueError):
        return False
    needed = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(needed) == 3


def call_with(gradient: Callable[..., Any], network: Network, X: Array, y: Array) -> Any:
    """Call a gradient function of (parameters, X, y): with a list of arrays, or with a vector if it takes no list."""
    theta = network.theta.copy()
    arrays = [block.copy() for block in network.blocks(theta).values()]
    try:
        return copy.deepcopy(gradient(arrays, X.copy(), y.copy()))
    except Exception as error:
        try:
            return copy.deepcopy(gradient(theta, X.copy(), y.copy()))
        except Exception:
            raise error from None


def _network_truth(subject: Subject, of: BackwardPass) -> tuple[Array, GradientCheck | None, Array, bool]:
    """Return the true gradient, its proof, the entries that nothing decides, and whether steps had to be measured.

    The library's own backward pass is the truth only where differences confirm it at this point.
    """
    undecided = np.zeros(subject.theta.size, bool)
    truth = of.gradient()
    if np.isfinite(truth).all():
        if (proof := _proof(subject, truth)) is not None:
            return truth, proof, undecided, False
        measure_steps(of)
        truth = of.gradient()
        if (proof := _proof(subject, truth)) is not None:
            return truth, proof, undecided, True
    if subject.theta.size <= MOST_MEASURED:
        return numerical_gradient(subject.f, subject.theta), None, undecided, False
    chosen = np.random.default_rng(0).choice(subject.theta.size, MOST_MEASURED, replace=False)
    truth = np.zeros(subject.theta.size)
    truth[chosen] = numerical_gradient(subject.f, subject.theta, indices=chosen)
    undecided[:] = True
    undecided[chosen] = False
    return truth, None, undecided, False


def _proof(subject: Subject, gradient: Array) -> GradientCheck | None:
    """Return the comparison of a gradient with differences; None if it is wrong."""
    proof = examine(dataclasses.replace(subject, claimed=gradient), entries=PROOF, directions=2, rng=0)
    return None if any(block.wrong for block in proof.blocks) else proof


def measure_steps(of: BackwardPass) -> None:
    """Replace the gradient of the loss, and the backward pass of layers that disagree with differences, by those."""
    _measure_loss(of)
    measure_layers(of)


def _measure_loss(of: BackwardPass) -> None:
    H = of.values[-1]
    if H.size <= 5000:
        from ..losses import loss_and_backward

        def value(output: Array) -> float:
            return float(loss_and_backward(of.loss, output, of.y, of.sample_weight)[0])

        try:
            measured = numerical_gradient(value, H)
        except (ValueError, TypeError):
            return
        far = np.abs(measured - of.loss_gradient).max(initial=0.0)
        of.is_loss_wrong = bool(far > 1e-6 * np.abs(measured).max(initial=0.0))
        of.loss_gradient = measured


# ---- functions -----------------------------------------------------------------------------------------------------


def function_problem(
    f: Callable[..., float],
    theta: Any,
    gradient: Any,
    *,
    facts: Mapping[str, Any],
    terms: Mapping[str, Callable[..., float]],
    progress: bool,
) -> Problem:
    """Return the problem of the gradient of a function of which nothing else is known."""
    parameters = Parameters(theta, "theta")
    blocks, vector = parameters.blocks, parameters.vector

    def read(value: Any) -> tuple[Array, list[Cause]]:
        return read_gradient(value, blocks)

    if _is_function(gradient):
        claimed, odd, single = call_repeatedly(lambda: gradient(parameters.shaped(vector.copy())), read, tolerance)
    else:
        claimed, odd = read(gradient)
        single = gradient is not None and is_single(gradient, claimed)
    single = single or parameters.is_single
    subject = subject_of(f, parameters, vector, claimed, single)
    truth, allowed = np.zeros(vector.shape), np.full(vector.shape, np.inf)
    check = None
    if np.isfinite(claimed).all():
        entries = vector.size if vector.size <= MOST_MEASURED else None
        check = examine(subject, entries=entries, progress=progress)
        decided = np.isfinite(check.measured)
        truth[decided], allowed[decided] = check.measured[decided], check.allowed[decided]
    match = GradientMatch(blocks, vector, claimed, allowed, facts, single)
    return Problem(match, truth, odd, subject, check=check, terms=dict(terms), parameters=parameters, function=f)
