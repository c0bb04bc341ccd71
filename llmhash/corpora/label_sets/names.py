"""The label sets that the literature uses, by name: other spellings, the usual files, the hub's copy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class KnownSet:
    """A label set that has a name.

    Attributes:
        name: What it is called here.
        aliases: Further spellings, in lower case, letters and digits only.
        files: Its usual files, as an error names them.
        hub: The id of its copy on the Hugging Face hub, or None where there is none that loads without code.
    """

    name: str
    aliases: tuple[str, ...]
    files: str
    hub: str | None = None


REUTERS: Final = "reuters21578"

KNOWN_SETS: Final = (
    KnownSet(
        "20newsgroups",
        ("20news", "20ng", "newsgroups", "20newsbydate", "20news18828"),
        "20news-bydate-train/ and 20news-bydate-test/, or one folder a newsgroup",
        "SetFit/20_newsgroups",
    ),
    KnownSet("agnews", ("ag", "agnewscsv"), "train.csv and test.csv", "fancyzhx/ag_news"),
    KnownSet(REUTERS, ("reuters",), "reut2-*.sgm, or NLTK's training/, test/ and cats.txt"),
    KnownSet("dbpedia", ("dbpedia14", "dbpediacsv"), "train.csv and test.csv", "fancyzhx/dbpedia_14"),
    KnownSet("rcv1", ("rcv1v2",), "lyrl2004_tokens_*.dat and rcv1-v2.topics.qrels"),
    KnownSet(
        "tmc",
        ("tmc2007", "siam2007"),
        "TrainingData.txt, TrainCategoryMatrix.csv, TestData.txt and TestTruth.csv",
    ),
    KnownSet("nyt", ("newyorktimes",), "dataset.txt and labels.txt, or train.csv, val.csv and test.csv"),
    KnownSet(
        "yahoo_answers",
        ("yahoo", "yahooanswer", "yahooanswerscsv", "yahooanswerstopics"),
        "train.csv and test.csv",
        "community-datasets/yahoo_answers_topics",
    ),
)


def known_set(name: str) -> KnownSet | None:
    """The set of that name, whatever its case and punctuation, or None."""
    wanted = re.sub("[^a-z0-9]", "", name.lower())
    return next(
        (known for known in KNOWN_SETS if wanted in (known.name.replace("_", ""), *known.aliases)), None
    )
