"""The course's submissions graded in this process, evidence of differences, and the command without its processes."""

from __future__ import annotations

import dataclasses
import json
import types

import course
import numpy as np
import pytest

import handmade as hm
from handmade.grading import Exercise, Grade, Item, grade
from handmade.grading import __main__ as command
from handmade.grading.calls import Answer, Truth
from handmade.grading.child.loading import load
from handmade.grading.course import Interrupted
from handmade.grading.evidence import by_differences, looks_like_differences
from handmade.grading.layouts import Reading
from handmade.grading.submissions import Submission

NETWORK = hm.MLP([2, 4, 3, 2], activation="tanh", rng=0)
X, Y = hm.data.moons(20, noise=0.1, rng=0)


@pytest.fixture
def graded(tmp_path, monkeypatch):
    """Return the grade of a submission of the course that this process loads, as another one would."""
    monkeypatch.chdir(tmp_path)  # below which a submission's own functions are

    def graded(name):
        file = tmp_path / name
        file.write_text(course.SUBMISSIONS[name])
        with np.errstate():
            student, _ = load(str(file))
        return grade(student, NETWORK, X, Y)

    return graded


# ---- the course ------------------------------------------------------------------------------------------------------

RIGHT = ["ada.py", "boole.py", "cauchy.py", "darwin.py", "euler.py", "fermat.py"]


@pytest.mark.parametrize("name", RIGHT)
def test_right_submissions_of_every_style_earn_all(graded, name):
    result = graded(name)
    assert (result.points, result.verdict, result.hint, result.suspicions) == (4, "passed", "", [])


@pytest.mark.parametrize(
    ("name", "credits", "hint"),
    [
        ("ibn_sina.py", [1, 0, 1, 1], "activation derivative missing, in the tanh after W0"),
        ("kovalevskaya.py", [1, 1, 0, 1], "averaged"),
        ("mirzakhani.py", [0, 1, 1, 1], "forward: expected that of the network"),
        ("pascal.py", [0, 1, 1, 1], "got N times that"),
        ("jacobi.py", [1, 1, 1, 0], "times N"),
        ("viete.py", [0, 0, 0, 0], "forward and backward missing"),
    ],
)
def test_wrong_submissions_lose_the_point_of_their_mistake(graded, name, credits, hint):
    result = graded(name)
    assert [item.credit for item in result.items] == credits
    assert hint in result.hint


def test_differences_are_told_by_the_count_of_evaluations(graded):
    result = graded("ramanujan.py")
    assert (result.verdict, [item.credit for item in result.items]) == ("differences", [1, 0, 0, 0])


# ---- evidence --------------------------------------------------------------------------------------------------------


class Called:
    """A call whose answers a test gives."""

    def __init__(self, answer, part="gradients"):
        self.answer, self.asked = answer, []
        self.plan = types.SimpleNamespace(parts={part: None})

    def ask(self, part, arrays, X, y, count=False):
        self.asked.append((part, len(X), len(y), count))
        return self.answer(arrays) if callable(self.answer) else self.answer

    def pair_of(self, values):
        return ([0.5], values)

    def gradient_of(self, values, samples):
        assert samples == len(X)
        return values


@pytest.mark.parametrize("part", ["both", "gradients"])
def test_as_many_evaluations_as_parameters_are_differences(part):
    truth, size = Truth(Exercise(NETWORK, X, Y)), NETWORK.theta.size
    for evaluations, count in (size, size), (size - 1, 0), (2 * size, 2 * size), (1, 0):
        call = Called(Answer([], evaluations=evaluations), part)
        assert by_differences(call, truth) == count
        assert call.asked == [(part, 1, 1, True)]  # of one row
    small = Truth(Exercise(hm.MLP([1, 1], rng=0), [[1.0]], [[1.0]], "mse_loss"))
    assert [by_differences(Called(Answer([], evaluations=n), part), small) for n in (5, 6)] == [0, 6]
    normalized = hm.MLP([2, 4, 2], normalization="batch", rng=0)
    call = Called(Answer([], evaluations=0), part)
    by_differences(call, Truth(Exercise(normalized, X, Y)))
    assert call.asked == [(part, 2, 2, True)]


