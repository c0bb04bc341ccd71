"""The table's rows: heads from recipes and peers, each fitted on a setting and measured on all its parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cells import STORED, Figures, Values
from sets import IntArray, Setting

from llmhash.codes import Codes
from llmhash.evaluation import CANDIDATES, RetrievalTask, evaluate
from llmhash.evaluation.bench import Bench
from llmhash.evaluation.compare import SEEDLESS
from llmhash.evaluation.peers import (
    PEERS,
    SEEDLESS_PEERS,
    faiss_threads,
    peer_measurement,
    peer_obstacle,
    peer_widths,
    run_peer,
)
from llmhash.evaluation.retrieval import PerQuery
from llmhash.evaluation.summary import Measurement, teacher_measurement
from llmhash.heads import fit_head
from llmhash.recipes import Recipe, load_recipe

#: The teacher itself.
FLOAT = "float"
#: How heads are scored; no float store is needed.
SCORINGS = ("hamming", "asymmetric_scan")

# Heads that read pseudo-queries only where the teacher's sides differ.
_CLOSED_FORM = ("sign", "median", "lsh", "pca", "itq")

#: What a fitted row says of a task whose documents are all of the corpus (None) or those rows of it.
_Measure = Callable[[RetrievalTask, IntArray | None], dict[str, PerQuery]]


@dataclass(frozen=True, eq=False)
class Row:
    """A row of the table.

    Attributes:
        name: "float", a recipe's name or a peer's.
        threads: Threads of peers.
    """

    name: str
    threads: int = 1

    def __post_init__(self) -> None:
        if self.name != FLOAT and self.name not in PEERS:
            load_recipe(self.name)  # An unknown row is refused before anything is fitted.

    def widths(self, bits: Sequence[int], dim: int) -> list[int]:
        """The widths it is fitted at."""
        if self.name == FLOAT:
            return [32 * dim]
        if self.name not in PEERS:
            return list(bits)
        return [
            width
            for width in peer_widths(self.name, bits, dim)
            if peer_obstacle(self.name, width, dim) is None
        ]

    def seeds(self, seeds: int) -> range:
        """Its seeds: one where nothing is random."""
        once = self.name == FLOAT or self.name in SEEDLESS_PEERS
        if not once and self.name not in PEERS:
            once = load_recipe(self.name).head in SEEDLESS
        return range(1 if once else seeds)

    def run(self, setting: Setting, bits: int, seed: int) -> tuple[dict[str, Figures], Values]:
        """Fit the row on a setting and measure it on all parts and points."""
        if self.name == FLOAT:
            return _run_teacher(setting)
        if self.name in PEERS:
            with faiss_threads(self.threads):
                return _run_peer(setting, self.name, bits, seed, self.threads)
        return _run_head(setting, load_recipe(self.name, bits=bits, seed=seed))


def _run_teacher(setting: Setting) -> tuple[dict[str, Figures], Values]:
    def measure(task: RetrievalTask, _rows: IntArray | None) -> dict[str, PerQuery]:
        return {FLOAT: task.teacher_values}

    return _collect(setting, [teacher_measurement(setting.task)], measure)


def _run_head(setting: Setting, recipe: Recipe) -> tuple[dict[str, Figures], Values]:
    wanted = recipe.head not in _CLOSED_FORM or setting.encoder.sides_differ
    training = setting.training(recipe.pseudo_queries if wanted else 0)
    began = time.perf_counter()
    head = fit_head(recipe.head, training, recipe.bits, seed=recipe.seed, options=recipe.options)
    fitting = time.perf_counter() - began
    bench = Bench(setting.task, SCORINGS, CANDIDATES)
    run = bench.run(head, {"fit": fitting})

    def measure(task: RetrievalTask, rows: IntArray | None) -> dict[str, PerQuery]:
        if rows is None:
            return run.values
        codes = Codes(run.documents.packed[rows], run.documents.bits)
        return Bench(task, SCORINGS, CANDIDATES).run(head, {}, codes).values

    return _collect(setting, bench.measurements(recipe.name, [run], "in-corpus"), measure)


def _run_peer(
    setting: Setting, name: str, bits: int, seed: int, threads: int
) -> tuple[dict[str, Figures], Values]:
    run = run_peer(name, setting.task.documents, setting.task, bits, seed=seed)

    def measure(task: RetrievalTask, rows: IntArray | None) -> dict[str, PerQuery]:
        if rows is None:
            return {run.peer.scoring: run.values}
        ranking = run.peer.ranking(task.queries, run.codes[rows])
        return {run.peer.scoring: evaluate(task, ranking)[0]}

    return _collect(setting, [peer_measurement(name, bits, [run], "in-corpus", threads)], measure)


def _collect(
    setting: Setting, measurements: Sequence[Measurement], measure: _Measure
) -> tuple[dict[str, Figures], Values]:
    """Figures by scoring, and the values of every part and point."""
    figures = {
        each.scoring: Figures(
            each.bytes_per_document,
            each.model_bytes,
            {name: round(seconds, 3) for name, seconds in each.seconds.items()},
            "; ".join(filter(None, [each.settings, STORED if setting.stored else None])) or None,
            len(setting.task.documents),
        )
        for each in measurements
    }
    values: Values = {scoring: {} for scoring in figures}
    for scoring, whole in measure(setting.task, None).items():
        for part, queries in setting.parts.items():
            values[scoring][part] = {metric: each[queries] for metric, each in whole.items()}
    for point in setting.points:
        for scoring, metrics in measure(point.task, point.rows).items():
            values[scoring][point.name] = metrics
    return figures, values
