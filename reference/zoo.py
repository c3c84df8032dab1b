"""The zoo: one correct learner's program, and the wrong lines that turn it into each of the usual wrong programs.

A bug is a substitution in the text of the program, so the difference is the mistake and nothing else. Each is shown
to `handmade.check_gradient`, which has to see it, and to `handmade.diagnose_gradient`, which has to name it; then a
thousand correct gradients are shown to both, and none may be accused. ``python -m reference --zoo`` prints the table.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import platform
import time
import types
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import handmade as hm
from handmade import losses
from handmade.progress import progress_bar

from .bugs import BUGS, RARE, Bug
from .learner import ACTIVATIONS, BODIES, HEADS, Setting

__all__ = ["BUGS", "Bug", "Setting", "Trial", "Verdict", "accused", "judge", "print_zoo", "random_setting"]

Array = np.ndarray

# ---- a program at work ---------------------------------------------------------------------------------------------

# The loss of handmade that a head computes, and what the network has on top for it.
LOSSES = {
    "cross_entropy": "cross_entropy",
    "label_smoothing": functools.partial(losses.cross_entropy, label_smoothing=0.1),
    "sample_weight": "cross_entropy",
    "mse": "mse_loss",
    "half": "half_squared_error",
    "l1": "l1_loss",
    "half_of_sigmoid": "half_squared_error",
    "bce": "binary_cross_entropy_with_logits",
    "bce_of_sigmoid": "binary_cross_entropy",
    "hinge": "hinge_loss",
}


class Trial:
    """A program on a batch, beside the handmade network that computes the same.

    Parameters
    ----------
    setting : Setting
        What to try.
    text : str
        The program.
    seed : int
        Draws parameters and batch.
    """

    def __init__(self, setting: Setting, text: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.setting, self.network = setting, _network(setting)
        self.network.theta = rng.normal(0, 0.7, self.network.theta.size)
        self.theta = self.network.theta.copy()
        ends = np.cumsum([block.size for block in self.network.blocks(self.theta).values()])
        shapes = [block.shape for block in self.network.blocks(self.theta).values()]
        self.blocks = [(slice(end - math.prod(shape), end), shape) for end, shape in zip(ends, shapes, strict=True)]
        self.X = (setting.scale * rng.normal(size=(setting.N, setting.sizes[0]))).astype(setting.dtype)
        self.y = _targets(setting, rng)
        self.weight = rng.uniform(0.5, 2, setting.N) if setting.head == "sample_weight" else None
        self.program = types.ModuleType("learner")
        self.program.__dict__.update(np=np, sample_weight=self.weight)
        exec(_compiled(text), self.program.__dict__)

    def cut(self, theta: Array) -> list[Array]:
        """Theta as the learner keeps it: [W0, b0, W1, b1, ...]."""
        theta = theta.astype(self.setting.dtype)
        return [theta[block].reshape(shape) for block, shape in self.blocks]

    def loss(self, theta: Array) -> float:
        """The learner's own loss."""
        return self.program.loss(self.cut(theta), self.X, self.y)

    def gradient(self, theta: Array) -> Array:
        """The learner's gradient; a wrong one may divide by zero, which is no news."""
        with np.errstate(all="ignore"):
            gradients = self.program.loss_and_gradient(self.cut(theta), self.X, self.y)[1]
        return np.concatenate([gradient.reshape(-1) for gradient in gradients])

    def is_accused(self) -> bool:
        """Whether `handmade.check_gradient` finds fault with the learner's gradient."""
        try:
            return bool(hm.check_gradient(self.loss, self.theta, self.gradient).wrong)
        except ValueError:  # not finite, or not the same twice
            return True

    def diagnose(self) -> hm.Diagnosis:
        """What `handmade.diagnose_gradient` says of it."""
        if self.setting.body == "L2":  # the network's loss has no such term, so it has to be the learner's own
            facts = dict(batch_size=self.setting.N, learning_rate=0.1)
            return hm.diagnose_gradient(
                lambda parameters: self.program.loss(parameters, self.X, self.y),
                self.cut(self.theta),
                lambda parameters: self.cut(self.gradient(np.concatenate([p.reshape(-1) for p in parameters]))),
                **facts,
            )
        facts = dict(loss=LOSSES[self.setting.head], sample_weight=self.weight, learning_rate=0.1)
        return hm.diagnose_gradient(self.network, self.X, self.y, self.gradient, **facts)


@functools.cache
def _compiled(text: str) -> types.CodeType:
    return compile(text, "learner", "exec")


