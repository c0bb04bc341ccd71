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


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "港口那一夜十分安静。黎明时分来了一艘船，载着盐和谷物！没有人看见它离开。“真奇怪。”他说道。",
            "黎明时分来了一艘船，载着盐和谷物！",
        ),
        (
            "その夜、港は静かだった。夜明けに塩と穀物を積んだ船が入ってきた。誰も見ていなかった。",
            "夜明けに塩と穀物を積んだ船が入ってきた。",
        ),
        (
            "คืนนั้นท่าเรือเงียบสงบ เรือลำหนึ่งเข้ามาตอนรุ่งสางพร้อมเกลือและธัญพืช ไม่มีใครเห็นมันจากไป",
            None,
        ),
    ],
)
def test_scripts_without_spaces_are_cut_too(text: str, sentence: str | None) -> None:
    queries, sources = cut_pseudo_queries([text] * 10, None, count=60, seed=0)
    assert len(queries) == len(sources) == 60
    assert all(query in text for query in queries)
    spans = {query for query in queries if len(query) < len(text) / 2}
    assert len(spans) > 30
    assert min(map(len, spans)) <= 6
    if sentence is not None:
        assert sentence in queries


def test_words_of_other_scripts_within_a_text_are_words_between_spaces() -> None:
    queries, _ = cut_pseudo_queries(
        ["The name 元朝元朝元朝 means great beginning here"], None, count=40, seed=0
    )
    words = {word for query in queries for word in query.split()}
    assert "元朝元朝元朝" in words
    assert not words & {"元朝", "元朝元朝"}


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
