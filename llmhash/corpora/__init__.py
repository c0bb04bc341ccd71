"""Texts, labels, queries, judgements and vectors, read from the files people have."""

from llmhash.corpora.beir import (
    Qrels,
    RetrievalSet,
    read_qrels,
    read_retrieval_set,
    read_training_queries,
    read_training_split,
)
from llmhash.corpora.documents import Documents
from llmhash.corpora.hub import read_hub_corpus
from llmhash.corpora.labels import Labelled, LabelSet, overlap, read_label_set
from llmhash.corpora.python_manual import python_manual
from llmhash.corpora.read import read_corpus
from llmhash.corpora.vectors import read_vectors

__all__ = [
    "Documents",
    "LabelSet",
    "Labelled",
    "Qrels",
    "RetrievalSet",
    "overlap",
    "python_manual",
    "read_corpus",
    "read_hub_corpus",
    "read_label_set",
    "read_qrels",
    "read_retrieval_set",
    "read_training_queries",
    "read_training_split",
    "read_vectors",
]
