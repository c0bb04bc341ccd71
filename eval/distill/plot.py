"""The picture of the results: retention against bytes per document, each set alone and all pooled."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
from page import label
from summary import HAMMING, Summary

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.ticker import NullFormatter, ScalarFormatter

_MARKERS = "osD^v<>PhX*d"


def draw(summary: Summary, path: Path) -> bool:
    """Draw what the cells allow; False where there is nothing to draw."""
    panels = {
        "mean of the sets, each alone": summary.alone(),
        "mean of the sets, all documents pooled": summary.pooled(summary.names),
    }
    panels = {title: places for title, places in panels.items() if places and summary.everywhere(places)}
    if not panels:
        return False
    plt.rcParams.update({"svg.hashsalt": "llmhash", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3})
    size = (5.6 * len(panels), 4.6)
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
    known: dict[str, Any] = {}
    for axis, (title, places) in zip(axes[0], panels.items(), strict=True):
        lines: dict[str, list[tuple[int, float, float, float]]] = defaultdict(list)
        for entry in summary.everywhere(places):
            share = summary.retention(places, entry.name)
            hamming = ", Hamming" if entry.name.scoring == HAMMING else ""
            point = entry.figures.bytes_per_document, share.value, *share.ci95
            lines[label(entry) + hamming].append(point)
        for name, points in lines.items():
            _line(axis, name, sorted(points), known)
        axis.set(title=title, xlabel="bytes per document", ylabel="share of the teacher's nDCG@10")
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.axhline(1.0, color="black", linewidth=0.8)
    figure.legend(known.values(), known, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return True


def _line(axis: Any, name: str, points: list[tuple[int, float, float, float]], known: dict[str, Any]) -> None:
    """A row over its sizes, in the same colours in every panel."""
    order = list(known).index(name) if name in known else len(known)
    sizes, values, lows, highs = zip(*points, strict=True)
    below = [max(0.0, value - low) for value, low in zip(values, lows, strict=True)]
    above = [max(0.0, high - value) for value, high in zip(values, highs, strict=True)]
    drawn = axis.errorbar(
        sizes,
        values,
        yerr=[below, above],
        color=f"C{order % 10}",
        marker=_MARKERS[order % len(_MARKERS)],
        linestyle="--" if name.endswith("Hamming") else "-",
        markersize=5,
        linewidth=1.2,
        capsize=2,
    )
    known.setdefault(name, drawn)
