"""2. Activations: ``f(A)`` and, directly under it, ``f_backward(dH, ...)``.

The contract of every pair, without exception:

* ``H = f(A)`` maps pre-activations to activations of the same shape, in a new array.
* ``dA = f_backward(dH, A)`` or ``dA = f_backward(dH, H)`` takes the upstream gradient first and asks by name for the
  one array that it needs: the pre-activation ``A`` or the activation ``H``. Options follow, as keywords.

Every formula keeps its digits for large |a| too. 1 - s(a), say, subtracts nearly equal numbers where a is large; at
-|a| it does not, so slopes are computed there. Where that takes more than a line, it stands in `handmade._numerics`.

`piecewise`, `sigmoids`, `rectifiers` and `classes` hold the formulas. What changes the width, or learns, is a layer:
`handmade.GLU`, `handmade.SwiGLU`, `handmade.PReLU`.
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

REGISTERED: dict[str, ActivationPair] = {}  # of users, by `register_activation`
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
