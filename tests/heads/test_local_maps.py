"""Local maps: groups of documents bend what codes for the scan alone stand for."""

from dataclasses import replace

import numpy as np
import pytest

from llmhash import Hasher
from llmhash.codes import Codes
from llmhash.errors import InputError
from llmhash.heads import fit_head
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.codebook import Codebook
from llmhash.heads.local_maps import _Moments, _reduced_rank_map, _stored, with_local_maps
from llmhash.heads.scan import fit_scan
from llmhash.index import asymmetric_scores, asymmetric_search

DIM, TOPICS, EACH = 32, 8, 1500


def clustered(seed, each=EACH):
    """Topics far from each other, each spread more along some dimensions than along others."""
    topics, rng = np.random.default_rng(0), np.random.default_rng(seed)
    centres = 3 * topics.normal(size=(TOPICS, 1, DIM))
    spreads = np.exp(topics.normal(size=(TOPICS, 1, DIM)))
    rows = centres + spreads * rng.normal(size=(TOPICS, each, DIM))
    return rows.reshape(-1, DIM).astype(np.float32)


@pytest.fixture(scope="module")
def features():
    return TrainingFeatures(clustered(1))


@pytest.fixture(scope="module")
def plain(features):
    return fit_scan(features, 24)


@pytest.fixture(scope="module")
def head(features):
    """As in a corpus of more documents than are alike."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmhash.heads.distance_codebook._ALIKE", 1000)
        patch.setattr("llmhash.heads.local_maps._FAMILIES", TOPICS)
        return fit_scan(features, 24)


def mean_error(head, documents):
    book = head.codebook
    x = (documents - book.mean) @ book.document_map.T
    return float(np.square(x - book.decode(head.document_codes(documents).packed)).sum(axis=1).mean())


def test_documents_that_maps_have_not_seen_are_coded_better(head, plain):
    unseen = clustered(2, 300)
    assert mean_error(head, unseen) < 0.95 * mean_error(plain, unseen)


def test_few_documents_have_none(plain, head):
    assert plain.codebook.local is None
    assert plain.asymmetric_queries(clustered(2, 1)).points is None
    assert 1 < len(head.codebook.local.down) <= TOPICS


def test_scores_are_distances_from_what_codes_stand_for(head, features):
    book, queries = head.codebook, clustered(3, 5)
    vectors = book.decode(head.document_codes(features.documents).packed)
    mapped = queries @ book.query_map.T + book.query_shift
    expected = mapped @ vectors.T - np.square(vectors).sum(axis=1) / 2
    asked, codes = head.asymmetric_queries(queries), head.document_codes(features.documents)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(asymmetric_scores(asked, codes), expected, atol=1e-5 * scale)
    _, rows = asymmetric_search(asked, codes, 10)
    best = np.sort(np.take_along_axis(expected, rows, axis=1), axis=1)
    np.testing.assert_allclose(best, np.sort(expected, axis=1)[:, -10:], atol=1e-3 * scale)


def bent_book(width):
    """A codebook of random tables, and of two groups of values of the first byte, with maps of rank 1."""
    rng = np.random.default_rng(0)
    down, up = (rng.integers(-127, 128, shape, dtype=np.int8) for shape in ((2, 4, 1), (2, 1, 4)))
    eye, zeros = np.eye(4, dtype=np.float32), np.zeros(4, np.float32)
    return Codebook(
        rng.normal(size=(width, 256, 4)).astype(np.float32),
        mean=zeros,
        pull=zeros[:1],
        document_map=eye,
        query_map=eye,
        query_shift=zeros,
        local_groups=np.arange(256, dtype=np.uint8) // 128,
        local_down=down,
        local_up=up,
        local_scales=np.array([[1e-4], [2e-4]], np.float32),
    )


def test_codes_in_groups_are_searched_for_more_widely_than_sums():
    """The same tables and documents, with maps of nothing and without."""
    bent, documents = bent_book(8), clustered(1, 20)[:, :4]
    maps = ("local_groups", "local_down", "local_up", "local_scales")
    plain = replace(bent, **dict.fromkeys(maps))
    alike = replace(bent, local_groups=np.zeros(256, np.uint8), local_scales=0 * bent.local_scales)
    blind = np.zeros((len(documents), bent.bits), np.float32)
    errors = [
        np.square(documents - book.decode(book.encode(documents, blind))).sum(axis=1).mean()
        for book in (plain, alike)
    ]
    assert errors[1] < 0.9 * errors[0]


def test_a_map_bends_all_bytes_but_the_first():
    rng, book = np.random.default_rng(1), bent_book(3)
    tables = book.tables
    down, up, scales = book.local_down, book.local_up, book.local_scales
    codes = rng.integers(0, 256, (50, 3), dtype=np.uint8)
    for code, vector in zip(codes, book.decode(codes), strict=True):
        w = tables[1, code[1]] + tables[2, code[2]]
        group = code[0] // 128
        bent = w + w @ down[group].astype(np.float32) @ up[group].astype(np.float32) * scales[group]
        np.testing.assert_allclose(vector, tables[0, code[0]] + bent, rtol=1e-4, atol=1e-4)


def test_a_document_is_coded_in_the_group_of_its_nearest_first_byte(head, features):
    book = head.codebook
    x = (features.documents - book.mean) @ book.document_map.T
    distances = np.square(x[:, None] - book.tables[0][None]).sum(axis=2)
    codes = head.document_codes(features.documents).packed
    np.testing.assert_array_equal(book.local_groups[codes[:, 0]], book.local_groups[distances.argmin(axis=1)])


def test_few_documents_are_coded_as_among_many(head, features):
    """Many have their group's tables bent, and few are bent themselves."""
    whole = head.document_codes(features.documents).packed[:200]
    few = np.concatenate(
        [head.document_codes(features.documents[i : i + 2]).packed for i in range(0, 200, 2)]
    )
    assert (whole == few).all(axis=1).mean() > 0.98  # The order of sums may decide between equals.


