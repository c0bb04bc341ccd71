"""Codes to nearest neighbours: exact and approximate indexes, and scoring by the query's real logits."""

from llmhash.errors import InputError
from llmhash.index.asymmetric import asymmetric_scores, asymmetric_search, rescore
from llmhash.index.base import NO_DISTANCE, NO_KEY, Index
from llmhash.index.flat import FlatIndex
from llmhash.index.usearch import UsearchIndex, recall_against_exact

__all__ = [
    "ENGINES",
    "NO_DISTANCE",
    "NO_KEY",
    "FlatIndex",
    "Index",
    "UsearchIndex",
    "asymmetric_scores",
    "asymmetric_search",
    "make_index",
    "recall_against_exact",
    "rescore",
]

#: The names of the engines; "auto" is the exact one, which is the fastest up to tens of millions of codes.
ENGINES = ("auto", "flat", "usearch")


def make_index(engine: str, bits: int) -> FlatIndex | UsearchIndex:
    """An empty index of an engine.

    Raises:
        InputError: There is no such engine, or the width is out of range.
    """
    if engine not in ENGINES:
        raise InputError(f"there is no index engine {engine!r}; choose from {', '.join(ENGINES)}.")
    return UsearchIndex(bits) if engine == "usearch" else FlatIndex(bits)
