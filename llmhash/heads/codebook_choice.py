"""What serves a large corpus: judged on held-out queries, documents not among them.

Of a corpus of some thousand documents a codebook's tables know each, and its codes win at every width even
where they are held to the signs of logits. Of hundreds of thousands they are a compromise: there the
codebook's codes are held less, so that those of queries are better chosen as documents' are, and few bits
gain much by it, many bits nothing. Which projection ranks best differs, too: one trained on some thousand
queries, or one in closed form of all that is known (see `llmhash.heads.rca`).

The judge is the training's own: by both scores, each at its weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from llmhash.codes import Codes
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray, TrainingFeatures
from llmhash.heads.codebook_fit import Progress
from llmhash.heads.distance_codebook import fit_distance_codebook, lies_locally
from llmhash.heads.error_sampling import rows_by_error
from llmhash.heads.query_space import QuerySpace
from llmhash.heads.ranking import QuerySet, Ranking
from llmhash.heads.rca import fit_rca
from llmhash.index import FlatIndex, asymmetric_search

# Pull of the codebook, without and with local maps.
_PULL, _LOCAL_PULL = 0.01, 0.005
# Documents that tables are fitted to, and tables and maps.
_ROWS, _LOCAL_ROWS = 50_000, 200_000
# Documents that a query wants first.
_WANTED = 10
# Scores in memory at a time.
_CELLS = 1 << 24


@dataclass(frozen=True)
class Judge:
    """How well held-out queries find what they want.

    Attributes:
        ranking: Holds queries out.
        asymmetric: Weight of finding it by the asymmetric score.
        hamming: Weight of finding it by Hamming distance.
    """

    ranking: Ranking
    asymmetric: float
    hamming: float

    def value(self, head: AffineHead, codes: Codes) -> float:
        """Of a head, and its codes of the documents that the ranking ranks."""
        asymmetric, hamming = held_out_gain(head, codes, self.ranking)
        return self.asymmetric * asymmetric + self.hamming * hamming


def best_of_large(
    trained: AffineHead,
    features: TrainingFeatures,
    judge: Judge,
    *,
    pull: float | None = None,
    always: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> AffineHead:
    """The head that held-out queries prefer: of two projections, and with a codebook for it or without.

    Args:
        trained: Of whole bytes.
        features: More documents than tables can know each of.
        judge: Its held-out queries have no part in what is fitted here.
        pull: Of the codebook; None takes one for the corpus's size.
        always: Do with a codebook whatever it is worth.
        seed: Of samples, and of ITQ's start.
        progress: Called with (round, rounds, message).
    """
    features = features.without_queries(judge.ranking.held_out_rows)
    documents = features.documents[judge.ranking.rows]
    plain = [(head, head.document_codes(documents)) for head in _projections(trained, features, seed)]
    head, signs = max(plain, key=lambda pair: judge.value(*pair))
    space = QuerySpace.fit(features, head.bits)
    local = lies_locally(len(features.documents), head.bits)
    most = _LOCAL_ROWS if local else _ROWS
    rows = rows_by_error(features.documents, space.mean, space.document_map, most, seed)
    sample = features.documents[rows]
    book, _ = fit_distance_codebook(
        space,
        sample,
        space.documents(sample),
        space.of_points(head),
        local=local,
        logits=head.document_logits(sample),
        pull=(_LOCAL_PULL if local else _PULL) if pull is None else pull,
        seed=seed,
        progress=progress,
    )
    coded = replace(head, codebook=book)
    codes = coded.document_codes(documents)
    alike = replace(head, codebook=replace(book, query_mean=space.query_mean))
    judged = [(coded, codes), (alike, codes)] if always else [(coded, codes), (alike, codes), (head, signs)]
    return max(judged, key=lambda pair: judge.value(*pair))[0]


def _projections(trained: AffineHead, features: TrainingFeatures, seed: int) -> list[AffineHead]:
    """The trained head and, where there are dimensions enough, the one in closed form."""
    if trained.bits > features.dim:
        return [trained]
    return [trained, fit_rca(features, trained.bits, seed=seed)]


def held_out_gain(head: AffineHead, codes: Codes, ranking: Ranking) -> tuple[float, float]:
    """What held-out queries find first by the asymmetric score, and by Hamming distance.

    It is the discounted cumulative gain of the first ten documents over the best possible, 0 to 1; a document
    is worth its part of what is wanted of the query, the teacher's distribution and the source.

    Args:
        head: Queries to what scores codes, and to codes.
        codes: The head's, of the documents that the ranking ranks.
        ranking: Holds queries out.
    """
    held_out = ranking.held_out.given
    index = FlatIndex(bits=codes.bits)
    index.add(codes)
    most = min(_WANTED + 1, len(codes))
    totals = np.zeros(2)
    for items, queries in _blocks(held_out, codes, ranking):
        wanted = ranking.whole(held_out, items).targets
        best = _discounted(wanted.topk(most).values)
        own = held_out.own[items.to(wanted.device)]
        found = (
            asymmetric_search(head.asymmetric_queries(queries), codes, most)[1],
            index.search(head.query_codes(queries), k=most)[1],
        )
        for scoring, documents in enumerate(found):
            rows = torch.from_numpy(documents).to(wanted.device)
            # A document that is a query leaves its place to those after it.
            order = (rows == own[:, None]).to(torch.int8).argsort(dim=1, stable=True)
            gains = _discounted(wanted.gather(1, rows.gather(1, order)))
            totals[scoring] += float((gains / best).sum())
    asymmetric, hamming = totals / len(held_out)
    return float(asymmetric), float(hamming)


def _discounted(gains: Tensor) -> Tensor:
    """The discounted cumulative gain (m,) of the first ten of documents in order (m, k)."""
    first = gains[:, :_WANTED].double()
    places = torch.arange(first.shape[1], device=first.device, dtype=torch.float64)
    total: Tensor = (first / torch.log2(places + 2)).sum(dim=1)
    return total


def hamming_overlap(head: AffineHead, codes: Codes, ranking: Ranking) -> float:
    """How many of the documents that held-out queries want first Hamming distance ranks first, 0 to 1.

    What a query wants is the teacher's distribution and its source.

    Args:
        head: Queries to codes.
        codes: The head's, of the documents that the ranking ranks.
        ranking: Holds queries out.
    """
    held_out, wanted, found = ranking.held_out.given, min(_WANTED, len(codes)), 0.0
    for items, queries in _blocks(held_out, codes, ranking):
        batch = ranking.whole(held_out, items)
        distances = torch.from_numpy(head.query_codes(queries).hamming(codes).astype(np.float32))
        distances = distances.to(batch.left_out.device).masked_fill_(batch.left_out, torch.inf)
        nearest = distances.topk(wanted, largest=False).indices
        best = batch.targets.topk(wanted).indices
        found += float((best[:, :, None] == nearest[:, None, :]).any(dim=2).float().mean(dim=1).sum())
    return found / len(held_out)


def _blocks(queries: QuerySet, codes: Codes, ranking: Ranking) -> Iterator[tuple[Tensor, FloatArray]]:
    """Numbers of queries and their features, of so many that their scores of all codes fit into memory."""
    for items in torch.split(torch.arange(len(queries)), max(1, _CELLS // len(codes))):
        yield items, (queries[items].vectors * ranking.unit).cpu().numpy()
