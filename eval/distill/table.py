"""The table: what codes of 8, 16 and 32 bytes keep of a teacher's ranking, beside their peers.

python eval/distill/table.py --data DATA --output eval/results/distill

DATA is a folder of BEIR-layout sets. Every fit is a cell of its own under OUTPUT/cells: an interrupted run
goes on where it stopped, and `--again ROW` makes one row anew.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cells import Cells, Key
from page import details, readme
from rows import FLOAT, Row
from sets import LARGE, POOLED, SETS, Setting, Teacher, open_alone, open_pooled
from summary import Summary

from llmhash.evaluation.peers import PEERS, peer_names

#: Rows in the order in which they are made: the slowest last.
ROWS = (FLOAT, "sign", "itq", "rca", "scan", "distill", *(peer for peer in PEERS if peer != "lsq"), "lsq")
PLOT = "retention.svg"


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _parser().parse_args(arguments)
    cells = Cells(asked.output / "cells")
    cells.settle(
        {
            "teacher": asked.teacher,
            "large_backend": asked.large_backend,
            "large_dtype": asked.large_dtype,
            "large_sets": asked.large_sets,
            "most_queries": asked.pooled_queries,
            "sizes": asked.sizes,
        }
    )
    rows = [Row(name, asked.threads) for name in asked.rows]
    peer_names([row.name for row in rows if row.name in PEERS])  # Where FAISS is missing, that is said now.
    teacher = Teacher(
        asked.teacher, asked.large_backend, asked.large_dtype, asked.large_sets, asked.embeddings
    )
    if not asked.summary:
        for name in asked.sets:
            missing = _missing(cells, rows, name, teacher.encoder.dim, asked)
            if missing:
                _fill(cells, missing, _open(name, teacher, asked))
                gc.collect()
    _write(cells, asked)


def _missing(
    cells: Cells, rows: Sequence[Row], setting: str, dim: int, asked: argparse.Namespace
) -> list[tuple[Row, Key]]:
    """The cells of a setting that are still to be made, the teacher's always first."""
    first = [row for row in rows if row.name == FLOAT] or [Row(FLOAT)]
    wanted = [
        (row, Key(setting, row.name, bits, seed))
        for row in [*first, *(row for row in rows if row.name != FLOAT)]
        for bits in row.widths(asked.bits, dim)
        for seed in row.seeds(asked.seeds)
    ]
    return [(row, key) for row, key in wanted if key not in cells or row.name in asked.again]


def _open(name: str, teacher: Teacher, asked: argparse.Namespace) -> Setting:
    _say(f"{name}: reading and embedding")
    if name == POOLED:
        return open_pooled(asked.data, teacher, most_queries=asked.pooled_queries, sizes=asked.sizes)
    return open_alone(asked.data, name, teacher)


def _fill(cells: Cells, missing: Sequence[tuple[Row, Key]], setting: Setting) -> None:
    for row, key in missing:
        began = time.perf_counter()
        cells.put(key, *row.run(setting, key.bits, key.seed))
        _say(f"{key.stem}: {time.perf_counter() - began:.0f} s")


def _write(cells: Cells, asked: argparse.Namespace) -> None:
    """Make the pages and the picture from all cells there are."""
    from plot import draw

    summary = Summary(cells, SETS, asked.ours)
    if not summary.alone() and not summary.pooled(SETS):
        _say("no cells yet: nothing to summarise")
        return
    drawn = draw(summary, asked.output / PLOT)
    command = f"python eval/distill/table.py --data DATA --output OUTPUT --teacher {asked.teacher}"
    if asked.large_sets != list(LARGE):
        command += f" \\\n    --large-sets {','.join(asked.large_sets)}"
    pages = {
        "README.md": readme(summary, cells.about(), command, PLOT if drawn else None),
        "details.md": details(summary),
    }
    for name, text in pages.items():
        (asked.output / name).write_text(text, encoding="utf-8")
        _say(f"wrote {asked.output / name}")


def _say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of the sets")
    add("--output", type=Path, required=True, help="folder of the results")
    add("--sets", type=_names, default=[*SETS, POOLED], help=f"by commas; {POOLED} for all of them together")
    add("--rows", type=_names, default=list(ROWS), help="recipes and peers, by commas")
    add("--bits", type=_numbers, default=[64, 128, 256], help="widths, by commas")
    add("--seeds", type=int, default=3, help="fits of each row, with seeds 0, 1, ...")
    add("--teacher", default="minilm", help="alias, hub id or folder of the model")
    add("--large-sets", type=_names, default=list(LARGE), help="embedded by --large-backend, by commas")
    add("--large-backend", default="openvino", help="what embeds the large sets")
    add("--large-dtype", default="bfloat16", help="and what it computes in")
    add("--embeddings", type=Path, help="folder of SET.npz, embeddings of sets alone")
    add("--pooled-queries", type=int, default=2000, help="queries of a set in the pool at most")
    add("--sizes", type=_numbers, default=[1_000, 10_000, 100_000], help="of the curve's databases")
    add("--threads", type=int, default=1, help="threads of the peers")
    add("--again", type=_names, default=[], help="rows to make anew")
    add(
        "--ours",
        type=_names,
        default=["distill", "scan", "rca"],
        help="rows whose lead over the others is reported",
    )
    add("--summary", action="store_true", help="make the pages from the cells there are, fit nothing")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in _names(text)]


if __name__ == "__main__":
    main()
