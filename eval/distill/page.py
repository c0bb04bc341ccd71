"""The results as Markdown: one page that answers, one with all figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from cells import STORED
from rows import SCORINGS
from sets import APART, POOLED
from summary import Entry, Share, Summary

from llmhash.evaluation.peers import PEERS

_LABELS = {
    "pq": "PQ",
    "opq": "OPQ",
    "rq": "RQ",
    "lsq": "LSQ",
    "pca_sq8": "PCA + SQ8",
    "pca_rabitq": "PCA + RaBitQ",
    "rabitq": "RaBitQ",
    "st_ubinary": "sentence-transformers ubinary",
    "st_int8": "sentence-transformers int8",
}
_METHOD = """\
A retention is a row's nDCG@10 over the float teacher's on the same documents and queries. Figures are
means over seeds, intervals are 95 % bootstrap intervals over queries. Every row is fitted on the
documents that it is measured on, without queries or judgements, and scores without a float store.
Heads stand by Hamming distance and by asymmetric scan (the query's logits or tables against every
code, the 500 best then by their distances where a codebook chose the codes); FAISS's quantizers score
all documents with the float query (LSQ is fitted in fewer rounds the wider its codes are, for a round
takes time in the cube of the width); sentence-transformers rescores the 400 nearest of its codes with
the float query, as its own search does. Bytes are everything stored for one more document; what is fixed
(model bytes) stands beside it."""
_POOLED = """\
The documents of all sets as one corpus, each set's queries with its own judgements (at most
{most_queries:,} queries a set, a seeded sample). Rows are fitted once, on the pool; of more than 65,536
documents PQ, OPQ, RQ and LSQ are fitted on a seeded sample of that many, ITQ and rca on 100,000, scan and
distill's codebook on 200,000. Of rca's, scan's and that codebook's, those coded badly are likelier."""
_CURVE = """\
Mean retention over the sets by size of the database. Each set's judged documents come first, then
distractors from the pool in one seeded order. The queries are, in a seeded order, those whose judged
documents fit into the smallest database together, and the same at every size. What was fitted on the pool
is used at every size: only the searched database grows."""
_SECONDS = ("fit", "encode", "search")


def readme(summary: Summary, about: dict[str, Any], command: str, plot: str | None) -> str:
    """The page that answers: means, leads, the pool and the curve."""
    large = f"those of {', '.join(about['large_sets'])} {about['large_backend']}'s in {about['large_dtype']}"
    lines = [
        "# What 8, 16 and 32 bytes keep of a teacher's ranking",
        "",
        f"Teacher: `{about['teacher']}`. Embeddings are torch's in float32, {large}.",
        *_stored(summary),
        "",
        _METHOD,
        "",
        "All figures of every set are in [details.md](details.md). Made by",
        "",
        "```",
        command,
        "```",
    ]
    if plot is not None:
        lines += ["", f"![Retention against bytes per document]({plot})"]
    alone = summary.alone()
    if alone:
        lines += ["", "## Each set alone", *_retentions(summary, alone), *_leads(summary, alone)]
    pooled = summary.pooled(summary.names)
    if pooled:
        documents = _documents(summary, POOLED)
        lines += ["", f"## All pooled: {documents:,} documents", "", _POOLED.format(**about)]
        lines += [*_retentions(summary, pooled), *_remarks(summary), *_leads(summary, pooled)]
        lines += _apart(summary)
        lines += _curve(summary)
    return "\n".join(lines) + "\n"


def details(summary: Summary) -> str:
    """All figures: a table a set and setting."""
    lines = ["# All figures", "", "Seconds are of the whole corpus, on a shared machine: indicative only."]
    places = summary.alone() + summary.pooled([*summary.names, *APART])
    for setting, part in places:
        teacher = summary.teacher(setting)
        if teacher is None:
            continue
        queries = len(teacher.values[part]["ndcg@10"])
        title = part if setting == part else f"{part}, pooled"
        lines += ["", f"## {title}", ""]
        lines += [f"{queries:,} queries, {teacher.figures.documents:,} documents.", ""]
        header = ["row", "bits", "scoring", "B/doc", "model bytes", "model B/doc", "nDCG@10", "Recall@100"]
        header += ["overlap@10", "retention", "95 %", "seeds", "fit s", "encode s", "search s"]
        rows = [_detail(summary, setting, part, each) for each in (teacher, *summary.rows(setting))]
        lines += _table(header, rows, left=3)
    lines += ["", "## Settings", ""]
    lines += _settings(summary)
    return "\n".join(lines) + "\n"


def label(entry: Entry) -> str:
    """What a row is called in text."""
    return _LABELS.get(entry.name.row, entry.name.row)


def _retentions(summary: Summary, places: Sequence[tuple[str, str]]) -> list[str]:
    """A table a number of bytes: mean retention with its interval, then each place's."""
    lines = []
    entries = summary.everywhere(places)
    for size, group in groupby(entries, key=lambda each: each.figures.bytes_per_document):
        shares = [(each, summary.retention(places, each.name)) for each in group]
        shares.sort(key=lambda pair: -pair[1].value)
        header = ["row", "scoring", "mean", "95 %", *(part for _, part in places), "model bytes"]
        rows = [
            [
                label(each),
                each.name.scoring,
                f"{share.value:.3f}",
                _range(share),
                *(f"{summary.retention([place], each.name).value:.3f}" for place in places),
                f"{each.figures.model_bytes:,}",
            ]
            for each, share in shares
        ]
        lines += ["", f"### {size} bytes per document", "", *_table(header, rows, left=2)]
    return lines


