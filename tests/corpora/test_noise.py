from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmhash.corpora.noise import NOISES, corrupt
from llmhash.errors import InputError

WORDS = (
    *(
        "what",
        "is",
        "the",
        "best",
        "a",
        "deep",
        "neural",
        "network",
        "passages,",
        "(and",
        "cheaply)",
        "thighs",
    ),
    *(
        "don't",
        "state-of-the-art",
        "384",
        "mp3",
        "машинное",
        "обучение",
        "для",
        "自然语言",
        "处理",
        "हिन्दी",
        "...",
    ),
)
kinds = st.sampled_from(NOISES)
rates = st.floats(0, 1)
seeds = st.integers(0, 2**32)
texts = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join))


def sentences(count: int, words: int, seed: int = 0) -> list[str]:
    """Distinct texts of plain words that every kind of noise can touch."""
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    rng = np.random.default_rng(seed)
    return [
        " ".join("".join(rng.choice(letters, rng.integers(4, 10))) for _ in range(words))
        for _ in range(count)
    ]


@given(st.lists(texts, max_size=4), kinds, rates, seeds)
def test_a_texts_noise_follows_from_the_text_and_the_seed(given_texts, kind, rate, seed):
    together = corrupt(given_texts, kind, rate=rate, seed=seed)
    assert together == corrupt(given_texts, kind, rate=rate, seed=seed)
    alone = [corrupt([text], kind, rate=rate, seed=seed)[0] for text in reversed(given_texts)]
    assert together == alone[::-1]


@given(texts, kinds, seeds)
def test_a_rate_of_zero_changes_nothing(text, kind, seed):
    assert corrupt([text], kind, rate=0, seed=seed) == [text]


@given(texts, kinds, rates, seeds)
def test_no_text_is_emptied(text, kind, rate, seed):
    (noisy,) = corrupt([text], kind, rate=rate, seed=seed)
    assert bool(noisy.split()) == bool(text.split())
    # Something with a letter in it is left, where there was a word to touch.
    if any(any(map(str.isalpha, word)) and not any(map(str.isdigit, word)) for word in text.split()):
        assert any(map(str.isalpha, noisy))


@given(texts, kinds, rates, seeds)
def test_words_with_digits_stay(text, kind, rate, seed):
    (noisy,) = corrupt([text], kind, rate=rate, seed=seed)
    numbers = [[word for word in each.split() if any(map(str.isdigit, word))] for each in (text, noisy)]
    assert numbers[0] == numbers[1]


@given(st.lists(st.sampled_from(WORDS), min_size=1).map(" ".join), st.tuples(rates, rates), seeds)
def test_a_higher_rate_drops_what_a_lower_one_drops(text, two_rates, seed):
    few, many = (
        corrupt([text], "dropped_words", rate=rate, seed=seed)[0].split() for rate in sorted(two_rates)
    )
    left = iter(few)
    assert all(word in left for word in many)


def test_the_seed_matters():
    given_texts = sentences(20, 8)
    for kind in NOISES:
        assert corrupt(given_texts, kind, rate=0.5, seed=0) != corrupt(given_texts, kind, rate=0.5, seed=1)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("words", [3, 11])
def test_the_share_of_words_touched_is_the_rate(rate, words):
    given_texts = sentences(1500, words)
    typed = corrupt(given_texts, "typos", rate=rate)
    pairs = [
        (old, new)
        for text, noisy in zip(given_texts, typed, strict=True)
        for old, new in zip(text.split(), noisy.split(), strict=True)
    ]
    assert np.mean([old != new for old, new in pairs]) == pytest.approx(rate, abs=0.02)

    dropped = corrupt(given_texts, "dropped_words", rate=rate)
    assert 1 - np.mean([len(noisy.split()) for noisy in dropped]) / words == pytest.approx(rate, abs=0.02)

    for kind in ("abbreviations", "mixed"):
        noisy_texts = corrupt(given_texts, kind, rate=rate)
        untouched = [
            len(set(text.split()) & set(noisy.split()))
            for text, noisy in zip(given_texts, noisy_texts, strict=True)
        ]
        assert 1 - np.mean(untouched) / words == pytest.approx(rate, abs=0.02), kind


