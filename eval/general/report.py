"""The tables of what was measured, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from cells import TEACHER, Cells, Facts, Key, Values, write_json
from places import DEVELOPMENT, SCORINGS, TEST, Share, difference, retention

from llmhash.collection.balance import LIMIT

_ABOUT = """\
# The general hasher, and hashers on corpora that they were not distilled on

Teacher: `minilm`. Figures are retentions: nDCG@10 as a share of the float teacher's on the same documents
and queries. *In-corpus* is a hasher distilled on the documents that it is tested on; the general hasher
(`llmhash/pretrained/minilm`) was trained on none of them. *Adapted* is what it becomes for documents at hand
without queries: their mean, RCA, codebook and anchors. Intervals are 95 % bootstrap intervals over queries.
Settings were chosen on the development sets only. Seeds of each distilled head: {seeds}.{stored} Made by

```
python eval/general/matrix.py distilled DATA {output}
python eval/general/matrix.py nested DATA {output}
python eval/general/matrix.py grown DATA {output}
python eval/general/matrix.py tested DATA {output}
python eval/general/matrix.py taken eval/results/distill {output}
python eval/general/matrix.py general DATA {output} llmhash/pretrained/minilm
python eval/general/matrix.py general DATA {output} llmhash/pretrained/minilm --test
python eval/general/matrix.py report {output}
```"""
#: The general hasher as it is, and adapted to the documents of each place.
GENERAL = ("general", "adapted")
_SHORT = {"climate_fever_sentences": "climate_fever"}


def write_report(cells: Cells, output: Path) -> None:
    """Write `README.md` and `results.json`."""
    found = _Found(cells)
    seeds = max((key.seed + 1 for key in found.keys), default=1)
    sections = [
        _against_in_corpus(found, TEST, ".test", "The test sets", "hashers distilled on them"),
        _against_in_corpus(
            found, DEVELOPMENT, "", "The development sets", "hashers distilled on them without a codebook"
        ),
        *(_matrix(found, bits, scoring) for bits in (128, 64) for scoring in SCORINGS),
        _growth(found),
        _nested(found),
        _drift(found),
    ]
    stored = sorted({key.source for key in found.keys if cells.facts(key).stored})
    said = f"\nEmbeddings were stored ones, as float16, for: {', '.join(stored)}." if stored else ""
    lines = [_ABOUT.format(seeds=seeds, stored=said, output=output)]
    for section in filter(None, sections):
        lines += ["", f"## {section['title']}", "", section["text"], "", *_table(section["rows"])]
    (output / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(output / "results.json", {"sections": [section for section in sections if section]})


class _Found:
    """The measured heads, seeds averaged."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.keys = cells.listed()
        self.teacher = cells.values(Key(TEACHER, 0))

    def seeds(self, source: str, bits: int) -> list[Key]:
        return [key for key in self.keys if (key.source, key.bits) == (source, bits)]

    def values(self, source: str, bits: int) -> Values:
        """Values at each place that all seeds were measured at; empty where there are none."""
        held = [self.cells.values(key) for key in self.seeds(source, bits)]
        if not held:
            return {}
        return {name: np.mean([each[name] for each in held], axis=0) for name in held[0]}

    def facts(self, source: str, bits: int) -> list[Facts]:
        return [self.cells.facts(key) for key in self.seeds(source, bits)]

    def share(self, source: str, bits: int, place: str, scoring: str) -> float | None:
        """A retention, or None where it was not measured."""
        values = self.values(source, bits).get((place, scoring))
        return None if values is None else retention(values, self.teacher[place, TEACHER])


def _against_in_corpus(
    found: _Found, sets: Sequence[tuple[str, str]], suffix: str, title: str, others: str
) -> dict[str, Any] | None:
    rows: list[dict[str, Any]] = []
    for bits, kind in product((64, 128, 256), GENERAL):
        general = found.values(kind, bits)
        for scoring in SCORINGS:
            places = [
                (f"{name} {split}", scoring, found.values(name + suffix, bits))
                for name, split in sets
                if (f"{name} {split}", scoring) in general
                and (f"{name} {split}", scoring) in found.values(name + suffix, bits)
            ]
            if not places:
                continue
            teachers = [found.teacher[label, TEACHER] for label, _, _ in places]
            ours = [general[label, scoring] for label, _, _ in places]
            theirs = [values[label, scoring] for label, _, values in places]
            pairs = [*zip(ours, theirs, teachers, strict=True)]
            named = [(_short(label), [pair]) for (label, _, _), pair in zip(places, pairs, strict=True)]
            for name, chosen in [*named, (f"mean of {len(pairs)}", pairs)]:
                share = difference(*zip(*chosen, strict=True))  # type: ignore[arg-type]
                rows.append(
                    {
                        "bits": bits,
                        "scoring": scoring,
                        "hasher": kind,
                        "set": name,
                        "retention": _mean(retention(own, teacher) for own, _, teacher in chosen),
                        "in-corpus": _mean(retention(other, teacher) for _, other, teacher in chosen),
                        **_difference(share),
                    }
                )
    text = (
        "The general hasher as it is shipped, and adapted to the documents (mean, RCA, codebook and "
        f"anchors, as `llmhash index create` does), against {others}."
    )
    return {"title": title, "text": text, "rows": rows} if rows else None