def reading_of(truth, noise):
    """Return the true gradient with an error relative to the largest entry of each parameter."""
    arrays = {name: g + noise(g.shape) * np.abs(g).max() for name, g in truth.gradient.items()}
    return Reading(arrays, {})


def rounding(seed, size=1e-8):
    rng = np.random.default_rng(seed)
    return lambda shape: size * rng.choice([-1.0, 1.0], shape)


def smooth(shape):
    return np.full(shape, 1e-8)


@pytest.mark.parametrize("part", ["both", "gradients"])
@pytest.mark.parametrize(
    ("here", "there", "is_noted"),
    [
        (rounding(0), rounding(1), True),
        (smooth, smooth, False),  # as of float32, or of a small constant in a formula
        (rounding(0, 1e-13), rounding(1), False),  # the errors of formulas
    ],
    ids=["noise", "smooth", "exact"],
)
def test_errors_that_change_like_noise_are_noted(part, here, there, is_noted):
    truth = Truth(Exercise(NETWORK, X, Y))

    def answer(arrays):
        moved = hm.MLP([2, 4, 3, 2], activation="tanh", rng=0)
        moved.theta = np.concatenate([array.ravel() for array in arrays])
        assert np.allclose(moved.theta, truth.network.theta * (1 + 1e-9), rtol=1e-14)
        shifted = types.SimpleNamespace(gradient=moved.blocks(moved.loss_and_gradient(X, Y)[1]))
        return Answer(reading_of(shifted, there))

    call = Called(answer, part)
    notes = looks_like_differences(call, truth, reading_of(truth, here))
    text = "the gradient is right to 1e-08 only, and its errors change like those of differences: look at the code"
    assert notes == ([text] if is_noted else [])
    assert call.asked == ([] if here(3)[0] ** 2 < 1e-25 else [(part, len(X), len(X), False)])


def test_errors_are_those_of_the_loss_of_the_exercise():
    truth = Truth(Exercise(NETWORK, X, X[:, ::-1], "mse_loss"))

    def answer(noise):
        def answer(arrays):
            network = NETWORK.astype(float)
            network.theta = np.concatenate([array.ravel() for array in arrays])
            gradient = network.blocks(network.loss_and_gradient(X, X[:, ::-1], "mse_loss")[1])
            return Answer(reading_of(types.SimpleNamespace(gradient=gradient), noise))

        return answer

    assert looks_like_differences(Called(answer(smooth)), truth, reading_of(truth, smooth)) == []
    here = reading_of(truth, rounding(0))
    here.arrays["0.bias"][0] += 3e-7 * np.abs(truth.gradient["0.bias"]).max()  # the largest difference is reported
    here.arrays["2.bias"] = truth.gradient["2.bias"]  # though some are exact
    (note,) = looks_like_differences(Called(answer(rounding(1))), truth, here)
    assert note.startswith("the gradient is right to 3e-07 only")


def test_what_cannot_be_judged_is_not_suspected():
    truth = Truth(Exercise(NETWORK, X, Y))
    noisy = reading_of(truth, rounding(0))
    for answer in Answer(noisy, error="ValueError"), Answer(noisy, unsent="a lock"), Answer(Reading({}, {}, "none")):
        assert looks_like_differences(Called(answer), truth, noisy) == []
    call = Called(Answer(noisy))
    for reading in (
        Reading({}, {}, "a problem"),
        dataclasses.replace(noisy, flaws={"0.weight": "a flaw"}),
        Reading({name: g.astype(np.float32) for name, g in noisy.arrays.items()}, {}),
        Reading(noisy.arrays | {"0.bias": noisy.arrays["0.bias"].astype(np.float32)}, {}),
    ):
        assert looks_like_differences(call, truth, reading) == []
    single = Truth(Exercise(NETWORK.astype(np.float32), X.astype(np.float32), Y))
    assert looks_like_differences(call, single, noisy) == [] == call.asked


