"""Label sets: documents whose labels say which of them are relevant to each other.

Training documents are the database and test documents the queries; a document is relevant to a query where
they share a label. Two protocols say which documents are which:

- `official`: the set's own split. Where it has no validation part, 10 % of its training documents are taken
  for one, drawn by the seed.
- `survey`: that of the literature on text hashing, as the survey describes it (section 6.1): all documents
  are pooled, shuffled by the seed and divided 8:1:1 into training, validation and test, and "the 20 most
  populous categories" of Reuters are kept (its documents without any of them are dropped). Its DBpedia has
  60,000 documents, but it does not say which; here all that the files hold are taken.

Neither is stratified, so a class may be small: one with a single document is allowed. As a query it finds
nothing relevant, which the metrics count as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from llmhash.corpora.documents import Documents
from llmhash.corpora.label_sets import (
    ALL,
    REUTERS,
    SPLITS,
    Labelled,
    LabelSource,
    known_set,
    pooled,
    read_label_source,
)
from llmhash.errors import InputError, suggest

__all__ = ["LabelSet", "Labelled", "Protocol", "overlap", "read_label_set"]

Protocol = Literal["official", "survey"]

# The survey keeps a set's most populous categories, where some have hardly a document.
_LARGEST_OF_SURVEY: Final = {REUTERS: 20}


@dataclass(frozen=True)
class LabelSet:
    """A label set under a protocol.

    Attributes:
        name: Its name, else the folder's or file's.
        train: The documents that are trained on and searched.
        validation: Queries to select on.
        test: Queries to measure with.
        protocol: "official" or "survey": the one that was used, see `read_label_set`.
    """

    name: str
    train: Labelled
    validation: Labelled
    test: Labelled
    protocol: str

    @cached_property
    def classes(self) -> list[str]:
        """The labels of all splits, sorted."""
        return sorted(_counts((self.train, self.validation, self.test)))

    def matrix(self, split: Labelled) -> NDArray[np.bool_]:
        """Labels of documents, bool (n, L), columns in the order of `classes`.

        Raises:
            InputError: A document has a label that the set does not have.
        """
        columns = {name: column for column, name in enumerate(self.classes)}
        unknown = next((name for names in split.labels for name in names if name not in columns), None)
        if unknown is not None:
            raise InputError(f"{self.name} has no label {unknown!r}; {suggest(unknown, columns)}")
        given = np.zeros((len(split), len(columns)), dtype=np.bool_)
        rows = np.repeat(np.arange(len(split)), [len(names) for names in split.labels])
        given[rows, [columns[name] for names in split.labels for name in names]] = True
        return given

    def documents(self, split: Labelled) -> Documents:
        """A split's texts as a corpus, their ids running numbers."""
        return Documents.from_texts(split.texts)


def read_label_set(source: str | Path, *, protocol: Protocol = "official", seed: int = 0) -> LabelSet:
    """Read a label set.

    A folder's format is recognised by its files: `{train,validation,test}.jsonl[.gz]` (or `.csv`, `.tsv`,
    `.parquet`) with `text` and `labels` or `label`, or the usual files of 20 Newsgroups, AG News,
    Reuters-21578, DBpedia, RCV1, TMC, NYT or Yahoo Answers. One file of the user's is split by its column
    `split` where there is one.

    Args:
        source: A folder, a `.jsonl[.gz]`, `.csv[.gz]`, `.tsv[.gz]` or `.parquet` file,
            `hub:OWNER/NAME[:CONFIG]`, or the name of a known set (its copy on the hub) where no path is
            called so.
        protocol: "official" or "survey", see above. A source without a split of its own is always divided
            as the survey does, and the set's `protocol` then says "survey".
        seed: Draws the validation part, or shuffles.

    Raises:
        InputError: The source is missing, unknown or malformed, lacks its training or test documents, has
            too few documents to divide, or one class only.
    """
    if protocol not in get_args(Protocol):
        raise InputError(f"unknown protocol {protocol!r}; {suggest(str(protocol), get_args(Protocol))}")
    found = read_label_source(source)
    divide = _survey if protocol == "survey" or ALL in found.splits else _official
    divided = divide(found, np.random.default_rng(seed))
    if len(divided.classes) < 2:
        raise InputError(
            f"{source} has one class only ({divided.classes[0]!r}), so that every document is relevant to "
            "every query; give documents of at least two."
        )
    return divided


def overlap(label_set: LabelSet) -> int:
    """How many test documents have a text that a training document has too, blanks at the ends aside."""
    seen = {text.strip() for text in label_set.train.texts}
    return sum(text.strip() in seen for text in label_set.test.texts)


def _official(found: LabelSource, rng: np.random.Generator) -> LabelSet:
    missing = [split for split in ("train", "test") if not len(found.splits.get(split, ()))]
    if missing:
        raise InputError(
            f"{found.name} has no {' and no '.join(missing)} documents (it has "
            f"{', '.join(found.splits)}); add them, or use the protocol 'survey', which splits anew."
        )
    train, validation = found.splits["train"], found.splits.get("validation")
    if validation is None or not len(validation):
        if len(train) < 2:
            raise InputError(f"{found.name} has too few training documents to take validation ones from.")
        order = rng.permutation(len(train))
        held = max(1, len(train) // 10)
        train, validation = _rows(train, np.sort(order[held:])), _rows(train, np.sort(order[:held]))
    return LabelSet(found.name, train, validation, found.splits["test"], "official")


def _survey(found: LabelSource, rng: np.random.Generator) -> LabelSet:
    documents = pooled(found.splits[split] for split in (ALL, *SPLITS) if split in found.splits)
    known = known_set(found.name)
    if known is not None and known.name in _LARGEST_OF_SURVEY:
        documents = _largest(documents, _LARGEST_OF_SURVEY[known.name])
    if len(documents) < 3:
        raise InputError(f"{found.name} has {len(documents)} documents, too few for three parts.")
    held = max(1, len(documents) // 10)
    order = rng.permutation(len(documents))
    train, validation, test = np.split(order, [len(order) - 2 * held, len(order) - held])
    return LabelSet(
        found.name, _rows(documents, train), _rows(documents, validation), _rows(documents, test), "survey"
    )


def _largest(documents: Labelled, count: int) -> Labelled:
    """The documents of the `count` classes with most documents (of equals, the first by name)."""
    counts = _counts([documents])
    kept = set(sorted(counts, key=lambda name: (-counts[name], name))[:count])
    labels = [tuple(name for name in names if name in kept) for names in documents.labels]
    rows = [row for row, names in enumerate(labels) if names]
    return Labelled([documents.texts[row] for row in rows], [labels[row] for row in rows])


def _counts(parts: Iterable[Labelled]) -> Counter[str]:
    return Counter(name for part in parts for names in part.labels for name in names)


def _rows(documents: Labelled, rows: NDArray[np.int64]) -> Labelled:
    return Labelled([documents.texts[row] for row in rows], [documents.labels[row] for row in rows])
