"""The label table's page, from its cells."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from published import BEST_64, FEW_BITS, PUBLISHED

Cell = dict[str, Any]
_TITLES = {"tfidf": "words (TF-IDF)", "minilm": "`minilm` sentence embeddings", "tokens": "`minilm` tokens"}
_FEW = 12
_METHOD = """Precision@100, an expectation over ties: training documents are the database, test documents
the queries, relevant is what shares a label. `survey`: all documents pooled, shuffled, divided 8:1:1.
`official`: the set's own split. Settings are the recipes' own; training stops by Precision@100 of validation
documents, or by time. Several seeds are given as mean ± standard deviation. *Published* figures are of the
survey's tables, on words, on the authors' splits; several papers chose the epoch on test documents, which is
not done here."""


def write_pages(output: Path, command: str) -> None:
    """Write `README.md` from all cells under `output`."""
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(output.glob("cells/*/*.json"))]
    if not cells:
        return
    lines = ["# Codes under the label protocol", "", _METHOD, "", "Made by", "", "```", command, "```", ""]
    settings = sorted({(cell["data"], cell["protocol"]) for cell in cells})
    for data, protocol in settings:
        lines += _setting(
            data, protocol, [c for c in cells if (c["data"], c["protocol"]) == (data, protocol)]
        )
    (output / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _setting(data: str, protocol: str, cells: Sequence[Cell]) -> list[str]:
    made = [cell for cell in cells if "refused" not in cell]
    if not made:
        return []
    first = made[0]
    lines = [
        f"## {data}, {protocol}",
        "",
        f"{first['documents']:,} documents, {first['queries']:,} queries, {first['classes']} labels.",
        "",
    ]
    for features in ("tfidf", "minilm", "tokens"):
        own = [cell for cell in cells if cell["features"] == features]
        if own:
            lines += _table(data, features, own)
    return lines


def _table(data: str, features: str, cells: Sequence[Cell]) -> list[str]:
    widths = sorted({cell["bits"] for cell in cells})
    groups: dict[str, dict[int, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        groups[cell["method"]][cell["bits"]].append(cell)
    floats = {
        f"{row['encoder']}, {row['dim']} dimensions": row["precision@100"]
        for cell in cells
        if "refused" not in cell
        for row in cell["floats"]
    }
    said = "; ".join(f"{value:.3f} ({name})" for name, value in sorted(floats.items()))
    head = ["method", *(column for bits in widths for column in (f"{bits} bits", "published", "seconds"))]
    said += ". Embeddings were computed before, and rounded to float16" if _stored(cells) else ""
    lines = [f"### {_TITLES[features]}", "", f"Float features by cosine: {said}.", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for method, by_width in groups.items():
        row = [method]
        for bits in widths:
            row += _columns(data, method, bits, by_width.get(bits, []))
        lines.append("| " + " | ".join(row) + " |")
    refused = {cell["method"]: cell["refused"] for cell in cells if "refused" in cell}
    lines += ["", *(f"- {method} was refused: {reason}" for method, reason in refused.items())]
    if BEST_64.get(data) and 64 in widths:
        lines.append(f"- The survey's best unsupervised figure at 64 bits: {BEST_64[data]:.3f}.")
    few = {bits: value for bits, value in FEW_BITS.get(data, {}).items() if bits in widths}
    if few and min(widths) <= _FEW:
        lines.append(
            "- The WISH paper at few bits: " + ", ".join(f"{b}: {v:.3f}" for b, v in few.items()) + "."
        )
    return [*lines, ""]


def _stored(cells: Iterable[Cell]) -> bool:
    return any(cell.get("stored_embeddings") for cell in cells)


def _columns(data: str, method: str, bits: int, cells: Iterable[Cell]) -> list[str]:
    made = [cell for cell in cells if "refused" not in cell]
    if not made:
        return ["", "", ""]
    values = [cell["precision@100"] for cell in made]
    figure = f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")
    # Published figures are not of sentence embeddings.
    comparable = PUBLISHED.get(data, {}) if made[0]["features"] != "minilm" else {}
    published = comparable.get(method, {}).get(bits)
    seconds = np.median([cell["seconds"]["fit"] for cell in made])
    return [figure, "" if published is None else f"{published:.3f}", f"{seconds:.0f}"]
