from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from llmhash.evaluation.probe import ProbeReport, ProbeSettings, probe
from llmhash.evaluation.probe_data import ProbeData
from llmhash.evaluation.probe_report import advice, print_probe, probe_json, probe_markdown


@pytest.fixture(scope="module")
def report() -> ProbeReport:
    rng = np.random.default_rng(0)
    documents = rng.normal(size=(500, 24)).astype(np.float32)
    queries = documents[:200] + 0.3 * rng.normal(size=(200, 24)).astype(np.float32)
    settings = ProbeSettings(
        heads=["sign", "median", "itq"], bits=[8, 24, 48], keep=0.5, target_size=4_000, contain=0.9
    )
    return probe(ProbeData.from_vectors(documents, queries), settings)


def printed(report: ProbeReport) -> str:
    out = io.StringIO()
    print_probe(report, Console(file=out, width=60))
    return out.getvalue()


def test_the_terminal_shows_every_part_and_the_advice_last(report):
    text = printed(report)
    parts = (
        "How vectors binarizes: 24 dimensions, 500 documents",
        "Geometry",
        "Kept of the teacher's nDCG@10",
        "Overlap@10",
        "How it falls with the size of the corpus",
        "Candidates",
        "Rules",
        "Notes",
        "Advice",
    )
    places = [text.index(f"{part}\n") for part in parts]
    assert places == sorted(places)
    assert "itq at 48 bits left out" in text


def test_figures_stay_whole_in_a_narrow_terminal(report):
    row = next(row for row in report.kept if (row.head, row.bits, row.scoring) == ("itq", 24, "hamming"))
    low, high = row.retention.ci95
    assert f"{row.retention.value:.3f} ({low:.3f} to {high:.3f})" in printed(report)
    assert f"{report.candidates[0].teacher.needed:,}" in printed(report)


def test_markdown_tables_are_well_formed(report):
    text = probe_markdown(report)
    assert text.index("## Advice") < text.index("## Geometry") < text.index("## Rules")
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 5
    for table in tables:
        widths = {line.count("|") for line in table.strip().splitlines()}
        assert len(widths) == 1
    assert f"| itq | {24} | {3} |" in text
    for line in advice(report):
        assert f"- {line}" in text


def test_json_holds_what_the_tables_show(report):
    found = json.loads(probe_json(report))
    assert len(found["kept"]) == len(report.kept) == 18
    assert found["geometry"]["documents"]["positive"][0] == pytest.approx(
        report.geometry.documents.positive[0], abs=1e-6
    )
    assert found["recommendation"]["head"] == report.recommendation.head


def test_undefined_figures_become_null_and_a_dash(report):
    first = replace(report.kept[0], retention=replace(report.kept[0].retention, value=float("nan")))
    broken = replace(report, kept=(first, *report.kept[1:]))
    assert json.loads(probe_json(broken))["kept"][0]["retention"]["value"] is None
    assert "| - (" in probe_markdown(broken)


def test_enough_is_said_with_what_was_confirmed(report):
    best = report.recommendation
    lines = advice(report)
    assert lines[0].startswith(f"Take {best.head} at {best.bits} bits")
    assert any("On 40 other queries, which had no part in this choice" in line for line in lines)
    assert any("Extrapolated to 4,000 documents" in line for line in lines)
    assert any(f"take {best.candidates_asymmetric:,} to rescore" in line for line in lines)
    for head in ("distill", "scan"):
        (line,) = (line for line in lines if line.startswith(f"The head {head} "))
        assert "add it to --heads" in line
        tried = advice(replace(report, heads=(*report.heads, head)))
        assert not any(line.startswith(f"The head {head} ") for line in tried)


def test_codes_for_the_scan_alone_get_no_advice_on_candidates(report):
    best = replace(report.recommendation, head="scan", candidates_asymmetric=None, candidates_int8=None)
    kept = tuple(replace(row, head="scan") for row in report.kept if row.head == report.recommendation.head)
    only = replace(report, recommendation=best, kept=kept, candidates=())
    lines = advice(only)
    assert "Scoring at 4,000 documents: asymmetric_scan. Codes of scan are found by nothing else." in lines
    assert not any("by Hamming distance, take" in line for line in lines)
    assert "Candidates\n" not in printed(only)
    assert "## Candidates" not in probe_markdown(only)


def test_a_miss_on_the_fresh_queries_is_said(report):
    best = report.recommendation
    assert not any("the lower end is under" in line for line in advice(replace(report, keep=0.01)))
    weak = replace(best.confirmation, retention=report.kept[0].retention)
    missed = replace(report, keep=0.9, recommendation=replace(best, confirmation=weak))
    assert any("There the lower end is under 0.90" in line for line in advice(missed))


def test_not_enough_names_the_best_and_what_to_try(report):
    poor = replace(report, recommendation=replace(report.recommendation, enough=False), keep=0.97)
    lines = advice(poor)
    assert lines[0].startswith("No codes keep 97 % of the teacher. The best were")
    assert lines[1].startswith(
        "Next to try: distill, which is trained to keep the teacher's ranking, and scan,"
    )
    tried = advice(replace(poor, heads=("sign", "distill")))
    assert tried[1].startswith(
        "Next to try: scan, which keeps the teacher's ranking for the asymmetric scan alone: add"
    )
    tried = advice(replace(poor, heads=("sign", "distill", "scan")))
    assert tried[1].startswith("Next to try: more bits, or rescoring with int8 vectors")


def test_the_verdict_on_sign(report):
    verdict = report.sign
    for safe, word in ((True, "safe"), (False, "UNSAFE")):
        lines = advice(replace(report, sign=replace(verdict, safe=safe)))
        line = next(line for line in lines if line.startswith("Sign at zero"))
        assert f"is {word} here: at 24 bits" in line
        assert verdict.other in line
    assert not any("Sign at zero" in line for line in advice(replace(report, sign=None)))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pseudo-queries", "pieces of the documents"),
        ("documents", "stand in for queries, as there are no query vectors"),
        ("query vectors", "40 of the query vectors"),
    ],
)
def test_it_says_what_the_queries_are(report, kind, said):
    text = printed(replace(report, queries=kind))
    assert said in text
    assert ("people's own words" in text) == (kind == "pseudo-queries")
