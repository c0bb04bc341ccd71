"""Kill a writer at random moments, again and again, and check each time that nothing was lost or torn.

python eval/crash.py --kills 200
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from store_harness.crashes import Crashes, Kill
from store_harness.documents import KINDS


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="kills, all over one collection")
    parser.add_argument("--documents", type=int, default=5_000, help="ids that documents are drawn from")
    parser.add_argument("--batch", type=int, default=500, help="documents of an operation, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    began = time.perf_counter()
    kills: list[Kill] = []
    failure = None
    folder = Path(tempfile.mkdtemp())
    try:
        crashes = Crashes(folder / "collection", arguments.documents, arguments.batch, arguments.seed)
        while len(kills) < arguments.kills:
            kills.append(crashes.kill_once())
            show_progress(kills, arguments.kills)
        crashes.finish()
        shutil.rmtree(folder)
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    figures = summary(kills, time.perf_counter() - began, failure)
    print(table(figures))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if failure is not None:
        sys.exit(f"after {len(kills)} kills: {failure} (the collection is kept in {folder})")


def show_progress(kills: list[Kill], total: int) -> None:
    last = kills[-1]
    line = f"kill {len(kills)} of {total}: {last.during} ({last.outcome}), {last.documents} documents"
    end = "\n" if not sys.stderr.isatty() and len(kills) % 10 == 0 else "\r"
    if sys.stderr.isatty() or end == "\n":
        print(f"{line:70}", end=end, file=sys.stderr, flush=True)


def summary(kills: list[Kill], seconds: float, failure: str | None) -> dict[str, Any]:
    in_flight = Counter((kill.during, kill.outcome) for kill in kills)
    acknowledged: Counter[str] = sum((kill.acknowledged for kill in kills), Counter())
    return {
        "kills": len(kills),
        "operations": {
            kind: {
                "killed": in_flight[kind, "undone"] + in_flight[kind, "kept"],
                "undone": in_flight[kind, "undone"],
                "kept": in_flight[kind, "kept"],
                "acknowledged": acknowledged[kind],
            }
            for kind in KINDS
        },
        "killed_between_operations": in_flight["between", "-"],
        "documents": kills[-1].documents if kills else 0,
        "seconds": round(seconds, 1),
        "failure": failure,
    }


def table(figures: dict[str, Any]) -> str:
    lines = [
        "| operation in flight | kills | undone | kept | acknowledged before |",
        "|---|---:|---:|---:|---:|",
    ]
    for kind, row in figures["operations"].items():
        lines.append(
            f"| {kind} | {row['killed']} | {row['undone']} | {row['kept']} | {row['acknowledged']} |"
        )
    lines.append(f"| none | {figures['killed_between_operations']} | | | |")
    result = "0 lost, 0 torn" if figures["failure"] is None else "FAILED"
    lines += ["", f"{figures['kills']} kills in {figures['seconds']} s: {result}"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
