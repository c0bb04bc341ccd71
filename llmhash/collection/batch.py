"""The documents of one `add`, checked and in the form in which they are stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmhash.errors import InputError


@dataclass(frozen=True)
class Batch:
    """Documents that can be stored as they are.

    Attributes:
        size: Documents.
        ids: Their ids, distinct; None where the collection is to number them.
        texts: Their texts (None where one has none), or None where none has.
        metadata: Their metadata as JSON (None where one has none), or None where none has.
        text_bytes: Bytes of all texts in UTF-8.
    """

    size: int
    ids: list[str] | None
    texts: list[str | None] | None
    metadata: list[str | None] | None
    text_bytes: int

    @classmethod
    def check(
        cls,
        size: int,
        ids: Sequence[str] | None = None,
        texts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> Batch:
        """Check `size` documents.

        Raises:
            InputError: A count differs; an id is empty, not a string or there twice; a text or metadata
                cannot be stored. The message names the first and its position.
        """
        for name, values in (("ids", ids), ("texts", texts), ("metadata", metadata)):
            if isinstance(values, str | bytes | Mapping):
                raise InputError(
                    f"{name} must be a list, one entry a document, not a {type(values).__name__}."
                )
            if values is not None and len(values) != size:
                raise InputError(f"there are {size} documents but {len(values)} {name}.")
        if ids is not None:
            _check_ids(ids)
        text_bytes = 0 if texts is None else sum(_utf8_lengths("texts", texts))
        encoded = None if metadata is None else [_metadata_json(i, value) for i, value in enumerate(metadata)]
        if encoded is not None:
            sum(_utf8_lengths("metadata", encoded))
        return cls(size, _listed(ids), _listed(texts), encoded, text_bytes)


def check_known_ids(ids: Sequence[str]) -> list[str]:
    """Return ids to look up, in any number and order, or raise `InputError` unless they are strings."""
    if isinstance(ids, str | bytes | Mapping):
        raise InputError(f"ids must be a list of strings, not a {type(ids).__name__}.")
    names = list(ids)
    sum(_utf8_lengths("ids", names))
    return names


def _listed(values: Sequence[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)


def _check_ids(ids: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for position, (name, _) in enumerate(zip(ids, _utf8_lengths("ids", ids), strict=True)):
        if not name or "\0" in name:
            raise InputError(f"ids[{position}] is {name!r}: an id must not be empty nor hold a NUL.")
        first = seen.setdefault(name, position)
        if first != position:
            raise InputError(f"ids[{position}] is {name!r}, and so is ids[{first}]: ids must be distinct.")


def _utf8_lengths(what: str, values: Iterable[str | None]) -> Iterable[int]:
    """The bytes that each string takes; raises where one is no string or has no UTF-8."""
    for position, value in enumerate(values):
        if value is None and what != "ids":
            yield 0
        elif not isinstance(value, str):
            raise InputError(f"{what}[{position}] is {value!r}: it must be a string.")
        else:
            try:
                yield len(value.encode())
            except UnicodeEncodeError:
                raise InputError(
                    f"{what}[{position}] holds a lone surrogate, so it has no UTF-8; clean it."
                ) from None


def _metadata_json(position: int, value: Mapping[str, Any] | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputError(f"metadata[{position}] is {value!r}: a dictionary with strings as keys is needed.")
    try:
        text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"metadata[{position}] cannot be stored as JSON: {error}.") from error
    return text if value else None
