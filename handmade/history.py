"""The record of a training run: one entry per epoch."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
from collections import deque
from itertools import starmap

import numpy as np

from ._atomic import write_atomically

__all__ = ["History"]


@dataclasses.dataclass
class History:
    """The record of a training: losses, metrics, learning rate and seconds of each finished epoch.

    Attributes
    ----------
    loss : list of float
        The training loss: the mean over the epoch's batches, each taken before its own update.
    validation_loss : list of float
        The loss on the validation data after the epoch; empty without validation data.
    metrics : dict of str to list of float
        Each metric after the epoch, on the validation data if there are any, else on the training data.
    lr : list of float
        The learning rate of the epoch's last step.
    seconds : list of float
        The duration of the epoch, with its validation.
    stopped : str
        ``"running"``, or why training ended: ``"all epochs"``, ``"early stopping"``, ``"callback"``,
        ``"interrupted"`` or ``"error"``.

    Examples
    --------
    >>> numbers = dict(loss=[0.5, 0.25], validation_loss=[0.5, 0.75], metrics={"accuracy": [0.75, 0.5]})
    >>> history = hm.History(**numbers, stopped="all epochs")
    >>> len(history), history.best_epoch
    (2, 0)
    >>> history
    2 epochs (all epochs): loss 0.25  validation 0.75  accuracy 0.5; best epoch 1
    """

    loss: list[float] = dataclasses.field(default_factory=list)
    validation_loss: list[float] = dataclasses.field(default_factory=list)
    metrics: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    lr: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    stopped: str = "running"

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def best_epoch(self) -> int | None:
        """The index, from 0, of the lowest validation loss; None if there is no finite one."""
        finite = [i for i, value in enumerate(self.validation_loss) if not math.isnan(value)]
        return min(finite, key=self.validation_loss.__getitem__) if finite else None

    def add(self, loss: float, scores: dict[str, float], lr: float, seconds: float) -> None:
        """Append the numbers of one more epoch.

        Parameters
        ----------
        loss, lr, seconds : float
            The numbers of the epoch.
        scores : dict of str to float
            ``"validation_loss"``, where there is one, and all metrics, which have a list already.
        """
        lists = {name: self.validation_loss if name == VALIDATION else self.metrics[name] for name in scores}
        pairs = [(lists[name], value) for name, value in scores.items()]
        pairs += [(self.loss, loss), (self.lr, lr), (self.seconds, seconds)]
        deque(starmap(list.append, pairs), maxlen=0)  # one call of C, in which no Ctrl-C falls: all appends or none

    def to_dict(self) -> dict[str, list[float]]:
        """Return a dict of lists of equal length, from which pandas.DataFrame(history.to_dict()) makes a table.

        Examples
        --------
        >>> hm.History(loss=[0.5], lr=[0.1], seconds=[1.0], metrics={"accuracy": [0.75]}).to_dict()
        {'epoch': [1], 'loss': [0.5], 'accuracy': [0.75], 'lr': [0.1], 'seconds': [1.0]}
        """
        validation = {VALIDATION: list(self.validation_loss)} if self.validation_loss else {}
        epochs: list[float] = list(range(1, len(self) + 1))
        metrics = {name: list(values) for name, values in self.metrics.items()}
        rest = {"lr": list(self.lr), "seconds": list(self.seconds)}
        return {"epoch": epochs, "loss": list(self.loss), **validation, **metrics, **rest}

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as a CSV file with a header, one line per epoch."""
        table, text = self.to_dict(), io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
        write_atomically(path, lambda stream: stream.write(text.getvalue().encode()))

    def latest(self) -> str:
        """Return the last epoch in one line."""
        parts = [f"loss {self.loss[-1]:.4g}"]
        parts += [f"validation {value:.4g}" for value in self.validation_loss[-1:]]
        parts += [f"{name} {values[-1]:.4g}" for name, values in self.metrics.items()]
        return "  ".join(parts)

    def __str__(self) -> str:
        best = "" if self.best_epoch is None else f"; best epoch {self.best_epoch + 1}"
        return f"{len(self)} epochs ({self.stopped})" + (f": {self.latest()}{best}" if self.loss else "")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return a table of at most twelve epochs, the best one among them."""
        from ._html import html_table  # only a notebook needs it

        epochs = set(np.linspace(1, len(self), min(len(self), SHOWN)).round().astype(int).tolist())
        if self.best_epoch is not None:
            epochs.add(self.best_epoch + 1)
        columns = {"loss": self.loss, "validation": self.validation_loss, **self.metrics, "lr": self.lr}
        columns = {name: values for name, values in columns.items() if values}  # no validation data: an empty list
        rows = [[epoch, *(f"{values[epoch - 1]:.4g}" for values in columns.values())] for epoch in sorted(epochs)]
        return html_table(["epoch", *columns], rows, str(self))


VALIDATION = "validation_loss"
COLUMNS = ("epoch", "loss", VALIDATION, "lr", "seconds")  # of `History.to_dict`, beside the metrics
SHOWN = 12  # epochs, in a notebook
