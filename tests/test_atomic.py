"""Writing a file: the old content or the new one, complete, whatever happens."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from handmade import _atomic
from handmade._atomic import write_atomically

OLD, NEW = b"old", b"new" * 1000


@pytest.fixture(params=["unnamed", "hidden"], autouse=True)
def way(request, monkeypatch):
    """Test both ways: the unnamed file of Linux and the hidden one of other systems."""
    if request.param == "hidden":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    return request.param


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "target"
    path.write_bytes(OLD)
    return path


def litter(path: Path) -> list[str]:
    return [name for name in os.listdir(path.parent) if name != path.name]


def test_content_is_replaced_and_nothing_is_left_beside_it(target):
    write_atomically(str(target), lambda stream: stream.write(NEW))
    assert (target.read_bytes(), litter(target)) == (NEW, [])
    write_atomically(target.with_name("fresh"), lambda stream: stream.write(OLD))
    assert (target.with_name("fresh").read_bytes(), litter(target)) == (OLD, ["fresh"])


def test_the_stream_can_seek_and_read(target):
    def write(stream):
        stream.write(b"abcd")
        stream.seek(1)
        stream.write(b"X")
        stream.seek(0)
        assert stream.read() == b"aXcd"

    write_atomically(target, write)
    assert target.read_bytes() == b"aXcd"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("mine"), KeyboardInterrupt()])
def test_an_error_while_writing_keeps_the_old_file(target, error):
    def fail(stream):
        stream.write(NEW)
        raise error

    with pytest.raises(type(error)) as caught:
        write_atomically(target, fail)
    assert caught.value is error
    assert (target.read_bytes(), litter(target)) == (OLD, [])


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_error_of_the_system_keeps_the_old_file(target, monkeypatch, call):
    def fail(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(target, lambda stream: stream.write(NEW))
    assert (target.read_bytes(), litter(target)) == (OLD, [])


def test_content_is_on_the_disk_before_it_replaces(target, monkeypatch):
    calls, sizes = [], []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (calls.append((name, *a)), real(*a))[1])
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (sizes.append(os.fstat(descriptor).st_size), sync(descriptor)))
    write_atomically(target, lambda stream: stream.write(NEW))
    assert [name for name, *_ in calls] == ["fsync", "replace", "fsync"]  # the file, then the entry in its folder
    assert sizes[0] == len(NEW)
    assert Path(calls[1][1]).parent == target.parent  # a file of another folder may be on another disk


def test_only_a_hidden_file_is_seen_while_it_is_written(target, way):
    seen = []
    write_atomically(target, lambda stream: seen.extend(litter(target)))
    assert [name.startswith(".target.") for name in seen] == [True] * (way == "hidden" or not hasattr(os, "O_TMPFILE"))


def test_a_file_system_without_unnamed_files_gets_a_hidden_one(target, monkeypatch):
    real = os.open

    def open_named(path, flags, *mode, **options):
        if flags & getattr(os, "O_TMPFILE", 0) == getattr(os, "O_TMPFILE", -1):
            raise OSError(95, "Operation not supported")
        return real(path, flags, *mode, **options)

    monkeypatch.setattr(os, "open", open_named)
    write_atomically(target, lambda stream: stream.write(NEW))
    assert (target.read_bytes(), litter(target)) == (NEW, [])


def test_a_folder_that_cannot_be_flushed_is_no_error(target, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(target, lambda stream: stream.write(NEW))
    assert target.read_bytes() == NEW


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux lists the open files of a process")
def test_no_file_stays_open(target):
    before = os.listdir("/proc/self/fd")
    write_atomically(target, lambda stream: stream.write(NEW))
    assert os.listdir("/proc/self/fd") == before


def test_permissions_of_the_old_file_stay(target):
    for mode in (0o600, 0o664, 0o755):
        target.chmod(mode)
        write_atomically(target, lambda stream: stream.write(NEW))
        assert stat.S_IMODE(target.stat().st_mode) == mode


def test_a_new_file_gets_the_permissions_of_the_umask(tmp_path):
    previous = os.umask(0o020)
    try:
        write_atomically(tmp_path / "new", lambda stream: stream.write(NEW))
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o646


def test_a_symbolic_link_stays_and_its_target_is_replaced(target, tmp_path):
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(target)
    write_atomically(link, lambda stream: stream.write(NEW))
    assert link.is_symlink() and target.read_bytes() == NEW and litter(link) == []


def test_a_fifo_and_a_device_are_written_to_directly(tmp_path):
    fifo, received = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    write_atomically(fifo, lambda stream: stream.write(NEW))
    reader.join(10)
    assert received == [NEW] and stat.S_ISFIFO(fifo.stat().st_mode)
    write_atomically("/dev/null", lambda stream: stream.write(NEW))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="needs /dev/stdout")
def test_a_pipe_behind_a_link_is_written_to_directly():
    code = "from handmade._atomic import write_atomically; write_atomically('/dev/stdout', lambda s: s.write(b'new'))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (run.stdout, run.stderr) == (b"new", b"")


def test_a_folder_is_refused_and_a_missing_one_named(tmp_path):
    with pytest.raises(IsADirectoryError, match="expected the path of a file, got a folder"):
        write_atomically(tmp_path, lambda stream: None)
    with pytest.raises(FileNotFoundError, match=r"expected a folder that exists, got .*nowhere"):
        write_atomically(tmp_path / "nowhere" / "file", lambda stream: None)


def test_the_longest_name_a_file_may_have_is_taken(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomically(path, lambda stream: stream.write(NEW))
    assert path.read_bytes() == NEW


def test_a_name_in_the_current_folder_needs_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_atomically("plain", lambda stream: stream.write(NEW))
    assert Path("plain").read_bytes() == NEW


PROGRAM = """
import resource, sys, time
from handmade import _atomic
def write(stream):
    stream.write(b"new")
    stream.flush()
    {action}
_atomic.write_atomically(sys.argv[1], write)
"""


def test_a_killed_process_leaves_the_old_file_alone(target, way):
    if way == "hidden" or not hasattr(os, "O_TMPFILE"):
        pytest.skip("only a file without a name disappears with its process")
    program = PROGRAM.format(action="print('writing', flush=True); time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", program, target], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert (target.read_bytes(), litter(target)) == (OLD, [])


def test_a_limit_on_the_size_of_files_keeps_the_old_file(target):
    """The kernel refuses the write as it does on a full disk."""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); stream.write(bytes(10_000_000))"
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(action=limit), target], capture_output=True, text=True)
    assert done.returncode == 1 and "File too large" in done.stderr
    assert (target.read_bytes(), litter(target)) == (OLD, [])


def test_writers_at_the_same_time_leave_one_complete_file(target):
    contents = [bytes([n]) * 100_000 for n in range(8)]
    threads = [
        threading.Thread(target=_atomic.write_atomically, args=(target, lambda stream, c=c: stream.write(c)))
        for c in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() in contents and litter(target) == []
