"""Default values of four libraries."""

from __future__ import annotations

import inspect
import pkgutil
from functools import partial
from typing import Any

from ..libraries import keras
from .convention import Convention, Formula, by_library

MLP = "sklearn.neural_network:MLPClassifier"
# fmt: off
DEFAULTS = {
    "Huber's delta": (
        (1.0, "handmade.losses:huber_loss", "delta"), (1.0, "torch.nn.functional:huber_loss", "delta"),
        None, (1.0, "keras:losses.Huber", "delta")),
    "lr of SGD": (
        (1e-3, "handmade:SGD", "lr"), (1e-3, "torch.optim:SGD", "lr"),
        (1e-3, MLP, "learning_rate_init"), (1e-2, "keras:optimizers.SGD", "learning_rate")),
    "momentum of SGD": (
        (0.0, "handmade:SGD", "momentum"), (0, "torch.optim:SGD", "momentum"),
        (0.9, MLP, "momentum"), (0.0, "keras:optimizers.SGD", "momentum")),
    "Nesterov's form of it": (
        (False, "handmade:SGD", "nesterov"), (False, "torch.optim:SGD", "nesterov"),
        (True, MLP, "nesterovs_momentum"), (False, "keras:optimizers.SGD", "nesterov")),
    "L2 term": (
        (0.0, "handmade:SGD", "weight_decay"), (0, "torch.optim:SGD", "weight_decay"), (1e-4, MLP, "alpha"), None),
    "lr of Adam": (
        (1e-3, "handmade:Adam", "lr"), (1e-3, "torch.optim:Adam", "lr"),
        (1e-3, MLP, "learning_rate_init"), (1e-3, "keras:optimizers.Adam", "learning_rate")),
    "epsilon of Adam": (
        (1e-8, "handmade:Adam", "eps"), (1e-8, "torch.optim:Adam", "eps"),
        (1e-8, MLP, "epsilon"), (1e-7, "keras:optimizers.Adam", "epsilon")),
    "weight decay of AdamW": (
        (1e-2, "handmade:AdamW", "weight_decay"), (1e-2, "torch.optim:AdamW", "weight_decay"),
        None, (4e-3, "keras:optimizers.AdamW", "weight_decay")),
    "lr of RMSprop": (
        (1e-2, "handmade:RMSprop", "lr"), (1e-2, "torch.optim:RMSprop", "lr"),
        None, (1e-3, "keras:optimizers.RMSprop", "learning_rate")),
    "decay of RMSprop": (
        (0.99, "handmade:RMSprop", "alpha"), (0.99, "torch.optim:RMSprop", "alpha"),
        None, (0.9, "keras:optimizers.RMSprop", "rho")),
    "epsilon of RMSprop": (
        (1e-8, "handmade:RMSprop", "eps"), (1e-8, "torch.optim:RMSprop", "eps"),
        None, (1e-7, "keras:optimizers.RMSprop", "epsilon")),
    "lr of Adagrad": (
        (1e-2, "handmade:Adagrad", "lr"), (1e-2, "torch.optim:Adagrad", "lr"),
        None, (1e-3, "keras:optimizers.Adagrad", "learning_rate")),
    "epsilon of Adagrad": (
        (1e-10, "handmade:Adagrad", "eps"), (1e-10, "torch.optim:Adagrad", "eps"),
        None, (1e-7, "keras:optimizers.Adagrad", "epsilon")),
    "start of Adagrad's sum": (
        (0.0, "handmade:Adagrad", "initial_accumulator_value"), (0, "torch.optim:Adagrad", "initial_accumulator_value"),
        None, (0.1, "keras:optimizers.Adagrad", "initial_accumulator_value")),
    "epsilon of BatchNorm": (
        (1e-5, "handmade:BatchNorm", "eps"), (1e-5, "torch.nn:BatchNorm1d", "eps"),
        None, (1e-3, "keras:layers.BatchNormalization", "epsilon")),
    "momentum of BatchNorm": (
        (0.1, "handmade:BatchNorm", "momentum"), (0.1, "torch.nn:BatchNorm1d", "momentum"),
        None, (0.99, "keras:layers.BatchNormalization", "momentum")),
    "epsilon of LayerNorm": (
        (1e-5, "handmade:LayerNorm", "eps"), (1e-5, "torch.nn:LayerNorm", "eps"),
        None, (1e-3, "keras:layers.LayerNormalization", "epsilon")),
    "slope of leaky ReLU": (
        (0.01, "handmade.activations:leaky_relu", "negative_slope"),
        (0.01, "torch.nn.functional:leaky_relu", "negative_slope"),
        None, (0.2, "keras:activations.leaky_relu", "negative_slope")),
    "slope of leaky ReLU, as a layer": (
        (0.01, "handmade.activations:leaky_relu", "negative_slope"), (0.01, "torch.nn:LeakyReLU", "negative_slope"),
        None, (0.3, "keras:layers.LeakyReLU", "negative_slope")),
}
# fmt: on


def _default(place: str, name: str) -> Any:
    if place.startswith("keras:"):
        keras()
    return inspect.signature(pkgutil.resolve_name(place)).parameters[name].default


def defaults() -> list[Convention]:
    """Return the conventions about default values.

    Examples
    --------
    >>> defaults()[0].quantity
    "Huber's delta"
    """
    return [
        Convention(
            quantity,
            by_library(*(cell and (Formula(str(cell[0]), cell[0]), partial(_default, *cell[1:])) for cell in row)),
        )
        for quantity, row in DEFAULTS.items()
    ]