def test_codes_of_queries_are_signs(head):
    """For ties alone: a search for them is not worth its time."""
    queries = clustered(3, 5)
    signs = Codes.from_logits(head.query_logits(queries))
    np.testing.assert_array_equal(head.query_codes(queries).packed, signs.packed)


def test_a_map_of_low_rank_is_found():
    rng = np.random.default_rng(0)
    sums = rng.normal(size=(20_000, DIM)).astype(np.float32)
    wanted = (rng.normal(size=(DIM, 2)) @ rng.normal(size=(2, DIM))).astype(np.float32)
    noise = rng.normal(size=sums.shape).astype(np.float32)
    known = _Moments.of(sums + 3, sums @ wanted + 0.1 * noise - 1)
    down, up = _reduced_rank_map(known, 2)
    assert down.shape == up.T.shape == (DIM, 2)
    np.testing.assert_allclose(down @ up, wanted, atol=0.05 * np.abs(wanted).max())


def test_a_map_in_bytes_is_near_itself():
    rng = np.random.default_rng(0)
    sizes = np.float32(10.0) ** np.arange(-3, 3, dtype=np.float32)
    down = rng.normal(size=(DIM, 6)).astype(np.float32) * sizes
    up = rng.normal(size=(6, DIM)).astype(np.float32)
    in_bytes, others, scales = _stored(down, up)
    for place in range(6):
        product = np.outer(down[:, place], up[place])
        kept = scales[place] * np.outer(in_bytes[:, place].astype(np.float32), others[place])
        assert np.linalg.norm(kept - product) < 0.02 * np.linalg.norm(product)
    nothing = _stored(np.zeros_like(down), np.zeros_like(up))
    assert not any(part.any() for part in nothing[:2]) and np.isfinite(nothing[2]).all()


def test_few_documents_leave_maps_near_the_identity():
    rng = np.random.default_rng(0)
    sums, missing = (rng.normal(size=(30, DIM)).astype(np.float32) for _ in range(2))
    down, up = _reduced_rank_map(_Moments.of(sums, missing), DIM)
    assert np.linalg.norm(sums @ down @ up) < 0.3 * np.linalg.norm(missing)


def test_others_of_a_family_count_as_some_documents_together():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2, 600, DIM)).astype(np.float32)
    own, other = _Moments.of(*rows[:, :100]), _Moments.of(*rows[:, 100:])
    doubled = own.and_share([other, other], 250)
    assert doubled.count == pytest.approx(350)
    for name in ("gram", "cross", "missed"):
        np.testing.assert_allclose(
            getattr(doubled, name), getattr(own, name) + getattr(other, name) / 2, rtol=1e-5, atol=1e-3
        )
    few = own.and_share([other], 5000)  # As many as they are, and not more.
    np.testing.assert_allclose(few.gram, own.gram + other.gram, rtol=1e-5)
    alone = own.and_share([], 5000)
    np.testing.assert_array_equal(alone.cross, own.cross)


