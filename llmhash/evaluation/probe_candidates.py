"""How many candidates a rescorer needs: where the documents that it looks for stand by Hamming distance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.evaluation.bench import encode_documents
from llmhash.evaluation.probe_growth import NestedBenches, extrapolate
from llmhash.evaluation.rankings import AsymmetricScan, HammingRanking
from llmhash.evaluation.retrieval import RetrievalTask
from llmhash.heads import Head
from llmhash.metrics import Judgements, Ranks, recall

#: Numbers of candidates at which the curve is shown.
COUNTS = (10, 20, 50, 100, 200, 500, 1000)
_DEPTH = 10
# Scores in memory at a time.
_BLOCK_SCORES = 1 << 24


@dataclass(frozen=True)
class CandidateCurve:
    """Shares of a top ten among the nearest codes by Hamming distance, ties in expectation.

    Attributes:
        counts: Numbers of candidates, rising.
        shares: The share that so many candidates hold, never falling.
        needed: The fewest candidates that hold the wanted share.
        expected: The same extrapolated to the target size; None without one, or with one size only.
    """

    counts: tuple[int, ...]
    shares: tuple[float, ...]
    needed: int
    expected: int | None


def candidate_curves(
    heads: Sequence[Head], nested: NestedBenches, *, wanted: float, target: int | None
) -> tuple[CandidateCurve, CandidateCurve]:
    """Curves of the teacher's top ten and of the asymmetric scan's, over all documents.

    Rescoring with the teacher's vectors (int8 or float) returns what candidates hold of the first; rescoring
    with the query's logits returns what they hold of the second.

    Args:
        heads: The head of each size.
        nested: Queries and documents.
        wanted: The share that candidates should hold.
        target: Documents to extrapolate to, or None.
    """
    # The last part holds all documents in their order, so its codes serve every part of the same head.
    last = heads[-1]
    codes = encode_documents(last, nested.benches[-1].task.documents)
    found = [
        _ranks(
            head, bench.task, codes[rows] if head is last else encode_documents(head, bench.task.documents)
        )
        for head, bench, rows in zip(heads, nested.benches, nested.parts, strict=True)
    ]
    teacher, scan = zip(*found, strict=True)
    return _curve(teacher, nested.sizes, wanted, target), _curve(scan, nested.sizes, wanted, target)


def _ranks(head: Head, task: RetrievalTask, documents: Codes) -> tuple[Ranks, Ranks]:
    """Where the teacher's ten best, and the asymmetric scan's, stand by Hamming distance."""
    hamming = HammingRanking(head.query_codes(task.queries), documents)
    scan = AsymmetricScan(head.asymmetric_queries(task.queries), documents)
    of_teacher: list[Ranks] = []
    of_scan: list[Ranks] = []
    step = max(1, _BLOCK_SCORES // len(documents))
    for start in range(0, len(task.queries), step):
        part = slice(start, start + step)
        block = hamming.block(part)
        best = Judgements.from_rows(scan.best(part, _DEPTH))
        of_teacher.append(block.ranks(task.teacher_best[part]))
        of_scan.append(block.ranks(best))
    return Ranks.concatenate(of_teacher), Ranks.concatenate(of_scan)


def _curve(ranks: Sequence[Ranks], sizes: Sequence[int], wanted: float, target: int | None) -> CandidateCurve:
    counts = tuple(count for count in COUNTS if count < sizes[-1]) or (sizes[-1],)
    needed = [_needed(each, size, wanted) for each, size in zip(ranks, sizes, strict=True)]
    expected = None
    if target is not None and len(sizes) > 1:
        grown = extrapolate(sizes, np.asarray(needed, dtype=np.float64), target, may_rise=True)
        expected = min(target, math.ceil(float(grown)))
    return CandidateCurve(
        counts=counts,
        shares=tuple(_held(ranks[-1], count) for count in counts),
        needed=needed[-1],
        expected=expected,
    )


def _needed(ranks: Ranks, size: int, wanted: float) -> int:
    """The fewest candidates whose expected share reaches `wanted`, by bisection."""
    low, high = min(_DEPTH, size), size
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _held(ranks, middle) >= wanted else (middle + 1, high)
    return low


def _held(ranks: Ranks, count: int) -> float:
    """Mean share of each query's top ten among `count` candidates."""
    shares: NDArray[np.float64] = recall(ranks, count)
    return float(shares.mean())
