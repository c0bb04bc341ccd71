"""Texts through a model in batches: each distinct text once, those in the cache not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from llmhash.encoders.cache import FeatureCache
from llmhash.errors import InputError

FloatArray = NDArray[np.float32]

# Texts after which finished features go to disk: what a kill may cost.
_TEXTS_PER_WRITE = 512
_KEYS_PER_READ = 8_192


def check_texts(texts: Sequence[str]) -> list[str]:
    """The texts, with U+FFFD for lone surrogates, which broken JSON brings and no tokenizer takes.

    Raises:
        InputError: It is one string, or something in it is no string.
    """
    if isinstance(texts, str):
        raise InputError("texts must be a list of strings; for one text give a list of one.")
    checked = []
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {position} is {type(text).__name__}, not a string.")
        if not text.isascii():
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        checked.append(text)
    return checked


def encode_texts(
    texts: Sequence[str],
    run: Callable[[list[str]], FloatArray],
    *,
    batch_size: int,
    cache: FeatureCache | None = None,
    key: Callable[[str], bytes] | None = None,
    label: str = "encoding",
    progress: bool = False,
) -> FloatArray:
    """Features float32 (n, d) of n texts, at least one, in their order.

    Args:
        texts: May repeat.
        run: One batch of texts to float32 (m, d).
        batch_size: Texts in a batch.
        cache: Where features are looked up and kept; None for nowhere.
        key: A text's key in the cache.
        label: What the progress bar says.
        progress: Show a bar on standard error while a model runs.
    """
    rows: dict[str, int] = {}
    order = [rows.setdefault(text, len(rows)) for text in texts]
    distinct = list(rows)
    features = _Rows(len(distinct))
    keys = [key(text) for text in distinct] if key is not None and cache is not None else None
    if cache is not None and keys is not None:
        _look_up(cache, keys, features)
    # The longest first: a batch holds texts of like length, and too little memory shows at once.
    missing = sorted(np.flatnonzero(~features.filled).tolist(), key=lambda row: -len(distinct[row]))
    bar = _progress_bar(label, len(distinct), len(missing), progress and bool(missing))
    with bar as advance, _Writer(cache, keys) as writer:
        for start in range(0, len(missing), batch_size):
            batch = missing[start : start + batch_size]
            for row, vector in zip(batch, run([distinct[row] for row in batch]), strict=True):
                features.fill(row, vector)
                writer.add(row, vector)
            advance(len(batch))
    matrix = features.matrix()
    return matrix if len(distinct) == len(order) else matrix[order]


def _look_up(cache: FeatureCache, keys: list[bytes], features: _Rows) -> None:
    for start in range(0, len(keys), _KEYS_PER_READ):
        chunk = keys[start : start + _KEYS_PER_READ]
        found = cache.get(chunk)
        for row, key in enumerate(chunk, start):
            if key in found:
                features.fill(row, found[key])


class _Rows:
    """A float32 matrix whose width is known once its first row is."""

    def __init__(self, count: int) -> None:
        self.filled = np.zeros(count, dtype=np.bool_)
        self._matrix = np.empty((0, 0), dtype=np.float32)

    def fill(self, row: int, vector: FloatArray) -> None:
        if not self._matrix.size:
            self._matrix = np.empty((len(self.filled), len(vector)), dtype=np.float32)
        self._matrix[row] = vector
        self.filled[row] = True

    def matrix(self) -> FloatArray:
        return self._matrix


class _Writer:
    """Puts features into the cache some hundreds at a time and, come what may, the rest on the way out."""

    def __init__(self, cache: FeatureCache | None, keys: list[bytes] | None) -> None:
        self._cache, self._keys = cache, keys
        self._fresh: dict[bytes, FloatArray] = {}

    def add(self, row: int, vector: FloatArray) -> None:
        if self._keys is not None:
            self._fresh[self._keys[row]] = vector
            if len(self._fresh) >= _TEXTS_PER_WRITE:
                self._write()

    def _write(self) -> None:
        if self._cache is not None:
            self._cache.put(self._fresh)
        self._fresh = {}

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()


@contextlib.contextmanager
def _progress_bar(label: str, total: int, missing: int, shown: bool) -> Iterator[Callable[[int], None]]:
    if not shown:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=total - missing)
        yield lambda done: bar.advance(task, done)
