import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.collection import Collection
from llmhash.collection import scoring as scoring_module
from llmhash.errors import InputError
from llmhash.retriever import Hit, Retriever

DIM = 12


class StubHasher:
    """Features drawn by each text's own seed, logits by a fixed projection; with `texts=False` no encoder."""

    takes_dense = True
    scan_only = False

    def __init__(self, bits=20, seed=0, texts=True):
        self.bits, self.dim, self.seed, self.texts = bits, DIM, seed, texts
        self.projection = np.random.default_rng(seed).normal(size=(DIM, bits)).astype(np.float32)
        self.fingerprint = f"stub-{bits}-{seed}"
        self.encoded = []

    def document_features(self, texts, progress=False):
        if isinstance(texts, np.ndarray):
            return np.asarray(texts, dtype=np.float32)
        if not self.texts:
            raise InputError("this hasher has no encoder.")
        self.encoded += list(texts)
        rows = [np.random.default_rng(list(text.encode())).normal(size=DIM) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(-1, DIM)

    query_features = document_features

    def query_logits(self, features):
        return features @ self.projection

    asymmetric_queries = query_logits

    def document_codes(self, features):
        return Codes.from_logits(self.query_logits(features))

    def save(self, folder):
        folder.mkdir()
        (folder / "stub.json").write_text(json.dumps([self.bits, self.seed, self.texts]))

    @classmethod
    def load(cls, folder, device=None):
        return cls(*json.loads((Path(folder) / "stub.json").read_text()))


TEXTS = [f"passage number {i}" for i in range(150)]
IDS = [f"p{i}" for i in range(150)]


@pytest.fixture
def make(tmp_path):
    made = []

    def build(hasher=None, texts=TEXTS, ids=IDS, name="wiki", **settings):
        retriever = Retriever.create(tmp_path / name, hasher or StubHasher(), **settings)
        made.append(retriever)
        if texts:
            retriever.add(texts, ids=ids, metadata=[{"n": i} for i in range(len(texts))])
        return retriever

    yield build
    for retriever in made:
        retriever.close()


def reference(retriever, query, k, scoring, candidates=100):
    """Ids and scores by plain numpy."""
    hasher = retriever.hasher
    features = hasher.document_features(TEXTS)
    asked = hasher.query_features([query])
    logits = hasher.query_logits(asked)
    bits = np.where(hasher.query_logits(features) > 0, 1.0, -1.0)
    distances = ((logits > 0) != (bits > 0)).sum(axis=1)
    asymmetric = (bits @ logits[0]) / np.abs(logits).sum()
    near = np.argsort(distances, kind="stable")[:candidates]
    best = np.lexsort((distances, -asymmetric))[:candidates]
    norms = np.linalg.norm(features, axis=1) * np.linalg.norm(asked)
    scores, pool = {
        "hamming": (1 - 2 * distances / hasher.bits, np.arange(len(TEXTS))),
        "asymmetric": (asymmetric, near),
        "asymmetric_scan": (asymmetric, np.arange(len(TEXTS))),
        "float16": (features @ asked[0] / norms, best),
        "int8": (features @ asked[0] / norms, best),
    }[scoring]
    order = sorted(pool.tolist(), key=lambda row: (-scores[row], distances[row], row))[:k]
    return [IDS[row] for row in order], [scores[row] for row in order]


def test_a_text_finds_itself_after_reopening(make, monkeypatch):
    retriever = make()
    retriever.close()
    stand_in = types.ModuleType("llmhash.hasher")
    stand_in.Hasher = StubHasher
    monkeypatch.setitem(sys.modules, "llmhash.hasher", stand_in)
    with Retriever.open(retriever.collection.path) as again:
        assert len(again) == 150
        (hit,) = again.search("passage number 42", k=1)
        assert (hit.id, hit.text, hit.metadata) == ("p42", "passage number 42", {"n": 42})
        assert 0.5 < hit.score <= 1
        lists = again.search_batch(["passage number 1", "passage number 2"], k=3)
        assert [hits[0].id for hits in lists] == ["p1", "p2"]
        assert [len(hits) for hits in lists] == [3, 3]
        assert again.add(["one more"]) == ["150"]


@pytest.mark.parametrize("scoring", ["hamming", "asymmetric", "asymmetric_scan", "int8", "float16"])
def test_scorings_equal_the_reference(make, scoring):
    sidecar = scoring if scoring in ("int8", "float16") else None
    retriever = make(sidecar=sidecar)
    for query in ("passage number 7", "something else"):
        for candidates in (30, None):
            ids, scores = reference(retriever, query, 10, scoring, candidates or 100)
            hits = retriever.search(query, 10, scoring=scoring, candidates=candidates)
            near = 0.02 if sidecar == "int8" else 2e-3
            assert np.allclose([hit.score for hit in hits], scores, atol=near if sidecar else 1e-5)
            if sidecar is None:
                assert [hit.id for hit in hits] == ids
            else:
                assert len(set(ids) & {hit.id for hit in hits}) >= 9


def test_ties_come_by_distance_then_insertion(make):
    # Queries' logits are zero in the last two bits, so that codes differing there tie.
    hasher = StubHasher(bits=4)
    hasher.projection = np.zeros((DIM, 4), dtype=np.float32)
    hasher.projection[:4, :] = np.eye(4)
    retriever = make(hasher, texts=None)
    features = np.zeros((5, DIM))
    features[:, :4] = [[1, 1, 1, 1], [1, 1, 1, -1], [-1, 1, -1, -1], [1, 1, -1, -1], [1, 1, -1, -1]]
    retriever.add(features)
    query = np.zeros(DIM)
    query[:2] = 0.5
    for scoring in ("asymmetric", "asymmetric_scan"):
        hits = retriever.search(query, 5, scoring=scoring)
        assert [hit.id for hit in hits] == ["3", "4", "1", "0", "2"]
        assert [hit.score for hit in hits] == [1, 1, 1, 1, 0]
    assert [hit.score for hit in retriever.search(np.zeros(DIM), 5)] == [0] * 5


def test_the_default_scoring(make, monkeypatch):
    retriever = make()
    assert scoring_module.choose_scoring(retriever.collection) == "asymmetric_scan"
    monkeypatch.setattr(scoring_module, "ASYMMETRIC_SCAN_BYTES", 149 * 3)
    assert scoring_module.choose_scoring(retriever.collection) == "asymmetric"
    query = "passage number 9"
    assert retriever.search(query) == retriever.search(query, scoring="asymmetric")
    graph = make(name="graph", engine="usearch", texts=None)
    assert scoring_module.choose_scoring(graph.collection) == "asymmetric"


def test_fewer_documents_than_asked_for(make):
    retriever = make(texts=None)
    for scoring in ("hamming", "asymmetric", "asymmetric_scan", None):
        assert retriever.search("anything", 3, scoring=scoring) == []
    assert retriever.search_batch([], 3) == []
    retriever.add(TEXTS[:4], ids=IDS[:4])
    for scoring in ("hamming", "asymmetric", "asymmetric_scan"):
        for k in (10, 10**12):
            assert {hit.id for hit in retriever.search("anything", k, scoring=scoring)} == set(IDS[:4])


def test_a_small_sidecar_collection(make):
    retriever = make(texts=None, sidecar="int8")
    assert retriever.search("anything", scoring="int8") == []
    retriever.add(TEXTS[:2])
    assert [hit.id for hit in retriever.search(TEXTS[1], 5, scoring="int8")] == ["1", "0"]


def test_only_allowed_documents_come(make):
    retriever = make(sidecar="float16")
    mask = np.zeros(150, dtype=bool)
    mask[[3, 77]] = True
    for allow in (["p3", "p77", "nobody"], np.array([3, 77]), mask):
        for scoring in ("hamming", "asymmetric", "asymmetric_scan", "float16"):
            hits = retriever.search("passage number 5", 10, scoring=scoring, allow=allow)
            assert {hit.id for hit in hits} == {"p3", "p77"}
    assert retriever.search("passage number 5", allow=["nobody"]) == []
    with pytest.raises(InputError, match="list of strings"):
        retriever.search("passage number 5", allow="p3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": ""}, r"queries\[0\] is ''"),
        ({"query": "  \n"}, "not empty"),
        ({"query": np.full(DIM, np.nan)}, "NaN"),
        ({"k": 0}, "k must be"),
        ({"k": 2.5}, "k must be"),
        ({"candidates": 3}, "at least k = 10"),
        ({"scoring": "cosine"}, "scoring must be one of"),
        ({"scoring": "int8"}, "needs the int8 sidecar"),
    ],
)
def test_bad_searches(make, arguments, message):
    with pytest.raises(InputError, match=message):
        make(texts=["one"], ids=None).search(**{"query": "a question", **arguments})


