"""llmhash: compact binary hash codes from text embeddings, and retrieval over them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmhash.codes import Codes as Codes
    from llmhash.collection import Collection as Collection
    from llmhash.hasher import Hasher as Hasher
    from llmhash.index import FlatIndex as FlatIndex
    from llmhash.index import UsearchIndex as UsearchIndex
    from llmhash.retriever import Hit as Hit
    from llmhash.retriever import Retriever as Retriever

__version__ = "0.1.0"

# Public names and their modules, loaded on first use: `import llmhash` pulls in no torch and no numba.
_EXPORTS = {
    "Codes": "llmhash.codes",
    "Collection": "llmhash.collection",
    "FlatIndex": "llmhash.index",
    "Hasher": "llmhash.hasher",
    "Hit": "llmhash.retriever",
    "Retriever": "llmhash.retriever",
    "UsearchIndex": "llmhash.index",
}

__all__ = [
    "Codes",
    "Collection",
    "FlatIndex",
    "Hasher",
    "Hit",
    "Retriever",
    "UsearchIndex",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'llmhash' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
