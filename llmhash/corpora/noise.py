"""Noise as typed queries carry it: typos, words left out, abbreviations.

What robust codes have to withstand, after the survey of deep text hashing (section 5.1). Typos are those of
Zhuang and Zuccon (2021), "Dealing with Typos for BERT-based Passage Retrieval and Ranking": one slip a word.

A text's noise follows from the seed and the text alone: neither its position nor the other texts matter, and
equal texts are corrupted alike. Words are taken in one order whatever the rate, so that a higher rate touches
what a lower one touches, and more.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TypeVar

import numpy as np

from llmhash.errors import InputError, suggest

T = TypeVar("T")

#: Kinds of noise. "mixed" draws one of the others for each word.
NOISES = ("typos", "dropped_words", "abbreviations", "mixed")

# A typo needs something beside the letter that it takes away.
_TYPO_LETTERS = 2
# Nobody abbreviates a word that is short already.
_ABBREVIATED_LETTERS = 4
# Letters that a cut word keeps at most, unless it is long; and words whose initials stand for them at most.
_KEPT_LETTERS = 5
_INITIALS = 3
_VOWELS = frozenset("aeiou")
# QWERTY's rows, each with how far it is shifted to the right, in keys.
_KEYBOARD = (("qwertyuiop", 0.0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75))


def corrupt(texts: Sequence[str], kind: str, *, rate: float, seed: int = 0) -> list[str]:
    """Corrupt each text.

    Words are what white space separates. Those with a digit, and those without a letter, are left alone: a
    mistyped number is another number. Typos need two letters: a neighbouring key or a doubled letter (Latin
    letters), two letters swapped or one missing (any script). Abbreviations need four: cut off, with or
    without a full stop; without vowels; or, two or three adjacent words together, as initials. One word is
    always left.

    Args:
        texts: The texts.
        kind: One of `NOISES`.
        rate: Share of the words touched, 0 to 1, among those that this kind of noise can touch. It holds on
            average: five words at a rate of 0.1 have one of them touched, or none, with equal chances.
        seed: Decides the words and what becomes of them.

    Returns:
        As many texts. One that was not touched is as it was; in others, runs of white space are one space.

    Raises:
        InputError: The kind is unknown, the rate is out of range, or `texts` is one string.
    """
    if isinstance(texts, str):
        raise InputError("texts must be a list of strings, not one string.")
    if kind not in NOISES:
        raise InputError(f"unknown noise {kind!r}; {suggest(kind, NOISES)}")
    if not 0 <= rate <= 1:
        raise InputError(f"the rate of noise must be from 0 to 1, not {rate}.")
    kinds = NOISES[:-1] if kind == "mixed" else (kind,)
    return [_corrupted(text, kinds, rate, seed) for text in texts]


def _corrupted(text: str, kinds: Sequence[str], rate: float, seed: int) -> str:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    rng = np.random.default_rng((seed, int.from_bytes(digest, "little")))
    draft = _Draft(text.split(), kinds, rng)
    # Rounded at random, for short texts at low rates too.
    count = math.floor(rate * len(draft.untouched) + rng.random())
    if count == 0:
        return text
    for place in rng.permutation(sorted(draft.untouched)):
        if count == 0:
            break
        if place in draft.untouched:
            count -= draft.touch(int(place), count)
    return draft.text()


class _Draft:
    """A text while it is being corrupted; no word is touched twice.

    Attributes:
        words: The words, "" for those that are gone.
        untouched: Places of the words that can still be touched.
    """

    def __init__(self, words: list[str], kinds: Sequence[str], rng: np.random.Generator) -> None:
        self.words = words
        self._kinds, self._rng = kinds, rng
        plain = [place for place, word in enumerate(words) if _is_plain(word)]
        self.untouched = {place for place in plain if any(_TOUCHES[kind](words[place]) for kind in kinds)}
        # Numbers alone are no query: one of the plain words has to stay.
        self._left = len(plain)

    def text(self) -> str:
        return " ".join(word for word in self.words if word)

    def touch(self, place: int, limit: int) -> int:
        """Corrupt the word at a place, perhaps with the words after it.

        Args:
            place: One of `untouched`.
            limit: Words to touch at most.

        Returns:
            How many words were touched: 0 where the last word would have had to go.
        """
        word = self.words[place]
        kinds = [kind for kind in self._kinds if _TOUCHES[kind](word)]
        if self._left == 1 and "dropped_words" in kinds:
            kinds.remove("dropped_words")
        if not kinds:
            return 0
        kind = _pick(kinds, self._rng)
        if kind == "abbreviations":
            return self._abbreviate(place, limit)
        self.untouched.discard(place)
        if kind == "typos":
            self.words[place] = _mistyped(word, self._rng)
        else:
            self.words[place] = ""
            self._left -= 1
        return 1

    def _abbreviate(self, place: int, limit: int) -> int:
        """Shorten a word, or put initials for it and the next ones."""
        way = _pick(("cut", "vowels", "initials"), self._rng)
        stop = place + 1
        if way == "initials":
            wanted = min(limit, int(self._rng.integers(2, _INITIALS + 1)))
            while stop - place < wanted and self._joins(stop):
                stop += 1
        words = self.words[place:stop]
        self.untouched.difference_update(range(place, stop))
        if len(words) == 1:
            self.words[place] = _shortened(words[0], way, self._rng)
            return 1
        self.words[place:stop] = [_initials(words)] + [""] * (len(words) - 1)
        return len(words)

    def _joins(self, place: int) -> bool:
        """Whether the word at a place can share initials with the one before it: no mark stands between."""
        if place not in self.untouched or not _can_shorten(self.words[place]):
            return False
        return not _parts(self.words[place - 1])[2] and not _parts(self.words[place])[0]


def _mistyped(word: str, rng: np.random.Generator) -> str:
    """The word with one slip: the kind first, so that long words do not change the mix, then the place."""
    units = _units(word)
    letters = [i for i, unit in enumerate(units) if _is_letter(unit)]
    on_keys = [i for i in letters if units[i].lower() in _NEIGHBOURS]
    swappable = [i for i in letters if i + 1 in letters and units[i] != units[i + 1]]
    slips = {"delete": letters, "swap": swappable, "substitute": on_keys, "double": on_keys}
    slip = _pick([slip for slip, places in slips.items() if places], rng)
    at = _pick(slips[slip], rng)
    unit = units[at]
    if slip == "swap":
        units[at : at + 2] = units[at + 1], unit
    elif slip == "substitute":
        near = _pick(_NEIGHBOURS[unit.lower()], rng)
        units[at] = near.upper() if unit.isupper() else near
    else:
        units[at] = "" if slip == "delete" else unit + unit
    return "".join(units)


def _shortened(word: str, way: str, rng: np.random.Generator) -> str:
    """The word without its vowels where that leaves a shorter word, else cut off."""
    before, units, after = _parts(word)
    if way == "vowels":
        kept = units[:1] + [unit for unit in units[1:] if unit.lower() not in _VOWELS]
        if 1 < len(kept) < len(units):
            return before + "".join(kept) + after
    shortest = max(2, len(units) // 3)
    longest = max(shortest, min(_KEPT_LETTERS, len(units) - 2))
    cut = "".join(units[: int(rng.integers(shortest, longest + 1))])
    return before + cut + (after or _pick(("", "."), rng))


def _initials(words: Sequence[str]) -> str:
    """Capital initials, between what stands before the first word and after the last."""
    parts = [_parts(word) for word in words]
    return parts[0][0] + "".join(units[0].upper() for _, units, _ in parts) + parts[-1][2]


def _parts(word: str) -> tuple[str, list[str], str]:
    """What stands before the first letter, the units from the first letter to the last, and the rest."""
    units = _units(word)
    letters = [i for i, unit in enumerate(units) if _is_letter(unit)]
    first, stop = letters[0], letters[-1] + 1
    return "".join(units[:first]), units[first:stop], "".join(units[stop:])


def _units(word: str) -> list[str]:
    """The characters, each with the marks that combine with it: an accent or a vowel sign is no letter."""
    units: list[str] = []
    for character in word:
        if units and unicodedata.category(character).startswith("M"):
            units[-1] += character
        else:
            units.append(character)
    return units


def _is_letter(unit: str) -> bool:
    return unit[0].isalpha()


def _is_plain(word: str) -> bool:
    return any(map(str.isalpha, word)) and not any(map(str.isdigit, word))


def _can_mistype(word: str) -> bool:
    return sum(map(_is_letter, _units(word))) >= _TYPO_LETTERS


def _can_shorten(word: str) -> bool:
    units = _parts(word)[1]
    return len(units) >= _ABBREVIATED_LETTERS and all(map(_is_letter, units))


def _neighbours() -> dict[str, str]:
    """The keys that touch each letter's."""
    places = {
        key: (row, shift + column)
        for row, (letters, shift) in enumerate(_KEYBOARD)
        for column, key in enumerate(letters)
    }

    def touch(one: str, other: str) -> bool:
        (row, x), (other_row, other_x) = places[one], places[other]
        return one != other and abs(row - other_row) <= 1 and abs(x - other_x) <= 1

    return {key: "".join(other for other in places if touch(key, other)) for key in places}


def _pick(items: Sequence[T], rng: np.random.Generator) -> T:
    return items[int(rng.integers(len(items)))]


_NEIGHBOURS = _neighbours()
# Whether a kind of noise can touch a plain word.
_TOUCHES: dict[str, Callable[[str], bool]] = {
    "typos": _can_mistype,
    "dropped_words": lambda _word: True,
    "abbreviations": _can_shorten,
}
