"""Grades written in every form: points, tables, results.json, CSV and XML; exercises, submissions and the journal."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import types
from xml.etree import ElementTree

import numpy as np
import pytest

import handmade as hm
from handmade.grading import Exercise, Grade, Item
from handmade.grading.course import _Journal
from handmade.grading.exercise import Limits, load_exercise
from handmade.grading.results import gradescope, print_table, table, to_csv, to_json, to_junit
from handmade.grading.submissions import Submission, find_submissions, grade_submission, not_graded

NETWORK = hm.MLP([3, 4, 2], "tanh", rng=0)
X, Y = np.random.default_rng(0).normal(size=(5, 3)), np.array([0, 1, 1, 0, 1])

FULL = Grade("alice.py", Item("loss", 1, "", 2.0), [Item("layer 0", 1, "", 3.0)], "", "passed", seconds=1.25)
MENDED = Grade(
    "bob.py", Item("loss", 1, "", 2.0), [Item("layer 0", 1, "right, given", 3.0)], "bob.py: mend\nthis", "remarks"
)
HALF = Grade(
    "=carol",
    Item("loss", 0, "wrong", 2.0),
    [Item("layer 0", 1, "", 3.0)],
    "",
    "mistakes",
    ["a note"],
    ["a suspicion"],
    0.5,
)


# ---- points ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grade", "points", "credit", "passed", "title"),
    [
        (FULL, 5, 1.0, True, "alice.py: 5 of 5 points"),
        (MENDED, 5, 1.0, False, "bob.py: 5 of 5 points"),
        (HALF, 3, 0.6, False, "=carol: 3 of 5 points"),
        (Grade("d", Item("loss", 1, "", 1 / 3), [Item("l", 0, "", 1 / 3)] * 2, ""), 1 / 3, 1 / 3, False,
         "d: 0.3333 of 1 points"),
    ],
)  # fmt: skip
def test_points_are_credits_times_weights(grade, points, credit, passed, title):
    assert (grade.points, grade.credit, grade.passed) == (pytest.approx(points), pytest.approx(credit), passed)
    assert (grade.title, repr(grade)) == (title, f"<{title}>")
    assert grade.items == [grade.forward, *grade.layers]
    assert grade.most == pytest.approx(sum(item.points for item in grade.items))


def test_a_grade_prints_its_items_and_hints():
    assert str(HALF).splitlines() == ["=carol: 3 of 5 points", "  loss     0  wrong", "  layer 0  3"]
    assert str(MENDED).splitlines()[-3:] == ["  layer 0  3  right, given", "  hint: bob.py: mend", "  hint: this"]


@pytest.mark.parametrize("grade", [FULL, MENDED, HALF])
def test_a_grade_is_read_back_from_json(grade):
    assert Grade.from_dict(json.loads(json.dumps(grade.to_dict()))) == grade
    assert Grade.from_dict(grade.to_dict()).seconds == grade.seconds


def test_a_grade_stays_and_its_time_makes_no_other():
    assert Grade("d", Item("loss", 1), [], "").verdict == "mistakes"
    assert dataclasses.replace(FULL, seconds=9.0) == FULL != dataclasses.replace(FULL, hint="another")
    for thing in FULL, FULL.forward:
        with pytest.raises(dataclasses.FrozenInstanceError):
            thing.remark = "changed"


# ---- forms -----------------------------------------------------------------------------------------------------------


def test_gradescope_has_a_test_for_each_item():
    shown = {"output_format": "text", "visibility": "visible"}
    loss = {"name": "loss", "number": "1", "score": 0.0, "max_score": 2.0, "status": "failed", "output": "wrong"}
    layer = {"name": "layer 0", "number": "2", "score": 3.0, "max_score": 3.0, "status": "passed", "output": ""}
    notes = {"name": "notes for the teacher", "output": "a suspicion\na note", "status": "passed"}
    assert gradescope(HALF) == {
        "score": 3.0,
        "execution_time": 0.5,
        "output": "",
        **shown,
        "stdout_visibility": "hidden",
        "extra_data": {"student": "=carol", "verdict": "mistakes"},
        "tests": [loss | shown, layer | shown, notes | shown | {"visibility": "hidden"}],
    }
    assert len(gradescope(FULL)["tests"]) == 2  # without notes, no test of them
    assert gradescope(MENDED)["output"] == "bob.py: mend\nthis"


def test_json_of_one_is_its_results_and_of_several_by_student():
    assert json.loads(to_json([HALF])) == gradescope(HALF)
    assert json.loads(to_json([FULL, HALF])) == {"alice.py": gradescope(FULL), "=carol": gradescope(HALF)}
    text = to_json([Grade("größe", Item("loss", 0, "\x00\ud800 \t\n"), [], "")])
    assert "größe" in text and text.endswith("}\n")
    assert '"\\u0000\ufffd \\t\\n"' in text  # JSON writes \x00 in words
    assert text.splitlines()[1].startswith("  ")


def test_csv_has_a_column_for_each_item_and_no_formula():
    rows = list(csv.reader(io.StringIO(to_csv([FULL, MENDED, HALF]))))
    assert rows == [
        ["student", "points", "of", "verdict", "forward", "layer 0", "hint", "notes"],
        ["alice.py", "5", "5", "passed", "2", "3", "", ""],
        ["bob.py", "5", "5", "remarks", "2", "3", "bob.py: mend\nthis", ""],
        ["'=carol", "3", "5", "mistakes", "0", "3", "", "a suspicion; a note"],
    ]
    assert to_csv([]) == "student,points,of,verdict,forward,hint,notes\n"
    for start in "=+-@\t\n\r":
        text = to_csv([Grade(f"{start}1", Item("loss", 1), [], "one\rtwo")])
        (row,) = list(csv.reader(io.StringIO(text, newline="")))[1:]
        assert (row[0], row[-2]) == (f"'{start}1".replace("\r", "\n"), "one\ntwo")


def test_xml_has_a_suite_for_each_submission():
    text = to_junit([FULL, MENDED, HALF])
    assert text.startswith(
        '<?xml version="1.0" encoding="utf-8"?>\n<testsuites name="handmade.grading">\n  <testsuite '
    )
    suites = list(ElementTree.fromstring(text.encode()))
    attributes = [dict(suite.attrib) for suite in suites]
    assert attributes == [
        {"name": "alice.py", "tests": "2", "errors": "0", "skipped": "0", "failures": "0", "time": "1.25"},
        {"name": "bob.py", "tests": "3", "errors": "0", "skipped": "0", "failures": "1", "time": "0.00"},
        {"name": "=carol", "tests": "2", "errors": "0", "skipped": "0", "failures": "1", "time": "0.50"},
    ]
    cases = [[(case.get("classname"), case.get("name"), len(case)) for case in suite] for suite in suites]
    assert cases[0] == [("alice.py", "loss", 0), ("alice.py", "layer 0", 0)]
    assert cases[1] == [("bob.py", "loss", 0), ("bob.py", "layer 0", 0), ("bob.py", "remarks", 1)]
    assert cases[2] == [("=carol", "loss", 1), ("=carol", "layer 0", 0)]
    remark, failure = suites[1][2][0], suites[2][0][0]
    assert dict(remark.attrib) == {"message": "bob.py: mend\nthis", "type": "remarks"}
    assert (dict(failure.attrib), failure.text) == ({"message": "wrong", "type": "mistakes"}, None)


def test_a_table_has_a_row_for_each_submission():
    long = Grade("dave", Item("loss", 0), [], "dave: " + "x" * 90, "mistakes")
    edge = Grade("eve", Item("loss", 0), [], "y" * 80, "time")
    assert table([FULL, MENDED, HALF, long, edge]).splitlines() == [
        "student   points  of  verdict   hint",
        "alice.py       5   5  passed",
        "bob.py         5   5  remarks   mend",
        "=carol         3   5  mistakes",
        f"dave           0   1  mistakes  {'x' * 77}...",
        f"eve            0   1  time      {'y' * 80}",
        "",
        "5 submissions: 2 mistakes, 1 passed, 1 remarks, 1 time",
        "look at =carol: a suspicion",
    ]
    assert table([FULL]).splitlines()[-1] == "1 submission: 1 passed"


def test_a_terminal_shows_the_table_in_color(monkeypatch):
    pytest.importorskip("rich")
    for name in "NO_COLOR", "FORCE_COLOR":
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", terminal)
    print_table([FULL, MENDED, HALF])
    lines = terminal.getvalue().splitlines()
    rows = {name: next(line for line in lines if name in line) for name in ("alice.py", "bob.py", "=carol")}
    assert {name: "\x1b[32m" in row for name, row in rows.items()} == {
        "alice.py": True,
        "bob.py": False,
        "=carol": False,
    }
    assert "3 submissions: 1 passed, 1 remarks, 1 mistakes" in terminal.getvalue()


# ---- exercises -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "weights"),
    [(None, [1, 1, 1]), (6, [2, 2, 2]), (1.5, [0.5] * 3), ([1, 0, 2], [1, 0, 2]), (np.ones(3), [1, 1, 1])],
)
def test_points_are_shared_by_loss_and_layers(points, weights):
    assert Exercise(NETWORK, X, Y, points=points).weights == weights


@pytest.mark.parametrize("points", [0, -1, [1, 2], [0, 0, 0], [1, -1, 1], [1, 1, np.inf], [1, 1, np.nan], np.inf])
def test_points_that_nobody_can_earn_are_refused(points):
    with pytest.raises(ValueError, match=r"^points: expected"):
        Exercise(NETWORK, X, Y, points=points)
    with pytest.raises(TypeError, match=r"^points: expected"):
        Exercise(NETWORK, X, Y, points=True)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"file": 3}, TypeError), ({"adapter": 3}, TypeError), ({"adapter": "no such file"}, FileNotFoundError),
     ({"limits": 3}, TypeError), ({"forbidden": "torch"}, TypeError), ({"forbidden": 3}, TypeError),
     ({"forbidden": [3]}, TypeError)],
)  # fmt: skip
def test_options_of_an_exercise_are_checked(options, error):
    with pytest.raises(error, match=f"^{next(iter(options))}: expected"):
        Exercise(NETWORK, X, Y, **options)


@pytest.mark.parametrize("name", ["seconds", "cpu_seconds", "memory", "output"])
def test_limits_are_positive_numbers(name):
    for value in 0, -1, "1", True, np.inf, np.nan, None:
        with pytest.raises(ValueError, match=f"^{name}: expected a positive number, got "):
            Limits(**{name: value})
    assert getattr(Limits(**{name: 1}), name) == 1


def test_an_exercise_keeps_copies_and_names_its_layers():
    own, labels = X.copy(), Y.copy()
    exercise = Exercise(NETWORK, own, labels)
    own[:], labels[:] = 0, 0
    assert np.array_equal(exercise.X, X) and np.array_equal(exercise.y, Y)
    assert [names for _, names in exercise.layers] == [["0.weight", "0.bias"], ["2.weight", "2.bias"]]
    moved = exercise.network.theta - NETWORK.theta
    assert np.abs(moved).min() > 0 and np.abs(moved).max() <= 0.1


def test_a_fingerprint_tells_exercises_apart(tmp_path):
    adapter = tmp_path / "adapter.py"
    adapter.write_text("x = 1")
    given = dict(network=NETWORK, X=X, y=Y)
    others = [
        {"X": X + 1}, {"y": 1 - Y}, {"points": 5}, {"file": "a.py"}, {"network": hm.MLP([3, 4, 2], "tanh", rng=1)},
        {"network": hm.MLP([3, 4, 2], "relu", rng=0)}, {"loss": "multi_margin_loss"}, {"adapter": adapter},
        {"forbidden": ["torch"]}, {"limits": Limits(cpu_seconds=1)},
    ]  # fmt: skip
    prints = [Exercise(**given | more).fingerprint for more in [{}, *others]]
    assert len(set(prints)) == len(prints)
    assert Exercise(**given).fingerprint == prints[0] and {len(one) for one in prints} == {16}
    before = Exercise(**given, adapter=adapter)
    first = before.fingerprint
    adapter.write_text("x = 2")
    assert before.fingerprint != first


def test_swapped_labels_of_equal_samples_are_another_exercise():
    same = np.ones((2, 3))  # with one loss
    assert Exercise(NETWORK, same, [0, 1]).fingerprint != Exercise(NETWORK, same, [1, 0]).fingerprint


def test_an_exercise_is_itself_alone_and_prints_what_was_given():
    one, other = Exercise(NETWORK, X, Y), Exercise(NETWORK, X, Y)
    assert one != other and len({one, other, one}) == 2
    assert "points=None" in repr(one) and "_value" not in repr(one)
    for thing, name in (one, "points"), (one.limits, "memory"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, 3)
    with pytest.raises(TypeError, match="_value"):
        Exercise(NETWORK, X, Y, _value=1.0)


def test_a_submission_has_a_minute_and_a_gibibyte_unless_told():
    assert Exercise(NETWORK, X, Y).limits == Limits(seconds=60, cpu_seconds=10, memory=1024**3, output=100_000)


@pytest.mark.parametrize(
    ("text", "error"),
    [("", "got none"), ("a, b = (Exercise(hm.MLP([1, 2], rng=0), [[1.0]], [0]) for _ in range(2))", "got 2")],
)
def test_a_file_defines_one_exercise(tmp_path, text, error):
    head = "import handmade as hm\nfrom handmade.grading import Exercise\n"
    path = tmp_path / "exercise.py"
    path.write_text(head + text)
    with pytest.raises(ValueError, match=f"expected one exercise, .*, {error}"):
        load_exercise(path)
    path.write_text(head + "task = other = Exercise(hm.MLP([1, 2], rng=0), [[1.0]], [0])")  # one, by two names
    assert load_exercise(path).weights == [1, 1]
    with pytest.raises(FileNotFoundError, match=r"none\.py: expected the file of an exercise, found none there"):
        load_exercise(tmp_path / "none.py")


def test_what_is_not_graded_has_no_point():
    grade = not_graded("eve", Exercise(NETWORK, X, Y, points=[1, 2, 3]), "time", "too slow")
    assert (grade.points, grade.most, grade.verdict, grade.hint) == (0, 6, "time", "too slow")
    assert [(item.credit, item.remark, item.points) for item in grade.items] == [
        (0, "not graded", w) for w in (1, 2, 3)
    ]
    assert [item.name for item in grade.items] == ["loss", "layer 0, Dense(3, 4)", "layer 2, Dense(4, 2)"]


# ---- submissions -----------------------------------------------------------------------------------------------------

CONTRACT = "def forward(p, X): ...\ndef backward(p, X, y): ...\n"


@pytest.fixture
def folder(tmp_path):
    def fill(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_py", ".py").replace("_txt", ".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return fill


@pytest.mark.parametrize(
    ("files", "named", "found"),
    [
        ({"a_py": ""}, None, "a.py"),
        ({"a_py": "x = 1", "b_py": "def forward(): ..."}, None, "b.py"),  # the one that defines functions
        ({"a_py": "def forward(): ...", "b_py": CONTRACT}, None, "b.py"),  # the one with the whole contract
        ({"a_py": "def loss_and_gradient(): ...", "b_py": "def forward(): ..."}, None, "a.py"),
        ({"a_py": "x = 1", "sub__b_py": CONTRACT}, "a.py", "a.py"),
        ({"a_py": "", "c_txt": ""}, None, "a.py"),
        ({"a_py": "", ".hidden__b_py": ""}, None, "a.py"),
        ({"a_py": "def broken(", "b_py": CONTRACT}, None, "b.py"),
    ],
)
def test_of_a_folder_the_file_with_the_functions_is_taken(folder, files, named, found):
    path = folder(**files)
    assert Submission("s", path).file(Exercise(NETWORK, X, Y, file=named)) == path / found


def test_functions_are_found_in_cells_and_in_any_encoding(folder):
    path = folder(a_py="x = 1")
    cells = [{"cell_type": "code", "source": [text]} for text in ("x = 1", "def forward(): ...")]
    (path / "b.ipynb").write_text(json.dumps({"cells": cells}))
    exercise = Exercise(NETWORK, X, Y)
    assert Submission("s", path).file(exercise) == path / "b.ipynb"
    (path / "b.ipynb").unlink()
    (path / "c.py").write_bytes(b"# caf\xe9\ndef forward(): ...\n")
    assert Submission("s", path).file(exercise) == path / "c.py"


@pytest.mark.parametrize(
    ("files", "named", "error"),
    [
        ({"c_txt": ""}, None, "expected one file of code in the folder, found none"),
        ({"a_py": CONTRACT, "b_py": CONTRACT}, None, "found a.py, b.py"),
        ({"a_py": "", "b_py": ""}, None, "found a.py, b.py"),
        ({f"{letter}_py": "" for letter in "abcdefg"}, None, "found a.py, b.py, c.py, d.py, e.py$"),
        ({"a_py": ""}, "b.py", "expected one file b.py in the folder, found 0"),
        ({"b_py": "", "sub__b_py": ""}, "b.py", "found 2"),
    ],
)
def test_a_folder_without_one_such_file_is_refused(folder, files, named, error):
    with pytest.raises(ValueError, match=error):
        Submission("s", folder(**files)).file(Exercise(NETWORK, X, Y, file=named))


def test_submissions_are_files_and_folders(folder):
    path = folder(a_py="", sub__b_py="", c_txt="", __pycache_____x_py="")
    (path / ".hidden.py").touch()
    (path / "__MACOSX").mkdir()
    found, ignored = find_submissions([path])
    assert [(one.student, one.path.name) for one in found] == [("a.py", "a.py"), ("sub", "sub")]
    assert [one.name for one in ignored] == ["c.txt"]
    assert [one.path for one in find_submissions([path], file="a.py")[0]] == [path]
    assert len(find_submissions([path / "a.py", path / "a.py"])[0]) == 1
    for given, error in (path / "no.py", FileNotFoundError), (path / "c.txt", ValueError), (path / "none", ValueError):
        (path / "none").mkdir(exist_ok=True)
        with pytest.raises(error):
            find_submissions([given])


def test_a_folder_that_cannot_be_graded_says_why(folder, monkeypatch):
    exercise, clock = Exercise(NETWORK, X, Y), itertools.chain([10.0, 11.23456], itertools.count())
    monkeypatch.setattr("handmade.grading.submissions.time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    grade = grade_submission(Submission("both", folder(a_py="", b_py="")), exercise)
    assert (grade.student, grade.verdict, grade.points) == ("both", "unreadable", 0)
    assert grade.hint == "both: expected one file of code in the folder, found a.py, b.py"
    assert [item.remark for item in grade.items] == ["not graded"] * 3
    assert grade.seconds == 1.23
    named = Exercise(NETWORK, X, Y, file="x" * 400)
    hint = grade_submission(Submission("both", folder()), named).hint
    assert hint == "both: " + f"expected one file {'x' * 400}"[:300] + "..."


def test_long_names_of_students_are_cut(folder):
    path = folder(a_py="") / ("y" * 120 + ".py")
    path.touch()
    assert find_submissions([path])[0] == [Submission("y" * 100 + "...", path)]


# ---- the journal -----------------------------------------------------------------------------------------------------


def test_a_journal_keeps_grades_of_unchanged_submissions(folder, tmp_path):
    path = folder(a_py="x = 1", sub__b_py="x = 1")
    one, two = Submission("a.py", path / "a.py"), Submission("sub", path / "sub")
    exercise, file = Exercise(NETWORK, X, Y), tmp_path / "journal"
    journal = _Journal(file, exercise)
    assert journal.find(one) is None
    journal.add(one, FULL)
    journal.add(two, HALF)
    file.write_text(file.read_text() + '{"key": "cut sh')
    kept = _Journal(file, exercise)
    assert (kept.find(one), kept.find(two)) == (FULL, HALF)
    text = file.read_text()
    assert text.endswith('{"key": "cut sh\n') and _Journal(file, exercise).find(one) == FULL
    assert file.read_text() == text
    assert _Journal(file, Exercise(NETWORK, X, 1 - Y)).find(one) is None
    assert kept.find(Submission("another", one.path)) is None
    (path / "a.py").write_text("x = 2")
    (path / "sub" / "c.py").write_text("")
    assert kept.find(one) is kept.find(two) is None
    kept.add(one, not_graded("a.py", exercise, "not graded", "the grader failed"))
    assert _Journal(file, exercise).find(one) is None  # to be tried again
    nowhere = _Journal(None, exercise)
    nowhere.add(one, FULL)
    assert nowhere.find(one) is None
