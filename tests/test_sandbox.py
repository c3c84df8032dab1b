"""A student's process: its folder, its environment, what is refused, and why it ended."""

from __future__ import annotations

import os

import numpy as np
import pytest

from handmade.grading import sandbox
from handmade.grading.exercise import Limits
from handmade.grading.sandbox import Ended, StudentProcess, _copied, _left_out

HEAD = "import os, sys\nimport numpy as np\nimport helpers\n"
TEXT = (
    HEAD
    + """
def facts():
    own = os.getcwd()
    names = ("HOME", "TMPDIR", "TEMP", "MPLCONFIGDIR")
    print("a line")
    print("the last line")
    return np.array([*(os.environ[name] == own for name in names), os.environ["MPLBACKEND"] == "agg", helpers.x == 7,
                     os.environ["OMP_NUM_THREADS"] == "1", "SECRET" not in os.environ, sys.flags.isolated == 1])

def forbidden():
    import wave

def leaves():
    os._exit(3)

def crashes():
    os.abort()
"""
)


def calling(name):
    return {"inputs": {}, "steps": [["call", ["name", name], [], {}, name]], "results": [["step", 0]]}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "alice"
    (path / "sub").mkdir(parents=True)
    (path / "main.py").write_text(TEXT)
    (path / "helpers.py").write_text("x = 7\n")
    (path / "sub" / "other.py").touch()
    (path / ".hidden").touch()
    os.mkfifo(path / "pipe")
    (path / "link").symlink_to("nowhere")
    return path


def ended(folder, name, **limits):
    """Return the verdict and the reason of a process that ends while it runs a function."""
    with StudentProcess(folder / "main.py", folder, Limits(**limits), ["wave"]) as process:
        process.describe()
        with pytest.raises(Ended) as end:
            process.run(calling(name))
    return end.value.verdict, end.value.reason


def test_a_process_has_a_folder_and_an_environment_of_its_own(folder, monkeypatch):
    monkeypatch.setenv("SECRET", "of the teacher")
    with StudentProcess(folder / "main.py", folder, Limits()) as process:
        described = process.describe()
        assert (described["error"], set(described["functions"])) == (None, {"facts", "forbidden", "leaves", "crashes"})
        answer = process.run(calling("facts"))
        assert np.asarray(answer["values"][0]).tolist() == [True] * 9
        place = process._place
        assert os.path.isdir(place) and process.name == "main.py"
    assert not os.path.exists(place)
    assert process.last_output == "the last line"
    assert process.printed == len("a line\nthe last line\n")


def test_what_ends_a_process_is_told(folder):
    assert ended(folder, "forbidden") == ("forbidden", "uses wave, which this exercise does not allow")
    assert ended(folder, "leaves") == ("ended", "ends the process with exit status 3; functions return, and never exit")
    assert ended(folder, "crashes") == ("crashed", "crashed with SIGABRT")


def test_a_folder_is_copied_without_what_is_hidden_or_no_file(folder, tmp_path):
    (folder / "__pycache__").mkdir()
    names = [".hidden", "pipe", "link", "sub", "__pycache__", "__MACOSX"]
    assert _left_out(str(folder), names) == {".hidden", "pipe", "__pycache__", "__MACOSX"}
    own = tmp_path / "work"
    assert _copied(folder / "sub" / "other.py", folder, own) == own / "sub" / "other.py"
    assert sorted(os.listdir(own)) == ["helpers.py", "link", "main.py", "sub"] and os.listdir(own / "sub") == [
        "other.py"
    ]
    alone = tmp_path / "alone"
    assert _copied(folder / "sub" / "other.py", None, alone) == alone / "other.py"
    assert os.listdir(alone) == ["other.py"]


def test_a_slow_start_is_not_the_submissions(folder, monkeypatch):
    slow = "import time\nwhile time.process_time() < 2.5: pass\n"
    monkeypatch.setattr(sandbox, "START", slow + sandbox.START)
    with StudentProcess(folder / "main.py", folder, Limits(cpu_seconds=1)) as process:
        process.describe()
        assert len(process.run(calling("facts"))["values"]) == 1
