"""Documents that anyone can compute again from two numbers, and what a collection of them should hold.

A document is a number, from which its id follows, and a version. Text, metadata, code and vector are
functions of both, so whatever a collection returns can be checked without asking who wrote it.

The version counts what happened to a number: odd while there is a document, even while there is none. So an
upsert adds two, a delete one, and a number's state never returns to an earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmhash.codes import Codes
from llmhash.collection import Collection, Record

BITS = 84
DIM = 6
FIELDS = ("number", "group", "word")
GROUPS = 5
_WORDS = ("ärger", "bread", "court", "Dorf", "evening")

ADD, UPSERT, DELETE, DELETE_WHERE, COMPACT = KINDS = ("add", "upsert", "delete", "delete where", "compact")


def create(path: Path) -> None:
    """An empty collection for the documents."""
    settings = {"bits": BITS, "hasher_fingerprint": "numbers", "fields": FIELDS}
    Collection.create(path, sidecar="float16", dim=DIM, **settings).close()


# ---------------------------------------------------------------------- documents


def document_id(number: int) -> str:
    return f"document {number}"


def codes_of(numbers: ArrayLike, versions: ArrayLike) -> Codes:
    """The codes of documents, which gather around a few centres, so that distances tie."""
    seeds = _mixed(numbers, versions)
    width = (BITS + 7) // 8
    columns = np.arange(width, dtype=np.uint64)
    centres = _mix(seeds[:, None] % np.uint64(7) + columns * np.uint64(1_000_003))
    noise = [_mix(seeds[:, None] + columns * np.uint64(part)) for part in (11, 13, 17)]
    packed = (centres ^ (noise[0] & noise[1] & noise[2])).astype(np.uint8)
    packed[:, -1] &= 0xFF << (8 * width - BITS) & 0xFF
    return Codes(packed, BITS)


def vectors_of(numbers: ArrayLike, versions: ArrayLike) -> NDArray[np.float32]:
    """The vectors of documents: small whole numbers, which float16 holds exactly."""
    seeds = _mixed(numbers, versions)
    return (_mix(seeds[:, None] ^ np.arange(DIM, dtype=np.uint64)) % np.uint64(17)).astype(np.float32) - 8


def groups_of(numbers: ArrayLike, versions: ArrayLike) -> NDArray[np.int64]:
    """The metadata field `group` of documents."""
    return (_mixed(numbers, versions) % np.uint64(GROUPS)).astype(np.int64)


def contents_of(numbers: ArrayLike, versions: ArrayLike) -> tuple[list[str | None], list[dict[str, Any]]]:
    """The texts of documents, of which one in eight has none, and their metadata."""
    seeds = _mixed(numbers, versions)
    each = list(zip(np.asarray(numbers).tolist(), np.asarray(versions).tolist(), seeds.tolist(), strict=True))
    texts = [
        None if seed % 8 == 0 else f"Text {number}.{version} " + "äöü grüßen " * (seed // 8 % 25)
        for number, version, seed in each
    ]
    metadata = [
        {"number": number, "version": version, "group": seed % GROUPS, "word": _WORDS[seed % GROUPS]}
        for number, version, seed in each
    ]
    return texts, metadata


def records_of(rows: ArrayLike, numbers: ArrayLike, versions: ArrayLike) -> list[Record]:
    """The documents as a collection gives them back."""
    texts, metadata = contents_of(numbers, versions)
    ids = [document_id(number) for number in np.asarray(numbers).tolist()]
    return list(map(Record, np.asarray(rows).tolist(), ids, texts, metadata))


def _mixed(numbers: ArrayLike, versions: ArrayLike) -> NDArray[np.uint64]:
    return _mix(
        np.asarray(numbers).astype(np.uint64) * np.uint64(1 << 32) + np.asarray(versions).astype(np.uint64)
    )


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64: a bijection in which every bit depends on every other."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


# ---------------------------------------------------------------------- operations


@dataclass(frozen=True)
class Operation:
    """Something to do to a collection.

    Attributes:
        kind: One of KINDS.
        numbers: The numbers that it concerns; those of a "delete where" as the model says.
        versions: Their versions afterwards.
        where: The filter of a "delete where".
    """

    kind: str
    numbers: list[int] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    where: dict[str, Any] | None = None

    def run(self, collection: Collection) -> None:
        """Do it."""
        ids = [document_id(number) for number in self.numbers]
        if self.kind in (ADD, UPSERT):
            texts, metadata = contents_of(self.numbers, self.versions)
            getattr(collection, self.kind)(
                codes_of(self.numbers, self.versions),
                ids=ids,
                texts=texts,
                metadata=metadata,
                vectors=vectors_of(self.numbers, self.versions),
            )
        elif self.kind == COMPACT:
            collection.compact()
        else:
            deleted = collection.delete(ids) if self.where is None else collection.delete(where=self.where)
            if deleted != len(ids):
                raise AssertionError(f"{self.kind} deleted {deleted} documents of {len(ids)}")


@dataclass
class Model:
    """What the collection should hold.

    Attributes:
        numbers: The documents' ids are among those of the numbers from 0 to here.
        rows: The row of each number that has a document, in order of rows.
        versions: The version of each number that ever had a document.
        next_row: The next row.
        generation: The generation of the files of rows.
        superseded: Rows in them that hold no document any more.
    """

    numbers: int
    rows: dict[int, int] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)
    next_row: int = 0
    generation: int = 1
    superseded: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def apply(self, operation: Operation) -> None:
        """Follow what a collection did."""
        if operation.kind == COMPACT:
            self.generation += self.superseded > 0
            self.superseded = 0
        for number, version in zip(operation.numbers, operation.versions, strict=True):
            self.superseded += self.rows.pop(number, None) is not None
            self.versions[number] = version
            if version % 2:
                self.rows[number] = self.next_row
                self.next_row += 1

    def documents(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Numbers, versions and rows of the documents, int64 each, in order of rows."""
        numbers = np.fromiter(self.rows, dtype=np.int64, count=len(self.rows))
        versions = np.array([self.versions[number] for number in self.rows], dtype=np.int64)
        return numbers, versions, np.array(list(self.rows.values()), dtype=np.int64)

    def next_operation(self, rng: np.random.Generator, batch: int) -> Operation:
        """Something random to do, of at most `batch` documents where they are named one by one."""
        return self.operation(str(rng.choice(KINDS, p=[0.3, 0.25, 0.2, 0.1, 0.15])), rng, batch)

    def operation(self, kind: str, rng: np.random.Generator, batch: int) -> Operation:
        """A random operation of that kind."""
        size = int(rng.integers(1, batch + 1))
        if kind == COMPACT:
            return Operation(COMPACT)
        if kind == UPSERT:
            return self._put(UPSERT, rng.choice(self.numbers, min(size, self.numbers), replace=False))
        if kind == ADD:
            free = np.setdiff1d(np.arange(self.numbers), list(self.rows))
            return self._put(ADD, rng.choice(free, min(size, len(free)), replace=False))
        if kind == DELETE:
            there = np.array(list(self.rows), dtype=np.int64)
            return self._remove(DELETE, rng.choice(there, min(size, len(there)), replace=False))
        least = int(rng.integers(self.numbers))
        group = int(rng.integers(GROUPS))
        where = {"group": group, "number": {">=": least}}
        numbers, versions, _ = self.documents()
        matching = numbers[(groups_of(numbers, versions) == group) & (numbers >= least)]
        return self._remove(DELETE_WHERE, matching, where)

    def _put(self, kind: str, numbers: NDArray[np.int64]) -> Operation:
        states = [self.versions.get(number, 0) for number in numbers.tolist()]
        return Operation(kind, numbers.tolist(), [state + 1 + state % 2 for state in states])

    def _remove(
        self, kind: str, numbers: NDArray[np.int64], where: Mapping[str, Any] | None = None
    ) -> Operation:
        versions = [self.versions[number] + 1 for number in numbers.tolist()]
        return Operation(kind, numbers.tolist(), versions, None if where is None else dict(where))


