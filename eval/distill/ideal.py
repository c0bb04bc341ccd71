"""What an ideal quantizer would keep of the pool's ranking: how far codes of so many bits are from the most.

python eval/distill/ideal.py --data DATA --output eval/results/distill

In the space where `scan` chooses codes (`llmhash.heads.query_space`), documents are taken to be drawn from a
mixture of as many Gaussians as there are groups: a group's number costs its bits, and what is left goes to
the directions of its covariance by reverse water-filling (Cover and Thomas, "Elements of Information Theory",
theorem 10.3.3). The test channel that attains the rate-distortion function then says where documents come
out: what the best code of such a source would make of them, were ever so many documents coded together. Means
and covariances are those of the measured documents themselves. Real documents are not drawn from Gaussians: a
code may know more of them than a mixture does, and this bounds none.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cells import write_json
from numpy.typing import NDArray
from sets import LARGE, SETS, FloatArray, IntArray, Setting, Teacher, open_pooled

from llmhash.evaluation import evaluate
from llmhash.evaluation.rankings import FloatRanking
from llmhash.heads.query_space import QuerySpace
from llmhash.recipes import load_recipe

#: As many as `scan` has local maps for in codes of up to 16 bytes, and in wider ones.
GROUPS = (64, 256)
_METRICS = ("ndcg@10", "overlap@10")


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _parser().parse_args(arguments)
    teacher = Teacher(asked.teacher, "openvino", "bfloat16", LARGE, asked.embeddings)
    setting = open_pooled(asked.data, teacher, most_queries=2000, sizes=[])
    stored = asked.output / "ideal.json"
    rows = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else []
    for bits in asked.bits:
        points = Points.of(setting, bits)
        for groups, seed in [(0, 0), *((groups, seed) for seed in range(asked.seeds) for groups in GROUPS)]:
            if not any((row["bits"], row["groups"], row["seed"]) == (bits, groups, seed) for row in rows):
                rows.append({"bits": bits, "groups": groups, "seed": seed, **points.measured(groups, seed)})
                write_json(stored, rows)
                print(time.strftime("%H:%M:%S"), rows[-1], file=sys.stderr, flush=True)
    (asked.output / "ideal.md").write_text(page(rows), encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Points:
    """The pool's documents and queries where `scan` chooses codes of so many bits.

    Attributes:
        setting: The pool.
        bits: Of a code.
        documents: float32 (n, d), centred.
        queries: float32 (q, d).
    """

    setting: Setting
    bits: int
    documents: FloatArray
    queries: FloatArray

    @classmethod
    def of(cls, setting: Setting, bits: int) -> Points:
        """Those of the space that the pool's pseudo-queries tell."""
        training = setting.training(load_recipe("scan").pseudo_queries)
        space = QuerySpace.fit(training, bits)
        queries = (setting.task.queries - space.query_mean) @ space.query_map.T
        return cls(setting, bits, space.documents(setting.task.documents), queries)

    def measured(self, groups: int, seed: int) -> dict[str, float | list[float]]:
        """Figures of points as an ideal quantizer of so many groups leaves them, or with 0 as they are."""
        vectors = self.documents
        if groups:
            vectors = ideal(vectors, _grouped(vectors, groups, seed), self.bits - np.log2(groups), seed)
        error = np.square(self.documents - vectors).sum() / np.square(self.documents).sum()
        # The largest product is the least distance.
        norms = np.einsum("nd,nd->n", vectors, vectors)[:, None]
        queries = np.concatenate([self.queries, np.ones((len(self.queries), 1), np.float32)], axis=1)
        ranking = FloatRanking(queries, np.concatenate([vectors, -norms / 2], axis=1))
        values, _ = evaluate(self.setting.task, ranking)
        parts = [self.setting.parts[name] for name in SETS]
        found, teacher = (
            {metric: [each[metric][part].mean() for part in parts] for metric in _METRICS}
            for each in (values, self.setting.task.teacher_values)
        )
        kept = np.divide(found["ndcg@10"], teacher["ndcg@10"])
        return {
            "error": round(float(error), 4),
            "overlap@10": round(float(np.mean(found["overlap@10"])), 4),
            "retention": [round(float(share), 4) for share in kept],
        }


def ideal(points: FloatArray, groups: IntArray, rate: float, seed: int) -> FloatArray:
    """Points float32 (n, d) as codes of `rate` bits beside the group's number, int64 (n,), leave them."""
    rng = np.random.default_rng(seed)
    left = np.empty_like(points)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        mean = points[rows].mean(axis=0)
        centred = (points[rows] - mean).astype(np.float64)
        variances, axes = np.linalg.eigh(centred.T @ centred / len(rows))
        variances = np.maximum(variances, np.finfo(np.float64).tiny)
        level = water_level(variances, rate)
        share = np.maximum(0, 1 - level / variances)
        noise = rng.standard_normal(centred.shape) * np.sqrt(level * share)
        left[rows] = mean + (centred @ axes * share + noise) @ axes.T
    return left


def water_level(variances: NDArray[np.float64], rate: float) -> float:
    """The error D of each direction that is coded: `sum_i max(0, log2(v_i / D)) / 2` is the rate in bits."""
    logs = np.sort(np.log2(variances))[::-1]
    levels = (np.cumsum(logs) - 2 * rate) / np.arange(1, len(logs) + 1)
    coded = np.flatnonzero(logs > levels)
    return float(2.0 ** levels[coded[-1]])


def _grouped(points: FloatArray, groups: int, seed: int) -> IntArray:
    """The group of each point, int64 (n,): k-means."""
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(groups, n_init=3, batch_size=1 << 14, random_state=seed)
    return means.fit_predict(points).astype(np.int64)


def page(rows: Sequence[dict[str, object]]) -> str:
    """The figures as Markdown, means over seeds."""
    doc = (__doc__ or "").strip().split("\n\n")
    lines = ["# " + doc[0].rstrip("."), "", doc[2], "", "Made by", "", "```", doc[1], "```", ""]
    lines += ["Groups 0: points as they are, without a code. Squared error in shares of the variance;"]
    lines += ["overlap with the teacher's ten best and retention of nDCG@10 in means over the six sets.", ""]
    header = ["bytes", "groups", "seeds", "error", "overlap@10", "retention", *SETS]
    lines += ["| " + " | ".join(header) + " |", "|" + " ---: |" * len(header)]
    for bits, groups in sorted({(row["bits"], row["groups"]) for row in rows}):
        same = [row for row in rows if (row["bits"], row["groups"]) == (bits, groups)]
        kept = np.mean([row["retention"] for row in same], axis=0)
        figures = [np.mean([row[name] for row in same]) for name in ("error", "overlap@10")]
        numbers = [*figures, kept.mean(), *kept]
        cells = [str(bits // 8), str(groups), str(len(same)), *(f"{number:.3f}" for number in numbers)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of the sets")
    add("--output", type=Path, required=True, help="folder of the results")
    add("--bits", type=int, nargs="+", default=[256], help="widths")
    add("--seeds", type=int, default=3, help="of groups and channels")
    add("--teacher", default="minilm", help="alias, hub id or folder of the model")
    add("--embeddings", type=Path, help="folder of SET.npz, embeddings of sets alone")
    return parser


if __name__ == "__main__":
    main()
