import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from llmhash.binarize import ESTIMATORS
from llmhash.errors import InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures, Validation
from llmhash.heads.network import NetworkHead
from llmhash.heads.network_fit import fit_network
from llmhash.heads.network_options import NetworkOptions
from llmhash.heads.network_validation import PrecisionCheck
from llmhash.heads.projection import fit_itq
from llmhash.objectives.registry import OBJECTIVES
from llmhash.training import read_log

BITS, CLASSES, VOCABULARY = 12, 4, 60
QUICK = NetworkOptions(hidden=(16,), steps=3, batch_size=32, device="cpu")


def topical(rows, seed):
    """Texts as counts of words: some of their class's ten words, some of the twenty that all share."""
    rng = np.random.default_rng(seed)
    of = rng.integers(CLASSES, size=rows)
    counts = np.zeros((rows, VOCABULARY), np.float32)
    for row, label in enumerate(of):
        np.add.at(counts[row], 10 * label + rng.integers(10, size=5), 1)
        np.add.at(counts[row], 40 + rng.integers(20, size=6), 1)
    return counts, np.eye(CLASSES, dtype=bool)[of]


@pytest.fixture(scope="module")
def words():
    """Documents that are words, labelled, and some to validate on."""
    counts, labels = topical(400, 0)
    other, other_labels = topical(80, 1)
    return TrainingFeatures(
        csr_array(counts), labels=labels, validation=Validation(csr_array(other), other_labels)
    )


@pytest.fixture(scope="module")
def embedded(words):
    """The same as embeddings off the origin, words beside them, and queries near their documents."""
    axes = np.random.default_rng(2).normal(size=(VOCABULARY, 20)).astype(np.float32)
    documents = 0.01 * (words.documents @ axes) + np.float32(3.0)
    sources = np.random.default_rng(3).integers(400, size=300)
    noise = np.random.default_rng(4).normal(0, 0.005, (300, 20)).astype(np.float32)
    validation = Validation(
        0.01 * (words.validation.features @ axes) + np.float32(3.0), words.validation.labels
    )
    return replace(
        words,
        documents=documents,
        queries=documents[sources] + noise,
        sources=sources,
        words=words.documents,
        validation=validation,
    )


def precision(features, head):
    return PrecisionCheck(features, queries=80, documents=400, median=False, seed=0).precision(head)


def fit(features, objectives, bits=BITS, **options):
    return fit_network(features, bits, objectives=objectives, options=replace(QUICK, **options))


def barely(features, objectives):
    """The head where training starts."""
    return fit(features, objectives, steps=1, learning_rate=1e-9)


@pytest.mark.parametrize("kind", ["words", "embedded"])
def test_words_are_learned_from_words_and_from_embeddings(kind, request):
    features = request.getfixturevalue(kind)
    objectives = {"words": None, "bernoulli_kl": {"weight": 0.01}}
    head = fit(features, objectives, steps=250, learning_rate=0.01)
    assert isinstance(head, NetworkHead)
    assert precision(features, head) > precision(features, barely(features, objectives)) + 0.25


def test_a_gaussian_latent_with_medians_halves_the_documents(words):
    objectives = {"words": 1.0, "gaussian_kl": {"weight": {"start": 0, "end": 0.1, "steps": 50}}}
    head = fit(words, objectives, steps=100, learning_rate=0.01, latent="gaussian", threshold="median")
    np.testing.assert_allclose((head.document_logits(words.documents) > 0).mean(axis=0), 0.5, atol=0.01)
    affine = fit(words, objectives, hidden=(), latent="gaussian", threshold="median")
    np.testing.assert_allclose((affine.document_logits(words.documents) > 0).mean(axis=0), 0.5, atol=0.01)


def test_without_hidden_layers_it_ends_as_an_affine_head(embedded):
    head = fit(embedded, {"embeddings": None}, hidden=())
    assert isinstance(head, AffineHead)
    assert head.dim == 20


def test_the_start_is_centred_whatever_the_features_offset(embedded):
    head = barely(embedded, {"embeddings": None})
    logits = head.document_logits(embedded.documents)
    np.testing.assert_allclose(logits.mean(axis=0), 0.0, atol=0.05)
    assert 0.5 < logits.std() < 2.0


