"""Grades as a table, as results.json of Gradescope, as CSV and as JUnit's XML."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from .grades import Grade

__all__ = ["gradescope", "print_table", "table", "to_csv", "to_json", "to_junit"]

WIDEST = 80  # characters of a hint in the table
COLUMNS = ("student", "points", "of", "verdict", "hint")


def gradescope(grade: Grade) -> dict[str, Any]:
    """Return a grade in the form of Gradescope's results.json.

    The tests are the items of the grade. Hints are for the student, notes for the teacher alone. Source of the form:
    https://gradescope-autograders.readthedocs.io/en/latest/specs/

    Examples
    --------
    >>> from handmade.grading import Grade, Item
    >>> from handmade.grading.results import gradescope
    >>> gradescope(Grade("alice", Item("loss", 1), [Item("layer 0", 0, "wrong: W0")], "a hint"))["tests"][1]["status"]
    'failed'
    """
    tests: list[dict[str, Any]] = [
        {
            "name": item.name,
            "number": str(i),
            "score": item.credit * item.points,
            "max_score": item.points,
            "status": "passed" if item.credit else "failed",
            "output": item.remark,
            "output_format": "text",
            "visibility": "visible",
        }
        for i, item in enumerate(grade.items, 1)
    ]
    if notes := [*grade.suspicions, *grade.notes]:
        note = {"name": "notes for the teacher", "output": "\n".join(notes), "output_format": "text"}
        tests.append(note | {"status": "passed", "visibility": "hidden"})
    return {
        "score": grade.points,
        "execution_time": grade.seconds,
        "output": grade.hint,
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "extra_data": {"student": grade.student, "verdict": grade.verdict},
        "tests": tests,
    }


def to_json(grades: Sequence[Grade]) -> str:
    """Return results.json: for one submission as for Gradescope; for several an object of those, by student."""
    found = {grade.student: gradescope(grade) for grade in grades}
    content = next(iter(found.values())) if len(grades) == 1 else found
    return _legal(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def to_csv(grades: Sequence[Grade]) -> str:
    """Return one line for each submission, with a column for each item."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    items = [item.name for item in grades[0].layers] if grades else []
    writer.writerow(["student", "points", "of", "verdict", "forward", *items, "hint", "notes"])
    for grade in grades:
        scores = [f"{item.credit * item.points:.6g}" for item in grade.items]
        numbers = [f"{grade.points:.6g}", f"{grade.most:.6g}"]
        text = [_cell(grade.hint), _cell("; ".join([*grade.suspicions, *grade.notes]))]
        writer.writerow([_cell(grade.student), *numbers, grade.verdict, *scores, *text])
    return _legal(stream.getvalue())


def _legal(text: str) -> str:
    """Return text without the characters that UTF-8 or XML cannot hold, which a submission may have printed.

    Source: https://www.w3.org/TR/xml/#charsets
    """
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def _cell(text: str) -> str:
    """Return text that no spreadsheet takes for a formula, nor its carriage returns for the end of a row."""
    text = text.replace("\r", "\n")
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\n")) else text


def to_junit(grades: Sequence[Grade]) -> str:
    """Return JUnit's XML: a suite for each submission, a case for each item."""
    root = ElementTree.Element("testsuites", name="handmade.grading")
    for grade in grades:
        failed = sum(not item.credit for item in grade.items)
        has_remarks = not failed and not grade.passed
        suite = ElementTree.SubElement(
            root, "testsuite", name=grade.student, tests=str(len(grade.items) + has_remarks), errors="0", skipped="0",
            failures=str(failed + has_remarks), time=f"{grade.seconds:.2f}",
        )  # fmt: skip
        for item in grade.items:
            case = ElementTree.SubElement(suite, "testcase", classname=grade.student, name=item.name)
            if not item.credit:
                failure = ElementTree.SubElement(case, "failure", message=item.remark, type=grade.verdict)
                failure.text = grade.hint
        if has_remarks:
            case = ElementTree.SubElement(suite, "testcase", classname=grade.student, name="remarks")
            ElementTree.SubElement(case, "failure", message=grade.hint, type=grade.verdict)
    ElementTree.indent(root)
    return _legal('<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n")


def table(grades: Sequence[Grade]) -> str:
    """Return a table in plain text, and the number of submissions with each verdict."""
    rows = [COLUMNS[:4], *_rows(grades)]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = []
    for row in rows:
        numbers = f"{row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}"
        last = f"  {row[4]}" if len(row) > 4 else "  hint"
        lines.append(f"{row[0]:<{widths[0]}}  {numbers}  {row[3]:<{widths[3]}}{last}".rstrip())
    return _legal("\n".join([*lines, "", summary(grades)]))


def _rows(grades: Sequence[Grade]) -> list[tuple[str, ...]]:
    return [(g.student, f"{g.points:.4g}", f"{g.most:.4g}", g.verdict, _first_hint(g)) for g in grades]


def _first_hint(grade: Grade) -> str:
    text = grade.hint.partition("\n")[0].removeprefix(f"{grade.student}: ")
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."


def summary(grades: Sequence[Grade]) -> str:
    """Return the number of submissions with each verdict, as text."""
    counts = Counter(grade.verdict for grade in grades)
    found = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    suspected = [f"look at {g.student}: {text}" for g in grades for text in g.suspicions]
    return "\n".join([f"{len(grades)} submission{'s' if len(grades) != 1 else ''}: {found}", *suspected])


def print_table(grades: Sequence[Grade]) -> None:
    """Print the table, with rich in a terminal."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            pass
        else:
            shown = Table(*COLUMNS)
            for grade, row in zip(grades, _rows(grades), strict=True):
                shown.add_row(*map(Text, row), style="green" if grade.passed else None)
            console = Console()
            console.print(shown)
            console.print(Text(summary(grades)))
            return
    print(table(grades))
