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
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numba
import numpy as np
from rich.console import Console
from rich.table import Table

from llmhash.index import FlatIndex
from llmhash.index.threads import run
from llmhash.index.vectors import popcount

OURS, BARE, FAISS_DEFAULT = "llmhash FlatIndex", "bare popcount loop", "FAISS heap, batch 32 (default)"


@numba.njit(nogil=True)
def count_near(codes: np.ndarray, queries: np.ndarray, limit: int, out: np.ndarray) -> None:
    """Count the codes of one 64-bit word, (n,), that are nearer than a limit to each query."""
    for query in range(queries.size):
        near = 0
        for row in range(codes.size):
            near += popcount(codes[row] ^ queries[query]) < limit
        out[query] = near


@numba.njit(nogil=True)
def count_near_wide(codes: np.ndarray, queries: np.ndarray, limit: int, out: np.ndarray) -> None:
    """The same for codes of several words, (n, w)."""
    for query in range(queries.shape[0]):
        near = 0
        for row in range(codes.shape[0]):
            distance = 0
            for word in range(codes.shape[1]):
                distance += popcount(codes[row, word] ^ queries[query, word])
            near += distance < limit
        out[query] = near


def bare_loop(codes: np.ndarray, queries: np.ndarray, bits: int, threads: int) -> None:
    """Count the codes near each query, the queries shared out among threads."""
    out = np.zeros(len(queries), np.int64)
    count = count_near if codes.shape[1] == 1 else count_near_wide
    shape = (-1,) if codes.shape[1] == 1 else (-1, codes.shape[1])
    bounds = [len(queries) * part // threads for part in range(threads + 1)]
    run(
        [
            partial(count, codes.reshape(shape), queries[i:j].reshape(shape), bits // 4, out[i:j])
            for i, j in pairwise(bounds)
        ],
        threads,
    )


def faiss_settings(queries: int) -> dict[str, tuple[bool, int]]:
    """By name: whether a heap collects the neighbours (or counting), and how many queries make a batch."""
    return {
        FAISS_DEFAULT: (True, 32),
        "FAISS counting, batch 32": (False, 32),
        f"FAISS heap, batch {queries}": (True, queries),
        f"FAISS counting, batch {queries}": (False, queries),
    }


def search_faiss(
    index: Any, setting: tuple[bool, int], queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    index.use_heap, index.query_batch_size = setting
    return index.search(queries, k)


def measure(contestants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each contestant's runs, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for contest in contestants.values():
        contest()
    for _ in range(repeats):
        for name, contest in contestants.items():
            start = time.perf_counter()
            contest()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def compare(arguments: argparse.Namespace, threads: int) -> dict[str, Any]:
    """One run: every contestant's median, at a number of threads."""
    rng = np.random.default_rng(arguments.seed)
    width = -(-arguments.bits // 8)
    packed = rng.integers(0, 256, (arguments.codes, width), dtype=np.uint8)
    queries = rng.integers(0, 256, (arguments.queries, width), dtype=np.uint8)
    ours = FlatIndex.from_packed(packed, arguments.bits)
    theirs = faiss.IndexBinaryFlat(8 * width)
    theirs.add(packed)
    faiss.omp_set_num_threads(threads)
    settings = faiss_settings(arguments.queries)
    found, _ = ours.search(queries, arguments.k, threads=threads)
    for name, setting in settings.items():
        expected, _ = search_faiss(theirs, setting, queries, arguments.k)
        if not np.array_equal(found, expected):
            raise SystemExit(f"{name} finds other distances than llmhash.")
    contestants: dict[str, Callable[[], Any]] = {
        OURS: lambda: ours.search(queries, arguments.k, threads=threads),
        **{
            name: partial(search_faiss, theirs, setting, queries, arguments.k)
            for name, setting in settings.items()
        },
    }
    if width % 8 == 0:
        words = packed.view(np.uint64), queries.view(np.uint64)
        contestants[BARE] = lambda: bare_loop(*words, arguments.bits, threads)
    seconds = measure(contestants, arguments.repeats)
    return summary(arguments, threads, {name: statistics.median(runs) for name, runs in seconds.items()})


def summary(arguments: argparse.Namespace, threads: int, medians: dict[str, float]) -> dict[str, Any]:
    pairs = arguments.codes * arguments.queries
    best = min((name for name in medians if name.startswith("FAISS")), key=medians.__getitem__)
    return {
        "codes": arguments.codes,
        "bits": arguments.bits,
        "queries": arguments.queries,
        "k": arguments.k,
        "threads": threads,
        "repeats": arguments.repeats,
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
    arguments = parse()
    console = Console()
    results = []
    for threads in arguments.threads:
        results.append(compare(arguments, threads))
        show(console, results[-1])
    if arguments.json is not None:
        versions = {"faiss": faiss.__version__, "numba": numba.__version__, "numpy": np.__version__}
        report = {
            "machine": platform.processor() or platform.machine(),
            "versions": versions,
            "runs": results,
        }
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
