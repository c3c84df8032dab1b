"""Export: a trained network as a file that other programs run, without this library.

`to_onnx` writes the format of ONNX Runtime and many others, `to_c` one header file in C99. Both write the network in
evaluation mode: dropout is gone, and batch normalization uses its running averages.
"""

from __future__ import annotations

from .c import to_c
from .onnx import to_onnx

__all__ = ["to_c", "to_onnx"]
