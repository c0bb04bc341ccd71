from __future__ import annotations

import gzip
import json

import pytest

from llmhash.corpora import Documents, read_corpus
from llmhash.errors import InputError


def test_beir_folder(beir_folder) -> None:
    documents = read_corpus(beir_folder)
    assert documents.ids == ["d1", "d2", "d3"]
    assert documents.texts == ["Moulds Penicillin was found in a mould.", "Rust is iron oxide.", "Empty"]
    assert documents.titles == ["Moulds", "", "Empty"]
    assert documents.bodies == ["Penicillin was found in a mould.", "Rust is iron oxide.", ""]
    assert documents.metadata[0] == {"title": "Moulds", "year": 1928}


def test_shards_are_read_in_order(tmp_path) -> None:
    for shard in range(2):
        with gzip.open(tmp_path / f"corpus-0{shard}.jsonl.gz", "wt") as file:
            file.write(json.dumps({"_id": f"s{shard}", "text": f"shard {shard}"}) + "\n")
    assert read_corpus(tmp_path).ids == ["s0", "s1"]


def test_text_csv_and_parquet(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("first\n\n second line \n")
    assert read_corpus(tmp_path / "a.txt") == Documents(["0", "1"], ["first", "second line"])
    (tmp_path / "a.csv").write_text('id,text,lang\nx,"one, two",en\ny,three,de\n')
    documents = read_corpus(tmp_path / "a.csv")
    assert (documents.ids, documents.texts) == (["x", "y"], ["one, two", "three"])
    assert documents.metadata == [{"lang": "en"}, {"lang": "de"}]
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"text": ["one", "two"], "title": ["A", None]}), tmp_path / "a.parquet")
    assert read_corpus(tmp_path / "a.parquet").texts == ["A one", "two"]


def test_the_embedded_corpus_has_a_name() -> None:
    documents = read_corpus("python-manual")
    assert 1_000 < len(documents) < 2_500
    assert len(set(documents.ids)) == len(documents)
    assert all(len(body) >= 80 for body in documents.bodies)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"_id": "a", "text": "x"}\n{"_id": "b", "text": \n', "line 2: not valid JSON"),
        ('{"_id": "a", "text": "x"}\n\n["b"]\n', "line 3: a JSON object is expected, not list"),
        ('{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n', "line 2: the id 'a' has occurred before"),
        ('{"_id": "a", "text": "x"}\n{"_id": " ", "text": "y"}\n', "line 2: the id is empty"),
        ('{"_id": null, "text": "x"}\n', "line 1: the id is empty"),
        ('{"_id": "a"}\n', "line 1: the field `text` is missing"),
        ('{"_id": "a", "text": 3}\n', "line 1: the field `text` is a int"),
        ('{"_id": "a", "text": "  "}\n', "holds no text"),
        ("", "holds no text"),
    ],
)
def test_a_bad_line_is_named(tmp_path, content: str, message: str) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_corpus(path)


def test_bad_files(tmp_path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_corpus(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match=r"holds no corpus\.jsonl"):
        read_corpus(tmp_path)
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(InputError, match="unknown kind of corpus"):
        read_corpus(tmp_path / "a.pdf")
    (tmp_path / "a.txt").write_bytes(b"fine\n\xff\xfe\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_corpus(tmp_path / "a.txt")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"line\n" * 1000)[:-10])
    with pytest.raises(InputError, match="not a complete gzip"):
        read_corpus(tmp_path / "a.txt.gz")
    (tmp_path / "a.csv").write_text("id,body\n1,x\n")
    with pytest.raises(InputError, match="no column `text`"):
        read_corpus(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("id,text\n1\n")
    with pytest.raises(InputError, match="line 2: the row has not as many fields"):
        read_corpus(tmp_path / "b.csv")


def test_texts_in_memory() -> None:
    assert Documents.from_texts(["a", ""]).ids == ["0", "1"]
    with pytest.raises(InputError, match="a list of strings"):
        Documents.from_texts("one string")
    with pytest.raises(InputError, match="text 1 is a int"):
        Documents.from_texts(["a", 1])
    with pytest.raises(InputError, match="holds no text"):
        Documents.from_texts([])
