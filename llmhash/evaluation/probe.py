"""The probe: how a teacher binarizes on a corpus, and what to make of it, before anything is indexed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from llmhash.codes import bytes_per_code, check_bits
from llmhash.errors import InputError
from llmhash.evaluation.probe_advice import (
    JUDGED,
    Candidates,
    Confirmation,
    Kept,
    Recommendation,
    SignVerdict,
    recommend,
    rules,
    sign_verdict,
)
from llmhash.evaluation.probe_candidates import candidate_curves
from llmhash.evaluation.probe_data import ProbeData, part_of
from llmhash.evaluation.probe_geometry import Geometry, measure_geometry
from llmhash.evaluation.probe_growth import (
    SCORINGS,
    NestedBenches,
    Series,
    nested_sizes,
    retention_and_overlap,
)
from llmhash.features import HeldOut
from llmhash.heads import Head, TrainingFeatures, fit_head, head_options

#: Heads that a probe fits by default: those in closed form, which take seconds.
DEFAULT_HEADS = ("sign", "median", "pca", "itq", "rca")
# Widths by default, beside the teacher's own dimension up to the last of them.
_DEFAULT_BITS = (64, 128, 256, 1024)
_DIGITS = 6

#: Called with a line on what is done next.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class ProbeSettings:
    """What is asked of a probe.

    Attributes:
        heads: Names of heads that `fit_head` knows.
        bits: Widths; None takes 64, 128, 256 and the teacher's dimension, 1024 at most.
        keep: Share of the teacher's nDCG@10 that codes should keep.
        contain: Share of a top ten that candidates should hold.
        target_size: Documents that the index will hold; by default as many as the corpus.
        seed: Decides everything random.
        options: Settings of heads by name.

    Raises:
        InputError: A head is unknown, or a number is out of its range.
    """

    heads: Sequence[str] = DEFAULT_HEADS
    bits: Sequence[int] | None = None
    keep: float = 0.9
    contain: float = 0.95
    target_size: int | None = None
    seed: int = 0
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.heads or (self.bits is not None and not self.bits):
            raise InputError("a probe needs at least one head and one number of bits.")
        for name in self.heads:
            head_options(name)  # An unknown head is refused before anything is encoded.
        for width in self.bits or ():
            check_bits(width)
        for name, share in (("keep", self.keep), ("contain", self.contain)):
            if not 0 < share <= 1:
                raise InputError(f"--{name} must be a share above 0 and at most 1, not {share}.")
        if self.target_size is not None and self.target_size < 1:
            raise InputError(f"--target-size must be at least 1, not {self.target_size}.")

    def widths(self, dim: int) -> list[int]:
        """The widths to measure for a teacher of `dim` dimensions, rising and distinct."""
        if self.bits is not None:
            return sorted(set(self.bits))
        own = min(dim, _DEFAULT_BITS[-1])
        return sorted({own, *(bits for bits in _DEFAULT_BITS if bits <= dim)})


@dataclass(frozen=True)
class ProbeReport:
    """All that a probe found, as plain data.

    Attributes:
        teacher: The teacher's name.
        corpus_size: Documents of the whole corpus.
        documents: Documents that were searched.
        target_size: Documents that figures are extrapolated to; None where the sample is all there is.
        queries: What the queries are: "pseudo-queries", "query vectors" or "documents".
        query_count: Queries that the figures are made on.
        known_items: Whether the relevant document is the query's own; otherwise it is the teacher's first.
        sizes: The nested sizes, the last being `documents`.
        keep: Share of the teacher's nDCG@10 that was asked for.
        contain: Share of a top ten that candidates should hold.
        seed: Of everything random.
        heads: Heads that were measured.
        teacher_ndcg: The teacher's own nDCG@10 of known items, over all sampled documents.
        geometry: How the embeddings lie.
        kept: What codes keep, a row for each head, width and scoring.
        candidates: How many candidates a rescorer needs, a row for each head and width whose codes Hamming
            distance is to rank.
        sign: Whether sign at zero is safe; None where it was not measured beside another head.
        recommendation: Head, bits and candidates.
        rules: The rules behind it.
        notes: What was left out, and why.
    """

    teacher: str
    corpus_size: int
    documents: int
    target_size: int | None
    queries: str
    query_count: int
    known_items: bool
    sizes: tuple[int, ...]
    keep: float
    contain: float
    seed: int
    heads: tuple[str, ...]
    teacher_ndcg: float
    geometry: Geometry
    kept: tuple[Kept, ...]
    candidates: tuple[Candidates, ...]
    sign: SignVerdict | None
    recommendation: Recommendation
    rules: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: tuples become lists, numbers are rounded, and what is undefined is None."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


@dataclass(frozen=True, eq=False)
class _Measured:
    """What fitting and measuring gave, query by query."""

    fitted: dict[tuple[str, int], Head]
    series: dict[tuple[str, int], dict[str, Series]]
    candidates: list[Candidates]
    notes: list[str]


def probe(
    data: ProbeData, settings: ProbeSettings | None = None, *, progress: Progress | None = None
) -> ProbeReport:
    """Fit heads on a sample, measure what their codes keep, and recommend one.

    Args:
        data: The sample and its queries.
        settings: What is asked.
        progress: Called with a line before each step.

    Raises:
        InputError: No head can make any of the widths, or a head refuses its options.
    """
    asked = settings or ProbeSettings()
    say = progress or (lambda _line: None)
    documents = len(data.documents)
    target = asked.target_size or (data.corpus_size if data.corpus_size > documents else None)
    sizes = nested_sizes(documents, max(len(data.choosing.queries), len(data.confirming.queries)))
    say("measuring how the embeddings lie")
    geometry = measure_geometry(
        data.documents,
        data.query_features,
        sides_differ=data.training.sides_differ,
        duplicates=data.duplicates,
    )
    nested = _nested(data, data.choosing, sizes, asked.seed)
    measured = _measure(data, asked, nested, target, say)
    kept = [
        row
        for (head, bits), series in measured.series.items()
        for row in _kept(head, bits, series, nested, target)
    ]
    advice = recommend(
        kept, measured.candidates, keep=asked.keep, dim=geometry.dim, sampled=documents, target=target
    )
    say("measuring the recommended codes on fresh queries")
    best = measured.fitted[advice.head, advice.bits]
    confirmation = _confirm(data, asked, advice.head, best, sizes, target, say)
    overlaps = {
        key: series["hamming"].overlap[-1]
        for key, series in measured.series.items()
        if not _scan_only(measured.fitted[key])
    }
    return ProbeReport(
        teacher=data.teacher,
        corpus_size=data.corpus_size,
        documents=documents,
        target_size=target,
        queries=data.queries,
        query_count=len(data.choosing.queries),
        known_items=data.known_items,
        sizes=tuple(sizes),
        keep=asked.keep,
        contain=asked.contain,
        seed=asked.seed,
        heads=tuple(dict.fromkeys(head for head, _ in measured.fitted)),
        teacher_ndcg=float(nested.teacher_ndcg[-1].mean()),
        geometry=geometry,
        kept=tuple(kept),
        candidates=tuple(measured.candidates),
        sign=sign_verdict(overlaps, geometry),
        recommendation=replace(advice, confirmation=confirmation),
        rules=rules(asked.keep, asked.contain, extrapolated=advice.extrapolated),
        notes=(*measured.notes, *_size_notes(sizes, target)),
    )


def _nested(data: ProbeData, queries: HeldOut, sizes: Sequence[int], seed: int) -> NestedBenches:
    return NestedBenches(data.documents, queries, sizes, seed=seed, teacher=data.teacher)


def _measure(
    data: ProbeData, asked: ProbeSettings, nested: NestedBenches, target: int | None, say: Progress
) -> _Measured:
    """Fit every head at every width and measure it; what a head cannot do is left out with a note."""
    found = _Measured({}, {}, [], [])
    for name in dict.fromkeys(asked.heads):
        for bits in asked.widths(data.training.dim):
            say(f"{name}, {bits} bits")
            try:
                head = _fit(name, data.training, bits, asked)
            except InputError as error:
                if bits <= data.training.dim:
                    raise
                found.notes.append(f"{name} at {bits} bits left out: {error}")
                continue
            found.fitted[name, bits] = head
            heads = _of_each_part(name, head, data, asked, nested, say)
            found.series[name, bits] = nested.run(heads)
            if not _scan_only(head):
                curves = candidate_curves(heads, nested, wanted=asked.contain, target=target)
                found.candidates.append(Candidates(name, bits, *curves))
    if not found.fitted:
        raise InputError(
            f"no head can make any of these widths of the teacher's {data.training.dim} dimensions: "
            "ask for fewer bits, or for lsh or distill, which take any number."
        )
    return found


def _fit(name: str, training: TrainingFeatures, bits: int, asked: ProbeSettings) -> Head:
    return fit_head(name, training, bits, seed=asked.seed, options=asked.options.get(name))


def _of_each_part(
    name: str, head: Head, data: ProbeData, asked: ProbeSettings, nested: NestedBenches, say: Progress
) -> list[Head]:
    """The head of each nested part: the same, or where it has a codebook, one that knows the part alone."""
    if head.codebook is None:
        return [head] * len(nested.parts)
    smaller = []
    for rows in nested.parts[:-1]:
        say(f"{name}, {head.bits} bits, {len(rows):,} documents")
        smaller.append(_fit(name, part_of(data.training, rows), head.bits, asked))
    return [*smaller, head]


def _scan_only(head: Head) -> bool:
    return head.codebook is not None and head.codebook.scan_only


def _kept(
    head: str, bits: int, series: Mapping[str, Series], nested: NestedBenches, target: int | None
) -> list[Kept]:
    return [
        Kept(
            head,
            bits,
            bytes_per_code(bits),
            scoring,
            *retention_and_overlap(series[scoring], nested.teacher_ndcg, nested.sizes, target),
        )
        for scoring in SCORINGS
    ]


def _confirm(
    data: ProbeData,
    asked: ProbeSettings,
    name: str,
    head: Head,
    sizes: Sequence[int],
    target: int | None,
    say: Progress,
) -> Confirmation:
    fresh = _nested(data, data.confirming, sizes if target else sizes[-1:], asked.seed)
    measured = fresh.run(_of_each_part(name, head, data, asked, fresh, say))[JUDGED]
    figures = retention_and_overlap(measured, fresh.teacher_ndcg, fresh.sizes, target)
    return Confirmation(len(data.confirming.queries), *figures)


def _size_notes(sizes: Sequence[int], target: int | None) -> list[str]:
    if target is None:
        return []
    if len(sizes) == 1:
        note = (
            f"The sample of {sizes[0]:,} documents is too small to be cut into parts, so nothing could be "
            f"extrapolated to {target:,} documents: the figures are those of the sample."
        )
    else:
        note = (
            f"Figures at {target:,} documents are extrapolated over {abs(math.log2(target / sizes[-1])):.1f} "
            f"doublings, each taken to multiply a share by the same factor, fitted to {len(sizes)} sizes and "
            "1 at most: the intervals hold the error of the queries, not that of this law."
        )
    return [note]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float | np.floating):
        return round(float(value), _DIGITS) if math.isfinite(value) else None
    return value
