"""A course graded in one run, hostile submissions among others; results in every form; a run that goes on."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import course as example
import numpy as np
import pytest

import handmade as hm
from handmade.grading import Exercise, Grade, Item, Limits, course, find_submissions, load_exercise
from handmade.grading.__main__ import main
from handmade.grading.results import gradescope, print_table, table, to_csv, to_json, to_junit

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "grading.md").read_text()


# ---- the course of the documentation ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thirty(tmp_path_factory):
    """Return the output, the exit status and the folder of one run over the course."""
    folder = tmp_path_factory.mktemp("course")
    example.write_course(folder / "course")
    files = [part for name in ("json", "csv", "junit") for part in (f"--{name}", str(folder / name))]
    run = subprocess.run(
        [sys.executable, "-m", "handmade.grading", "course/exercise.py", "course/submissions", "--quiet", *files],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    return run, folder


def test_course_prints_what_the_page_says(thirty):
    run, _ = thirty
    assert run.stderr == ""
    assert len(list(csv.reader(io.StringIO(run.stdout)))) > 30
    (shown,) = re.findall(r"^```text\n(student .*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    # On a busy machine an endless loop meets the limit of real seconds before that of the processor's.
    limit = re.compile(r"took longer than \d+ s( of the processor)?;")
    assert limit.sub("", run.stdout).splitlines() == limit.sub("", shown).splitlines()
    assert "\x1b" not in run.stdout
    assert f"```python\n{example.EXERCISE}```\n" in PAGE


def test_course_has_thirty_and_fails(thirty):
    run, folder = thirty
    assert run.returncode == 1
    assert len(json.loads((folder / "json").read_text())) == 30


def test_right_submissions_of_every_style_pass(thirty):
    _, folder = thirty
    results = json.loads((folder / "json").read_text())
    right = ["ada.py", "boole.py", "cauchy.py", "darwin.py", "euler.py", "fermat.py", "gauss.ipynb", "hopper"]
    assert [name for name, result in results.items() if result["score"] == 4] == sorted([*right, "zermelo.py"])
    assert {results[name]["extra_data"]["verdict"] for name in right} == {"passed"}


def test_all_results_say_the_same(thirty):
    _, folder = thirty
    results = json.loads((folder / "json").read_text())
    rows = list(csv.DictReader(io.StringIO((folder / "csv").read_text())))
    suites = ElementTree.fromstring((folder / "junit").read_text())
    assert [row["student"] for row in rows] == [suite.get("name") for suite in suites] == list(results)
    for row, suite, result in zip(rows, suites, results.values(), strict=True):
        lost = sum(test["score"] < test["max_score"] for test in result["tests"] if "score" in test)
        assert float(row["points"]) == result["score"] == 4 - lost
        assert int(suite.get("failures")) == lost + (row["verdict"] == "remarks")
        assert row["hint"] == result["output"]


def test_details_of_the_page_are_printed(tmp_path, capsys):
    example.write_course(tmp_path)
    status = main([str(tmp_path / "exercise.py"), str(tmp_path / "submissions" / "oresme.py"), "--details", "--quiet"])
    assert status == 1
    assert f"```text\n{capsys.readouterr().out.partition(chr(10) * 2)[0]}\n```" in PAGE


# ---- other submissions, written before their verdicts were known -----------------------------------------------------

PLAIN, LOSS, in_backward, changed = example.PLAIN, example.LOSS, example.in_backward, example.changed
CASES = {  # the text, the verdict, the points, a part of the hint
    "spec.py": ("import importlib.util as u\nprint(u.find_spec('jax'))\n" + PLAIN, "forbidden", 0, "uses jax"),
    "dunder.py": ("hm = __import__('hand' + 'made')\n" + PLAIN, "forbidden", 0, "uses handmade"),
    "caught.py": (
        "try:\n    import torch\nexcept ImportError:\n    torch = None\n" + PLAIN, "forbidden", 0, "uses torch",
    ),
    "source.py": (
        f"exec(open({str(ROOT / 'handmade' / 'chain_rule.py')!r}).read())\n" + PLAIN, "forbidden", 0, "uses handmade",
    ),
    "other.py": ("OTHER" + PLAIN, "forbidden", 0, "a file of the exercise or of another student"),
    "starts.py": (
        in_backward("import subprocess; subprocess.run(['true'])"), "error", 1, "may not start another process",
    ),
    "forks.py": (in_backward("import os; os.fork()"), "error", 1, "may not start another process"),
    "kills.py": (in_backward("import os; os.kill(os.getppid(), 9)"), "error", 1, "may not send signals"),
    "closes.py": (in_backward("import os; os.closerange(0, 100)"), "ended", 0, ""),
    "fakes.py": (
        in_backward(
            "import os\n    for fd in range(3, 9):\n        try: os.write(fd, b'0' * 99)\n        except OSError: pass"
        ),
        "ended", 0, "something else than its answer",
    ),
    "silent.py": ("import sys\nsys.stdout = sys.stderr = None\n" + PLAIN, "passed", 4, ""),
    "recursion.py": (in_backward("f = lambda x: f(x) + 1; f(1)"), "error", 1, "RecursionError"),
    "evil.py": (
        in_backward("return [Evil()] * 6") + "class Evil:\n    def __array__(self, *a, **k): raise SystemExit\n",
        "missing", 1, "its result cannot be read",
    ),
    "huge.py": (in_backward("return [np.broadcast_to(0.0, (10**6, 10**6))] * 6"), "missing", 1, "cannot be read"),
    "imaginary.py": (changed("dA2.sum(axis=0)]", "dA2.sum(axis=0) + 0j]"), "mistakes", 3, "dtype complex128"),
    "deep.py": (in_backward("x = []\n    for _ in range(9999): x = [x]\n    return x"), "missing", 1, "nested lists"),
    "thread.py": (
        "import atexit, os, threading, time\natexit.register(os._exit, 0)\n"
        "threading.Thread(target=time.sleep, args=(999,)).start()\n" + PLAIN, "passed", 4, "",
    ),
    "tools.py": (
        "import numpy as np\nnp.array_equal = lambda *a, **k: True\n" + PLAIN, "remarks", 4, "changes NumPy itself",
    ),
    "asks.py": ("input('how many?')\n" + PLAIN, "error", 0, "EOFError"),
    "ignores.py": (
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n" + in_backward("while True: pass"),
        "time", 0, "of the processor",
    ),
    "unprintable.py": (
        in_backward("raise E()") + "class E(Exception):\n    def __str__(self): raise SystemExit\n", "error", 1, "E",
    ),
    "coroutine.py": (PLAIN + "async def loss_and_gradient(parameters, X, y): pass\n", "missing", 0, "got coroutine"),
    "writes.py": ("open('/tmp/never', 'w')\n" + PLAIN, "error", 0, "may not write"),
    "own.py": ("open('log.txt', 'w').write('x')\n" + PLAIN, "passed", 4, ""),
    "nul.py": ("\x00", "error", 0, "NUL bytes"),
    "empty.py": ("", "missing", 0, "forward and backward missing"),
    "bad.ipynb": ("no JSON", "error", 0, "expected a notebook"),
    "colored.py": (in_backward("raise ValueError('\\x1b[31m' + 'x' * 10**6)"), "error", 1, "ValueError: xxx"),
    "complex_step.py": (
        example.DIFFERENCES.replace("kept + h", "kept + 1j * h").replace("kept - h", "kept - 1j * h")
        .replace("(above - below)", "(above - below).imag").replace("gradients = []", "gradients, dtype = [], complex")
        .replace("for array in", "parameters = [p.astype(dtype) for p in parameters]\n    for array in")
        .replace("np.zeros_like(array)", "np.zeros(array.shape)"),
        "differences", 1, "70 evaluations",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Return the grades of the submissions above, by name."""
    folder = tmp_path_factory.mktemp("odd")
    example.write_course(folder)
    for name, (text, *_) in CASES.items():
        other = f"open({str(folder / 'submissions' / 'ada.py')!r})\n"
        (folder / "submissions" / name).write_text(text.replace("OTHER", other))
    paths = [folder / "submissions" / name for name in CASES]
    submissions, _ = find_submissions(paths)
    grades = course.grade_course(folder / "exercise.py", submissions, jobs=2)
    return {grade.student: grade for grade in grades}