def _matrix(found: _Found, bits: int, scoring: str) -> dict[str, Any] | None:
    """Rows are what a head was distilled on, columns where it is tested."""
    rows = []
    for source in (*(name for name, _ in DEVELOPMENT), *GENERAL):
        row: dict[str, Any] = {"distilled on": source}
        others = []
        for name, split in DEVELOPMENT:
            share = found.share(source, bits, f"{name} {split}", scoring)
            row[_short(name)] = share
            others += [share] if share is not None and name != source else []
        if others:
            rows.append({**row, "mean of others": _mean(others)})
    text = "Columns are the sets tested on; the mean leaves out the set that a head was distilled on."
    title = f"Distilled on A, tested on B: {bits} bits, {scoring}"
    return {"title": title, "text": text, "rows": rows} if rows else None


def _growth(found: _Found) -> dict[str, Any] | None:
    """How much corpus an in-corpus distillation needs."""
    rows = []
    for name, split in DEVELOPMENT:
        sources = sorted(
            {key.source for key in found.keys if key.source.startswith(f"{name}@")},
            key=lambda source: int(source.partition("@")[2]),
        )
        for source in [*sources, *GENERAL] if sources else []:
            label = f"{name} {split}"
            facts = found.facts(source, 128)
            if facts:
                rows.append(
                    {
                        "set": _short(name),
                        "distilled on": source if source in GENERAL else f"{facts[0].documents:,} of it",
                        **{scoring: found.share(source, 128, label, scoring) for scoring in SCORINGS},
                        "minutes": None
                        if source in GENERAL
                        else round(_mean(each.seconds for each in facts) / 60, 1),
                    }
                )
    text = (
        "128 bits, distilled on a seeded sample of the documents, with those of the set's 10,000 "
        "pseudo-queries that were cut from it, and tested on all documents. Minutes are of one thread of a "
        "shared machine, without the embedding."
    )
    return {"title": "How much corpus beats the general hasher", "text": text, "rows": rows} if rows else None


def _nested(found: _Found) -> dict[str, Any] | None:
    """What prefixes lose."""
    rows = []
    for name, split in DEVELOPMENT:
        for key in found.keys:
            if key.source == f"{name}.nested" and key.seed == 0:
                label = f"{name} {split}"
                row: dict[str, Any] = {"set": _short(name), "bits": key.bits}
                for scoring in SCORINGS:
                    row[f"{scoring}, nested"] = found.share(key.source, key.bits, label, scoring)
                    row[f"{scoring}, alone"] = found.share(name, key.bits, label, scoring)
                rows.append(row)
    text = "The first bits of one hasher (`distill-nested`) against hashers distilled at that width alone."
    return {"title": "Nested codes", "text": text, "rows": rows} if rows else None


def _drift(found: _Found) -> dict[str, Any] | None:
    """Bit balance drift, in-corpus and elsewhere."""
    rows = []
    for source in (*(name for name, _ in DEVELOPMENT), "general"):
        facts = found.facts(source, 128)
        if facts:
            row: dict[str, Any] = {"distilled on": source}
            for name, split in DEVELOPMENT:
                row[_short(name)] = _mean(each.drift[f"{name} {split}"] for each in facts)
            rows.append(row)
    text = (
        "Root mean square difference of the bits' shares of ones from those in training, sampling noise "
        f"taken out; 128 bits. `llmhash info` warns above {LIMIT}."
    )
    return {"title": "Bit balance drift", "text": text, "rows": rows} if rows else None


def _difference(share: Share) -> dict[str, Any]:
    low, high = share.ci95
    return {"difference": round(share.value, 4), "95 %": f"{low:+.3f} to {high:+.3f}"}


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean([*values])), 4)


def _short(name: str) -> str:
    first = name.split(" ", maxsplit=1)[0]
    return _SHORT.get(first, first)


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows of the same fields as a Markdown table."""
    header = list(rows[0])
    rules = ["---" if isinstance(rows[0][name], str) else "---:" for name in header]
    cells = [[_spelt(name, row[name]) for name in header] for row in rows]
    return ["| " + " | ".join(line) + " |" for line in (header, rules, *cells)]


def _spelt(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return (
            f"{value:+.3f}" if name == "difference" else f"{value:.3f}" if name != "minutes" else f"{value}"
        )
    return str(value)
