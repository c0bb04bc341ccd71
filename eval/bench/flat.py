"""Exact Hamming search: llmhash's FlatIndex beside FAISS's IndexBinaryFlat, at equal threads.

The contestants take turns in one process, so that what else the machine does meets all of them; the table
shows medians. FAISS runs with its default settings (a heap a query, 32 queries a batch) and with every
combination of its two options; "best" is the fastest of those in the same run. The bare loop is what a scan
cannot do without: reading every code for every query, counting the bits that differ and comparing the count
with a constant.

    python eval/bench/flat.py --bits 64 --codes 1000000 --queries 200 -k 100 --threads 1 2
"""

from __future__ import annotations

import os

# FAISS's threads otherwise spin while they wait, and slow whatever runs beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from loops import bare_loop, count_near, uses_avx512
from machine import describe_machine
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from timing import take_turns

from llmhash.index import FlatIndex

OURS, BARE, FAISS_DEFAULT = "llmhash FlatIndex", "bare popcount loop", "FAISS heap, batch 32 (default)"


@dataclass(frozen=True)
class Comparison:
    """Random codes and queries to search, and how often."""

    codes: int
    bits: int
    queries: int
    k: int
    repeats: int
    seed: int = 0


def faiss_settings(queries: int) -> dict[str, tuple[bool, int]]:
    """By name: whether a heap collects the neighbours (or counting), and how many queries make a batch."""
    return {
        FAISS_DEFAULT: (True, 32),
        "FAISS counting, batch 32": (False, 32),
        f"FAISS heap, batch {queries}": (True, queries),
        f"FAISS counting, batch {queries}": (False, queries),
    }


def search_faiss(
    index: Any, setting: tuple[bool, int], queries: NDArray[np.uint8], k: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Search FAISS's flat index with a setting of `faiss_settings`."""
    index.use_heap, index.query_batch_size = setting
    found: tuple[NDArray[np.int32], NDArray[np.int64]] = index.search(queries, k)
    return found


def compare(what: Comparison, threads: int) -> dict[str, Any]:
    """One run: every contestant's median, at a number of threads.

    Raises:
        SystemExit: FAISS and llmhash find different distances.
    """
    faiss = import_module("faiss")  # Here, so that `search.py` runs without it.
    rng = np.random.default_rng(what.seed)
    width = what.bits // 8
    packed = rng.integers(0, 256, (what.codes, width), dtype=np.uint8)
    queries = rng.integers(0, 256, (what.queries, width), dtype=np.uint8)
    ours = FlatIndex.from_packed(packed, what.bits)
    theirs = faiss.IndexBinaryFlat(what.bits)
    theirs.add(packed)
    faiss.omp_set_num_threads(threads)
    settings = faiss_settings(what.queries)
    found, _ = ours.search(queries, what.k, threads=threads)
    for name, setting in settings.items():
        expected, _ = search_faiss(theirs, setting, queries, what.k)
        if not np.array_equal(found, expected):
            raise SystemExit(f"{name} finds other distances than llmhash.")
    contestants: dict[str, Callable[[], Any]] = {
        OURS: lambda: ours.search(queries, what.k, threads=threads),
        **{
            name: partial(search_faiss, theirs, setting, queries, what.k)
            for name, setting in settings.items()
        },
    }
    if width % 8 == 0:
        words = packed.view(np.uint64), queries.view(np.uint64)
        contestants[BARE] = lambda: bare_loop(*words, what.bits, threads)
        contestants[BARE]()  # Compiles; the others have run above.
    seconds = take_turns({name: [contest] * what.repeats for name, contest in contestants.items()})
    return summary(what, threads, {name: statistics.median(runs) for name, runs in seconds.items()})


def summary(what: Comparison, threads: int, medians: dict[str, float]) -> dict[str, Any]:
    """What a run showed, by contestant and as ratios."""
    pairs = what.codes * what.queries
    best = min((name for name in medians if name.startswith("FAISS")), key=medians.__getitem__)
    return {
        **asdict(what),
        "threads": threads,
        "avx512": uses_avx512() if count_near.signatures else None,
        "seconds": medians,
        "codes_per_second": {name: pairs / value for name, value in medians.items()},
        "best_faiss": best,
        "over_default": medians[FAISS_DEFAULT] / medians[OURS],
        "over_best": medians[best] / medians[OURS],
        "share_of_bare_loop": medians[BARE] / medians[OURS] if BARE in medians else None,
    }


def show(console: Console, result: dict[str, Any]) -> None:
    """Print a run as a table."""
    title = "{codes:,} codes of {bits} bits, {queries} queries, k = {k}, {threads} thread(s)".format(**result)
    table = Table(title=f"{title}, median of {result['repeats']}", title_justify="left")
    table.add_column("")
    for heading in ("ms a query", "billion codes/s", "llmhash is faster by"):
        table.add_column(heading, justify="right")
    for name, seconds in result["seconds"].items():
        table.add_row(
            name + (" (best)" if name == result["best_faiss"] else ""),
            f"{1000 * seconds / result['queries']:.3f}",
            f"{result['codes_per_second'][name] / 1e9:.2f}",
            "" if name == OURS else f"{seconds / result['seconds'][OURS]:.2f}",
        )
    console.print(table)


def parse() -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--codes", type=int, default=1_000_000)
    parser.add_argument("--bits", type=int, default=64, help="a multiple of 8")
    parser.add_argument("--queries", type=int, default=200, help="searched as one batch")
    parser.add_argument("-k", "--k", type=int, default=100)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    if arguments.bits % 8:
        parser.error("--bits must be a multiple of 8: FAISS takes whole bytes.")
    return arguments


def main() -> None:
    """Run the comparison at each number of threads."""
    arguments = parse()
    console = Console()
    what = Comparison(
        arguments.codes, arguments.bits, arguments.queries, arguments.k, arguments.repeats, arguments.seed
    )
    results = []
    for threads in arguments.threads:
        results.append(compare(what, threads))
        show(console, results[-1])
    if arguments.json is not None:
        report = {"machine": describe_machine(), "runs": results}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
