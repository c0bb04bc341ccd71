"""Pictures: files that are what their suffix says and come out the same again."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.errors import InputError, MissingExtraError
from llmhash.evaluation.pictures import (
    code_map,
    draw_code_map,
    draw_precision_over_bits,
    draw_precision_recall,
)


@pytest.fixture
def clusters():
    """Codes of 32 bits near one of three prototypes, and which."""
    rng = np.random.default_rng(0)
    prototypes = rng.integers(0, 2, (3, 32))
    kinds = rng.integers(0, 3, 90)
    return Codes.pack(prototypes[kinds] ^ (rng.random((90, 32)) < 0.1)), kinds


def draw_all(clusters, folder, suffix):
    codes, kinds = clusters
    files = [folder / f"{name}.{suffix}" for name in ("curves", "bits", "map")]
    draw_precision_recall({"itq": ([0.1, 1.0], [0.9, 0.2]), "sign": ([0.2, 1.0], [0.5, 0.2])}, files[0])
    draw_precision_over_bits({"itq": {64: 0.7, 16: 0.5}, "one": {32: 0.4}}, files[1], floats={"teacher": 0.8})
    draw_code_map(codes, [f"topic {kind}" for kind in kinds], files[2], title="a map")
    return files


@pytest.mark.parametrize(("suffix", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_same_figures_give_the_same_files(suffix, magic, clusters, tmp_path):
    pytest.importorskip("matplotlib")
    folders = [tmp_path / "first", tmp_path / "second"]
    drawn = []
    for folder in folders:
        folder.mkdir()
        drawn.append([path.read_bytes() for path in draw_all(clusters, folder, suffix)])
    assert drawn[0] == drawn[1]
    assert all(content.startswith(magic) and len(content) > 5000 for content in drawn[0])


def test_a_picture_names_what_it_shows(clusters, tmp_path):
    mpl = pytest.importorskip("matplotlib")
    with mpl.rc_context({"svg.fonttype": "none"}):
        curves, bits, codes = (path.read_text() for path in draw_all(clusters, tmp_path, "svg"))
    assert all(word in curves for word in ("recall", "precision", "itq", "sign"))
    assert all(f">{word}<" in bits for word in ("16", "32", "64", "Precision@100", "teacher", "one"))
    assert all(word in codes for word in ("topic 0", "topic 1", "topic 2", "a map"))


def test_many_labels_share_a_colour(clusters, tmp_path):
    mpl = pytest.importorskip("matplotlib")
    codes, _ = clusters
    with mpl.rc_context({"svg.fonttype": "none"}):
        draw_code_map(codes, [f"l{i % 25}" for i in range(90)], tmp_path / "map.svg", sample=80)
    drawn = (tmp_path / "map.svg").read_text()
    assert "5 further labels" in drawn
    assert sum(f">l{i}<" in drawn for i in range(25)) == 20


def test_a_map_keeps_what_is_near_together(clusters):
    codes, kinds = clusters
    places = code_map(codes, seed=3)
    assert places.shape == (90, 2)
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (kinds[distance.argmin(axis=1)] == kinds).mean() > 0.95


def test_wrong_input_is_refused(clusters, tmp_path):
    pytest.importorskip("matplotlib")
    codes, _ = clusters
    with pytest.raises(InputError, match=r"\.png or \.svg, not 'curves\.pdf'"):
        draw_precision_recall({}, tmp_path / "curves.pdf")
    with pytest.raises(InputError, match="90 codes but 2 labels"):
        draw_code_map(codes, ["a", "b"], tmp_path / "map.svg")
    with pytest.raises(InputError, match="three distinct"):
        draw_code_map(codes[:2], ["a", "b"], tmp_path / "map.svg")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"llmhash\[plot\]"):
        draw_precision_recall({}, tmp_path / "curves.svg")
