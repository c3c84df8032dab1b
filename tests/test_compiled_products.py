"""Matrix products of the compiled code: by NumPy's own BLAS, and by Numba where that is not found."""

from __future__ import annotations

import importlib
import itertools
import sys

import numpy as np
import pytest

import handmade as hm

numba = pytest.importorskip("numba")
blas, program = (importlib.import_module(f"handmade.compiled.{name}") for name in ("blas", "program"))
updates = importlib.import_module("handmade.compiled.updates")

WAYS = [blas.by_numba, *([blas.by_numpy] if blas.dot is blas.by_numpy else [])]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_product_takes_any_shape_and_transposed_views(way, dtype):
    @numba.njit(nogil=True)
    def products(address, A, At, B, Bt, C):
        way(address, A, B, C[0])
        way(address, At.T, B, C[1])
        way(address, A, Bt.T, C[2])
        way(address, At.T, Bt.T, C[3])

    rng, eps = np.random.default_rng(0), np.finfo(dtype).eps
    for M, K, N in itertools.product([1, 2, 3, 17], repeat=3):
        A, B = rng.standard_normal((M, K)).astype(dtype), rng.standard_normal((K, N)).astype(dtype)
        C = np.full((4, M, N), np.nan, dtype)
        products(blas.function("gemm", dtype), A, A.T.copy(), B, B.T.copy(), C)
        exact, bound = A.astype(float) @ B, np.abs(A).astype(float) @ np.abs(B)
        assert np.all(np.abs(C - exact) <= (K + 1) * eps * bound)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("rows", [16, 40])  # the product of 16 x 64 by 101 is taken transposed
def test_products_train_as_the_numpy_code_does(way, rows, monkeypatch):
    monkeypatch.setattr(program, "dot", way)
    X, y = hm.load_digits()
    network, other = (hm.MLP([64, 101, 10], rng=0, dtype=np.float32) for _ in range(2))
    step, optimizer = hm.compile(network, optimizer=hm.SGD(lr=0.01)), hm.SGD(lr=0.01)
    for start in range(0, 10 * rows, rows):
        batch = X[start : start + rows], y[start : start + rows]
        step(*batch)
        optimizer.step(other.theta, other.loss_and_gradient(*batch)[1])
    # Ten steps, each of sums over up to 101 terms.
    bound = 10 * 101 * np.finfo(np.float32).eps * np.abs(other.theta).max()
    assert np.abs(network.theta - other.theta).max() <= bound


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"maximize": True},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.5, "maximize": True},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "nesterov": True, "maximize": True},
    ],
    ids=str,
)
def test_a_large_batch_is_updated_by_blas_as_by_numpy(options, dtype):
    X, y = (array[:256] for array in hm.load_digits())
    network, other = (hm.MLP([64, 200, 10], rng=0, dtype=dtype) for _ in range(2))
    assert len(X) * network.parameter_count >= updates.SHARED
    step, optimizer = hm.compile(network, optimizer=hm.SGD(lr=0.01, **options)), hm.SGD(lr=0.01, **options)
    for _ in range(5):
        step(X, y)
        optimizer.step(other.theta, other.loss_and_gradient(X, y)[1])
    # Five steps, each of sums over up to 256 terms.
    bound = 5 * 256 * np.finfo(dtype).eps * np.abs(other.theta).max()
    assert np.abs(network.theta - other.theta).max() <= bound
    if options.get("momentum"):
        assert np.abs(step.optimizer.momentum_buffer - optimizer.momentum_buffer).max() <= bound / optimizer.lr


def test_an_unknown_blas_leaves_the_products_to_numba(monkeypatch):
    monkeypatch.setattr(blas, "NAMES", ("no_such_{}",))
    assert blas.function.__wrapped__("gemm", np.float64) == 0


def test_the_blas_is_found_in_numpys_wheels():
    if sys.platform == "win32" or "scipy-openblas" not in str(
        np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    ):
        pytest.skip("NumPy has another BLAS, or hides it")
    assert blas.function("gemm", np.float32) and blas.function("gemm", np.float64)