def test_it_can_start_from_itq(embedded, words):
    settings = {"hidden": (), "start": "itq", "steps": 1, "learning_rate": 1e-9}
    head, itq = fit(embedded, {"embeddings": None}, **settings), fit_itq(embedded, BITS)
    agree = (head.document_logits(embedded.documents) > 0) == (itq.document_logits(embedded.documents) > 0)
    assert agree.mean() > 0.95
    with pytest.raises(InputError, match="start cannot be itq where there are hidden layers"):
        fit(embedded, {"embeddings": None}, start="itq")
    with pytest.raises(InputError, match="takes dense features"):
        fit(words, {"words": None}, **settings)
    with pytest.raises(InputError, match="ask for at most 20 bits"):
        fit(embedded, {"embeddings": None}, bits=24, **settings)


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"infomax"}))
def test_every_objective_teaches_the_student(name, embedded):
    few = np.arange(9)  # too few to hold any out: the last weights are kept
    features = TrainingFeatures(
        embedded.documents[few],
        embedded.documents[few] + np.float32(0.01),
        few,
        words=embedded.words[few],
        labels=embedded.labels[few],
    )
    options = {
        "latent": "gaussian" if name == "gaussian_kl" else "plain",
        "estimator": "tanh",
        "dropout": 0.2,
    }
    settings = {"target": "labels"} if name in ("pairwise", "triplet") else {}
    head = fit(features, {name: settings}, **options)
    start = fit(features, {name: settings}, learning_rate=1e-9, **options)
    for weight, before in zip(head.weights, start.weights, strict=True):
        assert np.isfinite(weight).all()
        assert np.abs(weight - before).max() > 1e-5


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_trains_reproducibly_with_all_noises(name, words):
    noisy = {"estimator": name, "dropout": 0.3, "latent_noise": {"start": 1, "end": 0.1, "steps": 3}}
    one, again = (fit(words, {"words": None}, **noisy) for _ in range(2))
    for weight, same in zip(one.weights, again.weights, strict=True):
        np.testing.assert_array_equal(weight, same)
    quiet = fit(words, {"words": None}, estimator=name)
    assert (quiet.weights[0] != one.weights[0]).any()


def test_labels_select_and_do_not_teach(words):
    """Other labels change which weights are kept, and nothing else."""
    shuffled = replace(words, labels=np.roll(words.labels, 1, axis=0))
    one, other = (fit(each, {"words": None}, validate_every=3) for each in (words, shuffled))
    kept = {"same": one.weights[0], "other": other.weights[0]}
    start = barely(words, {"words": None}).weights[0]
    # Of three steps there is the start and the end to choose from.
    assert all(
        np.array_equal(weight, kept["same"]) or np.allclose(weight, start, atol=1e-6)
        for weight in kept.values()
    )


def test_training_keeps_the_weights_that_validation_liked_best(words, tmp_path):
    objectives = {"words": None}
    options = {"learning_rate": 0.01, "steps": 60, "validate_every": 10, "checkpoint": str(tmp_path)}
    head = fit(words, objectives, **options)
    figures = [line["validation"] for line in read_log(tmp_path) if "validation" in line]
    assert precision(words, head) == pytest.approx(1 - min(figures))
    assert {"words"} == set(read_log(tmp_path)[0]["losses"])


def test_without_labels_held_out_documents_stop_it(words, tmp_path):
    unlabelled = TrainingFeatures(words.documents)
    # Each word is its own class: what is learned of some documents says nothing of others.
    fit(
        unlabelled,
        {"words": None},
        steps=400,
        learning_rate=0.3,
        patience=2,
        validate_every=5,
        checkpoint=str(tmp_path),
    )
    steps = read_log(tmp_path)[-1]["step"]
    figures = [line["validation"] for line in read_log(tmp_path) if "validation" in line]
    assert steps < 400
    assert min(figures) not in figures[-2:]


