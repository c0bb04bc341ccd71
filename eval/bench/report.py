"""Turns the results of `search.py` into a page of tables, and plots beside it.

    python eval/bench/report.py eval/results/search/results.json

writes README.md, and the plots where matplotlib is installed, into the folder of the file. Every figure in
them comes from it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from contestants import ASYMMETRIC, FLAT, MIH
from flat import BARE, FAISS_DEFAULT, OURS
from results import Record, load

_CASE = ("workload", "bits", "codes")


def table(headings: Sequence[str], rows: Iterable[Iterable[Any]], left: int = 1) -> Iterator[str]:
    """A Markdown table, the first `left` columns aligned to the left; nothing where there are no rows."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    if lines:
        yield "| " + " | ".join(headings) + " |"
        yield "| " + " | ".join(["---"] * left + ["---:"] * (len(headings) - left)) + " |"
        yield from lines
        yield ""


def rounded(value: float | None, digits: int = 3) -> str:
    """A number with that many figures that count; a dash for None."""
    if value is None:
        return "–"
    if 0 < value < 0.001:
        return "< 0.001"
    if value >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def ms(record: Record | None, field: str = "seconds") -> str:
    """A time of a record in milliseconds."""
    return rounded(None if record is None else 1000 * record[field])


class Report:
    """The results, arranged for tables."""

    def __init__(self, kinds: dict[str, Any]) -> None:
        self.kinds = kinds
        self.measurements: list[Record] = list(kinds.get("measurements", {}).values())
        self.builds: list[Record] = list(kinds.get("builds", {}).values())
        found = {tuple(record[name] for name in _CASE) for record in self.measurements}
        self.cases = sorted(found, key=_order)

    def find(self, **fields: Any) -> list[Record]:
        """The measurements with these fields, in the order of measuring."""
        return [m for m in self.measurements if all(m[name] == value for name, value in fields.items())]

    def one(self, **fields: Any) -> Record | None:
        """The first measurement with these fields, or None."""
        return next(iter(self.find(**fields)), None)

    def heading(self) -> Iterator[str]:
        """What was run, and on what."""
        about = self.kinds["about"]
        machine = about["machine"]
        yield "# Hamming search: llmhash beside other libraries"
        yield ""
        yield "Made by `eval/bench/report.py` from `results.json`, which `eval/bench/search.py` wrote."
        yield ""
        caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
        vector = f"with AVX-512 ({', '.join(machine['avx512'])})" if machine["avx512"] else "without AVX-512"
        yield (
            f"- Machine: {machine['processor']}, {machine['cores']} cores, {vector}; caches of a core: "
            f"{caches}; {machine['memory_gib']} GiB of memory; {machine['system']}."
        )
        versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items())
        yield f"- Versions: Python {machine['python']}, {versions}."
        seconds = sum(record["seconds"] for record in self.kinds.get("elapsed", {}).values())
        yield f"- Measuring took {seconds / 60:.0f} minutes. Commands:"
        yield ""
        yield from (f"      {line}" for line in self.kinds["commands"])
        yield ""
        yield (
            "*Uniform*: random codes, and as queries the signs of normal logits. *Real*: distilled codes, "
            f"taken in turn up to the number of codes, each bit of every copy but the first flipped with p = "
            f"{about['flips']}; the queries are real query codes, up to {about['queries']} of them."
        )
        yield ""
        yield (
            "Figures are medians; contestants take turns in one process. A single query's time is the median "
            "of its passes, and the figure the median over queries. A slow contestant gets fewer queries "
            "(`queries` in `results.json`), so that each measurement fits its time. Recall is the share of "
            "the k nearest that is found, counted by distance."
        )
        yield ""

    def limits(self) -> Iterator[str]:
        """The flat scan beside FAISS and beside the bare loop."""
        for kind, title in (
            ("limit", "## The flat scan beside FAISS and a bare popcount loop"),
            ("no_avx512", "## The same without AVX-512"),
        ):
            runs = self.kinds.get(kind, {}).values()
            if not runs:
                continue
            yield title
            yield ""
            yield (
                "Random codes, one batch. The bare loop reads every code for every query, counts the bits "
                "that differ and compares the count with a constant; for codes of more than one word the "
                "compiler does not lay it out in vectors, so there it is no limit. Beyond the cache the scan "
                "is above it because queries share each read."
                if kind == "limit"
                else "In a process of its own, with AVX-512 turned off for numba and FAISS."
            )
            yield ""
            yield from table(
                (
                    "bits",
                    "codes",
                    "queries",
                    "k",
                    "threads",
                    "billion codes/s",
                    "a thread",
                    "FAISS default",
                    "FAISS best",
                    "bare loop",
                    "times the default",
                    "times the best",
                    "share of the bare loop",
                ),
                (_limit_row(run) for run in runs),
                left=0,
            )

    def latency(self) -> Iterator[str]:
        """One query at a time: llmhash's exact engines."""
        yield "## One query at a time, llmhash's exact engines"
        yield ""
        yield "Milliseconds: the median over queries and, in brackets, the 95 % quantile."
        yield ""
        rows = []
        for workload, bits, codes in self.cases:
            for k, threads in self._settings(batch=1):
                case = {"workload": workload, "bits": bits, "codes": codes}
                found = [
                    self.one(contestant=name, k=k, threads=threads, batch=1, **case)
                    for name in (FLAT, ASYMMETRIC, MIH)
                ]
                cells = (f"{ms(record)} ({ms(record, 'seconds_95')})" if record else "–" for record in found)
                rows.append((workload, bits, f"{codes:,}", k, threads, *cells))
        fields = ("workload", "bits", "codes", "k", "threads")
        yield from table((*fields, "flat", "asymmetric scan", "multi-index hashing"), rows)
        yield "### Multi-index hashing beside the flat scan, by how far the k-th neighbour is"
        yield ""
        yield (
            "Both on the very same queries; each query's time is the median of its passes. `times faster` is "
            "the median over queries of flat's time over its own; the last two columns are its time over "
            "flat's, for the query at the 95 % quantile and the worst one."
        )
        yield ""
        figures = ("flat ms", "MIH ms", "times faster", "of flat's time, 95 %", "of flat's time, worst")
        yield from table((*fields, "k-th distance", "queries", *figures), self._bucket_rows())

    def _bucket_rows(self) -> Iterator[Sequence[Any]]:
        for workload, bits, codes in self.cases:
            where = {"workload": workload, "bits": bits, "codes": codes}
            for record in self.find(contestant=MIH, batch=1, **where):
                for bucket in record["by_kth_distance"]:
                    low, high = bucket["from"], bucket["to"]
                    yield (
                        *(workload, bits, f"{codes:,}", record["k"], record["threads"]),
                        f"{low} to {high}" if high is not None else f"{low} or more",
                        bucket["queries"],
                        rounded(1000 * bucket["flat_seconds"]),
                        rounded(1000 * bucket["seconds"]),
                        rounded(1 / bucket["times_flat_median"]),
                        rounded(bucket["times_flat_95"]),
                        rounded(bucket["times_flat_worst"]),
                    )

    def everyone(self) -> Iterator[str]:
        """All contestants, a table a case."""
        yield "## All contestants"
        yield ""
        yield (
            "`1 query`: milliseconds for one query; `batch`: thousand queries a second. Bytes a code: what "
            "the process grew by while building, beyond the codes and with them. Approximate engines stand "
            "in italics."
        )
        yield ""
        for case in self.cases:
            workload, bits, codes = case
            yield f"### {workload}, {bits} bits, {codes:,} codes"
            yield ""
            yield from self._case_table(dict(zip(_CASE, case, strict=True)))
            skipped = [
                f"{build['engine']}: {build['skipped']}"
                for build in self.builds
                if "skipped" in build and tuple(build[name] for name in _CASE) == case
            ]
            if skipped:
                yield f"Not in it: {'; '.join(skipped)}."
                yield ""

    def _case_table(self, case: Record) -> Iterator[str]:
        singles, batches = self._settings(batch=1), self._settings(batch=None)
        headings = ["", *(f"recall@{k}" for k in sorted({k for k, _ in batches}))]
        for k, threads in singles:
            headings += [f"1 query, k={k}, {threads} thr.", f"batch, k={k}, {threads} thr."]
        headings += ["billion codes/s a thread", "build s", "beyond", "with codes"]
        names = dict.fromkeys(record["contestant"] for record in self.find(**case))
        yield from table(headings, (self._contestant_row(name, case, singles) for name in names))

    def _contestant_row(self, name: str, case: Record, settings: Sequence[tuple[int, int]]) -> Iterator[str]:
        records = self.find(contestant=name, **case)
        batches = {(m["k"], m["threads"]): m for m in records if m["batch"] > 1}
        singles = {(m["k"], m["threads"]): m for m in records if m["batch"] == 1}
        yield name if records[0]["exact"] else f"*{name}*"
        for k in sorted({k for k, _ in settings}):
            yield rounded(next((m["recall"] for m in records if m["k"] == k and m["batch"] > 1), None))
        for setting in settings:
            yield ms(singles.get(setting))
            batch = batches.get(setting)
            yield rounded(batch["queries_per_second"] / 1000 if batch else None)
        speeds = [m["codes_per_second"] / m["threads"] for m in batches.values()]
        yield rounded(max(speeds) / 1e9 if speeds else None)
        builds = (b for b in self.builds if name in b.get("variants", ()) and case.items() <= b.items())
        build = next(builds, None)
        for field in ("seconds", "bytes_beyond_codes", "bytes_with_codes"):
            yield rounded(build[field] if build else None)

    def kth(self) -> Iterator[str]:
        """How far the k-th neighbours are."""
        records = sorted(
            self.kinds.get("kth_distances", {}).values(), key=lambda r: _order([r[name] for name in _CASE])
        )
        if not records:
            return
        yield "## Distance of the k-th neighbour"
        yield ""
        names = {0.0: "least", 0.5: "median", 1.0: "most"}
        quantiles = [names.get(share, f"{share:.0%}") for share in records[0]["quantiles"]]
        yield from table(
            ("workload", "bits", "codes", "k", "queries", *quantiles),
            (
                (r["workload"], r["bits"], f"{r['codes']:,}", k, r["queries"], *values)
                for r in records
                for k, values in r["by_k"].items()
            ),
        )

    def plots(self, names: Iterable[str]) -> Iterator[str]:
        """The plots."""
        yield from (f"![{Path(name).stem.replace('-', ' ')}]({name})\n" for name in names)

    def _settings(self, batch: int | None) -> list[tuple[int, int]]:
        """The (k, threads) measured with single queries (1) or with batches (None)."""
        return sorted(
            {(m["k"], m["threads"]) for m in self.measurements if (m["batch"] == 1) == (batch == 1)}
        )


