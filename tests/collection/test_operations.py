"""Random sequences of operations on a collection, held against a dictionary and brute force."""

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmhash.codes import Codes
from llmhash.collection import Collection, Record
from llmhash.errors import InputError

DIM = 3
IDS = [*"abcdefgh", "0", "7", "ä ö", "日本", "x" * 300]
METADATA = [
    None,
    {},
    {"n": 1},
    {"n": 2.5, "s": "a"},
    {"n": "1"},
    {"s": "b", "late": True},
    {"n": None, "s": [1]},
]
TEXTS = [None, "", "text", "länger\n" * 50]

# Each filter with what it means; "late" is declared on the way.
FILTERS: list[tuple[dict[str, Any], Any]] = [
    ({"n": 1}, lambda m: m.get("n") == 1),
    ({"n": {">": 0.5}}, lambda m: isinstance(m.get("n"), int | float) and m["n"] > 0.5),
    ({"s": {"!=": "a"}}, lambda m: m.get("s") != "a"),
    (
        {"or": [{"n": {"in": ["1", 2.5]}}, {"s": "b"}]},
        lambda m: m.get("n") in ("1", 2.5) or m.get("s") == "b",
    ),
    (
        {"n": {"exists": False}, "not": {"s": {"exists": True}}},
        lambda m: m.get("n") is None and m.get("s") is None,
    ),
    ({"n": 17}, lambda m: False),
]
LATE = ({"late": True}, lambda m: m.get("late") is True)

seeds = st.integers(0, 2**32 - 1)
some_ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=6, unique=True)


@dataclass
class Document:
    record: Record
    code: np.ndarray
    vector: np.ndarray | None


