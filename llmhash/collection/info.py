"""What a collection holds and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmhash.collection.manifest import Manifest
from llmhash.collection.moment import State
from llmhash.collection.view import files_of


def describe(
    folder: Path, manifest: Manifest, state: State, engine: str, fields: Sequence[str]
) -> dict[str, Any]:
    """Counts and sizes of the collection at `folder`, JSON-able. The hasher's copy is fixed cost."""
    sizes = _file_sizes(folder)
    own = sum(size for name, size in sizes.items() if "/" not in name)
    rows = files_of(folder, manifest, state.generation)
    return {
        "path": str(folder),
        "documents": state.documents,
        "deleted": state.slots - state.documents,
        "bits": manifest.bits,
        "engine": engine,
        "sidecar": manifest.sidecar,
        "dim": manifest.dim,
        "hasher": manifest.hasher,
        "fields": list(fields),
        "generation": state.generation,
        "text_bytes": state.text_bytes,
        "bytes_per_document": {kind: file.row_bytes for kind, file in rows.items()},
        "bytes_beyond_text_per_document": (own - state.text_bytes) / max(1, state.documents),
        "bytes_on_disk": {**sizes, "total": sum(sizes.values())},
    }


def _file_sizes(folder: Path) -> dict[str, int]:
    sizes = {}
    for file in sorted(folder.rglob("*")):
        # The database's log goes when its last user closes it, at any moment.
        with suppress(FileNotFoundError):
            if file.is_file():
                sizes[file.relative_to(folder).as_posix()] = file.stat().st_size
    return sizes
