"""Hamming search: llmhash's engines beside USearch, FAISS, Annoy, NMSLIB and sentence-transformers.

Over uniform random codes and, with --codes and --queries, over real ones grown to size. In each case (a
workload, a width, a number of codes) every contestant is built over the same array, and in each setting (k,
queries a call, threads) they take turns in this process; figures are medians. The results are written after
every setting, and a run that was interrupted goes on where it stopped. What runs how long:

    python eval/bench/search.py --quick                                           a minute or two
    python eval/bench/search.py --codes d64.npy d128.npy ... --queries q64.npy q128.npy ... --no-avx512
                                                                                  about half an hour
    python eval/bench/search.py --full --codes ... --queries ... --no-avx512      hours

`report.py` turns the results into tables and plots.
"""

from __future__ import annotations

import os

# FAISS's threads otherwise spin while they wait, and slow whatever runs beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import gc
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from contestants import ASYMMETRIC, FLAT, OWN_ENGINES, Engine
from flat import Comparison, compare
from limit import QUICK_RUNS, STANDARD_RUNS, name_of, without_avx512
from machine import command, describe_machine
from measure import (
    Case,
    Limits,
    Setting,
    build_engine,
    case_fields,
    case_name,
    kth_distances,
    measure_setting,
)
from peers import PEERS
from results import Results
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from workloads import FLIP_PROBABILITY, REAL, UNIFORM, Source, real_sources, uniform_source

from llmhash.errors import LlmhashError
from llmhash.index import FlatIndex

ENGINES = (*OWN_ENGINES, *PEERS)
NEIGHBOURS = (10, 100)
QUERIES = 200  # Of a workload; also the queries of a batch.
_GRAPH_CODES = 1_000_000
_MILLION = 1_000_000


@dataclass(frozen=True)
class Planned:
    """A case to measure, with or without the engines that are slow to build."""

    workload: str
    bits: int
    count: int
    graphs: bool


STANDARD_LIMITS = Limits(measurement=0.3, latency=4, build=150)
QUICK_LIMITS = Limits(measurement=0.03, latency=0.1, build=10)
FULL_LIMITS = Limits(measurement=3, latency=20, build=7200)

QUICK = (
    Planned(UNIFORM, 64, 20_000, True),
    Planned(UNIFORM, 64, 500_000, False),
    Planned(UNIFORM, 256, 100_000, False),
    Planned(REAL, 64, 500_000, False),
)
#: What fits into half an hour: graphs over a million codes take minutes each, so they are built where it
#: matters most, and elsewhere over fewer.
STANDARD = (
    Planned(REAL, 64, _MILLION, True),
    Planned(REAL, 64, 10 * _MILLION, False),
    Planned(REAL, 64, 100 * _MILLION, False),
    *(Planned(REAL, bits, count, False) for bits in (128, 256) for count in (_MILLION, 10 * _MILLION)),
    Planned(REAL, 1024, _MILLION, False),
    *(Planned(REAL, bits, 100_000, True) for bits in (128, 256, 1024)),
    Planned(UNIFORM, 64, 100_000, True),
    *(Planned(UNIFORM, bits, _MILLION, False) for bits in (64, 128, 256, 1024)),
    Planned(UNIFORM, 64, 10 * _MILLION, False),
    Planned(UNIFORM, 64, 100 * _MILLION, False),
)
FULL = tuple(
    Planned(workload, bits, count, count <= _GRAPH_CODES)
    for workload in (UNIFORM, REAL)
    for bits in (64, 128, 256, 1024)
    for count in (_MILLION, 10 * _MILLION, 100 * _MILLION)
    if bits <= 256 or count <= 10 * _MILLION
)


def plan(arguments: argparse.Namespace, widths: Sequence[int]) -> list[Planned]:
    """The cases that the arguments ask for; the real workload in the widths that there are codes of."""
    if arguments.sizes:
        bits = arguments.bits or (64,)
        cases: Sequence[Planned] = [
            Planned(workload, width, count, count <= _GRAPH_CODES)
            for workload in (UNIFORM, REAL)
            for width in bits
            for count in arguments.sizes
        ]
    else:
        cases = FULL if arguments.full else QUICK if arguments.quick else STANDARD
    return [
        case
        for case in cases
        if (not arguments.workload or case.workload == arguments.workload)
        and (not arguments.bits or case.bits in arguments.bits)
        and (case.workload == UNIFORM or case.bits in widths)
    ]