# ---------------------------------------------------------------------- checks


def difference(collection: Collection, model: Model) -> str | None:
    """The first thing in which a collection is not as `model` says, or None."""
    generation = collection.info()["generation"]
    if generation != model.generation:
        return f"generation {model.generation} expected, {generation} found"
    numbers, versions, rows = model.documents()
    held = list(collection.iterate())
    if len(held) != len(model) or collection.count() != len(model) or len(collection) != len(model):
        return (
            f"{len(model)} documents expected, {len(held)} iterated, {collection.count()} counted, "
            f"{len(collection)} in the view"
        )
    for found, wanted in zip(held, records_of(rows, numbers, versions), strict=True):
        if found != wanted:
            return f"{wanted} expected, {found} found"
    if not np.array_equal(collection.codes_at(rows), codes_of(numbers, versions).packed):
        return "codes differ"
    if not np.array_equal(collection.vectors(rows), vectors_of(numbers, versions)):
        return "vectors differ"
    return None


def check_searches(collection: Collection, model: Model, rng: np.random.Generator, k: int = 10) -> None:
    """Hold searches, look-ups and filters against brute force.

    Raises:
        AssertionError: One is wrong.
    """
    numbers, versions, rows = model.documents()
    codes = codes_of(numbers, versions)
    queries = codes_of(rng.integers(model.numbers, size=3), rng.integers(9, size=3))
    distances = queries.hamming(codes)
    expect_nearest("search", collection.search(queries, k), distances, rows, k)

    group, least = int(rng.integers(GROUPS)), int(rng.integers(model.numbers))
    where = {"group": group, "number": {">=": least}}
    allowed = (groups_of(numbers, versions) == group) & (numbers >= least)
    expect("rows", collection.rows(where), rows[allowed])
    expect("count", collection.count(where), int(allowed.sum()))
    expect_nearest(
        "where", collection.search(queries, k, where=where), distances[:, allowed], rows[allowed], k
    )

    radius = int(np.sort(distances, axis=None)[min(30, distances.size - 1)]) if distances.size else 3
    lims, found, in_range = collection.range_search(queries, radius)
    for line, start, end in zip(distances, lims[:-1], lims[1:], strict=True):
        order = nearest(line, int((line <= radius).sum()))
        expect("range distances", found[start:end], line[order])
        expect("range rows", in_range[start:end], rows[order])

    asked = rng.integers(model.numbers, size=20).tolist()
    places = [model.rows.get(number, -1) for number in asked]
    ids = [document_id(number) for number in asked]
    expect("find", collection.find(ids), places)
    expected = [
        None if row < 0 else records_of([row], [number], [model.versions[number]])[0]
        for number, row in zip(asked, places, strict=True)
    ]
    expect("get", collection.get(ids), expected)


