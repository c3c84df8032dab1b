"""show_config says what the process runs on; importing the library changes and loads nothing else."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

import handmade as hm
from benchmarks.kernel import restart_with_better_kernel
from handmade import configuration


def run(code: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=kept | environment).stdout


def needs_openblas():
    if "openblas" not in str(np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]):
        pytest.skip("this NumPy has another BLAS")


def test_show_config_prints_the_values_that_it_returns(capsys):
    assert hm.show_config() is None
    printed, config = capsys.readouterr().out, hm.show_config(mode="dicts")
    assert np.__version__ in printed and config["NumPy"] == np.__version__
    for name in list(config)[:-1]:
        assert name in printed
    assert config["cores"] >= 1


@pytest.fixture
def known(monkeypatch):
    """Stand in for a machine of which everything is known: a Zen with AVX-512 that BLAS does not use."""
    blas = {"name": "scipy-openblas", "version": "0.3"}
    build = {"Build Dependencies": {"blas": blas}, "SIMD Extensions": {"found": ["X86_V4"]}}
    monkeypatch.setattr(np, "show_config", lambda mode: build if mode == "dicts" else None)
    monkeypatch.setattr(configuration, "kernel_and_threads", lambda variable: ("Zen", 3))
    monkeypatch.setattr(configuration, "_processor", lambda: "a processor")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {*range(98)} if process == 0 else set(), raising=False)
    return build


def test_show_config_prints_every_value_and_advice(known, capsys):
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
        "Where several processes run at once, their threads compete for the cores. Before each starts:\n"
        "    export OPENBLAS_NUM_THREADS=1\n"
        "This processor has AVX-512, which the kernel does not use. Before Python starts:\n"
        "    export OPENBLAS_CORETYPE=SkylakeX\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("blas", "printed", "variable"),
    [
        ({"name": "mkl", "version": "2025"}, "mkl 2025", "MKL_NUM_THREADS"),
        ({"name": "Accelerate"}, "Accelerate", "VECLIB_MAXIMUM_THREADS"),
        ({"name": "blis"}, "blis", "BLIS_NUM_THREADS"),
        ({}, "unknown", "OMP_NUM_THREADS"),
    ],
)
def test_each_blas_has_its_variable_for_threads(known, capsys, monkeypatch, blas, printed, variable):
    known["Build Dependencies"]["blas"] = blas
    monkeypatch.setattr(configuration, "kernel_and_threads", lambda variable: (None, None))
    hm.show_config()
    output = capsys.readouterr().out
    assert f"BLAS       {printed}\n" in output and f"export {variable}=1\n" in output
    assert "kernel     unknown\n" in output and "threads    unknown\n" in output and "CORETYPE" not in output


def test_one_thread_needs_no_advice(known, capsys, monkeypatch):
    monkeypatch.setattr(configuration, "kernel_and_threads", lambda variable: ("SkylakeX", 1))
    hm.show_config()
    assert "export" not in capsys.readouterr().out


def test_show_config_works_without_build_facts_and_affinity(known, monkeypatch):
    known.clear()
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 11)
    config = hm.show_config(mode="dicts")
    assert (config["BLAS"], config["better kernel"], config["cores"]) == ("unknown", None, 11)


BLAS = {"user_api": "blas", "architecture": "Haswell", "num_threads": 4, "filepath": "/scipy.libs/libopenblas.so"}


@pytest.mark.parametrize(
    ("pools", "expected"),
    [
        ([{"user_api": "openmp", "num_threads": 9}, BLAS], ("Haswell", 4)),
        ([BLAS, BLAS | {"architecture": "Zen", "num_threads": 2, "filepath": "/numpy.libs/lib.so"}], ("Zen", 2)),
        ([{"user_api": "blas", "num_threads": 3}], (None, 3)),
        ([], (None, None)),
    ],
)
def test_kernel_and_threads_are_those_of_the_blas_of_numpy(monkeypatch, pools, expected):
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: pools)
    assert configuration.kernel_and_threads("OPENBLAS_NUM_THREADS") == expected


@pytest.mark.parametrize(
    ("environment", "threads"),
    [({}, None), ({"MKL_NUM_THREADS": "3"}, 3), ({"OMP_NUM_THREADS": "2"}, 2), ({"MKL_NUM_THREADS": "all"}, None)],
)
def test_without_threadpoolctl_the_environment_tells_threads(monkeypatch, environment, threads):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)  # which Python takes for a package that is not installed
    for name in ("MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert configuration.kernel_and_threads("MKL_NUM_THREADS") == (None, threads)


def stand_in(monkeypatch, **files):
    """Replace files of the system by others."""
    monkeypatch.setattr(configuration, "Path", lambda path: Path(files.get(Path(path).name, path)))


def test_the_processor_has_the_name_of_linux_or_python(monkeypatch, tmp_path):
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


def test_show_config_names_a_bad_mode():
    with pytest.raises(ValueError, match="expected 'stdout' or 'dicts', got 'json'"):
        hm.show_config(mode="json")


def test_threads_are_those_of_the_environment():
    needs_openblas()
    printed = run("import handmade as hm; print(hm.show_config(mode='dicts')['threads'])", OPENBLAS_NUM_THREADS="1")
    assert int(printed) == 1


def test_show_config_names_a_better_kernel():
    """Haswell's kernel runs on every x86-64 processor of the last ten years; some have a better one."""
    needs_openblas()
    features = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    if configuration.better_kernel("Haswell", features) is None:
        pytest.skip("this processor has no AVX-512")
    printed = run("import handmade as hm; hm.show_config()", OPENBLAS_CORETYPE="Haswell")
    assert "kernel     Haswell" in printed and "export OPENBLAS_CORETYPE=SkylakeX" in printed
    assert "CORETYPE" not in run("import handmade as hm; hm.show_config()", OPENBLAS_CORETYPE="SkylakeX")


