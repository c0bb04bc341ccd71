"""`llmhash distill --teacher X` alone: which corpus it takes, and when it says no."""

from __future__ import annotations

import pytest

from llmhash.cli import headline
from llmhash.corpora import read_hub_corpus
from llmhash.errors import InputError


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the package `datasets`: 5,000 articles, streamed."""
    import datasets

    asked = []

    def load_dataset(name, config, *, split, streaming):
        asked.append((name, config, split, streaming))
        return ({"title": f"T{i}", "text": f"article {i}"} for i in range(5_000))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_a_public_corpus_is_sized_by_the_budget(hub, encoder, monkeypatch) -> None:
    monkeypatch.setattr(headline, "hub_in_reach", lambda: True)
    clock = iter([0.0, 1.0])  # 64 documents in one second
    monkeypatch.setattr(headline.time, "perf_counter", lambda: next(clock))
    documents = headline.default_corpus("bge-m3", encoder, "60s")
    assert len(documents) == int(64 * 60 * 0.6)
    assert documents.texts[0] == "T0 article 0"
    assert hub[-1] == (headline.PUBLIC_CORPUS, headline.PUBLIC_CONFIG, "train", True)


def test_offline_the_embedded_corpus_takes_its_place(encoder, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("llmhash.encoders.weights_at_hand", lambda teacher: True)
    assert len(headline.default_corpus("minilm", encoder, "10m")) > 1_000


def test_with_neither_it_names_the_way_out(run, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = run("distill", "--teacher", "bge-m3", "--bits", 64)
    assert result.code == 1
    assert "use --teacher minilm" in " ".join(result.err.split())


def test_an_unknown_teacher_lists_the_nearest(run) -> None:
    result = run("distill", "--teacher", "bge-m4", "--bits", 64)
    assert result.code == 1
    assert "unknown teacher 'bge-m4'" in result.err
    assert "bge-m3" in result.err


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_durations(text: str, seconds: float) -> None:
    assert headline.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "-5m", "0m", "ten minutes"])
def test_no_durations(text: str) -> None:
    with pytest.raises(InputError, match="is no duration"):
        headline.parse_duration(text)


def test_hub_corpora_that_cannot_be_read(monkeypatch) -> None:
    import datasets

    def refuse(*_args, **_options):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(InputError, match=r"cannot be read .*no route"):
        read_hub_corpus("some/set", limit=3)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_a, **_k: iter([{"body": "x"}]))
    with pytest.raises(InputError, match=r"no text field 'text'; it has \['body'\]"):
        read_hub_corpus("some/set", limit=3)
