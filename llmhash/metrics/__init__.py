"""Retrieval metrics that count ties fairly; numpy only.

Metrics of judged queries are functions of `Ranks`, which says where the relevant documents of each query
stand in a ranking with ties. Metrics of the label protocol, where hundreds of documents are relevant, come
from `RadiusCounts`, which says how many of them lie at each Hamming distance. Each gives one value a query:
the expectation over uniformly random tie-breaking.
"""

from llmhash.metrics.average_precision import average_precision
from llmhash.metrics.float_precision import float_precision
from llmhash.metrics.judgements import Judgements
from llmhash.metrics.mrr import mrr
from llmhash.metrics.ndcg import ndcg
from llmhash.metrics.precision import precision
from llmhash.metrics.precision_recall_curve import PrecisionRecallCurve, precision_recall_curve
from llmhash.metrics.radius import RadiusCounts
from llmhash.metrics.radius_precision import radius_precision
from llmhash.metrics.ranks import Ranks, id_order
from llmhash.metrics.recall import recall

__all__ = [
    "Judgements",
    "PrecisionRecallCurve",
    "RadiusCounts",
    "Ranks",
    "average_precision",
    "float_precision",
    "id_order",
    "mrr",
    "ndcg",
    "precision",
    "precision_recall_curve",
    "radius_precision",
    "recall",
]
