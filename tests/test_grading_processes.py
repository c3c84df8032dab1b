"""A course graded by several processes: how many, what they are given, and what becomes of one that ends."""

from __future__ import annotations

import concurrent.futures.process
import os
import re
import runpy
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import course as example
import pytest

from handmade.grading import Exercise, course, find_submissions, load_exercise
from handmade.grading import __main__ as command
from handmade.grading.__main__ import main
from handmade.grading.submissions import grade_submission, not_graded


@pytest.fixture
def folder(tmp_path):
    example.write_course(tmp_path)
    return tmp_path


def submissions_of(folder, *names):
    return find_submissions([folder / "submissions" / name for name in names])[0]


def test_two_processes_grade_and_report(folder, capsys):
    submissions = submissions_of(folder, "viete.py", "ada.py")
    grades = course.grade_course(folder / "exercise.py", submissions, jobs=2, progress=True)
    assert [(grade.student, grade.verdict) for grade in grades] == [("viete.py", "missing"), ("ada.py", "passed")]
    shown = capsys.readouterr().err
    assert "viete.py: missing" in shown and "ada.py: passed" in shown and "2/2" in shown


@pytest.mark.parametrize(("jobs", "names", "used"), [(None, 3, 3), (None, 5, 4), (2, 3, 2), (8, 3, 3), (8, 0, 1)])
def test_no_more_processes_than_submissions_are_started(folder, monkeypatch, jobs, names, used):
    monkeypatch.setattr(course, "_processors", lambda: range(4))
    given = []

    def graded(path, exercise, left, hidden, jobs):
        given.append((path, [i for i, _ in left], jobs))
        return [(i, not_graded(submission.student, exercise, "time", "")) for i, submission in left]

    monkeypatch.setattr(course, "_graded", graded)
    right = ["ada.py", "boole.py", "cauchy.py", "darwin.py", "euler.py"][:names]
    submissions = submissions_of(folder, *right)
    grades = course.grade_course(folder / "exercise.py", submissions, jobs=jobs)
    assert [grade.student for grade in grades] == right
    assert given == [(folder / "exercise.py", list(range(names)), used)]


class Pool:
    """A pool of processes, none of which comes back with a grade."""

    def __init__(self, outcome):
        self.outcome, self.calls = outcome, []

    def __call__(self, *arguments):
        self.calls.append(arguments)
        return self

    def submit(self, function, submission):
        future = concurrent.futures.Future()
        if isinstance(self.outcome, Exception):
            future.set_exception(self.outcome)
        else:
            future.set_result(self.outcome)
        return future

    def shutdown(self, **options):
        self.calls.append(options)


def test_a_process_that_ends_leaves_its_submission_ungraded(folder, monkeypatch):
    pool = Pool(concurrent.futures.process.BrokenProcessPool())
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", pool)
    submissions = submissions_of(folder, "ada.py", "boole.py")
    grades = course.grade_course(folder / "exercise.py", submissions, jobs=2)
    assert [(g.student, g.verdict, g.hint) for g in grades] == [
        (name, "not graded", "the grader's own process ended") for name in ("ada.py", "boole.py")
    ]
    (jobs, context, start, arguments), ended = pool.calls
    exercise = load_exercise(folder / "exercise.py")
    hidden = [(folder / "exercise.py").resolve(), (folder / "submissions").resolve()]
    assert (jobs, context.get_start_method(), start) == (2, "spawn", course._start_worker)
    assert arguments == (str(folder / "exercise.py"), hidden, exercise.fingerprint)
    assert ended == {"wait": True, "cancel_futures": True}


def test_an_exercise_with_other_numbers_each_time_is_refused(folder, monkeypatch):
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", Pool(None))
    submissions = submissions_of(folder, "ada.py", "boole.py")
    with pytest.raises(ValueError, match=r"exercise\.py: expected the same numbers each time it is run; pass rng="):
        course.grade_course(folder / "exercise.py", submissions, jobs=2)


def test_a_process_grades_the_exercise_that_it_was_given(folder, monkeypatch):
    (one,) = submissions_of(folder, "ada.py")
    monkeypatch.setattr(course, "_exercise", None)
    monkeypatch.setattr(course, "_hidden", list(course._hidden))
    before = signal.getsignal(signal.SIGINT)
    exercise = load_exercise(folder / "exercise.py")
    try:
        course._start_worker(str(folder / "exercise.py"), [folder / "secret"], "another fingerprint")
        assert course._in_worker(one) is None
        course._start_worker(str(folder / "exercise.py"), [folder / "secret"], exercise.fingerprint)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # which the first process hears
    finally:
        signal.signal(signal.SIGINT, before)
    assert course._hidden == [folder / "secret"]
    assert course._in_worker(one).verdict == "passed"


