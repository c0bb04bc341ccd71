"""The label protocol: training documents are the database, test documents the queries.

This is how the literature on text hashing measures itself (survey section 6.2). A document is relevant to a
query if they share a label. Ties, which short codes are full of, count in expectation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.encoders.base import Side, TokenFeatures
from llmhash.errors import InputError
from llmhash.evaluation.bootstrap import bootstrap_means, interval
from llmhash.evaluation.health import code_health
from llmhash.evaluation.summary import TrainedOn
from llmhash.metrics import RadiusCounts, float_precision, precision_recall_curve, radius_precision

if TYPE_CHECKING:
    from llmhash.corpora.labels import Labelled, LabelSet
    from llmhash.hasher import Hasher

#: Hamming radii of look-ups.
RADII = (0, 1, 2, 3)
#: Where the survey cuts rankings.
CUTOFF = 100

QuerySplit = Literal["test", "validation"]
LabelReport = dict[str, Any]

_FORMAT = 1
_DIGITS = 6


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What codes were made from, to compare them with.

    Attributes:
        name: Of the encoder.
        fingerprint: Of the encoder; methods with the same one share a row of float figures.
        queries: float32 (q, d), or a SciPy CSR array.
        database: float32 (n, d), likewise.
    """

    name: str
    fingerprint: str
    queries: Any
    database: Any


@dataclass(frozen=True, eq=False)
class LabelledCodes:
    """A label set as one method codes it.

    Attributes:
        name: Of the method.
        queries: Codes of the test (or validation) documents, in their order.
        database: Codes of the training documents, in their order.
        embeddings: What they were made from, if it is to be compared with.
        trained_on: "in-corpus" if the method was fitted on exactly the training documents, "general" if not;
            None where that is unknown.
    """

    name: str
    queries: Codes
    database: Codes
    embeddings: Embeddings | None = None
    trained_on: TrainedOn | None = None

    @classmethod
    def from_hasher(
        cls,
        hasher: Hasher,
        label_set: LabelSet,
        *,
        split: QuerySplit = "test",
        query_side: Side = "document",
        name: str | None = None,
        progress: bool = False,
    ) -> LabelledCodes:
        """Encode a label set.

        Args:
            hasher: With an encoder, as the set is text.
            label_set: The set.
            split: Which of its documents are the queries.
            query_side: How queries are encoded. They are documents too, so by default as such; "query" for
                the side that searches take.
            name: By default the recipe's.
            progress: Show progress bars while encoding.
        """
        in_corpus = hasher.has_seen(label_set.documents(label_set.train))
        if in_corpus and hasher.features is not None:
            database = hasher.features.documents  # A fit has just encoded them.
        else:
            database = hasher.document_features(label_set.train.texts, progress=progress)
        texts = _queries(label_set, split).texts
        if query_side == "query":
            queries = hasher.query_features(texts, progress=progress)
            query_codes = hasher.query_codes(queries)
        else:
            queries = hasher.document_features(texts, progress=progress)
            query_codes = hasher.document_codes(queries)
        embeddings = None
        if hasher.encoder is not None:
            # Of token embeddings, each text's summary is what has a cosine.
            vectors = [
                part.summary if isinstance(part, TokenFeatures) else part for part in (queries, database)
            ]
            embeddings = Embeddings(hasher.encoder.name, hasher.encoder.fingerprint, *vectors)
        return cls(
            name or str(hasher.recipe["name"]),
            query_codes,
            hasher.document_codes(database),
            embeddings,
            "in-corpus" if in_corpus else "general",
        )


def label_report(
    methods: Sequence[LabelledCodes],
    label_set: LabelSet,
    *,
    split: QuerySplit = "test",
    k: int = CUTOFF,
) -> LabelReport:
    """Measure methods side by side; their differences to the float embeddings are paired over queries.

    Precision@k is a mean over all queries. Those without a relevant document count 0 in it; recall and mean
    average precision leave them out.

    Args:
        methods: The set as each method codes it.
        label_set: The set.
        split: Which of its documents are the queries.
        k: Where rankings are cut.

    Returns:
        What `json.dumps` takes. Undefined figures are None. A row's "curves" are over the Hamming radius. In
        "radius", "precision" counts queries that find nothing as 0, as the literature does, and
        "precision_answered" leaves them out.

    Raises:
        InputError: The split is empty or unknown, k is below 1, or codes do not fit the set.
    """
    asked = _queries(label_set, split)
    labels = label_set.matrix(asked), label_set.matrix(label_set.train)
    counts = [RadiusCounts.from_codes(method.queries, method.database, *labels) for method in methods]
    encoders = {each.embeddings.fingerprint: each.embeddings for each in methods if each.embeddings}
    of_encoders = [
        float_precision(each.queries, each.database, *labels, [k])[:, 0] for each in encoders.values()
    ]
    precisions = _with_draws([*of_encoders, *(each.precision(k) for each in counts)])
    floats = dict(zip(encoders, precisions, strict=False))
    answerable = labels[0][:, labels[1].any(axis=0)].any(axis=1)
    return {
        "format": _FORMAT,
        "data": label_set.name,
        "protocol": label_set.protocol,
        "split": split,
        "queries": len(asked),
        "documents": len(label_set.train),
        "classes": len(label_set.classes),
        "queries_without_positives": int(np.count_nonzero(~answerable)),
        "k": k,
        "floats": [_float_row(encoders[each], floats[each], k) for each in encoders],
        "rows": [
            _row(method, count, own, floats, k)
            for method, count, own in zip(methods, counts, precisions[len(floats) :], strict=True)
        ],
    }