@pytest.fixture(scope="module")
def wide_head(features):
    """As a head of wide codes: every value has a map."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmhash.heads.distance_codebook._ALIKE", 1000)
        patch.setattr("llmhash.heads.local_maps._FAMILIES", TOPICS)
        patch.setattr("llmhash.heads.local_maps.WIDE", 2)
        return fit_scan(features, 24)


def test_each_value_of_wide_codes_has_a_map(wide_head, head):
    book = wide_head.codebook
    np.testing.assert_array_equal(book.local_groups, np.arange(256))
    assert len(book.local_down) == 256 > TOPICS >= len(head.codebook.local_down)


def test_what_a_family_knows_helps_documents_that_maps_have_not_seen(features, wide_head):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmhash.heads.distance_codebook._ALIKE", 1000)
        patch.setattr("llmhash.heads.local_maps._FAMILIES", 256)
        patch.setattr("llmhash.heads.local_maps.WIDE", 2)
        lonely = fit_scan(features, 24)
    unseen = clustered(2, 300)
    assert mean_error(wide_head, unseen) < mean_error(lonely, unseen)


def test_more_rounds_code_better(plain, features):
    book = replace(plain.codebook, offsets=None)
    x = (features.documents - book.mean) @ book.document_map.T
    told, none = [], np.zeros((len(x), 24), np.float32)
    once, thrice = (
        with_local_maps(book, features.documents, x, none, rounds, progress=told.append) for rounds in (1, 3)
    )
    assert told == [0, 0, 1, 2]
    errors = [
        np.square(x - each.decode(each.encode(features.documents, none))).sum(axis=1).mean()
        for each in (book, once, thrice)
    ]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("bits", [8, 16])
def test_one_byte_and_documents_that_are_all_alike(monkeypatch, bits):
    monkeypatch.setattr("llmhash.heads.distance_codebook._ALIKE", 100)
    same = np.ones((300, DIM), np.float32)
    assert len(fit_head("scan", TrainingFeatures(same), bits).document_codes(same)) == 300
    documents = clustered(1, 50)
    head = fit_head("scan", TrainingFeatures(documents), bits)
    values = asymmetric_scores(head.asymmetric_queries(documents), head.document_codes(documents))
    nearest = values.argmax(axis=1) // 50
    assert (nearest == np.arange(len(documents)) // 50).mean() > 0.95


def test_stored_and_back(head, features, tmp_path):
    hasher = Hasher(head)
    hasher.save(tmp_path / "h")
    loaded = Hasher.load(tmp_path / "h").head
    assert isinstance(loaded, AffineHead)
    assert loaded.codebook.local_down.dtype == np.int8
    assert head.nbytes == sum(array.nbytes for array in head.tensors().values())
    codes = head.document_codes(features.documents)
    np.testing.assert_array_equal(loaded.document_codes(features.documents).packed, codes.packed)
    queries = clustered(3, 5)
    np.testing.assert_array_equal(
        asymmetric_scores(loaded.asymmetric_queries(queries), codes),
        asymmetric_scores(head.asymmetric_queries(queries), codes),
    )


@pytest.mark.parametrize(("bits", "rounds"), [(16, 7), (24, 9)])
def test_progress_counts_all_rounds_of_which_wide_codes_take_more(features, monkeypatch, bits, rounds):
    monkeypatch.setattr("llmhash.heads.distance_codebook._ALIKE", 1000)
    monkeypatch.setattr("llmhash.heads.distance_codebook.WIDE", 2)
    told = []
    fit_scan(features, bits, progress=lambda *state: told.append(state))
    assert told == [
        (turn, rounds, "codebook" if turn <= 3 else "local maps") for turn in range(1, rounds + 1)
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"local_up": None}, "local maps have groups, factors and scales, or none of them"),
        ({"local_down": np.zeros((1, DIM, 2), np.float32)}, "local_down must be int8"),
        ({"local_down": np.zeros((1, DIM), np.int8)}, "local_down must be int8"),
        ({"local_groups": np.full(256, TOPICS, np.uint8)}, "a group of a codebook's local maps has none"),
        ({"document_map": None}, "local maps belong to a codebook with a map of documents"),
    ],
)
def test_parts_that_do_not_fit(head, change, message):
    with pytest.raises(InputError, match=message):
        replace(head.codebook, **change)
