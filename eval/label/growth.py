"""Precision@100 as the database grows, where a set here is a sample of the published one.

python eval/label/growth.py --data DATA --output eval/results/label

The first documents of the shuffled training set are what is fitted on and searched; test documents stay.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from page import write_pages
from table import JOINED, Key, Table

from llmhash.corpora import Labelled, LabelSet

#: What is fitted: the best method, one that shows the sentence embeddings' own floats, and one of the
#: literature on words, whose published figure is of the whole set.
FITTED = ((JOINED, "sth-joined"), ("minilm", "sign"), ("tfidf", "vdsh"))
BITS, PROTOCOL = 64, "survey"


class Sample(Table):
    """A table of sets whose training documents are the first few."""

    def __init__(self, asked: argparse.Namespace, size: int) -> None:
        super().__init__(asked)
        self._size = size

    def _read(self, name: str, protocol: Any) -> LabelSet:
        whole = super()._read(name, protocol)
        texts, labels = whole.train.texts[: self._size], whole.train.labels[: self._size]
        return replace(whole, train=Labelled(texts, labels))


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and measure each size, and write the page anew."""
    asked = _parser().parse_args(arguments)
    rows = []
    for size in (int(text) for text in asked.sizes.split(",")):
        table = Sample(asked, size)
        for features, method in FITTED:
            cell = table.cell(Key(asked.set, PROTOCOL, features, method, BITS, 0))
            rows.append({name: cell[name] for name in ("documents", "method", "precision@100", "floats")})
    path = asked.output / "growth" / f"{asked.set}-{PROTOCOL}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    write_pages(asked.output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of the label sets")
    add("--output", type=Path, required=True, help="folder of the results")
    add("--set", default="agnews", help="the set")
    add("--sizes", default="2500,5000,10000,30000", help="training documents at most, by commas")
    add("--embeddings", type=Path, help="folder of SET.npz, sentence embeddings of some sets")
    parser.set_defaults(seconds=180.0)
    return parser


if __name__ == "__main__":
    main()