# ---- the command -----------------------------------------------------------------------------------------------------

PASSED = Grade("ada.py", Item("loss", 1), [Item("layer 0", 1)], "", "passed")
FAILED = Grade(
    "bob.py", Item("loss", 0, "wrong"), [Item("layer 0", 1)], "a hint", "mistakes", ["a note"], ["a suspicion"]
)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command with these grades: its status, output, errors and arguments."""
    (tmp_path / "exercise.py").write_text(course.EXERCISE)
    (tmp_path / "submissions").mkdir()
    for name in "ada.py", "bob.py", "notes.txt":
        (tmp_path / "submissions" / name).touch()
    given = []

    def run(grades, *options):
        def graded(*arguments):
            given.append(arguments)
            if isinstance(grades, BaseException):
                raise grades
            return grades

        monkeypatch.setattr(command, "grade_course", graded)
        status = command.main([str(tmp_path / "exercise.py"), str(tmp_path / "submissions"), *options])
        return status, *capsys.readouterr(), given[-1] if given else None

    monkeypatch.chdir(tmp_path)
    return run


@pytest.mark.parametrize(("grades", "status"), [([PASSED], 0), ([PASSED, FAILED], 1), ([FAILED], 1), ([], 0)])
def test_status_says_if_all_have_passed(run, grades, status):
    found, out, _, given = run(grades, "--quiet")
    assert found == status
    assert "submission" in out.splitlines()[-1] or "look at bob.py" in out
    path, submissions, jobs, journal, progress = given
    assert [type(submissions[0]), *(one.student for one in submissions)] == [Submission, "ada.py", "bob.py"]
    assert (path.endswith("exercise.py"), jobs, journal, progress) == (True, None, None, False)


def test_details_files_and_options_are_taken(run, tmp_path):
    files = [part for name in ("json", "csv", "junit") for part in (f"--{name}", f"out.{name}")]
    status, out, err, given = run([PASSED, FAILED], "--details", "--jobs", "3", "--journal", "kept", *files)
    assert status == 1
    assert given[2:] == (3, "kept", True)
    shown = f"{PASSED}\n\n{FAILED}\n  note: a suspicion\n  note: a note\n\nstudent "
    assert out.startswith(shown)
    assert err.startswith("not graded: ") and "notes.txt; expected a .py file, a notebook or a folder" in err
    assert set(json.loads((tmp_path / "out.json").read_text())) == {"ada.py", "bob.py"}
    assert (tmp_path / "out.csv").read_text().startswith("student,")
    assert (tmp_path / "out.junit").read_text().startswith("<?xml")


def test_an_interrupt_shows_what_was_graded(run):
    for options, message in (
        (["--journal", "kept"], "the same command goes on"),
        ([], "with --journal FILE the same command"),
    ):
        status, out, err, _ = run(Interrupted([PASSED], 4), *options)
        assert status == 130
        assert "ada.py" in out and f"interrupted: 4 submissions are not graded; {message}" in err


def test_a_mistake_of_the_teacher_has_a_status_of_its_own(run, tmp_path):
    status, out, err, given = run([PASSED], "--csv", str(tmp_path / "no" / "folder.csv"))
    assert (status, out, given) == (2, "", None)
    assert err.startswith("error: FileNotFoundError: ") and "expected the path of a file in a folder that exists" in err
    assert run([PASSED], "--json", str(tmp_path))[0] == 2
    status, _, err, _ = run(ValueError("no such exercise"), "--quiet")
    assert status == 2
    assert err.splitlines()[-1].startswith("error: ValueError: no such exercise (line ")
