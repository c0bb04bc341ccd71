"""The retriever: text in, hits out. A hasher and a collection."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.collection import Collection
from llmhash.collection.batch import Batch
from llmhash.collection.filters import Where
from llmhash.collection.manifest import Engine, SidecarKind
from llmhash.collection.scoring import Scoring, best_documents, choose_scoring
from llmhash.collection.sidecar import check_vectors
from llmhash.collection.view import Allow
from llmhash.errors import InputError
from llmhash.hasher_files import COPY_FOLDER

if TYPE_CHECKING:
    from llmhash.hasher import Hasher

#: Documents that are encoded and committed at a time.
BATCH_SIZE = 4096

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that a search found.

    Attributes:
        id: Its id.
        score: Higher is better; from -1 to 1, but for asymmetric scores by tables.
        text: Its text, if it was added with one.
        metadata: Its metadata; empty where it has none.
    """

    id: str
    score: float
    text: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class Retriever:
    """A hasher and the collection of its codes.

    Scorings, from coarse to fine (b bits, logits q, document bits d = ±1):

    - `hamming`: 1 - 2h/b of the Hamming distance h between the codes.
    - `asymmetric`: q·d / sum|q|, or where the hasher gives its queries tables, the sum of the entries that
      the document's bytes name, over the nearest candidates by Hamming distance.
    - `asymmetric_scan`: the same over all documents, exactly; where a codebook chose the codes, the distance
      from what their bytes stand for, over the 500 best by such sums.
    - `int8`, `float16`: the cosine between the query's features and the document's as the sidecar keeps them,
      over the best candidates by asymmetric score.

    By default it is `asymmetric_scan` up to 80 MB of codes (10 million of 64 bits) where the engine is exact,
    else `asymmetric`; always `asymmetric_scan` where the hasher's codes are for that alone. Hits come by
    (score, then Hamming distance, then insertion).

    Example:
        >>> retriever = Retriever.create("wiki.llmhash", hasher)
        >>> retriever.add(texts, ids=ids)
        >>> for hit in retriever.search("who found penicillin", k=5):
        ...     print(hit.score, hit.text)
    """

    def __init__(self, hasher: Hasher, collection: Collection) -> None:
        if hasher.bits != collection.bits or hasher.fingerprint != collection.hasher_fingerprint:
            raise InputError(
                f"{collection.path} was built by another hasher ({collection.hasher_fingerprint}, "
                f"{collection.bits} bits), not by this one ({hasher.fingerprint}, {hasher.bits} bits); "
                "open it without a hasher to use its own, or index the documents again."
            )
        self.hasher = hasher
        self.collection = collection

    @classmethod
    def create(
        cls,
        path: str | Path,
        hasher: Hasher,
        *,
        engine: Engine = "auto",
        sidecar: SidecarKind | None = None,
        fields: Sequence[str] = (),
    ) -> Retriever:
        """Make an empty collection at `path` for the codes of `hasher`, with a copy of the hasher in it.

        Args:
            path: A folder that is empty or does not exist.
            hasher: What makes the codes.
            engine: What searches them; see `Collection.create`.
            sidecar: Keep the documents' float vectors too, as "int8" or "float16".
            fields: Metadata fields that searches may filter on.

        Raises:
            InputError: `path` is taken, an argument is not usable, a sidecar is asked for and the hasher's
                features are words or tokens, or an engine that goes by Hamming distance and the hasher's
                codes are for the asymmetric scan alone.
        """
        if hasher.scan_only and engine not in ("auto", "flat"):
            raise InputError(
                f"the engine {engine} goes by Hamming distance, and codes of this hasher are for the "
                "asymmetric scan alone: leave the engine out."
            )
        if sidecar is not None and not hasher.takes_dense:
            raise InputError(
                f"the sidecar {sidecar} keeps a dense vector a document, and this hasher's encoder gives "
                "words or tokens; leave it out."
            )
        collection = Collection.create(
            path,
            bits=hasher.bits,
            hasher_fingerprint=hasher.fingerprint,
            engine=engine,
            sidecar=sidecar,
            dim=hasher.dim,
            fields=fields,
        )
        try:
            hasher.save(collection.path / COPY_FOLDER)
        except BaseException:
            collection.close()
            shutil.rmtree(collection.path)
            raise
        return cls(hasher, collection)

    @classmethod
    def open(
        cls,
        path: str | Path,
        hasher: Hasher | None = None,
        *,
        readonly: bool = False,
        device: str | None = None,
    ) -> Retriever:
        """Open the collection at `path`, with the copy of its hasher unless one is given.

        Args:
            path: The collection's folder.
            hasher: The hasher that built it, where it is at hand.
            readonly: Refuse every write.
            device: Where the encoder of the hasher's copy runs; by default the best device at hand.

        Raises:
            InputError: There is no collection, no hasher in it, or `hasher` is not the one that built it.
            FormatError: A file of it is missing, truncated, corrupt or newer than this version.
        """
        collection = Collection.open(path, readonly=readonly)
        try:
            return cls(_own_hasher(collection.path, device) if hasher is None else hasher, collection)
        except BaseException:
            collection.close()
            raise

    # ------------------------------------------------------------------ adding

    def add(
        self,
        texts: Sequence[str] | NDArray[Any] | None = None,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        vectors: NDArray[Any] | None = None,
        batch_size: int = BATCH_SIZE,
        skip_existing: bool = False,
        progress: bool = False,
    ) -> list[str]:
        """Encode n documents and add them, `batch_size` at a time.

        Everything but the encoding is checked before the first batch. A batch is all there or not at all, and
        one that is committed stays: after an interruption, the same call with `skip_existing` adds the rest.

        Args:
            texts: The documents; or their vectors float (n, dim), to add documents without texts.
            ids: Their ids, strings that are new; by default running numbers.
            metadata: Their metadata, dictionaries that JSON can hold.
            vectors: Their vectors float (n, dim), where they are known already: nothing is encoded.
            batch_size: Documents of a commit.
            skip_existing: Leave out documents whose id the collection holds, rather than refuse them.
            progress: Show a progress bar.

        Returns:
            The ids of the documents that were added.

        Raises:
            InputError: Something is not usable as given; the message names the first and its position.
        """
        texts, vectors, known = self._checked_documents(texts, vectors, ids, metadata, batch_size)
        self.collection.lock()
        wanted = np.arange(len(vectors) if vectors is not None else len(texts or ()))
        if skip_existing:
            if known is None:
                raise InputError("skip_existing goes by the ids: give the documents' ids.")
            wanted = np.flatnonzero(self.collection.find(known) < 0)
        elif known is not None:
            self.collection.require_new(known)
        added = []
        for start in _steps(len(wanted), batch_size, progress):
            rows = wanted[start : start + batch_size]
            codes, content = self._batch(rows, texts, metadata, vectors)
            some = None if known is None else [known[row] for row in rows]
            added += self.collection.add(codes, ids=some, **content)
        return added

    def upsert(
        self,
        texts: Sequence[str] | NDArray[Any] | None = None,
        ids: Sequence[str] = (),
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        vectors: NDArray[Any] | None = None,
        batch_size: int = BATCH_SIZE,
        progress: bool = False,
    ) -> list[str]:
        """Encode n documents; put each in the place of the one that has its id, or add it.

        A replaced document counts as inserted anew: it moves to the end of the order. Batches are as for
        `add`; after an interruption the same call puts all of them in place.

        Args:
            texts: As for `add`.
            ids: Their ids, one each.
            metadata: As for `add`.
            vectors: As for `add`.
            batch_size: As for `add`.
            progress: As for `add`.

        Returns:
            The ids.

        Raises:
            InputError: Something is not usable as given; the message names the first and its position.
        """
        texts, vectors, known = self._checked_documents(texts, vectors, ids, metadata, batch_size)
        self.collection.lock()
        names = known or []
        for start in _steps(len(names), batch_size, progress):
            rows = np.arange(start, min(start + batch_size, len(names)))
            codes, content = self._batch(rows, texts, metadata, vectors)
            self.collection.upsert(codes, ids=[names[row] for row in rows], **content)
        return names

    def delete(self, ids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        """Delete documents by their ids or by a filter, all of them or none, and return their number.

        Raises:
            InputError: An id is unknown, or the filter is not usable.
        """
        return self.collection.delete(ids, where=where)

    def _checked_documents(
        self,
        texts: Sequence[str] | NDArray[Any] | None,
        vectors: NDArray[Any] | None,
        ids: Sequence[str] | None,
        metadata: Sequence[Mapping[str, Any] | None] | None,
        batch_size: int,
    ) -> tuple[Sequence[str] | None, NDArray[Any] | None, list[str] | None]:
        """Texts, vectors and ids, checked before anything is encoded."""
        texts, vectors = self._texts_and_vectors(texts, vectors)
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}.")
        size = len(vectors) if vectors is not None else len(texts or ())
        return texts, vectors, Batch.check(size, ids, texts, metadata).ids

    def _texts_and_vectors(
        self, texts: Sequence[str] | NDArray[Any] | None, vectors: NDArray[Any] | None
    ) -> tuple[Sequence[str] | None, NDArray[Any] | None]:
        """Tell the two apart, and refuse what can be neither."""
        if isinstance(texts, np.ndarray):
            if vectors is not None:
                raise InputError("the first argument is an array of vectors already: give vectors once.")
            return None, check_vectors(texts, self.hasher.dim)
        if vectors is not None:
            return texts, check_vectors(vectors, self.hasher.dim)
        if texts is None or isinstance(texts, str):
            raise InputError("texts must be a list of strings, or vectors must be given.")
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"texts[{position}] is {text!r}: it must be a string.")
        return texts, None

    def _batch(
        self,
        rows: NDArray[np.int64],
        texts: Sequence[str] | None,
        metadata: Sequence[Mapping[str, Any] | None] | None,
        vectors: NDArray[Any] | None,
    ) -> tuple[Codes, dict[str, Any]]:
        """The codes of some of the documents, and what is stored beside them."""
        some = None if texts is None else [texts[row] for row in rows]
        if vectors is None:
            features = self.hasher.document_features(some or [])
        else:
            features = vectors[rows].astype(np.float32)
        content = {
            "texts": some,
            "metadata": None if metadata is None else [metadata[row] for row in rows],
            "vectors": None if self.collection.sidecar is None else features,
        }
        return self.hasher.document_codes(features), content

    # ------------------------------------------------------------------ searching

    def search(
        self,
        query: str | NDArray[Any],
        k: int = 10,
        *,
        scoring: Scoring | None = None,
        candidates: int | None = None,
        allow: Allow | Sequence[str] | None = None,
        where: Where | None = None,
    ) -> list[Hit]:
        """The `k` best documents for one query: a text, or its vector float (dim,). See `search_batch`."""
        queries = [query] if isinstance(query, str) else np.asarray(query)[None]
        return self.search_batch(
            queries, k, scoring=scoring, candidates=candidates, allow=allow, where=where
        )[0]

    def search_batch(
        self,
        queries: Sequence[str] | NDArray[Any],
        k: int = 10,
        *,
        scoring: Scoring | None = None,
        candidates: int | None = None,
        allow: Allow | Sequence[str] | None = None,
        where: Where | None = None,
    ) -> list[list[Hit]]:
        """The `k` best documents for each of q queries.

        Args:
            queries: Texts, or their vectors float (q, dim).
            k: Hits a query, at least 1. There are fewer where fewer documents qualify.
            scoring: How documents are scored; see the class.
            candidates: Documents that `asymmetric`, `int8` and `float16` rescore, at least k; by default
                10 a hit, at least 100.
            allow: Only these documents: their ids (those that do not exist are ignored), a boolean mask over
                the collection's codes, or rows.
            where: Only documents whose metadata match, for instance
                `{"year": {">=": 1990}, "lang": {"in": ["en", "de"]}}`; see `Collection.search`. As many are
                found as without a filter, if so many match.

        Raises:
            InputError: An argument is not usable; a query is empty; the collection lacks the sidecar or has
                not declared a field of the filter.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"k must be a whole number of at least 1, not {k!r}.")
        if candidates is not None and candidates < k:
            raise InputError(f"candidates must be at least k = {k}, not {candidates}.")
        self.collection.refresh()
        how = choose_scoring(self.collection, scoring, scan_only=self.hasher.scan_only)
        features = self.hasher.query_features(_checked_queries(queries))
        scores, rows = best_documents(
            self.collection,
            how,
            self.hasher.asymmetric_queries(features),
            features,
            int(k),
            candidates=candidates,
            allow=self._rows(allow),
            where=where,
            scan_only=self.hasher.scan_only,
        )
        return self._hits(scores, rows)

    def _rows(self, allow: Allow | Sequence[str] | None) -> Allow | None:
        if allow is None or isinstance(allow, np.ndarray):
            return allow
        rows = self.collection.find(allow)
        return rows[rows >= 0]

    def _hits(self, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> list[list[Hit]]:
        distinct = np.unique(rows[rows >= 0])
        records = dict(zip(distinct.tolist(), self.collection.at(distinct), strict=True))
        hits = []
        for line, found in zip(scores.tolist(), rows.tolist(), strict=True):
            # A document may have been deleted since it was found.
            ranked = [(score, records.get(row)) for score, row in zip(line, found, strict=True)]
            hits.append(
                [Hit(its.id, score, its.text, its.metadata) for score, its in ranked if its is not None]
            )
        return hits

    # ------------------------------------------------------------------ closing

    def __len__(self) -> int:
        return len(self.collection)

    def close(self) -> None:
        """Close the collection."""
        self.collection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _own_hasher(folder: Path, device: str | None) -> Hasher:
    """The copy of the hasher that `create` put into the collection."""
    copy = folder / COPY_FOLDER
    if not copy.is_dir():
        raise InputError(f"{folder} holds no copy of its hasher: open it with the hasher that built it.")
    from llmhash.hasher import Hasher

    return Hasher.load(copy, device=device)


def _checked_queries(queries: Sequence[str] | NDArray[Any]) -> Sequence[str] | FloatArray:
    """The queries, in the form in which a hasher takes them."""
    if isinstance(queries, np.ndarray):
        return check_vectors(queries).astype(np.float32)
    if isinstance(queries, str):
        raise InputError("queries must be a list of strings; one query belongs to search.")
    for position, query in enumerate(queries):
        if not isinstance(query, str) or not query.strip():
            raise InputError(f"queries[{position}] is {query!r}: a query must be a text that is not empty.")
    return list(queries)


def _steps(size: int, step: int, progress: bool) -> Iterable[int]:
    starts = range(0, size, step)
    if not progress:
        return starts
    from rich.progress import track

    return track(starts, description="Adding documents")