# ---- the command -----------------------------------------------------------------------------------------------------


def test_every_option_is_explained():
    options = {action.dest: action for action in command._parser("grade")._actions}
    files = ["json", "csv", "junit", "journal"]
    assert {name: options[name].metavar for name in files} == dict.fromkeys(files, "FILE")
    assert options["jobs"].metavar == "N"
    assert all(action.help and action.help[0].islower() for action in options.values())
    assert "Gradescope's" in options["json"].help and "JUnit's XML" in options["junit"].help


def test_the_module_is_a_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["grading", "--help"])
    with warnings.catch_warnings(), pytest.raises(SystemExit) as end:
        warnings.simplefilter("ignore")  # that it is imported already
        runpy.run_module("handmade.grading", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m handmade.grading ")


def test_files_that_are_read_are_not_replaced_by_results(folder, capsys):
    exercise, student = folder / "exercise.py", folder / "submissions" / "ada.py"
    for options in (["--csv", student], ["--json", exercise], ["--csv", folder / "r", "--junit", folder / "r"]):
        before = exercise.read_bytes(), student.read_bytes()
        assert main([str(exercise), str(student), "--quiet", *map(str, options)]) == 2
        assert re.match(r"error: ValueError: \S+: expected a file for these results alone", capsys.readouterr().err)
        assert (exercise.read_bytes(), student.read_bytes()) == before


def test_an_exercise_may_import_beside_it_and_not_exit(folder, capsys, monkeypatch):
    exercise, student = folder / "exercise.py", folder / "submissions" / "ada.py"
    text = exercise.read_text()
    exercise.write_text("import beside_it, colorsys\n" + text)
    (folder / "beside_it.py").write_text("")
    (folder / "colorsys.py").write_text("raise RuntimeError('a student, not the standard library')")
    monkeypatch.chdir(folder.parent)
    assert main([str(exercise), str(student), "--quiet"]) == 0
    exercise.write_text("raise SystemExit(0)\n" + text)
    assert main([str(exercise), str(student), "--quiet"]) == 2
    assert "error: SystemExit: 0 (line 1 of exercise.py)" in capsys.readouterr().err


def test_results_are_written_even_if_they_cannot_be_printed(folder):
    student = folder / "müller.py"
    (folder / "submissions" / "ada.py").rename(student)
    command = [sys.executable, "-m", "handmade.grading", "exercise.py", student, "--quiet", "--csv", "grades.csv"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(__file__).parents[1])}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "") and "m\\xfcller.py" in run.stdout
    assert "müller.py,4" in (folder / "grades.csv").read_text("utf-8")


def test_a_link_to_another_student_s_file_is_a_submission(folder):
    (folder / "submissions" / "aaron.py").symlink_to(folder / "submissions" / "ada.py")
    names = [submission.student for submission in find_submissions([folder / "submissions"])[0]]
    assert {"aaron.py", "ada.py"} <= set(names)
    again = [folder / "submissions" / "ada.py", folder / "submissions" / ".." / "submissions" / "ada.py"]
    assert len(find_submissions(again)[0]) == 1


def test_libraries_and_adapter_beside_the_submissions_are_read(folder, monkeypatch):
    (folder / "site").mkdir()
    (folder / "site" / "a_library.py").write_text("tanh = __import__('numpy').tanh\n")
    (folder / "adapter.py").write_text(
        "def loss_and_gradient(submission, *arguments):\n    return submission.go(*arguments)\n"
    )
    text = (folder / "submissions" / "ada.py").read_text() + example.LOSS + example.BOTH
    text = "import a_library\n" + text.replace("loss_and_gradient", "go").replace("np.tanh", "a_library.tanh")
    (folder / "grace.py").write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder / "site")
    exercise = load_exercise("exercise.py")
    exercise = Exercise(exercise.network, exercise.X, exercise.y, adapter="adapter.py")
    result = grade_submission(find_submissions(["grace.py"])[0][0], exercise, hidden=[folder])
    assert result.passed, result
    (folder / "grace.py").write_text(f"open({str(folder / 'exercise.py')!r}).read()\n" + text)
    assert grade_submission(find_submissions(["grace.py"])[0][0], exercise, hidden=[folder]).verdict == "forbidden"


def test_a_result_that_memory_does_not_hold_twice_is_told(folder):
    text = (folder / "submissions" / "ada.py").read_text()
    large = text.replace("    return [dA0", "    return [np.ones((3000, 3000)) for _ in range(3)]\n    return [dA0")
    (folder / "grace.py").write_text(large)
    result = grade_submission(find_submissions([folder / "grace.py"])[0][0], load_exercise(folder / "exercise.py"))
    assert result.verdict == "memory" and "backward: MemoryError" in result.hint
