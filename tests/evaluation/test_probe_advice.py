from __future__ import annotations

import numpy as np
import pytest

from llmhash.evaluation.probe_advice import Candidates, Kept, recommend, rules, sign_verdict
from llmhash.evaluation.probe_candidates import CandidateCurve
from llmhash.evaluation.probe_geometry import measure_geometry
from llmhash.evaluation.probe_growth import Figure


def figure(value: float, *, half: float = 0.02, expected: float | None = None) -> Figure:
    beyond = None if expected is None else (expected - half, expected + half)
    return Figure(value, (value - half, value + half), (value,), -0.01, expected, beyond)


def kept(head: str, bits: int, retention: Figure, overlap: float, scoring="asymmetric_scan") -> Kept:
    return Kept(head, bits, (bits + 7) // 8, scoring, retention, figure(overlap))


def curves(*keys: tuple[str, int], expected: int | None = None) -> list[Candidates]:
    return [
        Candidates(
            head,
            bits,
            CandidateCurve((10, 20), (0.5, 0.6), 7 * bits, expected and 7 * expected),
            CandidateCurve((10, 20), (0.5, 0.6), bits, expected),
        )
        for head, bits in keys
    ]


KEYS = [("sign", 64), ("itq", 64), ("sign", 128), ("itq", 128)]
ROWS = [
    kept("sign", 64, figure(0.99), 0.3),  # flattered by known items
    kept("itq", 64, figure(0.8), 0.5),
    kept("sign", 128, figure(0.91), 0.4),
    kept("itq", 128, figure(0.93), 0.6),
    kept("itq", 64, figure(1.0), 0.9, scoring="hamming"),  # not what is judged
]


def test_the_fewest_bytes_of_each_widths_best_head():
    found = recommend(ROWS, curves(*KEYS), keep=0.9, dim=384, sampled=5000, target=None)
    assert (found.enough, found.head, found.bits, found.bytes_per_document) == (True, "itq", 128, 16)
    assert (found.candidates_asymmetric, found.candidates_int8) == (128, 896)
    assert (found.documents, found.extrapolated, found.scoring) == (5000, False, "asymmetric_scan")
    assert found.int8_bytes == 388
    easier = recommend(ROWS, curves(*KEYS), keep=0.78, dim=384, sampled=5000, target=None)
    assert (easier.head, easier.bits) == ("itq", 64)


def test_codes_for_the_scan_alone_are_scanned_however_many_and_have_no_candidates():
    rows = [*ROWS, kept("scan", 64, figure(0.95), 0.7)]
    found = recommend(rows, curves(*KEYS), keep=0.9, dim=384, sampled=5000, target=10**9)
    assert (found.head, found.bits, found.scoring) == ("scan", 64, "asymmetric_scan")
    assert (found.candidates_asymmetric, found.candidates_int8) == (None, None)
    others = recommend(ROWS, curves(*KEYS), keep=0.9, dim=384, sampled=5000, target=10**9)
    assert others.scoring == "asymmetric"


def test_the_lower_end_of_the_interval_counts():
    wide = [kept("itq", 64, figure(0.92, half=0.05), 0.5), kept("itq", 128, figure(0.92, half=0.01), 0.6)]
    keys = [("itq", 64), ("itq", 128)]
    assert recommend(wide, curves(*keys), keep=0.9, dim=8, sampled=500, target=None).bits == 128


def test_where_none_keeps_enough_the_best_is_named():
    found = recommend(ROWS, curves(*KEYS), keep=0.95, dim=384, sampled=5000, target=None)
    assert (found.enough, found.head, found.bits) == (False, "itq", 128)
    undefined = [kept("itq", 64, figure(float("nan")), 0.5)]
    assert not recommend(undefined, curves(("itq", 64)), keep=0.1, dim=8, sampled=500, target=None).enough


def test_beyond_the_sample_the_expected_figures_count():
    falling = [
        kept("itq", 64, figure(0.95, expected=0.7), 0.5),
        kept("itq", 128, figure(0.97, expected=0.93), 0.6),
    ]
    keys = [("itq", 64), ("itq", 128)]
    near = recommend(falling, curves(*keys, expected=640), keep=0.9, dim=8, sampled=500, target=10**6)
    assert (near.bits, near.documents, near.extrapolated) == (128, 10**6, True)
    assert (near.candidates_asymmetric, near.candidates_int8) == (640, 4480)
    assert near.scoring == "asymmetric_scan"  # 16 MB of codes
    far = recommend(falling, curves(*keys, expected=640), keep=0.9, dim=8, sampled=500, target=10**7)
    assert far.scoring == "asymmetric"  # 160 MB


@pytest.mark.parametrize(("gap", "safe"), [(0.0, True), (0.03, True), (0.3, False)])
def test_sign_is_unsafe_where_another_head_keeps_clearly_more(gap, safe):
    rng = np.random.default_rng(0)
    values = rng.uniform(0.3, 0.6, 300)
    rows = rng.normal(size=(200, 16)).astype(np.float32) + 2
    overlaps = {
        ("sign", 64): values - 0.2,  # narrower codes decide nothing
        ("itq", 64): values,
        ("sign", 128): values,
        ("median", 128): values + gap + rng.normal(scale=0.05, size=300),
        ("pca", 128): values - 0.1,
        ("itq", 256): values + 0.4,  # no sign at this width
    }
    verdict = sign_verdict(overlaps, measure_geometry(rows, None, sides_differ=False, duplicates=0))
    assert (verdict.safe, verdict.bits, verdict.other) == (safe, 128, "median")
    assert verdict.ci95[0] < verdict.difference < verdict.ci95[1]
    assert verdict.difference == pytest.approx(gap, abs=0.02)
    assert "16 of 16 dimensions" in verdict.why[0]
    assert verdict.why[1].endswith(f"change the overlap@10 by {verdict.difference:+.3f}.")


def test_an_uncertain_gap_does_not_condemn_sign():
    rng = np.random.default_rng(0)
    geometry = measure_geometry(
        rng.normal(size=(50, 4)).astype(np.float32), None, sides_differ=False, duplicates=0
    )
    overlaps = {("sign", 8): rng.uniform(size=10), ("itq", 8): rng.uniform(size=10) + 0.1}
    assert sign_verdict(overlaps, geometry).safe


def test_sign_without_company_has_no_verdict():
    geometry = measure_geometry(np.eye(4, dtype=np.float32), None, sides_differ=False, duplicates=0)
    values = np.ones(5)
    assert sign_verdict({("sign", 64): values, ("itq", 128): values}, geometry) is None
    assert sign_verdict({("itq", 64): values}, geometry) is None


def test_the_rules_name_their_numbers():
    text = " ".join(rules(0.85, 0.99, extrapolated=True))
    for part in ("85 %", "99 %", "80 MB", "0.05", "extrapolated"):
        assert part in text
    assert "as measured" in " ".join(rules(0.85, 0.99, extrapolated=False))
