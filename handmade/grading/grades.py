"""The grade of a submission: its points, and the hints to its student."""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["VERDICTS", "Grade", "Item"]

VERDICTS = {
    "passed": "every point, and nothing to mend",
    "remarks": "every point, and something to mend",
    "mistakes": "points were lost in the forward or backward pass",
    "differences": "the gradient is computed by differences",
    "missing": "the functions are not there, or return nothing that can be read",
    "error": "the code raises an error",
    "forbidden": "the code uses a module or a file that it may not use",
    "time": "the code takes too long",
    "memory": "the code takes too much memory",
    "crashed": "the process was ended by a signal",
    "ended": "the code ends its process",
    "unreadable": "there is no file of code, or it is none",
    "not graded": "the grader itself failed",
}


@dataclasses.dataclass(frozen=True)
class Item:
    """An item that earns points.

    Attributes
    ----------
    name : str
        The loss, the output or a layer.
    credit : int
        0 or 1.
    remark : str
        A comment, or empty.
    points : float
        The points for full credit.
    """

    name: str
    credit: int
    remark: str = ""
    points: float = 1.0


@dataclasses.dataclass(frozen=True)
class Grade:
    """The grade of a submission; printed, a table.

    Attributes
    ----------
    student : str
        The name of the file or folder, or of the object.
    forward : Item
        The loss, or the output of ``forward``.
    layers : list of Item
        The layers that have parameters, from the input to the output.
    hint : str
        A line for each mistake; empty if there is none.
    verdict : str
        A key of ``VERDICTS``.
    notes : list of str
        For the teacher alone, such as the layout of the submission.
    suspicions : list of str
        For the teacher alone: signs that the gradient is not computed by hand, which cost nothing.
    seconds : float
        The time that the grading took.
    """

    student: str
    forward: Item
    layers: list[Item]
    hint: str
    verdict: str = "mistakes"
    notes: list[str] = dataclasses.field(default_factory=list)
    suspicions: list[str] = dataclasses.field(default_factory=list)
    seconds: float = dataclasses.field(default=0.0, compare=False)

    @property
    def items(self) -> list[Item]:
        """All items that earn points."""
        return [self.forward, *self.layers]

    @property
    def points(self) -> float:
        """The number of points earned."""
        return sum(item.credit * item.points for item in self.items)

    @property
    def most(self) -> float:
        """The number of points that can be earned."""
        return sum(item.points for item in self.items)

    @property
    def credit(self) -> float:
        """The points that were earned, as a fraction of all."""
        return 1.0 if all(item.credit for item in self.items) else self.points / self.most

    @property
    def passed(self) -> bool:
        """True if every point was earned, and there are no remarks."""
        return self.credit == 1 and not self.hint

    @property
    def title(self) -> str:
        """The first line of the table."""
        return f"{self.student}: {self.points:.4g} of {self.most:.4g} points"

    def __str__(self) -> str:
        width = max(len(item.name) for item in self.items)
        rows = [
            f"  {item.name:<{width}}  {item.credit * item.points:.4g}  {item.remark}".rstrip() for item in self.items
        ]
        return "\n".join([self.title, *rows, *(f"  hint: {line}" for line in self.hint.splitlines())])

    def __repr__(self) -> str:  # one line, as pytest shows it where an assertion fails
        return f"<{self.title}>"

    def to_dict(self) -> dict[str, Any]:
        """Return the grade as dicts, lists, text and numbers."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Grade:
        """Return the grade that `to_dict` wrote.

        Examples
        --------
        >>> from handmade.grading import Grade, Item
        >>> grade = Grade("alice.py", Item("loss", 1), [Item("layer 0", 0, "wrong: W0")], "a hint")
        >>> Grade.from_dict(grade.to_dict()) == grade
        True
        """
        items = {"forward": Item(**values["forward"]), "layers": [Item(**item) for item in values["layers"]]}
        return cls(**(values | items))
