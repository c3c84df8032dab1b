"""9. A wrong gradient explained: which step of the backward pass is wrong, and how.

Whether a gradient is right is decided by `examine`, the judgement of `check_gradient`. If it is wrong, three searches
explain it, the simplest first:

1. A catalogue of known mistakes. Each is made on purpose, and the gradient that it leads to compared with the claim.
2. Localisation: the algebra of dense layers shows which steps are wrong, however many (`localisation`), and a
   regression gives the formula of each (`regression`).
3. Pairs of mistakes of the catalogue, where the algebra cannot separate the steps.

If nothing explains the gradient, the diagnosis says so, and shows the rows of the wrong step beside the right ones.
"""

from __future__ import annotations

import copy
import dataclasses
import html
import inspect
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..layers import Dense, Dropout, Layer
from ..losses import Loss
from ..network import Network, check_finite_targets
from ..normalization import BatchNorm
from ..progress import progress_bar
from .backward_pass import BackwardPass
from .claims import CHANGES, Parameters, both_layouts, call_repeatedly, is_single, read_gradient
from .differences import EPS, numerical_gradient
from .gradients import SINGLE, GradientCheck, Subject, examine, network_rounding, one_sided_gradients, rounding_of
from .localisation import WrongStep, layer_name, localise
from .mistakes import Mistake, mistakes
from .network_loss import NetworkLoss
from .regression import MOST_TERMS, Case, Formula, Term, beside_parameter, dA_of, fit, formula_of
from .terms import terms_that_explain
from .transforms import Block, Cause, GradientMatch, tolerance

__all__ = ["Diagnosis", "Explanation", "diagnose_gradient"]

Array = npt.NDArray[Any]
Found = Iterator[tuple[list[Cause], int, float]]  # the causes, the count of fitted numbers, the residual

SHARE = 0.01  # an explanation must remove 99 % of the difference, or tiny differences would be explained by anything
CHANCE = 1e-3  # an explanation that a random gradient would meet more often than this explains nothing
MOST_ROWS = 6  # of a batch that a gradient function is called with to separate its steps
SECONDS = 0.8  # of the processor for each of the searches that have no end
PROOF = 60  # entries of the library's own backward pass that are measured before it is taken for the truth
MOST_MEASURED = 20_000  # parameters that are measured one by one where the library's backward pass is not proven
SHOWN = 6  # rows and columns of the arrays that are shown side by side


@dataclasses.dataclass(frozen=True)
class Explanation:
    """One mistake, or several, that turn the true gradient into the claimed one.

    Attributes
    ----------
    name : str
        The name of the mistake, or the formula of the wrong step; several are joined by "and".
    where : str
        The layer or the parameters.
    hint : str
        What the mistake does, in words that do not give the right line away.
    evidence : str
        The ratio, the transform, the formula or the backward pass that makes the two match.
    residual : float
        The largest difference that is left, relative to the largest entry of its parameter.
    """

    name: str
    where: str
    hint: str
    evidence: str
    residual: float

    def __str__(self) -> str:
        return f"{self.name}, in {self.where}\n  evidence: {self.evidence}; residual {self.residual:.1e}"


