import subprocess
import sys

import numpy as np
import pytest

from llmhash.encoders.base import TokenFeatures
from llmhash.errors import FormatError, InputError
from llmhash.heads import tokens as tokens_module
from llmhash.heads.base import TrainingFeatures, Validation
from llmhash.heads.kinds import head_from_tensors
from llmhash.heads.tokens import TokenHead

torch = pytest.importorskip("torch")

DIM, CHANNELS, BITS = 6, 5, 7


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_features(lengths, values, summary):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenFeatures(values.astype(np.float16), offsets, summary.astype(np.float32))


@pytest.fixture
def features():
    """Texts shorter and longer than the windows, and empty ones first, last and in between."""
    rng = np.random.default_rng(0)
    lengths = [0, 3, 1, 0, 0, 12, 2, 5, 40, 4, 0]
    return make_features(lengths, rng.normal(size=(sum(lengths), DIM)), rng.normal(size=(len(lengths), DIM)))


@pytest.fixture
def head():
    rng = np.random.default_rng(1)

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    windows = (1, 3, 5)
    return TokenHead(
        draw(DIM),
        tuple(draw(window, DIM, CHANNELS) for window in windows),
        tuple(draw(CHANNELS) for _ in windows),
        draw(BITS, CHANNELS * 3),
        draw(BITS),
    )


def reference(head, features):
    """Logits of each text and of each token, text by text by torch's convolution."""
    logits, locals_ = [], []
    for row in range(len(features)):
        tokens = (
            features.values[features.offsets[row] : features.offsets[row + 1]].astype(np.float32) - head.mean
        )
        hidden = [np.zeros((len(tokens), CHANNELS), np.float32)] * 3
        if len(tokens):
            hidden = [
                torch.nn.functional.conv1d(
                    torch.from_numpy(tokens.T[None]),
                    torch.from_numpy(bank.transpose(2, 1, 0).copy()),
                    torch.from_numpy(bias),
                    padding=len(bank) // 2,
                )[0].T.numpy()
                for bank, bias in zip(head.filters, head.filter_biases, strict=True)
            ]
        own = np.maximum(np.concatenate(hidden, axis=1), 0) @ head.weight.T + head.bias
        locals_.append(own)
        logits.append(own.mean(axis=0) if len(own) else head.bias)
    return np.array(logits), locals_


# -- at use --------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 7, 4096])
def test_logits_are_those_of_convolutions_text_by_text(head, features, block, monkeypatch):
    monkeypatch.setattr(tokens_module, "_BLOCK_TOKENS", block)
    expected, _ = reference(head, features)
    np.testing.assert_allclose(head.document_logits(features), expected, atol=1e-4)
    assert head.document_logits(features).dtype == np.float32


def test_both_sides_are_the_same_and_codes_are_signs(head, features):
    logits = head.document_logits(features)
    np.testing.assert_array_equal(head.query_logits(features), logits)
    np.testing.assert_array_equal(head.asymmetric_queries(features), logits)
    np.testing.assert_array_equal(head.document_codes(features).unpack(), logits > 0)
    assert (head.bits, head.dim, head.windows, head.codebook) == (BITS, DIM, (1, 3, 5), None)


def test_no_texts_and_texts_without_tokens(head, features):
    assert head.document_logits(features[:0]).shape == (0, BITS)
    np.testing.assert_array_equal(head.document_logits(features[3:5]), np.stack([head.bias] * 2))


def test_stored_and_loaded(head, features):
    again = head_from_tensors(head.kind, head.tensors())
    np.testing.assert_array_equal(again.document_logits(features), head.document_logits(features))
    assert again.nbytes == head.nbytes == sum(array.nbytes for array in head.tensors().values())


@pytest.mark.parametrize(
    "change",
    [
        {"bias": None},
        {"mean": None},
        {"mean": np.zeros(DIM + 1, np.float32)},
        {"filters.3.bias": None},
        {"other": np.zeros(3, np.float32)},
        {"filters.2.weight": np.zeros((2, DIM, CHANNELS), np.float32)},
        {"filters.3.weight": np.zeros((3, DIM + 1, CHANNELS), np.float32)},
        {"weight": np.zeros((BITS, 3), np.float32)},
        {"weight": np.zeros((BITS, CHANNELS * 3), np.float64)},
        {"bias": np.full(BITS, np.nan, np.float32)},
    ],
)
def test_damaged_tensors(head, change):
    tensors = {name: array for name, array in (head.tensors() | change).items() if array is not None}
    with pytest.raises(FormatError, match="not a token head"):
        TokenHead.from_tensors(tensors)


