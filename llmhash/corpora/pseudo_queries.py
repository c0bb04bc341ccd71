"""Pseudo-queries: pieces of a corpus that stand in for the questions it will be asked.

Four kinds, in equal parts as far as the corpus has them: titles, whole sentences, spans of a phrase's length
and spans of a few words. Sentences are like claims and well-formed questions, phrases like titles, few words
like what people type into a search box. A corpus without titles or sentences gets more of the spans.

Chinese, Japanese, Thai and some other scripts put no spaces between words: there two characters count as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import InputError

# Where one sentence ends and the next begins: closing punctuation, perhaps a quote or bracket, then space.
# Full-width punctuation does without the space.
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|(?<=[。！？｡])[」』”’）]*\s*")
# A word: what stands between spaces, or in scripts without them (Thai, Lao, Myanmar, Khmer, kana, Han) two
# characters, without the punctuation between.
_SPACED_WORD = re.compile(r"\S+")
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_UNSPACED_CHARACTER = re.compile(rf"[{_UNSPACED}]")
_PAUSES = r"\u3001\u3002\u3008-\u3011\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f\uff61-\uff64"
_UNSPACED_WORD = re.compile(rf"[{_UNSPACED}]{{1,2}}|[^\s{_PAUSES}{_UNSPACED}]+")
_SENTENCE_WORDS = (4, 40)
_PHRASE_WORDS = (6, 14)
_FEW_WORDS = (2, 5)
# Visits to documents, a wanted piece: gives up on a kind that most documents cannot give.
_VISITS_PER_PIECE = 6


def cut_pseudo_queries(
    texts: Sequence[str], titles: Sequence[str] | None, *, count: int, seed: int
) -> tuple[list[str], NDArray[np.int64]]:
    """Cut at most `count` pseudo-queries.

    Args:
        texts: The documents, without their titles.
        titles: As many titles, empty where a document has none; or None.
        count: How many are wanted. Fewer come only where the documents hold too few words.
        seed: Decides the documents and the places.

    Returns:
        The pseudo-queries, and int64 (m,) the row of the document that each was cut from.

    Raises:
        InputError: `count` is negative, or there are not as many titles as texts.
    """
    if count < 0:
        raise InputError(f"the number of pseudo-queries must be at least 0, not {count}.")
    if titles is not None and len(titles) != len(texts):
        raise InputError(f"there are {len(titles)} titles for {len(texts)} documents.")
    headings = [""] * len(texts) if titles is None else [title.strip() for title in titles]
    rng = np.random.default_rng(seed)
    # What a kind cannot give falls to those after it, and phrases can be cut from any text.
    kinds = ("title", "sentence", "few", "phrase")
    found: list[tuple[str, int]] = []
    for position, kind in enumerate(kinds):
        wanted = (count - len(found)) // (len(kinds) - position)
        found += _pieces(kind, texts, headings, wanted, rng)
    queries = [query for query, _ in found]
    return queries, np.array([source for _, source in found], dtype=np.int64)


def _pieces(
    kind: str, texts: Sequence[str], headings: Sequence[str], wanted: int, rng: np.random.Generator
) -> list[tuple[str, int]]:
    """Up to `wanted` pieces of one kind with the rows they come from."""
    pieces: list[tuple[str, int]] = []
    if wanted == 0 or not texts:
        return pieces
    for row in _rows(len(texts), wanted, rng, once=kind == "title"):
        piece = _piece(kind, texts[row], headings[row], rng)
        if piece:
            pieces.append((piece, row))
        if len(pieces) == wanted:
            break
    return pieces


def _rows(count: int, wanted: int, rng: np.random.Generator, *, once: bool) -> Iterator[int]:
    """Rows in random order: every one before any comes again, and none again where `once`."""
    visits = count if once else max(count, _VISITS_PER_PIECE * wanted)
    while visits > 0:
        yield from (int(row) for row in rng.permutation(count)[:visits])
        visits -= count


def _piece(kind: str, text: str, heading: str, rng: np.random.Generator) -> str:
    """One piece of a document, empty where it cannot give this kind."""
    if kind == "title":
        return heading
    if kind == "sentence":
        sentences = [sentence for sentence in _SENTENCE_END.split(text) if _fits(sentence)]
        return _one_line(sentences[int(rng.integers(len(sentences)))]) if sentences else ""
    shortest, longest = _PHRASE_WORDS if kind == "phrase" else _FEW_WORDS
    whole = f"{heading} {text}"
    words = _words(whole)
    if not words:
        return ""
    # A document shorter than a phrase is a phrase.
    length = min(int(rng.integers(shortest, longest + 1)), len(words))
    start = int(rng.integers(len(words) - length + 1))
    return _one_line(whole[words[start].start() : words[start + length - 1].end()])


def _words(text: str) -> list[re.Match[str]]:
    """Where the words are: as in scripts without spaces, if most of the text is of one."""
    unspaced = 2 * len(_UNSPACED_CHARACTER.findall(text)) > len(text)
    return list((_UNSPACED_WORD if unspaced else _SPACED_WORD).finditer(text))


def _fits(sentence: str) -> bool:
    shortest, longest = _SENTENCE_WORDS
    return shortest <= len(_words(sentence)) <= longest


def _one_line(text: str) -> str:
    return " ".join(text.split())
