"""What a ranking head learns from: queries, the candidates that a batch ranks, the teacher's targets.

Where some queries' texts were corrupted, the student sees those and the teacher ranks for the clean ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmhash.heads.base import FloatArray, TrainingFeatures, mean_vector
from llmhash.objectives.similarity import listwise_targets

# Similarities that are held at a time while neighbours are mined.
_MINING_CELLS = 1 << 25
# Stands for -inf among similarities and scores: KL would multiply a score of -inf by its target of 0 to NaN.
_LEFT_OUT = -1e4


@dataclass(frozen=True)
class RankingSettings:
    """What queries, candidates and targets there are; `DistillOptions` says more on each.

    Attributes:
        temperature: T of the teacher's distribution.
        source_share: What a query's source gets of the target, 0 to 1.
        document_share: Share of the drawn queries that are documents, 0 to 1.
        candidates: Documents that a batch ranks at most; all, where the corpus has no more.
        neighbours: Mined neighbours of each query among them.
        max_documents: Documents that candidates come from at most: a seeded sample.
        max_queries: Queries of each kind (given ones, documents) at most, where there are more documents than
            candidates and neighbours have to be mined: a seeded sample.
        held_out: Queries held out at most; a tenth of all where that is less.
    """

    temperature: float
    source_share: float
    document_share: float
    candidates: int
    neighbours: int
    max_documents: int
    max_queries: int
    held_out: int


@dataclass(frozen=True)
class QuerySet:
    """Queries of one purpose.

    Attributes:
        vectors: float32 (m, d), what the student sees.
        own: int64 (m,), the row of the document that the query is, -1 where it is none.
        sources: int64 (m,), the row of the document that the query was cut from, -1 where it is unknown.
        weights: float64 (m,), how often each is drawn, relative.
        neighbours: int64 (m, k), rows of the nearest documents (and the source, if any), -1 for none; None
            where all documents are candidates.
        clean: float32 (m, d), what the teacher ranks for; None where that is `vectors`.
    """

    vectors: Tensor
    own: Tensor
    sources: Tensor
    weights: Tensor
    neighbours: Tensor | None = None
    clean: Tensor | None = None

    @property
    def taught(self) -> Tensor:
        """What the teacher ranks for, float32 (m, d)."""
        return self.vectors if self.clean is None else self.clean

    @property
    def given(self) -> QuerySet:
        """Those that are no documents; all, where there are no others."""
        rows = torch.nonzero(self.own < 0)[:, 0]
        return self[rows] if len(rows) else self

    def mixed(self, other: QuerySet, share: float) -> QuerySet:
        """Both, without neighbours, `other` drawn at its share, 0 to 1; one alone where that is all."""
        if share in (0, 1):
            return other if share else self
        clean = None
        if self.clean is not None or other.clean is not None:
            clean = torch.cat([self.taught, other.taught])
        return QuerySet(
            torch.cat([self.vectors, other.vectors]),
            torch.cat([self.own, other.own]),
            torch.cat([self.sources, other.sources]),
            torch.cat([self.weights * (1 - share), other.weights * share]),
            clean=clean,
        )

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, items: Tensor) -> QuerySet:
        on_cpu = items.to(self.weights.device)
        return QuerySet(
            self.vectors[items],
            self.own[items],
            self.sources[items],
            self.weights[on_cpu],
            None if self.neighbours is None else self.neighbours[items],
            None if self.clean is None else self.clean[items],
        )


@dataclass(frozen=True)
class RankingBatch:
    """Queries with the candidates they rank.

    Attributes:
        queries: float32 (m, d), centred.
        documents: float32 (c, d), centred.
        targets: float32 (m, c), the teacher's distribution over the candidates.
        left_out: bool (m, c), the documents that are the query itself.
        offsets: float32 (c,), to be added to scores: log of how many documents a candidate stands for.
        rows: int64 (c,), the candidates' rows of `Ranking.documents`; None where they are all of them.
    """

    queries: Tensor
    documents: Tensor
    targets: Tensor
    left_out: Tensor
    offsets: Tensor
    rows: Tensor | None = None

    def mask(self, scores: Tensor) -> Tensor:
        """Scores (m, c) ready for a softmax over the candidates."""
        return (scores + self.offsets).masked_fill(self.left_out, _LEFT_OUT)


class Ranking:
    """Training and held-out queries over one corpus, on the training device.

    All vectors are divided by `unit`, the documents' mean norm, and similarities by the query's norm, both 1
    for normalised features: nothing ranks differently for it, and temperatures and learning rates mean the
    same for any teacher.

    Attributes:
        unit: The documents' mean norm.
        rows: int64 (n,), the documents that candidates come from, rows of the features.
        documents: float32 (n, d), in units, centred on `document_mean`.
        document_mean: float32 (d,), in units.
        query_mean: float32 (d,), in units; the documents' where the sides do not differ.
        training: Queries to train on.
        held_out: Queries to choose weights by; the training queries where there are fewer than ten.
        held_out_rows: int64, those of `held_out` that came with the documents, rows of the features' queries;
            none where all queries are trained on.
    """

    def __init__(
        self, features: TrainingFeatures, settings: RankingSettings, *, seed: int, device: str
    ) -> None:
        rng = np.random.default_rng(seed)
        self.rows = rows = _sample(len(features.documents), settings.max_documents, rng)
        documents = features.documents[rows]
        self.unit = float(np.linalg.norm(documents, axis=1).mean()) or 1.0
        documents = documents / np.float32(self.unit)
        mean = mean_vector(documents)
        statistics = features.query_statistics
        self._settings, self._device = settings, device
        self.documents = torch.from_numpy(documents - mean).to(device)
        self.document_mean = torch.from_numpy(mean).to(device)
        self.query_mean = self.document_mean
        if statistics is not None:
            self.query_mean = torch.from_numpy(statistics.mean(axis=0) / np.float32(self.unit)).to(device)
        self._all_are_candidates = len(documents) <= settings.candidates
        limit = None if self._all_are_candidates else settings.max_queries
        given, given_rows = _given_queries(features, rows, self.unit, limit, rng)
        everything = _document_queries(documents, limit, rng)
        if given is not None:
            everything = given.mixed(everything, settings.document_share)
        order = torch.from_numpy(rng.permutation(len(everything)))
        aside = min(settings.held_out, len(order) // 10)
        numbers = order[:aside].numpy()
        self.held_out_rows: NDArray[np.int64] = given_rows[numbers[numbers < len(given_rows)]]
        self.training = self.ready(everything[order[aside:]])
        self.held_out = self.ready(everything[order[: aside or settings.held_out]])

    def batch(
        self, queries: QuerySet, items: Tensor, generator: torch.Generator, noise: float = 0.0
    ) -> RankingBatch:
        """The queries `items` of a set, with candidates and targets.

        Args:
            queries: `training` or `held_out`.
            items: int64 (m,).
            generator: Draws the candidates and the noise, on the CPU.
            noise: Norm of the Gaussian noise added to a query, relative to its own norm. The teacher ranks
                for the noisy query, but where clean queries came with the features.
        """
        chosen = queries[items]
        vectors = _noisy(chosen.vectors, noise, generator) if noise else chosen.vectors
        rows, offsets = self._candidates(chosen, generator)
        return self._batch(chosen, vectors, rows, offsets)

    def whole(self, queries: QuerySet, items: Tensor) -> RankingBatch:
        """The queries `items` of a set, with all documents as candidates."""
        chosen = queries[items]
        return self._batch(chosen, chosen.vectors, None, torch.zeros(1, device=self._device))

    def _batch(self, chosen: QuerySet, vectors: Tensor, rows: Tensor | None, offsets: Tensor) -> RankingBatch:
        documents = self.documents if rows is None else self.documents[rows]
        numbers = torch.arange(len(documents), device=self._device) if rows is None else rows
        left_out = numbers[None, :] == chosen.own[:, None]
        temperature = self._settings.temperature
        taught = vectors if chosen.clean is None else chosen.clean
        norms = taught.norm(dim=1, keepdim=True).clamp_min(1e-12)
        similarities = (taught @ documents.T).div_(norms).add_(offsets * temperature)
        targets = listwise_targets(similarities.masked_fill_(left_out, _LEFT_OUT), temperature)
        if self._settings.source_share:
            is_source = numbers[None, :] == chosen.sources[:, None]
            targets = mix_in_source(targets, is_source, self._settings.source_share)
        return RankingBatch(vectors - self.query_mean, documents, targets, left_out, offsets, rows)

    def _candidates(self, chosen: QuerySet, generator: torch.Generator) -> tuple[Tensor | None, Tensor]:
        """Rows of the candidates (None: all) and their offsets.

        The mined ones stand for themselves. The random ones stand for all others: each for its share of
        them, which keeps the softmax's denominator unbiased.
        """
        count, wanted = len(self.documents), self._settings.candidates
        if chosen.neighbours is None:
            return None, torch.zeros(count, device=self._device)
        mined = torch.unique(chosen.neighbours[chosen.neighbours >= 0])
        if len(mined) > wanted // 2:
            keep = torch.randperm(len(mined), generator=generator)[: wanted // 2]
            mined = mined[keep.to(self._device)]
        drawn = torch.randint(count, (wanted - len(mined),), generator=generator).to(self._device)
        drawn = drawn[~torch.isin(drawn, mined)]
        share = math.log(max(1.0, (count - len(mined)) / max(1, len(drawn))))
        offsets = torch.cat([torch.zeros(len(mined)), torch.full((len(drawn),), share)]).to(self._device)
        return torch.cat([mined, drawn]), offsets

    def ready(self, queries: QuerySet) -> QuerySet:
        """The queries on the device, with their neighbours where those are needed."""
        vectors, own = queries.vectors.to(self._device), queries.own.to(self._device)
        sources = queries.sources.to(self._device)
        clean = None if queries.clean is None else queries.clean.to(self._device)
        moved = QuerySet(vectors, own, sources, queries.weights, None, clean)
        if self._all_are_candidates:
            return moved
        mined = _nearest(moved.taught, self.documents, min(self._settings.neighbours, len(self.documents)))
        return replace(moved, neighbours=torch.cat([mined, sources[:, None]], dim=1))


def mix_in_source(targets: Tensor, is_source: Tensor, share: float) -> Tensor:
    """`(1 - share) P + share * 1[source]`; rows P whose source is not among the candidates stay as they are.

    Args:
        targets: P, (m, c).
        is_source: bool (m, c). A source that was drawn twice shares its part.
        share: 0 to 1.
    """
    found = is_source.sum(dim=1, keepdim=True)
    part = torch.where(found > 0, share, 0.0)
    return targets * (1.0 - part) + is_source * (part / found.clamp_min(1))


def _given_queries(
    features: TrainingFeatures,
    rows: NDArray[np.int64],
    unit: float,
    limit: int | None,
    rng: np.random.Generator,
) -> tuple[QuerySet | None, NDArray[np.int64]]:
    """The queries that came with the documents, in units, and their rows; None where none did."""
    if features.queries is None or len(features.queries) == 0:
        return None, np.empty(0, np.int64)
    sources = _positions(features.sources, rows, len(features.queries), len(features.documents))
    chosen = _sample(len(features.queries), limit, rng)
    clean = features.clean_queries
    given = QuerySet(
        torch.from_numpy(features.queries[chosen] / np.float32(unit)),
        torch.full((len(chosen),), -1),
        torch.from_numpy(sources[chosen]),
        torch.full((len(chosen),), 1.0 / len(chosen), dtype=torch.float64),
        clean=None if clean is None else torch.from_numpy(clean[chosen] / np.float32(unit)),
    )
    return given, chosen


def _document_queries(documents: FloatArray, limit: int | None, rng: np.random.Generator) -> QuerySet:
    """Documents as queries."""
    chosen = _sample(len(documents), limit, rng)
    return QuerySet(
        torch.from_numpy(documents[chosen]),
        torch.from_numpy(chosen),
        torch.full((len(chosen),), -1),
        torch.full((len(chosen),), 1.0 / len(chosen), dtype=torch.float64),
    )


def _positions(
    sources: NDArray[np.int64] | None, rows: NDArray[np.int64], queries: int, documents: int
) -> NDArray[np.int64]:
    """Where the sources' documents stand among the sampled `rows`, -1 for those that are not there."""
    if sources is None:
        return np.full(queries, -1)
    # The last entry is what a source of -1, unknown, looks up.
    position = np.full(documents + 1, -1)
    position[rows] = np.arange(len(rows))
    return position[sources]


def _noisy(vectors: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Vectors with Gaussian noise of the given relative norm, at their old lengths."""
    drawn = torch.randn(vectors.shape, generator=generator).to(vectors.device)
    length = vectors.norm(dim=1, keepdim=True)
    noisy = vectors + drawn * (noise / math.sqrt(vectors.shape[1])) * length
    restored: Tensor = noisy * (length / noisy.norm(dim=1, keepdim=True).clamp_min(1e-12))
    return restored


def _nearest(queries: Tensor, documents: Tensor, count: int) -> Tensor:
    """Rows of the `count` documents of largest dot product, int64 (m, count), in no order of use."""
    step = max(1, _MINING_CELLS // len(documents))
    blocks = torch.split(queries, step)
    return torch.cat([(block @ documents.T).topk(count, dim=1, sorted=False).indices for block in blocks])


def _sample(count: int, limit: int | None, rng: np.random.Generator) -> NDArray[np.int64]:
    if limit is None or count <= limit:
        return np.arange(count)
    chosen: NDArray[np.int64] = np.sort(rng.choice(count, limit, replace=False))
    return chosen
