"""The better BLAS kernel, chosen before NumPy is imported; and what the numbers were measured on."""

import os
import sys
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
if "numpy" not in sys.modules and CPUINFO.exists() and "avx512vl" in CPUINFO.read_text():
    os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")


def pytest_report_header() -> str:
    import handmade as hm

    return ", ".join(f"{name} {value}" for name, value in hm.show_config(mode="dicts").items() if value is not None)
