"""What show_config says is what the process runs on, and asks for."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import handmade as hm
from handmade import configuration


def run(code: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=kept | environment).stdout


def needs_openblas():
    if configuration.kernel_and_threads()[0] is None:
        pytest.skip("this NumPy has another BLAS")


def test_it_prints_every_value_and_returns_them_on_demand(capsys):
    assert hm.show_config() is None
    printed, config = capsys.readouterr().out, hm.show_config(mode="dicts")
    assert np.__version__ in printed and config["NumPy"] == np.__version__
    for name in list(config)[:-1]:
        assert name in printed
    assert config["cores"] >= 1


def test_another_mode_is_refused():
    with pytest.raises(ValueError, match="expected 'stdout' or 'dicts', got 'json'"):
        hm.show_config(mode="json")


def test_the_threads_are_those_that_openblas_was_told():
    needs_openblas()
    printed = run("import handmade as hm; print(hm.show_config(mode='dicts')['threads'])", OPENBLAS_NUM_THREADS="1")
    assert int(printed) == 1


def test_a_kernel_that_does_not_use_the_processor_is_told_with_its_cure():
    """Haswell's runs on every x86-64 of the last ten years; whether there is a better one is the processor's affair."""
    needs_openblas()
    features = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    if configuration.better_kernel("Haswell", features) is None:
        pytest.skip("this processor has no AVX-512")
    printed = run("import handmade as hm; hm.show_config()", OPENBLAS_CORETYPE="Haswell")
    assert "kernel     Haswell" in printed and "export OPENBLAS_CORETYPE=SkylakeX" in printed
    assert "export" not in run("import handmade as hm; hm.show_config()", OPENBLAS_CORETYPE="SkylakeX")


def test_a_better_kernel_is_for_a_processor_that_has_avx512_and_a_kernel_that_has_not():
    old, new = ["X86_V3", "AVX512F"], ["X86_V3", "X86_V4"]
    assert configuration.better_kernel("Haswell", new) == configuration.better_kernel("Zen", new) == "SkylakeX"
    assert configuration.better_kernel("Zen", ["AVX512_SKX"]) == "SkylakeX"
    for kernel, features in ("Haswell", old), ("Haswell", []), ("SkylakeX", new), ("Cooperlake", new), (None, new):
        assert configuration.better_kernel(kernel, features) is None


@pytest.mark.parametrize(("better", "chosen", "restarts"), [("X", None, True), (None, None, False), ("X", "Y", False)])
def test_a_command_starts_again_only_for_a_kernel_that_nobody_has_chosen(monkeypatch, better, chosen, restarts):
    calls = []
    monkeypatch.setattr(os, "execve", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(configuration, "better_kernel", lambda *_: better)
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    if chosen:
        monkeypatch.setenv("OPENBLAS_CORETYPE", chosen)
    configuration.restart_with_better_kernel()
    assert len(calls) == restarts
    if restarts:
        program, arguments, environment = calls[0]
        assert (program, arguments) == (sys.executable, sys.orig_argv)
        assert environment == os.environ | {"OPENBLAS_CORETYPE": better}


def test_importing_handmade_changes_no_environment_and_imports_none_of_what_training_never_needs():
    code = "import os, sys; before = dict(os.environ); import handmade; assert dict(os.environ) == before"
    loaded = run(f"{code}; print(*sys.modules)").split()
    late = {f"handmade.{name}" for name in ("plots", "gradients", "differences", "diagnosis", "configuration")}
    assert not late & set(loaded) and "handmade.network" in loaded
    assert not {"matplotlib", "rich", "torch", "zipfile", "sklearn"} & set(loaded)


def test_every_public_name_is_there_and_an_unknown_one_is_an_attribute_error():
    assert all(hasattr(hm, name) for name in hm.__all__)
    assert set(hm.__all__) <= set(dir(hm))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        hm.nonsense  # noqa: B018 - looking it up is the test
