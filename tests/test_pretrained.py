"""The hashers that llmhash ships, and nested hashers."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from llmhash import Hasher
from llmhash.encoders import TEACHERS
from llmhash.errors import FormatError, InputError
from llmhash.hasher_files import fetch_hasher, pretrained_folder, pretrained_names, read_config, write_hasher
from llmhash.recipes import load_recipe


@pytest.fixture
def nested():
    """A hasher of 24 bits, trained nested for 8 and 16."""
    vectors = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    recipe = load_recipe("distill-nested", bits=24, options={"nested": [8, 16], "steps": 5})
    return Hasher.from_recipe(recipe, vectors), vectors


def test_they_are_package_data_of_under_a_megabyte() -> None:
    folder = resources.files("llmhash") / "pretrained"
    assert [entry.name for entry in folder.iterdir()] == pretrained_names() == ["minilm"]
    files = {file.name: file.read_bytes() for file in (folder / "minilm").iterdir()}
    assert set(files) == {"hasher.json", "head.safetensors", "README.md"}
    assert sum(map(len, files.values())) < 1_000_000
    # The wheel takes all of the package; nothing is held back.
    project = Path(__file__).parent.parent / "pyproject.toml"
    wheel = tomllib.loads(project.read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["llmhash"]
    assert "exclude" not in wheel


def test_minilm_is_for_the_teacher_of_that_alias_however_its_files_are_had() -> None:
    config = read_config(pretrained_folder("minilm"))
    assert config["encoder"]["name"] == "minilm"
    assert config["encoder"]["model"] == TEACHERS["minilm"].model
    assert (config["dim"], config["encoder"]["backend"]) == (TEACHERS["minilm"].dim, "torch")
    # No path of the machine that it was made on, no pinned copy of the weights.
    assert config["encoder"]["source"] == "hub"
    assert config["encoder"]["weights"] is config["encoder"]["revision"] is None


@pytest.mark.parametrize("bits", [32, 64, 128, 256])
def test_minilm_comes_at_several_widths(bits) -> None:
    hasher = Hasher.pretrained("minilm", bits=bits)
    assert (hasher.bits, len(hasher.training["bit_balance"]), hasher.recipe["bits"]) == (bits, bits, bits)
    features = np.random.default_rng(0).normal(size=(50, 384)).astype(np.float32)
    whole = Hasher.load("minilm")
    assert (whole.bits, whole.widths) == (256, (32, 64, 128, 256))
    np.testing.assert_array_equal(
        hasher.document_codes(features).packed, whole.document_codes(features).packed[:, : bits // 8]
    )


def test_minilm_s_bits_are_balanced_on_what_it_was_trained_on() -> None:
    training = Hasher.load("minilm").training
    assert np.abs(np.array(training["bit_balance"]) - 0.5).mean() < 0.1
    card = (pretrained_folder("minilm") / "README.md").read_text()
    for corpus in training["corpora"]:
        assert corpus in card
    assert "32, 64, 128 bits" in card
    assert not {"scifact", "nfcorpus", "cosqa", "cranfield", "npl", "squad_dev"} & set(training["corpora"])


def test_names_that_are_not_shipped(tmp_path, monkeypatch) -> None:
    with pytest.raises(InputError, match="no hasher 'minilmm'; did you mean minilm"):
        Hasher.pretrained("minilmm")
    with pytest.raises(InputError, match="32, 64, 128, 256 bits, not of 96"):
        Hasher.pretrained("minilm", bits=96)
    # A folder of the user's own goes before a shipped hasher of its name.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "minilm").mkdir()
    assert fetch_hasher("minilm") == Path("minilm")
    with pytest.raises(FormatError, match=r"hasher\.json"):
        Hasher.load("minilm")


def test_a_nested_hasher_is_cut_to_its_widths_and_saved(nested, tmp_path) -> None:
    hasher, vectors = nested
    assert hasher.widths == (8, 16, 24)
    short = hasher.truncated(16)
    assert short.widths == (8, 16)
    assert short.training["bit_balance"] == hasher.training["bit_balance"][:16]
    assert short.measurements == []
    short.save(tmp_path / "short")
    loaded = Hasher.load(tmp_path / "short")
    assert loaded.fingerprint == short.fingerprint != hasher.fingerprint
    np.testing.assert_array_equal(
        loaded.encode_documents(vectors).packed, hasher.encode_documents(vectors).packed[:, :2]
    )
    np.testing.assert_allclose(
        loaded.encode_queries(vectors[:3]), hasher.encode_queries(vectors[:3])[:, :16], atol=1e-5
    )
    assert loaded.has_seen(vectors)
    with pytest.raises(InputError, match="8, 16, 24 bits, not of 12"):
        hasher.truncated(12)


def test_a_plain_hasher_has_one_width(nested) -> None:
    _, vectors = nested
    plain = Hasher.fit("itq", corpus=vectors, bits=12)
    assert plain.widths == (12,)
    with pytest.raises(InputError, match="12 bits, not of 8"):
        plain.truncated(8)


def test_the_card_of_a_nested_hasher(nested, tmp_path) -> None:
    hasher, _ = nested
    hasher.training["corpora"] = ["first", "second"]
    config = {
        "bits": 24,
        "dim": 16,
        "fingerprint": hasher.fingerprint,
        "encoder": None,
        "recipe": hasher.recipe,
        "training": hasher.training,
        "measurements": [],
    }
    write_hasher(tmp_path / "h", config, hasher.head.tensors())
    card = (tmp_path / "h" / "README.md").read_text()
    assert "queries of first, second." in card
    assert "first 8, 16 bits are codes by themselves: `hasher.truncated(16)`" in card


def test_a_hasher_adapts_to_another_corpus(nested, tmp_path) -> None:
    hasher, vectors = nested
    others = np.random.default_rng(1).normal(0.7, 1, size=(1200, 16)).astype(np.float32)
    adapted = hasher.adapted(others)
    assert adapted.training["adapted_to"] == 1200
    shares = adapted.encode_documents(others).unpack().mean(axis=0)
    np.testing.assert_allclose(adapted.training["bit_balance"], shares, atol=1e-4)
    assert adapted.head.codebook is not None
    adapted.save(tmp_path / "h")
    loaded = Hasher.load(tmp_path / "h")
    assert loaded.fingerprint == adapted.fingerprint != hasher.fingerprint
    np.testing.assert_array_equal(
        loaded.encode_documents(vectors).packed, adapted.encode_documents(vectors).packed
    )
    assert "to 1,200 documents of another corpus" in (tmp_path / "h" / "README.md").read_text()
    # Its bits are others, whose first ones are no codes.
    assert hasher.widths == (8, 16, 24)
    assert adapted.widths == loaded.widths == (24,)
    assert hasher.adapted(others[:500]).widths == hasher.widths
    # A handful of documents says nothing.
    assert hasher.adapted(others[:20]) is hasher


def test_a_corpus_that_is_not_seen_whole_gets_no_codebook(nested, monkeypatch) -> None:
    hasher, _ = nested
    others = np.random.default_rng(1).normal(0.7, 1, size=(2000, 16)).astype(np.float32)
    monkeypatch.setattr("llmhash.hasher._ADAPTING_ROWS", 1200)
    adapted = hasher.adapted(others)
    assert adapted.training["adapted_to"] == 1200
    assert adapted.head.codebook is None
    assert hasher.adapted(others[:1300]).head.codebook is not None
