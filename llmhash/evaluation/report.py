"""Reports for people and programs: a table in the terminal, JSON, CSV, Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmhash.evaluation.retrieval import METRICS
from llmhash.evaluation.summary import Report

if TYPE_CHECKING:
    from rich.console import Console

# A terminal has room for the columns that decide; files hold all.
_TERMINAL = (
    "head",
    "bits",
    "scoring",
    "B/doc",
    "model B/doc",
    "ndcg@10",
    "recall@100",
    "overlap@10",
    "retention",
    "95 %",
)
_WIDEST = 400
_LEFT_ALIGNED = ("head", "scoring")
_CSV_CONTEXT = ("data", "split", "queries", "documents")


def print_report(report: Report, console: Console) -> None:
    """Print the table of a report, what its paired differences say, and its notes."""
    from rich import box
    from rich.measure import Measurement
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=_title(report), caption=_caption(report))
    table.title_justify = table.caption_justify = "left"
    for column in _TERMINAL:
        table.add_column(column, justify="left" if column in _LEFT_ALIGNED else "right")
    for _, group in groupby(report["rows"], key=lambda row: (row["head"], row["bits"])):
        for row in group:
            cells = _cells(report, row)
            table.add_row(*(cells[column] for column in _TERMINAL))
        table.add_section()
    # A table squeezed into a narrow terminal or a pipe cuts its figures: let lines run on instead.
    wide = console.options.update(max_width=_WIDEST)
    table.width = Measurement.get(console, wide, table).maximum
    console.print(table, crop=False)
    for line in [*_claims(report), *report["notes"]]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def markdown(report: Report) -> str:
    """The report as a Markdown section: heading, caption, table, differences, notes."""
    rows = [_cells(report, row) for row in report["rows"]]
    columns = list(rows[0]) if rows else []
    rules = ["---" if column in _LEFT_ALIGNED else "---:" for column in columns]
    lines = [f"### {_title(report)}", "", _caption(report), ""]
    lines += ["| " + " | ".join(line) + " |" for line in (columns, rules, *(row.values() for row in rows))]
    further = [*_claims(report), *report["notes"]]
    if further:
        lines += ["", *(f"- {line}" for line in further)]
    return "\n".join(lines) + "\n"


def to_json(report: Report) -> str:
    """The report as JSON, its keys in their defined order."""
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(report: Report) -> str:
    """The rows as CSV: a line each, lists and mappings spread over columns."""
    rows = [
        {**{name: report[name] for name in _CSV_CONTEXT}, "teacher": report["teacher"]["name"], **_flat(row)}
        for row in report["rows"]
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_report(report: Report, path: str | Path) -> None:
    """Write a report in the format that the file's suffix names: .json, .csv or .md."""
    target = Path(path)
    render = {".csv": to_csv, ".md": markdown}.get(target.suffix.lower(), to_json)
    target.write_text(render(report), encoding="utf-8")


def _title(report: Report) -> str:
    return f"{report['data']} ({report['split']}), teacher {report['teacher']['name']}"


def _caption(report: Report) -> str:
    left_out = report["queries_without_positives"]
    text = f"{report['queries']:,} queries, {report['documents']:,} documents"
    if left_out:
        text += f", {left_out:,} queries without a relevant document left out"
    counted = [row["candidates"] for row in report["rows"] if "candidates" in row]
    if counted:
        text += f"; asymmetric and int8 rescore {counted[0]} candidates"
    return text + "."


def _cells(report: Report, row: Mapping[str, Any]) -> dict[str, str]:
    """A row as text, by column."""
    low, high = row["ci95"]
    unseen = row["trained_on"] == "general" and row["scoring"] != "float"
    return {
        "head": f"{row['head']} (general)" if unseen else row["head"],
        "bits": str(row["bits"]),
        "scoring": row["scoring"],
        "B/doc": str(row["bytes_per_document"]),
        "model B/doc": f"{row['model_bytes'] / report['documents']:.1f}",
        **{name: _share(row[name]) for name in METRICS},
        "retention": _share(row["retention"]),
        "95 %": f"{_share(low)} to {_share(high)}",
        "seeds": str(row["seeds"]),
        "fit s": f"{row['seconds']['fit']:.1f}" if "fit" in row["seconds"] else "-",
        "search s": f"{row['seconds']['search']:.2f}",
    }


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _claims(report: Report) -> list[str]:
    """What the paired differences say, a line each."""
    return [
        f"{each['head']} {_verdict(each)} {each['over']} at {each['bits']} bits, {each['scoring']}: "
        f"nDCG@10 {each['difference']:+.3f} ({each['ci95'][0]:+.3f} to {each['ci95'][1]:+.3f})"
        for each in report["differences"]
    ]


def _verdict(difference: Mapping[str, Any]) -> str:
    if difference["above"]:
        return "is above"
    return "is below" if difference["ci95"][1] < 0 else "does not differ from"


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name == "ci95":
            flat["ci95_low"], flat["ci95_high"] = value
        elif name == "seconds":
            flat |= {f"seconds_{part}": seconds for part, seconds in value.items()}
        else:
            flat[name] = value
    return flat
