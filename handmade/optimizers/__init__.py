"""6. Gradient descent and its descendants, on one flat vector.

`optimizer.step(theta, gradient)` moves theta in place and returns None; it never changes gradient. theta holds all
parameters, gradient the derivative of the loss by each; where they come from is not known here.

Each algorithm is its paper's update, typed once:

    SGD            theta -= lr g;  with momentum  v = momentum v + g, theta -= lr v
    Momentum1986   v = momentum v - lr g;  theta += v
    ASGD           theta -= lr_t g, and a running mean of theta
    Rprop          theta -= step sign(g);  step grows while the sign of g stays, and shrinks when it changes
    Lion           m, a running mean of g;  theta -= lr sign(a mean of m and g)
    Adagrad        s += g^2;  theta -= lr g / (sqrt(s) + eps)
    RMSprop        s = alpha s + (1 - alpha) g^2;  theta -= lr g / (sqrt(s) + eps)
    Adadelta       d = g rms(changes of theta) / rms(g);  theta -= lr d
    Adam, AdamW    m and v, such running means of g and g^2;  theta -= lr m / (sqrt(v) + eps)
    NAdam          Adam with Nesterov's momentum
    RAdam          Adam that waits until v is reliable
    Adamax         Adam with the largest |g|, decayed, in place of sqrt(v)
    Adafactor      RMSprop with the mean squares of rows and columns
    LBFGS          theta += t d;  d = -H g, with H from the last changes of theta and g
    Muon           m, a running mean of g = U S Vt;  theta -= lr U Vt

Names, defaults and numbers are those of torch.optim. Penalties, clipping and bounded norms, which go before or after an
optimizer in a `Chain`, are in `handmade.clipping`.

_common    what all optimizers share
descent    SGD, Momentum1986, ASGD, Rprop, Lion
adaptive   Adagrad, RMSprop, Adadelta
adam       Adam, AdamW, NAdam, RAdam, Adamax
matrices   Adafactor, Muon
lbfgs      LBFGS
combined   Chain, ParameterGroups
"""

from __future__ import annotations

from .adam import Adam, Adamax, AdamW, NAdam, RAdam
from .adaptive import Adadelta, Adagrad, RMSprop
from .combined import Chain, ParameterGroups, is_vector
from .descent import ASGD, SGD, Lion, Momentum1986, Rprop
from .lbfgs import LBFGS
from .matrices import Adafactor, Muon

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Chain",
    "Lion",
    "Momentum1986",
    "Muon",
    "NAdam",
    "ParameterGroups",
    "RAdam",
    "RMSprop",
    "Rprop",
    "is_vector",
]
