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
        codes = Codes.pack(np.random.default_rng(0).random((10_000, 20)) < 0.5)
        collection.add(codes, vectors=np.ones((10_000, 4)), texts=["text"] * 10_000)
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
    edit_json(path / "collection.json", format=2)
    with pytest.raises(FormatError, match="newer llmhash"):
        Collection.open(path)


def test_a_newer_database(path):
    with sqlite3.connect(path / "records.sqlite") as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(FormatError, match=r"records\.sqlite was written by a newer llmhash"):
        Collection.open(path)


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
    "statement",
    [
        "UPDATE state SET documents = documents - 1",
        "UPDATE state SET text_bytes = 0",
        "DELETE FROM records WHERE row = 5",
        "DELETE FROM texts WHERE row = 5",
    ],
)
def test_counters_that_do_not_add_up(path, statement):
    with sqlite3.connect(path / "records.sqlite") as connection:
        connection.execute(statement)
    connection.close()
    with Collection.open(path, readonly=True) as collection, pytest.raises(FormatError, match="counts"):
        collection.verify()
