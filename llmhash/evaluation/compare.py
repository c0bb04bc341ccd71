"""The evaluations behind the command line: one head, or teacher x heads x bits x scoring."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import check_bits
from llmhash.errors import InputError
from llmhash.evaluation.bench import CANDIDATES, SCORINGS, Bench, Run
from llmhash.evaluation.peers import measure_peers, peer_names
from llmhash.evaluation.retrieval import RetrievalTask
from llmhash.evaluation.summary import Report, TrainedOn, summarize
from llmhash.features import HeldOut
from llmhash.heads import Head, TrainingFeatures, fit_head, head_options

#: Heads in which nothing is random: they run once, whatever the number of seeds.
SEEDLESS = frozenset({"sign", "median", "pca"})

#: Called with a line on what is fitted next.
Progress = Callable[[str], None]


def compare(
    task: RetrievalTask,
    training: TrainingFeatures,
    *,
    heads: Sequence[str],
    bits: Sequence[int],
    scorings: Sequence[str] = SCORINGS,
    seeds: int = 3,
    peers: Sequence[str] = (),
    trained_on: TrainedOn = "in-corpus",
    candidates: int = CANDIDATES,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Fit heads and peers at several widths and measure them all on one task.

    Args:
        task: What to measure on.
        training: What to fit on.
        heads: Names that `fit_head` knows.
        bits: Widths. A head that cannot do one (sign, median and PCA beyond the dimension) is left out with a
            note.
        scorings: From `SCORINGS`.
        seeds: Fits of each head and peer, with the seeds 0, 1, ...; figures are means over them.
        peers: Names of `llmhash.evaluation.peers.PEERS`, or of its `GROUPS`, such as "faiss".
        trained_on: Whether `training` holds the task's documents.
        candidates: Candidates a query of the scorings `asymmetric` and `int8`.
        options: Settings of heads by name.
        threads: Threads of the peers.
        progress: Called with a line before each fit.

    Returns:
        The report; see `summarize`.

    Raises:
        InputError: A name, a width or a number is not usable.
        MissingExtraError: Peers are asked for and FAISS is not installed.
    """
    if training.dim != task.dim:
        raise InputError(f"training features have {training.dim} dimensions, the task's {task.dim}.")
    if seeds < 1:
        raise InputError(f"seeds must be at least 1, not {seeds}.")
    for name in heads:
        head_options(name)  # An unknown head is refused before anything is fitted.
    widths = [check_bits(width) for width in bits]
    chosen_peers = peer_names(peers)
    bench = Bench(task, scorings, candidates)
    measurements = bench.teacher()
    notes: list[str] = []
    for name in heads:
        for width in widths:
            try:
                runs = _runs(bench, training, name, width, seeds, (options or {}).get(name), progress)
            except InputError as error:
                if width <= task.dim:
                    raise
                notes.append(f"{name} at {width} bits left out: {error}")
            else:
                measurements += bench.measurements(name, runs, trained_on)
    of_peers, peer_notes = measure_peers(
        task,
        training.documents,
        names=chosen_peers,
        bits=widths,
        seeds=range(seeds),
        trained_on=trained_on,
        threads=threads,
        progress=progress,
    )
    return summarize(task, [*measurements, *of_peers], notes=[*notes, *peer_notes])


def evaluate_head(
    task: RetrievalTask,
    head: Head,
    *,
    name: str,
    trained_on: TrainedOn,
    scorings: Sequence[str] = SCORINGS,
    candidates: int = CANDIDATES,
) -> Report:
    """Measure a fitted head on one task.

    Args:
        task: What to measure on.
        head: The head.
        name: What its rows are called.
        trained_on: Whether it was fitted on the task's documents.
        scorings: From `SCORINGS`.
        candidates: Candidates a query of the scorings `asymmetric` and `int8`.

    Returns:
        The report; see `summarize`.

    Raises:
        InputError: The head takes features of another dimension, or a name or a number is not usable.
    """
    bench = Bench(task, scorings, candidates)
    return summarize(task, [*bench.teacher(), *bench.measurements(name, [bench.run(head, {})], trained_on)])


def held_out_report(
    head: Head,
    documents: NDArray[np.float32],
    held_out: HeldOut,
    *,
    name: str = "distill",
    teacher: str = "teacher",
    scorings: Sequence[str] = ("hamming", "asymmetric_scan"),
) -> Report:
    """What a head keeps of its teacher on pseudo-queries that it was not fitted on.

    Each query's own source is its one relevant document: the figures are those of a known-item search.

    Args:
        head: The head.
        documents: float32 (n, d), the corpus it was fitted on.
        held_out: The pseudo-queries.
        name: What its rows are called.
        teacher: The teacher's name.
        scorings: From `SCORINGS`.

    Returns:
        The report; see `summarize`.
    """
    task = RetrievalTask.from_rows(
        documents,
        held_out.queries,
        held_out.sources[:, None],
        data="pseudo-queries",
        split="held-out",
        teacher=teacher,
    )
    return evaluate_head(task, head, name=name, trained_on="in-corpus", scorings=scorings)


def _runs(
    bench: Bench,
    training: TrainingFeatures,
    name: str,
    bits: int,
    seeds: int,
    options: Mapping[str, Any] | None,
    progress: Progress | None,
) -> list[Run]:
    """Fit one head at one width with every seed, and measure each fit."""
    runs = []
    for seed in range(1 if name in SEEDLESS else seeds):
        if progress is not None:
            progress(f"{name}, {bits} bits, seed {seed}")
        began = time.perf_counter()
        head = fit_head(name, training, bits, seed=seed, options=options)
        runs.append(bench.run(head, {"fit": time.perf_counter() - began}))
    return runs
