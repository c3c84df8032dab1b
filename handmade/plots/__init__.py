"""Pictures of the lecture: losses, descent, knobs, networks, the chain rule, training and what was learnt.

Each function returns a matplotlib Figure, which a notebook shows and `figure.savefig("losses.pdf")` saves. No window is
opened, and pyplot is not imported; matplotlib itself is imported with the first picture. Where a function has a
parameter `ax`, it draws into those axes instead of a figure of its own. No argument is changed.

Colours are those of Okabe and Ito (2008), which the colour-blind can tell apart, or the map cividis. A line style, a
marker or a word always repeats what a colour says, for black and white print. Epochs count from 1.

_drawing       matplotlib, axes, colours and checks for all of them
loss_curves    losses
descent        descent_1d, descent_2d
parameters     knobs, hinton
networks       network
derivatives    chain_rule
training       history, learning_rates
gradients      diagnosis
plane          decision_boundary
"""

from __future__ import annotations

from .derivatives import chain_rule
from .descent import descent_1d, descent_2d
from .gradients import diagnosis
from .loss_curves import losses
from .networks import network
from .parameters import hinton, knobs
from .plane import decision_boundary
from .training import history, learning_rates

__all__ = [
    "losses",
    "descent_1d",
    "descent_2d",
    "knobs",
    "network",
    "chain_rule",
    "history",
    "learning_rates",
    "decision_boundary",
    "hinton",
    "diagnosis",
]
