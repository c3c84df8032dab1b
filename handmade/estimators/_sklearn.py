"""scikit-learn's base classes, with the types that scikit-learn does not declare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    import numpy.typing as npt

    F = TypeVar("F", bound=Callable[..., Any])

    class Tags:
        input_tags: Any
        target_tags: Any
        classifier_tags: Any

    class BaseEstimator:
        n_features_in_: int
        feature_names_in_: npt.NDArray[Any]

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        def __sklearn_tags__(self) -> Tags: ...

    class Scored:
        def score(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None) -> float: ...

    class ClassifierMixin(Scored): ...

    class RegressorMixin(Scored): ...

    def available_if(check: Callable[[Any], bool]) -> Callable[[F], F]: ...

else:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import Tags
    from sklearn.utils.metaestimators import available_if

__all__ = ["BaseEstimator", "ClassifierMixin", "RegressorMixin", "Tags", "available_if"]
