"""The TF-IDF encoder: texts to weighted words, with the papers' preprocessing as named presets.

Scikit-learn counts and weighs; what was learned is kept as plain arrays, so that nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmhash.encoders.base import SIDES, FloatArray, Side
from llmhash.encoders.batching import check_texts
from llmhash.errors import FormatError, InputError, suggest

if TYPE_CHECKING:
    from scipy.sparse import csr_array

WEIGHTS = ("tfidf", "counts", "binary")
# Goes up when the same texts and settings come to give other features.
_FEATURES_VERSION = "1"


@dataclass(frozen=True)
class WordPreset:
    """Which words of a corpus make its vocabulary.

    Words are runs of two or more letters, digits or underscores, in lower case.

    Attributes:
        max_share: Words in a larger share of the documents are left out.
        min_documents: Words in fewer documents are left out.
        max_words: The most frequent words that are kept; None keeps all.
        stop_words: Leave out scikit-learn's English stop words.
        shortest: Documents of fewer words (between white space) are not looked at.
        longest: Documents of more words are not looked at; None has no limit.
    """

    max_share: float = 1.0
    min_documents: int = 1
    max_words: int | None = None
    stop_words: bool = False
    shortest: int = 0
    longest: int | None = None


#: WISH (Ye et al., EMNLP 2020, section 4.1); the code beside "A Survey on Deep Text Hashing" (its vocabulary,
#: and its documents of 10 to 499 words); and all words there are.
PRESETS = {
    "wish": WordPreset(max_share=0.9, min_documents=3, stop_words=True),
    "survey": WordPreset(
        max_share=0.8, min_documents=3, max_words=10_000, stop_words=True, shortest=10, longest=499
    ),
    "plain": WordPreset(),
}


def word_preset(name: str) -> WordPreset:
    """The preset of a name.

    Raises:
        InputError: There is none of that name.
    """
    if name not in PRESETS:
        raise InputError(f"there is no word preset {name!r}; {suggest(name, PRESETS)}")
    return PRESETS[name]


def in_length(texts: Sequence[str], preset: str) -> NDArray[np.bool_]:
    """Whether each text, bool (n,), is as long as a preset's documents; the papers drop the others."""
    rules = word_preset(preset)
    longest = np.inf if rules.longest is None else rules.longest
    return np.array([rules.shortest <= len(text.split()) <= longest for text in texts], dtype=np.bool_)


def empty_rows(features: FloatArray | csr_array) -> NDArray[np.int64]:
    """Rows, int64, of the texts that hold no known word: their features are zero."""
    values = abs(features).sum(axis=1)
    return np.flatnonzero(np.asarray(values) == 0).astype(np.int64)


def word_counts(
    texts: Sequence[str],
    *,
    preset: str = "survey",
    weights: str = "counts",
    max_features: int | None = None,
) -> csr_array:
    """A corpus's own words, csr float32 (n, V), for decoders; settings as in `TfidfEncoder.fit`."""
    encoder = TfidfEncoder.fit(texts, preset=preset, weights=weights, max_features=max_features)
    return encoder.encode(texts, "document")


