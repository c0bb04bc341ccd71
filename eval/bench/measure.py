"""Measuring one case: every contestant built over the same codes, then searched side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from contestants import FLAT, Engine, Variant
from numpy.typing import NDArray
from results import Record, Results
from timing import anonymous_bytes, take_turns, timed
from workloads import Packed, Queries, Source

from llmhash.index import NO_DISTANCE

Distances = NDArray[np.uint16]

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
#: k-th distances that latency is told apart by: up to 8, 9 to 12, more.
BUCKETS = ((0, 8), (9, 12), (13, 1 << 16))
_PASSES = 3  # Times that each single query is timed.
_TURN = 5  # Single queries that a contestant searches in one turn.
_MOST_RUNS = 9  # Runs of a batch.
_LEAST_BATCH, _TRIAL_BATCH = 32, 8  # Queries of a batch, at least; of one that would take too long.
_SAMPLE = 20_000  # Codes that a slow engine is built over to see how long all of them will take.
_GRAPH_GROWTH = 1.1  # A graph's build time grows with n to about this power.


class Setting(NamedTuple):
    """What a search asks for: neighbours, queries in one call, threads."""

    k: int
    batch: int
    threads: int

    @property
    def name(self) -> str:
        """What its records are called within a case."""
        return f"k={self.k}/batch={self.batch}/threads={self.threads}"


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds.

    Attributes:
        measurement: One contestant in one setting. A slow one gets fewer queries and runs, at least three.
        latency: The same for llmhash's own engines, one query at a time.
        build: One engine; a slower one is left out.
    """

    measurement: float
    latency: float
    build: float


@dataclass
class Case:
    """A number of codes of a workload, and the contestants built over them."""

    source: Source
    count: int
    packed: Packed
    nearest: Distances  # Exact, (q, the largest k).
    variants: dict[str, Variant] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What its records begin with."""
        return case_name(self.source.workload, self.source.bits, self.count)

    @property
    def fields(self) -> Record:
        """What each of its records says about it."""
        return case_fields(self.source.workload, self.source.bits, self.count)


def case_name(workload: str, bits: int, count: int) -> str:
    """What the records of a case begin with."""
    return f"{workload}/{bits}/{count}"


def case_fields(workload: str, bits: int, count: int) -> Record:
    """What tells a case's records apart from others'."""
    return {"workload": workload, "bits": bits, "codes": count}


def build_engine(engine: Engine, case: Case, threads: int, limit: float) -> tuple[Record, list[Variant]]:
    """Build an engine over a case's codes: its figures, or why it was left out, and its variants."""
    try:
        return _build_engine(engine, case, threads, limit)
    except (
        ImportError,
        RuntimeError,
        ValueError,
        MemoryError,
    ) as error:  # A library that does not work here.
        return {"skipped": f"it failed ({error})", "limit": limit}, []


def _build_engine(engine: Engine, case: Case, threads: int, limit: float) -> tuple[Record, list[Variant]]:
    bits = case.source.bits
    engine.build(case.packed[: min(case.count, 2000)], bits, threads)  # Loads and compiles what it needs.
    if engine.graph and case.count > _SAMPLE:
        expected = timed(lambda: engine.build(case.packed[:_SAMPLE], bits, threads))
        expected *= (case.count / _SAMPLE) ** _GRAPH_GROWTH
        if expected > limit:
            return {"skipped": f"building it would take about {expected:,.0f} s", "limit": limit}, []
    before, start = anonymous_bytes(), time.perf_counter()
    variants = engine.build(case.packed, bits, threads)
    seconds = time.perf_counter() - start
    taken = max(0, anonymous_bytes() - before) / case.count
    code_bytes = bits / 8
    return {
        "seconds": seconds,
        "threads": threads,
        "bytes_beyond_codes": max(0.0, taken - code_bytes) if engine.copies else taken,
        "bytes_with_codes": taken if engine.copies else taken + code_bytes,
        "variants": [variant.name for variant in variants],
    }, variants


def kth_distances(case: Case, neighbours: Sequence[int]) -> Record:
    """Quantiles of the k-th distance over the queries, by k."""
    return {
        **case.fields,
        "quantiles": list(QUANTILES),
        "queries": len(case.nearest),
        "by_k": {
            str(k): np.quantile(case.nearest[:, k - 1], QUANTILES, method="inverted_cdf").tolist()
            for k in neighbours
        },
    }


@dataclass
class Trial:
    """One contestant's searches in a setting, planned so that they fit its time.

    Attributes:
        variant: The contestant.
        setting: What is asked for.
        parts: What each search takes: prepared queries, in order.
        starts: The first query of each part.
        passes: Times that all parts are gone through.
        found: By part, what the library returned last.
    """

    variant: Variant
    setting: Setting
    parts: list[Any]
    starts: list[int]
    size: int
    passes: int
    found: dict[int, Any] = field(default_factory=dict)

    def search(self, part: int) -> None:
        """Search one part."""
        self.found[part] = self.variant.search(self.parts[part], self.setting.k, self.setting.threads)

    def calls(self) -> list[partial[None]]:
        """The searches, pass after pass."""
        return [partial(self.search, part) for _ in range(self.passes) for part in range(len(self.parts))]

    def recall(self, nearest: Distances) -> float | None:
        """The share of the k nearest that was found, counted by distance; None if it cannot be counted."""
        if self.variant.distances is None:
            return None
        k = self.setting.k
        shares = []
        for part, found in self.found.items():
            distances = self.variant.distances(found, k)
            exact = nearest[self.starts[part] : self.starts[part] + self.size, :k]
            there = exact != NO_DISTANCE
            last = np.where(there, exact, 0).max(axis=1, keepdims=True)
            reached = (distances <= last) & (distances != NO_DISTANCE)
            shares.append(int(reached.sum()) / max(1, int(there.sum())))
        return float(np.mean(shares))