def test_other_features_are_refused(head, features):
    with pytest.raises(InputError, match="takes token features, a row a token"):
        head.document_logits(np.zeros((2, DIM), np.float32))
    wide = make_features([1], np.zeros((1, DIM + 1)), np.zeros((1, DIM + 1)))
    with pytest.raises(InputError, match=f"tokens of {DIM} dimensions, not {DIM + 1}"):
        head.document_logits(wide)
    features.values[4, 2] = np.nan
    with pytest.raises(InputError, match="NaN or infinity"):
        head.document_logits(features)


def test_torch_is_not_needed_at_use():
    code = "import sys, llmhash.heads.tokens; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# -- training ------------------------------------------------------------------------------------


def fit(*args, objectives=None, progress=None, seed=0, **settings):
    from llmhash.heads.tokens_fit import fit_tokens
    from llmhash.heads.tokens_options import TokenOptions

    options = TokenOptions(**{"device": "cpu", "channels": 16, "windows": (1, 3)} | settings)
    return fit_tokens(*args, objectives=objectives, options=options, seed=seed, progress=progress)


@pytest.fixture(scope="module")
def topical():
    """Token features of texts on six subjects, and the subjects: three words of five tell which it is."""
    rng = np.random.default_rng(2)
    dim, count = 24, 480
    telling, idle = rng.normal(size=(6, 8, dim)), rng.normal(size=(60, dim))
    subjects = rng.integers(6, size=count)
    lengths = rng.integers(6, 20, size=count)
    lengths[7] = 0
    texts = []
    for subject, length in zip(subjects, lengths, strict=True):
        words = idle[rng.integers(60, size=length)]
        tells = rng.random(length) < 0.6
        words[tells] = telling[subject, rng.integers(8, size=tells.sum())]
        texts.append(words + 0.1 * rng.normal(size=(length, dim)) + 3)
    summary = np.stack([text.mean(axis=0) if len(text) else np.zeros(dim) for text in texts])
    return make_features(lengths, np.concatenate(texts), summary), np.eye(6, dtype=bool)[subjects]


def precision(head, features, labels):
    """Precision@20 of the codes among themselves."""
    codes = 2.0 * head.document_codes(features).unpack() - 1.0
    similarity = codes @ codes.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :20]
    subjects = labels.argmax(axis=1)
    return (subjects[nearest] == subjects[:, None]).mean()


def test_the_student_gives_the_head_s_logits_and_its_tokens(features):
    from llmhash.heads.network_student import Look
    from llmhash.heads.tokens_options import TokenOptions
    from llmhash.heads.tokens_student import TokenStudent

    options = TokenOptions(windows=(1, 3, 5), channels=CHANNELS)
    student = TokenStudent(features, BITS, options, seed=0)
    chosen = features[np.flatnonzero(features.lengths)]
    view = student(chosen, Look(0, torch.Generator().manual_seed(0)))
    expected, locals_ = reference(student.head(), chosen)
    np.testing.assert_allclose(view.logits.detach(), expected, atol=1e-4)
    assert view.mask.sum(dim=1).tolist() == chosen.lengths.tolist()
    for own, mask, wanted in zip(view.locals.detach(), view.mask, locals_, strict=True):
        np.testing.assert_allclose(own[mask], wanted, atol=1e-4)
        assert not own[~mask].any()
    assert set(view.codes.unique().tolist()) == {-1.0, 1.0}


def test_logits_start_centred_with_unit_variance(topical):
    from llmhash.heads.tokens_options import TokenOptions
    from llmhash.heads.tokens_student import TokenStudent

    head = TokenStudent(topical[0], 32, TokenOptions(channels=8), seed=0).head()
    logits = head.document_logits(topical[0][np.flatnonzero(topical[0].lengths)])
    assert np.abs(logits.mean(axis=0)).max() < 0.1
    assert logits.std() == pytest.approx(1.0, abs=0.05)


def test_infomax_finds_what_a_text_s_parts_share(topical):
    features, labels = topical
    untrained = fit(TrainingFeatures(features), 16, steps=1, learning_rate=1e-9)
    trained = fit(TrainingFeatures(features), 16, steps=80, batch_size=64, learning_rate=1e-2)
    assert precision(trained, features, labels) > precision(untrained, features, labels) + 0.2
    assert trained.bits == 16 and trained.dim == 24 and trained.windows == (1, 3)