@dataclasses.dataclass(frozen=True)
class Rows:
    """The result of a wrong step beside the right one.

    Attributes
    ----------
    name : str
        The quantity, such as ``dA0``.
    actual, right : ndarray
        What the step gives, and what it should give.
    """

    name: str
    actual: Array
    right: Array

    def _cut(self) -> tuple[Array, Array]:
        return tuple(np.atleast_2d(array)[:SHOWN, :SHOWN] for array in (self.actual, self.right))  # type: ignore

    def __str__(self) -> str:
        actual, right = self._cut()
        more = " ..." if np.atleast_2d(self.actual).shape[1] > SHOWN else ""
        wide = 11 * actual.shape[1]
        lines = [f"{self.name:<{wide}}{' ' * len(more)}   right"]
        for a, r in zip(actual, right, strict=True):
            lines.append("".join(f"{v:>11.3g}" for v in a) + f"{more}   " + "".join(f"{v:>11.3g}" for v in r) + more)
        hidden = len(np.atleast_2d(self.actual)) - len(actual)
        return "\n".join([*lines, f"... {hidden} more rows"] if hidden > 0 else lines)

    def _repr_html_(self) -> str:
        actual, right = self._cut()
        size = max(np.abs(right).max(initial=0.0), np.abs(actual).max(initial=0.0)) or 1.0
        rows = []
        for a, r in zip(actual, right, strict=True):
            wrong = np.abs(a - r) > 1e-6 * size
            style = [' style="background:#fdd"' if bad else "" for bad in wrong]
            cells = "".join(f"<td{s}>{v:.3g}</td>" for s, v in zip(style, a, strict=True))
            rows.append(f"<tr>{cells}<td></td>{''.join(f'<td>{v:.3g}</td>' for v in r)}</tr>")
        n = actual.shape[1]
        head = f'<tr><th colspan="{n}">{html.escape(self.name)}</th><th></th><th colspan="{n}">right</th></tr>'
        return f"<table>{head}{''.join(rows)}</table>"


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose_gradient`; true if the gradient is right, and printed as a report.

    Attributes
    ----------
    verdict : {"right", "named", "located", "unknown", "undecided"}
        Named: the gradient is wrong, and a mistake or a formula explains it. Located: the wrong step is known, but not
        what it computes. Unknown: neither is known. Undecided: no entry could be compared, because of kinks or noise.
    wrong : list of str
        The wrong parameters in backward order: the first is the one to look at.
    explanations : list of Explanation
        All that match equally well and equally simply; more than one cannot be told apart on this batch.
    ratios : dict of str to str
        The comparison of each wrong parameter with the true one.
    tolerance : float
        The relative difference up to which a gradient that a mistake leads to counts as equal to the claim.
    tried : int
        The number of comparisons.
    undecided : int
        The number of entries that could not be compared.
    difference : float
        The largest difference from the true gradient, relative to the largest entry of its parameter.
    steps : list of str
        The wrong steps in backward order, such as ``dA0 from dA1``.
    formula : str or None
        The formula of the first wrong step, such as ``dA0 = dH - H^2``.
    rows : Rows or None
        The result of the first wrong step beside the right one.
    advice : str
        What would tell more, such as the gradient of fewer rows.
    check : GradientCheck or None
        The table of the differences.
    """

    verdict: str
    wrong: list[str]
    explanations: list[Explanation]
    ratios: dict[str, str]
    tolerance: float
    tried: int
    undecided: int
    difference: float
    steps: list[str] = dataclasses.field(default_factory=list)
    formula: str | None = None
    rows: Rows | None = dataclasses.field(default=None, repr=False)
    advice: str = ""
    check: GradientCheck | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def first_wrong(self) -> str | None:
        """The first wrong parameter in backward order."""
        return self.wrong[0] if self.wrong else None

    @property
    def step(self) -> str | None:
        """The first wrong step in backward order."""
        return self.steps[0] if self.steps else None

    def __bool__(self) -> bool:
        return self.verdict == "right"

    def __str__(self) -> str:
        if self.verdict == "right":
            undecided = f"; {self.undecided} entries at a kink or in noise undecided" if self.undecided else ""
            return f"RIGHT: the differences confirm it{undecided}" + (f"; {self.advice}" if self.advice else "")
        if self.verdict == "undecided":
            return "UNDECIDED: at no entry did the differences tell right from wrong"
        lines = [f"first wrong in backward order: {self.first_wrong}"] if self.wrong else []
        lines += [f"  {name}: {ratio}" for name, ratio in self.ratios.items()]
        if self.steps:
            lines.append(f"everything is right except {' and '.join(self.steps[:6])}")
        if self.verdict in ("unknown", "located"):
            told = "no known mistake and no simple formula explains it"
            lines.append(f"{self.verdict.upper()}: {self.tried} comparisons, and {told}")
            if self.difference <= tolerance(single=True):
                lines.append(f"it differs by at most {self.difference:.1e}, as much as float32 may lose")
            if self.rows is not None:
                lines.append(str(self.rows))
        lines += [f"NAMED: {explanation}" for explanation in self.explanations[:5]]
        if self.formula and not any(self.formula in explanation.name for explanation in self.explanations):
            lines.append(f"formula: {self.formula}")
        if len(self.explanations) > 1:
            count = len(self.explanations)
            lines.append(f"{count} explanations that this batch cannot tell apart; another, of another size, may")
        return "\n".join([*lines, self.advice] if self.advice else lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = self.rows._repr_html_() if self.rows is not None else ""
        return f"<pre>{html.escape(str(self))}</pre>{table}"


def diagnose_gradient(
    target: Network | Callable[..., float],
    *arguments: Any,
    loss: Loss = "cross_entropy",
    sample_weight: npt.ArrayLike | None = None,
    training: bool = True,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    facts: Mapping[str, float] | None = None,
    terms: Mapping[str, Callable[..., float]] | None = None,
    progress: bool = False,
) -> Diagnosis:
    """Say whether a gradient is right, and if not, which step is wrong and how.

    Three ways to call it: ``diagnose_gradient(network, X, y, gradient)`` judges a gradient that somebody's code
    computes for the same network and batch; ``diagnose_gradient(network, X, y)`` the network's own, if it holds layers
    or losses of your own; ``diagnose_gradient(f, theta, gradient)`` any gradient of any function. With a network,
    every step of its backward pass can be judged. With a function alone, factors, signs, transposes, missing or
    swapped parameters and penalties can be named, and the weights of the function's ``terms``.

    Parameters
    ----------
    target : Network or callable
        The network, or a function that takes theta in the form in which it is given and returns a number.
    *arguments
        X, y and the claimed gradient; or theta and the claimed gradient. Theta and gradients are flat vectors, lists
        of arrays (W0, b0, W1, b1, ...), dicts of arrays by name, or nested lists of them; NumPy, torch, or lists of
        numbers. Biases may be rows or columns, weights may be (I, O), if one of them is not square, and gradients may
        come as (dW, db) pairs, weights before biases, or as one matrix [b W] per layer.

        A gradient may also be a function: of theta, or, for a network, of ``(parameters, X, y)`` with the list
        ``[W0, b0, W1, b1, ...]``, returning gradients or (loss, gradients). The latter is called with as few rows as
        are needed to judge every step by itself.
    loss, sample_weight, training
        As in `Network.loss_and_gradient`; for networks.
    batch_size, learning_rate : optional
        Facts about the code that is judged, which give a name to a factor; a network's batch is known.
    facts : dict of str to float, optional
        Further numbers that have a name in that code, such as ``{"tau": 0.6}``.
    terms : dict of str to callable, optional
        For functions: the terms that the function is a sum of, each a function of theta. The claim is compared with
        the measured gradients of each.
    progress : bool
        Whether to show progress.

    Returns
    -------
    Diagnosis
        Its ``verdict``, ``step``, ``formula`` and ``explanations``; prints as a report.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit, or the function is not deterministic, changes its argument or returns no number.

    Examples
    --------
    A gradient in which the derivative of tanh was forgotten:

    >>> network = hm.MLP([2, 3, 2], activation="tanh", rng=0)
    >>> X, y = hm.data.xor()
    >>> W1, b1, W2, b2 = network.state_dict().values()
    >>> H = np.tanh(X @ W1.T + b1)
    >>> P = hm.activations.softmax(H @ W2.T + b2)
    >>> dA2 = (P - np.eye(2)[y]) / len(X)
    >>> dA1 = dA2 @ W2
    >>> diagnosis = hm.diagnose_gradient(network, X, y, [dA1.T @ X, dA1.sum(axis=0), dA2.T @ H, dA2.sum(axis=0)])
    >>> diagnosis.first_wrong, diagnosis.explanations[0].name, diagnosis.explanations[0].where
    ('0.weight', 'activation derivative missing', "layer 1, Activation('tanh')")

    A gradient of any function:

    >>> f = lambda theta: float(theta @ theta)
    >>> diagnosis = hm.diagnose_gradient(f, np.array([1.0, 3.0]), np.array([-1.0, -3.0]))
    >>> diagnosis.verdict, [explanation.name for explanation in diagnosis.explanations]
    ('named', ['sign and factor 1/2'])
    """
    of_network = isinstance(target, Network)
    expected = "(network, X, y) or (network, X, y, gradient) with a Network, or (f, theta, gradient)"
    if len(arguments) not in ((2, 3) if of_network else (2,)) or (isinstance(target, Layer) and not of_network):
        given = ", ".join(type(argument).__name__ for argument in (target, *arguments))
        raise TypeError(f"diagnose_gradient: expected {expected}, got {given}")
    known = {"N": batch_size, "learning rate": learning_rate, **dict(facts or {})}
    if isinstance(target, Network):
        options = dict(loss=loss, sample_weight=sample_weight, training=training)
        case = _network_case(target, *arguments, options=options, facts=known)
    else:
        case = _function_case(target, *arguments, facts=known, terms=dict(terms or {}), progress=progress)
    with np.errstate(all="ignore"):  # infinite candidates never match
        return case.diagnose(progress)


# ---- what is claimed, and of what ----------------------------------------------------------------------------------


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


def _called_with(gradient: Callable[..., Any], network: Network, X: Array, y: Array) -> Any:
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


def _network_case(
    network: Network, X: Any, y: Any, gradient: Any = ..., *, options: dict[str, Any], facts: dict[str, Any]
) -> _Case:
    X, y = network.check_input(X), check_finite_targets(y)
    blocks = _network_blocks(network)

    def read(value: Any) -> tuple[Array, list[Cause]]:
        return read_gradient(value, blocks, len(X))

    on_rows = None
    if gradient is ...:
        own = copy.deepcopy(network)
        claimed, odd = own.backpropagate(X, y, *options.values())[1].astype(np.float64), []
        single = network.dtype == np.float32
    elif callable(gradient) and not hasattr(gradient, "__array__"):
        if _takes_batches(gradient):
            on_rows = gradient
            claimed, odd, single = call_repeatedly(lambda: _called_with(gradient, network, X, y), read, tolerance)
        else:
            claimed, odd, single = call_repeatedly(lambda: gradient(network.theta.copy()), read, tolerance)
    else:
        claimed, odd = read(gradient)
        single = gradient is not None and is_single(gradient, claimed)
    single = single or network.dtype == np.float32
    f = NetworkLoss(network, X, y, **options)
    rounding = network_rounding(network, f, claimed, blocks, single)
    names = network.blocks(np.arange(claimed.size))
    theta = network.theta.astype(np.float64)
    subject = Subject(f, theta, claimed, rounding, names, one_sided_gradients(network, f))
    of = BackwardPass(network, f.X, f.y, **options)
    facts = {"outputs": of.values[-1].shape[-1], **facts, "N": len(X)}
    truth, proven, undecidable = _network_truth(subject, of)
    allowed = np.where(undecidable, np.inf, 4 * rounding + 64 * EPS**0.8 * abs(of.value) * (1 - proven))
    match = GradientMatch(blocks, theta, claimed, allowed, facts, single)
    case = _Case(match, truth, odd, of if proven else None, subject)
    case.network, case.on_rows, case.options = network, on_rows, options
    case.layouts = both_layouts(blocks) and isinstance(gradient, list | tuple | Mapping)
    return case


def _network_truth(subject: Subject, of: BackwardPass) -> tuple[Array, bool, Array]:
    """Return the true gradient, whether the right backward pass gives it, and the entries that nothing decides.

    The library's own backward pass is the truth only where differences confirm it at this point.
    """
    undecided = np.zeros(subject.theta.size, bool)
    truth = of.gradient()
    if np.isfinite(truth).all():
        proof = _proof(subject, truth)
        if not any(block.wrong for block in proof.blocks):
            return truth, True, undecided
        _prove_loss(of)
        truth = of.gradient()
        proof = _proof(subject, truth)
        if not any(block.wrong for block in proof.blocks):
            return truth, True, undecided
    if subject.theta.size <= MOST_MEASURED:
        return numerical_gradient(subject.f, subject.theta), False, undecided
    chosen = np.random.default_rng(0).choice(subject.theta.size, MOST_MEASURED, replace=False)
    truth = np.zeros(subject.theta.size)
    truth[chosen] = numerical_gradient(subject.f, subject.theta, indices=chosen)
    undecided[:] = True
    undecided[chosen] = False
    return truth, False, undecided


def _proof(subject: Subject, gradient: Array) -> GradientCheck:
    return examine(dataclasses.replace(subject, claimed=gradient), entries=PROOF, directions=2, rng=0)


def _prove_loss(of: BackwardPass) -> None:
    """Replace the gradient of a loss by differences, where it is a loss of the user's own."""
    H = of.values[-1]
    if H.size <= 5000:
        from ..losses import loss_and_backward

        def value(output: Array) -> float:
            return float(loss_and_backward(of.loss, output, of.y, of.sample_weight)[0])

        try:
            of.loss_gradient = numerical_gradient(value, H)
        except (ValueError, TypeError):
            return


def _function_case(
    f: Callable[..., float], theta: Any, gradient: Any, *, facts: Any, terms: Any, progress: bool
) -> _Case:
    parameters = Parameters(theta, "theta")
    blocks, vector = parameters.blocks, parameters.vector

    def read(value: Any) -> tuple[Array, list[Cause]]:
        return read_gradient(value, blocks)

    if callable(gradient) and not hasattr(gradient, "__array__"):
        claimed, odd, single = call_repeatedly(lambda: gradient(parameters.shaped(vector.copy())), read, tolerance)
    else:
        claimed, odd = read(gradient)
        single = gradient is not None and is_single(gradient, claimed)
    single = single or parameters.is_single

    def of_vector(vector: Array) -> float:
        return f(parameters.shaped(vector))

    names = {b.name: np.arange(b.start, b.start + b.size).reshape(b.shape) for b in blocks}
    rounding = np.zeros(vector.shape)
    if single and np.isfinite(claimed).all():
        rounding = rounding_of(claimed, blocks, _value(of_vector(vector.copy())), SINGLE)
    subject = Subject(of_vector, vector, claimed, rounding, names)
    truth, allowed = np.zeros(vector.shape), np.full(vector.shape, np.inf)
    check = None
    if np.isfinite(claimed).all():
        entries = vector.size if vector.size <= MOST_MEASURED else None
        check = examine(subject, entries=entries, progress=progress)
        decided = np.isfinite(check.measured)
        truth[decided], allowed[decided] = check.measured[decided], check.allowed[decided]
    case = _Case(GradientMatch(blocks, vector, claimed, allowed, facts, single), truth, odd, None, subject)
    case.check, case.terms, case.parameters = check, terms, parameters
    return case


def _value(value: Any) -> float:
    return float(value.detach() if hasattr(value, "detach") else value)


# ---- the search ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Case:
    """A claimed gradient beside the true one, and the search for the mistakes that lead from one to the other."""

    match: GradientMatch
    truth: Array
    odd: list[Cause]
    backward_pass: BackwardPass | None
    subject: Subject
    check: GradientCheck | None = None
    network: Network | None = None
    on_rows: Callable[..., Any] | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    terms: dict[str, Callable[..., float]] = dataclasses.field(default_factory=dict)
    parameters: Parameters | None = None
    layouts: bool = False

    def diagnose(self, progress: bool) -> Diagnosis:
        match = self.match
        if not np.isfinite(match.claimed).all():
            return self._report("named", [self._explain([match.not_finite()], 0.0)], match.not_finite_blocks())
        if self.check is None:
            self.check = examine(self.subject, rng=0, progress=progress)
        order = {block.name: -block.layer for block in match.blocks}
        wrong = sorted((b.name for b in self.check.blocks if b.wrong), key=lambda name: order[name])
        if not wrong and not self.check.total.checked and not self.odd:
            return self._report("undecided", [], [])
        if not wrong:
            found = [self._explain(self.odd, 0.0)] if self.odd else []
            return self._report("named" if found else "right", found, [])
        missing = any(cause.name == "not returned" and cause.where == "everything" for cause in self.odd)
        if missing or any(cause.name == CHANGES for cause in self.odd):  # numbers that change are worth no explanation
            return self._report("named", [self._explain(self.odd, match.residual(self.truth))], wrong)
        return self._explained(wrong, progress)

    def _explained(self, wrong: list[str], progress: bool) -> Diagnosis:
        """Search for explanations, the simplest first."""
        if self.terms and self.parameters is not None:
            found = terms_that_explain(self.subject, self.terms, self.parameters, self.match)
            if found:
                return self._report("named", found, wrong)
        known = mistakes(self.backward_pass) if self.backward_pass else []
        found = self._simplest(self._alone(known))
        cases = self._located(bool(found))
        steps = list({step.name: step for case in cases for step in case.found.steps}.values())
        formulas = self._formulas(cases, steps, bool(found))
        undecided = {case.found.steps[-1].name for case in cases if not case.found.complete and case.found.steps}
        steps = [step for step in steps if step.unique or step.name not in undecided or formulas.get(step.name)]
        if not found and steps and all(case.found.complete for case in cases):
            found = self._by_steps(cases[0], steps, formulas)
        if not found:
            found = self._simplest(self._in_pairs(known, progress)) or self._by_parameters(wrong)
        if not found and self.odd:
            found = [self._explain(self.odd, self.match.residual(self.truth))]
        verdict = "named" if found else "located" if self._is_located(steps) else "unknown"
        return self._report(verdict, found, wrong, cases, steps, formulas)

    def _is_located(self, steps: Sequence[WrongStep]) -> bool:
        """Return whether a list of wrong steps tells something: not if every parameter is wrong in its own way."""
        of = self.backward_pass
        layers = 0 if of is None else sum(bool(leaf.parameters) for leaf in of.leaves.values())
        return bool(steps) and (len(steps) <= max(2, layers) or len({step.kind for step in steps}) == 1)

    def _report(
        self,
        verdict: str,
        found: list[Explanation],
        wrong: list[str],
        cases: Sequence[Case] = (),
        steps: Sequence[WrongStep] = (),
        formulas: Mapping[str, list[Formula]] | None = None,
    ) -> Diagnosis:
        match = self.match
        ratios = match.ratios(self.truth, wrong)
        difference = match.residual(self.truth)
        undecided = len(self.check.undecidable) if self.check is not None else int(np.sum(~match.decided))
        first = steps[0] if steps else None
        best = (formulas or {}).get(first.name, []) if first is not None else []
        rows = Rows(first.name, first.actual, first.right) if first is not None and first.unique else None
        advice = ""
        if verdict in ("unknown", "located") and cases and not all(case.found.complete for case in cases):
            undecided_step = next(case.found.undecided for case in cases if not case.found.complete)
            fewest = min(case.found.rows for case in cases)
            advice = (
                f"{undecided_step} cannot be told from the steps around it on this batch: give the gradient of "
                f"{fewest if fewest < 3 else 3} rows, or a function of (parameters, X, y)"
            )
        if self.layouts and any("transposed" in e.name for e in found):
            advice = "right, if your weights are laid out as (I, O): they are square, so their shapes do not tell"
        names = [self._step_text(step) for step in steps]
        return Diagnosis(
            verdict, wrong, found, ratios, match.relative, match.compared, undecided, difference,
            names, str(best[0]) if best else None, rows, advice, self.check,
        )  # fmt: skip

    def _step_text(self, step: WrongStep) -> str:
        of = self.backward_pass
        if of is None:
            return step.name
        if step.kind != "dA":
            return f"{step.name} from {step.source} ({layer_name(of, step.prefix)})"
        through = [p for p in step.path if p != "loss"]
        told = f" (through {'; '.join(layer_name(of, p) for p in through)})" if through else ""
        return f"{step.name} from {step.source}{told}"

    def _explain(self, causes: Sequence[Cause], residual: float) -> Explanation:
        def joined(attribute: str, by: str) -> str:
            return by.join(dict.fromkeys(getattr(cause, attribute) for cause in causes))

        name, where = joined("name", " and "), joined("where", ", and ")
        return Explanation(name, where, joined("hint", "; "), joined("evidence", "; "), residual)

    # ---- 1. the catalogue ------------------------------------------------------------------------------------------

    def _simplest(self, found: Found) -> list[Explanation]:
        """Return the explanations with the fewest fitted numbers."""
        listed = list(found)
        if not listed:
            return []
        fewest = min(fitted for _, fitted, _ in listed)
        simplest = [(causes, residual) for causes, fitted, residual in listed if fitted == fewest]
        return list(dict.fromkeys(self._explain([*self.odd, *causes], residual) for causes, residual in simplest))

    def _alone(self, known: list[Mistake]) -> Found:
        yield from self._matches(self.truth, [], 1)
        started = time.process_time()
        for mistake in known:
            yield from self._matches(*self._made(mistake), 0)
            if time.process_time() - started > SECONDS:
                break

    def _in_pairs(self, known: list[Mistake], progress: bool) -> Found:
        """Yield pairs of mistakes: neither touches what is right, and one of them shows in the first wrong layer."""
        yield from self._matches(self.truth, [], 2)
        wrong = self.match.wrong_blocks(self.truth)
        if not wrong:
            return
        leading, others = [], []
        started = time.process_time()
        for mistake in known:
            gradient, made = self._made(mistake)
            yield from self._matches(gradient, made, 1)
            changed = self.match.wrong_blocks(self.truth, gradient)
            if changed and all(block in wrong for block in changed):
                (leading if changed[0].layer == wrong[0].layer else others).append(mistake)
            if time.process_time() - started > SECONDS:
                return
        pairs = [*itertools.combinations(leading, 2), *itertools.product(leading, others)]
        with progress_bar("pairs of mistakes", len(pairs), progress and bool(pairs)) as report:
            for i, (one, other) in enumerate(pairs):
                if not one.steps.keys() & other.steps.keys():
                    yield from self._matches(*self._made(one, other), 0)
                report(i + 1)
                if time.process_time() - started > SECONDS:
                    return

    def _made(self, *made: Mistake) -> tuple[Array, list[Cause]]:
        """Return the gradient that these mistakes lead to, and their causes."""
        of = self.backward_pass
        assert of is not None
        steps = {i: step for mistake in made for i, step in mistake.steps.items()}
        scale = 0.0
        if has_rate := any(mistake.has_learning_rate for mistake in made):
            scale = self.match.fitted_scale(of.gradient(steps, 0.0), of.gradient(steps, 1.0))
        told = "a backward pass with this mistake gives the claimed gradient"
        told += f", with a learning rate of {scale:.6g}" if has_rate else ""
        causes = [Cause(m.name, m.where, m.hint, told, fitted=int(m.has_learning_rate)) for m in made]
        return of.gradient(steps, scale), causes

    def _matches(self, candidate: Array, made: list[Cause], most: int) -> Found:
        """Yield the explanations of the claim by the candidate and at most so many further causes."""
        for causes, residual in self.match.explanations(candidate, most):
            together = [*made, *causes]
            fitted = sum(cause.fitted for cause in together)
            explains = residual <= SHARE * self.match.residual(self.truth)
            if together and explains and self.match.chance(self.truth, fitted) < CHANCE:
                yield together, fitted, residual

    def _by_parameters(self, wrong: Sequence[str]) -> list[Explanation]:
        """Return a formula of every wrong parameter's gradient by itself, without a network; none if one has none."""
        match, causes = self.match, []
        if self.backward_pass is not None:
            return []
        facts = self._facts() | ({"N": match.facts["N"]} if "N" in match.facts else {})
        for block in (b for name in wrong for b in match.blocks if b.name == name):
            at = block.slice
            if not match.decided[at].all():
                return []
            name = f"gradient of {block.name}"
            right, theta = (v[at].reshape(block.shape) for v in (self.truth, match.theta))
            terms = list(beside_parameter(right, theta, block.name))
            terms += [
                Term(f"gradient of {other.name}", self.truth[other.slice], 1.2)
                for other in match.blocks
                if other is not block and other.shape == block.shape
            ]
            size = np.abs(match.claimed[at]).max(initial=0.0) or 1.0
            change = np.abs(match.claimed[at] - self.truth[at]).max() / size
            formulas = fit(match.claimed[at], terms, facts, min(10 * max(match.relative, 1e-7), SHARE * change), name)
            if not formulas:
                return []
            hint = "the gradient of a parameter is computed from something else"
            causes.append(Cause(str(formulas[0]), block.name, hint, str(formulas[0])))
        return [self._explain([*self.odd, *causes], 0.0)] if causes else []

    # ---- 2. the steps ----------------------------------------------------------------------------------------------

    def _located(self, is_explained: bool) -> list[Case]:
        """Return the localisations of the claim, on batches small enough to judge every step if that is possible."""
        of = self.backward_pass
        if of is None:
            return []
        if self.on_rows is not None and self.network is not None and self.options.get("sample_weight") is None:
            cases = self._on_few_rows(of)
            if cases:
                return cases
        allowed = 4 * self.subject.rounding
        given: dict[str, Array] = {}
        started = time.process_time()
        while True:
            case = Case(of, localise(of, self.match.claimed, allowed, self.match.relative, given))
            last = case.found.steps[-1] if case.found.steps else None
            if case.found.complete or last is None or time.process_time() - started > SECONDS:
                return [case]
            formulas = formula_of(last.name, [case], self._facts(), 10 * self.match.relative)
            if not formulas or last.prefix in given:
                return [case]
            given[last.prefix] = dA_of(formulas[0], case, last)

    def _on_few_rows(self, of: BackwardPass) -> list[Case]:
        """Call the gradient function with a few rows: all steps are judged, and formulas are checked on other rows."""
        network = self.network
        assert network is not None
        X, N = of.values[0], len(of.values[0])
        widths = [of.inputs[p].shape[1] for p, leaf in of.leaves.items() if isinstance(leaf, Dense)]
        least = 2 if any(isinstance(leaf, BatchNorm) for leaf in of.leaves.values()) else 1
        if any(isinstance(leaf, Dropout) and leaf.p for leaf in of.leaves.values()) and of.training:
            return []
        most = max(least, min([*widths, N, MOST_ROWS]))
        rng = np.random.default_rng(0)
        for count in dict.fromkeys((most, max(least, most // 2), least)):
            cases = []
            for _ in range(4):
                rows = np.sort(rng.choice(N, min(count, N), replace=False))
                case = self._case_of(network, X[rows], of.y[rows])
                if case is None:
                    return []
                if not case.found.steps:
                    continue
                cases.append(case)
            if cases and all(case.found.complete for case in cases):
                return cases
        return []

    def _case_of(self, network: Network, X: Array, y: Array) -> Case | None:
        """Return the localisation of the gradient function on other rows; None if it does not take them."""
        assert self.on_rows is not None
        try:
            value = _called_with(self.on_rows, network, X.astype(network.dtype), y)
            claimed, _ = read_gradient(value, self.match.blocks, len(X))
            of = BackwardPass(network, X, y, **self.options)
        except Exception:
            return None
        if not np.isfinite(claimed).all():
            return None
        blocks = self.match.blocks
        eps = SINGLE if self.match.relative > 1e-5 else EPS
        return Case(of, localise(of, claimed, 4 * rounding_of(claimed, blocks, 0.0, eps), self.match.relative))

    def _facts(self) -> dict[str, float]:
        """Return the numbers that a coefficient of a formula may be made of, beside those of the network."""
        return {name.replace("learning rate", "eta"): n for name, n in self.match.facts.items() if name != "N"}

    def _formulas(
        self, cases: Sequence[Case], steps: Sequence[WrongStep], is_explained: bool
    ) -> dict[str, list[Formula]]:
        """Return the formulas of the wrong steps; of the first alone, where the catalogue explains the gradient."""
        found: dict[str, list[Formula]] = {}
        if not cases or not steps:
            return found
        facts, relative = self._facts(), 10 * self.match.relative
        started = time.process_time()
        for step in steps[:1] if is_explained else steps:
            if time.process_time() - started > SECONDS:
                break
            fitted = list(cases[:-1]) if len(cases) > 2 else list(cases)
            check = cases[-1] if len(cases) > 2 else None
            found[step.name] = formula_of(step.name, fitted, facts, relative, check, 2 if is_explained else MOST_TERMS)
        return found

    def _by_steps(
        self, case: Case, steps: Sequence[WrongStep], formulas: Mapping[str, list[Formula]]
    ) -> list[Explanation]:
        """Return the explanation of every wrong step by itself; none if one of them has none."""
        causes = []
        for step in steps:
            named = self._catalogued(case, step)
            listed = formulas.get(step.name, [])
            if not listed and not named:
                return []
            text = self._step_text(step)
            evidence = str(listed[0]) if listed else f"a backward pass with this mistake gives {step.name}"
            if listed and (factor := self._factor_name(listed[0])):
                name, hint, where = factor, "a constant factor is too much or missing", text
            elif named:
                name, hint, where = named[0].name, named[0].hint, named[0].where
            else:
                name, hint, where = str(listed[0]), "one step of the backward pass computes something else", text
            causes.append(Cause(name, where, hint, evidence))
        return [self._explain([*self.odd, *causes], 0.0)]

    def _factor_name(self, formula: Formula) -> str:
        """Return the name of a factor, if a formula says that a step is a multiple of the right one; else nothing."""
        if formula.terms != ("right",):
            return ""
        ratio = formula.coefficients[0]
        known = {"": 1.0, "factor 2": 2.0, "factor 1/2": 0.5}
        for name, number in self.match.facts.items():
            known |= {f"times {name}": number, f"divided by {name}": 1 / number if number else 0.0}
        size = next((n for n, v in known.items() if abs(abs(ratio) - v) <= 1e-6 * v), "constant factor")
        return " and ".join(part for part in ("sign" if ratio < 0 else "", size) if part)

    def _catalogued(self, case: Case, step: WrongStep) -> list[Mistake]:
        """Return the mistakes of the catalogue that make a step what it is, all other steps being as they are."""
        of, found = case.of, []
        order = list(of.leaves)
        above = {p: dA for p, dA in case.found.actual.items() if order.index(p) > order.index(step.prefix)}
        if step.kind != "dA":
            above[step.prefix] = case.found.actual[step.prefix]

        def differs(gradient: Array) -> float:
            """Return the largest difference from the claimed step, relative to its largest entry."""
            made = of.network.blocks(gradient)
            if step.kind != "dA":
                pairs = [(made[f"{step.prefix}{step.kind}"], step.actual)]
            elif step.unique:
                pairs = [(of.incoming.get(step.prefix, np.full(step.actual.shape, np.nan)), step.actual)]
            else:
                pairs = [(made[name], claimed) for name, claimed in step.claimed.items()]
            return max(float(np.abs(a - b).max() / (np.abs(b).max() or 1.0)) for a, b in pairs)

        right = differs(of.gradient(incoming=above))
        started = time.process_time()
        for mistake in mistakes(of):
            if time.process_time() - started > SECONDS / 2:
                break
            if len(mistake.steps) == 1 and not mistake.has_learning_rate:
                left = differs(of.gradient(mistake.steps, 0.0, above))
                if left <= min(10 * self.match.relative, SHARE * right):
                    found.append(mistake)
        return found