def _network(setting: Setting) -> hm.Network:
    """The handmade network with the program's layers."""
    layers: list[hm.Layer] = []
    pairs = list(zip(setting.sizes, setting.sizes[1:], strict=False))
    for i, (I, O) in enumerate(pairs):
        dense, hidden = hm.Dense(I, O), [hm.Activation(setting.activation)]
        if i == len(pairs) - 1:
            hidden = [hm.Activation("sigmoid")] if setting.head.endswith("of_sigmoid") else []
        elif setting.body == "batchnorm":
            hidden = [hm.BatchNorm(O), *hidden]
        elif setting.body == "dropout":
            hidden = [*hidden, hm.Dropout(float(1 - 0.7), rng=2 * i)]
        elif setting.body == "residual":
            dense, hidden = (dense, []) if i == 0 else (hm.Residual([dense, *hidden]), [])
        layers += [dense, *hidden]
    return hm.Network(layers, dtype=setting.dtype)


def _targets(setting: Setting, rng: np.random.Generator) -> Array:
    N, K = setting.N, setting.sizes[-1]
    if LOSSES[setting.head] == "cross_entropy" or setting.head == "label_smoothing":
        return rng.integers(0, K, N)
    if setting.head == "hinge":
        return rng.choice([-1.0, 1.0], (N, K)).astype(setting.dtype)
    if setting.head.startswith("bce"):
        return rng.integers(0, 2, (N, K)).astype(setting.dtype)
    return rng.normal(size=(N, K)).astype(setting.dtype)