def test_a_list_of_queries_is_no_string(make):
    retriever = make(texts=None)
    with pytest.raises(InputError, match="list of strings"):
        retriever.search_batch("a question")
    with pytest.raises(InputError, match=r"queries\[1\]"):
        retriever.search_batch(["a question", ""])


def test_vectors_in_place_of_texts(make):
    hasher = StubHasher(texts=False)
    retriever = make(hasher, texts=None, sidecar="float16")
    vectors = np.random.default_rng(0).normal(size=(30, DIM))
    assert retriever.add(vectors, batch_size=7) == [str(i) for i in range(30)]
    hits = retriever.search(vectors[11], 2, scoring="float16")
    assert (hits[0].id, hits[0].text) == ("11", None)
    assert hits[0].score == pytest.approx(1, abs=1e-3)
    assert retriever.add(["a text"], ids=["t"], vectors=vectors[:1] + 9) == ["t"]
    assert retriever.search(vectors[0] + 9, 1, scoring="float16")[0] == Hit(
        "t", pytest.approx(1, abs=1e-3), "a text"
    )
    vectors[5, 0] = np.inf
    for arguments, message in (
        ((vectors,), "first in row 5"),
        ((vectors[:2, :3],), "3 dimensions"),
        ((["a"], None, None), "no encoder"),
        ((None,), "texts must be"),
        (("one text",), "texts must be"),
        ((["a", None],), r"texts\[1\]"),
    ):
        with pytest.raises(InputError, match=message):
            retriever.add(*arguments, batch_size=1)
    with pytest.raises(InputError, match="vectors once"):
        retriever.add(vectors[:1], vectors=vectors[:1])
    assert len(retriever) == 31


