"""What a probe's figures advise, by rules that the report states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmhash.collection.scoring import ASYMMETRIC_SCAN_BYTES
from llmhash.collection.sidecar import row_dtype
from llmhash.evaluation.bootstrap import difference_intervals
from llmhash.evaluation.probe_candidates import CandidateCurve
from llmhash.evaluation.probe_geometry import Geometry, SideGeometry
from llmhash.evaluation.probe_growth import Figure

#: The scoring that heads are judged by: it asks for no store beside the codes.
JUDGED = "asymmetric_scan"
#: What another head may keep more of the overlap@10 than sign at zero before sign is called unsafe.
SIGN_MARGIN = 0.05


@dataclass(frozen=True)
class Kept:
    """What codes keep under one scoring.

    Attributes:
        head: Name of the head.
        bits: Bits in a code.
        bytes_per_document: Bytes of a code.
        scoring: How documents were scored.
        retention: Share of the teacher's nDCG@10 of known items.
        overlap: Share of the teacher's own top ten in theirs.
    """

    head: str
    bits: int
    bytes_per_document: int
    scoring: str
    retention: Figure
    overlap: Figure


@dataclass(frozen=True)
class Candidates:
    """How many candidates by Hamming distance a rescorer needs.

    Attributes:
        head: Name of the head.
        bits: Bits in a code.
        teacher: Curve of the teacher's top ten, for rescoring with int8 or float vectors.
        scan: Curve of the asymmetric scan's top ten, for rescoring with the query's logits.
    """

    head: str
    bits: int
    teacher: CandidateCurve
    scan: CandidateCurve


@dataclass(frozen=True)
class SignVerdict:
    """Whether signs at zero cost anything, at the widest codes measured.

    Attributes:
        safe: Whether no other head keeps more than `SIGN_MARGIN` more, beyond chance.
        bits: Bits at which they were compared.
        other: The head that keeps most at that width.
        difference: Overlap@10 by Hamming distance that `other` keeps and sign does not.
        ci95: Paired bootstrap interval of the difference.
        why: What the geometry has to say of it, in sentences.
    """

    safe: bool
    bits: int
    other: str
    difference: float
    ci95: tuple[float, float]
    why: tuple[str, ...]


@dataclass(frozen=True)
class Confirmation:
    """The recommended codes on queries that had no part in choosing them."""

    queries: int
    retention: Figure
    overlap: Figure


@dataclass(frozen=True)
class Recommendation:
    """Head, bits and candidates.

    Attributes:
        enough: Whether the codes keep what was asked for; otherwise they are the best that was measured.
        head: Name of the head.
        bits: Bits in a code.
        bytes_per_document: Bytes of a code.
        documents: Documents that the advice is for; beyond the sample, its figures are extrapolated.
        extrapolated: Whether they are.
        scoring: What scores all codes, or candidates only where there are too many codes.
        candidates_asymmetric: Candidates to rescore with the query's logits; None where codes are for the
            asymmetric scan alone.
        candidates_int8: Candidates to rescore with int8 vectors; None likewise.
        int8_bytes: Bytes a document that int8 vectors add.
        confirmation: The same codes on fresh queries; None until measured.
    """

    enough: bool
    head: str
    bits: int
    bytes_per_document: int
    documents: int
    extrapolated: bool
    scoring: str
    candidates_asymmetric: int | None
    candidates_int8: int | None
    int8_bytes: int
    confirmation: Confirmation | None = None


def judged(figure: Figure) -> tuple[float, tuple[float, float]]:
    """Value and interval that count: the expected ones where there are any, else the measured ones."""
    if figure.expected is not None and figure.expected_ci95 is not None:
        return figure.expected, figure.expected_ci95
    return figure.value, figure.ci95


def recommend(
    kept: Sequence[Kept],
    candidates: Sequence[Candidates],
    *,
    keep: float,
    dim: int,
    sampled: int,
    target: int | None,
) -> Recommendation:
    """The fewest bytes whose retention is at least `keep` at the lower end of its interval.

    At each width the head with the highest overlap@10 stands for it. Known items that are cut word for word
    from their documents flatter heads that weigh many small components as heavily as the large: plain PCA can
    find them more often than the teacher does, and share few of its top ten.

    Args:
        kept: All rows; those of the scoring `JUDGED` count. Among equals the earlier wins.
        candidates: Of the same heads and bits, but for codes that serve the asymmetric scan alone.
        keep: Share of the teacher's nDCG@10.
        dim: Dimensions of the teacher.
        sampled: Documents that were measured on.
        target: Documents to decide for, or None for the sample's.
    """
    rows = _best_by_width([row for row in kept if row.scoring == JUDGED])
    enough = [row for row in rows if judged(row.retention)[1][0] >= keep]
    if enough:
        best = min(enough, key=lambda row: row.bytes_per_document)
    else:
        best = max(rows, key=lambda row: np.nan_to_num(judged(row.retention)[1][0], nan=-1.0))
    curves = next((each for each in candidates if (each.head, each.bits) == (best.head, best.bits)), None)
    documents = sampled if target is None else target
    scan = curves is None or documents * best.bytes_per_document <= ASYMMETRIC_SCAN_BYTES
    return Recommendation(
        enough=bool(enough),
        head=best.head,
        bits=best.bits,
        bytes_per_document=best.bytes_per_document,
        documents=documents,
        extrapolated=best.retention.expected is not None,
        scoring="asymmetric_scan" if scan else "asymmetric",
        candidates_asymmetric=None if curves is None else curves.scan.expected or curves.scan.needed,
        candidates_int8=None if curves is None else curves.teacher.expected or curves.teacher.needed,
        int8_bytes=row_dtype("int8", dim).itemsize,
    )


def sign_verdict(
    overlaps: Mapping[tuple[str, int], NDArray[np.float64]], geometry: Geometry
) -> SignVerdict | None:
    """Compare sign at zero with the best other head at the widest codes that both make.

    Args:
        overlaps: Overlap@10 by Hamming distance of each query, float64 (q,), by head and bits; of codes that
            it is to rank.
        geometry: Says why.

    Returns:
        None where sign or every other head is missing.
    """
    shared = [
        bits
        for head, bits in overlaps
        if head == "sign" and any(h != "sign" and b == bits for h, b in overlaps)
    ]
    if not shared:
        return None
    widest = max(shared)
    others = {head: values for (head, bits), values in overlaps.items() if bits == widest and head != "sign"}
    best = max(others, key=lambda head: float(others[head].mean()))
    sign = overlaps["sign", widest]
    ((low, high),) = difference_intervals(others[best][None], sign)
    return SignVerdict(
        safe=low <= SIGN_MARGIN,
        bits=widest,
        other=best,
        difference=float((others[best] - sign).mean()),
        ci95=(low, high),
        why=(*_reasons(geometry), *_what_thresholds_cost(sign, others.get("median"))),
    )


def rules(keep: float, contain: float, *, extrapolated: bool) -> tuple[str, ...]:
    """The rules behind a recommendation, in sentences."""
    at = "extrapolated to the target size" if extrapolated else "as measured"
    return (
        (
            f"Head and bits: the fewest bytes a document whose {JUDGED} keeps at least {100 * keep:g} % of "
            f"the teacher's nDCG@10, at the lower end of its 95 % interval, {at}; at each width only the "
            "head with the highest overlap@10 is considered: known items alone flatter some heads."
        ),
        (
            f"Candidates: as many of the nearest codes by Hamming distance as hold {100 * contain:g} % of "
            f"the top ten that the rescorer would find among all documents, {at}."
        ),
        (
            f"Scoring: every code is scored up to {ASYMMETRIC_SCAN_BYTES // 1_000_000} MB of codes, "
            "candidates only beyond, as a collection does by default; codes for the asymmetric scan alone "
            "always are."
        ),
        (
            f"Sign at zero is unsafe where, at the widest codes, another head keeps over {SIGN_MARGIN} more "
            "of the overlap@10 by Hamming distance, at the lower end of the paired 95 % interval."
        ),
    )


def _best_by_width(rows: Sequence[Kept]) -> list[Kept]:
    """The row of the highest overlap@10 at each width, widths rising."""
    best: dict[int, Kept] = {}
    for row in sorted(rows, key=lambda row: row.bits):
        held = best.setdefault(row.bits, row)
        if judged(row.overlap)[0] > judged(held.overlap)[0]:
            best[row.bits] = row
    return list(best.values())


def _reasons(geometry: Geometry) -> tuple[str, ...]:
    reasons = [_side_reason("documents", geometry.documents, geometry.dim)]
    if geometry.queries is not None:
        reasons.append(_side_reason("queries", geometry.queries, geometry.dim))
    if geometry.between_sides is not None:
        reasons.append(
            f"The means of queries and documents lie {geometry.between_sides:.2f} of a vector's length apart."
        )
    return tuple(reasons)


def _what_thresholds_cost(sign: NDArray[np.float64], median: NDArray[np.float64] | None) -> tuple[str, ...]:
    """What the median says, which differs from sign at zero in its thresholds alone."""
    if median is None:
        return ()
    difference = float((median - sign).mean())
    return (f"Thresholds at the medians and nothing else change the overlap@10 by {difference:+.3f}.",)


def _side_reason(side: str, measured: SideGeometry, dim: int) -> str:
    return (
        f"The mean of the {side} lies {measured.shift:.2f} of a vector's length from zero; "
        f"{measured.imbalanced} of {dim} dimensions have one sign in over 90 % of them, "
        f"{measured.nearly_constant} in over 99 %."
    )