def chosen_engines(only: Sequence[str] | None) -> list[Engine]:
    """The engines whose names contain one of the given words; all but the optional ones by default."""
    if not only:
        return [engine for engine in ENGINES if not engine.optional]
    words = [word.strip().lower() for part in only for word in part.split(",") if word.strip()]
    return [
        engine
        for engine in ENGINES
        if engine.name == FLAT or any(word in engine.name.lower() for word in words)
    ]


class Bench:
    """A run over the planned cases."""

    def __init__(self, arguments: argparse.Namespace, results: Results, limits: Limits) -> None:
        self.results = results
        self.limits = limits
        self.engines = chosen_engines(arguments.only)
        self.threads: list[int] = arguments.threads
        self.seed: int = arguments.seed
        self.settings = [
            Setting(k, batch, threads)
            for threads in self.threads
            for batch in (1, QUERIES)
            for k in NEIGHBOURS
        ]

    def run_case(self, planned: Planned, source: Source, progress: Progress) -> None:
        """Build and measure what a case still lacks."""
        name = case_name(planned.workload, planned.bits, planned.count)
        engines = [engine for engine in self.engines if self._takes_part(engine, planned, source, name)]
        if all(self._is_done(name, engine) for engine in engines):
            return
        task = progress.add_task(f"  {name}", total=len(engines) + len(self.settings))
        start = time.perf_counter()
        packed = source.grow(planned.count, self.seed)
        nearest, _ = FlatIndex.from_packed(packed, planned.bits).search(
            source.queries.packed, max(NEIGHBOURS)
        )
        case = Case(source, planned.count, packed, nearest)
        self.results.put("kth_distances", name, kth_distances(case, NEIGHBOURS))
        for engine in engines:
            progress.update(task, description=f"  {name}: building {engine.name}")
            if engine.name == FLAT or not self._is_done(name, engine):
                record, variants = build_engine(engine, case, max(self.threads), self.limits.build)
                record.update(engine=engine.name, **case.fields)
                self.results.put("builds", f"{name}/{engine.name}", record)
                case.variants.update((variant.name, variant) for variant in variants)
            self.results.save()
            progress.advance(task)
        for setting in self.settings:
            progress.update(task, description=f"  {name}: {setting.name}")
            measure_setting(case, setting, self.limits, self.results)
            progress.advance(task)
        for engine in engines:
            record = self.results.get("builds", f"{name}/{engine.name}") or {}
            record["measured"] = [setting.name for setting in self.settings]
        before = (self.results.get("elapsed", name) or {"seconds": 0})["seconds"]
        self.results.put("elapsed", name, {"seconds": before + time.perf_counter() - start})
        self.results.save()
        progress.remove_task(task)

    def _takes_part(self, engine: Engine, planned: Planned, source: Source, name: str) -> bool:
        why_not = engine.why_not(planned.bits, planned.count, planned.graphs)
        if engine.name == ASYMMETRIC and source.queries.logits is None:
            why_not = "there are no query logits"
        if why_not is not None and self.results.get("builds", f"{name}/{engine.name}") is None:
            fields = case_fields(planned.workload, planned.bits, planned.count)
            record = {"skipped": why_not, "engine": engine.name, **fields}
            self.results.put("builds", f"{name}/{engine.name}", record)
        return why_not is None

    def _is_done(self, name: str, engine: Engine) -> bool:
        record = self.results.get("builds", f"{name}/{engine.name}") or {}
        measured = record.get("measured", ())
        if "skipped" in record:
            return record.get("limit") == self.limits.build
        return all(setting.name in measured for setting in self.settings)

    def run_limits(self, runs: Sequence[Comparison], kind: str, progress: Progress) -> None:
        """The flat scan beside FAISS and the bare loop, with or without AVX-512."""
        measure = compare if kind == "limit" else without_avx512
        for what in runs:
            for threads in self.threads if kind == "limit" else (1,):
                name = name_of(what, threads)
                if self.results.get(kind, name) is not None:
                    continue
                task = progress.add_task(f"  {kind}: {name}", total=None)
                start = time.perf_counter()
                self.results.put(kind, name, measure(what, threads))
                self.results.put("elapsed", f"{kind}/{name}", {"seconds": time.perf_counter() - start})
                self.results.save()
                progress.remove_task(task)