class _Precision(NamedTuple):
    """Mean Precision@k over the queries, and over queries drawn from them, alike for all methods."""

    mean: float
    draws: NDArray[np.float64]  # (resamples,)


def _with_draws(values: Sequence[NDArray[np.float64]]) -> list[_Precision]:
    if not values:
        return []
    draws = bootstrap_means(np.stack(values)).T
    return [_Precision(float(own.mean()), drawn) for own, drawn in zip(values, draws, strict=True)]


def _queries(label_set: LabelSet, split: str) -> Labelled:
    if split not in ("test", "validation"):
        raise InputError(f"queries come from the split 'test' or 'validation', not {split!r}.")
    asked: Labelled = getattr(label_set, split)
    for part, name in ((asked, split), (label_set.train, "train")):
        if not len(part):
            raise InputError(f"{label_set.name} has no documents in its split {name!r}.")
    return asked


def _float_row(embeddings: Embeddings, own: _Precision, k: int) -> dict[str, Any]:
    return {
        "encoder": embeddings.name,
        "dim": int(embeddings.database.shape[1]),
        f"precision@{k}": _number(own.mean),
        "ci95": _interval(own.draws),
    }


def _row(
    method: LabelledCodes, counts: RadiusCounts, own: _Precision, floats: Mapping[str, _Precision], k: int
) -> dict[str, Any]:
    embeddings = method.embeddings
    return {
        "method": method.name,
        "bits": counts.bits,
        "encoder": None if embeddings is None else embeddings.name,
        "trained_on": method.trained_on,
        f"precision@{k}": _number(own.mean),
        "ci95": _interval(own.draws),
        "over_float": None if embeddings is None else _difference(own, floats[embeddings.fingerprint]),
        f"recall@{k}": _mean(counts.recall(k)),
        "map": _mean(counts.average_precision()),
        "radius": [_look_up(counts, radius) for radius in RADII],
        "curves": {"micro": _curve(counts, "micro"), "macro": _curve(counts, "macro")},
        "health": {name: _number(value) for name, value in asdict(code_health(method.database)).items()},
    }


def _look_up(counts: RadiusCounts, radius: int) -> dict[str, Any]:
    precision = radius_precision(counts, radius)
    return {
        "radius": radius,
        "precision": _number(np.nan_to_num(precision).mean()),
        "precision_answered": _mean(precision),
        "empty_queries": int(np.count_nonzero(np.isnan(precision))),
        "documents_found": _number(counts.found[:, : radius + 1].sum(axis=1).mean()),
    }


def _curve(counts: RadiusCounts, average: Literal["micro", "macro"]) -> dict[str, Any]:
    curve = precision_recall_curve(counts, average)
    return {
        "radius": curve.radius.tolist(),
        "precision": [_number(value) for value in curve.precision],
        "recall": [_number(value) for value in curve.recall],
    }


def _difference(own: _Precision, other: _Precision) -> dict[str, Any]:
    low, high = _interval(own.draws - other.draws)
    return {
        "difference": _number(own.mean - other.mean),
        "ci95": [low, high],
        "above": low is not None and low > 0,
    }


def _interval(drawn: NDArray[np.float64]) -> list[float | int | None]:
    return [_number(bound) for bound in interval(drawn)]


def _mean(values: NDArray[np.float64]) -> float | int | None:
    """The mean of what is defined."""
    defined = values[~np.isnan(values)]
    return _number(defined.mean()) if len(defined) else None


def _number(value: float | int | None) -> float | int | None:
    if value is None or isinstance(value, int):
        return value
    return None if np.isnan(value) else round(float(value), _DIGITS)
