"""Wrong gradients of small functions, explained by the operations of the function."""

from __future__ import annotations

import numpy as np

from handmade.checking.operations.recordings import record
from handmade.checking.operations.search import operations_that_explain
from handmade.checking.operations.trials import Compared


def explained(function, arrays, relative=1e-9, **wrong):
    """Return the words for the mistakes that make wrong gradients of a function; each is given by its input's name."""
    recording = record(function, list(arrays.values()), list(arrays), lambda parts: tuple(parts))
    right = recording.gradient(np.ones(recording.output.value.shape))
    compared = [Compared(name, wrong.get(name, r), r, name in wrong) for name, r in zip(arrays, right, strict=True)]
    found = operations_that_explain(recording, np.ones(recording.output.value.shape), compared, relative)
    return " and ".join(one.text for one in found)
