"""Strategies for the tests of laws, and numbers whose sums and products are exact."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

law = settings(max_examples=25, deadline=None, derandomize=True)  # the same examples every time
seeds = st.integers(0, 2**32 - 1)
powers_of_two = st.integers(-8, 8).map(lambda n: 2.0**n)
batches = st.sampled_from([2, 4, 8])
same = np.testing.assert_array_equal


def quarters(shape, seed):
    """Multiples of 1/4 from -2 to 2."""
    return np.random.default_rng(seed).integers(-8, 9, size=shape) / 4
