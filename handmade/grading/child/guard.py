"""Limits of a student's process, and the modules, files and actions that it may not use.

The checks are Python's import system and its audit events. They stop what students do, not what an attacker does.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Blocker", "set_limits", "watch"]

PROCESSES = ("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.Popen")
SIGNALS = ("os.kill", "os.killpg", "signal.pthread_kill")
NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto")
REFUSALS = {  # an audit event -> what it would do
    **dict.fromkeys(PROCESSES, "start another process"),
    **dict.fromkeys(SIGNALS, "send signals"),
    **dict.fromkeys(NETWORK, "use the network"),
}
PATHS = (
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.truncate", "os.symlink", "os.link",
    "shutil.rmtree", "shutil.move",
)  # fmt: skip
OWN = os.path.dirname(os.path.realpath(__file__)) + os.sep
STANDARD = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
LIBRARIES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def set_limits(seconds: float, cpu_seconds: float, memory: int, file_bytes: int) -> None:
    """Limit this process: time, processor time, memory and the size of files; where the system can.

    Parameters
    ----------
    seconds : float
        After which the process ends, should the grader be gone by then.
    cpu_seconds : float
        Of the processor.
    memory : int
        Bytes of address space.
    file_bytes : int
        Of each file that is written.
    """
    try:
        import resource
    except ImportError:  # Windows has none of these
        return
    whole = max(1, int(cpu_seconds + 0.999))
    limits = {
        resource.RLIMIT_CPU: (whole, whole + 1),  # a signal, then the end
        resource.RLIMIT_AS: (memory, memory),
        resource.RLIMIT_FSIZE: (file_bytes, file_bytes),
        resource.RLIMIT_CORE: (0, 0),
    }
    for limit, (soft, hard) in limits.items():
        try:
            resource.setrlimit(limit, (soft, hard))
        except (ValueError, OSError):  # a lower limit stands already, or the system has none
            continue
    signal.alarm(int(seconds) + 5)


class Blocker:
    """The first finder of the import system: it refuses modules by name, and keeps a list of those refused.

    Parameters
    ----------
    names : sequence of str
        Top-level modules.

    Attributes
    ----------
    refused : list of str
        The modules that the submission asked for. Where a library looks for a module that may be missing, the import
        fails, and that is all.
    attempts : list of str
        What else was refused.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)
        self.folders = _folders(names)
        self.refused: list[str] = []
        self.attempts: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Refuse a module, as the import system asks for it."""
        self.check(name)

    def check(self, name: str) -> None:
        """Raise ImportError if a module is refused."""
        top = name.partition(".")[0]
        if top in self.names:
            self.refuse(top)
            raise ImportError(f"the module {top} may not be imported in this exercise")

    def check_file(self, path: str) -> None:
        """Raise ImportError if a file belongs to a refused module, in whatever way it is read."""
        for folder, name in self.folders:
            if path.startswith(folder) and not path.startswith(OWN):
                self.refuse(name)
                raise ImportError(f"the module {name} may not be used in this exercise")

    def refuse(self, name: str) -> None:
        """Keep a name for the verdict."""
        if name not in self.refused and not _is_asked_by_library():
            self.refused.append(name)

    def refuse_action(self, action: str) -> None:
        """Raise PermissionError, and keep what was tried for the teacher."""
        if action not in self.attempts and not _is_asked_by_library():
            self.attempts.append(action)
        raise PermissionError(f"a submission may not {action}")


def _is_asked_by_library() -> bool:
    """Return whether the nearest code, beside the grader's and Python's own, is an installed library's."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        is_library = any(folder in name for folder in LIBRARIES)
        if is_library or not name.startswith(("<frozen ", OWN, STANDARD)):
            return is_library
        frame = frame.f_back
    return False


def _folders(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the folders of the modules that are installed, each with the name of its module."""
    found = []
    for name in names:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            continue
        for folder in (spec.submodule_search_locations or []) if spec is not None else []:
            found.append((os.path.realpath(folder) + os.sep, name))
    return found


def watch(blocker: Blocker, own_folder: str, hidden: Sequence[str], readable: Sequence[str] = ()) -> None:
    """Refuse, from here on, what a submission has no reason to do; there is no way back.

    Parameters
    ----------
    blocker : Blocker
        The modules that are refused.
    own_folder : str
        The only folder in which files may be written.
    hidden : sequence of str
        Files and folders that may not be read: the exercise, and what others handed in.
    readable : sequence of str
        Files and folders inside hidden ones that may be read all the same: libraries, and the teacher's adapter.
    """
    sys.meta_path.insert(0, blocker)
    own, *others = map(os.path.realpath, [own_folder, *hidden])
    sys.addaudithook(_hook(blocker, own, others, [os.path.realpath(path) for path in readable]))


def _hook(
    blocker: Blocker, own: str, hidden: Sequence[str], readable: Sequence[str]
) -> Callable[[str, tuple[Any, ...]], None]:
    """Return the function that Python calls with each audit event."""
    real = os.path.realpath

    def is_in(path: str, folder: str) -> bool:
        return f"{path}{os.sep}".startswith(folder + os.sep)

    def is_hidden(path: str) -> bool:
        for folder in hidden:
            inner = [other for other in readable if other != folder and is_in(other, folder)]
            if is_in(path, folder) and not any(is_in(path, other) for other in inner):
                return True
        return False

    def check_open(path: Any, flags: Any) -> None:
        if not isinstance(path, str | bytes):
            return
        path = real(os.fsdecode(path))
        blocker.check_file(path)
        if is_hidden(path):
            blocker.refuse("a file of the exercise or of another student")
            raise PermissionError(f"a submission may not read {path}")
        if isinstance(flags, int) and flags & WRITING and not is_in(path, own) and path != os.devnull:
            blocker.refuse_action(f"write {path}, outside of its own folder")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import":
            blocker.check(str(arguments[0]))
        elif event == "open":
            check_open(arguments[0], arguments[2])
        elif event in REFUSALS:
            blocker.refuse_action(REFUSALS[event])
        elif event in PATHS:
            for path in arguments[:2]:
                if isinstance(path, str | bytes) and not is_in(real(os.fsdecode(path)), own):
                    blocker.refuse_action(f"change {os.fsdecode(path)}")

    return hook
