"""`llmhash info`: what a path is, or what this installation has."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmhash.cli.console import note, print_json
from llmhash.errors import InputError

if TYPE_CHECKING:
    from llmhash.collection import Collection

# Documents of a collection, times those that a codebook was fitted on, from which that is said.
_GROWN = 1.2
_PACKAGES = (
    "numpy",
    "numba",
    "torch",
    "sentence-transformers",
    "usearch",
    "faiss-cpu",
    "openvino",
    "datasets",
)


def info(
    path: Annotated[Path | None, typer.Argument(help="A hasher, a collection or a codes file.")] = None,
) -> None:
    """Describe a hasher, a collection or a codes file as JSON; without a path, this installation."""
    print_json(_installation() if path is None else _describe(path))


def _describe(path: Path) -> dict[str, Any]:
    from llmhash.codes import Codes, describe_codes
    from llmhash.collection import Collection
    from llmhash.collection.manifest import NAME as MANIFEST
    from llmhash.hasher_files import is_hasher, read_config

    if is_hasher(path):
        config = read_config(path)
        config["training"] = {k: v for k, v in config["training"].items() if k != "bit_balance"}
        return {"kind": "hasher", **config}
    if (path / MANIFEST).is_file():
        with Collection.open(path, readonly=True) as opened:
            return {"kind": "collection", **collection_info(opened)}
    if path.suffix == ".npy" and path.is_file():
        return {"kind": "codes", "codes": len(Codes.load(path, mmap=True)), **describe_codes(path)}
    raise InputError(f"{path} is no hasher, collection or codes file.")


def collection_info(collection: Collection) -> dict[str, Any]:
    """What a collection holds, and how far its bit balance has drifted from its hasher's training documents.

    A drift above the limit is said on standard error, in one line, and so is that a codebook knows too few of
    the documents.
    """
    from llmhash.collection.balance import LIMIT, drift_of
    from llmhash.hasher_files import COPY_FOLDER, is_hasher, read_config

    described = collection.info()
    folder = collection.path / COPY_FOLDER
    config = read_config(folder) if is_hasher(folder) else {"training": {}}
    trained_on = config["training"].get("bit_balance")
    if not trained_on:
        return described
    _warn_of_growth(collection, config)
    found = drift_of(collection, trained_on)
    drift = None if found.drift is None else round(found.drift, 4)
    if found.exceeds:
        note(
            f"warning: the documents of {collection.path} are not like those that its hasher was fitted on "
            f"(bit balance drift {drift}, limit {LIMIT}); distill one on them and index them again"
        )
    balance = {"drift": drift, "limit": LIMIT, "sample": found.sample, "drifted": found.exceeds}
    return {**described, "bit_balance": balance}


def _warn_of_growth(collection: Collection, config: dict[str, Any]) -> None:
    """Say so where many documents came after a codebook was fitted: it serves those best that it has seen."""
    training = config["training"]
    fitted_on = training.get("adapted_to", training.get("documents", 0))
    if config.get("codebook") in ("codes", "scan") and len(collection) > _GROWN * fitted_on:
        note(
            f"warning: {collection.path} holds {len(collection):,} documents but its hasher's codebook was "
            f"fitted on {fitted_on:,}, and keeps less of the others; distill on all of them and index again"
        )


def _installation() -> dict[str, Any]:
    import llmhash
    from llmhash.index.threads import thread_count

    return {
        "llmhash": llmhash.__version__,
        "python": platform.python_version(),
        "threads": thread_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
