"""The additive codebook: what its codes minimise, and what its tables score."""

from dataclasses import replace

import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.errors import FormatError, InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.codebook import SIGNS, Codebook
from llmhash.index import TableQueries, asymmetric_scores

DIM = 24


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_book(width, *, pull=0.5, seed=0):
    # Each byte's entries are smaller than those before, as residual tables are.
    tables = normal(width, 256, DIM, seed=seed) * (0.6 ** np.arange(width, dtype=np.float32))[:, None, None]
    return Codebook(tables, normal(DIM, seed=seed + 1), np.array([pull], np.float32))


def losses(book, features, logits, codes):
    """The loss of the module's docstring, float64 (n,), of one code a document."""
    error = features.astype(np.float64) - book.mean
    error -= sum(book.tables[byte][codes[:, byte]] for byte in range(codes.shape[1]))
    signs = np.unpackbits(codes, axis=1) * 2.0 - 1
    return (error**2).sum(axis=1) - float(book.pull[0]) * (logits * signs).sum(axis=1)


def all_losses(book, features, logits):
    """The loss of every code, float64 (n, 256 ** m)."""
    width = len(book.tables)
    every = np.stack(np.meshgrid(*[np.arange(256, dtype=np.uint8)] * width, indexing="ij"), -1)
    every = every.reshape(-1, width)
    return np.stack(
        [
            losses(book, np.repeat(row[None], len(every), 0), np.repeat(z[None], len(every), 0), every)
            for row, z in zip(features, logits, strict=True)
        ]
    )


def greedy(book, features, logits):
    """Each byte's best value given those before it, as a search with a beam of one finds."""
    codes = np.zeros((len(features), 0), np.uint8)
    for byte in range(len(book.tables)):
        part = Codebook(book.tables[: byte + 1], book.mean, book.pull)
        cost = np.stack(
            [
                losses(
                    part,
                    features,
                    logits[:, : 8 * byte + 8],
                    np.column_stack([codes, np.full(len(codes), value, np.uint8)]),
                )
                for value in range(256)
            ],
            axis=1,
        )
        codes = np.column_stack([codes, cost.argmin(axis=1).astype(np.uint8)])
    return codes


@pytest.mark.parametrize("pull", [0.0, 2.0])
def test_one_byte_s_code_is_the_best_of_all(pull):
    book = make_book(1, pull=pull)
    features, logits = normal(200, DIM, seed=2), normal(200, 8, seed=3)
    codes = book.encode(features, logits)
    np.testing.assert_allclose(
        losses(book, features, logits, codes), all_losses(book, features, logits).min(axis=1), rtol=1e-5
    )


@pytest.mark.parametrize("pull", [0.5, 0.0])
def test_two_bytes_code_is_mostly_the_best_of_all_and_never_worse_than_byte_by_byte(pull):
    book = make_book(2, pull=pull)
    features, logits = normal(12, DIM, seed=2), normal(12, 16, seed=3)
    found = losses(book, features, logits, book.encode(features, logits))
    every = all_losses(book, features, logits)
    best = every.min(axis=1)
    assert (found >= best - 1e-4).all()
    assert np.mean(found <= best + 1e-4) >= 0.75
    assert ((found - best) <= 0.02 * (np.median(every, axis=1) - best)).all()
    step = losses(book, features, logits, greedy(book, features, logits))
    assert (found <= step + 1e-4).all()
    assert (found < step - 1e-3).any()


def test_the_last_byte_is_the_best_one_for_those_before_it():
    book = make_book(5)
    features, logits = normal(50, DIM, seed=2), normal(50, 40, seed=3)
    codes = book.encode(features, logits)
    found = losses(book, features, logits, codes)
    for value in range(256):
        other = codes.copy()
        other[:, -1] = value
        assert (losses(book, features, logits, other) >= found - 1e-4).all()


