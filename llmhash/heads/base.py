"""Heads: features to b real logits, one map per side, a bit being `logit > 0`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.encoders.base import Features, TokenFeatures
from llmhash.errors import InputError
from llmhash.index import TableQueries

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from llmhash.heads.codebook import Codebook

FloatArray = NDArray[np.float32]
#: Any `Features`. Most heads take dense ones alone, so the type checker sees those; `fit_head` refuses the
#: others on their behalf.
AnyFeatures: TypeAlias = FloatArray | Any


@dataclass(frozen=True, eq=False)
class Validation:
    """Documents that training is judged by and never sees.

    Attributes:
        features: Of m documents, of the kind of the training documents.
        labels: bool (m, L); a training document with a label in common is relevant.
    """

    features: AnyFeatures
    labels: NDArray[np.bool_]

    def __post_init__(self) -> None:
        check_inputs(self.features, "the validation documents")
        _check_labels(self.labels, self.features.shape[0], "the validation documents")


@dataclass(frozen=True, eq=False)
class TrainingFeatures:
    """What a head is fitted on.

    Attributes:
        documents: Features of n documents: the teacher's embeddings float32 (n, d); or word weights, a CSR
            array float32 (n, V); or `TokenFeatures`.
        queries: float32 (m, d), embeddings of training queries (pseudo-queries cut from the documents, or
            real ones that the user named), dense or CSR as the documents; None where there are none.
        sources: int64 (m,), the row of the document each query was cut from, -1 where unknown; or None.
        sides_differ: Whether queries and documents pass through different encoders or prompts, so that
            statistics (means, medians) belong to a side.
        clean_queries: float32 (m, d), the queries row by row as they were before some of their texts were
            corrupted: whose ranking a noisy query should get. None where none was corrupted.
        words: CSR float32 (n, V), the documents' words (weights or counts) that decoders reconstruct; None
            where there are none. Documents that are CSR are words themselves.
        labels: bool (n, L), the documents' labels, or None. An unsupervised method reads them for nothing but
            `validation`.
        validation: What trained heads are selected by; its labels are those of `labels`.
    """

    documents: AnyFeatures
    queries: FloatArray | Any | None = None
    sources: NDArray[np.int64] | None = None
    sides_differ: bool = False
    clean_queries: FloatArray | Any | None = None
    words: csr_array | None = None
    labels: NDArray[np.bool_] | None = None
    validation: Validation | None = None

    def __post_init__(self) -> None:
        check_inputs(self.documents, "documents")
        if self.count == 0:
            raise InputError("there are no documents to fit a head on.")
        self._check_queries()
        if self.words is not None:
            check_inputs(self.words, "the documents' words")
            if self.words.shape[0] != self.count:
                raise InputError(f"there are words of {self.words.shape[0]} documents, not {self.count}.")
            if self.words.shape[1] == 0 or self.words.nnz == 0:
                raise InputError("the vocabulary is empty: no document holds a word of it.")
        if self.labels is not None:
            _check_labels(self.labels, self.count, "the documents")
        if self.validation is not None:
            self._check_validation(self.validation)

    def _check_queries(self) -> None:
        if self.queries is not None:
            check_inputs(self.queries, "queries")
            if self.queries.shape[1] != self.dim:
                raise InputError(f"queries have {self.queries.shape[1]} dimensions, documents {self.dim}.")
        if self.clean_queries is not None:
            check_inputs(self.clean_queries, "clean queries")
            if self.queries is None or self.clean_queries.shape != self.queries.shape:
                there = "none" if self.queries is None else str(self.queries.shape)
                raise InputError(
                    f"clean queries must match the queries row by row, but have shape "
                    f"{self.clean_queries.shape} where the queries have {there}."
                )

    def _check_validation(self, validation: Validation) -> None:
        if self.labels is None:
            raise InputError("validation documents are judged by labels: give the training documents' too.")
        if validation.labels.shape[1] != self.labels.shape[1]:
            raise InputError(
                f"validation has {validation.labels.shape[1]} labels, the documents {self.labels.shape[1]}."
            )
        if validation.features.shape[1] != self.dim or type(validation.features) is not type(self.documents):
            raise InputError("the validation documents must come from the encoder of the documents.")

    def without_queries(self, rows: NDArray[np.int64]) -> TrainingFeatures:
        """The same but for some of the queries, int64: those that something else is to be judged by."""
        if self.queries is None:
            return self
        kept = np.setdiff1d(np.arange(self.queries.shape[0]), rows)
        return replace(
            self,
            queries=self.queries[kept] if len(kept) else None,
            sources=self.sources[kept] if self.sources is not None and len(kept) else None,
            clean_queries=self.clean_queries[kept] if self.clean_queries is not None and len(kept) else None,
        )

    @property
    def count(self) -> int:
        """Number of documents."""
        return int(self.documents.shape[0])

    @property
    def dim(self) -> int:
        """Dimensions of a feature vector."""
        return int(self.documents.shape[1])

    @property
    def query_statistics(self) -> FloatArray | None:
        """The clean query features where their statistics may differ from the documents', else None."""
        queries = self.queries if self.clean_queries is None else self.clean_queries
        return queries if self.sides_differ and queries is not None and queries.shape[0] else None


