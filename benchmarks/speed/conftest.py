"""Hooks of pytest: they restart it with the better BLAS kernel, if there is one, and print the configuration."""

from benchmarks.kernel import restart_with_better_kernel
from handmade.configuration import show_config


def pytest_configure(config) -> None:
    if capture := config.pluginmanager.getplugin("capturemanager"):
        capture.suspend_global_capture()  # otherwise the output of the new process would be lost
        restart_with_better_kernel()
        capture.resume_global_capture()


def pytest_report_header() -> str:
    return ", ".join(f"{name} {value}" for name, value in show_config(mode="dicts").items() if value is not None)
