"""BEIR-layout retrieval sets: `corpus.jsonl[.gz]`, `queries.jsonl[.gz]`, `qrels/<split>.tsv`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llmhash.corpora.documents import Documents
from llmhash.corpora.read import ID_FIELDS, read_corpus, read_jsonl
from llmhash.errors import InputError

#: query id -> document id -> grade; a grade of 0 is "judged, not relevant".
Qrels = dict[str, dict[str, int]]

# Splits whose queries measure; nothing may be trained on them.
_HELD_OUT = ("test", "dev", "validation")


@dataclass(frozen=True)
class RetrievalSet:
    """A corpus with one split's queries and judgements.

    Attributes:
        name: The folder's name.
        split: "test", "dev" or "train".
        documents: The corpus.
        query_ids: Ids of the queries that the split's judgements name.
        queries: Their texts.
        qrels: Judgements of those queries.
        query_rows: Where those queries stand in the folder's queries file, from 0.
        queries_in_file: Queries of that file, all splits together.
    """

    name: str
    split: str
    documents: Documents
    query_ids: list[str]
    queries: list[str]
    qrels: Qrels
    query_rows: list[int]
    queries_in_file: int


def read_retrieval_set(folder: str | Path, split: str = "test") -> RetrievalSet:
    """Read a BEIR folder and one of its splits.

    Raises:
        InputError: The folder, its corpus, queries or judgements are missing or malformed, or the split's
            judgements name no query or no document of the folder.
    """
    source = Path(folder)
    if not source.is_dir():
        raise InputError(
            f"{source} is not a folder in the BEIR layout (corpus.jsonl, queries.jsonl, qrels/)."
        )
    qrels = read_qrels(source, split)
    documents = read_corpus(source)
    texts = read_queries(_queries_file(source))
    query_ids = [query for query in qrels if query in texts]
    rows = {query: row for row, query in enumerate(texts)}
    known = set(documents.ids)
    if not any(document in known for query in query_ids for document in qrels[query]):
        raise InputError(f"{source}/qrels/{split}.tsv judges no document and query that the folder holds.")
    return RetrievalSet(
        source.resolve().name,
        split,
        documents,
        query_ids,
        [texts[query] for query in query_ids],
        {query: qrels[query] for query in query_ids},
        [rows[query] for query in query_ids],
        len(texts),
    )


def read_qrels(folder: Path, split: str) -> Qrels:
    """Judgements of `folder/qrels/<split>.tsv` (tab-separated, header `query-id corpus-id score`)."""
    path = folder / "qrels" / f"{split}.tsv"
    if not path.exists():
        splits = _splits(folder)
        there = f"it has {', '.join(splits)}" if splits else "it has no qrels/*.tsv at all"
        raise InputError(f"{folder} has no judgements qrels/{split}.tsv; {there}.")
    qrels: Qrels = {}
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
            if not row or (number == 1 and row[0] == "query-id"):
                continue
            try:
                query, document, grade = row
                qrels.setdefault(query, {})[document] = int(grade)
            except ValueError:
                raise InputError(
                    f"{path}, line {number}: expected query id, document id and whole-number grade, by tabs."
                ) from None
    return qrels


def read_queries(path: Path) -> dict[str, str]:
    """Query texts by id, from a `.jsonl[.gz]` file with `_id` (or `id`) and `text`."""
    queries: dict[str, str] = {}
    for place, record in read_jsonl(path):
        identifier = next((str(record[field]) for field in ID_FIELDS if field in record), "")
        text = record.get("text")
        if not identifier or not isinstance(text, str):
            raise InputError(f"{place}: a query needs an `_id` and a `text`.")
        queries[identifier] = text
    return queries


def read_training_queries(path: str | Path, corpus: str | Path | None = None) -> list[str]:
    """Real queries to train on, from a `.jsonl[.gz]` file (`text`) or a `.txt[.gz]` file (one a line).

    Args:
        path: The file.
        corpus: The corpus trained on, whose own held-out queries are refused too.

    Raises:
        InputError: A query belongs to a dev or test split of the file's folder or of the corpus: training on
            it would make every later measurement worthless.
    """
    source = Path(path)
    offered = read_corpus(source)
    for folder in {source.parent, Path(corpus) if corpus else source.parent}:
        held_out = _held_out_queries(folder)
        clash = next((text for text in offered.texts if text in held_out), None)
        if clash is not None:
            raise InputError(
                f"{source} offers a query of {folder}/qrels/{held_out[clash]}.tsv for training "
                f"({clash[:60]!r}); name training queries only, for instance with --query-split train."
            )
    return offered.texts


def read_training_split(folder: str | Path, split: str) -> list[str]:
    """Texts of the queries of a split that may be trained on.

    Raises:
        InputError: The split is held out for measuring (test, dev, validation), or is missing.
    """
    if split in _HELD_OUT:
        raise InputError(f"the queries of split {split!r} are for measuring; train on --query-split train.")
    source = Path(folder)
    texts = read_queries(_queries_file(source))
    held_out = _held_out_queries(source)
    return [
        texts[query] for query in read_qrels(source, split) if query in texts and texts[query] not in held_out
    ]


def _held_out_queries(folder: Path) -> dict[str, str]:
    """Texts of the folder's dev and test queries, each with its split; empty where it is no BEIR folder."""
    splits = [split for split in _splits(folder) if split in _HELD_OUT]
    if not splits:
        return {}
    texts = read_queries(_queries_file(folder))
    named: Iterable[tuple[str, str]] = ((q, split) for split in splits for q in read_qrels(folder, split))
    return {texts[query].strip(): split for query, split in named if query in texts}


def _splits(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("qrels/*.tsv")) if folder.is_dir() else []


def _queries_file(folder: Path) -> Path:
    for name in ("queries.jsonl", "queries.jsonl.gz"):
        if (folder / name).exists():
            return folder / name
    raise InputError(f"{folder} holds no queries.jsonl[.gz].")
