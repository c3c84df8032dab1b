"""The command: ``handmade grade exercise.py submissions/``, or ``python -m handmade.grading`` for it."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .._atomic import write_atomically
from .._user_code import place_in_a_file
from .course import Interrupted, grade_course
from .exercise import load_exercise
from .grades import Grade
from .results import print_table, to_csv, to_json, to_junit
from .submissions import find_submissions

__all__ = ["main"]

WRITERS: dict[str, Callable[[Sequence[Grade]], str]] = {"json": to_json, "csv": to_csv, "junit": to_junit}


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Grade submissions, each in a process of its own. Exit status: 0 if every submission has every "
        "point and nothing to mend, 1 if not, 2 for a mistake in the command or the exercise, 130 for an interrupt.",
    )
    parser.add_argument("exercise", help="a Python file that assigns an Exercise")
    parser.add_argument(
        "submissions", nargs="+", help="a .py file, a notebook, a student's folder, or a folder of them"
    )
    parser.add_argument("--json", metavar="FILE", help="write results.json (Gradescope's; of several, by student)")
    parser.add_argument("--csv", metavar="FILE", help="write a table as CSV")
    parser.add_argument("--junit", metavar="FILE", help="write JUnit's XML")
    parser.add_argument("--journal", metavar="FILE", help="keep finished grades here; the same command then goes on")
    parser.add_argument("--jobs", type=int, metavar="N", help="submissions at the same time; default: the processors")
    parser.add_argument("--details", action="store_true", help="print every point, hint and note")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "python -m handmade.grading") -> int:
    """Run the command, and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process unless given.
    prog : str
        How the command is called.
    """
    options = _parser(prog).parse_args(arguments)
    try:
        for name in (*WRITERS, "journal"):
            _check_target(getattr(options, name))
        submissions, ignored = find_submissions(options.submissions, load_exercise(options.exercise).file)
        _check_not_read(options, [Path(options.exercise), *(submission.path for submission in submissions)])
        for path in ignored:
            print(f"not graded: {path}; expected a .py file, a notebook or a folder", file=sys.stderr)
        grades = grade_course(options.exercise, submissions, options.jobs, options.journal, not options.quiet)
        _show(grades, options)
    except Interrupted as stopped:
        _show(stopped.grades, options)
        message = "the same command goes on" if options.journal else "with --journal FILE the same command would go on"
        print(f"{stopped}; {message}", file=sys.stderr)
        return 130
    except (Exception, SystemExit) as error:  # the teacher's: a path, the exercise, which may not end the command
        print(f"error: {type(error).__name__}: {error}{place_in_a_file(error)}", file=sys.stderr)
        return 2
    return 0 if all(grade.passed for grade in grades) else 1


def _check_target(path: str | None) -> None:
    """Raise before the grading, not after it, if a file of results cannot be written."""
    if path is not None and (Path(path).is_dir() or not Path(path).resolve().parent.is_dir()):
        raise FileNotFoundError(f"{path}: expected the path of a file in a folder that exists")


def _check_not_read(options: argparse.Namespace, read: Sequence[Path]) -> None:
    """Raise if a file of results would replace the exercise, a submission, or another file of results."""
    targets = [Path(path).resolve() for name in (*WRITERS, "journal") if (path := getattr(options, name))]
    for path in targets:
        if targets.count(path) > 1 or path in [other.resolve() for other in read]:
            raise ValueError(
                f"{path.name}: expected a file for these results alone, got one that is used; name another"
            )


def _show(grades: Sequence[Grade], options: argparse.Namespace) -> None:
    """Write the files, and print the grades."""
    for name, writer in WRITERS.items():
        if path := getattr(options, name):
            text = writer(grades).encode()
            write_atomically(path, lambda stream, text=text: stream.write(text))  # type: ignore[misc]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a student's name may have letters that it lacks
    if options.details:
        for grade in grades:
            print(grade, *(f"  note: {note}" for note in [*grade.suspicions, *grade.notes]), sep="\n", end="\n\n")
    print_table(grades)


if __name__ == "__main__":
    sys.exit(main())
