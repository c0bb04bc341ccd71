"""The papers' figures: precision-recall curves, precision over bits, codes on a plane coloured by label.

A picture is PNG or SVG, as its file's suffix says. The same figures give the same file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SUFFIXES = (".png", ".svg")
# What keeps the date and the random names of clip paths out of the files.
_METADATA: dict[str, dict[str, Any]] = {".png": {"Software": None}, ".svg": {"Date": None}}
_STYLE: dict[Any, Any] = {"svg.hashsalt": "llmhash", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3}
_MARKERS = "osD^v<>PhX*d"
_LINES = ("-", "--", ":")
_COLOURS = 10
# Labels with a colour of their own, those of `_MAP_PALETTE`; further ones are grey together.
_MAP_COLOURS, _MAP_PALETTE = 20, "tab20"
# Dimensions that t-SNE starts from.
_MAP_COMPONENTS = 50
_MAP_PERPLEXITY = 30.0


def draw_precision_recall(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: str | Path, *, title: str = ""
) -> None:
    """Draw precision-recall curves of several methods.

    Args:
        curves: By name, recall and precision of a curve's points.
        path: File to write, .png or .svg.
        title: Above the picture.

    Raises:
        InputError: The file has another suffix.
        MissingExtraError: matplotlib is not installed.
    """
    target = _target(path)
    with _style():
        figure, axes = _canvas()
        for order, (name, (recall, precision)) in enumerate(curves.items()):
            axes.plot(recall, precision, label=name, **_look(order), markersize=3)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=title)
        _finish(figure, axes, target)


def draw_precision_over_bits(
    series: Mapping[str, Mapping[int, float]],
    path: str | Path,
    *,
    floats: Mapping[str, float] | None = None,
    metric: str = "Precision@100",
    title: str = "",
) -> None:
    """Draw a metric over the bits of a code, a line a method.

    Args:
        series: By name, the metric at each number of bits.
        path: File to write, .png or .svg.
        floats: By name, what float embeddings reach: level lines.
        metric: Its name.
        title: Above the picture.

    Raises:
        InputError: The file has another suffix.
        MissingExtraError: matplotlib is not installed.
    """
    target = _target(path)
    with _style():
        from matplotlib.ticker import NullLocator

        figure, axes = _canvas()
        for order, (name, values) in enumerate(series.items()):
            bits, points = zip(*sorted(values.items()), strict=True) if values else ((), ())
            axes.plot(bits, points, label=name, **_look(order), markersize=5)
        for order, (name, value) in enumerate((floats or {}).items()):
            axes.axhline(value, label=name, color="black", linewidth=0.9, linestyle=_LINES[order % 3])
        widths = sorted({bits for values in series.values() for bits in values})
        axes.set_xscale("log", base=2)
        axes.set_xticks(widths, [str(bits) for bits in widths])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel="bits", ylabel=metric, title=title)
        _finish(figure, axes, target)


def draw_code_map(
    codes: Codes,
    labels: Sequence[str],
    path: str | Path,
    *,
    sample: int = 2000,
    seed: int = 0,
    title: str = "",
) -> None:
    """Draw codes on a plane, coloured by label: t-SNE of their plus and minus ones, as in the papers.

    Args:
        codes: n codes.
        labels: n labels. The most frequent twenty get colours of their own.
        path: File to write, .png or .svg.
        sample: Codes drawn at most, picked at random.
        seed: Of the sample and of t-SNE.
        title: Above the picture.

    Raises:
        InputError: The file has another suffix, the labels do not fit the codes, or there are fewer than
            three distinct codes.
        MissingExtraError: matplotlib is not installed.
    """
    target = _target(path)
    if len(labels) != len(codes):
        raise InputError(f"there are {len(codes)} codes but {len(labels)} labels.")
    rows = np.sort(np.random.default_rng(seed).permutation(len(codes))[:sample])
    with _style():
        figure, axes = _canvas()
        points = code_map(codes[rows], seed=seed)
        shown = np.array([labels[row] for row in rows], dtype=object)
        kinds = [label for label, _ in sorted(Counter(shown).items(), key=lambda item: (-item[1], item[0]))]
        for label, colour in zip(kinds, _map_colours(), strict=False):
            _scatter(axes, points[shown == label], colour, label)
        others = np.isin(shown, kinds[_MAP_COLOURS:])
        if others.any():
            _scatter(axes, points[others], "lightgrey", f"{len(kinds) - _MAP_COLOURS} further labels")
        axes.set(xticks=[], yticks=[], title=title)
        _finish(figure, axes, target, markerscale=3.0)


def code_map(codes: Codes, *, seed: int = 0) -> NDArray[np.float64]:
    """Places of codes on a plane, float64 (n, 2): t-SNE of the principal components of +-1 codes.

    Raises:
        InputError: There are fewer than three distinct codes.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    values = codes.to_pm1(np.float32)
    if len(np.unique(codes.packed, axis=0)) < 3:
        raise InputError("a map of codes needs at least three distinct ones: these tell nothing apart.")
    components = min(_MAP_COMPONENTS, *values.shape)
    reduced = PCA(components, svd_solver="full").fit_transform(values)
    # Equal codes would give infinite ratios in t-SNE's own start, so it starts at random.
    perplexity = min(_MAP_PERPLEXITY, (len(values) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="random", random_state=seed, n_jobs=1).fit_transform(reduced)
    return np.asarray(places, dtype=np.float64)


def _target(path: str | Path) -> Path:
    target = Path(path)
    if target.suffix.lower() not in _SUFFIXES:
        raise InputError(f"pictures are written as .png or .svg, not {target.name!r}.")
    return target


def _style() -> Any:
    """The settings of all pictures, as a context."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise MissingExtraError("drawing pictures", "plot") from None
    return mpl.rc_context(_STYLE)


def _canvas() -> tuple[Figure, Axes]:
    """A figure of its own, without pyplot, which would keep it and look for a screen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    return figure, figure.subplots()


def _look(order: int) -> dict[str, Any]:
    return {
        "color": f"C{order % _COLOURS}",
        "marker": _MARKERS[order % len(_MARKERS)],
        "linestyle": _LINES[order // _COLOURS % len(_LINES)],
        "linewidth": 1.2,
    }


def _map_colours() -> list[Any]:
    """Strong colours first, then their pale sisters."""
    import matplotlib as mpl

    colours = [mpl.colormaps[_MAP_PALETTE](place) for place in range(_MAP_COLOURS)]
    return colours[::2] + colours[1::2]


def _scatter(axes: Axes, points: NDArray[np.float64], colour: Any, label: str) -> None:
    axes.scatter(points[:, 0], points[:, 1], s=5, color=colour, label=label, linewidths=0)


def _finish(figure: Figure, axes: Axes, target: Path, *, markerscale: float = 1.0) -> None:
    handles, names = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside right upper", frameon=False, markerscale=markerscale)
    figure.savefig(target, dpi=160, metadata=_METADATA[target.suffix.lower()])
