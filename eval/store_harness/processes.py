"""Processes that start in milliseconds, because a server that has imported everything forks them."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["llmhash.collection"])


class Worker:
    """A process that runs `function(*arguments, send)` and whatever it has sent.

    `send` returns when the message is on its way: a message of a process that is killed afterwards arrives.
    """

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        self._receiver, sender = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_run, args=(function, arguments, sender), daemon=True)
        self._process.start()
        sender.close()

    def poll(self, seconds: float = 0) -> bool:
        """Whether a message, or the end of the process, has arrived within so many seconds."""
        return self._receiver.poll(seconds)

    def messages(self) -> Iterator[Any]:
        """The messages as they arrive, until the process has ended.

        Raises:
            RuntimeError: An exception ended it; the message is its traceback.
        """
        while True:
            try:
                message = self._receiver.recv()
            except (EOFError, ConnectionResetError):
                return
            if isinstance(message, _Failure):
                raise RuntimeError(f"a process failed:\n{message.text}")
            yield message

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def end(self) -> int:
        """Wait for the process to end; its exit code, -9 where a SIGKILL ended it."""
        self._process.join()
        code = self._process.exitcode
        self._receiver.close()
        self._process.close()
        return -1 if code is None else code


class _Failure:
    def __init__(self, text: str) -> None:
        self.text = text


def _run(function: Callable[..., None], arguments: tuple[Any, ...], sender: Connection) -> None:
    try:
        function(*arguments, sender.send)
    except BaseException:
        sender.send(_Failure(traceback.format_exc()))
        os._exit(1)
