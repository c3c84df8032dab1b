"""Four functions that are not networks of this package, each with five common mistakes in its gradient.

They are a variational autoencoder, REINFORCE with entropy, InfoNCE with two towers, and an unrolled recurrence. The
diagnosis gets the terms of the function and its named numbers. The patterns of a right explanation were written before
the diagnosis ran.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

import handmade as hm
from handmade.activations import softmax
from handmade.protocols import Array

__all__ = ["EXAMPLES", "Example"]

Blocks: TypeAlias = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Example:
    """A function, its parameters, its right gradient and its mistakes.

    Attributes
    ----------
    terms : mapping of str to callable
        The terms of the function, which is their weighted sum; each takes a dict of parameters.
    weights : mapping of str to float
        The weights of the terms; 1 by default.
    parameters : mapping of str to ndarray
        The point at which the gradient is tested.
    gradient : callable
        ``gradient(parameters)`` is right; keyword arguments make it wrong.
    facts : mapping of str to float
        Numbers with names, for the diagnosis.
    mistakes : mapping of str to (keywords, pattern)
        Keyword arguments of ``gradient``, and a pattern that the name of a right explanation matches.
    """

    terms: Mapping[str, Callable[[Blocks], float]]
    parameters: Blocks
    gradient: Callable[..., Blocks]
    facts: Mapping[str, float]
    mistakes: Mapping[str, tuple[Mapping[str, Any], str]]
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def value(self, blocks: Blocks) -> float:
        """Return the value of the function."""
        return sum(self.weights.get(name, 1.0) * term(blocks) for name, term in self.terms.items())

    def diagnose(self, mistake: str | None = None) -> hm.Diagnosis:
        """Return the diagnosis of the gradient with a mistake, or of the right one."""
        keywords = self.mistakes[mistake][0] if mistake else {}
        wrong = functools.partial(self.gradient, **keywords)
        return hm.diagnose_gradient(self.value, dict(self.parameters), wrong, terms=self.terms, facts=self.facts)


# ---- a variational autoencoder -------------------------------------------------------------------------------------


def autoencoder() -> Example:
    """Return an autoencoder with a Gaussian code: squared error and KL divergence, means over the samples."""
    rng = np.random.default_rng(0)
    data, noise = rng.random((8, 6)), rng.normal(size=(8, 2))

    def code(t: Blocks) -> tuple[Array, Array, Array]:
        m, s = data @ t["M"].T, data @ t["S"].T
        return m, s, m + np.exp(s / 2) * noise

    def reconstruction(t: Blocks) -> float:
        return float(((code(t)[2] @ t["V"].T - data) ** 2).sum() / 8)

    def kl(t: Blocks) -> float:
        m, s, _ = code(t)
        return float((m**2 + np.exp(s) - 1 - s).sum() / 2 / 8)

    def gradient(t: Blocks, error: float = 2.0, weight: float = 1.0, half: float = 0.5, sign: float = -1.0) -> Blocks:
        m, s, z = code(t)
        dR = error * (z @ t["V"].T - data) / 8
        dz = dR @ t["V"]
        dm = dz + weight * m / 8
        ds = dz * noise * np.exp(s / 2) * half + weight * (np.exp(s) + sign) / 2 / 8
        return {"M": dm.T @ data, "S": ds.T @ data, "V": dR.T @ z}

    mistakes = {
        "KL term not divided by N": ({"weight": 8.0}, r"kl times (n|8)"),
        "KL term missing": ({"weight": 0.0}, r"kl (missing|not|left out)|without kl|reconstruction( alone|$)"),
        "sign of the KL term": ({"weight": -1.0}, r"sign of kl"),
        "squared error without its 2": ({"error": 1.0}, r"reconstruction.*(1/2|half|0\.5)|(1/2|half).*reconstruction"),
        "standard deviation derived without its half": ({"half": 1.0}, r"reconstruction.*\b2\b|twice"),
    }
    parameters = {"M": rng.normal(size=(2, 6)), "S": rng.normal(size=(2, 6)), "V": rng.normal(size=(6, 2))}
    return Example({"reconstruction": reconstruction, "kl": kl}, parameters, gradient, {"N": 8.0}, mistakes)


# ---- REINFORCE with entropy ----------------------------------------------------------------------------------------


def reinforce() -> Example:
    """Return the surrogate of a policy gradient with an entropy bonus of weight 0.1."""
    rng = np.random.default_rng(1)
    states, actions, returns = rng.normal(size=(9, 4)), rng.integers(0, 3, 9), rng.normal(size=9)

    def policy(t: Blocks) -> Array:
        return softmax(states @ t["W"].T)

    def surrogate(t: Blocks) -> float:
        return float(-(returns * np.log(policy(t)[np.arange(9), actions])).mean())

    def entropy(t: Blocks) -> float:
        P = policy(t)
        return float(-(P * np.log(P)).sum() / 9)

    def gradient(t: Blocks, policy_weight: float = 1.0, bonus: float = 0.1, by_returns: bool = True) -> Blocks:
        P = policy(t)
        dA = (P - np.eye(3)[actions]) / 9 * (returns[:, None] if by_returns else 1)
        H = -(P * np.log(P)).sum(axis=1, keepdims=True)
        return {"W": (policy_weight * dA + bonus * P * (np.log(P) + H) / 9).T @ states}

    mistakes = {
        "sign of the entropy": ({"bonus": -0.1}, r"sign of entropy"),
        "entropy missing": ({"bonus": 0.0}, r"entropy (missing|not|left out)|without entropy|^surrogate$"),
        "entropy without its weight": ({"bonus": 1.0}, r"entropy.*(beta|10|0\.1)"),
        "surrogate summed, not averaged": ({"policy_weight": 9.0}, r"surrogate.*\b(n|9)\b"),
        "returns left out": ({"by_returns": False}, r"returns"),
    }
    parameters, facts = {"W": rng.normal(size=(3, 4))}, {"N": 9.0, "beta": 0.1}
    terms = {"surrogate": surrogate, "entropy": entropy}
    return Example(terms, parameters, gradient, facts, mistakes, {"entropy": -0.1})


# ---- InfoNCE with two towers ---------------------------------------------------------------------------------------


def two_towers() -> Example:
    """Return InfoNCE in both directions: the towers are linear, their outputs normalized, the temperature 0.5."""
    rng = np.random.default_rng(2)
    images, texts, tau = rng.normal(size=(7, 5)), rng.normal(size=(7, 4)), 0.5

    def towers(t: Blocks) -> tuple[Array, Array, Array, Array]:
        Z = images @ t["A"].T, texts @ t["B"].T
        norms = tuple(np.linalg.norm(z, axis=1, keepdims=True) for z in Z)
        return Z[0] / norms[0], Z[1] / norms[1], norms[0], norms[1]

    def scores(t: Blocks) -> Array:
        U, V, _, _ = towers(t)
        return U @ V.T / tau

    def images_to_texts(t: Blocks) -> float:
        return float(-np.log(np.diag(softmax(scores(t)))).mean() / 2)

    def texts_to_images(t: Blocks) -> float:
        return float(-np.log(np.diag(softmax(scores(t).T))).mean() / 2)

    def gradient(
        t: Blocks,
        temperature: float = tau,
        back: float = 1.0,
        N: float = 7.0,
        project: float = 1.0,
        fixed: bool = False,
    ) -> Blocks:
        (U, V, u, v), S = towers(t), scores(t)
        dS = (softmax(S) - np.eye(7) + back * (softmax(S.T).T - np.eye(7))) / 2 / N
        dU, dV = dS @ V / temperature, dS.T @ U / temperature
        dA = (dU - project * U * (dU * U).sum(axis=1, keepdims=True)) / u
        dB = (dV - project * V * (dV * V).sum(axis=1, keepdims=True)) / v
        return {"A": dA.T @ images, "B": 0 * t["B"] if fixed else dB.T @ texts}

    mistakes = {
        "temperature forgotten": ({"temperature": 1.0}, r"tau"),
        "one direction only": (
            {"back": 0.0},
            r"texts_to_images (missing|not|left out)|without texts|^images_to_texts$",
        ),
        "summed, not averaged": ({"N": 1.0}, r"times n|\b7\b"),
        "normalization without its projection": ({"project": 0.0}, r"project|normali|constant in `norm"),
        "second tower taken for constant": ({"fixed": True}, r"not computed|missing|zero|constant|b\b.*0"),
    }
    parameters, facts = {"A": rng.normal(size=(3, 5)), "B": rng.normal(size=(3, 4))}, {"N": 7.0, "tau": tau}
    terms = {"images_to_texts": images_to_texts, "texts_to_images": texts_to_images}
    return Example(terms, parameters, gradient, facts, mistakes)


# ---- an unrolled recurrence ----------------------------------------------------------------------------------------


def recurrence() -> Example:
    """Return h_t = tanh(U x_t + W h_(t-1)) over 4 steps; the loss is the mean over the steps of squared errors."""
    rng = np.random.default_rng(3)
    X, Y, T = rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 5, 2)), 4

    def states(t: Blocks) -> list[Array]:
        H = [np.zeros((5, 2))]
        for x in X:
            H.append(np.tanh(x @ t["U"].T + H[-1] @ t["W"].T))
        return H

    def error_of(step: int, t: Blocks) -> float:
        return float(((states(t)[step + 1] - Y[step]) ** 2).mean() / T)

    def gradient(
        t: Blocks, count: float = T, through: float = 1.0, transposed: bool = False, errors: int = 0, steps: int = 0
    ) -> Blocks:
        H, W = states(t), t["W"]
        dU, dW, dH = np.zeros_like(t["U"]), np.zeros_like(W), np.zeros((5, 2))
        for k in reversed(range(steps, T)):
            dH = dH + (2 * (H[k + 1] - Y[k]) / 10 / count if k >= errors else 0)
            dA = dH * (1 - H[k + 1] ** 2)
            dU, dW = dU + dA.T @ X[k], dW + dA.T @ H[k]
            dH = through * dA @ (W.T if transposed else W)
        return {"U": dU, "W": dW}

    mistakes = {
        "summed over the steps, not averaged": ({"count": 1.0}, r"\bt\b|\b4\b"),
        "error of the last step only": ({"errors": 3}, r"step 0.*(missing|not)|missing.*step 0|^step 3$|step 3 alone"),
        "not propagated through time": (
            {"through": 0.0},
            r"through time|earlier|propagat|recurren|taken for a constant in .*@ w",
        ),
        "W transposed in the propagation": ({"transposed": True}, r"transpos"),
        "first step of the loop left out": ({"steps": 1}, r"first step|step 0"),
    }
    parameters = {"U": rng.normal(size=(2, 3)), "W": rng.normal(size=(2, 2))}
    terms = {f"step {k}": functools.partial(error_of, k) for k in range(T)}
    return Example(terms, parameters, gradient, {"T": float(T)}, mistakes)


EXAMPLES: dict[str, Callable[[], Example]] = {
    "VAE": autoencoder,
    "REINFORCE": reinforce,
    "InfoNCE": two_towers,
    "recurrence": recurrence,
}