@pytest.mark.parametrize("name", CASES)
def test_odd_submission_has_its_verdict(odd, name):
    _, verdict, points, hint = CASES[name]
    grade = odd[name]
    assert (grade.verdict, grade.points) == (verdict, points), grade
    assert hint in grade.hint and "\x1b" not in grade.hint and len(grade.hint) < 1000
    assert bool(hint) == bool(grade.hint) or not hint


def test_differences_without_a_function_are_told_to_the_teacher():
    forward = "np.tanh(np.tanh(X @ p[0].T + p[1]) @ p[2].T + p[3]) @ p[4].T + p[5]"
    loss = "np.log(np.exp({Z}).sum(axis=1)).mean() - ({Z})[np.arange(len(y)), y].mean()".replace("{Z}", forward)
    written_out = example.DIFFERENCES.replace("= loss(parameters, X, y)", f"= {loss}").replace(
        "\n    gradients", "\n    p = parameters\n    gradients"
    )
    names: dict = {}
    exec(written_out, names)
    X, y = hm.data.moons(20, noise=0.1, rng=0)
    student = type("Student", (), {name: staticmethod(names[name]) for name in ("forward", "backward")})
    grade = hm_grade(student, hm.MLP([2, 4, 3, 2], activation="tanh", rng=0), X, y)
    assert grade.passed, grade
    assert re.search("errors change like those of differences", "".join(grade.suspicions))


