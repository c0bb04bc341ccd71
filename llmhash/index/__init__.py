"""Codes to nearest neighbours: exact and approximate indexes, and scoring by the query's real logits."""

from llmhash.index.approximate import recall_against_exact
from llmhash.index.asymmetric import asymmetric_scores, asymmetric_search, rescore
from llmhash.index.asymmetric_queries import AsymmetricQueries, LocalMaps, NormCorrection, TableQueries
from llmhash.index.base import NO_DISTANCE, NO_KEY, Index, RangeIndex
from llmhash.index.engines import ENGINES, EXACT_ENGINES, check_engine, choose_engine, load_index, make_index
from llmhash.index.faiss import FaissIndex
from llmhash.index.flat import FlatIndex
from llmhash.index.hash_table import HashTableIndex
from llmhash.index.mih import MihIndex
from llmhash.index.usearch import UsearchIndex

__all__ = [
    "ENGINES",
    "EXACT_ENGINES",
    "NO_DISTANCE",
    "NO_KEY",
    "AsymmetricQueries",
    "FaissIndex",
    "FlatIndex",
    "HashTableIndex",
    "Index",
    "LocalMaps",
    "MihIndex",
    "NormCorrection",
    "RangeIndex",
    "TableQueries",
    "UsearchIndex",
    "asymmetric_scores",
    "asymmetric_search",
    "check_engine",
    "choose_engine",
    "load_index",
    "make_index",
    "recall_against_exact",
    "rescore",
]
