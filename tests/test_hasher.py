from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from llmhash import Hasher
from llmhash.codes import Codes
from llmhash.corpora import Documents
from llmhash.errors import FormatError, InputError
from llmhash.recipes import load_recipe, recipe_names


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)


@pytest.mark.parametrize("head", [name for name in recipe_names() if not load_recipe(name).needs])
def test_fit_encode_save_and_load(head: str, vectors, tmp_path) -> None:
    options = {"steps": 5} if head.startswith("distill") else None
    bits = 16 if head == "scan" else 12  # A codebook for the scan is of whole bytes.
    hasher = Hasher.fit(head, corpus=vectors, bits=bits, options=options)
    codes, logits = hasher.encode_documents(vectors[:7]), hasher.encode_queries(vectors[:5])
    assert (codes.bits, len(codes), logits.shape, logits.dtype) == (bits, 7, (5, bits), np.float32)
    hasher.save(tmp_path / "h")
    loaded = Hasher.load(tmp_path / "h")
    assert loaded.fingerprint == hasher.fingerprint
    np.testing.assert_array_equal(loaded.encode_documents(vectors[:7]).packed, codes.packed)
    np.testing.assert_array_equal(loaded.encode_queries(vectors[:5]), logits)


def test_texts_go_through_the_encoder(encoder, sentences) -> None:
    hasher = Hasher.fit("itq", teacher=encoder, corpus=sentences, bits=16)
    expected = Codes.from_logits(hasher.head.document_logits(encoder.encode(sentences[:9], "document")))
    np.testing.assert_array_equal(hasher.encode_documents(sentences[:9]).packed, expected.packed)
    assert hasher.training["documents"] == len(sentences)
    assert len(hasher.training["bit_balance"]) == 16
    # A query logit's sign is the query code.
    logits = hasher.encode_queries(["ship wind"])
    np.testing.assert_array_equal(
        hasher.encode_query_codes(["ship wind"]).packed, Codes.from_logits(logits).packed
    )


def test_distill_holds_pseudo_queries_out_of_training(encoder, sentences) -> None:
    hasher = Hasher.distill(encoder, sentences, bits=16, options={"steps": 20})
    assert hasher.held_out is not None
    assert hasher.features is not None
    held = {row.tobytes() for row in hasher.held_out.queries}
    trained = {row.tobytes() for row in hasher.features.queries}
    assert held
    assert not held & trained


def test_a_recipe_s_noise_corrupts_training_queries_only(encoder, sentences) -> None:
    recipe = replace(load_recipe("distill", bits=16, pseudo_queries=300, options={"steps": 5}), noise=0.5)
    noisy = Hasher.from_recipe(recipe, sentences, teacher=encoder)
    plain = Hasher.from_recipe(replace(recipe, noise=0.0), sentences, teacher=encoder)
    np.testing.assert_array_equal(noisy.held_out.queries, plain.held_out.queries)
    np.testing.assert_array_equal(noisy.features.clean_queries, plain.features.queries)
    assert (noisy.features.queries != plain.features.queries).any()
    assert plain.features.clean_queries is None
    assert noisy.recipe["noise"] == 0.5
    assert noisy.fingerprint != plain.fingerprint


def test_sides_that_differ_get_statistics_of_their_own(prompted_encoder, sentences) -> None:
    hasher = Hasher.fit("median", teacher=prompted_encoder, corpus=Documents.from_texts(sentences), bits=8)
    assert not hasher.head.shared
    balance = (hasher.query_logits(hasher.features.queries) > 0).mean(axis=0)
    np.testing.assert_allclose(balance, 0.5, atol=0.02)


def test_the_fingerprint_knows_head_and_encoder(encoder, prompted_encoder, sentences) -> None:
    one = Hasher.fit("sign", teacher=encoder, corpus=sentences, bits=8)
    assert one.fingerprint == Hasher.fit("sign", teacher=encoder, corpus=sentences[:50], bits=8).fingerprint
    assert (
        one.fingerprint != Hasher.fit("sign", teacher=prompted_encoder, corpus=sentences, bits=8).fingerprint
    )
    assert one.fingerprint != Hasher.fit("sign", teacher=encoder, corpus=sentences, bits=9).fingerprint


