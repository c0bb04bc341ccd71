"""Measuring peers on a task."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmhash.evaluation.peers.base import CENTROIDS, ByteArray, FloatArray, Peer, faiss_threads
from llmhash.evaluation.peers.registry import (
    SEEDLESS_PEERS,
    fit_peer,
    peer_obstacle,
    peer_widths,
)
from llmhash.evaluation.retrieval import PerQuery, RetrievalTask, evaluate
from llmhash.evaluation.summary import Measurement, TrainedOn, average, mean_seconds


@dataclass(frozen=True, eq=False)
class PeerRun:
    """What one fitted peer did on a task.

    Attributes:
        peer: The peer.
        codes: uint8 (n, bytes_per_document), the task's documents.
        values: Metrics of each query.
        seconds: Of fitting, encoding and searching.
    """

    peer: Peer
    codes: ByteArray
    values: PerQuery
    seconds: dict[str, float]


def measure_peers(
    task: RetrievalTask,
    training: FloatArray,
    *,
    names: Sequence[str],
    bits: Sequence[int],
    seeds: Sequence[int],
    trained_on: TrainedOn,
    threads: int = 1,
    progress: Callable[[str], None] | None = None,
) -> tuple[list[Measurement], list[str]]:
    """Fit and measure peers, each at every width it can do (see `peer_widths`).

    Args:
        task: What to measure on.
        training: float32 (n, d), document embeddings to fit on.
        names: From `peer_names`.
        bits: Widths, as the heads have them.
        seeds: Each peer in which something is random is fitted once per seed.
        trained_on: As of the heads.
        threads: FAISS's threads; more of them change sums and so, slightly, the fits.
        progress: Called with a line before each fit.

    Returns:
        The measurements, and notes on what was left out.
    """
    if names and len(training) < CENTROIDS:
        return [], [f"peers left out: {len(training)} documents, and a codebook has {CENTROIDS} entries."]
    measurements: list[Measurement] = []
    notes: list[str] = []
    for name in names:
        for width in peer_widths(name, bits, task.dim):
            obstacle = peer_obstacle(name, width, task.dim)
            if obstacle is not None:
                notes.append(f"{name} at {width} bits left out: {obstacle}.")
                continue
            runs: list[PeerRun] = []
            for seed in seeds[:1] if name in SEEDLESS_PEERS else seeds:
                if progress is not None:
                    progress(f"{name}, {width} bits, seed {seed}")
                with faiss_threads(threads):
                    runs.append(run_peer(name, training, task, width, seed=seed))
            measurements.append(peer_measurement(name, width, runs, trained_on, threads))
    return measurements, notes


def run_peer(name: str, training: FloatArray, task: RetrievalTask, bits: int, *, seed: int) -> PeerRun:
    """Fit a peer on training documents float32 (n, d), encode the task's and score them.

    Raises:
        InputError: The peer is unknown or cannot do that width.
    """
    began = time.perf_counter()
    peer = fit_peer(name, training, bits, seed=seed)
    fitted = time.perf_counter()
    codes = peer.encode(task.documents)
    encoded = time.perf_counter()
    values, searching = evaluate(task, peer.ranking(task.queries, codes))
    seconds = {"fit": fitted - began, "encode": encoded - fitted, "search": searching}
    return PeerRun(peer, codes, values, seconds)


def peer_measurement(
    name: str, bits: int, runs: Sequence[PeerRun], trained_on: TrainedOn, threads: int
) -> Measurement:
    """The runs of one peer at one width, averaged."""
    peer = runs[0].peer
    return Measurement(
        head=name,
        bits=bits,
        scoring=peer.scoring,
        trained_on=trained_on,
        bytes_per_document=peer.bytes_per_document,
        model_bytes=peer.model_bytes,
        values=average([run.values for run in runs]),
        seeds=len(runs),
        seconds=mean_seconds([run.seconds for run in runs]),
        settings=f"{peer.settings}, {threads} thread(s)",
    )
