"""Readers beside a writer, and how they can tell that all they see is whole, true and recent enough.

Reader and writer share a ledger: for every number the version that is certain, written when an operation is
acknowledged, and the version that is possible, written before it begins. A version only grows. So whatever a
reader sees of a number after a refresh must lie between the certain version before the refresh and the
possible one afterwards.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.collection import Collection, Record
from store_harness.documents import (
    ADD,
    BITS,
    DELETE,
    GROUPS,
    KINDS,
    Model,
    check_searches,
    codes_of,
    create,
    difference,
    document_id,
    expect,
    groups_of,
    records_of,
    vectors_of,
)
from store_harness.processes import Worker

_Numbers = NDArray[np.int64]
_READY = "ready"
_K = 10
# The share of looks that come after a refresh; the others are at what may have been compacted away.
_REFRESHED = 0.7


@dataclass(frozen=True)
class Report:
    """What readers and the writer did, all of it right.

    Attributes:
        readers: For each reader, how often it did what, and how many documents it checked.
        operations: Operations of the writer by kind.
        documents: Documents in the end.
    """

    readers: list[Counter[str]]
    operations: Counter[str]
    documents: int


def read_while_writing(
    path: Path, *, readers: int, seconds: float, numbers: int, batch: int, seed: int
) -> Report:
    """Run one writer and `readers` readers over a new collection for so many seconds.

    Raises:
        RuntimeError: A process failed; the message is its traceback.
        AssertionError: A signal ended one, or the collection is not as it should be in the end.
    """
    create(path)
    _compile(path.with_name(path.name + ".first"), seed)
    ledger = Ledger(path.with_name(path.name + ".ledger"), numbers, "w+")
    writer = Worker(write, path, ledger.path, Model(numbers), batch, seed)
    workers = [
        writer,
        *(Worker(read, path, ledger.path, numbers, seed + 1 + reader) for reader in range(readers)),
    ]
    try:
        sent = [worker.messages() for worker in workers]
        for messages in sent:
            expect("first message", next(messages, None), _READY)
        end = time.monotonic() + seconds
        # What a process sends before it is told to stop is its failure.
        while time.monotonic() < end and not any(worker.poll() for worker in workers):
            time.sleep(0.05)
        ledger.stop[:] = True
        results = [list(messages) for messages in sent]
    finally:
        for worker in workers:
            worker.kill()
    codes = [worker.end() for worker in workers]
    if any(len(result) != 1 for result in results):
        raise AssertionError(f"signals ended processes: their exit codes are {codes}")
    [(operations, model)], *counts = results
    with Collection.open(path) as collection:
        collection.verify()
        expect("difference", difference(collection, model), None)
        check_searches(collection, model, np.random.default_rng(seed))
    return Report([count for (count,) in counts], operations, len(model))


def _compile(path: Path, seed: int) -> None:
    """Have the kernels compiled and cached, so that the processes need not."""
    create(path)
    model, rng = Model(100), np.random.default_rng(seed)
    with Collection.open(path) as collection:
        for kind in (ADD, DELETE):
            operation = model.operation(kind, rng, 50)
            operation.run(collection)
            model.apply(operation)
        check_searches(collection, model, rng)


def write(
    path: Path, ledger_path: Path, model: Model, batch: int, seed: int, send: Callable[[Any], None]
) -> None:
    """Do random operations until told to stop; send how many of each kind, and the model."""
    ledger = Ledger(ledger_path, model.numbers)
    rng = np.random.default_rng(seed)
    operations: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    send(_READY)
    with Collection.open(path) as collection:
        while not ledger.stop.any():
            operation = model.next_operation(rng, batch)
            ledger.possible[operation.numbers] = operation.versions
            operation.run(collection)
            ledger.certain[operation.numbers] = operation.versions
            model.apply(operation)
            operations[operation.kind] += 1
    send((operations, model))


def read(path: Path, ledger_path: Path, numbers: int, seed: int, send: Callable[[Any], None]) -> None:
    """Look at the collection in random ways until told to stop; send how often in which."""
    ledger = Ledger(ledger_path, numbers)
    with Collection.open(path, readonly=True) as collection:
        reader = Reader(collection, ledger.certain, ledger.possible, np.random.default_rng(seed))
        # The first of a kind loads its kernel.
        for look in reader.looks:
            look()
        send(_READY)
        while not ledger.stop.any():
            reader.look()
    send(reader.counts)


class Ledger:
    """What reader and writer share: `certain` and `possible` versions, int64 (numbers,), and `stop`."""

    def __init__(self, path: Path, numbers: int, mode: Literal["r+", "w+"] = "r+") -> None:
        self.path = path
        self.certain, self.possible, self.stop = np.memmap(path, np.int64, mode, shape=(3, numbers))


@dataclass
class Reader:
    """A handle that others write to meanwhile, and what is known about its documents."""

    collection: Collection
    certain: _Numbers
    possible: _Numbers
    rng: np.random.Generator
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.looks: tuple[Callable[[], None], ...] = (
            self.search,
            self.filtered,
            self.in_range,
            self.asymmetric,
            self.by_id,
            self.all,
            self.count,
        )
        self.refresh()

    def refresh(self) -> None:
        """See what has been committed, and note what is certain to be there."""
        before = self.collection.info()["generation"]
        self.least = np.array(self.certain)
        self.collection.refresh()
        self.counts["compactions seen"] += self.collection.info()["generation"] - before

    def look(self) -> None:
        """Look, in a way drawn at random and mostly after a refresh, at what is there.

        Raises:
            AssertionError: Something is not as it must be.
        """
        if self.rng.random() < _REFRESHED:
            self.refresh()
        look = self.looks[self.rng.integers(len(self.looks))]
        look()
        self.counts[look.__name__] += 1

    def search(self) -> None:
        """Search."""
        codes = self._queries()
        distances, rows = self.collection.search(codes, _K)
        self._check_nearest(codes, distances, rows, lambda numbers, _: numbers >= 0)

    def filtered(self) -> None:
        """Search what a filter lets through."""
        group, least = int(self.rng.integers(GROUPS)), int(self.rng.integers(len(self.certain)))
        codes = self._queries()
        where = {"group": {"in": [group, "none"]}, "not": {"number": {"<": least}}}
        distances, rows = self.collection.search(codes, _K, where=where)

        def eligible(numbers: _Numbers, versions: _Numbers) -> NDArray[np.bool_]:
            return (groups_of(numbers, versions) == group) & (numbers >= least)

        self._check_nearest(codes, distances, rows, eligible)

    def in_range(self) -> None:
        """Search within a radius."""
        codes = self._queries()
        lims, distances, rows = self.collection.range_search(codes, BITS // 4)
        expect("limits", [int(lims[0]), int(lims[-1])], [0, len(rows)])
        for query, start, end in zip(range(len(codes)), lims[:-1], lims[1:], strict=True):
            self._check_order(distances[start:end], rows[start:end])
            numbers, versions, known = self._documents_in(rows[start:end])
            exact = codes[[query]].hamming(codes_of(numbers, versions))[0]
            expect("distances", distances[start:end][known], exact)

    def asymmetric(self) -> None:
        """Search by logits."""
        logits = self.rng.normal(size=(2, BITS)).astype(np.float32)
        scores, rows = self.collection.asymmetric_search(logits, _K)
        for query, found, places in zip(logits, scores, rows, strict=True):
            there = places >= 0
            numbers, versions, known = self._documents_in(places[there])
            exact = codes_of(numbers, versions).to_pm1(np.float64) @ query / np.abs(query).sum()
            if np.abs(found[there][known] - exact).max(initial=0) > 1e-5 or (np.diff(found[there]) > 0).any():
                raise AssertionError(f"scores {found} instead of {exact}")

    def by_id(self) -> None:
        """Get documents that are there and such as are not."""
        numbers = self.rng.integers(len(self.certain), size=20).tolist()
        found = self.collection.get([document_id(number) for number in numbers])
        most = np.array(self.possible)
        records = [record for record in found if record is not None]
        there = [number for number, record in zip(numbers, found, strict=True) if record is not None]
        expect("ids", [record.id for record in records], [document_id(number) for number in there])
        self._check_records(records, most)
        self._check_absent(set(numbers) - set(there), most)

    def all(self) -> None:
        """Iterate over all documents."""
        records = list(self.collection.iterate())
        most = np.array(self.possible)
        rows = [record.row for record in records]
        expect("order of rows", rows, sorted(set(rows)))
        numbers, _ = self._check_records(records, most)
        expect("distinct documents", len(np.unique(numbers)), len(records))
        self._check_absent(set(range(len(most))).difference(numbers.tolist()), most)

    def count(self) -> None:
        """Count."""
        counted, length = self.collection.count(), len(self.collection)
        most = np.array(self.possible)
        surely = int(((self.least == most) & (most % 2 == 1)).sum())
        maybe = int(((self.least != most) | (most % 2 == 1)).sum())
        for number in (counted, length):
            if not surely <= number <= maybe:
                raise AssertionError(f"{number} documents, not {surely} to {maybe}")

    # ------------------------------------------------------------------ checks

    def _check_nearest(
        self,
        codes: Codes,
        distances: NDArray[np.uint16],
        rows: NDArray[np.int64],
        eligible: Callable[[_Numbers, _Numbers], NDArray[np.bool_]],
    ) -> None:
        """Check a search's results: each of them, their order, and that none that is certain was left out."""
        found = [self._documents_in(line[line >= 0]) for line in rows]
        most = np.array(self.possible)
        sure = np.flatnonzero((self.least == most) & (most % 2 == 1))
        sure = sure[eligible(sure, most[sure])]
        nearby = codes.hamming(codes_of(sure, most[sure]))
        for query, (numbers, versions, known) in enumerate(found):
            count = len(known)
            line, places = distances[query], rows[query]
            expect("padding", [*line[count:], *places[count:]], [65535] * (_K - count) + [-1] * (_K - count))
            self._check_order(line[:count], places[:count])
            exact = codes[[query]].hamming(codes_of(numbers, versions))[0]
            expect("distances", line[:count][known], exact)
            expect("documents that the filter lets through", eligible(numbers, versions).all(), np.True_)
            missed = np.setdiff1d(sure[nearby[query] < line[-1]], numbers)
            expect("documents left out", missed.tolist(), [])

    def _check_order(self, distances: NDArray[np.uint16], rows: NDArray[np.int64]) -> None:
        expect("order", np.lexsort((rows, distances)), np.arange(len(rows)))
        expect("rows twice", len(np.unique(rows)), len(rows))

    def _documents_in(self, rows: NDArray[np.int64]) -> tuple[_Numbers, _Numbers, NDArray[np.bool_]]:
        """Numbers and versions of the documents in `rows`, and which of the rows still hold one.

        A search finds what the view holds, a record is the last commit's: a document that has been deleted
        since the refresh is found but has no record any more.
        """
        codes, vectors = self.collection.codes_at(rows), self.collection.vectors(rows)
        records = self.collection.at(rows)
        known = np.array([record is not None for record in records], dtype=np.bool_)
        most = np.array(self.possible)
        there = [record for record in records if record is not None]
        numbers, versions = self._check_records(there, most)
        expect("rows", [record.row for record in there], rows[known].tolist())
        expect("codes", codes[known], codes_of(numbers, versions).packed)
        expect("vectors", vectors[known], vectors_of(numbers, versions))
        self.counts["deleted meanwhile"] += int((~known).sum())
        return numbers, versions, known

    def _check_records(self, records: list[Record], most: _Numbers) -> tuple[_Numbers, _Numbers]:
        """Check records, and return their numbers and versions."""
        numbers = np.array([record.metadata["number"] for record in records], dtype=np.int64)
        versions = np.array([record.metadata["version"] for record in records], dtype=np.int64)
        expect("records", records, records_of([record.row for record in records], numbers, versions))
        outside = (versions < self.least[numbers]) | (versions > most[numbers])
        if outside.any():
            number = numbers[outside][0]
            raise AssertionError(
                f"document {number} of version {versions[outside][0]}, "
                f"not {self.least[number]} to {most[number]}"
            )
        self.counts["documents checked"] += len(records)
        return numbers, versions

    def _check_absent(self, absent: set[int], most: _Numbers) -> None:
        numbers = np.array(sorted(absent), dtype=np.int64)
        sure = numbers[(self.least[numbers] == most[numbers]) & (most[numbers] % 2 == 1)]
        expect("documents missing", sure.tolist(), [])

    def _queries(self) -> Codes:
        return codes_of(self.rng.integers(len(self.certain), size=2), self.rng.integers(9, size=2))
