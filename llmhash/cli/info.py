"""`llmhash info`: what a path is, or what this installation has."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from llmhash.cli.console import print_json
from llmhash.errors import InputError

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
        with Collection.open(path) as opened:
            return {"kind": "collection", **opened.info()}
    if path.suffix == ".npy" and path.is_file():
        return {"kind": "codes", "codes": len(Codes.load(path, mmap=True)), **describe_codes(path)}
    raise InputError(f"{path} is no hasher, collection or codes file.")


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