def hm_grade(*arguments, **options):
    from handmade.grading import grade

    return grade(*arguments, **options)


# ---- other forms -----------------------------------------------------------------------------------------------------


def test_a_folder_needs_one_file_of_code(tmp_path):
    exercise = Exercise(hm.MLP([2, 2], rng=0), np.eye(2), [0, 1])
    files = {"both/a.py": PLAIN, "both/b.py": PLAIN, "one/main.py": PLAIN, "one/plots.py": "x = 1", "none/x.txt": ""}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    found = {s.student: s for s in find_submissions([tmp_path])[0]}
    assert sorted(found) == ["both", "none", "one"]
    assert found["one"].file(exercise).name == "main.py"
    for name in "both", "none":
        with pytest.raises(ValueError, match="expected one file of code in the folder, found"):
            found[name].file(exercise)
    named = Exercise(hm.MLP([2, 2], rng=0), np.eye(2), [0, 1], file="b.py")
    assert found["both"].file(named).name == "b.py"
    assert [s.student for s in find_submissions([tmp_path / "both"], "b.py")[0]] == ["both"]


def test_files_of_one_name_are_told_apart(tmp_path):
    for folder in "monday", "friday":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "alice.py").write_text(PLAIN)
    names = [s.student for s in find_submissions([tmp_path / "monday", tmp_path / "friday"])[0]]
    assert names == [str(tmp_path / "monday" / "alice.py"), str(tmp_path / "friday" / "alice.py")]


def test_an_adapter_calls_what_is_not_recognised(tmp_path):
    (tmp_path / "adapter.py").write_text(
        "def forward(submission, parameters, X):\n    return submission.apply_it(X, parameters)\n"
        "def backward(submission, parameters, X, y):\n    return submission.go_back(y, X, parameters)\n"
    )
    text = PLAIN.replace("forward(parameters, X)", "apply_it(X, parameters)")
    (tmp_path / "alice.py").write_text(text.replace("backward(parameters, X, y)", "go_back(y, X, parameters)"))
    X, y = hm.data.moons(20, noise=0.1, rng=0)
    network = hm.MLP([2, 4, 3, 2], activation="tanh", rng=0)
    grade = hm_grade(tmp_path / "alice.py", network, X, y, adapter=tmp_path / "adapter.py")
    assert grade.passed, grade


