"""From cells to figures: means over seeds and sets, shares of the teacher, intervals, paired differences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from cells import METRICS, Cells, Figures, Key
from numpy.typing import NDArray
from rows import FLOAT
from sets import POOLED

from llmhash.evaluation.bootstrap import bootstrap_means, difference_intervals, interval
from llmhash.evaluation.retrieval import HEADLINE, PerQuery

FloatArray = NDArray[np.float64]
Interval = tuple[float, float]

#: Scorings that no other row's at equal bytes is compared with: they show what a code is worth by itself.
HAMMING = "hamming"


@dataclass(frozen=True, order=True)
class Name:
    """A row as it stands in a table: at one width, scored in one way."""

    row: str
    bits: int
    scoring: str


@dataclass(frozen=True, eq=False)
class Entry:
    """A row in one setting, averaged over its seeds.

    Attributes:
        name: The row.
        figures: Its bytes, its settings, and its seconds averaged over the seeds.
        seeds: How many there are.
        values: Metrics of each query, by part.
    """

    name: Name
    figures: Figures
    seeds: int
    values: dict[str, PerQuery]


@dataclass(frozen=True)
class Share:
    """A mean with its interval."""

    value: float
    ci95: Interval


@dataclass(frozen=True)
class Difference:
    """A row's lead over another, paired by query.

    Attributes:
        over: The other row.
        lead: By how much it leads, with its interval.
    """

    over: Name
    lead: Share


class Summary:
    """What the cells say.

    Args:
        cells: The cells.
        names: Sets whose mean is the headline.
        ours: Rows that are no rivals to each other.
    """

    def __init__(self, cells: Cells, names: Sequence[str], ours: Sequence[str] = ()) -> None:
        self.entries: dict[str, dict[Name, Entry]] = defaultdict(dict)
        groups: dict[tuple[str, str, int], list[Key]] = defaultdict(list)
        for key in cells.listed():
            groups[key.setting, key.row, key.bits].append(key)
        for (setting, _, _), keys in groups.items():
            self.entries[setting].update({each.name: each for each in _average(cells, keys)})
        self.names, self.ours = names, ours
        self.draws = cache(self._draws)

    def teacher(self, setting: str) -> Entry | None:
        """The teacher in a setting, None while it has not been measured."""
        return next((e for n, e in self.entries[setting].items() if n.row == FLOAT), None)

    def rows(self, setting: str) -> list[Entry]:
        """All rows of a setting but the teacher, by bytes, then by name."""
        found = [entry for name, entry in self.entries[setting].items() if name.row != FLOAT]
        return sorted(found, key=lambda each: (each.figures.bytes_per_document, each.name))

    def everywhere(self, places: Iterable[tuple[str, str]]) -> list[Entry]:
        """Rows that have been measured in every place (setting and part), as they are in the first."""
        places = list(places)
        return [
            entry
            for entry in self.rows(places[0][0])
            if all(self._values(setting, part, entry.name) is not None for setting, part in places)
        ]

    def alone(self) -> list[tuple[str, str]]:
        """The headline's sets, each with its own documents."""
        return [(name, name) for name in self.names if self.teacher(name) is not None]

    def pooled(self, names: Iterable[str], size: int | None = None) -> list[tuple[str, str]]:
        """Sets in the pool, or their points on the curve at a size."""
        teacher = self.teacher(POOLED)
        parts = [name if size is None else f"{name}@{size}" for name in names]
        return [(POOLED, part) for part in parts if teacher is not None and part in teacher.values]

    def sizes(self) -> list[int]:
        """Sizes of the curve, ascending."""
        teacher = self.teacher(POOLED)
        parts = [] if teacher is None else teacher.values
        return sorted({int(part.rpartition("@")[2]) for part in parts if "@" in part})

    def means(self, setting: str, part: str, name: Name) -> dict[str, float]:
        """Mean metrics of a row in a part."""
        values = self.entries[setting][name].values[part]
        return {metric: float(values[metric].mean()) for metric in METRICS}

    def retention(self, places: Sequence[tuple[str, str]], name: Name) -> Share:
        """A row's share of the teacher's nDCG@10, averaged over places.

        The interval is over queries, drawn anew in each place, the teacher's with the row's.
        """
        values = [self._retention(setting, part, name) for setting, part in places]
        draws = np.mean([self.draws(setting, part, name) for setting, part in places], axis=0)
        return Share(float(np.mean(values)), interval(draws))

    def lead(self, places: Sequence[tuple[str, str]], name: Name, over: Name) -> Share:
        """By how much a row's mean retention exceeds another's, paired by query."""
        gap = self.retention(places, name).value - self.retention(places, over).value
        draws = np.mean(
            [self.draws(setting, part, name) - self.draws(setting, part, over) for setting, part in places],
            axis=0,
        )
        return Share(gap, interval(draws))

    def gain(self, setting: str, part: str, name: Name, over: Name) -> Share:
        """By how much a row's nDCG@10 exceeds another's in one place, paired by query."""
        first, second = (self._headline(setting, part, each) for each in (name, over))
        (ci95,) = difference_intervals(first[None], second)
        return Share(float((first - second).mean()), ci95)

    def rivals(self, places: Sequence[tuple[str, str]], ours: Entry) -> list[Name]:
        """Rows at the same bytes per document and no Hamming scoring, the best retention first."""
        found = [
            entry.name
            for entry in self.everywhere(places)
            if entry.name.row not in (ours.name.row, *self.ours)
            and entry.name.scoring != HAMMING
            and entry.figures.bytes_per_document == ours.figures.bytes_per_document
        ]
        return sorted(found, key=lambda name: -self.retention(places, name).value)

    def difference(self, places: Sequence[tuple[str, str]], ours: Entry) -> Difference | None:
        """Our mean retention against the best rival's, or None where there is no rival."""
        rivals = self.rivals(places, ours)
        return Difference(rivals[0], self.lead(places, ours.name, rivals[0])) if rivals else None

    def _retention(self, setting: str, part: str, name: Name) -> float:
        teacher = self._headline(setting, part, self._teacher_name(setting))
        return float(self._headline(setting, part, name).mean() / teacher.mean())

    def _draws(self, setting: str, part: str, name: Name) -> FloatArray:
        """Resampled retentions (resamples,); queries are drawn alike for all rows, anew for each part."""
        teacher = self._headline(setting, part, self._teacher_name(setting))
        base = part.partition("@")[0]
        seed = self.names.index(base) if base in self.names else len(self.names)
        means = bootstrap_means(np.stack([teacher, self._headline(setting, part, name)]), seed=seed)
        return np.divide(means[:, 1], means[:, 0])

    def _headline(self, setting: str, part: str, name: Name) -> FloatArray:
        return self.entries[setting][name].values[part][HEADLINE]

    def _values(self, setting: str, part: str, name: Name) -> PerQuery | None:
        entry = self.entries[setting].get(name)
        return None if entry is None else entry.values.get(part)

    def _teacher_name(self, setting: str) -> Name:
        teacher = self.teacher(setting)
        if teacher is None:
            raise SystemExit(f"the cells hold no row {FLOAT!r} of {setting}: run it first.")
        return teacher.name


def _average(cells: Cells, keys: Sequence[Key]) -> list[Entry]:
    """The seeds of one row at one width in one setting, averaged: an entry a scoring."""
    values = [cells.values(key) for key in keys]
    figures = [cells.figures(key) for key in keys]
    entries = []
    for scoring, first in figures[0].items():
        seconds = {
            name: float(np.mean([each[scoring].seconds[name] for each in figures])) for name in first.seconds
        }
        averaged = {
            part: {
                metric: np.mean([each[scoring][part][metric] for each in values], axis=0)
                for metric in METRICS
            }
            for part in values[0][scoring]
        }
        costs = Figures(first.bytes_per_document, first.model_bytes, seconds, first.settings, first.documents)
        entries.append(Entry(Name(keys[0].row, keys[0].bits, scoring), costs, len(keys), averaged))
    return entries
