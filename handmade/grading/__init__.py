"""A grader for courses on backpropagation: points for each layer, and a hint that names the mistake but not its cure.

A student hands in a Python file, a notebook or a folder, which works on plain arrays. ``parameters`` is a list
[W0, b0, W1, b1, ...], laid out as torch's: W is (O, I), b is (O,). The file defines either::

    loss_and_gradient(parameters, X, y) -> (loss, gradients)

or both of::

    forward(parameters, X) -> output                # of the last layer: logits, where the network ends with Dense
    backward(parameters, X, y) -> gradients         # a list of arrays, in the shapes of the parameters

Functions and classes in the styles of the usual courses are recognised, too: see `handmade.grading.conventions`.

`grade` judges one submission, ``python -m handmade.grading exercise.py submissions/`` a course. As a pytest plugin
(``pytest_plugins = ["handmade.grading"]`` in the conftest.py beside the tests, or ``pytest -p handmade.grading``), the
package brings two fixtures, ``grade`` and ``student``, and a summary of the grades.

Each submission runs in a process of its own with limits (`sandbox`); the judge (`judge`) never runs a student's code.
Numbers are right as in `handmade.diagnose_gradient`: within 9e-8 of the largest of the array, 8e-4 where they are
float32. A grade is as good as its batch: a mistake in what no row reaches, such as the other side of a ReLU, does not
show.

To pytest: PYTEST_DONT_REWRITE, nothing here asserts.
"""

from __future__ import annotations

from .course import grade_course
from .exercise import Exercise, Limits, load_exercise
from .grades import Grade, Item
from .plugin import pytest_addoption, pytest_configure, pytest_generate_tests, pytest_terminal_summary
from .submissions import find_submissions, grade

__all__ = [
    "Exercise",
    "Grade",
    "Item",
    "Limits",
    "find_submissions",
    "grade",
    "grade_course",
    "load_exercise",
    "pytest_addoption",
    "pytest_configure",
    "pytest_generate_tests",
    "pytest_terminal_summary",
]