def test_at_a_rate_of_one_every_word_is_touched():
    given_texts = sentences(200, 7)
    for kind in ("typos", "abbreviations"):
        for text, noisy in zip(given_texts, corrupt(given_texts, kind, rate=1), strict=True):
            assert not set(text.split()) & set(noisy.split())
    assert all(len(noisy.split()) == 1 for noisy in corrupt(given_texts, "dropped_words", rate=1))


def test_typos_are_one_slip_of_every_kind():
    words = [text for text in sentences(2000, 1) if text]
    slips = set()
    for word, typo in zip(words, corrupt(words, "typos", rate=1), strict=True):
        if len(typo) == len(word):
            places = [i for i in range(len(word)) if word[i] != typo[i]]
            if len(places) == 1:
                slips.add("neighbour")
            else:
                first, second = places
                assert second == first + 1
                assert (typo[first], typo[second]) == (word[second], word[first])
                slips.add("swapped")
        elif len(typo) < len(word):
            assert any(typo == word[:i] + word[i + 1 :] for i in range(len(word)))
            slips.add("missing")
        else:
            assert any(typo == word[:i] + word[i] + word[i:] for i in range(len(word)))
            slips.add("doubled")
    assert slips == {"neighbour", "swapped", "missing", "doubled"}


def test_neighbours_touch_on_the_keyboard_and_keep_their_case():
    pressed = {
        typo[1]
        for seed in range(400)
        for typo in corrupt(["gG"], "typos", rate=1, seed=seed)
        if len(typo) == 2 and typo[0] == "g"
    }
    assert pressed <= set("GRTYFHVB") | {"g"}
    assert len(pressed & set("TYFHVB")) == 6


def test_other_scripts_have_letters_swapped_or_missing():
    for seed in range(50):
        (typo,) = corrupt(["обучение"], "typos", rate=1, seed=seed)
        assert typo != "обучение"
        assert set(typo) <= set("обучение")
        assert len(typo) <= len("обучение")


def test_combining_marks_stay_with_their_letters():
    word = unicodedata.normalize("NFD", "éàöü")
    letters = {word[i : i + 2] for i in range(0, 8, 2)}
    for seed in range(50):
        (typo,) = corrupt([word], "typos", rate=1, seed=seed)
        assert {typo[i : i + 2] for i in range(0, len(typo), 2)} <= letters


def test_abbreviations_are_of_every_way():
    text = "natural language processing"
    found = {corrupt([text], "abbreviations", rate=1, seed=seed)[0] for seed in range(300)}
    words = {word for noisy in found for word in noisy.split()}
    assert "NLP" in found
    assert any(noisy.startswith("NL ") for noisy in found)
    assert "lngg" in words
    assert {"lang", "lang."} <= words
    # "ntrl" and its like are shorter than the word; nothing is longer.
    assert max(map(len, words)) < len("processing")


def test_marks_around_an_abbreviated_word_stay():
    for seed in range(100):
        (noisy,) = corrupt(["(large) databases, indexed"], "abbreviations", rate=1, seed=seed)
        assert noisy.startswith("(")
        assert ") " in noisy
        assert ", " in noisy or "D," in noisy


def test_what_cannot_be_touched_stays():
    for text in ("", "  ", "1984", "a", "?! ...", "covid-19 b2b"):
        for kind in NOISES:
            assert corrupt([text], kind, rate=1) == [text]
    assert corrupt(["of the art"], "abbreviations", rate=1) == ["of the art"]


def test_mixed_noise_holds_every_kind():
    given_texts = sentences(300, 6)
    noisy_texts = corrupt(given_texts, "mixed", rate=0.5)
    lengths = {len(noisy.split()) for noisy in noisy_texts}
    assert min(lengths) < 6
    new = {
        word
        for text, noisy in zip(given_texts, noisy_texts, strict=True)
        for word in noisy.split()
        if word not in text.split()
    }
    assert any(word.endswith(".") for word in new)
    assert any(len(word) == 10 for word in new)


def test_unusable_arguments_are_refused():
    with pytest.raises(InputError, match=r"unknown noise 'typo'; did you mean typos\?"):
        corrupt(["a"], "typo", rate=0.1)
    with pytest.raises(InputError, match="there are typos, dropped_words, abbreviations, mixed"):
        corrupt(["a"], "xyz", rate=0.1)
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="from 0 to 1"):
            corrupt(["a"], "typos", rate=rate)
    with pytest.raises(InputError, match="not one string"):
        corrupt("a text", "typos", rate=0.1)
