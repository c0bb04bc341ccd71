"""A probe's report for people and programs: tables and sentences in the terminal, Markdown, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmhash.evaluation.bench import CANDIDATES
from llmhash.evaluation.probe import ProbeReport
from llmhash.evaluation.probe_advice import JUDGED, Kept, Recommendation, judged
from llmhash.evaluation.probe_geometry import SideGeometry
from llmhash.evaluation.probe_growth import SCORINGS, Figure

if TYPE_CHECKING:
    from rich.console import Console

_WIDEST = 400
# Heads that a probe measures only if asked to, as they take minutes, and what they do.
_FEWER_BYTES = {
    "distill": "is trained to keep the teacher's ranking",
    "scan": "keeps the teacher's ranking for the asymmetric scan alone",
}
_PSEUDO_QUERIES_ARE_EASY = (
    "Pseudo-queries are pieces of the documents: questions in people's own words may keep less."
)


@dataclass(frozen=True)
class _Table:
    """A table with its heading and what is to be known to read it."""

    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def probe_json(report: ProbeReport) -> str:
    """The report as JSON, its keys in their defined order; the same for the same seed and features."""
    return json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def probe_markdown(report: ProbeReport) -> str:
    """The report as Markdown: the advice first, then the tables it rests on, the rules and the notes."""
    lines = [f"# {_title(report)}", "", *_paragraphs(_context(report)), "## Advice", ""]
    lines += [f"- {line}" for line in advice(report)]
    for table in _tables(report):
        rule = ["---", *("---:" for _ in table.columns[1:])]
        lines += ["", f"## {table.title}", "", table.caption, ""]
        lines += ["| " + " | ".join(row) + " |" for row in (table.columns, rule, *table.rows)]
    lines += ["", "## Rules", "", *(f"- {rule}" for rule in report.rules)]
    if report.notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in report.notes)]
    return "\n".join(lines) + "\n"


def print_probe(report: ProbeReport, console: Console) -> None:
    """Print the tables, the rules and the notes, and last, where the eye is, the advice."""
    from rich import box
    from rich.measure import Measurement
    from rich.table import Table

    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)

    say(_title(report), "bold")
    for line in _context(report):
        say(line)
    for each in _tables(report):
        say("")
        say(each.title, "bold")
        say(each.caption)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for position, column in enumerate(each.columns):
            table.add_column(column, justify="right" if position else "left")
        for row in each.rows:
            table.add_row(*row)
        # A table squeezed into a narrow terminal or a pipe cuts its figures: let lines run on instead.
        wide = console.options.update(max_width=_WIDEST)
        table.width = Measurement.get(console, wide, table).maximum
        console.print(table, crop=False)
    for title, lines in (("Rules", report.rules), ("Notes", report.notes), ("Advice", advice(report))):
        if lines:
            say("")
            say(title, "bold")
        for line in lines:
            say(f"- {line}")


def advice(report: ProbeReport) -> list[str]:
    """What to do, in sentences."""
    best = report.recommendation
    row = next(
        each for each in report.kept if (each.head, each.bits, each.scoring) == (best.head, best.bits, JUDGED)
    )
    size = f"{best.documents:,} documents"
    at = f"Extrapolated to {size}" if best.extrapolated else f"Over {report.documents:,} documents"
    what = f"{best.head} at {best.bits} bits, {_bytes(best.bytes_per_document)} a document"
    lines = [f"Take {what}."]
    if not best.enough:
        lines = [
            f"No codes keep {100 * report.keep:g} % of the teacher. The best were {what}.",
            _next_to_try(report),
        ]
    lines.append(
        f"{at}, {JUDGED} keeps {_spread(*judged(row.retention))} of the teacher's nDCG@10 and "
        f"{_spread(*judged(row.overlap))} of its top ten."
    )
    lines += _confirmed(report)
    lines.append(f"Scoring at {size}: {best.scoring}. {_candidates(best)}")
    if best.enough:
        lines += _untried(report)
    lines += _sign(report)
    if report.queries == "pseudo-queries":
        lines.append(_PSEUDO_QUERIES_ARE_EASY)
    return lines


def _candidates(best: Recommendation) -> str:
    if best.candidates_asymmetric is None or best.candidates_int8 is None:
        return f"Codes of {best.head} are found by nothing else."
    return (
        f"With candidates by Hamming distance, take {best.candidates_asymmetric:,} to rescore with the "
        f"query's logits, or {best.candidates_int8:,} to rescore with int8 vectors, which add "
        f"{_bytes(best.int8_bytes)} a document."
    )


def _untried(report: ProbeReport) -> list[str]:
    """The heads that were not measured and often keep the ranking in fewer bytes, a sentence each."""
    return [
        f"The head {name} {what}, often in fewer bytes: add it to --heads; it takes minutes."
        for name, what in _FEWER_BYTES.items()
        if name not in report.heads
    ]


def _next_to_try(report: ProbeReport) -> str:
    rescoring = "rescoring with int8 vectors"
    untried = [name for name in _FEWER_BYTES if name not in report.heads]
    if not untried:
        return f"Next to try: more bits, or {rescoring}."
    what = ", and ".join(f"{name}, which {_FEWER_BYTES[name]}" for name in untried)
    return f"Next to try: {what}: add to --heads. Then more bits, or {rescoring}."


def _confirmed(report: ProbeReport) -> Iterator[str]:
    """What the recommended codes keep on queries that had no part in choosing them."""
    found = report.recommendation.confirmation
    if found is None:
        return
    value, ci95 = judged(found.retention)
    yield (
        f"On {found.queries:,} other queries, which had no part in this choice, they keep "
        f"{_spread(value, ci95)} and {_spread(*judged(found.overlap))}."
    )
    if report.recommendation.enough and ci95[0] < report.keep:
        yield (
            f"There the lower end is under {report.keep:.2f}: take the next wider codes where that matters."
        )


def _sign(report: ProbeReport) -> Iterator[str]:
    verdict = report.sign
    if verdict is None:
        return
    low, high = verdict.ci95
    yield (
        f"Sign at zero is {'safe' if verdict.safe else 'UNSAFE'} here: at {verdict.bits} bits, by Hamming "
        f"distance, its overlap@10 differs by {-verdict.difference:+.3f} ({-high:+.3f} to {-low:+.3f}) from "
        f"that of {verdict.other}, the best other head."
    )
    yield " ".join(verdict.why)


def _title(report: ProbeReport) -> str:
    size = f"{report.geometry.dim} dimensions, {report.corpus_size:,} documents"
    return f"How {report.teacher} binarizes: {size}"


def _context(report: ProbeReport) -> list[str]:
    count = f"{report.query_count:,}"
    kinds = {
        "pseudo-queries": f"{count} pseudo-queries cut from them",
        "query vectors": f"{count} of the query vectors",
        "documents": f"{count} other documents that stand in for queries, as there are no query vectors",
    }
    whole = report.documents == report.corpus_size
    searched = f"all {report.documents:,}" if whole else f"{report.documents:,} of {report.corpus_size:,}"
    item = "it was cut from" if report.known_items else "that the teacher finds first"
    level = (
        f"A query's relevant document is the one {item}: the teacher's own nDCG@10 is "
        f"{report.teacher_ndcg:.3f}. The teacher ranks by inner product."
    )
    return [
        f"Searched: {searched} documents, with {kinds[report.queries]}. No head was fitted on these queries.",
        level,
    ]


def _tables(report: ProbeReport) -> Iterator[_Table]:
    yield _geometry_table(report)
    yield _kept_table(
        report,
        "Kept of the teacher's nDCG@10",
        "Share of the teacher's, with its 95 % interval over queries.",
        [row.retention for row in report.kept],
    )
    yield _kept_table(
        report,
        "Overlap@10",
        "Share of the teacher's top ten among theirs, with its 95 % interval over queries.",
        [row.overlap for row in report.kept],
    )
    if len(report.sizes) > 1:
        yield _growth_table(report)
    if report.candidates:
        yield _candidate_table(report)


def _geometry_table(report: ProbeReport) -> _Table:
    geometry = report.geometry
    sides = [geometry.documents] + ([geometry.queries] if geometry.queries is not None else [])

    def row(name: str, *cells: str) -> list[str]:
        return [name, *cells]

    def shares(side: SideGeometry) -> str:
        lowest, _, low, middle, high, _, highest = side.positive
        return f"{lowest:.2f} / {low:.2f} / {middle:.2f} / {high:.2f} / {highest:.2f}"

    caption = f"{geometry.duplicates:,} sampled documents equal an earlier one."
    if geometry.between_sides is not None:
        caption += f" The sides' means lie {geometry.between_sides:.3f} of a document's length apart."
    if geometry.sides_differ:
        caption += " The sides are treated apart: each has thresholds and means of its own."
    return _Table(
        "Geometry",
        caption,
        ["", "documents", *(["queries"] if geometry.queries is not None else [])],
        [
            row("embeddings", *(f"{side.rows:,}" for side in sides)),
            row("length of the mean / mean length", *(f"{side.shift:.3f}" for side in sides)),
            row("mean cosine of two", *(f"{side.anisotropy:.3f}" for side in sides)),
            row("effective dimension", *(f"{side.effective_dimension:.1f}" for side in sides)),
            row("positive signs, by dimension: least / 25 % / 50 % / 75 % / most", *map(shares, sides)),
            row("dimensions with one sign in over 90 %", *(f"{side.imbalanced}" for side in sides)),
            row("dimensions with one sign in over 99 %", *(f"{side.nearly_constant}" for side in sides)),
        ],
    )


def _kept_table(report: ProbeReport, title: str, caption: str, figures: Sequence[Figure]) -> _Table:
    cells: dict[tuple[str, int], dict[str, str]] = {}
    for row, figure in zip(report.kept, figures, strict=True):
        cells.setdefault((row.head, row.bits), {})[row.scoring] = _spread(figure.value, figure.ci95)
    sizes = {(row.head, row.bits): row.bytes_per_document for row in report.kept}
    return _Table(
        title,
        f"{caption} asymmetric rescores {CANDIDATES} candidates.",
        ["head", "bits", "B/doc", *SCORINGS],
        [
            [head, str(bits), str(sizes[head, bits]), *(found[scoring] for scoring in SCORINGS)]
            for (head, bits), found in cells.items()
        ],
    )


def _growth_table(report: ProbeReport) -> _Table:
    target = report.target_size
    beyond = [] if target is None else [f"at {target:,}"]

    def cells(row: Kept) -> list[str]:
        line = [row.head, str(row.bits), *(_share(value) for value in row.retention.by_size)]
        for figure in (row.retention, row.overlap):
            line.append("-" if figure.per_doubling is None else f"×{figure.per_doubling:.3f}")
            if beyond:
                known = figure.expected is not None and figure.expected_ci95 is not None
                line.append(_spread(*judged(figure)) if known else "-")
        return line

    return _Table(
        "How it falls with the size of the corpus",
        f"Kept of nDCG@10 by {JUDGED} over nested parts of the sample, heads with a codebook being fitted to "
        "each anew; then the factor of each doubling"
        + (" and the extrapolation" if beyond else "")
        + "; the same for overlap@10.",
        [
            "head",
            "bits",
            *(f"{size:,}" for size in report.sizes),
            "each doubling",
            *beyond,
            "overlap, each doubling",
            *(f"overlap {name}" for name in beyond),
        ],
        [cells(row) for row in report.kept if row.scoring == JUDGED],
    )


def _candidate_table(report: ProbeReport) -> _Table:
    counts = report.candidates[0].teacher.counts
    target = report.target_size

    def needed(now: int, expected: int | None) -> list[str]:
        return [f"{now:,}"] + ([] if target is None else ["-" if expected is None else f"{expected:,}"])

    def heading(name: str) -> list[str]:
        return [name] + ([] if target is None else [f"{name} at {target:,}"])

    return _Table(
        "Candidates",
        "Share of the teacher's top ten among the c nearest codes by Hamming distance; then how many "
        f"candidates hold {100 * report.contain:g} % of the top ten that a rescorer finds: the teacher's for "
        "int8 vectors, the asymmetric scan's for the query's logits.",
        ["head", "bits", *(f"c={count:,}" for count in counts), *heading("int8"), *heading("logits")],
        [
            [
                each.head,
                str(each.bits),
                *(_share(share) for share in each.teacher.shares),
                *needed(each.teacher.needed, each.teacher.expected),
                *needed(each.scan.needed, each.scan.expected),
            ]
            for each in report.candidates
        ],
    )


def _paragraphs(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield line
        yield ""


def _bytes(count: int) -> str:
    return f"{count:,} byte{'' if count == 1 else 's'}"


def _share(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"  # NaN: the teacher found nothing.


def _spread(value: float, ci95: tuple[float, float]) -> str:
    return f"{_share(value)} ({_share(ci95[0])} to {_share(ci95[1])})"
