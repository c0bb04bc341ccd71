"""The crash-safe store: codes, string ids, texts and metadata in a directory."""

from llmhash.collection.collection import Collection
from llmhash.collection.record import Record

__all__ = ["Collection", "Record"]
