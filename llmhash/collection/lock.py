"""One writer at a time, whatever the process or the handle."""

from __future__ import annotations

from pathlib import Path

import filelock

from llmhash.errors import InputError

NAME = "lock"


class WriteLock:
    """The lock of the collection at `folder`; the system drops it when its process dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Any thread of the handle may write, so the lock is the handle's and not a thread's.
        self._lock = filelock.FileLock(folder / NAME, thread_local=False)

    def take(self) -> bool:
        """Take the lock unless this handle has it; whether it had to be taken.

        Raises:
            InputError: Another handle has it, or the folder cannot be written.
        """
        if self._lock.is_locked:
            return False
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            raise InputError(
                f"{self._folder} is being written through another handle; close that one first, or only read."
            ) from None
        except OSError as error:
            raise InputError(f"{self._folder} cannot be written ({error}); it can still be read.") from error
        return True

    def release(self) -> None:
        """Give the lock back, if it is held."""
        self._lock.release()
