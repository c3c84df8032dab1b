"""The subcommands, written with Typer. Results are printed to stdout, progress and errors to stderr."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .._atomic import write_atomically
from .._user_code import importing_beside, place_in_a_file
from .._validation import check_choice
from ..activations import ACTIVATIONS
from .columns import Column, decimal_mark
from .models import Model, Report, guess_task, train
from .tables import read_table

__all__ = ["app"]

app: typer.Typer = typer.Typer(
    help="Train small neural networks on tables, and use them.\n\n"
    "Begin with:  handmade train data.csv --target COLUMN -o model.safetensors",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out: Console = Console(emoji=False)  # a column may be named :zero:
err: Console = Console(stderr=True, emoji=False)

JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object in place of tables.")]
DATA = Annotated[
    Path,
    typer.Argument(
        help="A CSV file whose first line names the columns, or - for standard input; fields are separated by commas, "
        "semicolons, tabs or bars."
    ),
]
MODEL = Annotated[Path, typer.Argument(help="A file that handmade train wrote.")]
SEED = Annotated[int, typer.Option(help="The same seed gives the same result.", min=0, max=2**32 - 1)]
SHOWN = 40  # columns in a table; the others are counted


def fail(text: object) -> NoReturn:
    """Print an error and exit with 2."""
    err.print(f"Error: {text}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(2)


def say(text: str) -> None:
    """Print text as it is: without colours, and with its own line breaks, however narrow the terminal is."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning to stderr."""
    err.print(f"Warning: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def plain_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print errors of the input in one line, without a traceback."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except (BrokenPipeError, ModuleNotFoundError):  # Typer exits with 1, as after head; `main` names the package
            raise
        except UnicodeEncodeError as error:
            unknown = error.object[error.start : error.end]
            fail(f"output: expected an encoding that has {unknown!r}, got {error.encoding}; set PYTHONIOENCODING=utf-8")
        except MemoryError as error:
            fail(f"memory: expected enough, got {str(error) or 'too little'}; take a smaller table or network")
        except (ValueError, OSError, ImportError) as error:
            fail(error)

    return run


def widths(text: str) -> list[int]:
    """Return the widths in a text such as 64,32."""
    try:
        sizes = [int(part) for part in text.split(",")] if text.strip() else []
    except ValueError:
        sizes = [0]
    if any(size < 1 for size in sizes):
        raise ValueError(f"--hidden: expected widths such as 64,32, got {text!r}")
    return sizes


@app.command("train")
@plain_errors
def train_command(
    data: DATA,
    target: Annotated[str, typer.Option(help="The column to predict.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model file: .safetensors or .npz.")] = Path(
        "model.safetensors"
    ),
    hidden: Annotated[str, typer.Option(help="Widths of the hidden layers, such as 64,32.")] = "64,32",
    task: Annotated[str, typer.Option(help="classify, regress, or auto: as the column looks.")] = "auto",
    activation: Annotated[str, typer.Option(help="Activation of the hidden layers.")] = "relu",
    dropout: Annotated[float, typer.Option(help="Probability of dropout after each hidden layer.", min=0, max=1)] = 0,
    epochs: Annotated[int, typer.Option(help="The most passes over the data; stops early.", min=1)] = 300,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam.", min=0)] = 0.003,
    test_size: Annotated[float, typer.Option(help="Fraction of the rows to test on.")] = 0.2,
    seed: SEED = 0,
    as_json: JSON = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Train a network on a CSV file, test it on rows set aside, and save it with all that prediction needs.

    Numbers and dates (2026-05-31) are standardized, categories get one input each, and missing values are filled in.
    """
    check_choice(activation, "--activation", ACTIVATIONS)
    check_output(output)
    if not 0 < test_size < 1:
        raise ValueError(f"--test-size: expected a fraction between 0 and 1, got {test_size}")
    check_not_read(output, data)
    frame, mark, task = read_training_table(data, target, task)

    def announce(columns: list[Column], left_out: dict[str, str], n_train: int, n_test: int) -> None:
        if not as_json:
            out.print(column_table(columns, left_out))
            missing = len(frame) - n_train - n_test
            rest = f", {missing} without a value left out" if missing else ""
            say(f"{task} {target!r}: {n_train} rows to train on, {n_test} to test on{rest}")

    options = dict(activation=activation, dropout=dropout, max_iter=epochs, learning_rate_init=lr, batch_size=32)
    options |= dict(early_stopping=True, n_iter_no_change=20, tol=0.0, progress=not (quiet or as_json))
    with warnings.catch_warnings(record=True) as caught:  # the report says how good the model is
        warnings.simplefilter("always")
        model, report, n_epochs = train(
            frame, target, task, hidden=widths(hidden), test_size=test_size, seed=seed, announce=announce, mark=mark,
            **options,
        )  # fmt: skip
    model.save(output)
    for warning in caught:
        if "interrupted" in str(warning.message):
            warn("training interrupted; the model is that of the best epoch so far")
    if as_json:
        show_json({"model": str(output), "task": task, "epochs": n_epochs} | training_as_json(model, report))
        return
    print_report(model, report)
    say(f"{n_epochs} epoch{'s' * (n_epochs > 1)}; saved {output}. Next: handmade predict {output} new.csv")


def check_output(output: Path) -> None:
    """Raise unless a model can be written there, so that an hour of training does not end with a wrong name."""
    if output.suffix.lower() not in (".safetensors", ".npz"):
        raise ValueError(f"--output: expected a name that ends with .safetensors or .npz, got {str(output)!r}")
    if not output.resolve().parent.is_dir():
        raise ValueError(f"--output: expected a folder that exists, got {str(output.parent)!r}")
    if output.is_dir():
        raise ValueError(f"--output: expected the name of a file, got the folder {str(output)!r}")


def check_not_read(output: Path | None, *inputs: Path) -> None:
    """Raise where an output would replace a file that the command reads."""
    for path in inputs:
        if output is not None and output.exists() and path.exists() and output.samefile(path):
            raise ValueError(f"--output: expected another file than {str(path)!r}, which is read, got {str(output)!r}")


def read_training_table(data: Path, target: str, task: str) -> tuple[Any, str, str]:
    """Return the rows of a CSV file, its decimal mark, and the task; "auto" infers it from the target."""
    frame, marks = read_table(data)
    if len(frame.columns) == 1:
        raise ValueError(
            f"{data}: expected fields separated by a comma, semicolon, tab or bar; got {frame.columns[0]!r}"
        )
    check_choice(target, "--target", frame.columns)
    mark = decimal_mark(frame, marks)
    task = guess_task(frame[target], mark) if task == "auto" else task
    if task not in ("classify", "regress"):
        raise ValueError(f"--task: expected classify, regress or auto, got {task!r}")
    return frame, mark, task


def training_as_json(model: Model, report: Report) -> dict[str, Any]:
    """Return the columns of a model and its scores on the rows set aside."""
    columns = [{"name": c.name, "kind": c.kind, "missing": c.missing} for c in model.columns]
    test = {"rows": report.rows, **report.scores}
    return {
        "target": model.target, "columns": columns, "test": test, "classes": model.classes,
        "confusion": report.confusion,
    }  # fmt: skip


def column_table(columns: list[Column], left_out: dict[str, str]) -> Table:
    """Return a table of the columns and their types."""
    table = Table("column", "kind", "missing", "becomes", title="Columns")
    rows = [(column.name, column.kind, str(column.missing), column.describe()) for column in columns]
    rows += [(name, "left out", "", reason) for name, reason in left_out.items()]
    for row in rows[:SHOWN]:
        table.add_row(*map(escape, row), style="dim" if row[1] == "left out" else None)
    for kind, count in Counter(row[1] for row in rows[SHOWN:]).items():
        table.add_row(f"{count} more", kind)
    return table


def print_report(model: Model, report: Report) -> None:
    """Print the scores and the confusion matrix."""
    for name, score in report.scores.items():
        say(f"  {name}: {score:.4g}")
    if report.confusion is not None and model.classes is not None:
        labels = [escape(label) for label in model.classes]
        table = Table("true \\ predicted", *labels, title=f"{report.rows} test rows")
        for label, row in zip(labels, report.confusion, strict=True):
            table.add_row(label, *map(str, row))
        out.print(table)


def show_json(value: Any) -> None:
    """Print a JSON object. NaN, which JSON does not have, becomes null."""
    text = json.dumps(value)
    constants = {"NaN": None, "Infinity": None, "-Infinity": None}
    print(json.dumps(json.loads(text, parse_constant=constants.get), indent=2))


@app.command()
@plain_errors
def predict(
    model: MODEL,
    data: DATA,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A CSV file, in place of stdout.")] = None,
    proba: Annotated[bool, typer.Option("--proba", help="Add the probability of each class.")] = False,
    as_json: JSON = False,
) -> None:
    """Predict the target for each row of a CSV file.

    Columns are found by name, in any order. Others are ignored.
    """
    import pandas as pd

    check_not_read(output, model, data)
    found, (frame, marks) = Model.load(model), read_table(data)
    outputs, notes = found.outputs(frame, marks)
    for note in notes:
        warn(note)
    if proba and found.classes is None:
        raise ValueError(
            f"--proba: expected a model that classifies, got one that predicts the number {found.target!r}"
        )
    if found.classes is None:
        result = pd.DataFrame({found.target: outputs})
    else:
        result = pd.DataFrame({found.target: np.array(found.classes)[outputs.argmax(axis=1)]})
        if proba:
            result = result.join(pd.DataFrame(outputs, columns=[f"P({label})" for label in found.classes]))
    if as_json:
        text = json.dumps(
            {"target": found.target, "predictions": result.to_dict("records"), "warnings": notes}, indent=2
        )
    else:
        text = result.to_csv(index=False).rstrip("\n")
    if output is None:
        print(text)
    else:
        write_atomically(output, lambda stream: stream.write(f"{text}\n".encode()))


@app.command()
@plain_errors
def check(
    function: Annotated[str, typer.Argument(help="module:function, or file.py:function.")],
    size: Annotated[int | None, typer.Option(help="How many parameters the function takes.", min=1)] = None,
    seed: SEED = 0,
    as_json: JSON = False,
) -> None:
    """Check a gradient by finite differences: the exit status is 0 if it is right, 1 if not.

    A function without arguments returns the arguments of handmade.check_gradient: (network, X, y), or (f, theta,
    gradient). A function of theta returns (value, gradient); --size is then the length of theta.
    """
    from ..checking.gradients import check_gradient

    try:
        result = check_gradient(*_arguments(function, size, seed), rng=seed)
    except (Exception, SystemExit) as error:  # of the user's file; its exit is no verdict
        place = place_in_a_file(error)
        if not place and isinstance(error, ValueError | OSError):
            raise  # of the arguments
        raise ValueError(f"{function}: {type(error).__name__}: {error}{place}") from error
    if as_json:
        show_json(
            {
                "passed": bool(result),
                "checked": result.total.checked,
                "wrong": len(result.wrong),
                "undecided": len(result.undecidable),
            }
        )
    else:
        say(str(result))
    raise typer.Exit(0 if result else 1)


def _arguments(function: str, size: int | None, seed: int) -> Any:
    """Return the arguments of check_gradient that a function stands for."""
    call = find_function(function)
    if any(p.default is p.empty for p in inspect.signature(call).parameters.values()):
        if size is None:
            raise ValueError(f"--size: expected the number of parameters of {function}, which takes theta")
        theta = np.random.default_rng(seed).normal(size=size)
        returned = call(theta)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise ValueError(f"{function}: expected it to return (value, gradient), got {returned!r:.80}")
        return lambda point: call(point)[0], theta, returned[1]
    arguments = call()
    if not isinstance(arguments, tuple) or len(arguments) != 3:
        raise ValueError(
            f"{function}: expected it to return (network, X, y) or (f, theta, gradient), got {arguments!r:.80}"
        )
    return arguments


def find_function(text: str) -> Callable[..., Any]:
    """Return the function that module:function or file.py:function names."""
    place, _, name = text.rpartition(":")
    if not place or not name.isidentifier():
        raise ValueError(f"function: expected module:function or file.py:function, got {text!r}")
    if place.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(place).stem, place)
        if spec is None or spec.loader is None or not Path(place).is_file():
            raise FileNotFoundError(f"{place}: expected a Python file")
        module = importlib.util.module_from_spec(spec)
        with importing_beside(place):
            spec.loader.exec_module(module)
    else:
        sys.path.insert(0, "")
        try:
            module = importlib.import_module(place)
        finally:
            sys.path.remove("")
    found = getattr(module, name, None)
    if not callable(found):
        raise ValueError(f"{text}: expected a function {name!r} in {place}, got {found!r}")
    return found


def _to_onnx(model: Path, output: Path) -> None:
    from ..export import to_onnx
    from ..files import load

    to_onnx(load(model), output)


def _to_c(model: Path, output: Path) -> None:
    from ..export import to_c
    from ..files import load

    to_c(load(model), output)


def _to_torch(model: Path, output: Path) -> None:
    try:
        import torch
    except ImportError:
        raise ImportError("export --to torch: expected PyTorch; install it with pip install torch") from None
    from ..files import read_state_dict

    state = {name: torch.from_numpy(array) for name, array in read_state_dict(model).items()}
    write_atomically(output, lambda stream: torch.save(state, stream))


# The name of a format -> the ending of its files, and the function that writes one.
FORMATS: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "onnx": (".onnx", _to_onnx),
    "c": (".h", _to_c),
    "torch": (".pt", _to_torch),
}


@app.command()
@plain_errors
def export(
    model: MODEL,
    to: Annotated[str, typer.Option(help="onnx, c (a header file) or torch (a state_dict).")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file; by default beside the model.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Write the network for other programs.

    Its inputs are those that `handmade show` lists, in that order; its outputs are logits or standardized numbers.
    """
    check_choice(to, "--to", FORMATS)
    suffix, write = FORMATS[to]
    output = model.with_suffix(suffix) if output is None else output
    check_not_read(output, model)
    write(model, output)
    show_json({"file": str(output), "format": to}) if as_json else say(f"saved {output}")


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def grade(context: typer.Context) -> None:
    """Grade submissions of an exercise: handmade grade exercise.py submissions/; --help lists the options."""
    from ..grading.__main__ import main

    raise typer.Exit(main(context.args, prog="handmade grade"))


@app.command()
@plain_errors
def show(model: MODEL, as_json: JSON = False) -> None:
    """Show the layers of a model, the columns that it reads, and its scores in the test."""
    from ..files import load, read_metadata, to_config

    network, has_table = load(model), "table" in read_metadata(model)
    found = Model.load(model) if has_table else None
    if as_json:
        table = {} if found is None else {"target": found.target, "classes": found.classes, "scores": found.scores}
        names = [] if found is None else [label for column in found.columns for label in column.labels]
        show_json({"network": to_config(network), "parameters": network.parameter_count, "inputs": names, **table})
        return
    say(network.summary())
    if found is not None:
        out.print(column_table(found.columns, {}))
        labels = [label for column in found.columns for label in column.labels]
        say(f"inputs in order: {', '.join(labels)}")
        what = "a number" if found.classes is None else ", ".join(found.classes)
        say(f"predicts {found.target!r}: {what}")
        for name, score in found.scores.items():
            say(f"  {name}: {score:.4g}")


@app.command()
@plain_errors
def config(as_json: JSON = False) -> None:
    """Show versions, BLAS and threads, and how to make them faster."""
    from ..configuration import show_config

    show_json(show_config("dicts")) if as_json else show_config()
