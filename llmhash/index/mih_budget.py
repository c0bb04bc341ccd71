"""What multi-index hashing may cost a query before the flat scan takes over.

Costs are counted in words that the flat scan compares for a single query. Counted so, a candidate costs about
the same whether the codes fit in the cache or not, as both sides then wait alike (measured at 64 bits over
one and ten million codes).
"""

from __future__ import annotations

from typing import NamedTuple

from llmhash.index.mih_tables import Tables

# The flat scan's cost of a word when it lays several queries side by side, and how many these are at least.
_SHARED_WORD, _SHARING_QUERIES = 0.28, 4
# Codes of so many words come from memory, which one thread that reads them once keeps busy almost alone.
_CACHED_WORDS, _MEMORY_SPEEDUP = 1 << 22, 1.25
# The flat scan copies an eligible code out for so many words, where that is less than scanning them all.
_COPY = 25.0
# The flat scan gives every thread at least so many words.
_WORDS_A_THREAD = 1 << 20
# What it costs to call, before anything is probed.
_CALL = 300_000.0
# Shares of the flat scan's cost: what may be lost by trying, and what a search may take that is foreseen to
# end within it. Both leave room for errors of this model.
_TRIAL, _MOST = 0.1, 0.5


class Budget(NamedTuple):
    """Costs of probing, and what a query may spend."""

    trial: float  # Spent without asking.
    most: float  # Spent if the end is in sight.
    probe: float = 120.0  # To look a bucket up.
    candidate: float = 50.0  # To fetch a code and compare it.


def budget(rows: int, eligible: int, words: int, queries: int, threads: int) -> Budget:
    """What each of `queries` queries, answered together, may spend.

    Args:
        rows: Codes held.
        eligible: How many of them may be returned.
        words: 64-bit words in a code.
        queries: Queries in the batch.
        threads: Threads to use.
    """
    if not queries:
        return Budget(0.0, 0.0)
    compared = float(words * queries) * (1.0 if queries < _SHARING_QUERIES else _SHARED_WORD)
    flat = min(rows * compared, eligible * (_COPY + compared))
    # Threads share the flat scan's rows among them, but of a probing search only its queries.
    speedup: float = min(threads, 1 + rows * words * queries // _WORDS_A_THREAD)
    if queries < _SHARING_QUERIES and rows * words > _CACHED_WORDS:
        speedup = min(speedup, _MEMORY_SPEEDUP)
    flat *= min(threads, queries) / speedup
    return Budget((_TRIAL * flat - _CALL) / queries, _MOST * flat / queries)


def foreseen(tables: Tables, radius: int, costs: Budget) -> float:
    """What a search for all codes within `radius` costs if the rows are spread evenly over the buckets."""
    probes = tables.split.probes
    number, most = probes.shape
    held = tables.height / probes.sum(axis=1)  # By table: rows in a bucket.
    total = 0.0
    for step in range(min(radius + 1, number * most)):
        table, apart = step % number, step // number
        total += probes[table, apart] * (costs.probe + costs.candidate * held[table])
    return float(total)