def nearest(distances: NDArray[Any], k: int) -> NDArray[np.int64]:
    """The places of the `k` least distances, by (distance, place)."""
    return np.argsort(distances, kind="stable")[:k]


def expect_nearest(
    what: str, found: tuple[Any, Any], distances: NDArray[Any], rows: NDArray[np.int64], k: int
) -> None:
    """Hold a search against the distances (q, n) of all that it may find, which lie in `rows` (n,)."""
    for line, found_distances, found_rows in zip(distances, *found, strict=True):
        order = nearest(line, k)
        padding = k - len(order)
        expect(f"distances of {what}", found_distances, [*line[order], *[65535] * padding])
        expect(f"rows of {what}", found_rows, [*rows[order], *[-1] * padding])


def expect(what: str, found: Any, wanted: Any) -> None:
    """Raise `AssertionError` unless the two are the same."""
    same = found == wanted if not isinstance(found, np.ndarray) else np.array_equal(found, wanted)
    if not same:
        raise AssertionError(f"{what}: {found!r} instead of {wanted!r}")


def left_over_files(collection: Collection) -> list[str]:
    """Files of rows of another generation than the one in force."""
    generation = collection.info()["generation"]
    return [
        file.name
        for file in collection.path.glob("*-*.bin")
        if file.stem.rpartition("-")[2] != str(generation)
    ]