def test_an_interrupted_fit_goes_on_exactly(words, tmp_path):
    objectives = {"words": None, "bernoulli_kl": 0.1}
    options = {"steps": 20, "estimator": "stochastic", "dropout": 0.2, "validate_every": 6}
    expected = fit(words, objectives, **options)

    def interrupt(step, _steps, _message):
        if step == 9:
            signal.raise_signal(signal.SIGINT)

    checkpointed = replace(QUICK, checkpoint=str(tmp_path), **options)
    with pytest.raises(KeyboardInterrupt):
        fit_network(words, BITS, objectives=objectives, options=checkpointed, progress=interrupt)
    head = fit_network(words, BITS, objectives=objectives, options=checkpointed)
    for weight, same in zip(head.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(weight, same)
    with pytest.raises(InputError, match=r"another run \(hidden differ\)"):
        fit_network(words, BITS, objectives=objectives, options=replace(checkpointed, hidden=(8,)))
    with pytest.raises(InputError, match=r"another run \(documents differ\)"):
        changed = replace(words, documents=words.documents * np.float32(2))
        fit_network(changed, BITS, objectives=objectives, options=checkpointed)


def test_a_diverging_fit_says_so(embedded):
    with pytest.raises(InputError, match=r"the loss became (inf|nan) at step \d+.*lower the learning rate"):
        fit(embedded, {"embeddings": {"weight": 1e38}}, steps=50, learning_rate=1e10)


def test_what_an_objective_lacks_is_said(words, embedded):
    bare = TrainingFeatures(embedded.documents)
    for features, objectives, message in [
        (bare, {"words": None}, "add a section `words` to the recipe"),
        (words, {"embeddings": None}, "give the tfidf encoder `components`"),
        (bare, {"ranking_hinge": None}, "set the recipe's `pseudo_queries`"),
        (bare, {"pairwise": {"target": "labels"}}, "needs labels, and these documents have none"),
        (bare, {"infomax": None}, "which only the head tokens has"),
        (bare, {"gaussian_kl": None}, "set latent to gaussian"),
        (bare, {}, "nothing to learn: name an objective"),
        (bare, {"embedings": None}, "no objective 'embedings'; did you mean embeddings"),
        (bare, {"embeddings": {"sigm": 1}}, "no setting 'sigm'; did you mean sigma"),
        (bare, {"embeddings": {"weight": "much"}}, "the weight of embeddings must be a number"),
    ]:
        with pytest.raises(InputError, match=message):
            fit(features, objectives)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("activation", "rellu"), ("latent", "gauss"), ("threshold", "mean"), ("hidden", (0,)),
        ("hidden", "500"), ("dropout", 1.0), ("epochs", 0), ("held_out", 0), ("estimator", "sign"),
        ("temperature", -1.0),
        ("latent_noise", {"start": 1}), ("batch_size", 0), ("patience", -1), ("validation_queries", True),
    ],
)  # fmt: skip
def test_impossible_options_are_refused(setting, value):
    with pytest.raises(InputError):
        NetworkOptions(**{setting: value})


def test_epochs_are_counted_over_documents_or_pairs(words, embedded, tmp_path):
    seen = []
    for features, objectives, items in (
        (words, {"words": None}, 400),
        (embedded, {"ranking_hinge": None}, 300),
    ):
        options = replace(QUICK, steps=None, epochs=2, patience=0)
        fit_network(
            features,
            BITS,
            objectives=objectives,
            options=options,
            progress=lambda step, steps, _: seen.append(steps),
        )
        assert seen[-1] == 2 * -(-items // 32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_it_trains_on_cuda(words, embedded):
    for features in (words, embedded):
        head = fit(features, {"words": None}, steps=250, learning_rate=0.01, device="cuda")
        assert precision(features, head) > 0.6


def test_bad_labels_are_refused(words):
    with pytest.raises(InputError, match="give the training documents' too"):
        replace(words, labels=None)
    with pytest.raises(InputError, match=r"must be bool \(400, L\), not float64"):
        replace(words, labels=np.zeros((400, 4)))
    with pytest.raises(InputError, match="validation has 4 labels, the documents 3"):
        replace(words, labels=words.labels[:, :3])
    with pytest.raises(InputError, match="must come from the encoder of the documents"):
        others = Validation(np.zeros((80, VOCABULARY), np.float32), words.validation.labels)
        replace(words, validation=others)
    broken = words.documents.copy()
    broken.data[broken.indptr[7]] = np.nan
    with pytest.raises(InputError, match=r"NaN or infinity in 1 row\(s\), the first is row 7"):
        TrainingFeatures(broken)
    with pytest.raises(InputError, match="the vocabulary is empty"):
        TrainingFeatures(np.ones((3, 2), np.float32), words=csr_array((3, 5), dtype=np.float32))
    with pytest.raises(InputError, match="must be float32 in CSR format, not float32 in csc"):
        TrainingFeatures(words.documents.tocsc())
