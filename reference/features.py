"""Features of six libraries, each looked up by name in the installed library.

    python -m reference.features             print the table
    python -m reference.features --names     print the names that were looked up

A cell is a name such as ``keras.Model.fit``, or with a parameter ``keras.Model.fit(callbacks)``. The library has the
feature if the name exists. `PYTORCH` marks features that skorch takes from its PyTorch module, `BACKEND` those that
Keras takes from its backend. None means that the library has no name to look up.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["FEATURES", "LIBRARIES", "Feature", "has", "rows"]

LIBRARIES = {  # the name that is imported -> the name that is installed
    "handmade": "handmade",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "keras": "keras",
    "skorch": "skorch",
    "skl2onnx": "skl2onnx",
}
PYTORCH, BACKEND = "of PyTorch", "of its backend"
MLP = "sklearn.neural_network.MLPClassifier"


class Feature(NamedTuple):
    """A feature, and the name to look up in each library."""

    title: str
    handmade: str | None = None
    sklearn: str | None = None
    torch: str | None = None
    keras: str | None = None
    skorch: str | None = None
    skl2onnx: str | None = None


FEATURES = (
    Feature("training in one call", "handmade.fit", f"{MLP}.fit", None, "keras.Model.fit", "skorch.NeuralNet.fit"),
    Feature(
        "callbacks", "handmade.fit(callbacks)", f"{MLP}(callbacks)", None, "keras.Model.fit(callbacks)",
        "skorch.NeuralNet(callbacks)",
    ),
    Feature(
        "early stopping", "handmade.EarlyStopping", f"{MLP}(early_stopping)", "torch.optim.EarlyStopping",
        "keras.callbacks.EarlyStopping", "skorch.callbacks.EarlyStopping",
    ),
    Feature(
        "a weight for each sample", "handmade.fit(sample_weight)", f"{MLP}.fit(sample_weight)",
        "torch.nn.CrossEntropyLoss.forward(sample_weight)", "keras.Model.fit(sample_weight)",
        "skorch.NeuralNet.fit(sample_weight)",
    ),
    Feature(
        "a weight for each class", "handmade.fit(class_weight)", f"{MLP}(class_weight)",
        "torch.nn.CrossEntropyLoss(weight)", "keras.Model.fit(class_weight)", PYTORCH,
    ),
    Feature("dropout", "handmade.Dropout", f"{MLP}(dropout)", "torch.nn.Dropout", "keras.layers.Dropout", PYTORCH),
    Feature(
        "batch normalization", "handmade.BatchNorm", f"{MLP}(normalization)", "torch.nn.BatchNorm1d",
        "keras.layers.BatchNormalization", PYTORCH,
    ),
    Feature(
        "learning-rate schedules", "handmade.schedules", f"{MLP}(learning_rate)", "torch.optim.lr_scheduler",
        "keras.optimizers.schedules", "skorch.callbacks.LRScheduler",
    ),
    Feature(
        "a learning-rate finder", "handmade.find_lr", f"{MLP}.find_lr", "torch.optim.find_lr",
        "keras.callbacks.LearningRateFinder", "skorch.callbacks.LRFinder",
    ),
    Feature(
        "averages of the weights", "handmade.AveragedModel", f"{MLP}(average)", "torch.optim.swa_utils.AveragedModel",
        "keras.callbacks.SwapEMAWeights", PYTORCH,
    ),
    Feature(
        "checkpoints that training writes", "handmade.fit(checkpoint)", f"{MLP}(checkpoint)", None,
        "keras.callbacks.BackupAndRestore", "skorch.callbacks.Checkpoint",
    ),
    Feature(
        "compiled training steps", "handmade.compile", f"{MLP}(compile)", "torch.compile",
        "keras.Model.compile(jit_compile)", "skorch.NeuralNet(compile)",
    ),
    Feature(
        "TensorBoard, ready to use", "handmade.callbacks.TensorBoard", f"{MLP}(tensorboard)",
        "torch.utils.tensorboard", "keras.callbacks.TensorBoard", "skorch.callbacks.TensorBoard",
    ),
    Feature(
        "convolutions", "handmade.Conv2d", "sklearn.neural_network.Conv2d", "torch.nn.Conv2d", "keras.layers.Conv2D",
        PYTORCH,
    ),
    Feature("GPUs", "handmade.fit(device)", f"{MLP}(device)", "torch.cuda", "keras.device", "skorch.NeuralNet(device)"),
    Feature("automatic differentiation", "handmade.autograd", "sklearn.autograd", "torch.autograd", BACKEND, PYTORCH),
    Feature(
        "a gradient compared with differences", "handmade.check_gradient", f"{MLP}.check_gradient",
        "torch.autograd.gradcheck", "keras.utils.check_gradient", PYTORCH,
    ),
    Feature("the mistake in a wrong gradient, by name", "handmade.diagnose_gradient"),
    Feature("the chain rule with its numbers", "handmade.trace"),
    Feature(
        "scikit-learn's interface", "handmade.estimators.MLPClassifier.get_params", f"{MLP}.get_params",
        "torch.nn.Module.get_params", "keras.wrappers.SKLearnClassifier", "skorch.NeuralNetClassifier.get_params",
        "skl2onnx.helpers.onnx_helper.get_params",
    ),
    Feature(
        "weights from PyTorch's state_dict", "handmade.from_torch", None, "torch.nn.Module.load_state_dict",
        "keras.Model.load_state_dict", PYTORCH,
    ),
    Feature(
        "ONNX files", "handmade.export.to_onnx", f"{MLP}.to_onnx", "torch.onnx.export", "keras.Model.export(format)",
        PYTORCH, "skl2onnx.to_onnx",
    ),
    Feature("C source without a runtime", "handmade.export.to_c", None, "torch.export.to_c", "keras.Model.to_c"),
)  # fmt: skip


def has(name: str) -> bool:
    """Return whether a name exists, and has the parameter in parentheses.

    Examples
    --------
    >>> has("handmade.fit(callbacks)"), has("handmade.fit(call)"), has("handmade.nothing_there")
    (True, False, False)
    """
    path, parameter = re.fullmatch(r"([\w.]+)(?:\((\w+)\))?", name).groups()  # type: ignore[union-attr]
    module, *attributes = path.split(".")
    found: Any = importlib.import_module(module)
    for attribute in attributes:
        module = f"{module}.{attribute}"
        if not hasattr(found, attribute):
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as error:
                return error.name not in (module, module.rpartition(".")[0])  # it exists, and needs another package
        found = getattr(found, attribute)
    return parameter is None or parameter in inspect.signature(found).parameters


def needs_numpy_alone(library: str) -> bool:
    """Return whether a library requires no other package than NumPy."""
    required = metadata.requires(LIBRARIES[library]) or []
    return {re.split(r"[^\w-]", line)[0] for line in required if "extra ==" not in line} <= {"numpy"}


def has_types(library: str) -> bool:
    """Return whether a library says that its types are declared, by a file py.typed."""
    return Path(str(importlib.import_module(library).__file__)).with_name("py.typed").exists()


def installed() -> list[str]:
    """Return the libraries that can be imported."""
    return [library for library in LIBRARIES if find_spec(library)]


def rows() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the title of each feature, and "yes", "no" or its source for each library that is installed."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    libraries = installed()
    for feature in FEATURES:
        names = {library: getattr(feature, library) for library in libraries}
        yield (
            feature.title,
            {
                library: name if name in (PYTORCH, BACKEND) else _word(name is not None and has(name))
                for library, name in names.items()
            },
        )
    yield "declared types (py.typed)", {library: _word(has_types(library)) for library in libraries}
    yield "NumPy as the only requirement", {library: _word(needs_numpy_alone(library)) for library in libraries}


def _word(answer: bool) -> str:
    return "yes" if answer else "no"


def main() -> None:
    """Print the table in Markdown, or the names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", action="store_true", help="print the names that were looked up")
    if parser.parse_args().names:
        for feature in FEATURES:
            print(
                f"{feature.title}: {', '.join(name for name in feature[1:] if name and name not in (PYTORCH, BACKEND))}"
            )
        return
    libraries = installed()
    print(f"| | {' | '.join(LIBRARIES.values())} |\n|---|{'---|' * len(LIBRARIES)}")
    for title, cells in rows():
        print(f"| {title} | {' | '.join(cells.get(library, 'not installed') for library in LIBRARIES)} |")
    print(", ".join(f"{LIBRARIES[name]} {metadata.version(LIBRARIES[name])}" for name in libraries))


if __name__ == "__main__":
    main()
