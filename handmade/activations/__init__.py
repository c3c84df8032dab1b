"""2. Activations: ``f(A)`` and, directly under it, ``f_backward(dH, ...)``.

The contract of every pair, without exception:

* ``H = f(A)`` maps pre-activations to activations of the same shape, in a new array.
* ``dA = f_backward(dH, A)`` or ``dA = f_backward(dH, H)`` takes the upstream gradient first: dA = dH f'(A), element by
  element. It asks by name for the one array that it needs, the pre-activation ``A`` or the activation ``H``. Options
  are keywords.

In the docstrings, a and h are one number of A and H, and s is the sigmoid. In the code:

* ``as_floating(A)`` converts A to an array of floats, or raises. ``finite(alpha, "alpha")``, ``positive(...)`` and the
  like return an option, or raise.
* ``exact.exp_minus_abs(A)`` is e^-|a|, which neither overflows nor loses digits. ``exact.minus_abs(A)`` is -|a| in a
  form that also holds for the complex numbers of a complex step, see `handmade.check_gradient`.

Every formula keeps its digits for large |a|, too. The textbook's s'(a) = s(a) (1 - s(a)) does not: for a large a, 1 -
s(a) subtracts nearly equal numbers. At -|a| it does not, and s'(-a) = s'(a). So derivatives are computed at -|a|; those
that take more than a line are in `handmade._numerics`.

The formulas are in `piecewise`, `sigmoids`, `rectifiers` and `classes`. Functions that change the width or have
parameters are layers: `handmade.GLU`, `handmade.SwiGLU`, `handmade.PReLU`.
"""

from __future__ import annotations

from .._types import ActivationName, ActivationPair
from .classes import (
    log_softmax,
    log_softmax_backward,
    softmax,
    softmax_backward,
)
from .piecewise import (
    hardshrink,
    hardshrink_backward,
    hardsigmoid,
    hardsigmoid_backward,
    hardswish,
    hardswish_backward,
    hardtanh,
    hardtanh_backward,
    identity,
    identity_backward,
    leaky_relu,
    leaky_relu_backward,
    relu,
    relu6,
    relu6_backward,
    relu_backward,
    softshrink,
    softshrink_backward,
    threshold,
    threshold_backward,
)
from .rectifiers import (
    celu,
    celu_backward,
    elu,
    elu_backward,
    gelu,
    gelu_backward,
    mish,
    mish_backward,
    selu,
    selu_backward,
    silu,
    silu_backward,
    softplus,
    softplus_backward,
)
from .sigmoids import (
    logsigmoid,
    logsigmoid_backward,
    sigmoid,
    sigmoid_backward,
    softsign,
    softsign_backward,
    tanh,
    tanh_backward,
    tanhshrink,
    tanhshrink_backward,
)

__all__ = [
    "identity",
    "identity_backward",
    "sigmoid",
    "sigmoid_backward",
    "tanh",
    "tanh_backward",
    "relu",
    "relu_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "elu",
    "elu_backward",
    "gelu",
    "gelu_backward",
    "silu",
    "silu_backward",
    "softplus",
    "softplus_backward",
    "softmax",
    "softmax_backward",
    "log_softmax",
    "log_softmax_backward",
    "relu6",
    "relu6_backward",
    "threshold",
    "threshold_backward",
    "hardtanh",
    "hardtanh_backward",
    "hardsigmoid",
    "hardsigmoid_backward",
    "hardswish",
    "hardswish_backward",
    "softshrink",
    "softshrink_backward",
    "hardshrink",
    "hardshrink_backward",
    "selu",
    "selu_backward",
    "celu",
    "celu_backward",
    "mish",
    "mish_backward",
    "logsigmoid",
    "logsigmoid_backward",
    "softsign",
    "softsign_backward",
    "tanhshrink",
    "tanhshrink_backward",
]

REGISTERED: dict[str, ActivationPair] = {}  # users' own, added by `register_activation`
ACTIVATIONS: dict[ActivationName, ActivationPair] = {
    "identity": (identity, identity_backward),
    "sigmoid": (sigmoid, sigmoid_backward),
    "tanh": (tanh, tanh_backward),
    "relu": (relu, relu_backward),
    "leaky_relu": (leaky_relu, leaky_relu_backward),
    "elu": (elu, elu_backward),
    "gelu": (gelu, gelu_backward),
    "silu": (silu, silu_backward),
    "softplus": (softplus, softplus_backward),
    "softmax": (softmax, softmax_backward),
    "log_softmax": (log_softmax, log_softmax_backward),
    "relu6": (relu6, relu6_backward),
    "threshold": (threshold, threshold_backward),
    "hardtanh": (hardtanh, hardtanh_backward),
    "hardsigmoid": (hardsigmoid, hardsigmoid_backward),
    "hardswish": (hardswish, hardswish_backward),
    "softshrink": (softshrink, softshrink_backward),
    "hardshrink": (hardshrink, hardshrink_backward),
    "selu": (selu, selu_backward),
    "celu": (celu, celu_backward),
    "mish": (mish, mish_backward),
    "logsigmoid": (logsigmoid, logsigmoid_backward),
    "softsign": (softsign, softsign_backward),
    "tanhshrink": (tanhshrink, tanhshrink_backward),
}
