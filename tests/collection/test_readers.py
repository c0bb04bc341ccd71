"""Reader processes beside a writer: whatever they see is whole, true and recent enough."""

import numpy as np
import pytest
from store_harness.documents import KINDS, Model, create
from store_harness.reading import Reader, read_while_writing

from llmhash.collection import Collection


def test_readers_beside_a_writer(tmp_path):
    report = read_while_writing(tmp_path / "collection", readers=2, seconds=3, numbers=300, batch=40, seed=0)
    assert all(report.operations[kind] for kind in KINDS)
    assert all(counts["documents checked"] for counts in report.readers)
    assert sum(counts["compactions seen"] for counts in report.readers) > 0


@pytest.fixture
def written(tmp_path):
    """A collection of documents, what it should hold and a reader that knows it."""
    path = tmp_path / "collection"
    create(path)
    model, rng = Model(50), np.random.default_rng(0)
    with Collection.open(path) as writer:
        for kind in ("add", "add", "upsert", "delete"):
            operation = model.operation(kind, rng, 20)
            operation.run(writer)
            model.apply(operation)
        certain = np.array([model.versions.get(number, 0) for number in range(50)])
        with Collection.open(path, readonly=True) as collection:
            yield writer, model, Reader(collection, certain, certain.copy(), rng)


LOOKS = ["search", "filtered", "in_range", "asymmetric", "by_id", "all", "count"]


@pytest.mark.parametrize("look", LOOKS)
def test_a_reader_is_content_with_the_truth(written, look):
    _, _, reader = written
    for _ in range(10):
        getattr(reader, look)()


@pytest.mark.parametrize("look", ["search", "by_id", "all", "count"])
def test_a_reader_notices_a_lost_document(written, look):
    writer, model, reader = written
    lost = list(model.rows)[:5]
    writer.delete([f"document {number}" for number in lost])
    reader.collection.refresh()
    with pytest.raises(AssertionError):
        for _ in range(30):
            getattr(reader, look)()


@pytest.mark.parametrize("look", LOOKS[:-1])
def test_a_reader_notices_a_stale_document(written, look):
    _, model, reader = written
    for number in model.rows:
        reader.certain[number] += 2
        reader.possible[number] += 2
    reader.refresh()
    with pytest.raises(AssertionError, match=r"not \d+ to \d+|missing"):
        for _ in range(30):
            getattr(reader, look)()
