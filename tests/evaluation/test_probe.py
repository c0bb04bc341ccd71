"""The probe on features whose properties are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llmhash.errors import InputError
from llmhash.evaluation.probe import ProbeSettings, probe
from llmhash.evaluation.probe_data import ProbeData
from llmhash.evaluation.probe_growth import NestedBenches, factors
from llmhash.evaluation.probe_report import probe_json
from llmhash.heads import fit_head

DIM = 32
WIDTHS = [8, 16, 32]


def isotropic(rows: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors in all directions of the 31 dimensions beside the diagonal."""
    values = rng.normal(size=(rows, DIM))
    values -= values.mean(axis=1, keepdims=True)
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def vectors(*, documents_shift: float = 0.0, queries_shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Documents and queries near some of them, each side shifted along the diagonal.

    The shifts change no inner product but by a constant: the teacher ranks as without them.
    """
    rng = np.random.default_rng(0)
    documents = isotropic(800, rng)
    near = documents[rng.integers(800, size=500)] + 0.5 * isotropic(500, rng)
    diagonal = np.full(DIM, DIM**-0.5, dtype=np.float32)
    return documents + documents_shift * diagonal, near + queries_shift * diagonal


def run(documents, queries, **settings):
    return probe(ProbeData.from_vectors(documents, queries), ProbeSettings(bits=WIDTHS, **settings))


def retention(report, head, bits, scoring="hamming"):
    key = (head, bits, scoring)
    return next(row.retention.value for row in report.kept if (row.head, row.bits, row.scoring) == key)


@pytest.fixture(scope="module")
def centred():
    return run(*vectors(), keep=0.7)


@pytest.fixture(scope="module")
def shifted():
    return run(*vectors(documents_shift=4.0, queries_shift=4.0), keep=0.7)


def test_around_zero_sign_is_safe_and_as_good_as_the_median(centred):
    assert centred.geometry.documents.shift < 0.2
    assert centred.sign.safe
    assert retention(centred, "sign", 32) == pytest.approx(retention(centred, "median", 32), abs=0.05)
    assert centred.recommendation.enough


def test_a_strong_shift_makes_sign_bad_and_the_recommendation_says_so(shifted, centred):
    assert shifted.geometry.documents.shift > 0.9
    assert shifted.geometry.documents.nearly_constant == DIM
    assert retention(shifted, "sign", 32) < 0.2
    # The shift is all that the median takes away.
    assert retention(shifted, "median", 32) == pytest.approx(retention(centred, "median", 32), abs=0.02)
    assert not shifted.sign.safe
    assert shifted.sign.difference > 0.3
    assert "32 of 32 dimensions have one sign in over 90 %" in shifted.sign.why[0]
    assert shifted.recommendation.enough
    assert shifted.recommendation.head != "sign"


def test_queries_that_lie_elsewhere_are_told_and_do_not_disturb_heads_that_centre_each_side(centred):
    report = run(*vectors(queries_shift=3.0))
    assert report.geometry.between_sides == pytest.approx(3.0, rel=0.05)
    assert report.geometry.documents.shift < 0.2 < 0.9 < report.geometry.queries.shift
    assert retention(report, "sign", 32) < 0.5 * retention(centred, "sign", 32)
    for head in ("median", "itq"):
        assert retention(report, head, 32) == pytest.approx(retention(centred, head, 32), abs=0.03)
    assert not report.sign.safe


def test_rows_cover_heads_widths_and_scorings_with_intervals(centred):
    assert {(row.head, row.bits, row.scoring) for row in centred.kept} == {
        (head, bits, scoring)
        for head in ("sign", "median", "pca", "itq", "rca")
        for bits in WIDTHS
        for scoring in ("hamming", "asymmetric", "asymmetric_scan")
    }
    for row in centred.kept:
        for figure in (row.retention, row.overlap):
            assert figure.ci95[0] <= figure.value <= figure.ci95[1]
            assert figure.by_size[-1] == figure.value
    assert centred.sizes == (100, 200, 400, 800)
    assert centred.target_size is None
    assert (centred.teacher_ndcg, centred.query_count) == (1.0, 100)


def test_wider_codes_keep_more_and_fewer_candidates_hold_the_top_ten(centred):
    for head in ("sign", "itq"):
        kept = [retention(centred, head, bits, "asymmetric_scan") for bits in WIDTHS]
        assert kept == sorted(kept)
    needed = [each.teacher.needed for each in centred.candidates if each.head == "itq"]
    assert needed == sorted(needed, reverse=True)


def test_the_recommendation_is_confirmed_on_queries_that_had_no_part_in_it(centred):
    best = centred.recommendation
    chosen = next(
        row
        for row in centred.kept
        if (row.head, row.bits, row.scoring) == (best.head, best.bits, "asymmetric_scan")
    )
    assert best.confirmation.queries == 100
    assert best.confirmation.retention.value != chosen.retention.value
    assert best.confirmation.retention.value == pytest.approx(chosen.retention.value, abs=0.12)


def test_a_target_size_lowers_what_to_expect():
    documents, queries = vectors()
    report = run(documents, queries, target_size=1_000_000, keep=0.7)
    row = next(row for row in report.kept if (row.head, row.bits, row.scoring) == ("itq", 16, "hamming"))
    assert row.retention.expected < row.retention.value
    assert report.recommendation.extrapolated
    assert report.recommendation.documents == 1_000_000
    assert any("extrapolated over 10.3 doublings" in note for note in report.notes)


def test_a_codebook_is_fitted_to_each_part_anew():
    documents, queries = vectors()
    data = ProbeData.from_vectors(documents, queries)
    settings = ProbeSettings(heads=["sign", "scan"], bits=[16], keep=0.7, target_size=100_000)
    report = probe(data, settings)
    (row,) = (row for row in report.kept if (row.head, row.scoring) == ("scan", "asymmetric_scan"))
    whole = fit_head("scan", data.training, 16)
    nested = NestedBenches(documents, data.choosing, report.sizes, seed=0, teacher="t")
    of_one = nested.run([whole] * 4)["asymmetric_scan"].overlap.mean(axis=1)
    assert row.overlap.value == pytest.approx(of_one[-1])
    # What 100 documents keep by tables that know them alone.
    assert row.overlap.by_size[0] > of_one[0] + 0.05
    assert row.overlap.per_doubling < factors(report.sizes, of_one)


def test_codes_for_the_scan_alone_are_not_ranked_by_hamming_distance():
    report = run(*vectors(), heads=["sign", "scan"], keep=0.7)
    assert {each.head for each in report.candidates} == {"sign"}
    assert report.sign is None
    best = report.recommendation
    assert (best.head, best.scoring, best.candidates_int8) == ("scan", "asymmetric_scan", None)
    assert best.confirmation.queries == 100


def test_a_sampled_corpus_is_decided_for_at_its_own_size():
    documents, queries = vectors()
    data = ProbeData.from_vectors(documents, queries, sample=400)
    report = probe(data, ProbeSettings(bits=[16], heads=["sign", "itq"]))
    assert (report.documents, report.corpus_size, report.target_size) == (400, 800, 800)


def test_documents_stand_in_for_missing_queries():
    report = run(vectors()[0], None)
    assert report.queries == "documents"
    assert report.geometry.queries is None
    assert report.documents == 800 - 2 * report.query_count


def test_what_a_head_cannot_do_is_left_out_with_a_note():
    data = ProbeData.from_vectors(*vectors())
    report = probe(data, ProbeSettings(heads=["sign", "lsh"], bits=[64, 16]))
    assert [(each.head, each.bits) for each in report.candidates] == [("sign", 16), ("lsh", 16), ("lsh", 64)]
    assert len(report.notes) == 1
    assert report.notes[0].startswith("sign at 64 bits left out: sign takes the first b dimensions")
    with pytest.raises(InputError, match="no head can make any of these widths of the teacher's 32"):
        probe(data, ProbeSettings(heads=["sign", "itq"], bits=[33, 64]))


def test_default_widths_end_at_the_teachers_dimension():
    assert ProbeSettings().widths(384) == [64, 128, 256, 384]
    assert ProbeSettings().widths(1024) == [64, 128, 256, 1024]
    assert ProbeSettings().widths(4096) == [64, 128, 256, 1024]
    assert ProbeSettings().widths(32) == [32]
    assert ProbeSettings(bits=[64, 8, 64]).widths(32) == [8, 64]


def test_the_json_is_the_same_for_a_seed():
    documents, queries = vectors()
    first, again, other = (
        probe_json(
            probe(
                ProbeData.from_vectors(documents, queries, seed=seed),
                ProbeSettings(heads=["sign", "itq"], bits=[16], seed=seed, target_size=5000),
            )
        )
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    found = json.loads(first)
    assert found["kept"][0]["retention"].keys() == {
        "value",
        "ci95",
        "by_size",
        "per_doubling",
        "expected",
        "expected_ci95",
    }
    assert found["recommendation"]["confirmation"]["queries"] == 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": ["itc"]}, "no head 'itc'; did you mean itq"),
        ({"heads": []}, "at least one head"),
        ({"bits": []}, "at least one head and one number of bits"),
        ({"bits": [0]}, "from 1 to 4096, not 0"),
        ({"keep": 0.0}, "--keep must be a share above 0"),
        ({"contain": 95}, "--contain must be a share above 0 and at most 1, not 95"),
        ({"target_size": 0}, "--target-size must be at least 1, not 0"),
    ],
)
def test_unusable_settings_are_refused_in_one_sentence(settings, message):
    with pytest.raises(InputError, match=message):
        ProbeSettings(**settings)