# ---- the teacher's side ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", ValueError, "expected one exercise, such as .*, got none"),
        ("poits=3", TypeError, "poits"),
        ("points=[1, 2]", ValueError, "points: expected a positive number, or 4 numbers"),
        ("forbidden='torch'", TypeError, "forbidden: expected a sequence of names"),
        ("limits=Limits(seconds=-1)", ValueError, "seconds: expected a positive number, got -1"),
        ("adapter='nowhere.py'", FileNotFoundError, "adapter: expected a Python file"),
    ],
)
def test_a_mistake_in_the_exercise_is_told(tmp_path, text, error, message):
    lines = "import handmade as hm\nfrom handmade.grading import Exercise, Limits\nX, y = hm.data.moons(20, rng=0)\n"
    call = f"exercise = Exercise(hm.MLP([2, 4, 3, 2], rng=0), X, y, {text})\n" if text else ""
    (tmp_path / "exercise.py").write_text(lines + call)
    with pytest.raises(error, match=message):
        load_exercise(tmp_path / "exercise.py")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere.py", "submissions"],
        ["exercise.py", "nowhere"],
        ["exercise.py", "exercise.txt"],
        ["exercise.py", "empty"],
        ["exercise.py", "submissions", "--json", "nowhere/results.json"],
    ],
)
def test_a_mistyped_path_is_an_error_of_the_command(tmp_path, monkeypatch, capsys, arguments):
    example.write_course(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "exercise.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1


def test_points_are_shared_or_given():
    arguments = hm.MLP([2, 3, 2], rng=0), np.eye(2), [0, 1]
    assert Exercise(*arguments).weights == [1, 1, 1]
    assert Exercise(*arguments, points=6).weights == [2, 2, 2]
    assert Exercise(*arguments, points=[0, 1, 3.5]).weights == [0, 1, 3.5]
    grade = Grade("a", Item("loss", 1, points=0.5), [Item("layer 0", 0, points=2.0)], "")
    assert (grade.points, grade.most, grade.credit, grade.passed) == (0.5, 2.5, 0.2, False)


def test_an_interrupted_course_goes_on(tmp_path, monkeypatch):
    example.write_course(tmp_path)
    names = ["ada.py", "boole.py", "turing.py"]
    submissions, _ = find_submissions([tmp_path / "submissions" / name for name in names])
    graded, one = [], course._one

    def interrupting(submission, *rest):
        if submission.student == "boole.py" and "boole.py" not in graded:
            graded.append("boole.py")
            raise KeyboardInterrupt
        graded.append(submission.student)
        return one(submission, *rest)

    monkeypatch.setattr(course, "_one", interrupting)
    options = dict(jobs=1, journal=tmp_path / "journal")
    with pytest.raises(course.Interrupted, match="2 submissions are not graded") as stopped:
        course.grade_course(tmp_path / "exercise.py", submissions, **options)
    assert [grade.student for grade in stopped.value.grades] == ["ada.py"]
    with open(tmp_path / "journal", "a") as file:
        file.write('{"key": "cut sh')
    grades = course.grade_course(tmp_path / "exercise.py", submissions, **options)
    assert [grade.student for grade in grades] == names and graded == ["ada.py", "boole.py", "boole.py", "turing.py"]
    submissions[2].path.write_text(PLAIN)  # handed in again
    assert course.grade_course(tmp_path / "exercise.py", submissions, **options)[2].passed
    assert graded[4:] == ["turing.py"]


def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path):
    example.write_course(tmp_path)
    submissions, _ = find_submissions([tmp_path / "submissions" / "ada.py"])
    for content in b"student,points\nada.py,4\n", b"\x89PNG\r\n":
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(ValueError, match="other: expected a journal of this command, got another file; pass"):
            course.grade_course(tmp_path / "exercise.py", submissions, jobs=1, journal=tmp_path / "other")
        assert (tmp_path / "other").read_bytes() == content
    for path in tmp_path, os.devnull:
        with pytest.raises(ValueError, match=f"^{path}: expected the path of a file for the journal, got another"):
            course.grade_course(tmp_path / "exercise.py", submissions, jobs=1, journal=path)


