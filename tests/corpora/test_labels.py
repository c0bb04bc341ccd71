"""A user's own files, the two protocols, and what a label set can tell."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from llmhash.corpora.labels import Labelled, LabelSet, overlap, read_label_set
from llmhash.errors import InputError


def write_jsonl(path: Path, records: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def records(count: int, prefix: str = "text", classes: int = 3) -> list[dict]:
    return [{"text": f"{prefix} {i}", "labels": [f"c{i % classes}"]} for i in range(count)]


def shared_layout(folder: Path, **sizes: int) -> Path:
    for split, count in sizes.items():
        write_jsonl(folder / f"{split}.jsonl.gz", records(count, split))
    return folder


# Protocols


def test_the_sets_own_split(tmp_path) -> None:
    folder = shared_layout(tmp_path / "mine", train=20, validation=4, test=6)
    data = read_label_set(folder, seed=3)
    assert (data.name, data.protocol) == ("mine", "official")
    assert data.train.texts == [f"train {i}" for i in range(20)]
    assert data.validation.texts == [f"validation {i}" for i in range(4)]
    assert data.test.labels == [(f"c{i % 3}",) for i in range(6)]


def test_a_missing_validation_part_is_a_tenth_of_the_training_documents(tmp_path) -> None:
    folder = shared_layout(tmp_path, train=25, test=6)
    data, again, other = (read_label_set(folder, seed=seed) for seed in (0, 0, 1))
    assert (len(data.train), len(data.validation), len(data.test)) == (23, 2, 6)
    assert sorted(data.train.texts + data.validation.texts) == sorted(f"train {i}" for i in range(25))
    assert data == again
    assert data.validation != other.validation
    # Texts keep their labels and their order.
    number = [int(text.split()[1]) for text in data.train.texts]
    assert number == sorted(number)
    assert data.train.labels == [(f"c{i % 3}",) for i in number]


def test_the_surveys_protocol_pools_and_divides(tmp_path) -> None:
    folder = shared_layout(tmp_path, train=60, validation=20, test=23)
    data, again, other = (read_label_set(folder, protocol="survey", seed=seed) for seed in (0, 0, 1))
    assert data.protocol == "survey"
    assert [len(part) for part in (data.train, data.validation, data.test)] == [83, 10, 10]
    pool = [
        f"{split} {i}" for split, n in (("train", 60), ("validation", 20), ("test", 23)) for i in range(n)
    ]
    divided = data.train.texts + data.validation.texts + data.test.texts
    assert divided != pool
    assert sorted(divided) == sorted(pool)
    assert {text.split()[0] for text in data.test.texts} == {"train", "validation", "test"}
    for part in (data.train, data.validation, data.test):
        assert part.labels == [(f"c{int(text.split()[1]) % 3}",) for text in part.texts]
    assert data == again
    assert data.test != other.test


def test_the_survey_keeps_the_20_largest_topics_of_reuters(tmp_path) -> None:
    # Topic k has 30 - k documents; each document of a small topic also has a larger one or nothing else.
    rows = [
        {"text": f"{k} {i}", "labels": [f"t{k:02}", *(["t00"] if k >= 20 and i % 2 else [])]}
        for k in range(25)
        for i in range(30 - k)
    ]
    for name, kept in (("reuters21578", 20), ("others", 25)):
        write_jsonl(tmp_path / name / "train.jsonl", rows[:200])
        write_jsonl(tmp_path / name / "test.jsonl", rows[200:])
        data = read_label_set(tmp_path / name, protocol="survey")
        assert data.classes == [f"t{k:02}" for k in range(kept)]
        documents = Counter(
            {
                text: names
                for part in (data.train, data.validation, data.test)
                for text, names in zip(part.texts, part.labels, strict=True)
            }
        )
        dropped = [row["text"] for row in rows if kept == 20 and row["labels"][-1] >= "t20"]
        assert len(documents) == len(rows) - len(dropped)
        assert not set(dropped) & set(documents)
    assert len(read_label_set(tmp_path / "reuters21578").classes) == 25


def test_a_source_without_a_split_is_divided_as_the_survey_does(tmp_path) -> None:
    path = write_jsonl(tmp_path / "notes.jsonl", records(31))
    data = read_label_set(path, seed=5)
    assert (data.name, data.protocol) == ("notes", "survey")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [25, 3, 3]
    assert data == read_label_set(path, protocol="survey", seed=5)


def test_bad_splits(tmp_path) -> None:
    with pytest.raises(InputError, match="unknown protocol 'surveys'; did you mean survey"):
        read_label_set(tmp_path, protocol="surveys")
    shared_layout(tmp_path / "a", train=20, validation=4)
    with pytest.raises(InputError, match=r"a has no test documents \(it has train, validation\)"):
        read_label_set(tmp_path / "a")
    assert len(read_label_set(tmp_path / "a", protocol="survey").test) == 2
    shared_layout(tmp_path / "b", test=20)
    with pytest.raises(InputError, match="b has no train documents"):
        read_label_set(tmp_path / "b")
    shared_layout(tmp_path / "c", train=1, test=20)
    with pytest.raises(InputError, match="too few training documents"):
        read_label_set(tmp_path / "c")
    with pytest.raises(InputError, match="two has 2 documents, too few for three parts"):
        read_label_set(write_jsonl(tmp_path / "two.jsonl", records(2)))


def test_classes_of_one_document_are_allowed_and_one_class_is_not(tmp_path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [*records(10), {"text": "alone", "label": "rare"}])
    assert "rare" in read_label_set(path).classes
    write_jsonl(path, records(10, classes=1))
    with pytest.raises(InputError, match=r"one class only \('c0'\)"):
        read_label_set(path)


# Training, validation and test documents, classes, and test texts that occur in training too.
PUBLISHED = {
    "20newsgroups": (10_183, 1_131, 7_532, 20, 2),
    "reuters21578": (6_993, 777, 3_019, 90, 6),
    "search_snippets": (9_872, 1_234, 1_234, 8, 33),
    "bbc_news": (1_780, 222, 223, 5, 9),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_set_is_read_whole(name: str) -> None:
    folder = Path(os.environ.get("LLMHASH_DATA", "")) / name
    if "LLMHASH_DATA" not in os.environ or not folder.is_dir():
        pytest.skip(f"LLMHASH_DATA names no folder with {name}")
    data = read_label_set(folder)
    sizes = (len(data.train), len(data.validation), len(data.test), len(data.classes), overlap(data))
    assert sizes == PUBLISHED[name]


# What a label set tells


def label_set() -> LabelSet:
    train = Labelled(["a", "b ", "c", "d"], [("x",), ("y", "x"), ("x",), ("z",)])
    return LabelSet(
        "tiny", train, Labelled(["e"], [("w",)]), Labelled(["b", "b", "f"], [("y",)] * 3), "official"
    )


def test_matrix() -> None:
    data = label_set()
    assert data.classes == ["w", "x", "y", "z"]
    expected = [[0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    assert data.matrix(data.train).dtype == np.bool_
    np.testing.assert_array_equal(data.matrix(data.train), np.array(expected, dtype=bool))
    assert data.matrix(Labelled([], [])).shape == (0, 4)
    with pytest.raises(InputError, match="tiny has no label 'xx'; did you mean x"):
        data.matrix(Labelled(["a"], [("xx",)]))


def test_documents_and_overlap() -> None:
    data = label_set()
    assert data.documents(data.test).ids == ["0", "1", "2"]
    assert data.documents(data.test).texts == ["b", "b", "f"]
    assert overlap(data) == 2
    assert len(data.train) == 4


# A user's files


def test_a_split_column(tmp_path) -> None:
    splits = ["train"] * 11 + ["Test"] * 3 + ["dev"] * 2
    rows = "".join(f"text {i},c{i % 2},{split}\n" for i, split in enumerate(splits))
    (tmp_path / "a.csv").write_text("text,label,split\n" + rows)
    data = read_label_set(tmp_path / "a.csv")
    assert data.protocol == "official"
    assert data.test.texts == ["text 11", "text 12", "text 13"]
    assert data.validation.texts == ["text 14", "text 15"]
    (tmp_path / "b.csv").write_text("text,label,split\n" + rows.replace("dev", "train"))
    assert [
        len(part) for part in (lambda d: (d.train, d.validation, d.test))(read_label_set(tmp_path / "b.csv"))
    ] == [
        12,
        1,
        3,
    ]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv"])
def test_delimited_files(tmp_path, suffix: str) -> None:
    separator = "\t" if suffix == ".tsv" else ","
    rows = [["id", "title", "text", "labels"], ["7", "A", '"one, two\nthree"', "x|y; z"]]
    rows += [["8", "", "four", '"[""a|b"", 3]"'], ["9", "", "five", " x "]]
    content = "\ufeff" + "".join(separator.join(row) + "\r\n" for row in rows)
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(gzip.compress(content.encode()) if suffix.endswith("gz") else content.encode())
    data = read_label_set(path)
    assert data.name == "mine"
    found = {
        text: names
        for part in (data.train, data.validation, data.test)
        for text, names in zip(part.texts, part.labels, strict=True)
    }
    assert found == {"A one, two\nthree": ("x", "y", "z"), "four": ("a|b", "3"), "five": ("x",)}


def test_a_long_document_in_csv(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"{'word ' * 40_000},c{i}\n" for i in range(3)))
    assert len(read_label_set(tmp_path / "a.csv").train.texts[0]) == 199_999


def test_parquet(tmp_path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    table = {"text": ["one", "two", "three"], "labels": [["a", "b"], ["a"], ["c", "c"]], "other": [1, 2, 3]}
    parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    assert read_label_set(tmp_path / "a.parquet").classes == ["a", "b", "c"]
    parquet.write_table(pa.table({"text": ["one"], "label": [None]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="row 1: the field `label` must be a string"):
        read_label_set(tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match=r"c\.parquet is not a readable Parquet file"):
        read_label_set(tmp_path / "c.parquet")


def test_a_folder_with_a_csv_a_split(tmp_path) -> None:
    for name in ("train", "dev", "test"):
        rows = "".join(f"{i},{name} {i},c{i % 2}\n" for i in range(4))
        (tmp_path / f"{name}.csv").write_text("id,text,label\n" + rows)
    data = read_label_set(tmp_path)
    assert data.validation.texts == [f"dev {i}" for i in range(4)]
    assert data.classes == ["c0", "c1"]
    (tmp_path / "dev.csv").write_text("text,label,split\nx,c0,test\n")
    with pytest.raises(InputError, match=r"dev\.csv: its column `split` names test; remove the column"):
        read_label_set(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"label": "x"}\n', "line 1: the fields `text` and `title` must be strings"),
        ('{"text": 3, "label": "x"}\n', "line 1: the fields `text` and `title` must be strings"),
        ('{"text": "a", "label": "x"}\n{"text": " ", "label": "x"}\n', "line 2: the text is empty"),
        ('{"text": "a", "tag": "x"}\n', "the field `label` or `labels` is missing; it has text, tag"),
        ('{"text": "a", "labels": []}\n', "line 1: the document has no label"),
        ('{"text": "a", "label": ""}\n', "line 1: the document has no label"),
        ('{"text": "a", "label": null}\n', "line 1: the field `label` must be a string, a number or a list"),
        ('{"text": "a", "label": NaN}\n', "line 1: the field `label` must be a string, a number or a list"),
        ('{"text": "a", "labels": [["x"]]}\n', "line 1: the field `labels` must be a string"),
        ('{"text": "a", "label": "x", "split": "tset"}\n', "unknown split 'tset'; did you mean test"),
        ('{"text": "a", "label": "x", "split": "test"}\n{"text": "b", "label": "x"}\n', "give it to all"),
        ("", "holds no documents"),
    ],
)
def test_a_bad_record_is_named(tmp_path, content: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(InputError, match=message):
        read_label_set(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("body,label\nx,y\n", "has no column `text`; its columns are body, label"),
        ("text,tag\nx,y\n", "has no column `label` or `labels`; its columns are text, tag"),
        ("", "has no column `text`; its columns are none"),
        ("text,label\nx\n", "line 2: the row has 1 fields and the header 2"),
        ('text,label\n"x,y\n', "line 2: not valid CSV"),
        ('text,labels\nx,"[1"\n', "line 2: the column `labels` is no valid JSON list"),
    ],
)
def test_a_bad_csv(tmp_path, content: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_label_set(tmp_path / "a.csv")


def test_bad_files(tmp_path) -> None:
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(InputError, match=r"unknown kind of label set; give a folder or a \.jsonl"):
        read_label_set(tmp_path / "a.pdf")
    (tmp_path / "a.csv").write_bytes(b"text,label\n\xff\xfe,x\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_label_set(tmp_path / "a.csv")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text,label\nx,y\n" * 1000)[:-10])
    with pytest.raises(InputError, match="not a complete gzip"):
        read_label_set(tmp_path / "a.csv.gz")
    # A folder of tables with other columns says which it lacks.
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "train.csv").write_text("sentence,label\nx,y\n")
    with pytest.raises(InputError, match="has no column `text`; its columns are sentence, label"):
        read_label_set(tmp_path / "folder")
