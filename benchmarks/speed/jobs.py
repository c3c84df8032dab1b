"""Whole jobs: epochs of training, a gradient check, and the perceptron, each with the libraries that do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import handmade as hm

from .epochs import Epoch
from .sides import CALLS, OURS, Disagreement, Side

__all__ = ["JOBS", "Epoch", "GradientCheck", "Perceptron"]

Array = np.ndarray


# ---- a gradient check ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GradientCheck:
    """A check of every entry of a network's gradient against finite differences, in float64."""

    sizes: tuple[int, ...]
    batch: int

    @property
    def title(self) -> str:
        count = self.network().parameter_count
        return f"gradient check: {'-'.join(map(str, self.sizes))}, batch {self.batch}, all {count:,} entries"

    def network(self) -> hm.MLP:
        return hm.MLP(self.sizes, activation="tanh", rng=0)

    def data(self) -> tuple[Array, Array]:
        rng = np.random.default_rng(0)
        return rng.standard_normal((self.batch, self.sizes[0])), rng.integers(0, self.sizes[-1], self.batch)

    sides: ClassVar[dict[str, type[Side]]]

    def check(self, name: str, theirs: Mapping[str, Array], ours: Mapping[str, Array]) -> None:
        """Raise Disagreement unless both find the gradient right."""
        if not (theirs["passed"] and ours["passed"]):
            raise Disagreement(f"{name}, {self.title}: passed {theirs['passed']}, handmade's {ours['passed']}")


class Checking(Side):
    """A base class of the three checks."""

    def __init__(self, job: GradientCheck) -> None:
        self.job, self.network, (self.X, self.y) = job, job.network(), job.data()

    def results(self) -> dict[str, Array]:
        return {"passed": np.array(bool(self.work()))}


class CheckGradient(Checking):
    """A call of `handmade.check_gradient`, which tries three step sizes for each entry."""

    def work(self) -> bool:
        check = hm.check_gradient(self.network, self.X, self.y, entries=self.network.parameter_count)
        return check.passed


class GradCheck(Checking):
    """A call of torch.autograd.gradcheck: one central difference for each parameter."""

    packages = ("torch",)

    def work(self) -> bool:
        import torch
        from torch.func import functional_call

        from reference import twin

        module, X, y = twin(self.network), torch.from_numpy(self.X), torch.from_numpy(self.y)
        names = [name for name, _ in module.named_parameters()]

        def loss(*values):
            logits = functional_call(module, dict(zip(names, values, strict=True)), (X,))
            return torch.nn.functional.cross_entropy(logits, y)

        return torch.autograd.gradcheck(loss, tuple(module.parameters()))


class TwoPasses(Checking):
    """The loop taught in courses: a central difference of two forward passes per entry, and a fixed tolerance."""

    def work(self) -> bool:
        network, h = self.network, 1e-5
        gradient, measured = network.loss_and_gradient(self.X, self.y)[1].copy(), np.empty(network.parameter_count)
        for i, value in enumerate(network.theta.copy()):
            losses = []
            for step in (h, -h):
                network.theta[i] = value + step
                losses.append(hm.losses.cross_entropy(network.predict(self.X), self.y))
            network.theta[i] = value
            measured[i] = (losses[0] - losses[1]) / (2 * h)
        return bool(np.abs(measured - gradient).max() < 1e-7)


GradientCheck.sides = {OURS: CheckGradient, "torch": GradCheck, "loop": TwoPasses}


# ---- the perceptron --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Perceptron:
    """A perceptron without a bias, trained on separable samples until an epoch has no mistake."""

    samples: int
    inputs: int

    @property
    def title(self) -> str:
        return f"perceptron: {self.samples:,} separable samples of {self.inputs} inputs, until none is wrong"

    def data(self) -> tuple[Array, Array]:
        """Return X, normally distributed without the fifth nearest to the plane between the classes, and y."""
        rng = np.random.default_rng(0)
        X, w = rng.standard_normal((self.samples * 5 // 4, self.inputs)), rng.standard_normal(self.inputs)
        score = X @ w
        kept = np.sort(np.argsort(-np.abs(score), kind="stable")[: self.samples])
        return X[kept], np.sign(score[kept])

    sides: ClassVar[dict[str, type[Side]]]

    def check(self, name: str, theirs: Mapping[str, Array], ours: Mapping[str, Array]) -> None:
        """Raise unless the loop has the same bits, and scikit-learn, which counts a score of 0 as wrong, no error."""
        same = np.array_equal(theirs["w"], ours["w"]) if name == "loop" else theirs["errors"] == 0
        if not same:
            raise Disagreement(f"{name}, {self.title}: {theirs['errors']} errors, or other weights")


class Separating(Side):
    """A base class of the perceptrons; each makes as many epochs as handmade needs."""

    def __init__(self, job: Perceptron) -> None:
        self.X, self.y = job.data()
        self.epochs = hm.Perceptron(bias=False).fit(self.X, self.y).epochs
        self.w = np.zeros(job.inputs)

    def results(self) -> dict[str, Array]:
        self.work()
        errors = np.sum(np.where(self.X @ self.w >= 0, 1, -1) != self.y)
        return {"w": self.w, "errors": errors, "epochs": np.array(self.epochs)}


class OurPerceptron(Separating):
    """An instance of `handmade.Perceptron`."""

    def work(self) -> None:
        self.w = hm.Perceptron(bias=False).fit(self.X, self.y).w


class SequentialLoop(Separating):
    """A loop over the samples, one at a time, as on the slide."""

    def work(self) -> None:
        w = np.zeros(self.X.shape[1])
        for _ in range(self.epochs):
            for x, y in zip(self.X, self.y, strict=True):
                if (1 if w @ x >= 0 else -1) != y:
                    w += y * x
        self.w = w


class ScoresAlone(Separating):
    """A lower bound for NumPy: the scores of all samples, once per epoch."""

    def work(self) -> None:
        for _ in range(self.epochs):
            self.X.dot(self.w)

    def results(self) -> dict[str, Array]:
        return {}


class SklearnPerceptron(Separating):
    """A Perceptron of scikit-learn, compiled, without shuffling."""

    packages = ("sklearn",)

    def work(self) -> None:
        from sklearn.linear_model import Perceptron

        model = Perceptron(fit_intercept=False, shuffle=False, max_iter=self.epochs, tol=None)
        self.w = model.fit(self.X, self.y).coef_[0]


Perceptron.sides = {
    OURS: OurPerceptron, "loop": SequentialLoop, "scikit-learn": SklearnPerceptron, CALLS: ScoresAlone,
}  # fmt: skip

JOBS = (
    Epoch("the digits' size", 1_797, (64, 100, 10), 32, epochs=10),
    Epoch("MNIST's size", 60_000, (784, 100, 10), 128, epochs=3),
    GradientCheck((64, 32, 10), 32),
    Perceptron(10_000, 100),
)