def test_an_error_of_the_exercise_tells_its_line(tmp_path, capsys):
    (tmp_path / "exercise.py").write_text("import handmade as hm\n\nnetwork = hm.MLP([2, 0])\n")
    assert main([str(tmp_path / "exercise.py"), str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told == "error: ValueError: sizes: expected an integer of at least 1, got 0 (line 3 of exercise.py)\n"
    journal = ["--journal", str(tmp_path / "nowhere" / "grades.jsonl")]
    assert main([str(tmp_path / "exercise.py"), str(tmp_path), *journal]) == 2
    assert "expected the path of a file in a folder that exists" in capsys.readouterr().err


@pytest.mark.parametrize("jobs", [0, -1])
def test_a_count_of_jobs_below_one_is_refused(tmp_path, jobs):
    with pytest.raises(ValueError, match=f"jobs: expected an integer of at least 1, got {jobs}"):
        course.grade_course(tmp_path / "exercise.py", [], jobs=jobs)


def test_a_failure_of_the_grader_ends_one_grading_alone(tmp_path, monkeypatch):
    example.write_course(tmp_path)
    submissions, _ = find_submissions([tmp_path / "submissions" / name for name in ("ada.py", "turing.py")])

    def failing(submission, *rest):
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(course, "grade_submission", failing)
    grades = course.grade_course(tmp_path / "exercise.py", submissions, jobs=1)
    assert [grade.verdict for grade in grades] == ["not graded"] * 2
    assert "a mistake of ours" in grades[0].hint


# ---- results ---------------------------------------------------------------------------------------------------------

GRADES = [
    Grade(
        "=1+1.py", Item("loss", 1), [Item("layer 0", 0, "wrong: <W0>")], "a & b\n-hint", "mistakes", ["-note"], ["see"]
    ),
    Grade("bob.py", Item("loss", 1), [Item("layer 0", 1)], "", "passed"),
]


def test_gradescope_has_the_keys_of_its_schema():
    # https://gradescope-autograders.readthedocs.io/en/latest/specs/
    of_result = {"score", "execution_time", "output", "output_format", "visibility", "stdout_visibility", "extra_data",
                 "test_output_format", "test_name_format", "tests", "leaderboard"}  # fmt: skip
    of_test = {"score", "max_score", "status", "name", "name_format", "number", "output", "output_format", "tags",
               "visibility", "extra_data"}  # fmt: skip
    result = gradescope(GRADES[0])
    assert set(result) <= of_result and all(set(test) <= of_test for test in result["tests"])
    assert result["score"] == sum(test.get("score", 0) for test in result["tests"]) == 1
    assert {test["status"] for test in result["tests"]} <= {"passed", "failed"}
    hidden = [test["output"] for test in result["tests"] if test["visibility"] == "hidden"]
    assert hidden == ["see\n-note"] and "note" not in result["output"]
    assert json.loads(to_json(GRADES[:1])) == result
    assert json.loads(to_json(GRADES)) == {grade.student: gradescope(grade) for grade in GRADES}


def test_csv_holds_no_formulas():
    rows = list(csv.reader(io.StringIO(to_csv(GRADES))))
    assert rows[1] == ["'=1+1.py", "1", "2", "mistakes", "1", "0", "a & b\n-hint", "see; -note"]
    assert not [cell for row in rows[1:] for cell in row if re.match(r"[=+@]|-\D", cell)]


def test_junit_is_well_formed():
    suites = ElementTree.fromstring(to_junit(GRADES))
    assert [(suite.get("name"), suite.get("failures")) for suite in suites] == [("=1+1.py", "1"), ("bob.py", "0")]
    assert suites[0][1][0].text == "a & b\n-hint"


def test_tables_show_each_student(capsys, monkeypatch):
    assert table(GRADES).splitlines() == [
        "student  points  of  verdict   hint",
        "=1+1.py       1   2  mistakes  a & b",
        "bob.py        2   2  passed",
        "",
        "2 submissions: 1 mistakes, 1 passed",
        "look at =1+1.py: see",
    ]
    print_table(GRADES)
    assert capsys.readouterr().out == table(GRADES) + "\n"
    pytest.importorskip("rich")
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    with contextlib.redirect_stdout(stream):
        print_table(GRADES)
    assert "mistakes" in stream.getvalue() and "look at =1+1.py: see" in stream.getvalue()


def test_limits_have_no_silly_values():
    with pytest.raises(ValueError, match="memory: expected a positive number"):
        Limits(memory=0)
