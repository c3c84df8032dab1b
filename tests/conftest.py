"""Settings for all tests: processes and threads, one seed, and no failures where PyTorch is missing."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NoReturn

import hypothesis
import pytest

# The same examples in every run; a busy machine may take any time for one.
hypothesis.settings.register_profile("handmade", derandomize=True, deadline=None)
hypothesis.settings.load_profile("handmade")

TORCH_IS_MISSING = importlib.util.find_spec("torch") is None
OURS = ("test_", "tests", "reference", "benchmarks", "oracles")


class MissingTorch(ModuleType):
    """A stand-in for PyTorch and everything in it. A test that calls it is skipped; so is a file that calls it."""

    def __getattr__(self, name: str) -> MissingTorch | type:
        if name.startswith("__"):
            raise AttributeError(name)
        if not sys._getframe(1).f_globals["__name__"].startswith(OURS):
            return type(name, (), {})  # other libraries ask whether an array is a torch.Tensor
        return MissingTorch(f"{self.__name__}.{name}")

    def __call__(self, *arguments: object, **options: object) -> NoReturn:
        pytest.skip("needs PyTorch", allow_module_level=True)

    @property
    def __signature__(self) -> NoReturn:
        self()  # inspect.signature needs the real one

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        return ()  # a subclass of torch.nn.Module may be defined


class MissingTorchFinder:
    """An importer of the stand-in."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] == "torch" else None

    def create_module(self, spec: ModuleSpec) -> MissingTorch:
        return MissingTorch(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module empty."""


if TORCH_IS_MISSING:
    sys.meta_path.append(MissingTorchFinder())
else:
    import torch

    torch.set_num_threads(1)  # for matrices as small as in the tests, a second thread waits longer than it works


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Share the whole suite between two processes where pytest-xdist is installed; run named files in this one."""
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    is_worker = "PYTEST_XDIST_WORKER" in os.environ  # which loads this file too, and would start two of its own
    if getattr(config.option, "numprocesses", 0) is None and not (named or is_worker or config.option.usepdb):
        config.option.numprocesses, config.option.dist = 2, "loadfile"  # some tests of a file share a generator
        config.option.loadscopereorder = False  # which would start the longest files last, as they have few tests
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of each; as for PyTorch, above


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest file first: no process has to wait for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_typing.py")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out where PyTorch is missing."""
    if TORCH_IS_MISSING:
        left_out = [r for r in terminalreporter.stats.get("skipped", []) if "needs PyTorch" in str(r.longrepr)]
        tests = sum(report.when != "collect" for report in left_out)
        whole = ", ".join(report.nodeid for report in left_out if report.when == "collect")
        terminalreporter.write_line(
            f"PyTorch is not installed: left out {tests} tests, and these files as a whole: {whole or 'none'}"
        )


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C interrupt, as it does not in a process that a shell has put into the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
