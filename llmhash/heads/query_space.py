"""The space that queries see: where the document that a query belongs to is the one of least distance.

A query is `a x + e`, a share of the document x that answers it and noise (both centred; see
`llmhash.heads.query_model`). With S the covariance of the noise, `L = S^(-1/2)` maps queries to a space in
which it is about the same in all directions. Were it normal, the document that a query q most likely belongs
to would be the one of least `||L q - a L x||`. A codebook there chooses a document's code for the distance of
its vector v from `a L x`, and scores by `-||L q - v||^2 / 2`.

Distances need `||v||^2`, which no sum over bytes is. Other additive quantizers store it beside the code
(Babenko and Lempitsky 2014, "Additive Quantization for Extreme Vector Compression"). Here codes stay as
short: the scan adds up what a regression on the bytes makes of it, and the best documents are then told apart
by the norms of their vectors (see `llmhash.index.asymmetric_search`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray, TrainingFeatures, mean_vector
from llmhash.heads.codebook import Bytes, Codebook
from llmhash.heads.codebook_fit import Progress, fit_codebook, membership
from llmhash.heads.error_sampling import mapped
from llmhash.heads.query_model import QueryModel, query_model, shrinkage_at

# Keeps the regression of the norms well posed where few documents take a value.
_DAMPING = 1.0


@dataclass(frozen=True, eq=False)
class QuerySpace:
    """The affine maps of both sides into the space.

    Attributes:
        mean: float32 (d,), the documents'.
        query_mean: float32 (d,), the queries'; the documents' where nothing tells.
        document_map: float32 (d, d), a L, of centred documents.
        query_map: float32 (d, d), L, of centred queries.
    """

    mean: FloatArray
    query_mean: FloatArray
    document_map: FloatArray
    query_map: FloatArray

    @classmethod
    def fit(cls, features: TrainingFeatures, bits: int, queries: QueryModel | None = None) -> QuerySpace:
        """The space of a corpus for codes of so many bits.

        What queries are off their sources is learned from queries of known sources; without any, it is taken
        to be what documents are off their nearest others. `queries` is what `query_model` says of it, where
        it has been asked.
        """
        queries = queries or query_model(features)
        query_map = queries.whitening(shrinkage_at(bits))
        document_map: FloatArray = queries.share * query_map
        mean = mean_vector(features.documents)
        query_mean: FloatArray = mean if queries.shift is None else mean + queries.shift
        return cls(mean, query_mean, document_map, query_map)

    def documents(self, documents: FloatArray) -> FloatArray:
        """Documents float32 (n, d) as points, float32 (n, d)."""
        return mapped(documents, self.mean, self.document_map)

    def head(self, points: AffineHead) -> AffineHead:
        """A head of points as one of features, documents' and queries', each centred on their own mean."""
        weight: FloatArray = points.weight @ self.document_map
        bias, query_bias = (points.bias - weight @ mean for mean in (self.mean, self.query_mean))
        return AffineHead(weight, bias, query_bias=query_bias if self.sides_differ else None)

    def of_points(self, head: AffineHead) -> AffineHead:
        """The documents' side of a head of features, as a head of points: the inverse of `head`."""
        wide = np.linalg.solve(self.document_map.T.astype(np.float64), head.weight.T.astype(np.float64))
        bias: FloatArray = head.bias + head.weight @ self.mean
        return AffineHead(wide.T.astype(np.float32), bias)

    @property
    def sides_differ(self) -> bool:
        """Whether queries have a mean of their own."""
        return not np.array_equal(self.query_mean, self.mean)

    def fit_book(
        self,
        points: FloatArray,
        head: AffineHead,
        *,
        pull: float,
        rounds: int,
        progress: Progress | None = None,
    ) -> Codebook:
        """A codebook of documents that are points already, without offsets.

        Args:
            points: float32 (n, d).
            head: Gives the points' logits.
            pull: Weight of the logits' signs, as `fit_codebook` takes it.
            rounds: How often tables are fitted to codes and codes found anew.
            progress: Called with (round, rounds, message).
        """
        fitted = fit_codebook(points, head, pull=pull, rounds=rounds, progress=progress)
        # The fit is about the sample's mean; documents drawn for coding badly are off the middle of all.
        tables = fitted.tables.copy()
        tables[0] += fitted.mean
        return replace(
            fitted,
            tables=tables,
            mean=self.mean,
            document_map=self.document_map,
            query_map=self.query_map,
            query_shift=-self.query_map @ self.query_mean,
        )


def with_offsets(book: Codebook, codes: Bytes) -> Codebook:
    """The codebook with offsets: sums over bytes near the norms of what codes, uint8 (n, m), stand for."""
    return replace(book, offsets=additive(-np.square(book.decode(codes)).sum(axis=1) / 2, codes))


def additive(targets: FloatArray, codes: Bytes) -> FloatArray:
    """Terms float32 (m, 256) of the bytes that add up to the targets of codes: ridge regression."""
    from scipy.sparse.linalg import lsqr

    width = codes.shape[1]
    mean = targets.mean(dtype=np.float64)
    terms = lsqr(membership(codes.astype(np.int64)), targets - mean, damp=_DAMPING)[0]
    shared: FloatArray = (terms.reshape(width, 256) + mean / width).astype(np.float32)
    return shared
