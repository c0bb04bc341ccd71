"""The label table's page, from its cells."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from published import BEST_64, FEW_BITS, PUBLISHED, reason

Cell = dict[str, Any]
_FEATURES = ("tfidf", "minilm", "joined", "tokens")
_TITLES = {
    "tfidf": "words (TF-IDF)",
    "minilm": "`minilm` sentence embeddings",
    "joined": "`minilm` sentence embeddings and words joined",
    "tokens": "`minilm` tokens, 52 a text",
}
#: Widths above it stand in the sets' own tables, the others in that of few bits.
_FEW = 12
#: Differences from a published figure that are explained.
_DIFFERENCE = 0.02
_METHOD = """Precision@100, an expectation over ties: training documents are the database, test documents
the queries, relevant is what shares a label. `survey`: all documents pooled, shuffled, divided 8:1:1.
`official`: the set's own split. Settings are the recipes' own; training stops by Precision@100 of
validation documents, or by time: after 40 to 180 seconds, on one or two cores of a shared machine.
*Seconds* are those of the whole fit, for a set's first method with its encoding. Several seeds are given as
mean ± standard deviation. *Published* figures are of the survey's tables, on words, on the authors' splits;
several papers chose the epoch on test documents, which is not done here. Words that heads without hidden
layers see are 512 dimensions of latent semantic analysis, but for STH. `sth-joined` sees embeddings and
words joined; its settings were chosen on validation documents of 20 Newsgroups, AG News, Reuters, search
snippets and Stack Overflow titles under `survey`, and BPR's on 20 Newsgroups'."""
_COMMAND = """python eval/label/table.py --data DATA --output OUTPUT --sets SETS --protocols survey,official
    --methods METHODS --features FEATURES --bits BITS --seeds SEEDS --seconds SECONDS
