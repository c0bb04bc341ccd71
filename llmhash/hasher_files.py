"""A hasher on disk: `hasher.json`, `head.safetensors` and the model card `README.md`.

An encoder that has arrays of its own is `encoder.safetensors`.

Some are shipped with llmhash, under the name of the teacher that they are for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash import model_card
from llmhash.encoders.base import Encoder
from llmhash.errors import FormatError, InputError, suggest

_FORMAT = 1
_CONFIG = "hasher.json"
_WEIGHTS = "head.safetensors"
_ENCODER = "encoder.safetensors"
#: Where a collection keeps its hasher's copy, which makes it complete in itself, below its own folder.
COPY_FOLDER = "hasher"
_FIELDS = {"bits", "dim", "fingerprint", "encoder", "recipe", "training", "measurements"}


def write_hasher(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, NDArray[np.float32]],
    encoder: Mapping[str, NDArray[Any]] | None = None,
) -> Path:
    """Write a hasher's files, each whole or not at all; `hasher.json`, which names the rest, comes last.

    Args:
        folder: Made where it does not exist.
        config: The contents of `hasher.json`.
        tensors: The head's arrays.
        encoder: The encoder's own arrays, if it has some.

    Raises:
        InputError: The folder holds something that is not a hasher.
    """
    refuse_foreign_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = _packed(tensors)
    stored = {"format": _FORMAT, **config, "weights_digest": _digest(weights)}
    if encoder:
        arrays = _packed(encoder)
        stored["encoder_digest"] = _digest(arrays)
        _replace(folder / _ENCODER, arrays)
    _replace(folder / _WEIGHTS, weights)
    _replace(folder / "README.md", model_card.render(stored).encode())
    _replace(folder / _CONFIG, (json.dumps(stored, indent=2) + "\n").encode())
    return folder


def read_hasher(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """The contents of `hasher.json` and the head's tensors, both checked.

    Raises:
        FormatError: A file is missing, truncated, corrupt or of a newer version.
    """
    config = read_config(folder)
    return config, _read_weights(folder / _WEIGHTS, config["weights_digest"])


def read_encoder(folder: Path, config: Mapping[str, Any], device: str | None = None) -> Encoder | None:
    """The encoder of a hasher's `hasher.json`, if it has one; a description without a kind is a sentence's.

    Raises:
        FormatError: A file is missing, truncated or corrupt, or the encoder is of a newer version.
    """
    described = config["encoder"]
    if described is None:
        return None
    kind = described.get("kind", "sentence")
    if kind in ("tfidf", "joined"):
        from llmhash.encoders import JoinedEncoder, TfidfEncoder

        arrays = _read_weights(folder / _ENCODER, config.get("encoder_digest", ""))
        if kind == "tfidf":
            return TfidfEncoder.from_config(described, arrays)
        return JoinedEncoder.from_config(described, arrays, device=device)
    if kind == "tokens":
        from llmhash.encoders.tokens import TokenEncoder

        return TokenEncoder.from_config(described, device=device)
    if kind == "sentence":
        from llmhash.encoders import SentenceEncoder

        return SentenceEncoder.from_config(described, device=device)
    raise FormatError(f"{folder} has an encoder of an unknown kind {kind!r}; upgrade to read it.")


def is_hasher(folder: Path) -> bool:
    """Whether `folder` holds a saved hasher."""
    return (folder / _CONFIG).is_file()


def refuse_foreign_folder(folder: Path) -> None:
    """Raise `InputError` where saving to `folder` would mix a hasher with something else."""
    if folder.exists() and not (folder.is_dir() and (is_hasher(folder) or not any(folder.iterdir()))):
        raise InputError(f"{folder} exists and is not a hasher; choose another folder.")


def read_config(folder: Path) -> dict[str, Any]:
    """The checked contents of a hasher's `hasher.json`.

    Raises:
        FormatError: It is missing, no JSON, incomplete or of a newer version.
    """
    path = folder / _CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        version = config["format"]
        missing = {*_FIELDS, "weights_digest"} - config.keys()
    except FileNotFoundError:
        raise FormatError(f"{folder} holds no {_CONFIG}: it is not a hasher.") from None
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"{path} is damaged ({error}); fit the hasher again.") from None
    if version > _FORMAT:
        raise FormatError(f"{path} was written by a newer llmhash (format {version}); upgrade to read it.")
    if missing:
        raise FormatError(f"{path} lacks {', '.join(sorted(missing))}; fit the hasher again.")
    return dict(config)


def _read_weights(path: Path, digest: str) -> dict[str, NDArray[np.float32]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
        if _digest(data) != digest:
            raise FormatError(f"{path} is truncated or damaged: it is not the file that was saved.")
        tensors = dict(load(data))
    except FileNotFoundError:
        raise FormatError(f"{path} is missing.") from None
    except SafetensorError as error:
        raise FormatError(f"{path} is no safetensors file ({error}).") from None
    if not tensors:
        raise FormatError(f"{path} is empty.")
    return tensors


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    from safetensors.numpy import save

    # safetensors stores an array's memory as it lies, whatever its strides say.
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def pretrained_names() -> list[str]:
    """Names of the hashers that llmhash ships."""
    return sorted(config.parent.name for config in _shipped().glob(f"*/{_CONFIG}"))


def pretrained_folder(name: str) -> Path:
    """The folder of a hasher that llmhash ships.

    Raises:
        InputError: There is none of that name.
    """
    names = pretrained_names()
    if name not in names:
        raise InputError(f"llmhash ships no hasher {name!r}; {suggest(name, names)}")
    return _shipped() / name


def fetch_hasher(source: str, revision: str | None = None) -> Path:
    """The folder of a local hasher, of a shipped one, or of one fetched from the hub (`owner/name`).

    A folder goes before a shipped hasher of the same name.

    Raises:
        InputError: It is none of these.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    if source in pretrained_names():
        return pretrained_folder(source)
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise InputError(f"{source} is no folder (nor a hub id owner/name) that holds a hasher.")
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(source, revision=revision, allow_patterns=[_CONFIG, _WEIGHTS, _ENCODER])
        )
    except Exception as error:  # the hub client raises many kinds; each means that it cannot be had
        raise InputError(
            f"{source} is no local folder, and the hub did not give it ({type(error).__name__})."
        ) from error


def _shipped() -> Path:
    return Path(str(resources.files("llmhash"))) / "pretrained"


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or, after an interruption, as it was."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