@pytest.mark.parametrize("pull", [0.0, 0.5])
@pytest.mark.parametrize("width", [1, 5])
def test_many_documents_get_the_codes_that_few_get(width, pull, monkeypatch):
    """Many are searched by the products of all entries, few by the errors of partial codes."""
    book = make_book(width, pull=pull)
    features, logits = normal(1000, DIM, seed=2), normal(1000, 8 * width, seed=3)
    many = book.encode(features, logits)
    assert "_between" in vars(book)
    monkeypatch.setattr("llmhash.heads.codebook._PARTIAL_BETWEEN", 10**6)
    few = book.encode(features, logits)
    # Rounding may decide between codes that cost the same.
    assert (many == few).all(axis=1).mean() > 0.995
    np.testing.assert_allclose(
        losses(book, features, logits, many), losses(book, features, logits, few), rtol=1e-3, atol=1e-3
    )


def test_a_wide_code_loses_less_than_byte_by_byte():
    book = make_book(8)
    features, logits = normal(100, DIM, seed=2), normal(100, 64, seed=3)
    found = losses(book, features, logits, book.encode(features, logits))
    step = losses(book, features, logits, greedy(book, features, logits))
    assert found.mean() < step.mean()


def test_many_documents_are_searched_in_parts_that_change_nothing(monkeypatch):
    book = make_book(3)
    features, logits = normal(70, DIM, seed=2), normal(70, 24, seed=3)
    at_once = book.encode(features, logits)
    monkeypatch.setattr("llmhash.heads.codebook._CELLS", 256 * 21 * 9)
    np.testing.assert_array_equal(book.encode(features, logits), at_once)
    assert book.encode(features[:0], logits[:0]).shape == (0, 3)


def test_a_strong_pull_gives_the_signs_of_the_logits():
    features, logits = normal(300, DIM, seed=2), normal(300, 32, seed=3)
    clear = np.abs(logits) > 0.02
    strong = np.unpackbits(make_book(4, pull=10_000.0).encode(features, logits), axis=1)
    np.testing.assert_array_equal(strong[clear], (logits > 0)[clear])
    weak = np.unpackbits(make_book(4, pull=0.0).encode(features, logits), axis=1)
    assert np.mean(weak[clear] == (logits > 0)[clear]) < 0.6


def test_a_score_is_the_query_s_dot_product_with_the_decoded_code():
    book = make_book(4)
    codes = np.random.default_rng(4).integers(0, 256, (90, 4), dtype=np.uint8)
    queries = normal(7, DIM, seed=5)
    own = Codes.from_logits(normal(7, 32))
    asked = TableQueries(own, book.query_tables(queries))
    np.testing.assert_allclose(
        asymmetric_scores(asked, codes), queries @ book.decode(codes).T, rtol=1e-5, atol=1e-4
    )
    offsets = normal(4, 256, seed=6)
    lifted = replace(book, offsets=offsets)
    expected = queries @ book.decode(codes).T + offsets[np.arange(4), codes].sum(axis=1)
    scores = asymmetric_scores(TableQueries(own, lifted.query_tables(queries)), codes)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-4)


