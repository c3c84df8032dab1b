"""9. Functions and modules of PyTorch, JAX and autograd as functions of arrays, with the gradients of those libraries.

Each library is imported only if its own objects are given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .._types import Array


class Adapted(NamedTuple):
    """A function of NumPy arrays, a point, and the gradient that a library computes.

    Attributes
    ----------
    f : callable
        Takes theta, and returns a number.
    theta : array or dict of str to array
        The parameters.
    gradient : callable
        Takes theta, and returns the gradient in the form of theta.
    options : dict
        The options that are left.
    """

    f: Callable[[Any], float]
    theta: Any
    gradient: Callable[[Any], Any]
    options: dict[str, Any]


def adapted(target: Any, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Adapted | None:
    """Return the adapted form of a function or module of another library; None for what needs none."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(target, torch.nn.Module):
        return torch_module(target, arguments, options)
    if len(arguments) != 1:
        return None
    theta = arguments[0]
    if torch is not None and _any_leaf(theta, torch.Tensor):
        return torch_function(target, theta, options)
    jax = sys.modules.get("jax")
    if jax is not None and _any_leaf(theta, jax.Array):
        return jax_function(target, theta, options)
    autograd = sys.modules.get("autograd")
    if autograd is not None and callable(target):
        function: Callable[[Any], Any] = target
        return Adapted(lambda t: float(function(t)), theta, autograd.grad(function), dict(options))
    return None


def _any_leaf(value: Any, kind: type) -> bool:
    if isinstance(value, Mapping):
        return any(_any_leaf(part, kind) for part in value.values())
    if isinstance(value, list | tuple):
        return any(_any_leaf(part, kind) for part in value)
    return isinstance(value, kind)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """Return a nested structure with a function applied to each leaf."""
    if isinstance(value, Mapping):
        return {key: _mapped(function, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [_mapped(function, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return function(value)


def _run_backward(value: Any) -> None:
    """Run PyTorch's backward pass from what a function returned; from a constant there is none."""
    if not (hasattr(value, "requires_grad") and value.numel() == 1):
        found = f"a tensor of shape {tuple(value.shape)}" if hasattr(value, "requires_grad") else repr(value)
        raise TypeError(
            f"the function: expected it to return a tensor of one number, got {found}; take its mean or sum"
        )
    if value.requires_grad:
        value.backward()


def torch_module(module: Any, inputs: tuple[Any, ...], options: Mapping[str, Any]) -> Adapted:
    """Return a module's scalar output, or the ``loss=`` of its output, as a function of its parameters by name.

    The module is not changed: it is called with `torch.func.functional_call`, in float64.

    Examples
    --------
    >>> import torch
    >>> from handmade.checking.adapters import torch_module
    >>> module = torch.nn.Linear(2, 1)
    >>> given = torch_module(module, (torch.ones(3, 2),), {"loss": lambda output: (output**2).mean()})
    >>> list(given.theta), sorted(given.gradient(given.theta))
    (['weight', 'bias'], ['bias', 'weight'])
    """
    import torch

    rest = dict(options)
    loss = rest.pop("loss", None)
    if not (loss is None or callable(loss)):
        raise TypeError(f"loss: expected a function of the module's output, got {loss!r}")
    state = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
    theta = {name: p.detach().cpu().double().numpy().copy() for name, p in module.named_parameters()}
    double = [x.double() if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs]
    seed = torch.random.get_rng_state()

    def value(parameters: Mapping[str, Any]) -> Any:
        buffers = {n: b.double() if b.is_floating_point() else b.clone() for n, b in state.items()}
        with torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(seed)  # the same dropout masks at every call
            output = torch.func.functional_call(module, {**parameters, **buffers}, tuple(double))
            return output if loss is None else loss(output)

    def f(parameters: Mapping[str, Array]) -> float:
        with torch.no_grad():
            return float(value({name: torch.as_tensor(p) for name, p in parameters.items()}))

    def gradient(parameters: Mapping[str, Array]) -> dict[str, Array]:
        tensors = {name: torch.tensor(p, requires_grad=True) for name, p in parameters.items()}
        with torch.enable_grad():
            _run_backward(value(tensors))
        return {n: np.zeros(p.shape) if p.grad is None else p.grad.numpy().copy() for n, p in tensors.items()}

    return Adapted(f, theta, gradient, rest)


def torch_function(f: Callable[[Any], Any], theta: Any, options: Mapping[str, Any]) -> Adapted:
    """Return a function of tensors, and PyTorch's gradient of it; a ``torch.autograd.Function`` inside is checked.

    Examples
    --------
    >>> import torch
    >>> from handmade.checking.adapters import torch_function
    >>> given = torch_function(lambda t: (t**2).sum(), torch.tensor([1.0, 2.0]), {})
    >>> given.f(np.array([1.0, 2.0])), given.gradient(np.array([1.0, 2.0]))
    (5.0, array([2., 4.]))
    """
    import torch

    def value(arrays: Any) -> float:
        with torch.no_grad():
            return float(f(_mapped(torch.as_tensor, arrays)))

    def gradient(arrays: Any) -> Any:
        tensors = _mapped(lambda a: torch.tensor(a, requires_grad=True), arrays)
        with torch.enable_grad():
            _run_backward(f(tensors))
        return _mapped(lambda t: np.zeros(t.shape) if t.grad is None else t.grad.numpy().copy(), tensors)

    return Adapted(value, _mapped(lambda t: t.detach().cpu().double().numpy().copy(), theta), gradient, dict(options))


def jax_function(f: Callable[[Any], Any], theta: Any, options: Mapping[str, Any]) -> Adapted:
    """Return a function of a pytree, and JAX's gradient of it, a ``custom_vjp`` included.

    JAX computes in float32 unless ``jax_enable_x64`` is set; then the gradient is compared at float32's accuracy.
    """
    import jax

    def value(arrays: Any) -> float:
        return float(f(_mapped(jax.numpy.asarray, arrays)))

    def gradient(arrays: Any) -> Any:
        return _mapped(np.asarray, jax.grad(f)(_mapped(jax.numpy.asarray, arrays)))

    return Adapted(value, _mapped(lambda t: np.asarray(t), theta), gradient, dict(options))