def parse() -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--codes", type=Path, nargs="+", default=[], help="document codes, a file a width")
    parser.add_argument("--queries", type=Path, nargs="+", default=[], help="query codes of the same widths")
    parser.add_argument(
        "--logits", type=Path, nargs="+", default=[], help="query logits, .npy, float (q, bits)"
    )
    parser.add_argument("--output", type=Path, default=Path("eval/results/search/results.json"))
    parser.add_argument("--quick", action="store_true", help="small cases: whether everything works")
    parser.add_argument("--full", action="store_true", help="every case, and graphs over a million codes")
    parser.add_argument("--no-avx512", action="store_true", help="measure the flat scan without AVX-512, too")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="only engines whose names contain one of these"
    )
    parser.add_argument("--workload", choices=(UNIFORM, REAL))
    parser.add_argument("--bits", type=int, nargs="+")
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of codes, in place of the plan's")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--seconds", type=float, help="a contestant's time in a setting, in place of the plan's"
    )
    parser.add_argument("--build-seconds", type=float, help="a graph's time to be built, likewise")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if any(bits % 64 for bits in arguments.bits or ()):
        parser.error("--bits must be multiples of 64.")
    if bool(arguments.codes) != bool(arguments.queries):
        parser.error("--codes and --queries go together.")
    return arguments


def sources(arguments: argparse.Namespace) -> dict[tuple[str, int], Source]:
    """The workloads by (name, bits)."""
    widths = arguments.bits or (64, 128, 256, 1024)
    found = [uniform_source(bits, QUERIES, arguments.seed) for bits in widths]
    found += real_sources(arguments.codes, arguments.queries, arguments.logits, QUERIES, arguments.seed)
    return {(source.workload, source.bits): source for source in found}


def limits_of(arguments: argparse.Namespace) -> Limits:
    """The plan's limits, as far as the arguments do not set others."""
    limits = FULL_LIMITS if arguments.full else QUICK_LIMITS if arguments.quick else STANDARD_LIMITS
    return Limits(
        arguments.seconds or limits.measurement,
        max(limits.latency, arguments.seconds or 0),
        arguments.build_seconds or limits.build,
    )


def main() -> None:
    """Run the benchmark, or what is left of it."""
    arguments = parse()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    console = Console()
    try:
        known = sources(arguments)
    except LlmhashError as error:
        raise SystemExit(str(error)) from error
    about = {
        "machine": describe_machine(),
        "seed": arguments.seed,
        "queries": QUERIES,
        "flips": FLIP_PROBABILITY,
    }
    results = Results(arguments.output, about)
    if command() not in results.kinds["commands"]:
        results.kinds["commands"].append(command())
    widths = [bits for workload, bits in known if workload == REAL]
    cases = plan(arguments, widths)
    runs = QUICK_RUNS if arguments.quick else STANDARD_RUNS
    bench = Bench(arguments, results, limits_of(arguments))
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        overall = progress.add_task("cases", total=len(cases))
        if not arguments.only and find_spec("faiss") is not None:
            bench.run_limits(runs, "limit", progress)
        if arguments.no_avx512:
            bench.run_limits([what for what in runs if what.codes <= _MILLION], "no_avx512", progress)
        for case in cases:
            bench.run_case(case, known[case.workload, case.bits], progress)
            gc.collect()
            progress.advance(overall)
    seconds = sum(record["seconds"] for record in results.kinds.get("elapsed", {}).values())
    console.print(f"{arguments.output}: all done, {seconds / 60:.1f} minutes of measuring in it.")


if __name__ == "__main__":
    main()