def _order(case: Sequence[Any]) -> tuple[bool, int, int]:
    """Real codes first; then by width and number."""
    workload, bits, codes = case
    return workload != "real", bits, codes


def _limit_row(run: Record) -> Iterator[str]:
    speeds = {name: value / 1e9 for name, value in run["codes_per_second"].items()}
    yield from (f"{run[name]:,}" for name in ("bits", "codes", "queries", "k", "threads"))
    yield rounded(speeds[OURS])
    yield rounded(speeds[OURS] / run["threads"])
    yield rounded(speeds[FAISS_DEFAULT])
    yield rounded(speeds[run["best_faiss"]])
    yield rounded(speeds.get(BARE))
    yield from (rounded(run[name]) for name in ("over_default", "over_best", "share_of_bare_loop"))


def write(path: Path) -> list[Path]:
    """Write the page and the plots of a results file beside it; the paths written."""
    report = Report(load(path))
    drawn: list[Path] = []
    if find_spec("matplotlib") is not None:
        from plot import draw

        drawn = draw(report.measurements, path.parent)
    sections = (
        report.heading(),
        report.plots(figure.name for figure in drawn),
        report.limits(),
        report.latency(),
        report.everyone(),
        report.kth(),
    )
    page = path.with_name("README.md")
    text = "\n".join(line for section in sections for line in section)
    page.write_text(text.rstrip() + "\n", encoding="utf-8")
    return [page, *drawn]


def main() -> None:
    """Write the page and the plots."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="the JSON file that search.py wrote")
    for path in write(parser.parse_args().results):
        print(path)


if __name__ == "__main__":
    main()