def test_bad_input(vectors, encoder, sentences) -> None:
    with pytest.raises(InputError, match="unknown recipe 'itg'; did you mean itq"):
        Hasher.fit("itg", corpus=vectors)
    with pytest.raises(InputError, match="from 1 to 4096, not 0"):
        Hasher.fit("itq", corpus=vectors, bits=0)
    for head in ("sign", "median", "pca"):
        with pytest.raises(InputError, match="16"):
            Hasher.fit(head, corpus=vectors, bits=17)
    broken = vectors.copy()
    broken[41, 3] = np.nan
    with pytest.raises(InputError, match=r"NaN or infinity in 1 row\(s\), the first is row 41"):
        Hasher.fit("itq", corpus=broken)
    with pytest.raises(InputError, match="not both"):
        Hasher.fit("itq", corpus=vectors, teacher=encoder)
    with pytest.raises(InputError, match="holds no text"):
        Hasher.fit("itq", corpus=[], teacher=encoder)
    with pytest.raises(InputError, match="no documents"):
        Hasher.fit("itq", corpus=vectors[:0])
    with pytest.raises(InputError, match="queries must be texts"):
        Hasher.fit("itq", corpus=sentences, teacher=encoder, queries=vectors)
    hasher = Hasher.fit("itq", corpus=vectors, bits=8)
    with pytest.raises(InputError, match="give it vectors, not texts"):
        hasher.encode_documents(["a text"])
    with pytest.raises(InputError, match="16 dimensions, not 3"):
        hasher.encode_documents(np.zeros((2, 3), np.float32))
    with pytest.raises(InputError, match="not one string"):
        hasher.encode_queries("a text")
    with pytest.raises(InputError, match="the query vectors hold NaN"):
        hasher.encode_queries(broken)
    with pytest.raises(InputError, match="has no encoder"):
        hasher.to_sentence_transformers()


def test_damaged_files_are_refused(vectors, tmp_path) -> None:
    folder = Hasher.fit("itq", corpus=vectors, bits=8).save(tmp_path / "h")
    weights, config = folder / "head.safetensors", folder / "hasher.json"
    whole, text = weights.read_bytes(), config.read_text()
    weights.write_bytes(whole[:-7])
    with pytest.raises(FormatError, match="truncated or damaged"):
        Hasher.load(folder)
    weights.unlink()
    with pytest.raises(FormatError, match="is missing"):
        Hasher.load(folder)
    weights.write_bytes(whole)
    config.write_text(text[:-20])
    with pytest.raises(FormatError, match=r"hasher\.json is damaged"):
        Hasher.load(folder)
    config.write_text(json.dumps({**json.loads(text), "format": 2}))
    with pytest.raises(FormatError, match="newer llmhash"):
        Hasher.load(folder)
    config.write_text(json.dumps({key: value for key, value in json.loads(text).items() if key != "bits"}))
    with pytest.raises(FormatError, match="lacks bits"):
        Hasher.load(folder)
    with pytest.raises(FormatError, match="is not a hasher"):
        Hasher.load(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        Hasher.load(tmp_path / "nowhere" / "at" / "all")


def test_saving_never_overwrites_something_else(vectors, tmp_path) -> None:
    hasher = Hasher.fit("itq", corpus=vectors, bits=8)
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="exists and is not a hasher"):
        hasher.save(tmp_path)
    hasher.save(tmp_path / "h")
    hasher.save(tmp_path / "h")


@pytest.mark.parametrize(
    ("codebook", "said", "exported"),
    [
        ("never", "weighs a document's bits by the query's logits", "gives the same bytes"),
        (
            "always",
            "A document's code is searched for",
            "signs, near which codes lie but not on them",
        ),
    ],
)
def test_the_card_says_how_codes_are_made_and_scored(
    codebook, said, exported, encoder, sentences, tmp_path
) -> None:
    hasher = Hasher.distill(encoder, sentences, bits=8, options={"steps": 5, "codebook": codebook})
    card = " ".join((hasher.save(tmp_path / "h") / "README.md").read_text().split())
    assert said in card
    assert exported in card


def test_the_card_says_how_it_was_made_and_what_it_keeps(vectors, tmp_path) -> None:
    hasher = Hasher.fit("itq", corpus=vectors, bits=8)
    hasher.measurements = [
        {"data": "d", "split": "test", "scoring": "hamming", "ndcg@10": 0.5, "overlap@10": 0.25,
         "retention": 0.75, "ci95": [0.7, 0.8]}
    ]  # fmt: skip
    card = (hasher.save(tmp_path / "h") / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: llmhash")
    assert "8-bit hash codes" in card
    assert "| d | test | hamming | 0.500 | 0.250 | 0.750 | 0.700 to 0.800 |" in card
    assert Hasher.load(tmp_path / "h").measurements == hasher.measurements


def test_push_to_hub_uploads_what_save_writes(vectors, monkeypatch) -> None:
    uploaded = {}

    class Api:
        def __init__(self, token=None) -> None:
            uploaded["token"] = token

        def create_repo(self, repository, *, private, exist_ok) -> None:
            uploaded["repository"] = (repository, private, exist_ok)

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            uploaded["hasher"] = Hasher.load(folder_path)

            class Commit:
                repo_url = f"hub/{repo_id}"

            return Commit()

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    hasher = Hasher.fit("itq", corpus=vectors, bits=8)
    assert hasher.push_to_hub("me/hasher", private=True, token="secret") == "hub/me/hasher"
    assert uploaded["repository"] == ("me/hasher", True, True)
    assert uploaded["hasher"].fingerprint == hasher.fingerprint


def test_a_hub_id_is_fetched(vectors, monkeypatch, tmp_path) -> None:
    hasher = Hasher.fit("itq", corpus=vectors, bits=8)
    folder = hasher.save(tmp_path / "snapshot")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda source, **_: str(folder))
    assert Hasher.load("someone/hasher").fingerprint == hasher.fingerprint
