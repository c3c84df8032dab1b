"""The gradient checks of PyTorch, SciPy and JAX, for the same claims.

Each gets a function of one float64 vector and its claimed gradient, with the defaults of its library. SciPy's
`check_grad` returns the norm of the difference, without a verdict. Here a claim counts as wrong if that norm exceeds
1e-4 of the norm of the gradient, an error that CS231n's notes call uncomfortable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from handmade.protocols import Array

from .claims import Claim

__all__ = ["PEERS", "accused_by"]

UNCOMFORTABLE = 1e-4


def accused_by(peer: str, claim: Claim) -> bool:
    """Return whether a library calls a claim wrong."""
    with np.errstate(all="ignore"):
        return PEERS[peer](claim)


def by_handmade(claim: Claim) -> bool:
    """Return whether `handmade.check_gradient` finds a wrong entry."""
    return claim.is_accused()


def by_torch(claim: Claim) -> bool:
    """Return whether ``torch.autograd.gradcheck`` fails."""
    import torch

    class Claimed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, theta: Any) -> Any:
            ctx.save_for_backward(theta)
            return torch.tensor(claim.value(theta.detach().numpy().copy()), dtype=torch.float64)

        @staticmethod
        def backward(ctx: Any, *upstream: Any) -> Any:
            (theta,) = ctx.saved_tensors
            return upstream[0] * torch.tensor(_gradient(claim, theta.detach().numpy()))

    theta = torch.tensor(_theta(claim), requires_grad=True)
    return not torch.autograd.gradcheck(Claimed.apply, (theta,), raise_exception=False)


def by_scipy(claim: Claim) -> bool:
    """Return whether ``scipy.optimize.check_grad`` finds a difference above 1e-4 of the gradient, or NaN."""
    from scipy import optimize

    theta = _theta(claim)
    difference = optimize.check_grad(lambda t: float(claim.value(t)), lambda t: _gradient(claim, t), theta)
    return not difference <= UNCOMFORTABLE * np.linalg.norm(_gradient(claim, theta))


def by_jax(claim: Claim) -> bool:
    """Return whether ``jax.test_util.check_grads`` fails in reverse mode."""
    import jax
    from jax.test_util import check_grads

    with jax.enable_x64():
        theta = jax.numpy.asarray(_theta(claim))
        scalar, vector = jax.ShapeDtypeStruct((), theta.dtype), jax.ShapeDtypeStruct(theta.shape, theta.dtype)

        @jax.custom_vjp
        def f(t: Any) -> Any:
            return jax.pure_callback(lambda t: np.float64(claim.value(np.array(t))), scalar, t)

        def backward(t: Any, upstream: Any) -> Any:
            return (upstream * jax.pure_callback(lambda t: _gradient(claim, np.array(t)), vector, t),)

        f.defvjp(lambda t: (f(t), t), backward)
        try:
            check_grads(f, (theta,), order=1, modes=["rev"])
        except AssertionError:
            return True
        return False


def _theta(claim: Claim) -> Array:
    return np.array(claim.theta, np.float64)


def _gradient(claim: Claim, theta: Array) -> Array:
    return np.array(claim.gradient(np.array(theta)), np.float64)


PEERS: dict[str, Callable[[Claim], bool]] = {
    "handmade.check_gradient": by_handmade,
    "torch.autograd.gradcheck": by_torch,
    "scipy.optimize.check_grad": by_scipy,
    "jax.test_util.check_grads": by_jax,
}