# ---- the verdicts --------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the two functions made of a bug.

    Attributes
    ----------
    bug : Bug
        Which.
    detected : bool
        Whether `handmade.check_gradient` found the gradient wrong.
    said : list of str
        The names that `handmade.diagnose_gradient` gave; more than one cannot be told apart on this batch.
    """

    bug: Bug
    detected: bool
    said: list[str]

    @property
    def named(self) -> bool:
        """Whether one of the names is the right one."""
        return bool(set(self.said) & set(self.bug.expected))


def judge(bug: Bug, seed: int = 0) -> Verdict:
    """Show a wrong program to both functions.

    Examples
    --------
    >>> verdict = judge(BUGS[0])
    >>> verdict.bug.name, verdict.detected, verdict.said
    ('sign of p - y', True, ['sign'])
    """
    detected = Trial(bug.setting, bug.text, seed).is_accused()
    diagnosis = Trial(bug.setting, bug.text, seed).diagnose()  # anew: some programs remember their first call
    return Verdict(bug, detected, [explanation.name for explanation in diagnosis.explanations])


def random_setting(rng: np.random.Generator) -> Setting:
    """A program to try, of any size, activation, loss and dtype that its body allows."""
    body, head, activation = (str(rng.choice(list(of))) for of in (BODIES, HEADS, ACTIVATIONS))
    if body == "loop" and head == "sample_weight":  # its weights are those of the whole batch
        body = "plain"
    I, hidden, O = int(rng.integers(1, 7)), rng.integers(2, 8, rng.integers(1, 3)), int(rng.integers(2, 6))
    hidden = {"batchnorm": hidden[:1], "residual": [hidden[0]] * 2}.get(body, hidden)
    sizes = tuple(map(int, (I, *hidden, O)))
    dtype = np.float32 if rng.random() < 0.5 else np.float64
    return Setting(body, activation, head, sizes, int(rng.integers(2, 25)), float(rng.uniform(0.5, 2)), dtype)


def accused(setting: Setting, seed: int, by_hand: bool) -> tuple[bool, bool]:
    """Whether check_gradient and diagnose_gradient find fault with a right gradient: the learner's, or handmade's own.

    Examples
    --------
    >>> accused(Setting(), 0, by_hand=True), accused(Setting(), 0, by_hand=False)
    ((False, False), (False, False))
    """
    trial = Trial(setting, setting.text, seed)
    if by_hand:
        return trial.is_accused(), trial.diagnose().verdict != "right"
    options = dict(loss=LOSSES[setting.head], sample_weight=trial.weight)
    check = hm.check_gradient(trial.network, trial.X, trial.y, **options)
    return bool(check.wrong), not hm.diagnose_gradient(trial.network, trial.X, trial.y, **options)


CASES = 1000  # right gradients
QUICK = 6  # with quick, every sixth bug, and as small a part of the right gradients
TARGET = 0.95  # of the bugs are to be named


def print_zoo(seed: int = 0, quick: bool = False, file: Path | None = None) -> int:
    """Judge all bugs and all right gradients, and print what came of it; after Ctrl-C, of those that were judged.

    Parameters
    ----------
    seed : int
        Draws parameters, batches and the right cases.
    quick : bool
        Whether to take only a part.
    file : pathlib.Path, optional
        Where everything goes as JSON.

    Returns
    -------
    int
        The exit status: 0 if all bugs were detected, 95 % were named, and no right gradient was accused; else 1.
    """
    started = time.perf_counter()
    bugs = BUGS[::QUICK] if quick else BUGS
    rare = RARE[::QUICK] if quick else RARE
    rng = np.random.default_rng(seed)
    settings = [random_setting(rng) for _ in range(CASES // QUICK if quick else CASES)]
    verdicts: list[Verdict] = []
    others: list[Verdict] = []
    cases: list[tuple[Setting, tuple[bool, bool]]] = []
    try:
        with progress_bar("bug", len(bugs)) as report:
            for bug in bugs:
                verdicts.append(judge(bug, seed))
                report(len(verdicts), bug.name)
        with progress_bar("rare bug", len(rare)) as report:
            for bug in rare:
                others.append(judge(bug, seed))
                report(len(others), bug.name)
        with progress_bar("right gradient", len(settings)) as report:
            for i, setting in enumerate(settings):
                cases.append((setting, accused(setting, seed + i, by_hand=i % 2 == 0)))
                report(len(cases), str(setting))
    except KeyboardInterrupt:
        print("interrupted: what follows is a part")
    _print_table(verdicts + others)
    passed = _print_totals(verdicts, others, cases)
    print(
        f"{len(verdicts)} of {len(BUGS)} bugs, {len(cases)} of {CASES} right gradients; "
        f"{time.perf_counter() - started:.0f} s; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"seed {seed}"
    )
    if file:
        file.write_text(json.dumps(_record(verdicts + others, cases), indent=1))
    return 0 if passed and len(others) == len(rare) and len(cases) == len(settings) else 1


def _print_table(verdicts: list[Verdict]) -> None:
    table = Table(box=None, padding=(0, 1))
    for title in ("bug", "the wrong line", "program", "detected", "named", "diagnosis"):
        table.add_column(title)
    for verdict in verdicts:
        bug, said = verdict.bug, verdict.said
        first = next((name for name in said if name in bug.expected), said[0] if said else "unknown")
        more = f" (or {len(said) - 1} more)" if len(said) > 1 else ""
        wrong = " ".join(bug.wrong.split())
        answers = ["yes" if answer else "NO" for answer in (verdict.detected, verdict.named)]
        table.add_row(bug.name, wrong, str(bug.setting), *answers, first + more)
    # As wide as it is: a narrow terminal may break the lines, but nothing is cut off.
    Console(width=1000, highlight=False, markup=False).print(table)


def _print_totals(
    verdicts: list[Verdict], others: list[Verdict], cases: list[tuple[Setting, tuple[bool, bool]]]
) -> bool:
    """Print the totals; whether the targets are met."""
    count = len(verdicts)
    detected, named = sum(v.detected for v in verdicts), sum(v.named for v in verdicts)
    alone = sum(v.named and len(v.said) == 1 for v in verdicts)
    by_check, by_diagnosis = (sum(answer[i] for _, answer in cases) for i in range(2))
    print(f"detected by check_gradient: {detected} of {count}; target {count}")
    least = math.ceil(TARGET * count)
    print(f"named by diagnose_gradient: {named} of {count}, {alone} of them by one name alone; target {least}")
    seen, known, unknown = (
        sum(of) for of in ([v.detected for v in others], [v.named for v in others], [not v.said for v in others])
    )
    print(
        f"rarer bugs, written when the catalogue was finished: {seen} of {len(others)} detected, {known} named, "
        f"{unknown} called unknown, {len(others) - known - unknown} named by another name"
    )
    print(f"right gradients accused by check_gradient: {by_check} of {len(cases)}; target 0")
    print(f"right gradients accused by diagnose_gradient: {by_diagnosis} of {len(cases)}; target 0")
    for setting, answer in cases:
        if any(answer):
            print(f"ACCUSED: {setting}, {np.dtype(setting.dtype).name}")
    return detected == count and seen == len(others) and named >= least and not by_check and not by_diagnosis


def _record(verdicts: list[Verdict], cases: list[tuple[Setting, tuple[bool, bool]]]) -> dict:
    return {
        "bugs": [
            {
                "name": v.bug.name,
                "right": v.bug.right,
                "wrong": v.bug.wrong,
                "program": str(v.bug.setting),
                "detected": v.detected,
                "named": v.named,
                "said": v.said,
                "expected": v.bug.expected,
            }
            for v in verdicts
        ],
        "right": [
            {"program": str(setting), "dtype": np.dtype(setting.dtype).name, "accused": answer}
            for setting, answer in cases
        ],
    }
