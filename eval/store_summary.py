"""One Markdown page of what the store was measured to do, from the JSON files of three runs.

python eval/store_summary.py eval/results/store > eval/results/store/README.md

The folder holds `store.json` (eval/bench/store.py), `crash.json` (eval/crash.py) and `readers.json`
(eval/readers.py).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER = """\
# The store: what a collection costs, and what it survives

Made by these commands on {processor}, {cores} cores, {memory_gib} GiB of memory:

```
{command}
python eval/crash.py --kills {kills} --json crash.json
python eval/readers.py --readers {readers} --seconds {seconds:.0f} --json readers.json
```

## {documents:,} documents of {bits} bits
"""
TITLES = {
    "ids": "ids only",
    "texts": "ids and short texts",
    "fields": "ids, metadata, an indexed field",
}
MEBIBYTE = 1 << 20


def main(folder: Path) -> None:
    store, crash, readers = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("store", "crash", "readers")
    )
    about = store["about"]
    print(
        HEADER.format(
            **about["machine"],
            command=about["command"],
            kills=crash["kills"],
            readers=len(readers["readers"]),
            seconds=readers["seconds"],
            documents=about["documents"],
            bits=about["bits"],
        )
    )
    print(f"| | {' | '.join(TITLES[name] for name in store['parts'])} |")
    print(f"|---|{'---:|' * len(store['parts'])}")
    columns = [dict(figures(part)) for part in store["parts"].values()]
    for name in dict.fromkeys(name for column in columns for name in column):
        print(f"| {name} | {' | '.join(column.get(name, '') for column in columns)} |")
    print("\n## Killed writers\n")
    print("| operation in flight | kills | undone | kept |\n|---|---:|---:|---:|")
    for name, row in crash["operations"].items():
        print(f"| {name} | {row['killed']} | {row['undone']} | {row['kept']} |")
    print(f"| none | {crash['killed_between_operations']} | | |")
    print("\nAfter each kill everything acknowledged was there and nothing else, and `verify` passed.")
    print("\n## Readers beside a writer\n")
    checked = sum(reader["documents checked"] for reader in readers["readers"])
    seen = sum(reader["compactions seen"] for reader in readers["readers"])
    print(
        f"{len(readers['readers'])} reader processes checked {checked:,} documents in "
        f"{readers['seconds']:.0f} s and saw {seen:,} compactions: no wrong result, no torn one, no signal."
    )


def figures(part: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The rows of a part's column."""
    yield "documents added a second", f"{part['documents_per_second']:,.0f}"
    yield "bytes on disk a document, beyond its text", f"{part['bytes_per_document_beyond_text']:.1f}"
    opened = part["reopened"]
    yield "reopening, ms", f"{1000 * opened['seconds']:.1f}"
    memory = opened["memory"]
    for state in ("opened", "searched"):
        for kind, what in (("RssAnon", "of its own"), ("RssFile", "of mapped files")):
            grown = (memory[state][kind] - memory["before"][kind]) / MEBIBYTE
            yield f"memory {what} once {state}, MiB more", f"{grown:.1f}"
    yield (
        "one query, first and later ones, ms",
        both(opened["first_search_seconds"], opened["search_seconds"]),
    )
    for share, row in part.get("filtered", {}).items():
        if "first_seconds" in row:
            times = both(row["first_seconds"], row["cached_seconds"])
            yield f"one query under a filter that {share} satisfy, first and cached, ms", times
    for name, seconds in part.get("changes", {}).items():
        if name.endswith("_seconds"):
            what = name.removesuffix("_seconds")
            count = f" {part['changes']['changed']:,}" if what in ("add", "delete") else ""
            yield f"{what}{count}, ms", f"{1000 * seconds:,.1f}"


def both(first: float, later: float) -> str:
    return f"{1000 * first:,.1f}; {1000 * later:,.1f}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