def plan_trial(variant: Variant, setting: Setting, queries: Queries, seconds: float) -> Trial:
    """Decide by a first search how many queries and runs of a contestant fit into the seconds."""
    single = setting.batch == 1
    size = 1 if single else min(_TRIAL_BATCH, setting.batch)
    sample = variant.prepare(queries[:size])
    first = partial(variant.search, sample, setting.k, setting.threads)
    cost = timed(first)
    if cost < seconds / 4:
        cost = timed(first)
    each = max(cost / size, 1e-7)
    if single:
        passes = _PASSES if 3 * _PASSES * each <= seconds else 1
        count = min(len(queries), max(3, int(seconds / (passes * each))))
        starts = list(range(count))
    else:
        least = _LEAST_BATCH if each * _LEAST_BATCH <= 4 * seconds else _TRIAL_BATCH
        fitting = int(seconds / 3 / each) // _TRIAL_BATCH * _TRIAL_BATCH
        size = min(len(queries), setting.batch, max(least, fitting))
        passes = max(1, min(_MOST_RUNS, int(seconds / (each * size))))
        starts = [0]
    parts = [variant.prepare(queries[start : start + size]) for start in starts]
    return Trial(variant, setting, parts, starts, size, passes)


def measure_setting(case: Case, setting: Setting, limits: Limits, results: Results) -> None:
    """Measure the contestants that have no figures in a setting yet, beside the flat scan."""
    prefix = f"{case.name}/{setting.name}"
    fitting = {
        name: variant
        for name, variant in case.variants.items()
        if variant.least_threads <= setting.threads <= variant.most_threads
    }
    pending = [name for name in fitting if results.get("measurements", f"{prefix}/{name}") is None]
    if not pending:
        return
    single = setting.batch == 1
    trials = {
        name: plan_trial(
            fitting[name],
            setting,
            case.source.queries,
            limits.latency if single and fitting[name].own else limits.measurement,
        )
        for name in dict.fromkeys([FLAT, *pending])
    }
    calls = {name: trial.calls() for name, trial in trials.items()}
    seconds = take_turns(calls, _TURN if single else 1)
    flat = _per_part(trials[FLAT], seconds[FLAT])
    for name in pending:
        own = _per_part(trials[name], seconds[name])
        record = _record(case, trials[name], seconds[name], own)
        common = min(own.size, flat.size)
        ratio = float(np.median(own[:common])) / trials[name].size
        record.update(contestant=name, **setting._asdict(), **case.fields)
        record["times_flat"] = ratio / (float(np.median(flat[:common])) / trials[FLAT].size)
        if single:
            kth = case.nearest[:common, setting.k - 1]
            record["by_kth_distance"] = list(_by_kth_distance(kth, own[:common], flat[:common]))
        results.put("measurements", f"{prefix}/{name}", record)
    results.save()


def _per_part(trial: Trial, seconds: list[float]) -> NDArray[np.float64]:
    """The median seconds of each part over the passes."""
    found: NDArray[np.float64] = np.median(np.reshape(seconds, (trial.passes, len(trial.parts))), axis=0)
    return found


def _record(case: Case, trial: Trial, seconds: list[float], own: NDArray[np.float64]) -> Record:
    median = float(np.median(own))
    recall = trial.recall(case.nearest)
    return {
        "exact": trial.variant.exact,
        "queries": trial.size * len(trial.parts),
        "runs": trial.passes,
        "seconds": median,
        "seconds_95": float(np.quantile(own if len(own) > 1 else seconds, 0.95)),
        "queries_per_second": trial.size / median,
        "codes_per_second": case.count * trial.size / median,
        "recall": recall,
    }


def _by_kth_distance(
    kth: NDArray[np.uint16], own: NDArray[np.float64], flat: NDArray[np.float64]
) -> Iterator[Record]:
    """Latencies beside the flat scan's on the very same queries, by how far the k-th neighbour is."""
    for low, high in BUCKETS:
        rows = (kth >= low) & (kth <= high)
        if rows.any():
            times = own[rows] / flat[rows]
            yield {
                "from": low,
                "to": high if high < 1 << 16 else None,
                "queries": int(rows.sum()),
                "seconds": float(np.median(own[rows])),
                "flat_seconds": float(np.median(flat[rows])),
                "times_flat_median": float(np.median(times)),
                "times_flat_95": float(np.quantile(times, 0.95)),
                "times_flat_worst": float(times.max()),
            }