python eval/label/growth.py --data DATA --output OUTPUT"""


def write_pages(output: Path) -> None:
    """Write `README.md` from all cells under `output`."""
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(output.glob("cells/*/*.json"))]
    if not cells:
        return
    lines = ["# Codes under the label protocol", "", _METHOD, "", "Made by", "", "```", _COMMAND, "```", ""]
    lines += _short(cells)
    settings = sorted({(cell["data"], cell["protocol"]) for cell in cells})
    for data, protocol in settings:
        own = [c for c in cells if (c["data"], c["protocol"]) == (data, protocol) and c["bits"] > _FEW]
        lines += _setting(data, protocol, own)
    lines += _few_bits(cells) + _growth(output) + _differences(cells)
    (output / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _short(cells: Sequence[Cell]) -> list[str]:
    """The best unsupervised codes of 64 bits beside the sentence embeddings that they come from."""
    lines = [
        "## The best codes of 64 bits beside the embeddings' own Precision@100",
        "",
        "Seed 0. Floats are 384, compared by cosine; *survey* is the survey's best unsupervised figure.",
        "*Best* is picked by these very figures of test documents, so it is a little too good.",
        "",
        "| set | `minilm` floats | `sth-joined` | best on `minilm` alone | best of all | survey |",
        "|---|---|---|---|---|---|",
    ]
    for data, protocol in sorted({(cell["data"], cell["protocol"]) for cell in cells}):
        own = [
            cell
            for cell in cells
            if (cell["data"], cell["protocol"], cell["bits"], cell["seed"]) == (data, protocol, 64, 0)
            and "refused" not in cell
        ]
        on_embeddings = [cell for cell in own if cell["features"] == "minilm"]
        if not on_embeddings:
            continue
        joined = [cell for cell in own if cell["method"] == "sth-joined"]
        survey = BEST_64.get(data) if protocol == "survey" else None
        row = [
            f"{data}, {protocol}",
            f"{on_embeddings[0]['floats'][0]['precision@100']:.3f}",
            f"{joined[0]['precision@100']:.3f}" if joined else "",
            _best(on_embeddings),
            _best(own),
            "" if survey is None else f"{survey:.3f}",
        ]
        lines.append("| " + " | ".join(row) + " |")
    return [*lines, ""]


def _best(cells: Sequence[Cell]) -> str:
    best = max(cells, key=lambda cell: float(cell["precision@100"]))
    seen = "" if best["method"] == "sth-joined" else f", {best['features']}"
    return f"{best['precision@100']:.3f} ({best['method']}{seen})"


def _few_bits(cells: Sequence[Cell]) -> list[str]:
    """Codes of few bits of words, survey protocol: the WISH paper's table 1."""
    made = {
        (cell["data"], cell["method"], cell["bits"]): cell["precision@100"]
        for cell in cells
        if cell["bits"] <= _FEW
        and cell["features"] == "tfidf"
        and cell["seed"] == 0
        and "refused" not in cell
    }
    if not made:
        return []
    columns = sorted({(data, bits) for data, _, bits in made})
    lines = [
        "## Few bits",
        "",
        "Words (TF-IDF), survey protocol, one seed; training was cut after 40 seconds of one core, before",
        "the recipes' schedules end. *WISH paper*: its table 1, on its own splits.",
        "",
        "| method | " + " | ".join(f"{data}, {bits} bits" for data, bits in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for method in sorted({method for _, method, _ in made}):
        figures = (made.get((data, method, bits)) for data, bits in columns)
        lines.append(f"| {method} | " + " | ".join("" if f is None else f"{f:.3f}" for f in figures) + " |")
    paper = (FEW_BITS.get(data, {}).get(bits) for data, bits in columns)
    lines.append("| WISH paper | " + " | ".join("" if f is None else f"{f:.3f}" for f in paper) + " |")
    return [*lines, ""]


def _growth(output: Path) -> list[str]:
    """Precision@100 over the size of the database, where it was measured."""
    lines: list[str] = []
    for path in sorted(output.glob("growth/*.json")):
        rows = json.loads(path.read_text(encoding="utf-8"))
        data, _, protocol = path.stem.rpartition("-")
        sizes = sorted({row["documents"] for row in rows})
        codes = {(row["method"], row["documents"]): row["precision@100"] for row in rows}
        floats = {(row["method"], row["documents"]): row["floats"][0]["precision@100"] for row in rows}
        series = [
            ("`sth-joined`, 64 bits", codes, "sth-joined"),
            ("`minilm` floats", floats, "sign"),
            ("`vdsh` on words, 64 bits", codes, "vdsh"),
            ("words, float", floats, "vdsh"),
        ]
        lines += [
            f"## As the database grows: {data}, {protocol}",
            "",
            "Fitted on and searched: the first documents of the training set, in its shuffled order.",
            "",
            "| documents | " + " | ".join(f"{size:,}" for size in sizes) + " |",
            "|---" * (len(sizes) + 1) + "|",
        ]
        for title, figures, method in series:
            row = " | ".join(f"{figures[method, size]:.3f}" for size in sizes)
            lines.append(f"| {title} | {row} |")
        lines.append("")
    return lines


def _differences(cells: Sequence[Cell]) -> list[str]:
    """What is more than 0.02 from its published figure, and why, as far as it is known."""
    groups: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        comparable = cell["features"] in ("tfidf", "tokens") and cell["protocol"] == "survey"
        if comparable and "refused" not in cell:
            groups[cell["data"], cell["method"]][cell["bits"]].append(cell["precision@100"])
    lines: list[str] = []
    for (data, method), by_width in sorted(groups.items()):
        published = {**PUBLISHED.get(data, {}).get(method, {})}
        if method == "wish":
            published |= FEW_BITS.get(data, {})
        apart = {
            bits: float(np.mean(by_width[bits])) - published[bits]
            for bits in sorted(by_width)
            if bits in published and abs(np.mean(by_width[bits]) - published[bits]) > _DIFFERENCE
        }
        if apart:
            said = ", ".join(f"{value:+.3f} at {bits}" for bits, value in apart.items())
            lines.append(f"- {data}, {method} ({said} bits): {reason(data, method)}.")
    if not lines:
        return []
    return ["## Where figures differ from the published ones by more than 0.02", "", *lines, ""]


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
    for features in _FEATURES:
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
    if BEST_64.get(data) and 64 in widths and cells[0]["protocol"] == "survey":
        lines.append(f"- The survey's best unsupervised figure at 64 bits: {BEST_64[data]:.3f}.")
    return [*lines, ""]


def _stored(cells: Iterable[Cell]) -> bool:
    return any(cell.get("stored_embeddings") for cell in cells)


def _columns(data: str, method: str, bits: int, cells: Iterable[Cell]) -> list[str]:
    made = [cell for cell in cells if "refused" not in cell]
    if not made:
        return ["", "", ""]
    values = [cell["precision@100"] for cell in made]
    figure = f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")
    # Published figures are of words, DHIM's of tokens.
    comparable = PUBLISHED.get(data, {}) if made[0]["features"] in ("tfidf", "tokens") else {}
    published = comparable.get(method, {}).get(bits)
    seconds = np.median([cell["seconds"]["fit"] for cell in made])
    return [figure, "" if published is None else f"{published:.3f}", f"{seconds:.0f}"]
