"""One writer per journal directory, enforced by the operating system.

The lock is an ``flock`` on a file in the directory. It ends with the process, however that ends, so there is nothing to
clean up after a ``kill -9``. The file holds the process id, only for the error message.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from solvent.engine.runtime.files import LOCK_NAME
from solvent.engine.values.errors import JournalError, JournalLocked


@contextmanager
def exclusive(directory: Path, name: str = LOCK_NAME) -> Iterator[None]:
    """Hold ``directory``, or what the lock ``name`` in it stands for, for the length of a block.

    Raises ``JournalLocked`` if another holder has it, ``JournalError`` if nothing can be written there.
    """
    path = directory / name
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise JournalError(f"{path} cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise JournalLocked(
                directory=str(directory), holder_pid=int(holder) if holder.isdecimal() else None
            ) from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        except OSError as error:
            raise JournalError(f"{path} cannot be written: {error.strerror}") from error
        yield
    finally:
        os.close(descriptor)
