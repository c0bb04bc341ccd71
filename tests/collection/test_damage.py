"""Files that are missing, cut, changed, foreign or newer: each is refused with a sentence."""

import shutil
import sqlite3

import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.collection import Collection
from llmhash.errors import FormatError, InputError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "collection"
    settings = {"bits": 20, "hasher_fingerprint": "abc", "sidecar": "int8", "dim": 4}
    with Collection.create(path, **settings) as collection:
        collection.add(
            Codes.pack(np.random.default_rng(0).random((10_000, 20)) < 0.5),
            vectors=np.ones((10_000, 4)),
            texts=["text"] * 10_000,
            metadata=[{"n": n} for n in range(10_000)],
        )
        collection.declare(["n"])
        collection.delete(["0", "1", "2"])
    return path


@pytest.fixture(scope="module")
def compacted(whole):
    path = shutil.copytree(whole, whole.parent / "compacted")
    with Collection.open(path) as collection:
        collection.compact()
    return path


@pytest.fixture
def path(whole, tmp_path):
    """A copy of the whole collection, to be damaged."""
    return shutil.copytree(whole, tmp_path / "collection")


def flip(file, position):
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["codes-1.bin", "vectors-1.bin"])
def test_a_truncated_file(path, name):
    data = (path / name).read_bytes()
    for length in (len(data) - 1, 70, 10, 0):
        (path / name).write_bytes(data[:length])
        with pytest.raises(FormatError, match=f"{name} is truncated"):
            Collection.open(path)
    (path / name).unlink()
    with pytest.raises(FormatError, match=f"{name} is missing"):
        Collection.open(path)


@pytest.mark.parametrize("name", ["codes-1.bin", "vectors-1.bin"])
@pytest.mark.parametrize("position", [64, 1000, -1])
def test_a_flipped_byte(path, name, position):
    flip(path / name, position)
    message = f"{name} is corrupt: 1 of 2 blocks"
    with Collection.open(path, readonly=True) as collection, pytest.raises(FormatError, match=message):
        collection.verify()


def test_damage_is_not_sealed_by_the_next_add(path, random_codes):
    flip(path / "codes-1.bin", -1)
    with Collection.open(path) as collection:
        collection.add(random_codes(5, 20), vectors=np.ones((5, 4)))
        with pytest.raises(FormatError, match=r"codes-1\.bin is corrupt"):
            collection.verify()


@pytest.mark.parametrize(
    ("position", "message"),
    [(0, "not the file"), (8, "corrupt"), (10, "newer"), (12, "corrupt"), (40, "corrupt")],
)
def test_a_changed_header(path, position, message):
    flip(path / "codes-1.bin", position)
    with pytest.raises(FormatError, match=message):
        Collection.open(path)


def test_a_file_of_another_collection(path, create):
    create(24, name="other").close()
    shutil.copy(path.parent / "other" / "codes-1.bin", path / "codes-1.bin")
    with pytest.raises(FormatError, match="another collection"):
        Collection.open(path)


def test_a_newer_collection(path, edit_json):
    edit_json(path / "collection.json", format=3)
    with pytest.raises(FormatError, match="newer llmhash"):
        Collection.open(path)


def test_a_collection_of_the_first_format(path, edit_json):
    edit_json(path / "collection.json", format=1)
    with pytest.raises(FormatError, match="development version of llmhash; create the collection again"):
        Collection.open(path)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (3, "was written by a newer llmhash; upgrade"),
        (1, "was written by a development version of llmhash; create the collection again"),
        (0, "is not a collection's database"),
    ],
)
def test_a_database_of_another_format(path, version, message):
    with sqlite3.connect(path / "records.sqlite") as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(FormatError, match=rf"records\.sqlite {message}"):
        Collection.open(path)


def test_a_changed_manifest(path, edit_json):
    whole = (path / "collection.json").read_text()
    for change in ({"bits": 21}, {"hasher": "abd"}, {"checksum": "00000000"}, {"more": 1}):
        edit_json(path / "collection.json", **change)
        with pytest.raises(FormatError, match=r"collection\.json is corrupt: it does not match its checksum"):
            Collection.open(path)
        (path / "collection.json").write_text(whole)
    with Collection.open(path, readonly=True) as collection:
        edit_json(path / "collection.json", bits=21)
        with pytest.raises(FormatError, match=r"collection\.json is corrupt"):
            collection.verify()


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"format": 1}', '{"format": 1, "bits": 0, "hasher": "a"}']
)
def test_a_broken_manifest(path, text):
    (path / "collection.json").write_text(text)
    with pytest.raises(FormatError, match=r"collection\.json"):
        Collection.open(path)


def test_a_folder_that_is_no_collection(tmp_path):
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="is not a collection"):
            Collection.open(place)


