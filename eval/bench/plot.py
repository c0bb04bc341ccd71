"""The plots of the search benchmark: queries a second against recall, and latency against n."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from results import Record

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.ticker import NullFormatter

_K = 10
_OTHERS = ("USearch", "FAISS BinaryFlat", "FAISS BinaryIVF", "FAISS BinaryMultiHash", "FAISS BinaryHNSW")
_FAMILIES = ("llmhash", *_OTHERS, "sentence-transformers", "Annoy", "NMSLIB")
_MARKERS = "osD^v<>Ph"


def draw(measurements: Sequence[Record], folder: Path) -> list[Path]:
    """Draw what the measurements allow into a folder; the files drawn."""
    plt.rcParams.update({"svg.hashsalt": "llmhash", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3})
    single = [m for m in measurements if m["k"] == _K and m["threads"] == 1]
    drawn = [
        _speed_against_recall([m for m in single if m["batch"] > 1], folder / "speed-against-recall.svg"),
        _latency_against_n([m for m in single if m["batch"] == 1], folder / "latency-against-n.svg"),
    ]
    return [path for path in drawn if path is not None]


def _speed_against_recall(records: Sequence[Record], path: Path) -> Path | None:
    """For each workload and width, the largest case in which approximate engines took part."""
    cases: dict[tuple[str, int], int] = {}
    for record in records:
        if "HNSW" in record["contestant"]:
            case = record["workload"], record["bits"]
            cases[case] = max(cases.get(case, 0), record["codes"])
    if not cases:
        return None
    figure, panels = _panels(len(cases))
    for panel, ((workload, bits), codes) in zip(panels, sorted(cases.items()), strict=False):
        fields = {"workload": workload, "bits": bits, "codes": codes}
        for record in records:
            if record["recall"] is not None and fields.items() <= record.items():
                style = _style(record["contestant"])
                panel.plot(record["recall"], record["queries_per_second"], linestyle="", **style)
        panel.set(title=_title(workload, bits, codes), yscale="log", xlim=(-0.03, 1.03))
        panel.set(xlabel=f"recall@{_K}", ylabel="queries/s, one thread, batches")
    return _save(figure, panels, path)


def _latency_against_n(records: Sequence[Record], path: Path) -> Path | None:
    """For each workload and width that was measured at several sizes, a line a contestant."""
    cases = sorted({(m["workload"], m["bits"]) for m in records})
    cases = [c for c in cases if len({m["codes"] for m in records if (m["workload"], m["bits"]) == c}) > 1]
    if not cases:
        return None
    figure, panels = _panels(len(cases))
    # A contestant looks the same in every panel, whichever others are missing there.
    names = dict.fromkeys(m["contestant"] for m in records if m["exact"])
    orders = {name: order for order, name in enumerate(names)}
    for panel, (workload, bits) in zip(panels, cases, strict=False):
        lines: dict[str, list[tuple[int, float]]] = {}
        for record in records:
            if (record["workload"], record["bits"]) == (workload, bits) and record["exact"]:
                point = record["codes"], 1000 * record["seconds"]
                lines.setdefault(record["contestant"], []).append(point)
        for name, points in lines.items():
            sizes, times = zip(*sorted(points), strict=True)
            look = {"color": f"C{orders[name] % 10}", "marker": _MARKERS[orders[name] % len(_MARKERS)]}
            panel.plot(sizes, times, markersize=4, label=name, **look)
        panel.set(title=f"{workload}, {bits} bits", xscale="log", yscale="log")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set(xlabel="codes", ylabel=f"ms a query, one thread, k = {_K}")
    return _save(figure, panels, path)


def _title(workload: str, bits: int, codes: int) -> str:
    return f"{workload}, {bits} bits, {codes:,} codes"


def _style(name: str) -> dict[str, Any]:
    """The colour, marker and label that a contestant's library has in every panel."""
    family = next((known for known in _FAMILIES if name.startswith(known)), name)
    place = _FAMILIES.index(family) if family in _FAMILIES else len(_FAMILIES)
    marker = _MARKERS[place % len(_MARKERS)]
    return {"label": family, "color": f"C{place}", "marker": marker, "markersize": 9 if place == 0 else 5}


def _panels(count: int) -> tuple[Any, list[Any]]:
    columns = min(2, count)
    rows = -(-count // columns)
    size = (5.2 * columns, 3.6 * rows + 0.8)
    figure, panels = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for spare in panels.ravel()[count:]:
        spare.set_visible(False)
    return figure, list(panels.ravel())


def _save(figure: Any, panels: Sequence[Any], path: Path) -> Path:
    """Write a figure with one legend for all its panels."""
    known: dict[str, Any] = {}
    for panel in panels:
        handles, labels = panel.get_legend_handles_labels()
        known.update(zip(labels, handles, strict=True))
    columns = 2 if len(panels) == 1 else 4
    figure.legend(known.values(), known, loc="outside lower center", ncols=columns, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path
