"""scikit-learn's interface: perceptrons that stand in pipelines, grid searches and cross-validation.

`MLPClassifier` and `MLPRegressor` take the parameters of scikit-learn's classes of these names, and what those refuse:
dropout, normalization, class weights, any loss and activation, early stopping on the validation loss, ``partial_fit``
with early stopping, and an exact continuation by ``warm_start``. `PerceptronClassifier` is Rosenblatt's rule.
"""

from __future__ import annotations

try:
    import sklearn  # noqa: F401  # the message below is for those who lack it
except ImportError:
    raise ImportError(
        "handmade.estimators: expected scikit-learn; install it with pip install handmade[estimators]"
    ) from None

from ._mlp import MLPClassifier, MLPRegressor
from ._perceptron import PerceptronClassifier

__all__ = ["MLPClassifier", "MLPRegressor", "PerceptronClassifier"]
