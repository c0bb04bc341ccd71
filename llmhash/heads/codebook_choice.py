"""What serves a large corpus: judged on held-out queries, documents not among them.

Of a corpus of some thousand documents a codebook's tables know each, and its codes win at every width even
where they are held to the signs of logits. Of hundreds of thousands they are a compromise: there the
codebook's codes are held less, so that those of queries are better chosen as documents' are. The asymmetric
score gains by it, the more the fewer the bits, and Hamming distance loses. Which projection ranks best
differs, too: one trained on some thousand queries, or one in closed form of all that is known (see
`llmhash.heads.rca`).

What is judged is how many of the documents that a query wants first come first: by both scores, each at its
weight in training. Queries that are held out are cut as those are that one projection was trained on, and
real ones are not: it has to find more than the other beyond chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from llmhash.codes import Codes
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray, TrainingFeatures
from llmhash.heads.codebook_fit import Progress
from llmhash.heads.distance_codebook import fit_held_codebook, lies_locally
from llmhash.heads.overlap import asymmetric_overlaps, hamming_overlaps
from llmhash.heads.query_model import QueryModel, query_model
from llmhash.heads.query_space import QuerySpace
from llmhash.heads.ranking import Ranking
from llmhash.heads.rca import fit_rca

# Bits up to which local maps are worth their time: signs of more lose little, and maps take longest to fit.
_MOST_LOCAL_BITS = 128
# Standard errors of a mean difference beyond which it is not chance: about 95 in 100.
_STANDARD_ERRORS = 2.0


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

    def values(self, head: AffineHead, codes: Codes) -> FloatArray:
        """Of a head, and its codes of the documents that the ranking ranks, float32 (q,): each query's."""
        asymmetric = self.asymmetric * asymmetric_overlaps(head, codes, self.ranking)
        return asymmetric + self.hamming * hamming_overlaps(head, codes, self.ranking)


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
    queries = query_model(features)
    documents = features.documents[judge.ranking.rows]
    head, values = _projection(trained, features, documents, queries, judge, seed, progress)
    wide = head.bits > _MOST_LOCAL_BITS and lies_locally(len(features.documents), head.bits)
    if wide and not always:
        return head
    space = QuerySpace.fit(features, head.bits, queries)
    book = fit_held_codebook(space, features.documents, head, pull=pull, seed=seed, progress=progress)
    signs, alike = (
        replace(head, codebook=each) for each in (book, replace(book, query_mean=space.query_mean))
    )
    codes = signs.document_codes(documents)
    coded = max(signs, alike, key=lambda each: hamming_overlaps(each, codes, judge.ranking).mean())
    return coded if always or judge.values(coded, codes).mean() >= values.mean() else head


def _projection(
    trained: AffineHead,
    features: TrainingFeatures,
    documents: FloatArray,
    queries: QueryModel,
    judge: Judge,
    seed: int,
    progress: Progress | None,
) -> tuple[AffineHead, FloatArray]:
    """The trained head or, where there are dimensions enough, the one in closed form; and its values."""
    found = judge.values(trained, trained.document_codes(documents))
    if trained.bits > features.dim:
        return trained, found
    closed = fit_rca(features, trained.bits, queries=queries, seed=seed, progress=progress)
    others = judge.values(closed, closed.document_codes(documents))
    ahead = found - others
    beyond_chance = ahead.mean() > _STANDARD_ERRORS * ahead.std() / math.sqrt(len(ahead))
    return (trained, found) if beyond_chance else (closed, others)
