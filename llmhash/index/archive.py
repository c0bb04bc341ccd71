"""Saved indexes: one uncompressed .npz archive each, without pickled objects, with a checksum a part."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import FormatError, InputError

Parts = dict[str, NDArray[Any]]


def write_archive(path: Path, about: Mapping[str, Any], parts: Parts) -> None:
    """Write a description, as JSON, and arrays to one file, whole or not at all.

    Raises:
        OSError: The file cannot be written.
    """
    described = np.frombuffer(json.dumps(dict(about)).encode(), np.uint8)
    staged = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with staged.open("wb") as file:
            np.savez(file, allow_pickle=False, about=described, **parts)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def read_archive(path: Path, kind: str, newest: int, title: str) -> tuple[dict[str, Any], Parts]:
    """The description and the arrays of an archive; reading all of it checks all checksums.

    Args:
        path: The file.
        kind: What its description must hold under "kind".
        newest: The largest "format" that this version reads.
        title: What errors call it.

    Raises:
        InputError: There is no such file.
        FormatError: It is truncated, corrupt, of another kind, or from a newer version.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            parts = {name: archive[name] for name in archive.files}
        about = json.loads(parts.pop("about").tobytes())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        ValueError,
        EOFError,
        OSError,
        KeyError,
        AttributeError,
        TypeError,
    ) as error:
        raise FormatError(f"{path} is not a readable {title} of llmhash ({error}).") from error
    if not isinstance(about, dict) or about.get("kind") != kind:
        raise FormatError(f"{path} is not a {title} of llmhash.")
    made = about.get("format")
    if not isinstance(made, int) or made > newest:
        raise FormatError(f"{path} was written by a newer llmhash; upgrade to read it.")
    return about, parts
