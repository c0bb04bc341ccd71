"""The label protocol's report for people: tables of precision, look-ups and code health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmhash.evaluation.label import LabelReport

if TYPE_CHECKING:
    from rich.console import Console

_WIDEST = 400
# Columns of names; figures are right-aligned.
_NAMES = 1


def print_label_report(report: LabelReport, console: Console) -> None:
    """Print a report of `label_report` as three tables."""
    k = report["k"]
    ranked = ["method", "bits", f"precision@{k}", "95 %", "over float", "95 %", f"recall@{k}", "map"]
    floats = [_float_cells(row, k) for row in report["floats"]]
    _print(console, _title(report), ranked, floats + [_ranking_cells(row, k) for row in report["rows"]])
    if not report["rows"]:
        return
    looked_up = ["method", "bits", "R", "radius@R", "answered", "empty", "found"]
    title = (
        "Look-ups within radius R (answered: precision of the queries that find something; empty: the others)"
    )
    queries = report["queries"]
    cells = [line for row in report["rows"] for line in _look_up_cells(row, queries)]
    _print(console, title, looked_up, cells)
    health = ["method", "bits", "imbalance", "constant", "|corr|", "bit H", "code H", "distinct"]
    health += ["alone", "largest", "expected", "Gini"]
    title = f"Code health of the {report['documents']:,} documents (H: entropy in bits; buckets: documents)"
    _print(console, title, health, [_health_cells(row) for row in report["rows"]])


def _title(report: LabelReport) -> str:
    text = f"{report['data']} ({report['split']}, {report['protocol']} protocol): "
    text += f"{report['queries']:,} queries, {report['documents']:,} documents, {report['classes']} labels"
    if report["queries_without_positives"]:
        text += f"; queries without a relevant document: {report['queries_without_positives']:,}"
    return text


def _print(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.measure import Measurement
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=escape(title), title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < _NAMES else "right")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    # A table squeezed into a narrow terminal or a pipe cuts its figures: let lines run on instead.
    wide = console.options.update(max_width=_WIDEST)
    table.width = Measurement.get(console, wide, table).maximum
    console.print(table, crop=False)


def _float_cells(row: Mapping[str, Any], k: int) -> list[str]:
    figures = [_share(row[f"precision@{k}"]), _span(row["ci95"])]
    return [f"{row['encoder']} (float)", str(32 * row["dim"]), *figures, "-", "-", "-", "-"]


def _ranking_cells(row: Mapping[str, Any], k: int) -> list[str]:
    over = row["over_float"]
    unseen = row["trained_on"] == "general"
    return [
        f"{row['method']} (general)" if unseen else row["method"],
        str(row["bits"]),
        _share(row[f"precision@{k}"]),
        _span(row["ci95"]),
        "-" if over is None else _share(over["difference"], "+"),
        "-" if over is None else _span(over["ci95"], "+"),
        _share(row[f"recall@{k}"]),
        _share(row["map"]),
    ]


def _look_up_cells(row: Mapping[str, Any], queries: int) -> list[list[str]]:
    """A line a radius."""
    return [
        [
            row["method"],
            str(row["bits"]),
            str(look_up["radius"]),
            _share(look_up["precision"]),
            _share(look_up["precision_answered"]),
            f"{look_up['empty_queries'] / queries:.1%}",
            f"{look_up['documents_found']:,.1f}",
        ]
        for look_up in row["radius"]
    ]


def _health_cells(row: Mapping[str, Any]) -> list[str]:
    health = row["health"]
    return [
        row["method"],
        str(row["bits"]),
        _share(health["imbalance"]),
        str(health["constant_bits"]),
        _share(health["correlation"]),
        _share(health["bit_entropy"]),
        f"{health['code_entropy']:.1f}",
        f"{health['distinct']:,}",
        f"{health['alone']:.1%}",
        f"{health['largest_bucket']:,}",
        f"{health['expected_bucket']:,.1f}",
        _share(health["bucket_gini"]),
    ]


def _share(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"


def _span(bounds: Sequence[float | None], sign: str = "") -> str:
    return " to ".join(_share(bound, sign) for bound in bounds)
