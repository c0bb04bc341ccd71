"""Documents: a corpus in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmhash.errors import InputError


@dataclass(frozen=True)
class Documents:
    """A corpus in memory.

    Attributes:
        ids: Distinct, non-empty.
        texts: What is embedded: the title, a space and the text, or the text alone.
        titles: The titles ("" where a document has none), or None where the corpus knows no titles.
        metadata: One mapping a document (title and all further fields), or None.
        bodies: The texts without their titles, or None where the corpus knows no titles.
    """

    ids: list[str]
    texts: list[str]
    titles: list[str] | None = None
    metadata: list[dict[str, Any]] | None = None
    bodies: list[str] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def from_texts(cls, texts: Sequence[str]) -> Documents:
        """Documents without titles, their ids running numbers.

        Raises:
            InputError: There is no text, or an entry is not a string.
        """
        if isinstance(texts, str):
            raise InputError("texts must be a list of strings, not one string.")
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"text {position} is a {type(text).__name__}, not a string.")
        refuse_empty(texts, "the list of texts")
        return cls([str(i) for i in range(len(texts))], list(texts))


def refuse_empty(texts: Sequence[str], source: str) -> None:
    """Raise `InputError` unless some text has a character in it."""
    if not any(text.strip() for text in texts):
        raise InputError(f"{source} holds no text; a corpus needs at least one document with text.")
