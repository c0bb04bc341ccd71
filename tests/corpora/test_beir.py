from __future__ import annotations

import pytest

from llmhash.corpora import read_retrieval_set, read_training_queries, read_training_split
from llmhash.errors import InputError


def test_a_split_holds_the_queries_that_its_judgements_name(beir_folder) -> None:
    data = read_retrieval_set(beir_folder, "test")
    assert (data.name, data.split) == ("tiny", "test")
    assert (data.query_ids, data.queries) == (["q1"], ["who found penicillin"])
    assert data.qrels == {"q1": {"d1": 2, "d2": 0}}
    assert read_retrieval_set(beir_folder, "train").query_ids == ["q2", "q3"]


def test_missing_judgements(beir_folder) -> None:
    with pytest.raises(InputError, match=r"no judgements qrels/dev\.tsv; it has test, train"):
        read_retrieval_set(beir_folder, "dev")
    for path in (beir_folder / "qrels").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="no qrels"):
        read_retrieval_set(beir_folder)
    with pytest.raises(InputError, match="not a folder in the BEIR layout"):
        read_retrieval_set(beir_folder / "corpus.jsonl")


def test_malformed_judgements_are_named_by_line(beir_folder) -> None:
    path = beir_folder / "qrels" / "test.tsv"
    path.write_text("query-id\tcorpus-id\tscore\nq1\td1\tmuch\n")
    with pytest.raises(InputError, match="line 2: expected query id"):
        read_retrieval_set(beir_folder)
    path.write_text("query-id\tcorpus-id\tscore\nq1\tnowhere\t1\n")
    with pytest.raises(InputError, match="judges no document"):
        read_retrieval_set(beir_folder)


def test_held_out_queries_are_refused_for_training(beir_folder, tmp_path) -> None:
    with pytest.raises(InputError, match=r"a query of .*qrels/test\.tsv for training"):
        read_training_queries(beir_folder / "queries.jsonl")
    elsewhere = tmp_path / "mine.txt"
    elsewhere.write_text("something else\nwho found penicillin\n")
    assert len(read_training_queries(elsewhere)) == 2
    with pytest.raises(InputError, match="'who found penicillin'"):
        read_training_queries(elsewhere, beir_folder)
    with pytest.raises(InputError, match="are for measuring"):
        read_training_split(beir_folder, "test")


def test_training_queries_are_read(beir_folder, tmp_path) -> None:
    assert read_training_split(beir_folder, "train") == ["what is rust", "moulds"]
    mine = tmp_path / "mine.txt"
    mine.write_text("a question of mine\n")
    assert read_training_queries(mine, beir_folder) == ["a question of mine"]


def test_a_training_split_never_hands_out_a_test_query(beir_folder) -> None:
    with (beir_folder / "qrels" / "train.tsv").open("a") as file:
        file.write("q1\td1\t1\n")
    assert "who found penicillin" not in read_training_split(beir_folder, "train")