def test_a_broken_database(path):
    database = path / "records.sqlite"
    whole = database.read_bytes()
    for content in (b"", b"not a database, but long enough for a header" * 100):
        database.write_bytes(content)
        with pytest.raises(FormatError, match=r"records\.sqlite"):
            Collection.open(path)
    database.write_bytes(whole[: len(whole) // 2])
    with (
        pytest.raises(FormatError, match=r"records\.sqlite"),
        Collection.open(path, readonly=True) as collection,
    ):
        collection.verify()
    database.unlink()
    with pytest.raises(FormatError, match="is missing"):
        Collection.open(path)
    assert not database.exists()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE state SET documents = documents - 1", "it counts 9996 documents in 10000 rows"),
        ("UPDATE state SET text_bytes = 0", "0 bytes of text"),
        ("UPDATE state SET next_row = next_row + 1", "before row 10001, but holds .* before row 10000"),
        ("UPDATE state SET checksum = checksum + 1", "do not match their checksum"),
        ("DELETE FROM state", "its counters are missing"),
        ("DELETE FROM documents WHERE row = 5", "metadata of no document"),
        ("DELETE FROM records WHERE row = 5", "do not match their checksum"),
        ("UPDATE documents SET text = 'Text' WHERE row = 5", "do not match their checksum"),
        ("UPDATE documents SET text = NULL WHERE row = 5", "it counts .* bytes of text"),
        ("UPDATE documents SET id = 'five' WHERE row = 5", "do not match their checksum"),
        ("UPDATE documents SET row = 10000 WHERE row = 5", "a row that the files do not hold"),
        ("UPDATE records SET metadata = '{\"n\":6}' WHERE row = 5", "do not match their checksum"),
        ("INSERT INTO records VALUES (10001, '{}')", "metadata of no document"),
        ("INSERT INTO deleted (row) VALUES (5)", "1 rows are deleted that should not be"),
        ("UPDATE deleted SET row = 0 WHERE seq = 2", "1 rows are deleted that should not be"),
        ("UPDATE deleted SET row = 10001 WHERE seq = 2", "the files never held"),
        ("INSERT INTO fields (name) VALUES ('year')", "declared fields are not the indexed ones"),
        ("DELETE FROM fields", "declared fields are not the indexed ones"),
    ],
)
def test_a_database_that_does_not_add_up(path, statement, message):
    with sqlite3.connect(path / "records.sqlite") as connection:
        connection.execute(statement)
    connection.close()
    with (
        pytest.raises(FormatError, match=rf"records\.sqlite is corrupt \(.*{message}"),
        Collection.open(path, readonly=True) as collection,
    ):
        collection.verify()


def contents(collection):
    rows = collection.rows()
    filtered = collection.rows({"n": {"<": 50}}).tolist(), collection.count({"not": {"n": {">=": 7}}})
    arrays = collection.codes_at(rows).tobytes(), collection.vectors(rows).tobytes()
    return list(collection.iterate()), arrays, filtered


@pytest.mark.parametrize("form", ["whole", "compacted"])
def test_one_flipped_byte_is_found_or_harms_nothing(form, request, tmp_path):
    """It harms nothing where it hits what nobody reads, such as the free space of a page."""
    path = shutil.copytree(request.getfixturevalue(form), tmp_path / "collection")
    files = {file: file.read_bytes() for file in path.iterdir() if file.stat().st_size}
    with Collection.open(path, readonly=True) as collection:
        expected = contents(collection)
    rng = np.random.default_rng(0)
    found = 0
    for file, data in files.items():
        for position in rng.choice(len(data), size=6, replace=False):
            flip(file, position)
            try:
                with Collection.open(path, readonly=True) as collection:
                    collection.verify()
                    assert contents(collection) == expected
            except FormatError as error:
                assert file.name in str(error)
                found += 1
            for log in ("records.sqlite-wal", "records.sqlite-shm"):
                (path / log).unlink(missing_ok=True)
            file.write_bytes(data)
    assert found > 4 * len(files)


def test_damaged_codes_harm_nothing_else(path, random_codes):
    rows = np.arange(5, 10_000)
    with Collection.open(path, readonly=True) as collection:
        documents, codes = list(collection.iterate()), collection.codes_at(rows)
    flip(path / "codes-1.bin", 64 + 3 * 9000 + 1)
    with Collection.open(path) as collection:
        assert list(collection.iterate()) == documents
        assert np.sum((collection.codes_at(rows) != codes).any(axis=1)) == 1
        collection.add(random_codes(5, 20), ids=list("abcde"), vectors=np.ones((5, 4)))
        assert collection.delete(["a", "3"]) == 2
        assert len(collection) == 10_000
        # A copy or a new generation would seal the damage with a new checksum.
        for step in (collection.compact, lambda: collection.backup(path.parent / "copy"), collection.verify):
            with pytest.raises(FormatError, match=r"codes-1\.bin is corrupt: 1 of 2 blocks"):
                step()
        assert not (path.parent / "copy").exists()
        assert [file.name for file in path.glob("codes-*")] == ["codes-1.bin"]
        assert (collection.search(random_codes(1, 20), 10_000)[1] >= 0).all()


@pytest.mark.parametrize("name", ["rows-2.bin", "codes-2.bin", "vectors-2.bin"])
def test_damage_after_a_compaction(compacted, tmp_path, name):
    path = shutil.copytree(compacted, tmp_path / "collection")
    flip(path / name, -1)
    with pytest.raises(FormatError, match=name), Collection.open(path, readonly=True) as collection:
        collection.verify()
    (path / name).unlink()
    with pytest.raises(FormatError, match=f"{name} is missing"):
        Collection.open(path)


def test_metadata_that_are_no_json(path):
    with sqlite3.connect(path / "records.sqlite") as connection:
        query = "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'records'"
        connection.execute(f"DROP INDEX {connection.execute(query).fetchone()[0]}")
        connection.execute("UPDATE records SET metadata = '{' WHERE row = 5")
    connection.close()
    with Collection.open(path, readonly=True) as collection:
        for read in (lambda: collection.get(["5"]), lambda: collection.count({"n": 5})):
            with pytest.raises(FormatError, match=r"records\.sqlite is corrupt"):
                read()
