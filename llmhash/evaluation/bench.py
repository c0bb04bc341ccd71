"""Measuring fitted heads on a task, every scoring: the bench that all evaluations share."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes, bytes_per_code
from llmhash.errors import InputError
from llmhash.evaluation.rankings import (
    Asymmetric,
    AsymmetricScan,
    HammingRanking,
    Int8Documents,
    Int8Rescored,
    Ranking,
)
from llmhash.evaluation.retrieval import PerQuery, RetrievalTask, evaluate
from llmhash.evaluation.summary import (
    Measurement,
    TrainedOn,
    average,
    mean_seconds,
    teacher_measurement,
)
from llmhash.heads import Head

#: How documents can be scored; "float" is the teacher itself.
SCORINGS = ("float", "hamming", "asymmetric", "asymmetric_scan", "int8")
#: Candidates that `asymmetric` and `int8` rescore: ten times the depth of the headline metric.
CANDIDATES = 100
# Documents that pass through a head at a time.
_ENCODE_ROWS = 1 << 16


@dataclass(frozen=True, eq=False)
class Run:
    """What one fitted head did on a task.

    Attributes:
        head: The head.
        documents: Its codes of the task's documents.
        values: Metrics of each query, by scoring.
        seconds: Durations, by scoring.
    """

    head: Head
    documents: Codes
    values: dict[str, PerQuery]
    seconds: dict[str, dict[str, float]]


class Bench:
    """Runs heads on a task; what does not depend on the head is made once.

    Args:
        task: What to measure on.
        scorings: From `SCORINGS`; they are measured in the order in which they stand there.
        candidates: Candidates a query of the scorings `asymmetric` and `int8`.

    Raises:
        InputError: A scoring is unknown, or there are no candidates.
    """

    def __init__(self, task: RetrievalTask, scorings: Sequence[str], candidates: int) -> None:
        for scoring in scorings:
            if scoring not in SCORINGS:
                raise InputError(f"unknown scoring {scoring!r}; there are {', '.join(SCORINGS)}.")
        if candidates < 1:
            raise InputError(f"candidates must be at least 1, not {candidates}.")
        self.task = task
        self.with_teacher = "float" in scorings
        self.scorings = [scoring for scoring in SCORINGS if scoring in scorings and scoring != "float"]
        self.candidates = candidates
        self.int8 = Int8Documents.encode(task.documents) if "int8" in self.scorings else None

    def teacher(self) -> list[Measurement]:
        """The teacher's row, or none where its scoring was not asked for."""
        return [teacher_measurement(self.task)] if self.with_teacher else []

    def run(self, head: Head, seconds: Mapping[str, float], documents: Codes | None = None) -> Run:
        """Encode the task with a head and measure every scoring.

        Args:
            head: A fitted head.
            seconds: Durations of what came before, kept beside those of encoding and searching.
            documents: The head's codes of the task's documents, where they are known already.

        Raises:
            InputError: The head takes features of another dimension.
        """
        if head.dim != self.task.dim:
            raise InputError(
                f"this head takes {head.dim} dimensions but the embeddings have {self.task.dim}; "
                "evaluate it with its own teacher's."
            )
        began = time.perf_counter()
        if documents is None:
            documents = encode_documents(head, self.task.documents)
        encoding = {**seconds, "encode": time.perf_counter() - began}
        values: dict[str, PerQuery] = {}
        durations: dict[str, dict[str, float]] = {}
        for scoring, ranking in self._rankings(head, documents):
            values[scoring], searching = evaluate(self.task, ranking)
            durations[scoring] = {**encoding, "search": searching}
        return Run(head, documents, values, durations)

    def measurements(self, name: str, runs: Sequence[Run], trained_on: TrainedOn) -> list[Measurement]:
        """One measurement a scoring, averaged over the runs of one head at one width."""
        head = runs[0].head
        sidecar = self.int8.bytes_per_document if self.int8 is not None else 0
        return [
            Measurement(
                head=name,
                bits=head.bits,
                scoring=scoring,
                trained_on=trained_on,
                bytes_per_document=bytes_per_code(head.bits) + (sidecar if scoring == "int8" else 0),
                # Seeds may differ in whether a codebook earned its place.
                model_bytes=max(run.head.nbytes for run in runs),
                values=average([run.values[scoring] for run in runs]),
                seeds=len(runs),
                seconds=mean_seconds([run.seconds[scoring] for run in runs]),
                candidates=self.candidates if scoring in ("asymmetric", "int8") else None,
            )
            for scoring in self.scorings
        ]

    def _rankings(self, head: Head, documents: Codes) -> Iterator[tuple[str, Ranking]]:
        queries = self.task.queries
        if "hamming" in self.scorings:
            yield "hamming", HammingRanking(head.query_codes(queries), documents)
        others = [scoring for scoring in self.scorings if scoring != "hamming"]
        if not others:  # A codebook's tables are the largest thing here, and not wanted then.
            return
        scan = AsymmetricScan(head.asymmetric_queries(queries), documents)
        for scoring in others:
            if scoring == "asymmetric":
                yield scoring, Asymmetric(scan.queries, documents, self.candidates)
            elif scoring == "asymmetric_scan":
                yield scoring, scan
            elif self.int8 is not None:
                yield scoring, Int8Rescored(scan, queries, self.int8, self.candidates)


def encode_documents(head: Head, documents: NDArray[np.float32]) -> Codes:
    """Codes of document features float32 (n, d), some rows at a time."""
    parts = [
        head.document_codes(documents[start : start + _ENCODE_ROWS]).packed
        for start in range(0, len(documents), _ENCODE_ROWS)
    ]
    return Codes(np.concatenate(parts), head.bits)
