"""A student's code in a process of its own, with limits.

The process gets arrays and returns arrays; it never sees the true gradient or the grades. It is limited in time,
processor time, memory and the size of files, and ends with the grading of its submission. This confines mistakes. It is
no sandbox against an attacker: the process runs with the rights of the teacher's account.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from .child.loading import unpacked_names
from .child.runner import Session, describe_module
from .child.wire import decode, encode, read_message, write_message
from .exercise import Limits

__all__ = ["Ended", "InProcess", "Student", "StudentProcess", "clean"]

START = "import sys; sys.path.insert(0, sys.argv[1]); from child.runner import main; del sys.path[0]; main()"
FOLDER = Path(__file__).parent
KEPT_VARIABLES = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "SYSTEMROOT",
    "NUMBER_OF_PROCESSORS",
)
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
FILE_BYTES = 2**26  # of each file that a submission writes
STARTING = 20.0  # seconds for the interpreter and NumPy, which are not the student's


class Ended(Exception):
    """The end of a student's process before its answer: the verdict, and the reason."""

    def __init__(self, verdict: str, reason: str) -> None:
        super().__init__(reason)
        self.verdict, self.reason = verdict, reason


class Student(Protocol):
    """A submission that runs programs: see `Session`."""

    name: str
    printed: int
    attempts: list[str]

    @property
    def last_output(self) -> str: ...

    def describe(self) -> dict[str, Any]: ...

    def run(self, program: Mapping[str, Any]) -> dict[str, Any]: ...

    def end(self) -> None: ...


def clean(text: Any, longest: int = 1000) -> str:
    """Return text of a student's without control characters and escape sequences, and not too long.

    Examples
    --------
    >>> from handmade.grading.sandbox import clean
    >>> clean("a \\x1b[31mred\\x1b[0m word\\x07")
    'a red word'
    """
    text = str(text)[: 4 * longest]
    text = re.sub(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?", "", text)
    text = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)
    return text if len(text) <= longest else text[:longest] + "..."


class InProcess:
    """An object of this process as a student, for those that are no file.

    Parameters
    ----------
    student : object
        Has ``loss_and_gradient``, or ``forward`` and ``backward``.
    """

    printed, last_output = 0, ""

    def __init__(self, student: Any) -> None:
        self.attempts: list[str] = []
        self.name = str(getattr(student, "__name__", type(student).__name__))
        self._session = Session(student, (Exception, SystemExit))  # an interrupt is the teacher's

    def describe(self) -> dict[str, Any]:
        """Return the functions of the object."""
        found = describe_module(self._session.module)
        file = str(getattr(self._session.module, "__file__", ""))
        unpacked = unpacked_names(file) if os.path.isfile(file) else []
        return found | {"error": None, "failures": [], "unpacked": unpacked, "patched": [], "refused": []}

    def end(self) -> None:
        """Do nothing: there is no process."""

    def run(self, program: Mapping[str, Any]) -> dict[str, Any]:
        """Run a program on a copy of its inputs."""
        answer = self._session.run(decode(*encode(dict(program)))) | {"refused": []}
        try:
            return dict(decode(*encode(answer)))
        except ValueError as error:
            return answer | {"values": [], "unsent": f"ValueError: {error}"}


