"""Every format on a small fixture in exactly that format."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from llmhash.corpora.label_sets import KNOWN_SETS, known_set, read_label_source
from llmhash.errors import InputError


def write(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))
    return path


def write_rows(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)


# 20 Newsgroups

MESSAGE = (
    "From: a.writer@somewhere.edu (A Writer)\nSubject: Re: Mars in '93\nNewsgroups: sci.space\n"
    "Organization: Caf\xe9\nLines: 3\n\n> a quote\nThe body.\n\n-- \nA Writer\n"
)


def test_newsgroups_by_date(tmp_path) -> None:
    write(tmp_path / "20news-bydate-train/sci.space/60162", MESSAGE, "latin-1")
    write(tmp_path / "20news-bydate-train/sci.space/.DS_Store", "binary")
    write(tmp_path / "20news-bydate-train/alt.atheism/49960", "Subject: Second\n\nOf the first group.\n")
    write(tmp_path / "20news-bydate-test/alt.atheism/53257", "No header\n\nat all.\n")
    write(tmp_path / "20news-bydate-test/alt.atheism/53258", "From: x\n\n\n")
    source = read_label_source(tmp_path)
    assert source.name == "20newsgroups"
    assert source.splits["train"].texts == [
        "Second\nOf the first group.",
        "Re: Mars in '93\n> a quote\nThe body.\n\n-- \nA Writer",
    ]
    assert source.splits["train"].labels == [("alt.atheism",), ("sci.space",)]
    # The second message has neither a subject nor a body.
    assert source.splits["test"].texts == ["No header\n\nat all."]


def test_newsgroups_together(tmp_path) -> None:
    for group in ("rec.autos", "comp.graphics"):
        write(tmp_path / group / "101", f"From: x\nSubject: on {group}\n\nbody\r\n")
    source = read_label_source(tmp_path)
    assert list(source.splits) == ["all"]
    assert source.splits["all"].texts == ["on comp.graphics\nbody", "on rec.autos\nbody"]


# AG News, DBpedia, Yahoo Answers, NYT


def test_agnews(tmp_path) -> None:
    rows = [
        [
            "3",
            "Wall St. Bears (Reuters)",
            "Reuters - Short-sellers, Wall Street's dwindling\\nband, see green.",
        ],
        ["4", 'A "quoted" title', "one\\\\two"],
        ["1", "World", "news, with a comma"],
        ["2", "Sports", ""],
    ]
    write_rows(tmp_path / "train.csv", rows)
    write_rows(tmp_path / "test.csv", [["Class Index", "Title", "Description"], rows[0]])
    write(tmp_path / "classes.txt", "World\nSports\nBusiness\nSci/Tech\n")
    source = read_label_source(tmp_path)
    assert source.name == "agnews"
    # The backslash is the line break: what follows it is text, an `n` as well.
    assert source.splits["train"].texts == [
        "Wall St. Bears (Reuters) Reuters - Short-sellers, Wall Street's dwindling nband, see green.",
        'A "quoted" title one  two',
        "World news, with a comma",
        "Sports",
    ]
    assert source.splits["train"].labels == [("Business",), ("Sci/Tech",), ("World",), ("Sports",)]
    assert len(source.splits["test"]) == 1


def test_dbpedia_and_yahoo_answers(tmp_path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "y").mkdir()
    dbpedia = [[str(number), f"Title {number}", f" Content\\n{number}."] for number in range(1, 15)]
    yahoo = [[str(number), "why?", "", f"because\\nof {number}"] for number in range(1, 11)]
    for folder, rows in (("d", dbpedia), ("y", yahoo)):
        write_rows(tmp_path / folder / "train.csv", rows)
        write_rows(tmp_path / folder / "test.csv", rows[:2])
    source = read_label_source(tmp_path / "d")
    assert source.name == "dbpedia"
    assert source.splits["train"].texts[13] == "Title 14 Content 14."
    assert source.splits["train"].labels[13] == ("14",)
    source = read_label_source(tmp_path / "y")
    assert source.name == "yahoo_answers"
    assert source.splits["test"].texts == ["why? because of 1", "why? because of 2"]


def test_nyt_as_csv(tmp_path) -> None:
    folder = tmp_path / "articles"
    folder.mkdir()
    for name in ("train", "val", "test"):
        write_rows(folder / f"{name}.csv", [["2", f"an article of {name}"], ["1", "a dance"]])
    write(folder / "meta.txt", "1: dance\n2: gay_rights\n#train: 2 #val: 2 #test: 2 #cat: 2\n")
    source = read_label_source(folder)
    assert list(source.splits) == ["train", "validation", "test"]
    assert source.splits["validation"].texts == ["an article of val", "a dance"]
    assert source.splits["validation"].labels == [("gay_rights",), ("dance",)]
    # Two classes are not the 26 of NYT, so the folder names the set.
    assert source.name == "articles"
    (folder / "meta.txt").write_text("".join(f"{number}: topic {number}\n" for number in range(1, 27)))
    assert read_label_source(folder).name == "nyt"


def test_nyt_as_lines(tmp_path) -> None:
    write(tmp_path / "nyt/dataset.txt", "the first\rarticle\r\nthe second\n\nthe fourth\n")
    write(tmp_path / "nyt/labels.txt", "soccer\nmusic\nmusic\ncosmos\n")
    source = read_label_source(tmp_path / "nyt")
    assert source.name == "nyt"
    assert source.splits["all"].texts == ["the first\rarticle", "the second", "the fourth"]
    assert source.splits["all"].labels == [("soccer",), ("music",), ("cosmos",)]
    write(tmp_path / "nyt/labels.txt", "soccer\n")
    with pytest.raises(InputError, match=r"dataset\.txt has 4 lines and labels\.txt 1"):
        read_label_source(tmp_path / "nyt")


# Reuters-21578


def story(split: str, topics: list[str], text: str, indexed: str = "YES") -> str:
    named = "".join(f"<D>{topic}</D>" for topic in topics)
    return (
        f'<REUTERS TOPICS="{indexed}" LEWISSPLIT="{split}" CGISPLIT="TRAINING-SET" OLDID="5544" NEWID="1">\n'
        f"<DATE>26-FEB-1987 15:01:01.79</DATE>\n<TOPICS>{named}</TOPICS>\n"
        f"<PLACES><D>usa</D></PLACES>\n<PEOPLE></PEOPLE>\n<UNKNOWN> \n&#5;&#5;&#5;F Y\n</UNKNOWN>\n"
        f"{text}\n</REUTERS>\n"
    )


FULL = (
    "<TEXT>&#2;\n<TITLE>STANDARD OIL &lt;SRD> TO\nFORM UNIT</TITLE>\n<AUTHOR> by Janie Gabbett</AUTHOR>\n"
    "<DATELINE>    CLEVELAND, Feb 26 - </DATELINE><BODY>Standard Oil & AT&amp;T said\n"
    "    they \xfc \x7fplan.\n\n Reuter\n&#3;</BODY></TEXT>"
)
UNPROCESSED = '<TEXT TYPE="UNPROC">&#2;\n******EXXON RAISES CRUDE\n\nBlah blah blah.\n&#3;\n\n</TEXT>'
BRIEF = '<TEXT TYPE="BRIEF">&#2;\n******<TITLE>SHELL CUTS CRUDE</TITLE>\nBlah blah blah.\n&#3;</TEXT>'


def test_reuters_sgml(tmp_path) -> None:
    first = story("TRAIN", ["crude", "acq"], FULL) + story("TEST", ["crude"], UNPROCESSED)
    second = (
        story("TRAIN", ["acq"], FULL, indexed="NO")
        + story("NOT-USED", ["crude"], FULL)
        + story("TRAIN", [], FULL)
        + story("TRAIN", ["cocoa"], FULL)  # no test document has it
        + story("TEST", ["acq", "rye"], BRIEF)  # no training document has rye
        + story("TRAIN", ["acq", "cocoa"], "<TEXT>&#2;\n<TITLE>SHORT</TITLE></TEXT>")
    )
    header = '<!DOCTYPE lewis SYSTEM "lewis.dtd">\n'
    write(tmp_path / "reut2-000.sgm", header + first, "latin-1")
    write(tmp_path / "reut2-001.sgm", header + second, "latin-1")
    source = read_label_source(tmp_path)
    assert source.name == "reuters21578"
    assert source.splits["train"].labels == [("crude", "acq"), ("acq",)]
    assert source.splits["train"].texts == [
        "STANDARD OIL <SRD> TO FORM UNIT\nStandard Oil & AT&T said they \xfc plan. Reuter",
        "SHORT",
    ]
    assert source.splits["test"].labels == [("crude",), ("acq",)]
    assert source.splits["test"].texts == [
        "******EXXON RAISES CRUDE Blah blah blah.",
        "SHELL CUTS CRUDE\n****** Blah blah blah.",
    ]


def test_reuters_without_a_common_topic(tmp_path) -> None:
    write(tmp_path / "reut2-000.sgm", story("TRAIN", ["acq"], FULL))
    with pytest.raises(InputError, match="no topic has both training and test stories"):
        read_label_source(tmp_path)


def test_reuters_of_nltk(tmp_path) -> None:
    write(tmp_path / "cats.txt", "test/14826 trade\ntraining/9865 earn trade\ntraining/9880 earn\n")
    write(tmp_path / "test/14826", "ASIAN EXPORTERS\n  Mounting trade\n  friction &lt;X>.\n\n", "latin-1")
    write(tmp_path / "training/9865", "BAHIA\n  Showers \xfc.\n", "latin-1")
    write(tmp_path / "training/9880", "ONLY A TITLE\n")
    source = read_label_source(tmp_path)
    assert source.name == "reuters21578"
    assert source.splits["test"].texts == ["ASIAN EXPORTERS\nMounting trade friction <X>."]
    assert source.splits["train"].labels == [("trade",)]  # earn has no test story
    (tmp_path / "training/9865").unlink()
    with pytest.raises(InputError, match="names training/9865, which the folder does not hold"):
        read_label_source(tmp_path)


# RCV1

QRELS = "C11 2286 1\nCCAT 2286 1\nECAT 2286 1\nGCAT 2287 1\nMCAT 26151 1\nM11 26152 1\nM11 26151 1\n"


def test_rcv1(tmp_path) -> None:
    write(tmp_path / "rcv1-v2.topics.qrels", QRELS)
    write(
        tmp_path / "lyrl2004_tokens_train.dat",
        ".I 2286\n.W\nrecov recov excit\nmexic anxi \n\n.I 2287\n.W\nuruguay\n\n",
    )
    for part, identifier in enumerate((26151, 26152)):
        path = tmp_path / f"lyrl2004_tokens_test_pt{part}.dat.gz"
        path.write_bytes(gzip.compress(f".I {identifier}\n.W\nmarket {part}\n\n".encode()))
    source = read_label_source(tmp_path)
    assert source.name == "rcv1"
    assert source.splits["train"].texts == ["recov recov excit mexic anxi", "uruguay"]
    assert source.splits["train"].labels == [("CCAT", "ECAT"), ("GCAT",)]
    # The other test document has none of the top classes.
    assert (source.splits["test"].texts, source.splits["test"].labels) == (["market 0"], [("MCAT",)])


def test_rcv1_malformed(tmp_path) -> None:
    write(tmp_path / "lyrl2004_tokens_train.dat", "recov\n")
    with pytest.raises(InputError, match=r"holds no rcv1-v2\.topics\.qrels"):
        read_label_source(tmp_path)
    write(tmp_path / "rcv1-v2.topics.qrels", "CCAT 2286\n")
    with pytest.raises(InputError, match="line 1: expected a topic, a document id and 1"):
        read_label_source(tmp_path)
    write(tmp_path / "rcv1-v2.topics.qrels", QRELS)
    with pytest.raises(InputError, match=r"line 1: expected `\.I`"):
        read_label_source(tmp_path)


# TMC


def matrix_row(*columns: int) -> str:
    return ",".join("1" if column in columns else "-1" for column in range(1, 23)) + "\n"


def tmc(folder: Path) -> None:
    write(folder / "TrainingData.txt", "1~CREW ~ LANDED .\n2~ALT DEV.\n3~NOTHING SAID.\n")
    write(folder / "TrainCategoryMatrix.csv", matrix_row(2, 22) + matrix_row(1) + matrix_row())
    write(folder / "TestData.txt", "1~ZZZ TWR.\n")
    write(folder / "TestTruth.csv", matrix_row(2))


def test_tmc(tmp_path) -> None:
    tmc(tmp_path)
    source = read_label_source(tmp_path)
    assert source.name == "tmc"
    assert source.splits["train"].texts == ["CREW ~ LANDED .", "ALT DEV."]
    assert source.splits["train"].labels == [("2", "22"), ("1",)]
    assert source.splits["test"].labels == [("2",)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("TestTruth.csv", matrix_row(1) * 2, r"holds 1 reports and TestTruth\.csv 2 lines"),
        ("TestTruth.csv", "1,2\n", "line 1: expected values of 1 and -1"),
        ("TestData.txt", "no number\n", "line 1: expected a report's number"),
    ],
)
def test_tmc_malformed(tmp_path, name: str, content: str, message: str) -> None:
    tmc(tmp_path)
    write(tmp_path / name, content)
    with pytest.raises(InputError, match=message):
        read_label_source(tmp_path)


# Headerless CSV that is wrong


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,a,b\nx,a,b\n", "line 2: a row must start with the number of its class, not 'x'"),
        ("1,a,b\n2,a\n", "line 2: the row has 2 fields, where 3 are expected"),
        ("1\n2\n", "line 1: the row has 1 fields, where 2 are expected"),
        ("1,a,b\n3,a,b\n", "line 2: class 3 has no name; the file of class names has 2"),
        ('1,a,b\n2,"a"x,b\n', "line 2: not valid CSV"),
    ],
)
def test_class_csv_malformed(tmp_path, content: str, message: str) -> None:
    write(tmp_path / "train.csv", content)
    write(tmp_path / "classes.txt", "one\ntwo\n")
    with pytest.raises(InputError, match=message):
        read_label_source(tmp_path)


# The hub


def fake_hub(monkeypatch, **splits: dict[str, list]) -> list[tuple[str, str | None]]:
    """Stand in for the hub with real `datasets` objects; the calls made are recorded."""
    import datasets

    calls: list[tuple[str, str | None]] = []

    def load_dataset(name: str, config: str | None) -> datasets.DatasetDict:
        calls.append((name, config))
        built = {split: datasets.Dataset.from_dict(columns) for split, columns in splits.items()}
        for split, rows in built.items():
            if "topic" in rows.column_names:
                names = datasets.ClassLabel(names=["Society", "Science"])
                built[split] = rows.cast_column("topic", names)
        return datasets.DatasetDict(built)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def test_a_known_name_is_had_from_the_hub(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    columns = {
        "id": [1, 2, 3],
        "topic": [1, 0, -1],
        "question_title": ["why?", "who?", "withheld"],
        "question_content": ["", "they ask", ""],
        "best_answer": ["so.", None, ""],
    }
    calls = fake_hub(monkeypatch, train=columns, test=columns)
    source = read_label_source("Yahoo-Answers")
    assert calls == [("community-datasets/yahoo_answers_topics", None)]
    assert source.name == "yahoo_answers"
    assert source.splits["test"].texts == ["why? so.", "who? they ask"]
    assert source.splits["test"].labels == [("Science",), ("Society",)]
    # A folder of that name comes first.
    write(tmp_path / "Yahoo-Answers/train.jsonl", '{"text": "local", "label": "x"}\n')
    assert read_label_source("Yahoo-Answers").splits["train"].texts == ["local"]


def test_a_hub_id(monkeypatch) -> None:
    columns = {"title": ["A", "B"], "text": ["one", "two"], "topics": [["earn", "acq"], []]}
    calls = fake_hub(monkeypatch, train=columns, test=columns, unused=columns)
    source = read_label_source("hub:ucirvine/reuters21578:ModApte")
    assert calls == [("ucirvine/reuters21578", "ModApte")]
    assert (source.name, sorted(source.splits)) == ("reuters21578", ["test", "train"])
    assert source.splits["train"].texts == ["A one"]
    assert source.splits["train"].labels == [("earn", "acq")]


def test_a_hub_set_with_training_documents_alone_has_no_split(monkeypatch) -> None:
    fake_hub(monkeypatch, train={"text": ["a"], "label": [0], "label_text": ["zero"]})
    source = read_label_source("hub:me/mine")
    assert (source.name, list(source.splits)) == ("mine", ["all"])
    assert source.splits["all"].labels == [("zero",)]


def test_hub_errors(monkeypatch) -> None:
    import datasets

    def refuse(*_: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(InputError, match=r"'me/mine' cannot be read \(ConnectionError: no route\)"):
        read_label_source("hub:me/mine")
    fake_hub(monkeypatch, train={"body": ["a"], "label": [0]})
    with pytest.raises(InputError, match="no field of text that is known; it has body, label"):
        read_label_source("hub:me/mine")
    fake_hub(monkeypatch, train={"text": ["a"], "stars": [0]})
    with pytest.raises(InputError, match="no field of labels that is known; it has text, stars"):
        read_label_source("hub:me/mine")
    fake_hub(monkeypatch, extra={"text": ["a"], "label": [0]})
    with pytest.raises(InputError, match="none of the splits train, validation, test; it has extra"):
        read_label_source("hub:me/mine")


# Sources


def test_known_names() -> None:
    assert {known_set(name).name for name in ("AG_News", "20 Newsgroups", "Reuters", "DBpedia_14")} == {
        "agnews",
        "20newsgroups",
        "reuters21578",
        "dbpedia",
    }
    assert all(known_set(known.name) is known for known in KNOWN_SETS)
    assert known_set("other") is None


def test_unknown_sources(tmp_path) -> None:
    with pytest.raises(InputError, match=r"agnew is neither a path.* did you mean agnews"):
        read_label_source("agnew")
    with pytest.raises(InputError, match=r"tmc has no copy on the hub; give the folder .*TestTruth\.csv"):
        read_label_source("tmc")
    with pytest.raises(InputError, match=r"expected train\.jsonl"):
        read_label_source(tmp_path)
    (tmp_path / "rcv1").mkdir()
    with pytest.raises(InputError, match=r"is no label set that is known; expected lyrl2004_tokens"):
        read_label_source(tmp_path / "rcv1")
