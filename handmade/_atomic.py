"""Replace a file as a whole, or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import IO

__all__ = ["write_atomically"]


def write_atomically(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that at any moment its path holds the old content or the new one, complete.

    The content goes to an unnamed or hidden file in the same folder, is flushed to the disk, and takes the place of
    the old file in one step. Whatever fails before that step (an exception in ``write``, a full disk, a limit on the
    size of files, a killed process) leaves the old file as it was. The new file keeps the permissions of the old one;
    a symbolic link stays, and the file that it names is replaced. A path that is not a regular file, such as a FIFO or
    a device, is written to directly.

    Parameters
    ----------
    path : path-like
        The file to create or replace.
    write : callable
        ``write(stream)`` writes the content to a binary file that is open for writing and can seek.

    Raises
    ------
    OSError
        The folder is missing or read-only, the path is a folder, or the disk is full.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from handmade._atomic import write_atomically
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "greeting")
    ...     write_atomically(path, lambda stream: stream.write(b"hello"))
    ...     print(path.read_text(), len(list(path.parent.iterdir())))
    hello 1
    """
    try:
        target = os.path.realpath(path)
    except TypeError:
        raise TypeError(f"path: expected text or a path-like object, got {path!r}") from None
    if os.path.isdir(target):
        raise IsADirectoryError(
            f"{os.fspath(path) or 'path'}: expected the path of a file, got a folder; add a file name"
        )
    mode = stat.S_IMODE(os.stat(target).st_mode) if os.path.isfile(target) else None
    if mode is None and os.path.exists(path):  # not the target, which a pipe behind /dev/stdout lacks
        with open(path, "wb") as device:
            write(device)
        return
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{os.fspath(path)}: expected a folder that exists, got {folder!r}; create it first")
    _replace(target, write, mode)
    _sync_folder(folder)


def _replace(target: str, write: Callable[[IO[bytes]], object], mode: int | None) -> None:
    """Write the content to a hidden file beside the target, flush it, and let it take the target's place."""
    folder, name = os.path.split(target)
    hidden = os.path.join(folder, f".{name[:200]}.{os.urandom(4).hex()}.tmp")
    stream, is_named = _open_beside(folder, hidden)
    try:
        with stream:
            write(stream)
            stream.flush()
            if mode is not None:
                os.chmod(stream.fileno() if os.chmod in os.supports_fd else hidden, mode)
            os.fsync(stream.fileno())
            if not is_named:
                _give_name(stream.fileno(), hidden)
        os.replace(hidden, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(hidden)
        raise


def _open_beside(folder: str, hidden: str) -> tuple[IO[bytes], bool]:
    """Open a file without a name in the folder, else the hidden one; say whether it has a name.

    The kernel removes a file without a name when the process dies, so that killed processes leave no litter.
    """
    if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
        with suppress(OSError):  # not every file system knows unnamed files
            return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666), "w+b"), False
    return open(hidden, "x+b"), True


def _give_name(descriptor: int, path: str) -> None:
    """Link an unnamed file to a path, as the manual page of open(2) does it."""
    # Python follows the symbolic link only if a folder's descriptor is given; it has no meaning for an absolute path.
    os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)


def _sync_folder(folder: str) -> None:
    """Flush the entry of the new file in its folder, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # some network file systems refuse; the file itself is on the disk
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