def test_everything_is_checked_before_anything_is_encoded(make):
    retriever = make(texts=TEXTS[:3], ids=IDS[:3])
    retriever.hasher.encoded.clear()
    for arguments, message in (
        ({"ids": ["a", "b", "c", "a"]}, r"ids\[3\] is 'a', and so is ids\[0\]"),
        ({"ids": ["a", "b", "c", "p1"]}, r"ids\[3\] is 'p1', which the collection already holds"),
        ({"metadata": [None, None, None, {"x": object()}]}, r"metadata\[3\]"),
        ({"ids": ["a"]}, "4 documents but 1 ids"),
        ({"batch_size": 0}, "batch_size"),
        ({"skip_existing": True}, "documents' ids"),
    ):
        with pytest.raises(InputError, match=message):
            retriever.add(TEXTS[:4], **{"batch_size": 1, **arguments})
    assert retriever.hasher.encoded == []
    assert len(retriever) == 3


def test_an_interrupted_add_can_be_taken_up(make, monkeypatch):
    retriever = make(texts=None)
    original = Collection.add
    calls = []

    def interrupted(self, *args, **settings):
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, *args, **settings)

    monkeypatch.setattr(Collection, "add", interrupted)
    metadata = [{"n": i} for i in range(150)]
    with pytest.raises(KeyboardInterrupt):
        retriever.add(TEXTS, IDS, metadata, batch_size=40)
    assert len(retriever) == 80
    retriever.hasher.encoded.clear()
    assert retriever.add(TEXTS, IDS, metadata, batch_size=40, skip_existing=True, progress=True) == IDS[80:]
    assert retriever.hasher.encoded == TEXTS[80:]
    assert [(r.id, r.text, r.metadata) for r in retriever.collection.get(IDS)] == list(
        zip(IDS, TEXTS, metadata, strict=True)
    )
    retriever.collection.verify()