def test_a_better_kernel_needs_avx512_in_the_processor():
    old, new = ["X86_V3", "AVX512F"], ["X86_V3", "X86_V4"]
    for kernel in "Haswell", "Zen", "Sandybridge", "Nehalem", "Prescott":
        assert configuration.better_kernel(kernel, new) == "SkylakeX"
    assert configuration.better_kernel("Zen", ["AVX512_SKX"]) == "SkylakeX"
    for kernel, features in ("Haswell", old), ("Haswell", []), ("SkylakeX", new), ("Cooperlake", new), (None, new):
        assert configuration.better_kernel(kernel, features) is None


@pytest.mark.parametrize(("better", "chosen", "restarts"), [("X", None, True), (None, None, False), ("X", "Y", False)])
def test_a_command_restarts_only_for_an_unchosen_kernel(monkeypatch, better, chosen, restarts):
    calls = []
    monkeypatch.setattr(os, "execve", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(configuration, "better_kernel", lambda *_: better)
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    if chosen:
        monkeypatch.setenv("OPENBLAS_CORETYPE", chosen)
    restart_with_better_kernel()
    assert len(calls) == restarts
    if restarts:
        program, arguments, environment = calls[0]
        assert (program, arguments) == (sys.executable, sys.orig_argv)
        assert environment == os.environ | {"OPENBLAS_CORETYPE": better}


def test_import_changes_no_environment_and_loads_no_extra():
    code = "import os, sys; before = dict(os.environ); import handmade; assert dict(os.environ) == before"
    loaded = run(f"{code}; print(*sys.modules)").split()
    late = {f"handmade.{name}" for name in ("plots", "checking", "checking.gradients", "configuration")}
    assert not late & set(loaded) and "handmade.network" in loaded
    assert not {"matplotlib", "rich", "torch", "zipfile", "sklearn"} & set(loaded)


def test_public_names_exist_and_others_raise_attribute_error():
    assert all(hasattr(hm, name) for name in hm.__all__)
    assert set(hm.__all__) <= set(dir(hm))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        hm.nonsense  # noqa: B018 - looking it up is the test
