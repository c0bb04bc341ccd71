from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

from llmhash.evaluation import compare, markdown, print_report, to_csv, to_json, write_report


@pytest.fixture(scope="module")
def report(task, embedded):
    report = compare(
        task, embedded.training, heads=["sign", "lsh"], bits=[8, 40], seeds=1, trained_on="general"
    )
    report["differences"] = [
        {
            "head": "distill",
            "over": "lsh",
            "bits": 8,
            "scoring": "hamming",
            "difference": difference,
            "ci95": [difference - 0.02, difference + 0.02],
            "above": difference > 0.02,
        }
        for difference in (0.05, 0.01, -0.05)
    ]
    return report


def printed(report, width):
    out = io.StringIO()
    print_report(report, Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_printed_table_is_whole_whatever_the_width(report, width):
    text = printed(report, width)
    for row in report["rows"]:
        low, high = row["ci95"]
        line = next(line for line in text.splitlines() if f"{low:.3f} to {high:.3f}" in line)
        assert f"{row['ndcg@10']:.3f}" in line
    assert "synthetic (test), teacher synthetic" in text
    assert "…" not in text


def test_notes_and_claims_are_printed(report):
    text = " ".join(printed(report, 200).split())
    assert "1 queries without a relevant document left out" in text
    assert "rescore 100 candidates" in text
    assert "distill is above lsh at 8 bits, hamming: nDCG@10 +0.050 (+0.030 to +0.070)" in text
    assert "distill does not differ from lsh" in text
    assert "distill is below lsh" in text
    assert "sign at 40 bits left out" in text


def test_csv_holds_every_row_and_figure(report):
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert len(rows) == len(report["rows"])
    for line, row in zip(rows, report["rows"], strict=True):
        assert (line["data"], line["teacher"], line["head"]) == ("synthetic", "synthetic", row["head"])
        assert float(line["recall@100"]) == row["recall@100"]
        assert [float(line["ci95_low"]), float(line["ci95_high"])] == row["ci95"]
        assert float(line["seconds_search"]) == row["seconds"]["search"]
        assert line["candidates"] == str(row.get("candidates", ""))


def test_markdown_is_one_table_with_a_line_a_row(report):
    text = markdown(report)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == len(report["rows"]) + 2
    assert len({line.count("|") for line in table}) == 1
    assert "| lsh (general) | 8 | hamming |" in text
    assert "| teacher | 1024 | float |" in text
    assert text.startswith("### synthetic (test), teacher synthetic\n")


def test_undefined_figures_are_dashes(report):
    rows = [{**report["rows"][1], "retention": None, "ci95": [None, None]}]
    text = markdown({**report, "rows": rows})
    assert "| - | - to - |" in text


def test_a_report_without_rows(report):
    empty = {**report, "rows": [], "differences": []}
    assert to_csv(empty).strip() == ""
    assert "sign at 40 bits" in markdown(empty)
    assert "synthetic" in printed(empty, 80)


def test_the_suffix_decides_the_format(report, tmp_path):
    for name, text in (("r.json", to_json(report)), ("r.csv", to_csv(report)), ("r.md", markdown(report))):
        write_report(report, tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8") == text
    assert json.loads((tmp_path / "r.json").read_text())["rows"] == report["rows"]