def test_the_seed_decides(topical):
    data = TrainingFeatures(topical[0])
    first, second = (fit(data, 8, steps=5) for _ in range(2))
    other = fit(data, 8, steps=5, seed=1)
    for name, array in first.tensors().items():
        np.testing.assert_array_equal(array, second.tensors()[name])
    assert np.abs(first.weight - other.weight).max() > 1e-3


def test_medians_halve_each_bit(topical):
    head = fit(TrainingFeatures(topical[0]), 8, steps=5, threshold="median")
    ones = head.document_codes(topical[0]).unpack().mean(axis=0)
    np.testing.assert_allclose(ones, 0.5, atol=0.01)


def test_validation_labels_select(topical, tmp_path):
    from llmhash.training import read_log

    features, labels = topical
    data = TrainingFeatures(
        features[:400], labels=labels[:400], validation=Validation(features[400:], labels[400:])
    )
    fit(data, 8, epochs=3, batch_size=100, checkpoint=str(tmp_path))
    figures = [line["validation"] for line in read_log(tmp_path) if "validation" in line]
    assert len(figures) == 3 and all(0 < figure < 1 for figure in figures)


def test_an_interrupted_run_goes_on(topical, tmp_path):
    data = TrainingFeatures(topical[0])

    def interrupt(step, _steps, _message):
        if step == 6:
            raise KeyboardInterrupt

    settings = {"steps": 12, "validate_every": 3, "batch_size": 32}
    whole = fit(data, 8, **settings)
    with pytest.raises(KeyboardInterrupt):
        fit(data, 8, **settings, checkpoint=str(tmp_path), progress=interrupt)
    resumed = fit(data, 8, **settings, checkpoint=str(tmp_path))
    for name, array in whole.tensors().items():
        np.testing.assert_allclose(resumed.tensors()[name], array, atol=1e-6)
    with pytest.raises(InputError, match="another run"):
        fit(data, 8, **settings, temperature=0.5, checkpoint=str(tmp_path))


def test_other_objectives_may_join(topical):
    from scipy.sparse import csr_array

    features, labels = topical
    words = csr_array(np.abs(np.random.default_rng(0).normal(size=(len(features), 9))).astype(np.float32))
    data = TrainingFeatures(features, words=words, labels=labels)
    objectives = {
        "infomax": {"beta": 0.5},
        "words": 0.1,
        "embeddings": {"weight": 0.1},
        "pairwise": {"weight": 0.1},
        "balance": {"weight": {"start": 0.0, "end": 1.0, "steps": 3}},
    }
    assert fit(data, 8, objectives=objectives, steps=3).bits == 8


@pytest.mark.parametrize(
    ("objectives", "settings", "message"),
    [
        ({"ranking_hinge": None}, {}, "ranking_hinge needs pairs, which the head tokens lacks"),
        ({"words": None}, {}, "add a section `words` to the recipe"),
        ({"contrastive": None}, {}, "which the head tokens cannot take; leave it out"),
        ({"infomaxx": None}, {}, "no objective 'infomaxx'; did you mean infomax"),
        (None, {"windows": (2,)}, r"odd numbers of tokens, ascending, not \[2\]"),
        (None, {"windows": (3, 1)}, "odd numbers of tokens"),
        (None, {"windows": ()}, "odd numbers of tokens"),
        (None, {"channels": 0}, "channels must be a whole number from 1"),
        (None, {"estimator": "nothing"}, "no estimator 'nothing'"),
    ],
)
def test_unusable_settings(topical, objectives, settings, message):
    with pytest.raises(InputError, match=message):
        fit(TrainingFeatures(topical[0]), 8, objectives=objectives, **{"steps": 2} | settings)


def test_what_the_paper_fixes_is_no_option():
    from llmhash.heads.tokens_options import TokenOptions

    for name, value in {"hidden": (5,), "latent": "gaussian", "dropout": 0.5, "activation": "tanh"}.items():
        with pytest.raises(TypeError, match=name):
            TokenOptions(**{name: value})


def test_unusable_documents(features):
    with pytest.raises(InputError, match="takes token features"):
        fit(TrainingFeatures(np.ones((5, 3), np.float32)), 8)
    with pytest.raises(InputError, match="no document has a token"):
        fit(TrainingFeatures(features[3:5]), 8)
    features.values[4] = np.inf
    with pytest.raises(InputError, match="NaN or infinity in 1 row"):
        TrainingFeatures(features)
