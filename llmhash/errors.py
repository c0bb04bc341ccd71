"""The errors that llmhash raises on purpose.

Each carries one sentence that says what was wrong and what to do. The command line prints that sentence
and exits with status 1; anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LlmhashError(Exception):
    """Base class of every error raised on purpose."""


class InputError(LlmhashError, ValueError):
    """An argument or a data file is not usable as given."""


class FormatError(LlmhashError, ValueError):
    """A file written by llmhash is truncated, corrupt, foreign or newer than this version."""


class StorageError(LlmhashError):
    """The disk is full or refuses to be written; what was stored before is as it was."""


class MissingExtraError(LlmhashError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an optional package: pip install "llmhash[{extra}]".')


def suggest(wrong: str, known: Iterable[str]) -> str:
    """How an error about an unknown name ends: the nearest known ones, else all of them."""
    names = list(known)
    if not names:
        return "it takes none."
    near = difflib.get_close_matches(wrong, names, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}."
