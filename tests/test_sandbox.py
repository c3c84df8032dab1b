"""A student's process: its folder, its environment, what is refused, and why it ended."""

from __future__ import annotations

import os
import shutil
import time
import types
from pathlib import Path

import numpy as np
import pytest

from handmade.grading import sandbox
from handmade.grading.exercise import Limits
from handmade.grading.sandbox import Ended, InProcess, StudentProcess, _copied, _left_out

KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "NUMBER_OF_PROCESSORS")
HEAD = f"import os, sys\nimport numpy as np\nimport helpers\nKEPT = {KEPT}\n"
TEXT = (
    HEAD
    + """
def facts():
    own = os.getcwd()
    names = ("HOME", "TMPDIR", "TEMP", "MPLCONFIGDIR")
    print("a line")
    print("the last line")
    return np.array([*(os.environ[name] == own for name in names), os.environ["MPLBACKEND"] == "agg", helpers.x == 7,
                     os.environ["OMP_NUM_THREADS"] == "1", "SECRET" not in os.environ, sys.flags.isolated == 1,
                     sys.flags.utf8_mode == 1, all(os.environ[name] == "/kept" for name in KEPT)])

def forbidden():
    import wave

def leaves():
    os._exit(3)

def succeeds():
    os._exit(0)

def crashes():
    os.abort()

def killed():
    import signal
    signal.raise_signal(signal.SIGKILL)

def endless():
    while True: pass

def stubborn():
    import signal
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    endless()

def sleeps():
    import time
    time.sleep(60)

def silent():
    return np.ones(1)

def prints():
    sys.stdout.buffer.write(b"x" * 200_000 + b"\\nsecond\\ncaf\\xe9\\n")

def writes():
    sizes = []
    for size in 2**26, 2**26 + 1:
        with open("file", "wb") as file:
            try:
                file.truncate(size)
                sizes.append(size)
            except OSError:
                pass
    return np.array(sizes)

def connects():
    import socket, subprocess
    for attempt in (lambda: subprocess.run(["true"]), lambda: socket.create_connection(("localhost", 1))):
        try:
            attempt()
        except PermissionError:
            pass
    return np.ones(1)

def imports():
    import os
    os.makedirs(os.getcwd(), exist_ok=True)
    text = "import subprocess\\ntry:\\n    subprocess.run(['true'])\\nexcept PermissionError:\\n    refused = True\\n"
    names = {}
    exec(compile(text, os.path.join(os.sep, "site-packages", "pictures", "fonts.py"), "exec"), names)
    return np.array(names["refused"])
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
    for name in KEPT:
        monkeypatch.setenv(name, "/kept")
    with StudentProcess(folder / "main.py", folder, Limits()) as process:
        described = process.describe()
        assert described["error"] is None and {"facts", "forbidden", "leaves", "crashes"} <= set(described["functions"])
        answer = process.run(calling("facts"))
        assert np.asarray(answer["values"][0]).tolist() == [True] * 11
        place = process._place
        assert os.path.isdir(place) and process.name == "main.py"
    assert not os.path.exists(place)
    assert process.last_output == "the last line"
    assert process.printed == len("a line\nthe last line\n")


def test_what_ends_a_process_is_told(folder):
    assert ended(folder, "forbidden") == ("forbidden", "uses wave, which this exercise does not allow")
    assert ended(folder, "leaves") == ("ended", "ends the process with exit status 3; functions return, and never exit")
    assert ended(folder, "succeeds") == (
        "ended", "ends the process with exit status 0; functions return, and never exit",
    )  # fmt: skip
    assert ended(folder, "crashes") == ("crashed", "crashed with SIGABRT")


def test_a_process_without_an_end_is_ended(folder, monkeypatch):
    loop = "; is there a loop without an end?"
    assert ended(folder, "endless", cpu_seconds=1) == ("time", "took longer than 1 s of the processor" + loop)
    # The seconds of the processes before it are not its own.
    memory = "was ended by the system; more than 512 MiB of memory?"
    assert ended(folder, "killed", cpu_seconds=1, memory=2**29) == ("memory", memory)
    monkeypatch.setattr(sandbox, "STARTING", 1.0)
    assert ended(folder, "sleeps", seconds=0.5) == ("time", "took longer than 0.5 s" + loop)


def test_a_limit_that_is_ignored_is_a_limit_of_time_all_the_same(folder):
    reason = "took longer than 1 s of the processor; is there a loop without an end?"
    assert ended(folder, "stubborn", cpu_seconds=1) == ("time", reason)


def test_a_process_is_ended_where_there_are_no_groups(folder, monkeypatch):
    monkeypatch.delattr(os, "killpg")
    with StudentProcess(folder / "main.py", folder, Limits()) as process:
        process.describe()
    assert process._process.returncode == -9


def run(folder, name):
    """Return the answer of a function, and its process after its end."""
    with StudentProcess(folder / "main.py", folder, Limits()) as process:
        process.describe()
        answer = process.run(calling(name))
    return answer, process


def test_the_end_of_what_is_printed_is_kept(folder):
    _, process = run(folder, "prints")
    assert process.printed == 200_000 + len(b"\nsecond\ncaf\xe9\n")  # in several parts
    assert process.last_output == "caf\ufffd"
    _, process = run(folder, "silent")
    assert (process.printed, process.last_output, process.attempts) == (0, "", [])


def test_what_was_printed_is_complete_before_files_are_removed(folder, monkeypatch):
    read = os.read
    monkeypatch.setattr(sandbox.os, "read", lambda *arguments: (time.sleep(0.05), read(*arguments))[1])
    with StudentProcess(folder / "main.py", folder, Limits()) as process:
        process.describe()
        process.run(calling("prints"))
        process.end()
        assert process.printed == 200_000 + len(b"\nsecond\ncaf\xe9\n")


def test_what_was_refused_is_kept_for_the_teacher(folder):
    _, process = run(folder, "connects")
    assert process.attempts == ["start another process", "use the network"]


def test_what_a_library_tries_is_no_note_about_a_student(folder):
    """matplotlib makes the folder of its settings, and asks another program for fonts."""
    answer, process = run(folder, "imports")
    assert answer["values"][0] == True and process.attempts == []  # noqa: E712


def test_a_file_holds_at_most_64_mebibytes(folder):
    answer, _ = run(folder, "writes")
    assert np.asarray(answer["values"][0]).tolist() == [2**26]


def test_a_file_that_is_not_there_leaves_no_folder(tmp_path, monkeypatch):
    place = tmp_path / "place"
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: place.mkdir() or str(place))
    with pytest.raises(FileNotFoundError):
        StudentProcess(tmp_path / "none.py", None, Limits())
    assert not place.exists()


def test_what_cannot_be_sent_is_told_in_this_process_too():
    deep = []
    for _ in range(9999):
        deep = [deep]
    student = InProcess(types.SimpleNamespace(silent=lambda: deep))
    assert (student.printed, student.last_output) == (0, "")
    answer = student.run(calling("silent"))
    assert answer["values"] == [] and answer["error"] is None and answer["unsent"].startswith("ValueError: ")


def test_nothing_of_a_process_outlasts_it(folder, monkeypatch, tmp_path):
    child = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    monkeypatch.setattr(
        sandbox, "START", f"{child}open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); {sandbox.START}"
    )
    with StudentProcess(folder / "main.py", folder, Limits()) as process:
        process.describe()
        shutil.rmtree(process._place)  # as one who tidies up /tmp may do: no error
    stat = Path("/proc", (tmp_path / "pid").read_text(), "stat")
    deadline = time.monotonic() + 5
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


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
