"""Retrieval metrics that count ties fairly; numpy only.

Every metric is a function of `Ranks`, which says where the relevant documents of each query stand in a
ranking with ties, and returns one value a query: the expectation over uniformly random tie-breaking.
"""

from llmhash.metrics.average_precision import average_precision
from llmhash.metrics.judgements import Judgements
from llmhash.metrics.mrr import mrr
from llmhash.metrics.ndcg import ndcg
from llmhash.metrics.precision import precision
from llmhash.metrics.ranks import Ranks, id_order
from llmhash.metrics.recall import recall

__all__ = [
    "Judgements",
    "Ranks",
    "average_precision",
    "id_order",
    "mrr",
    "ndcg",
    "precision",
    "recall",
]
