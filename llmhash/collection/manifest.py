"""`collection.json`: what a collection is. Written once, last of all, when a collection is created."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from llmhash.codes import check_bits
from llmhash.collection.disk import write_durably
from llmhash.errors import FormatError, InputError
from llmhash.index import check_engine

FORMAT = 2
NAME = "collection.json"

Engine = Literal[
    "auto", "flat", "mih", "usearch", "faiss-flat", "faiss-hnsw", "faiss-ivf", "faiss-hash", "faiss-multihash"
]
SidecarKind = Literal["int8", "float16"]


@dataclass(frozen=True)
class Manifest:
    """What never changes about a collection.

    Attributes:
        bits: Bits of a code.
        hasher: Fingerprint of the hasher that makes its codes.
        engine: What searches it, one of `llmhash.index.ENGINES`.
        sidecar: How it keeps the documents' float vectors: "int8", "float16" or not at all.
        dim: Dimensions of those vectors; None where they are not known.

    Raises:
        InputError: A value is not one that a collection can have.
    """

    bits: int
    hasher: str
    engine: Engine = "auto"
    sidecar: SidecarKind | None = None
    dim: int | None = None

    def __post_init__(self) -> None:
        check_bits(self.bits)
        if not isinstance(self.hasher, str) or not self.hasher:
            raise InputError(f"hasher_fingerprint must be a non-empty string, not {self.hasher!r}.")
        check_engine(self.engine)
        if self.sidecar is not None and self.sidecar not in get_args(SidecarKind):
            raise InputError(f'sidecar must be "int8", "float16" or None, not {self.sidecar!r}.')
        if self.dim is not None and (not isinstance(self.dim, int) or self.dim < 1):
            raise InputError(f"dim must be a whole number of at least 1, not {self.dim!r}.")
        if self.sidecar is not None and self.dim is None:
            raise InputError(f"an {self.sidecar} sidecar needs dim, the dimensions of the vectors.")

    def save(self, folder: Path) -> None:
        """Write `collection.json` into `folder`, durably: with it the collection exists."""
        values = {"format": FORMAT, **asdict(self)}
        text = json.dumps({**values, "checksum": _checksum(values)}, indent=2) + "\n"
        write_durably(folder / NAME, text.encode())

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read the `collection.json` of `folder`.

        Raises:
            InputError: There is none.
            FormatError: It is corrupt or newer than this version.
        """
        path = folder / NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"{folder} is not a collection: it holds no {NAME}.") from None
        except ValueError as error:
            raise FormatError(f"{path} is not JSON ({error}); restore it from a copy.") from error
        if not isinstance(values, dict) or not isinstance(values.get("format"), int):
            raise FormatError(f"{path} does not name its format; restore it from a copy.")
        if values["format"] > FORMAT:
            raise FormatError(f"{path} was written by a newer llmhash; upgrade to read it.")
        if values["format"] < FORMAT:
            raise FormatError(
                f"{path} was written by a development version of llmhash; create the collection again."
            )
        checksum = values.pop("checksum", None)
        if checksum != _checksum(values):
            raise FormatError(f"{path} is corrupt: it does not match its checksum; restore it from a copy.")
        del values["format"]
        try:
            return cls(**values)
        except (TypeError, InputError) as error:
            raise FormatError(f"{path} is corrupt ({error}); restore it from a copy.") from error


def _checksum(values: dict[str, Any]) -> str:
    """CRC-32 of the values, written in one certain way."""
    return f"{zlib.crc32(json.dumps(values, sort_keys=True).encode()):08x}"
