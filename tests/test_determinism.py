"""The determinism benchmark: it repeats bits, and it fails when a repetition differs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.determinism import __main__ as command
from benchmarks.determinism.training import train


@pytest.mark.parametrize("compiled", [False, True])
def test_training_repeats_its_bits(compiled):
    if compiled:
        pytest.importorskip("numba")
    first, again = (train("float32", epochs=1, compiled=compiled).theta for _ in range(2))
    assert first.tobytes() == again.tobytes()


def test_command_passes_when_only_kernels_differ(monkeypatch, capsys):
    def one_ulp_for_kernels(dtype, mode, environment):
        return np.ones(2, dtype) + ("OPENBLAS_CORETYPE" in environment) * np.finfo(dtype).eps

    monkeypatch.setattr(command, "train_in_process", one_ulp_for_kernels)
    assert command.main([]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" no ") == 4 and "100.0%" in printed


def test_command_fails_when_a_repetition_differs(monkeypatch, capsys):
    numbers = np.random.default_rng(0)
    monkeypatch.setattr(command, "train_in_process", lambda *setting: numbers.normal(size=3))
    assert command.main([]) == 1
    assert "FAILED: one thread, again, float32" in capsys.readouterr().out
