"""The pytest plugin that grades: its options, its table, its exit code."""

from __future__ import annotations

import subprocess
import sys

import pytest
from students import RIGHT

pytest_plugins = ["pytester"]

TEACHER = """\
import numpy as np, handmade as hm

def test_backward(grade, student):
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    result = grade(student, hm.MLP([3, 5, 4, 2], activation="tanh", rng=0), X, Y, loss="mse_loss")
    assert result.passed
"""


@pytest.fixture
def course(pytester, monkeypatch):
    """Return a pytester with a teacher's test beside two students' files, one of them wrong."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # what is installed here is not at stake
    pytester.makeconftest('pytest_plugins = ["handmade.grading"]')
    pytester.makepyfile(test_course=TEACHER)
    folder = pytester.mkdir("students")
    (folder / "alice.py").write_text(RIGHT)
    (folder / "bob.py").write_text(RIGHT.replace(" * (1 - H1**2)", ""))
    return pytester


def test_each_file_is_graded_and_the_summary_lists_them(course):
    result = course.runpytest_inprocess("-v", "--student=students/bob.py", "--student=students/alice.py")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*test_backward[[]bob.py] FAILED*",
            "*test_backward[[]alice.py] PASSED*",
            "E *assert False*",
            "E *where False = <bob.py: 3 of 4 points>.passed",
            "* Captured grade call *",
            "bob.py: 3 of 4 points",
            "  layer 2, Dense(5, 4)  0  wrong: W1, b1",
            "  hint: *",
            "* grades *",
            "bob.py: 3 of 4 points",
            "  forward               1",
            "  layer 0, Dense(3, 5)  1  right, given the mistake above it",
            "  layer 2, Dense(5, 4)  0  wrong: W1, b1",
            "  layer 4, Dense(4, 2)  1",
            "  hint: *activation derivative missing*",
            "alice.py: 4 of 4 points",
            "* 1 failed, 1 passed in *",
        ]
    )


def test_the_option_is_explained_in_a_group_of_its_own(course):
    course.runpytest_inprocess("--help").stdout.fnmatch_lines(
        ["handmade:", "  --student=FILE*a submission, or a folder of them; may be repeated"]
    )


def test_a_folder_means_its_files(course):
    course.runpytest_inprocess("--student=students").assert_outcomes(passed=1, failed=1)


def test_a_grade_made_in_a_fixture_is_listed_once(course):
    teacher = TEACHER.replace("def test_backward(grade, student):", "@pytest.fixture\ndef result(grade, student):")
    teacher = teacher.replace("    result = ", "    return ").replace("    assert result.passed\n", "")
    teacher = f"import pytest, warnings\n{teacher}\ndef test_it(result):\n    warnings.warn('a warning is no test')\n"
    course.makepyfile(test_course=teacher + "\ndef test_other():\n    pass\n")
    result = course.runpytest_inprocess("--student=students/alice.py", "-k", "it", "-W", "default")
    result.assert_outcomes(passed=1, deselected=1, warnings=1)
    assert [line for line in result.outlines if "points" in line] == ["alice.py: 4 of 4 points"]


def test_an_empty_folder_is_no_success(course):
    course.mkdir("nobody")
    result = course.runpytest_inprocess("--student=nobody")
    assert result.ret != 0
    said = "ERROR: --student=nobody: expected .py files, notebooks or a folder for each student, found none"
    assert [line for line in result.errlines if line] == [said]


def test_a_mistyped_file_is_one_line(course):
    result = course.runpytest_inprocess("--student=students/alise.py")
    assert result.ret == 4 and "".join(result.outlines) == ""
    said = "ERROR: --student=students/alise.py: expected a submission or a folder of them, which does not exist"
    assert [line for line in result.errlines if line] == [said]


def test_without_a_file_the_option_is_named(course):
    result = course.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*student: expected pytest --student=FILE, the file to grade*"])
    result.stdout.no_fnmatch_line("* grades *")
    result.stdout.no_fnmatch_line("*plugin.py*")


def test_a_test_may_name_its_file_itself(course):
    teacher = TEACHER.replace("grade, student", "grade").replace("student,", "'students/alice.py',")
    course.makepyfile(test_course=teacher)
    result = course.runpytest_inprocess("-p", "handmade.grading")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["* grades *", "alice.py: 4 of 4 points"])


def test_grading_without_pytest_loads_none():
    code = "import sys, handmade.grading; print('pytest' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout == "False\n"
