"""What show_config says is what the process runs on, and asks for."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

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


@pytest.fixture
def known(monkeypatch):
    """A machine of which everything is known: a Zen with AVX-512, of which BLAS makes no use."""
    blas = {"name": "scipy-openblas", "version": "0.3"}
    build = {"Build Dependencies": {"blas": blas}, "SIMD Extensions": {"found": ["X86_V4"]}}
    monkeypatch.setattr(np, "show_config", lambda mode: build if mode == "dicts" else None)
    monkeypatch.setattr(configuration, "kernel_and_threads", lambda: ("Zen", 3))
    monkeypatch.setattr(configuration, "_processor", lambda: "a processor")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {*range(98)} if process == 0 else set(), raising=False)
    return build


def test_every_value_has_its_place(known, capsys):
    expected = {
        "handmade": hm.__version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "BLAS": "scipy-openblas 0.3",
        "kernel": "Zen",
        "threads": 3,
        "processor": "a processor",
        "cores": 98,
        "better kernel": "SkylakeX",
    }
    assert hm.show_config(mode="dicts") == expected and capsys.readouterr().out == ""
    hm.show_config()
    assert capsys.readouterr().out == "".join(
        f"{name:<10} {value}\n" for name, value in expected.items() if name != "better kernel"
    ) + (
        "This processor has AVX-512, which the kernel does not use. Before Python starts:\n"
        "    export OPENBLAS_CORETYPE=SkylakeX\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("blas", "told"), [({"name": "mkl", "version": "2025"}, "mkl 2025"), ({"name": "mkl"}, "mkl"), ({}, "unknown")]
)
def test_of_another_blas_kernel_and_threads_are_unknown(known, capsys, blas, told):
    known["Build Dependencies"]["blas"] = blas
    hm.show_config()
    printed = capsys.readouterr().out
    assert f"BLAS       {told}\n" in printed
    assert "kernel     unknown\n" in printed and "threads    unknown\n" in printed and "export" not in printed


def test_a_numpy_that_tells_nothing_of_its_build_and_a_system_without_affinity_are_no_error(known, monkeypatch):
    known.clear()
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 11)
    config = hm.show_config(mode="dicts")
    assert (config["BLAS"], config["kernel"], config["better kernel"], config["cores"]) == ("unknown", None, None, 11)


class Symbol:
    """A function of a library, which gives bytes where it has been told that it does."""

    restype = ctypes.c_int

    def __init__(self, value):
        self.value = value

    def __call__(self):
        return self.value if isinstance(self.value, int) or self.restype is ctypes.c_char_p else id(self.value)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("scipy_openblas_get_corename64_", "scipy_openblas_get_num_threads64_"),
        ("scipy_openblas_get_corename", "scipy_openblas_get_num_threads"),
        ("openblas_get_corename64_", "openblas_get_num_threads64_"),
        ("openblas_get_corename", "openblas_get_num_threads"),
    ],
)
def test_the_first_library_that_can_be_loaded_and_knows_both_is_asked(monkeypatch, name, count):
    libraries = {
        "half": SimpleNamespace(**{name: Symbol(b"half")}),
        "other half": SimpleNamespace(**{count: Symbol(1)}),
        "whole": SimpleNamespace(**{name: Symbol(b"whole"), count: Symbol(2)}),
        "second": SimpleNamespace(**{name: Symbol(b"second"), count: Symbol(3)}),
    }

    def load(path):
        if path not in libraries:
            raise OSError("no such library")
        return libraries[path]

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(configuration, "_libraries", lambda: [Path("missing"), *map(Path, libraries)])
    assert configuration.kernel_and_threads() == ("whole", 2)
    monkeypatch.setattr(configuration, "_libraries", lambda: [Path("missing"), Path("half"), Path("other half")])
    assert configuration.kernel_and_threads() == (None, None)


def stand_in(monkeypatch, **files):
    """Let the files of the system be others."""
    monkeypatch.setattr(configuration, "Path", lambda path: Path(files.get(Path(path).name, path)))


def test_libraries_are_sought_beside_numpy_and_among_what_the_process_has_mapped(monkeypatch, tmp_path):
    libraries = tmp_path / "numpy.libs"
    beside = [libraries / "libscipy_openblas64_-1.so", tmp_path / "numpy" / ".dylibs" / "libopenblas.dylib"]
    other, mapped = libraries / "libgfortran.so", tmp_path / "a folder" / "libopenblas.so.0"
    for path in (*beside, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(np, "__file__", str(tmp_path / "numpy" / "__init__.py"))
    stand_in(monkeypatch, maps=tmp_path / "nothing")
    assert configuration._libraries() == beside
    line = "7f00-7f10 r-xp 00000000 fe:01 123456                     "
    (tmp_path / "maps").write_text(f"{line}{mapped}\n{line}{other}\n{line}{mapped}\n7f20-7f30 rw-p 00000000 00:00 0\n")
    stand_in(monkeypatch, maps=tmp_path / "maps")
    assert configuration._libraries() == [*beside, mapped]


def test_the_processor_is_what_the_system_calls_it_or_else_what_python_does(monkeypatch, tmp_path):
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    (tmp_path / "cpuinfo").write_text("vendor_id : some\nmodel name\t: One: 2 GHz \n\nmodel name\t: Other\n")
    stand_in(monkeypatch, cpuinfo=tmp_path / "cpuinfo")
    assert configuration._processor() == "One: 2 GHz"
    (tmp_path / "cpuinfo").write_text("BogoMIPS : 50\n")
    assert configuration._processor() == "arm"
    stand_in(monkeypatch, cpuinfo=tmp_path / "nothing")
    assert configuration._processor() == "arm"
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert configuration._processor() == "arm64"


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
    for kernel in "Haswell", "Zen", "Sandybridge", "Nehalem", "Prescott":
        assert configuration.better_kernel(kernel, new) == "SkylakeX"
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