def _leads(summary: Summary, places: Sequence[tuple[str, str]]) -> list[str]:
    """Each of our rows against the best of the others' at equal bytes, on the mean and on each set."""
    return [line for ours in summary.ours for line in _leads_of(summary, places, ours)]


def _leads_of(summary: Summary, places: Sequence[tuple[str, str]], ours: str) -> list[str]:
    lines: list[str] = []
    for entry in summary.everywhere(places):
        difference = summary.difference(places, entry)
        if entry.name.row != ours or entry.name.scoring != SCORINGS[-1] or difference is None:
            continue
        size = entry.figures.bytes_per_document
        lead = difference.lead
        line = f"- {size} bytes: mean retention {lead.value:+.3f} ({_range(lead, sign=True)}) over "
        line += (
            f"{_LABELS.get(difference.over.row, difference.over.row)}, the best of the others on the mean."
        )
        won, above, gains = 0, 0, []
        for place in places:
            # Each set's own best rival, which is chosen on these very queries: nothing is harder to beat.
            rival = summary.rivals([place], entry)[0]
            gain = summary.gain(*place, entry.name, rival)
            won, above = won + (gain.value > 0), above + (gain.ci95[0] > 0)
            name = _LABELS.get(rival.row, rival.row)
            gains.append(f"{place[1]} {gain.value:+.3f} ({_range(gain, sign=True)}; {name})")
        line += (
            f" Ahead of each set's best other row on {won} of {len(places)} sets, on {above} of them with an "
        )
        lines.append(line + f"interval above 0. nDCG@10: {', '.join(gains)}.")
    return ["", f"### {ours} against the best of the others at equal bytes", "", *lines] if lines else []


def _apart(summary: Summary) -> list[str]:
    """The sets that stand beside the headline."""
    places = summary.pooled(APART)
    if not places:
        return []
    header = ["row", "scoring", "B/doc", *(part for _, part in places)]
    rows = [
        [
            label(each),
            each.name.scoring,
            str(each.figures.bytes_per_document),
            *(_spelt(summary.retention([place], each.name)) for place in places),
        ]
        for each in summary.everywhere(places)
    ]
    return [
        "",
        "### Apart: an easy sample, and titles that look for their own abstract",
        "",
        *_table(header, rows, left=2),
    ]