@dataclass(frozen=True, eq=False)
class TfidfEncoder:
    """Texts to the weights of a fixed vocabulary's words; with `components`, to their latent semantics (LSA).

    Rows of TF-IDF weights and of LSA have length 1, those of texts without a known word are zero. Both sides
    are the same function. Make one with `fit` or `from_config`.

    Attributes:
        vocabulary: The words, in the order of the columns.
        idf: float32 (V,), `log((1 + n) / (1 + df)) + 1`, of n documents of which df hold the word.
        components: float32 (k, V), right singular vectors of the corpus's weights, or None.
        weights: "tfidf", "counts" (numbers of occurrences) or "binary" (1 for any number of them).
        preset: Which words were taken.
    """

    vocabulary: tuple[str, ...]
    idf: FloatArray
    components: FloatArray | None
    weights: str
    preset: str
    name = "tfidf"
    sides_differ = False

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        *,
        preset: str = "wish",
        weights: str = "tfidf",
        components: int | None = None,
        max_features: int | None = None,
        seed: int = 0,
    ) -> TfidfEncoder:
        """Learn vocabulary, document frequencies and perhaps latent semantics of a corpus.

        Args:
            texts: The corpus.
            preset: Which of its words to take, one of `PRESETS`.
            weights: "tfidf", "counts" or "binary".
            components: Dimensions of latent semantic analysis, for heads that take dense features; None gives
                the words themselves.
            max_features: The most frequent words that are kept, in place of the preset's number.
            seed: Of the LSA's randomised decomposition.

        Raises:
            InputError: A setting is out of range, or the preset leaves no word of the corpus.
        """
        from sklearn.feature_extraction.text import TfidfTransformer

        rules = word_preset(preset)
        if weights not in WEIGHTS:
            raise InputError(f"there are no word weights {weights!r}; {suggest(weights, WEIGHTS)}")
        limit = rules.max_words if max_features is None else max_features
        for what, number in (("max_features", limit), ("components", components)):
            if number is not None and number < 1:
                raise InputError(f"{what} must be at least 1, not {number}.")
        checked = check_texts(texts)
        learned = [text for text, fits in zip(checked, in_length(checked, preset), strict=True) if fits]
        vocabulary, counts = _vocabulary(learned, preset, rules, limit)
        idf = TfidfTransformer().fit(counts).idf_.astype(np.float32)
        words = cls(vocabulary, idf, None, weights, preset)
        if components is None:
            return words
        return cls(vocabulary, idf, _decompose(words._weigh(counts), components, seed), weights, preset)

    @property
    def dim(self) -> int:
        """Columns of the features: words, or components."""
        return len(self.vocabulary) if self.components is None else len(self.components)

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest of all that decides the features: vocabulary, weights, components."""
        digest = blake2b(f"{_FEATURES_VERSION} {self.weights}".encode(), digest_size=16)
        for name, array in sorted(self.tensors().items()):
            digest.update(f"\0{name} {array.dtype} {array.shape}\0".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def encode(self, texts: Sequence[str], side: Side, *, progress: bool = False) -> FloatArray | csr_array:
        """Features of n texts: csr float32 (n, V), or dense float32 (n, k) with components.

        Args:
            texts: Any number of texts; one without a known word has a row of zeros (see `empty_rows`).
            side: "document" or "query", which are the same.
            progress: Shows nothing: counting words takes seconds.

        Raises:
            InputError: The side is unknown, or something is no text.
        """
        if side not in SIDES:
            raise InputError(f"the side must be document or query, not {side!r}.")
        from sklearn.preprocessing import normalize

        weighed = self._weigh(_as_csr(self._counter.transform(check_texts(texts))))
        if self.components is None:
            return weighed
        features: FloatArray = weighed @ self.components.T
        return normalize(features, copy=False) if len(features) else features

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, as they are stored; the words as UTF-8, a line feed between two."""
        words = np.frombuffer("\n".join(self.vocabulary).encode(), dtype=np.uint8)
        arrays: dict[str, NDArray[Any]] = {"vocabulary": words, "idf": self.idf}
        return arrays if self.components is None else {**arrays, "components": self.components}

    def config(self) -> dict[str, Any]:
        """What is needed, beside `tensors`, to make this encoder again; JSON-able."""
        return {"kind": "tfidf", "weights": self.weights, "preset": self.preset, "dim": self.dim}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> TfidfEncoder:
        """The encoder that `config` and `tensors` described.

        Raises:
            FormatError: Something is missing, or does not belong together.
        """
        try:
            vocabulary = tuple(tensors["vocabulary"].tobytes().decode().split("\n"))
            encoder = cls(
                vocabulary, tensors["idf"], tensors.get("components"), config["weights"], config["preset"]
            )
            fits = encoder.idf.shape == (len(vocabulary),) and encoder.weights in WEIGHTS
            if encoder.components is not None:
                fits = fits and encoder.components.shape[1:] == (len(vocabulary),)
            if not fits or encoder.dim != config["dim"]:
                raise FormatError("the stored tfidf encoder's words and numbers do not belong together.")
        except (KeyError, TypeError, UnicodeDecodeError) as error:
            raise FormatError(f"the stored tfidf encoder is incomplete or damaged ({error!r}).") from error
        return encoder

    @cached_property
    def _counter(self) -> Any:
        """Counts the vocabulary's words; made once, as that takes longer than counting a query's."""
        from sklearn.feature_extraction.text import CountVectorizer

        return CountVectorizer(vocabulary=self.vocabulary, dtype=np.float32)

    def _weigh(self, counts: csr_array) -> csr_array:
        """Numbers of occurrences, csr float32 (n, V), to weights; they may be changed in place."""
        if self.weights == "binary":
            counts.data[:] = 1.0
        if self.weights != "tfidf" or not counts.shape[0]:
            return counts
        from sklearn.feature_extraction.text import TfidfTransformer

        transformer = TfidfTransformer()
        transformer.idf_ = self.idf
        return _as_csr(transformer.transform(counts, copy=False))


def _vocabulary(
    texts: list[str], preset: str, rules: WordPreset, limit: int | None
) -> tuple[tuple[str, ...], csr_array]:
    """The words of a corpus that a preset keeps, and their numbers csr float32 (n, V)."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(
        max_df=rules.max_share,
        min_df=rules.min_documents,
        max_features=limit,
        stop_words="english" if rules.stop_words else None,
        dtype=np.float32,
    )
    try:
        counts = counter.fit_transform(texts)
    except ValueError as error:
        # Scikit-learn has several such errors (no text, stop words only, all words pruned), of one class.
        raise InputError(
            f"the preset {preset} leaves no word of the {len(texts)} documents that it looks at: "
            "give more documents, or take the preset plain, which keeps every word."
        ) from error
    return tuple(counter.get_feature_names_out().tolist()), _as_csr(counts)


def _decompose(weighed: csr_array, components: int, seed: int) -> FloatArray:
    """The first right singular vectors, float32 (k, V), of a corpus's weights (n, V)."""
    from sklearn.decomposition import TruncatedSVD

    most = min(weighed.shape)
    if components > most:
        raise InputError(
            f"a corpus of {weighed.shape[0]} documents and {weighed.shape[1]} words has at most {most} "
            f"components, not {components}."
        )
    decomposition = TruncatedSVD(components, random_state=seed).fit(weighed)
    return np.ascontiguousarray(decomposition.components_, dtype=np.float32)


def _as_csr(matrix: Any) -> csr_array:
    from scipy.sparse import csr_array

    return csr_array(matrix, dtype=np.float32)
