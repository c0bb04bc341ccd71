"""Codes and collections for the tests of the store, and the way to the harness that `eval/` has for it."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.collection import Collection

sys.path.append(str(Path(__file__).parents[2] / "eval"))


@pytest.fixture
def random_codes() -> Callable[..., Codes]:
    def make(count: int, bits: int, seed: int = 0) -> Codes:
        return Codes.pack(np.random.default_rng(seed).random((count, bits)) < 0.5)

    return make


@pytest.fixture
def create(tmp_path: Path) -> Iterator[Callable[..., Collection]]:
    """Makes collections under tmp_path, closed at the end."""
    made = []

    def make(bits: int = 64, name: str = "collection", **settings) -> Collection:
        collection = Collection.create(tmp_path / name, bits=bits, hasher_fingerprint="abc", **settings)
        made.append(collection)
        return collection

    yield make
    for collection in made:
        collection.close()


@pytest.fixture
def edit_json() -> Callable[..., None]:
    def edit(path: Path, **changes) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit
