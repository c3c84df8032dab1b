"""A sparse matrix of samples, of which only the rows that are asked for become dense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ._types import Array

__all__ = ["SparseMatrix", "SparseRows"]


class SparseMatrix(Protocol):
    """A matrix of scipy.sparse, which gives itself in compressed rows."""

    def tocsr(self) -> Any:
        """Return the matrix in compressed rows."""
        ...


@dataclass(frozen=True)
class SparseRows:
    """The samples of a sparse matrix, in compressed rows: ``samples[rows]`` is a dense array.

    Attributes
    ----------
    data, indices, indptr : ndarray
        As in scipy.sparse: row i has ``data[k]`` in column ``indices[k]``, for k from ``indptr[i]`` to
        ``indptr[i + 1]``.
    shape : tuple of int
        (N, I).

    Examples
    --------
    >>> import scipy.sparse
    >>> from handmade._sparse import SparseRows
    >>> SparseRows.of(scipy.sparse.csr_array([[0, 2], [3, 0], [0, 4]]))[np.array([2, 0])]
    array([[0, 4],
           [0, 2]])
    """

    data: Array
    indices: Array
    indptr: Array
    shape: tuple[int, int]

    ndim = 2

    @classmethod
    def of(cls, matrix: SparseMatrix) -> SparseRows:
        """Return the rows of a matrix of scipy.sparse."""
        X = matrix.tocsr()
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        return cls(X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64), X.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return that of the numbers."""
        return self.data.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Array | slice) -> Array:
        rows = np.arange(len(self))[rows]
        dense, counts = np.zeros((len(rows), self.shape[1]), self.dtype), np.diff(self.indptr)[rows]
        own = np.repeat(np.arange(len(rows)), counts)  # the row here of each number
        places = np.arange(len(own)) + np.repeat(self.indptr[rows] - np.cumsum(counts) + counts, counts)
        dense[own, self.indices[places]] = self.data[places]
        return dense

    def take(self, rows: Array, axis: int) -> Array:
        """Return rows, as `ndarray.take` along the first axis does."""
        return self[rows]