def mean_vector(rows: FloatArray) -> FloatArray:
    """The mean of rows (n, d), float32 (d,), summed in double precision."""
    mean: FloatArray = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def sampled_rows(count: int, most: int, seed: int | np.random.Generator) -> NDArray[np.int64]:
    """Up to `most` of `count` rows, a random sample, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def check_features(values: FloatArray, what: str = "features") -> FloatArray:
    """Return float32 (n, d) features, or raise `InputError` for another shape, NaN or infinity."""
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(f"{what} must be numbers of shape (n, d), not {array.dtype} {array.shape}.")
    array = np.ascontiguousarray(array, dtype=np.float32)
    refuse_not_finite(np.flatnonzero(~np.isfinite(array).all(axis=1)), what)
    return array


def check_inputs(values: AnyFeatures, what: str = "features") -> AnyFeatures:
    """Return features of any kind; `InputError` for another shape or type, NaN or infinity."""
    if isinstance(values, TokenFeatures):
        check_features(values.summary, what)
        texts = np.searchsorted(
            values.offsets, np.flatnonzero(~np.isfinite(values.values).all(axis=1)), "right"
        )
        refuse_not_finite(np.unique(texts) - 1, what)
        return values
    if not is_sparse(values):
        return check_features(values, what)
    words: Any = values
    if words.format != "csr" or words.dtype != np.float32:
        raise InputError(f"{what} must be float32 in CSR format, not {words.dtype} in {words.format}.")
    broken = np.searchsorted(words.indptr, np.flatnonzero(~np.isfinite(words.data)), "right") - 1
    refuse_not_finite(np.unique(broken), what)
    return words


def is_sparse(values: AnyFeatures) -> bool:
    """Whether features are a sparse array; scipy is not loaded to tell."""
    return hasattr(values, "tocsr")


def feature_arrays(values: AnyFeatures) -> tuple[NDArray[Any], ...]:
    """The arrays that features of any kind are made of, in a fixed order."""
    if isinstance(values, TokenFeatures):
        return values.values, values.offsets, values.summary
    if not is_sparse(values):
        return (values,)
    words: Any = values
    return words.data, words.indices, words.indptr


def refuse_wrong_width(features: AnyFeatures, dim: int) -> None:
    """Raise `InputError` unless features are (n, dim)."""
    shape = features.shape
    if len(shape) != 2 or shape[1] != dim:
        raise InputError(f"this head takes features of {dim} dimensions, not {shape}.")


def refuse_not_finite(rows: NDArray[np.int64], what: str) -> None:
    """Raise `InputError` where there are `rows` that hold NaN or infinity."""
    if len(rows):
        raise InputError(
            f"{what} hold NaN or infinity in {len(rows)} row(s), the first is row {rows[0]}; "
            "remove or embed them again."
        )


def refuse_not_dense(head: str, values: Features, *, words: bool = False) -> None:
    """Raise `InputError` unless features are dense or, with `words`, word weights.

    Args:
        head: Name of the head that they are for.
        values: The features.
        words: Whether the head takes a CSR array too.
    """
    if is_sparse(values) and not words:
        raise InputError(f"the head {head} takes dense features: give the tfidf encoder `components`.")
    if isinstance(values, TokenFeatures):
        raise InputError(f"the head {head} takes one vector a text: give the encoder `tokens: false`.")


def _check_labels(labels: NDArray[np.bool_], count: int, what: str) -> None:
    if labels.dtype != np.bool_ or labels.ndim != 2 or len(labels) != count:
        raise InputError(
            f"the labels of {what} must be bool ({count}, L), not {labels.dtype} {labels.shape}."
        )


class Head(Protocol):
    """Features (n, d) to logits (n, bits), per side, and to codes and what scores them."""

    @property
    def kind(self) -> str:
        """What `llmhash.heads.kinds` reads its tensors as."""
        ...

    @property
    def bits(self) -> int:
        """Bits in a code."""
        ...

    @property
    def dim(self) -> int:
        """Dimensions of the features."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is stored: weights, biases, tables."""
        ...

    @property
    def codebook(self) -> Codebook | None:
        """By what codes are chosen, and documents scored asymmetrically; affine heads may have one."""
        ...

    def document_logits(self, features: AnyFeatures) -> FloatArray:
        """Logits float32 (n, bits) of document features (n, dim)."""
        ...

    def query_logits(self, features: AnyFeatures) -> FloatArray:
        """Logits float32 (n, bits) of query features (n, dim)."""
        ...

    def document_codes(self, features: AnyFeatures) -> Codes:
        """Codes of document features (n, dim)."""
        ...

    def query_codes(self, features: AnyFeatures) -> Codes:
        """Codes of query features (n, dim)."""
        ...

    def asymmetric_queries(self, features: AnyFeatures) -> FloatArray | TableQueries:
        """What scores documents' codes for query features (n, dim)."""
        ...

    def tensors(self) -> dict[str, FloatArray]:
        """The arrays by name, as they are stored."""
        ...


class SignsHead:
    """What heads share whose codes are the signs of their logits on both sides, without a codebook."""

    codebook: Codebook | None = None

    def tensors(self) -> dict[str, FloatArray]:
        """The arrays by name, as they are stored."""
        raise NotImplementedError

    def document_logits(self, features: AnyFeatures) -> FloatArray:
        """Logits float32 (n, bits) of document features (n, dim)."""
        raise NotImplementedError

    def query_logits(self, features: AnyFeatures) -> FloatArray:
        """Logits float32 (n, bits) of query features (n, dim): those that a document would have."""
        return self.document_logits(features)

    def document_codes(self, features: AnyFeatures) -> Codes:
        """Codes of document features (n, dim): the signs of the logits."""
        return Codes.from_logits(self.document_logits(features))

    def query_codes(self, features: AnyFeatures) -> Codes:
        """Codes of query features (n, dim): the signs of the logits."""
        return Codes.from_logits(self.query_logits(features))

    def asymmetric_queries(self, features: AnyFeatures) -> FloatArray:
        """What scores codes for query features (n, dim): their logits."""
        return self.query_logits(features)

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is stored."""
        return sum(array.nbytes for array in self.tensors().values())
