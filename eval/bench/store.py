"""The collection at size: adding, reopening, memory, disk, filters, changes.

Codes are random, ids are strings of 16 characters. Three collections are made, one after the other: with ids
alone (on which the changes are measured, too), with short texts, and with a metadata field to filter on.

    python eval/bench/store.py --documents 10000000 --json store.json
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from machine import command, describe_machine
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from timing import memory_status, timed
from workloads import uniform_codes

from llmhash.codes import Codes
from llmhash.collection import Collection
from llmhash.index import FlatIndex

PARTS = ("ids", "texts", "fields")
_FIELD, _VALUES = "part", 100  # A document's value in the field is its number modulo _VALUES.
_CHANGED = 1000  # Documents in one change.
_REPEATS = 5
_K = 10

Figures = dict[str, Any]


class Documents:
    """Documents of one kind, by their running numbers."""

    def __init__(self, part: str, bits: int, seed: int) -> None:
        self.part = part
        self.bits = bits
        self.seed = seed

    def batch(self, start: int, count: int) -> dict[str, Any]:
        """The arguments of `Collection.add` for the documents start .. start + count - 1."""
        numbers = range(start, start + count)
        codes = Codes(uniform_codes(count, self.bits, self.seed + start), self.bits)
        arguments: dict[str, Any] = {"codes": codes, "ids": [f"document{number:08d}" for number in numbers]}
        if self.part == "texts":
            arguments["texts"] = [
                f"The text of document {number}, about as long as a title." for number in numbers
            ]
        if self.part == "fields":
            arguments["metadata"] = [{_FIELD: number % _VALUES} for number in numbers]
        return arguments


def fill(folder: Path, documents: Documents, count: int, batch: int, progress: Progress) -> Figures:
    """Make a collection and add the documents in batches; only the adding is timed."""
    fields = (_FIELD,) if documents.part == "fields" else ()
    task = progress.add_task(f"adding: {documents.part}", total=count)
    seconds = []
    with Collection.create(folder, bits=documents.bits, hasher_fingerprint="bench", fields=fields) as held:
        for start in range(0, count, batch):
            size = min(batch, count - start)
            arguments = documents.batch(start, size)
            seconds.append(timed(partial(held.add, **arguments)))
            progress.advance(task, size)
    with Collection.open(folder, readonly=True) as held:
        info = held.info()
    return {
        "documents_per_second": count / sum(seconds),
        "batch_seconds": statistics.median(seconds),
        "last_batches_seconds": statistics.median(seconds[-_REPEATS:]),
        "bytes_per_document_beyond_text": info["bytes_beyond_text_per_document"],
        "bytes_on_disk": info["bytes_on_disk"],
    }


def reopened(folder: Path, bits: int) -> Figures:
    """What a fresh process measures: `probe`."""
    asked = [sys.executable, __file__, "--probe", str(folder), "--bits", str(bits)]
    answer = subprocess.run(asked, check=True, capture_output=True, text=True)
    figures: Figures = json.loads(answer.stdout)
    return figures


def probe(folder: Path, bits: int) -> Figures:
    """Open a collection and search it, with the memory that this process holds before and after."""
    query = uniform_codes(1, bits, seed=1)
    FlatIndex.from_packed(uniform_codes(1000, bits, seed=2), bits).search(query, _K)  # Loads the kernels.
    memory = {"before": _resident()}
    start = time.perf_counter()
    with Collection.open(folder, readonly=True) as held:
        opened = time.perf_counter() - start
        memory["opened"] = _resident()
        first = timed(lambda: held.search(query, _K))
        memory["searched"] = _resident()
        later = statistics.median(timed(lambda: held.search(query, _K)) for _ in range(_REPEATS))
    return {"seconds": opened, "first_search_seconds": first, "search_seconds": later, "memory": memory}


def _resident() -> dict[str, int]:
    status = memory_status()
    return {name: status[name] for name in ("RssAnon", "RssFile")}


def filtered(folder: Path, bits: int) -> Figures:
    """Latency of searches that one document in a hundred, and every second one, may answer."""
    query = uniform_codes(1, bits, seed=1)
    half = _VALUES // 2
    # Different filters of the same selectivity: each is new when it is first asked.
    filters: dict[str, list[dict[str, Any]]] = {
        "1 %": [{_FIELD: value} for value in range(_REPEATS)],
        "50 %": [{_FIELD: {">=": low, "<": low + half}} for low in range(_REPEATS)],
    }
    figures: Figures = {}
    with Collection.open(folder, readonly=True) as held:
        held.search(query, _K)
        unfiltered = statistics.median(timed(lambda: held.search(query, _K)) for _ in range(_REPEATS))
        figures["no filter"] = {"cached_seconds": unfiltered}
        for name, wheres in filters.items():
            rounds = [[timed(partial(held.search, query, _K, where=where)) for where in wheres] for _ in "12"]
            first, cached = map(statistics.median, rounds)
            figures[name] = {"first_seconds": first, "cached_seconds": cached}
    return figures


def changed(folder: Path, documents: Documents, count: int, progress: Progress) -> Figures:
    """Adding and deleting a few documents of the full collection; compacting, verifying."""
    task = progress.add_task("changes", total=None)
    with Collection.open(folder) as held:
        held.lock()
        batches = [documents.batch(count + _CHANGED * i, _CHANGED) for i in range(_REPEATS)]
        adding = [timed(partial(held.add, **batch)) for batch in batches]
        deleting = [timed(partial(held.delete, batch["ids"])) for batch in batches]
        figures = {
            "changed": _CHANGED,
            "add_seconds": statistics.median(adding),
            "delete_seconds": statistics.median(deleting),
            "verify_seconds": timed(held.verify),
            "compact_seconds": timed(held.compact),
        }
    progress.remove_task(task)
    return figures


def measure(arguments: argparse.Namespace, folder: Path, progress: Progress) -> Figures:
    """All parts asked for, each with a collection of its own."""
    figures: Figures = {}
    for part in arguments.parts:
        path = folder / f"{part}.llmhash"
        documents = Documents(part, arguments.bits, arguments.seed)
        own = figures[part] = fill(path, documents, arguments.documents, arguments.batch, progress)
        own["reopened"] = reopened(path, arguments.bits)
        if part == "fields":
            own["filtered"] = filtered(path, arguments.bits)
        if part == "ids":
            own["changes"] = changed(path, documents, arguments.documents, progress)
            own["reopened_compacted"] = reopened(path, arguments.bits)
        shutil.rmtree(path)
    return figures


def rows_of(part: str, own: Figures) -> Iterator[tuple[str, str]]:
    """The figures of a part as lines of a table."""
    yield f"[bold]{part}[/bold]: documents/s", f"{own['documents_per_second']:,.0f}"
    yield "  bytes on disk a document beyond its text", f"{own['bytes_per_document_beyond_text']:.1f}"
    again = own["reopened"]
    yield "  reopening, ms", _ms(again["seconds"])
    yield (
        "  first search, ms; later ones",
        f"{_ms(again['first_search_seconds'])}; {_ms(again['search_seconds'])}",
    )
    for when in ("before", "opened", "searched"):
        memory = {name: size / 2**20 for name, size in again["memory"][when].items()}
        yield f"  memory {when}, MiB", "{RssAnon:.1f} own, {RssFile:.1f} of files".format(**memory)
    for name, times in own.get("filtered", {}).items():
        first = f"{_ms(times['first_seconds'])}; " if "first_seconds" in times else ""
        yield f"  search at {name}, ms{'; cached' if first else ''}", first + _ms(times["cached_seconds"])
    for name, value in own.get("changes", {}).items():
        if name.endswith("_seconds"):
            many = f" {_CHANGED:,} documents" if name.startswith(("add", "delete")) else ""
            yield f"  {name.removesuffix('_seconds')}{many}, ms", _ms(value)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.2f}"


def parse() -> argparse.Namespace:
    """The command line's arguments."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--bits", type=int, default=64, help="a multiple of 64")
    parser.add_argument("--batch", type=int, default=10_000, help="documents added at once")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--folder", type=Path, help="where to make the collections; by default a temporary one"
    )
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--probe", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bits % 64:
        parser.error("--bits must be a multiple of 64.")
    return arguments


def main() -> None:
    """Measure, show and write the figures."""
    arguments = parse()
    if arguments.probe is not None:
        print(json.dumps(probe(arguments.probe, arguments.bits)))
        return
    console = Console()
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder, Progress(console=console) as progress:
        figures = measure(arguments, Path(folder), progress)
    title = f"{arguments.documents:,} documents, {arguments.bits} bits, batches of {arguments.batch:,}"
    table = Table(title=title, title_justify="left", show_header=False)
    for part, own in figures.items():
        for row in rows_of(part, own):
            table.add_row(*row)
    console.print(table)
    if arguments.json is not None:
        settings = {name: getattr(arguments, name) for name in ("documents", "bits", "batch", "seed")}
        about = {"machine": describe_machine(), "command": command(), **settings}
        arguments.json.write_text(
            json.dumps({"about": about, "parts": figures}, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