@dataclass
class Model:
    """What a handle should show: documents by id in order of rows, and the rows that lie in the files."""

    documents: dict[str, Document] = field(default_factory=dict)
    slots: list[int] = field(default_factory=list)

    def copy(self):
        return replace(self, documents=dict(self.documents), slots=list(self.slots))

    @property
    def rows(self):
        return np.array([document.record.row for document in self.documents.values()], dtype=np.int64)

    def codes(self, bits):
        packed = [document.code for document in self.documents.values()]
        return Codes(np.array(packed, dtype=np.uint8).reshape(len(packed), (bits + 7) // 8), bits)


def padded(values, k, padding):
    return [*values[:k], *[padding] * (k - len(values))]


class Operations(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.collection = self.reader = None

    @initialize(bits=st.integers(1, 320), sidecar=st.sampled_from([None, "int8", "float16"]))
    def create(self, bits, sidecar):
        self.bits, self.sidecar = bits, sidecar
        dim = None if sidecar is None else DIM
        path = self.folder / "collection"
        settings = {"bits": bits, "hasher_fingerprint": "abc", "fields": ["n", "s"]}
        self.collection = Collection.create(path, sidecar=sidecar, dim=dim, **settings)
        self.reader = Collection.open(path, readonly=True)
        self.model, self.seen = Model(), Model()
        self.next_row, self.backups = 0, 0
        self.filters = list(FILTERS)

    def teardown(self):
        if self.collection is not None:
            self.holds(self.collection)
            self.collection.verify()
            self.collection.close()
            self.reader.close()
        shutil.rmtree(self.folder)

    # ------------------------------------------------------------------ writing

    @rule(ids=some_ids, seed=seeds, named=st.booleans())
    def add(self, ids, seed, named):
        new = [name for name in ids if name not in self.model.documents]
        arguments = self.batch(len(new), seed)
        names = self.collection.add(**arguments, ids=new if named else None)
        assert len(set(names) - set(self.model.documents)) == len(new)
        if named:
            assert names == new
        self.put(names, arguments)

    @rule(ids=some_ids, seed=seeds)
    def upsert(self, ids, seed):
        arguments = self.batch(len(ids), seed)
        assert self.collection.upsert(**arguments, ids=ids) == ids
        self.put(ids, arguments)

    @precondition(lambda self: self.model.documents)
    @rule(data=st.data())
    def delete(self, data):
        known = st.sampled_from(list(self.model.documents))
        ids = data.draw(st.lists(known, max_size=4))
        assert self.collection.delete(ids) == len(set(ids))
        for name in set(ids):
            del self.model.documents[name]

    @rule(data=st.data())
    def delete_matching(self, data):
        where, holds = data.draw(st.sampled_from(self.filters))
        gone = [name for name, document in self.model.documents.items() if holds(document.record.metadata)]
        assert self.collection.delete(where=where) == len(gone)
        for name in gone:
            del self.model.documents[name]

    @rule(seed=seeds)
    def refused(self, seed):
        known = list(self.model.documents)[:2]
        with pytest.raises(InputError, match="nobody"):
            self.collection.delete([*known, "nobody"])
        with pytest.raises(InputError, match=r"ids\[1\]"):
            self.collection.upsert(**self.batch(2, seed), ids=["twice", "twice"])
        if known:
            with pytest.raises(InputError, match="already holds"):
                self.collection.add(**self.batch(2, seed), ids=["new", known[0]])
        with pytest.raises(InputError, match="not declared"):
            self.collection.delete(where={"m": 1})

    @rule()
    def compact(self):
        self.collection.compact()
        if len(self.model.documents) < len(self.model.slots):
            self.model.slots = self.model.rows.tolist()

    @precondition(lambda self: LATE not in self.filters)
    @rule()
    def declare(self):
        self.collection.declare(["late"])
        self.filters.append(LATE)
        assert self.collection.fields == ("n", "s", "late")

    @rule(readonly=st.booleans())
    def reopen(self, readonly):
        path = self.collection.path
        self.collection.close()
        with Collection.open(path, readonly=readonly) as between:
            self.holds(between)
        self.collection = Collection.open(path)

    @precondition(lambda self: self.backups < 2)
    @rule()
    def back_up(self):
        self.backups += 1
        target = self.folder / f"backup {self.backups}"
        self.collection.backup(target)
        with Collection.open(target) as backup:
            self.holds(backup)
            backup.verify()
            assert backup.fields == self.collection.fields
            backup.add(**self.batch(1, 0))
            assert len(backup) == len(self.model.documents) + 1

    @rule()
    def refresh(self):
        self.reader.refresh()
        self.seen = self.model.copy()

    # ------------------------------------------------------------------ reading

    @rule()
    def check_all(self):
        self.holds(self.collection)
        self.collection.verify()

    @rule(seed=seeds, k=st.integers(1, 12), stale=st.booleans(), chosen=st.sampled_from(["allow", "deny"]),
          kind=st.sampled_from(["rows", "mask", None]))  # fmt: skip
    def search(self, seed, k, stale, chosen, kind):
        handle, model = (self.reader, self.seen) if stale else (self.collection, self.model)
        rng = np.random.default_rng(seed)
        keep, arguments = np.ones(len(model.documents), dtype=np.bool_), {}
        if kind is not None:
            mask = rng.random(len(model.slots)) < 0.5
            rows = np.array(model.slots, dtype=np.int64)[mask]
            keep = np.isin(model.rows, rows) == (chosen == "allow")
            arguments = {chosen: rows if kind == "rows" else mask}
        assert len(handle.codes) == len(model.slots)
        self.check_searches(handle, model, rng, k, keep, arguments)

    @rule(seed=seeds, k=st.integers(1, 12), stale=st.booleans(), data=st.data())
    def filtered_search(self, seed, k, stale, data):
        where, holds = data.draw(st.sampled_from(self.filters))
        keep = np.array(
            [holds(document.record.metadata) for document in self.model.documents.values()], np.bool_
        )
        # A filter looks at the last commit, whatever was seen before it.
        handle = self.reader if stale else self.collection
        self.check_searches(handle, self.model, np.random.default_rng(seed), k, keep, {"where": where})
        assert handle.rows(where).tolist() == self.model.rows[keep].tolist()
        assert handle.count(where) == keep.sum()
        matching = [
            document.record
            for document, kept in zip(self.model.documents.values(), keep, strict=True)
            if kept
        ]
        assert list(handle.iterate(where, batch_size=2)) == matching
        if stale:
            self.seen = self.model.copy()

    @rule(ids=st.lists(st.sampled_from(IDS), max_size=6), stale=st.booleans())
    def look_up(self, ids, stale):
        handle = self.reader if stale else self.collection
        found = [self.model.documents.get(name) for name in ids]
        assert handle.get(ids) == [document and document.record for document in found]
        assert handle.find(ids).tolist() == [document.record.row if document else -1 for document in found]

    @invariant()
    def counts(self):
        if self.collection is not None:
            assert len(self.collection) == self.collection.count() == len(self.model.documents)
            assert len(self.reader) == len(self.seen.documents)

    # ------------------------------------------------------------------ helpers

    def batch(self, count, seed):
        """Arguments of an add; the codes lie near a few centres, so that distances tie."""
        rng = np.random.default_rng(seed)
        centres = np.random.default_rng(0).random((3, self.bits)) < 0.5
        bits = centres[rng.integers(3, size=count)] ^ (
            rng.random((count, self.bits)) < rng.choice([0, 0.1, 0.5])
        )
        arguments = {
            "codes": Codes.pack(bits),
            "texts": [TEXTS[place] for place in rng.integers(len(TEXTS), size=count)],
            "metadata": [METADATA[place] for place in rng.integers(len(METADATA), size=count)],
        }
        if self.sidecar is not None:
            # Whole numbers with 127 among them are what both kinds of sidecar hold exactly.
            arguments["vectors"] = np.column_stack(
                [np.full(count, 127), rng.integers(-127, 128, (count, DIM - 1))]
            )
        return arguments

    def put(self, names, arguments):
        for place, name in enumerate(names):
            self.model.documents.pop(name, None)
            text, metadata = arguments["texts"][place], arguments["metadata"][place] or {}
            vector = arguments["vectors"][place] if self.sidecar is not None else None
            record = Record(self.next_row, name, text, metadata)
            self.model.documents[name] = Document(record, arguments["codes"].packed[place], vector)
            self.model.slots.append(self.next_row)
            self.next_row += 1

    def holds(self, collection):
        documents = list(self.model.documents.values())
        rows = self.model.rows
        assert list(collection.iterate()) == [document.record for document in documents]
        assert collection.rows({"n": {"exists": False}}).tolist() == [
            document.record.row for document in documents if document.record.metadata.get("n") is None
        ]
        assert np.array_equal(collection.codes_at(rows), self.model.codes(self.bits).packed)
        assert collection.records(rows[::-1]) == [document.record for document in documents[::-1]]
        if self.sidecar is not None:
            vectors = np.array([document.vector for document in documents]).reshape(-1, DIM)
            assert np.allclose(collection.vectors(rows), vectors, atol=1e-4)
        dead = sorted(set(self.model.slots) - set(rows.tolist()))
        assert collection.at(dead) == [None] * len(dead)
        if dead:
            with pytest.raises(InputError, match="no document in row"):
                collection.codes_at(dead[:1])

    def check_searches(self, handle, model, rng, k, keep, arguments):
        rows, codes = model.rows[keep], model.codes(self.bits)[keep]
        near = model.codes(self.bits).unpack()[:1] ^ (rng.random((1, self.bits)) < 0.1)
        queries = Codes.pack(np.concatenate([near, rng.random((1, self.bits)) < 0.5]).astype(np.bool_))
        distances, found = handle.search(queries, k, **arguments)
        exact = queries.hamming(codes)
        radius = int(rng.integers(self.bits + 1))
        lims, range_distances, range_rows = handle.range_search(queries, radius, **arguments)
        for query, line in enumerate(exact):
            order = np.argsort(line, kind="stable")
            assert distances[query].tolist() == padded(line[order].tolist(), k, 65535)
            assert found[query].tolist() == padded(rows[order].tolist(), k, -1)
            within = order[: (line <= radius).sum()]
            part = slice(lims[query], lims[query + 1])
            assert range_distances[part].tolist() == line[within].tolist()
            assert range_rows[part].tolist() == rows[within].tolist()
        self.check_asymmetric(handle, rng, k, rows, codes, arguments)

    def check_asymmetric(self, handle, rng, k, rows, codes, arguments):
        # Whole numbers whose sizes add up to a power of two, so that scores are exact and tie.
        logits = rng.integers(-2, 3, (2, self.bits)).astype(np.float32)
        logits[:, 0] = 1024 - np.abs(logits[:, 1:]).sum(axis=1)
        scores, found = handle.asymmetric_search(logits, k, **arguments)
        exact = logits @ codes.to_pm1(np.float32).T
        hamming = Codes.from_logits(logits).hamming(codes)
        for query, line in enumerate(exact):
            order = np.lexsort((rows, hamming[query], -line))
            assert found[query].tolist() == padded(rows[order].tolist(), k, -1)
            expected = line[order] / np.abs(logits[query]).sum()
            assert np.allclose(scores[query], padded(expected.tolist(), k, -np.inf), atol=1e-6)
        assert np.allclose(handle.rescore(logits, found), scores, atol=1e-6)


Operations.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestOperations = Operations.TestCase
