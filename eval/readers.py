"""Readers beside a writer that adds, upserts, deletes and compacts: whatever a reader sees is checked.

python eval/readers.py --readers 4 --seconds 60
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from store_harness.reading import Report, read_while_writing


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--readers", type=int, default=4, help="processes that read")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--documents", type=int, default=3_000, help="ids that documents are drawn from")
    parser.add_argument("--batch", type=int, default=300, help="documents of an operation, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Whatever goes wrong in any process is raised here, and the exit status with it.
        report = read_while_writing(
            Path(folder) / "collection",
            readers=arguments.readers,
            seconds=arguments.seconds,
            numbers=arguments.documents,
            batch=arguments.batch,
            seed=arguments.seed,
        )
    print(table(report))
    if arguments.json is not None:
        figures = {"seconds": arguments.seconds, **vars(report)}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def table(report: Report) -> str:
    readers = range(1, len(report.readers) + 1)
    lines = ["| what | " + " | ".join(f"reader {reader}" for reader in readers) + " |"]
    lines.append("|---|" + "---:|" * len(readers))
    for what in sorted(set().union(*report.readers)):
        counts = " | ".join(f"{counts[what]}" for counts in report.readers)
        lines.append(f"| {what.replace('_', ' ')} | {counts} |")
    operations = ", ".join(f"{count} {kind}" for kind, count in report.operations.items())
    lines += ["", f"The writer's operations: {operations}; {report.documents} documents in the end."]
    lines.append("No wrong result, no torn result, no signal.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
