"""Grade all submissions of a course in parallel; an interrupted run goes on where it stopped."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from .._validation import check_count
from ..progress import progress_bar
from .exercise import Exercise, load_exercise
from .grades import Grade
from .submissions import Submission, grade_submission, not_graded

__all__ = ["Interrupted", "grade_course"]

BEGIN = '{"key": "'  # of a journal

_exercise: Exercise | None = None  # of a worker
_hidden: list[Path] = []


class Interrupted(Exception):
    """An interrupt, with the grades of the submissions that were finished before it."""

    def __init__(self, grades: list[Grade], left: int) -> None:
        super().__init__(f"interrupted: {left} submissions are not graded")
        self.grades, self.left = grades, left


def grade_course(
    path: str | Path,
    submissions: Sequence[Submission],
    jobs: int | None = None,
    journal: str | Path | None = None,
    progress: bool = False,
) -> list[Grade]:
    """Grade all submissions, each in a process of its own, in parallel.

    Parameters
    ----------
    path : path
        The exercise; see `load_exercise`.
    submissions : sequence of Submission
        See `find_submissions`.
    jobs : int, optional
        How many submissions to grade at the same time; by default as many as there are processors.
    journal : path, optional
        Each grade is added to this file as soon as it is known. Grades that are in it already are used, if neither the
        exercise nor the submission has changed.
    progress : bool
        Whether to show progress on stderr.

    Returns
    -------
    list of Grade
        In the order of the submissions.

    Raises
    ------
    Interrupted
        After Ctrl-C. Submissions that are being graded then are graded again the next time.
    ValueError
        If the exercise has other numbers each time it is run, because something random lacks ``rng=``; or if the file
        of the journal holds something else.
    """
    jobs = None if jobs is None else check_count(jobs, "jobs")
    exercise = load_exercise(path)
    kept = _Journal(journal, exercise)
    grades: dict[int, Grade] = {i: g for i, s in enumerate(submissions) if (g := kept.find(s)) is not None}
    left = [i for i in range(len(submissions)) if i not in grades]
    jobs = max(1, min(jobs or len(_processors()), len(left) or 1))
    hidden = [Path(path).resolve(), *{submission.path.resolve().parent for submission in submissions}]
    with progress_bar("grading", len(submissions), progress) as report:
        try:
            for i, result in _graded(path, exercise, [(i, submissions[i]) for i in left], hidden, jobs):
                grades[i] = result
                kept.add(submissions[i], result)
                report(len(grades), f"{result.student}: {result.verdict}")
        except KeyboardInterrupt:
            done = [grades[i] for i in sorted(grades)]
            raise Interrupted(done, len(submissions) - len(done)) from None
    return [grades[i] for i in range(len(submissions))]


def _processors() -> Sequence[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)


def _graded(
    path: str | Path, exercise: Exercise, left: Sequence[tuple[int, Submission]], hidden: Sequence[Path], jobs: int
) -> Iterator[tuple[int, Grade]]:
    """Yield each grade as soon as it is known."""
    if jobs == 1:
        for i, submission in left:
            yield i, _one(submission, exercise, hidden)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), _start_worker, (str(path), list(hidden), exercise.fingerprint)
    )
    try:
        futures = {pool.submit(_in_worker, submission): (i, submission) for i, submission in left}
        for future in concurrent.futures.as_completed(futures):
            i, submission = futures[future]
            try:
                result = future.result()
            except concurrent.futures.process.BrokenProcessPool:
                result = not_graded(submission.student, exercise, "not graded", "the grader's own process ended")
            if result is None:
                raise ValueError(f"{path}: expected the same numbers each time it is run; pass rng= to what is random")
            yield i, result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(path: str, hidden: list[Path], fingerprint: str) -> None:
    global _exercise
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    exercise = load_exercise(path)
    _exercise = exercise if exercise.fingerprint == fingerprint else None
    _hidden[:] = hidden


def _in_worker(submission: Submission) -> Grade | None:
    return None if _exercise is None else _one(submission, _exercise, _hidden)


def _one(submission: Submission, exercise: Exercise, hidden: Sequence[Path]) -> Grade:
    """Grade a submission; a failure of the grader's is reported, and the others are graded."""
    try:
        return grade_submission(submission, exercise, hidden)
    except Exception as error:
        message = f"the grader failed: {type(error).__name__}: {error}"
        return not_graded(submission.student, exercise, "not graded", message)


# ---- the journal ---------------------------------------------------------------------------------------------------


class _Journal:
    """A file of grades, a line each, by a digest of the exercise and of the submission's files."""

    def __init__(self, path: str | Path | None, exercise: Exercise) -> None:
        self.path, self.fingerprint = path, exercise.fingerprint
        self.lines: dict[str, Grade] = {}
        if path is None or not Path(path).exists():
            return
        if not Path(path).is_file():  # a device may have no end
            raise ValueError(f"{path}: expected the path of a file for the journal, got another thing; pass a new one")
        text = Path(path).read_text("utf-8", errors="replace")
        if not (text.startswith(BEGIN) or BEGIN.startswith(text)):
            raise ValueError(
                f"{path}: expected a journal of this command, got another file; pass the path of a new one"
            )
        if text and not text.endswith("\n"):
            Path(path).write_text(text + "\n", "utf-8")
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                self.lines[entry["key"]] = Grade.from_dict(entry["grade"])
            except (ValueError, TypeError, KeyError):  # a line that the end of a run cut short
                continue

    def find(self, submission: Submission) -> Grade | None:
        """Return the grade of a submission that has not changed."""
        if self.path is None:
            return None
        found = self.lines.get(self._key(submission))
        return found if found is not None and found.verdict != "not graded" else None

    def add(self, submission: Submission, result: Grade) -> None:
        """Add a grade."""
        if self.path is None:
            return
        entry = {"key": self._key(submission), "grade": result.to_dict()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _key(self, submission: Submission) -> str:
        digest = hashlib.sha256(f"{self.fingerprint} {submission.student}".encode())
        path = submission.path
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(str(file.relative_to(path.parent)).encode())
                digest.update(file.read_bytes())
        return digest.hexdigest()[:32]