def test_another_hasher_is_refused(make):
    retriever = make()
    for other in (StubHasher(seed=1), StubHasher(bits=24)):
        with pytest.raises(InputError, match="built by another hasher"):
            Retriever.open(retriever.collection.path, other)
    with Retriever.open(retriever.collection.path, StubHasher(), readonly=True) as same:
        assert len(same) == 150
        with pytest.raises(InputError, match="read-only"):
            same.add(["more"])
        assert same.hasher.encoded == []


def test_a_collection_without_a_hasher(tmp_path):
    Collection.create(tmp_path / "bare", bits=20, hasher_fingerprint="stub-20-0").close()
    with pytest.raises(InputError, match="no copy of its hasher"):
        Retriever.open(tmp_path / "bare")
    with Retriever.open(tmp_path / "bare", StubHasher()) as retriever:
        assert len(retriever) == 0


def test_a_hasher_that_cannot_be_saved_leaves_nothing(tmp_path):
    class Unsaved(StubHasher):
        def save(self, folder):
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        Retriever.create(tmp_path / "wiki", Unsaved())
    assert not (tmp_path / "wiki").exists()


def test_readers_find_what_others_add(make):
    retriever = make(texts=None)
    with Retriever.open(retriever.collection.path, StubHasher(), readonly=True) as reader:
        assert reader.search("new words", 1) == []
        retriever.add(["new words"], ids=["new"])
        assert [hit.id for hit in reader.search("new words", 1)] == ["new"]


def test_upserts_deletions_and_filters(make):
    retriever = make(fields=["n"])
    assert [hit.id for hit in retriever.search("passage number 9", 1)] == ["p9"]
    changed = ["another passage", "a new passage", "passage number 9"]
    ids = ["p9", "new", "p3"]
    assert retriever.upsert(changed, ids, [{"n": 1000 + i} for i in range(3)], batch_size=2) == ids
    assert len(retriever) == 151
    assert [hit.id for hit in retriever.search("passage number 9", 1)] == ["p3"]
    assert retriever.search("another passage", 1)[0].metadata == {"n": 1000}

    hits = retriever.search("another passage", 10, where={"n": {">=": 1000}})
    assert {hit.id for hit in hits} == {"p9", "new", "p3"}
    for scoring in ("hamming", "asymmetric", "asymmetric_scan"):
        found = retriever.search("passage number 7", 150, scoring=scoring, where={"n": {"<": 5}})
        assert {hit.id for hit in found} == {"p0", "p1", "p2", "p4"}

    assert retriever.delete(["new"]) == 1
    assert retriever.delete(where={"n": {">=": 140, "<": 150}}) == 10
    assert len(retriever) == 140
    assert len(retriever.search("a new passage", 200)) == 140
    with pytest.raises(InputError, match="'new'"):
        retriever.delete(["p1", "new"])
    with pytest.raises(InputError, match="not declared"):
        retriever.search("x", where={"author": "y"})
    with pytest.raises(InputError, match="2 documents but 1 ids"):
        retriever.upsert(["a", "b"], ["one"])
    assert len(retriever) == 140


def test_a_document_deleted_since_it_was_found_is_left_out(make, monkeypatch):
    retriever = make()
    query = "passage number 9"
    best = [hit.id for hit in retriever.search(query, 3)]

    def find_then_lose(*arguments, **settings):
        found = scoring_module.best_documents(*arguments, **settings)
        retriever.delete([best[0]])
        return found

    monkeypatch.setattr("llmhash.retriever.best_documents", find_then_lose)
    assert [hit.id for hit in retriever.search(query, 3)] == best[1:]
