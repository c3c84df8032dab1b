"""Runs of exported networks in ONNX Runtime and C, and how close to the network they have to be."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

import handmade as hm

CC = shutil.which("cc")
# Neither the library nor the README's test line installs a compiler: C code is tried where there is one.
needs_cc = pytest.mark.skipif(CC is None, reason="needs a C compiler")
ROUNDINGS = 4  # each side rounds A and H: half an ulp each, and as much again for an approximated exp or erf
NO_ERF = ("gelu", {}, "float64")  # which ONNX Runtime has for float32 alone


def scale_of(layer: hm.Layer, S: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return the size of the numbers that are rounded on the way to each output, given those of the inputs.

    A Dense layer rounds products and partial sums, each below |b| + sum |w| S. An activation has a slope of at most
    1.13, or of the largest of its options, and values that are rounded near 1. A normalization multiplies the sizes of
    its input by its slope. Where a function jumps, rounding may end on the other side: the size is infinite there.
    """
    if isinstance(layer, hm.Dense):
        return S @ np.abs(layer.W).T + (np.abs(layer.b) if "bias" in layer.parameters else 0)
    if isinstance(layer, hm.Activation):
        numbers = [abs(option) for option in layer.options.values() if isinstance(option, float)]
        jumps = _jumps(layer)
        near = np.abs(np.abs(X) - np.abs(jumps)) <= 1e-4 * np.maximum(S, 1) if jumps is not None else False
        S = max([1.13, *numbers, *(1 / number for number in numbers if number)]) * np.maximum(S, 1)
        S = np.where(near, np.inf, S)
        if "softmax" in layer.function:  # of which every output depends on every input
            S = S.max(axis=1, keepdims=True) + np.log(S.shape[1]) + np.zeros(S.shape)
        return S
    if isinstance(layer, hm.PReLU):
        return S * np.maximum(1, np.abs(layer.slope))
    if isinstance(layer, hm.GLU):
        half = S.shape[1] // 2
        A, G = X[:, :half], layer.gate.predict(X[:, half:])  # of a product, each factor's size times the other
        return S[:, :half] * np.abs(G) + np.abs(A) * scale_of(layer.gate, S[:, half:], X[:, half:])
    if isinstance(layer, hm.BatchNorm):
        slope = np.abs(layer.gamma) / np.sqrt(layer.running_var + layer.eps)
        return (S + np.abs(layer.running_mean)) * slope + np.abs(layer.beta)
    if isinstance(layer, hm.RMSNorm):
        slope = np.abs(layer.gamma) / np.sqrt((X * X).mean(axis=1, keepdims=True) + layer.epsilon(np.float32))
        return 4 * S.max(axis=1, keepdims=True) * slope
    if isinstance(layer, hm.GroupNorm):
        parts = X.reshape(len(X), layer.num_groups, -1)
        deviation = np.sqrt(parts.var(axis=2).min(axis=1, keepdims=True) + layer.eps)
        return 4 * S.max(axis=1, keepdims=True) * np.abs(layer.gamma) / deviation + np.abs(layer.beta)
    if isinstance(layer, hm.LayerNorm):
        slope = np.abs(layer.gamma) / np.sqrt(X.var(axis=1, keepdims=True) + layer.eps)
        return 4 * S.max(axis=1, keepdims=True) * slope + np.abs(layer.beta)
    if isinstance(layer, hm.Parallel):
        parts, start = [], 0
        for group in layer.groups:
            columns = slice(start, start + group.in_features)
            parts.append(scale_of(group, S[:, columns], X[:, columns]))
            start += group.in_features
        return np.concatenate(parts, axis=1)
    if not isinstance(layer, hm.Sequential):
        return S  # dropout
    inside, H = S, X
    for part in layer.layers:
        inside, H = scale_of(part, inside, H), part.predict(H)
    if isinstance(layer, hm.Residual):
        return S + inside
    return np.concatenate([S, inside], axis=1) if isinstance(layer, hm.Concatenate) else inside


def _jumps(layer: hm.Activation) -> float | None:
    """Return the size of the input at which an activation jumps."""
    name, options = layer.function, layer.options
    if name == "softplus" and "threshold" in options:
        return options["threshold"] / options["beta"]
    return {"hardshrink": options.get("lambd", 0.5), "threshold": options.get("threshold", 0.0)}.get(name)


def assert_equal_within_rounding(actual, network: hm.Network, X: np.ndarray) -> None:
    exact = network.astype(np.float64)
    expected, X = exact.predict(X), np.asarray(X, np.float64)
    with np.errstate(invalid="ignore"):
        scale = scale_of(exact, np.abs(X), X)
    scale[np.isnan(scale)] = np.inf  # of infinity times 0
    eps = np.finfo(actual.dtype).eps
    worst = (np.abs(actual - expected) / (eps * scale)).max()
    assert worst <= ROUNDINGS, f"{worst:.2f} roundings of the numbers on the way"


def run_onnx(model, X: np.ndarray) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["H"], {"X": X})[0]


MAIN = """
#include <stdio.h>
#include "network.h"
int main(void) {
    %s x[NETWORK_INPUTS], y[NETWORK_OUTPUTS];
    while (fread(x, sizeof x, 1, stdin) == 1) {
        network_predict(x, y);
        fwrite(y, sizeof y, 1, stdout);
    }
    return 0;
}
"""


def run_c(text: str, X: np.ndarray, folder) -> np.ndarray:
    (folder / "network.h").write_text(text)
    (folder / "main.c").write_text(MAIN % ("float" if X.dtype == np.float32 else "double"))
    strict = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wshadow", "-Werror", "-O1"]
    subprocess.run([CC, *strict, "main.c", "-o", "main", "-lm"], cwd=folder, check=True, capture_output=True, text=True)
    run = subprocess.run(["./main"], cwd=folder, input=X.tobytes(), capture_output=True, check=True)
    return np.frombuffer(run.stdout, X.dtype).reshape(len(X), -1)
