from __future__ import annotations

import pytest

from llmhash.corpora.pseudo_queries import cut_pseudo_queries
from llmhash.errors import InputError

TEXTS = [
    "The harbour lay quiet that night. A ship came in at dawn with salt and grain. Nobody saw it go.",
    "Bread needs flour, water, salt and time. Yeast is optional if the dough is left alone for a day or two.",
    "short",
    "",
]
TITLES = ["The harbour", "On bread", "", "Nothing"]


def test_pieces_come_from_the_document_they_name() -> None:
    queries, sources = cut_pseudo_queries(TEXTS, TITLES, count=60, seed=0)
    assert len(queries) == len(sources) <= 60
    assert len(queries) > 40
    for query, source in zip(queries, sources, strict=True):
        assert query
        assert query in " ".join(f"{TITLES[source]} {TEXTS[source]}".split())


def test_all_kinds_are_cut() -> None:
    queries, _ = cut_pseudo_queries(TEXTS, TITLES, count=60, seed=0)
    assert set(TITLES) - {""} <= set(queries)
    assert "A ship came in at dawn with salt and grain." in queries
    lengths = {len(query.split()) for query in queries if query not in TITLES}
    assert lengths & {2, 3, 4, 5}
    assert any(length > 5 for length in lengths)


def test_spans_are_enough_alone() -> None:
    queries, _ = cut_pseudo_queries(
        ["one two three four five six seven eight nine ten"] * 5, None, count=20, seed=0
    )
    assert len(queries) == 20


def test_the_seed_decides() -> None:
    first = cut_pseudo_queries(TEXTS, TITLES, count=30, seed=1)
    again = cut_pseudo_queries(TEXTS, TITLES, count=30, seed=1)
    other = cut_pseudo_queries(TEXTS, TITLES, count=30, seed=2)
    assert first[0] == again[0]
    assert first[1].tolist() == again[1].tolist()
    assert first[0] != other[0]


def test_nothing_to_cut() -> None:
    assert cut_pseudo_queries(["", " "], None, count=5, seed=0)[0] == []
    assert cut_pseudo_queries(TEXTS, TITLES, count=0, seed=0)[0] == []
    with pytest.raises(InputError, match="at least 0"):
        cut_pseudo_queries(TEXTS, None, count=-1, seed=0)
    with pytest.raises(InputError, match="1 titles for 4 documents"):
        cut_pseudo_queries(TEXTS, ["a"], count=1, seed=0)