def _curve(summary: Summary) -> list[str]:
    """Retention by size of the database."""
    sizes = summary.sizes()
    columns = [summary.pooled(summary.names, size) for size in sizes]
    if not sizes or not all(columns):
        return []
    header = ["row", "scoring", "B/doc", *(f"{size:,}" for size in sizes)]
    rows = [
        [
            label(each),
            each.name.scoring,
            str(each.figures.bytes_per_document),
            *(_spelt(summary.retention(places, each.name)) for places in columns),
        ]
        for each in summary.everywhere([place for places in columns for place in places])
    ]
    teacher = summary.teacher(POOLED)
    counts = (
        []
        if teacher is None
        else [f"{part.partition('@')[0]} {len(teacher.values[part]['ndcg@10']):,}" for _, part in columns[0]]
    )
    said = f"{_CURVE} Queries: {', '.join(counts)}."
    return ["", "### The curve over size", "", said, "", *_table(header, rows, left=2)]


def _detail(summary: Summary, setting: str, part: str, entry: Entry) -> list[str]:
    means = summary.means(setting, part, entry.name)
    share = summary.retention([(setting, part)], entry.name)
    figures = entry.figures
    return [
        label(entry),
        str(entry.name.bits),
        entry.name.scoring,
        str(figures.bytes_per_document),
        f"{figures.model_bytes:,}",
        f"{figures.model_bytes / figures.documents:.1f}",
        *(f"{value:.3f}" for value in means.values()),
        f"{share.value:.3f}",
        _range(share),
        str(entry.seeds),
        *(f"{figures.seconds[name]:.1f}" if name in figures.seconds else "-" for name in _SECONDS),
    ]


def _remarks(summary: Summary) -> list[str]:
    """What cells of the pool say of heads' figures, each once."""
    said = {
        f"{label(entry)}: {entry.figures.settings}."
        for entry in summary.entries[POOLED].values()
        if entry.name.row not in PEERS and entry.figures.settings not in (None, STORED)
    }
    return [line for remark in sorted(said) for line in ("", remark)]


def _stored(summary: Summary) -> list[str]:
    """Which rows have other embeddings."""

    def rows(settings: Sequence[str]) -> set[str]:
        entries = (entry for setting in settings for entry in summary.entries[setting].values())
        return {label(entry) for entry in entries if STORED in (entry.figures.settings or "")}

    return [
        f"{where}, those of {', '.join(sorted(found))} (at some seeds or all) were stored, as float16."
        for where, found in (
            ("On sets alone", rows([setting for setting, _ in summary.alone()])),
            ("In the pool", rows([POOLED])),
        )
        if found
    ]


def _settings(summary: Summary) -> list[str]:
    """What the peers' figures depend on, each once, and what could not be done."""
    said = {
        f"- {label(entry)}, {entry.figures.bytes_per_document} bytes: {entry.figures.settings}."
        for entries in summary.entries.values()
        for entry in entries.values()
        if entry.name.row in PEERS
    }
    return [
        *sorted(said),
        "- PCA + RaBitQ at 8 bytes: not possible, its two factors alone take 8 bytes.",
    ]


def _documents(summary: Summary, setting: str) -> int:
    teacher = summary.teacher(setting)
    return 0 if teacher is None else teacher.figures.documents


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """A Markdown table, its first `left` columns to the left."""
    rules = ["---" if column < left else "---:" for column in range(len(header))]
    return ["| " + " | ".join(cells) + " |" for cells in (header, rules, *rows)]


def _range(share: Share, *, sign: bool = False) -> str:
    low, high = share.ci95
    return f"{low:+.3f} to {high:+.3f}" if sign else f"{low:.3f} to {high:.3f}"


def _spelt(share: Share) -> str:
    return f"{share.value:.3f} ({_range(share)})"