def test_tables_of_the_bits_alone_score_as_the_logits_do():
    weight = normal(16, DIM)
    tables = np.einsum("ab,mbd->mad", SIGNS, weight.reshape(2, 8, DIM))
    queries, codes = normal(5, DIM, seed=1), Codes.from_logits(normal(40, 16, seed=2))
    logits = queries @ weight.T
    book = replace(make_book(2), tables=tables)
    asked = TableQueries(Codes.from_logits(logits), book.query_tables(queries))
    by_tables = asymmetric_scores(asked, codes)
    by_logits = asymmetric_scores(logits, codes) * np.abs(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(by_tables, by_logits, rtol=1e-4, atol=1e-4)


# -- in a head -----------------------------------------------------------------------------------


@pytest.fixture
def head():
    return AffineHead(normal(16, DIM), normal(16, seed=1), codebook=make_book(2))


def test_a_head_chooses_codes_and_scores_by_its_codebook(head):
    features, queries = normal(40, DIM, seed=7), normal(6, DIM, seed=8)
    codes = head.document_codes(features)
    np.testing.assert_array_equal(
        codes.packed, head.codebook.encode(features, head.document_logits(features))
    )
    assert (codes.packed != Codes.from_logits(head.document_logits(features)).packed).any()
    asked = head.asymmetric_queries(queries)
    assert isinstance(asked, TableQueries)
    signs = Codes.from_logits(head.query_logits(queries))
    np.testing.assert_array_equal(asked.codes.packed, signs.packed)
    np.testing.assert_allclose(
        asymmetric_scores(asked, codes), queries @ head.codebook.decode(codes.packed).T, atol=1e-4
    )
    # Doubles are taken as floats, as they are where logits are made.
    np.testing.assert_array_equal(head.document_codes(features.astype(np.float64)).packed, codes.packed)


@pytest.mark.parametrize("shift", [0, 3])
def test_a_codebook_that_knows_where_queries_lie_encodes_them_as_documents(head, shift):
    """Queries may lie off the documents by a constant, which the query side's bias takes away."""
    features, away = normal(40, DIM, seed=7), np.float32(shift) * normal(1, DIM, seed=9)[0]
    sided = replace(head, query_bias=head.bias - head.weight @ away)
    signs = sided.query_codes(features + away).packed
    np.testing.assert_array_equal(signs, Codes.from_logits(sided.query_logits(features + away)).packed)
    known = replace(sided, codebook=replace(head.codebook, query_mean=head.codebook.mean + away))
    codes = known.query_codes(features + away).packed
    np.testing.assert_array_equal(codes, head.document_codes(features).packed)
    assert (codes != signs).any()
    np.testing.assert_array_equal(known.asymmetric_queries(features + away).codes.packed, codes)


def test_a_map_of_queries_scores_in_their_place_and_leaves_codes_alone(head):
    queries, book = normal(5, DIM, seed=8), head.codebook
    mapped = replace(head, codebook=replace(book, query_map=normal(DIM, DIM), query_shift=normal(DIM)))
    codes = head.document_codes(normal(40, DIM, seed=7))
    np.testing.assert_array_equal(mapped.document_codes(normal(40, DIM, seed=7)).packed, codes.packed)
    np.testing.assert_array_equal(mapped.query_codes(queries).packed, head.query_codes(queries).packed)
    asked = queries @ mapped.codebook.query_map.T + mapped.codebook.query_shift
    np.testing.assert_allclose(
        asymmetric_scores(mapped.asymmetric_queries(queries), codes),
        asked @ book.decode(codes.packed).T,
        atol=1e-3,
    )


def anchors(count, bits, dim=DIM):
    return {
        "anchor_keys": normal(count, dim, seed=3),
        "anchor_offsets": normal(count, seed=4),
        "anchor_votes": normal(count, bits, seed=5),
    }


def test_anchors_vote_for_a_query_s_code(head):
    """z + softmax(K q + k) V, for large scores too."""
    queries, named = normal(6, DIM, seed=8), anchors(7, head.bits)
    named["anchor_keys"] *= np.float32(200)
    anchored = replace(head, codebook=replace(head.codebook, **named))
    for query, code in zip(queries, anchored.query_codes(queries).packed, strict=True):
        scores = named["anchor_keys"].astype(np.float64) @ query + named["anchor_offsets"]
        weights = np.exp(scores - scores.max())
        votes = weights / weights.sum() @ named["anchor_votes"]
        bits = head.query_logits(query[None])[0] + votes > 0
        np.testing.assert_array_equal(np.packbits(bits), code)
    assert (anchored.query_codes(queries).packed != head.query_codes(queries).packed).any()
    documents = normal(40, DIM, seed=7)
    np.testing.assert_array_equal(
        anchored.document_codes(documents).packed, head.document_codes(documents).packed
    )


def test_without_a_codebook_nothing_changes(head):
    plain = AffineHead(head.weight, head.bias)
    features = normal(40, DIM, seed=7)
    np.testing.assert_array_equal(
        plain.document_codes(features).packed, Codes.from_logits(plain.document_logits(features)).packed
    )
    np.testing.assert_array_equal(plain.asymmetric_queries(features), plain.query_logits(features))
    assert set(plain.tensors()) == {"weight", "bias"}


def test_the_tables_count_among_the_model_s_bytes(head):
    plain = AffineHead(head.weight, head.bias)
    assert head.nbytes - plain.nbytes == 4 * (2 * 256 * DIM + DIM + 1)


def test_truncating_drops_the_codebook(head):
    shorter = head.truncated(8)
    assert shorter.codebook is None
    np.testing.assert_array_equal(shorter.weight, head.weight[:8])
    assert head.truncated(16).codebook is None


@pytest.mark.parametrize("offsets", [None, normal(2, 256)])
def test_tensors_and_back(head, offsets):
    book = head.codebook
    stored = AffineHead(
        head.weight, head.bias, codebook=Codebook(book.tables, book.mean, book.pull, offsets)
    ).tensors()
    assert set(stored) >= {"weight", "bias", "codebook.tables", "codebook.mean", "codebook.pull"}
    again = AffineHead.from_tensors(stored).tensors()
    assert again.keys() == stored.keys()
    for name, array in stored.items():
        np.testing.assert_array_equal(again[name], array)


def broken(**changes):
    tensors = AffineHead(normal(16, DIM), normal(16), codebook=make_book(2)).tensors()
    tensors.update({f"codebook.{name}": value for name, value in changes.items()})
    return {name: value for name, value in tensors.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tables": normal(2, 255, DIM)}, r"tables must be float32 \(bytes, 256, dim\)"),
        ({"tables": normal(2, DIM)}, r"tables must be float32 \(bytes, 256, dim\)"),
        ({"tables": np.zeros((2, 256, DIM))}, "tables must be float32 .* not float64"),
        ({"tables": np.full((2, 256, DIM), np.nan, np.float32)}, "tables holds NaN or infinity"),
        ({"tables": normal(3, 256, DIM)}, "a codebook of 24 bits and 24 dimensions does not fit"),
        ({"mean": normal(DIM - 1)}, r"mean must be float32 \(24,\)"),
        ({"mean": None}, "missing .* argument: 'mean'"),
        ({"pull": normal(2)}, r"pull must be float32 \(1,\)"),
        ({"pull": np.array([-1], np.float32)}, "must be at least 0"),
        ({"offsets": normal(2, 255)}, r"offsets must be float32 \(2, 256\)"),
        ({"query_mean": normal(DIM - 1)}, r"query_mean must be float32 \(24,\)"),
        (
            {"query_map": normal(DIM, DIM - 1), "query_shift": normal(DIM)},
            r"query_map must be float32 \(24, 24\)",
        ),
        ({"query_map": normal(DIM, DIM), "query_shift": normal(1)}, r"query_shift must be float32 \(24,\)"),
        ({"query_map": normal(DIM, DIM)}, "both a map and a shift of queries, or neither"),
        ({**anchors(3, 16), "anchor_votes": normal(4, 16)}, r"anchor_votes must be float32 \(3, 16\)"),
        ({**anchors(3, 16), "anchor_offsets": normal(2)}, r"anchor_offsets must be float32 \(3,\)"),
        ({**anchors(3, 16, DIM - 1)}, r"anchor_keys must be float32 \(3, 24\)"),
        ({**anchors(3, 16), "anchor_votes": None}, "keys, offsets and votes, or there are none"),
        ({**anchors(3, 16), "query_mean": normal(DIM)}, "does not choose queries' codes"),
        ({"tables": None}, "tables"),
        ({"rotation": normal(2, 2)}, "rotation"),
    ],
)
def test_bad_tensors_are_a_format_error_of_one_sentence(changes, message):
    with pytest.raises(FormatError, match=message) as refused:
        AffineHead.from_tensors(broken(**changes))
    text = str(refused.value)
    assert text.startswith("the stored head is not an affine head (")
    assert "\n" not in text


def test_a_codebook_of_another_width_is_refused(head):
    with pytest.raises(
        InputError, match="a codebook of 16 bits and 24 dimensions does not fit a head of 8 bits"
    ):
        AffineHead(head.weight[:8], head.bias[:8], codebook=head.codebook)
