"""The experiments, in the order of their papers. A new one is a module with an ``EXPERIMENT``, named here."""

from __future__ import annotations

from . import depth, encoder, family_trees, local_minimum, mnist, parity, perceptron, symmetry, xor
from .experiment import Experiment

__all__ = ["EXPERIMENTS"]

MODULES = (perceptron, symmetry, family_trees, xor, local_minimum, parity, encoder)
EXPERIMENTS: dict[str, Experiment] = {module.EXPERIMENT.name: module.EXPERIMENT for module in MODULES}
EXPERIMENTS |= {experiment.name: experiment for experiment in (*mnist.EXPERIMENTS, *depth.EXPERIMENTS)}