class StudentProcess:
    """A submission in a process of its own; a context manager that ends the process.

    Parameters
    ----------
    file : Path
        The file with the functions.
    folder : Path or None
        The folder of one student, which is copied with the file; None, where the file stands alone.
    limits : Limits
        Of the process.
    forbidden : sequence of str
        Modules that may not be imported.
    hidden : sequence of Path
        Files and folders that may not be read.
    adapter : Path, optional
        A file of the teacher's with the functions of the contract, which call the student's.

    Raises
    ------
    Ended
        By `describe` and `run`: if the process ends, by itself or by a limit.
    """

    def __init__(
        self,
        file: Path,
        folder: Path | None,
        limits: Limits,
        forbidden: Sequence[str] = (),
        hidden: Sequence[Path] = (),
        adapter: Path | None = None,
    ) -> None:
        self.name, self.printed, self.limits = file.name, 0, limits
        self._expired = False
        self._last = b""
        self.attempts: list[str] = []
        self._place = tempfile.mkdtemp(prefix="submission-")
        try:
            own = Path(self._place, "work")
            copied = _copied(file, folder, own)
            self._process = self._started(own)
        except BaseException:
            shutil.rmtree(self._place, ignore_errors=True)
            raise
        self._drain = threading.Thread(target=self._count_output, daemon=True)
        self._drain.start()
        self._setup = {
            "file": str(copied), "folder": str(own), "is_folder": folder is not None,
            "sys_path": [path for path in sys.path if path and os.path.exists(path)],
            "forbidden": list(forbidden), "hidden": [str(path) for path in hidden],
            "adapter": str(adapter) if adapter else None, "file_bytes": FILE_BYTES, "memory": limits.memory,
            "seconds": limits.seconds + STARTING, "cpu_seconds": limits.cpu_seconds,
        }  # fmt: skip

    def __enter__(self) -> StudentProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def end(self) -> None:
        """End the process and whatever it started; ``printed`` and ``last_output`` are complete then."""
        self._kill()
        self._process.wait()
        self._drain.join(1.0)

    def close(self) -> None:
        """End the process and whatever it started, and remove its files."""
        self.end()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        shutil.rmtree(self._place, ignore_errors=True)

    def describe(self) -> dict[str, Any]:
        """Load the submission, and return what it defines."""
        self._timer = threading.Timer(self.limits.seconds + STARTING, self._expire)
        self._timer.daemon = True
        self._timer.start()
        return self._asked(self._setup)

    @property
    def last_output(self) -> str:
        """The end of what was printed."""
        lines = self._last.decode(errors="replace").strip().splitlines()
        return clean(lines[-1], 300) if lines else ""

    def run(self, program: Mapping[str, Any]) -> dict[str, Any]:
        """Run a program."""
        return self._asked(dict(program))

    def _started(self, own: Path) -> subprocess.Popen[bytes]:
        home = {"HOME": str(own), "TMPDIR": str(own), "TEMP": str(own), "MPLCONFIGDIR": str(own), "MPLBACKEND": "agg"}
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        return subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-c", START, str(FOLDER)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=own,
            env=kept | home | dict.fromkeys(THREADS, "1"), start_new_session=True,
        )  # fmt: skip

    def _asked(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            write_message(_pipe(self._process.stdin), message)
            answer = read_message(_pipe(self._process.stdout))
        except (EOFError, OSError):
            raise self._ended() from None
        except (ValueError, MemoryError):
            raise Ended("ended", "the process wrote something else than its answer") from None
        if not isinstance(answer, dict):
            raise Ended("ended", "the process wrote something else than its answer")
        if refused := answer.get("refused"):
            listed = clean(", ".join(map(str, refused)), 200)
            raise Ended("forbidden", f"uses {listed}, which this exercise does not allow")
        self.attempts = [clean(text, 200) for text in answer.get("attempts", ())]
        return answer

    def _ended(self) -> Ended:
        """Return the reason why there is no answer."""
        before = _children_seconds()
        try:
            code = self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._kill()
            return Ended("ended", "the process closed its streams")
        limits = self.limits
        if self._expired:
            return Ended("time", f"took longer than {limits.seconds:g} s; is there a loop without an end?")
        if code >= 0:
            return Ended("ended", f"ends the process with exit status {code}; functions return, and never exit")
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        used = _children_seconds() - before
        if name == "SIGALRM" or name == "SIGXCPU" or (name == "SIGKILL" and used > limits.cpu_seconds):
            message = f"took longer than {limits.cpu_seconds:g} s of the processor; is there a loop without an end?"
            return Ended("time", message)
        if name == "SIGKILL":
            return Ended("memory", f"was ended by the system; more than {limits.memory / 2**20:.0f} MiB of memory?")
        return Ended("crashed", f"crashed with {name}")

    def _expire(self) -> None:
        self._expired = True
        self._kill()

    def _kill(self) -> None:
        if timer := getattr(self, "_timer", None):
            timer.cancel()
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    def _count_output(self) -> None:
        """Read the student's output and drop it; nothing that students print reaches the teacher's terminal."""
        stream = _pipe(self._process.stderr)
        with contextlib.suppress(OSError, ValueError):
            while part := os.read(stream.fileno(), 2**16):
                self.printed += len(part)
                self._last = (self._last + part)[-2000:]
        stream.close()


def _children_seconds() -> float:
    """Return the processor time of the processes that this one started and that ended; 0 where nothing tells."""
    try:
        import resource
    except ImportError:
        return 0.0
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _copied(file: Path, folder: Path | None, own: Path) -> Path:
    """Copy a submission to a folder of its own, and return the place of the file."""
    if folder is None:
        own.mkdir()
        shutil.copyfile(file, own / file.name)
        return own / file.name
    shutil.copytree(folder, own, symlinks=True, ignore=_left_out)
    return own / file.relative_to(folder)


def _left_out(folder: str, names: list[str]) -> set[str]:
    """Return what is not copied: hidden files, and what is neither a file nor a folder nor a link."""
    places = {name: Path(folder, name) for name in names}
    skipped = {name for name in names if name.startswith((".", "__pycache__", "__MACOSX"))}
    return skipped | {n for n, path in places.items() if not (path.is_file() or path.is_dir() or path.is_symlink())}
