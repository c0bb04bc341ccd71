"""The label table: every method's codes under the label protocol, beside the published figures.

python eval/label/table.py --data DATA --output eval/results/label

DATA is a folder of label sets. Every fit is a cell, a JSON file under OUTPUT/cells: an interrupted run goes
on where it stopped. Nothing is chosen on test documents: settings are the recipes' own, and a training head
stops by the validation documents.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from features import Stored, Summaries, stored
from page import write_pages

from llmhash import Hasher
from llmhash.corpora import LabelSet, read_label_set
from llmhash.encoders import JoinedEncoder
from llmhash.encoders.base import Encoder
from llmhash.errors import InputError
from llmhash.evaluation.label import LabelledCodes, label_report
from llmhash.heads.registry import head_options
from llmhash.recipes import Recipe, load_recipe, with_options

METHODS = (
    "sign", "median", "lsh", "pca", "itq", "spectral", "sth", "sth-joined", "vdsh", "nash", "wish", "smash",
    "bpr", "distill", "dhim",
)  # fmt: skip
#: What the methods see, unless asked for more: sentence embeddings with words, or summaries of tokens.
FEATURES = ("tfidf", "minilm")
JOINED, TOKENS = "joined", "tokens"
#: Methods that see their recipe's own features always.
_OWN = {"dhim": TOKENS, "sth-joined": JOINED}


@dataclass(frozen=True)
class Key:
    """A cell: one fit."""

    data: str
    protocol: str
    features: str
    method: str
    bits: int
    seed: int

    @property
    def path(self) -> str:
        """Its place below the folder of cells."""
        return f"{self.data}-{self.protocol}/{self.features}-{self.method}-{self.bits}-{self.seed}.json"


class Table:
    """Fits and measures cells, and keeps what several of them need."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._set = cache(self._read)
        self._encoder = cache(self._open)

    def cell(self, key: Key) -> dict[str, Any]:
        """One fit and its figures."""
        recipe = self._recipe(key)
        label_set = self._set(key.data, key.protocol)
        encoder = self._encoder(key.data, key.protocol, recipe.encoder)
        if key.features == TOKENS and recipe.head != "tokens":
            encoder = Summaries(encoder)
        began = time.perf_counter()
        hasher = Hasher.fit_labels(recipe, label_set, teacher=encoder)
        fitted = time.perf_counter()
        codes = LabelledCodes.from_hasher(hasher, label_set, name=key.method)
        report = label_report([codes], label_set)
        shared = {name: report[name] for name in ("queries", "documents", "classes", "k", "floats")}
        return {
            **vars(key),
            **shared,
            "stored_embeddings": isinstance(getattr(encoder, "sentences", encoder), Stored),
            **report["rows"][0],
            "seconds": {"fit": round(fitted - began, 2)},
        }

    def _recipe(self, key: Key) -> Recipe:
        recipe = load_recipe(key.method, bits=key.bits, seed=key.seed)
        if "max_seconds" in head_options(recipe.head):
            recipe = with_options(recipe, {"max_seconds": self._asked.seconds})
        if key.method in _OWN:
            return recipe
        if key.features in (JOINED, TOKENS):
            # The encoder of the method that always sees such features.
            owner = next(method for method, features in _OWN.items() if features == key.features)
            return replace(recipe, encoder=load_recipe(owner).encoder)
        return recipe.with_encoder(name=key.features)

    def _read(self, name: str, protocol: Any) -> LabelSet:
        return read_label_set(self._asked.data / name, protocol=protocol)

    def _open(self, name: str, protocol: str, settings: Any) -> Encoder:
        """The encoder of a cell, fitted or opened once for all cells that share it."""
        encoder = Recipe("table", "sign", encoder=settings).open_encoder(
            texts=self._set(name, protocol).train.texts
        )
        folder = self._asked.embeddings
        if settings.tokens or settings.name == "tfidf":
            return encoder
        if folder is None or not (folder / f"{name}.npz").exists():
            return encoder
        if isinstance(encoder, JoinedEncoder):
            sentences = stored(encoder.sentences, folder, self._asked.data, name)
            return replace(encoder, sentences=sentences)
        return stored(encoder, folder, self._asked.data, name)


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _parser().parse_args(arguments)
    if not asked.summary:
        table = Table(asked)
        for key in _keys(asked):
            path = asked.output / "cells" / key.path
            if path.exists() and key.method not in asked.again:
                continue
            _say(key, _make(table, key, path))
    write_pages(asked.output)


def _make(table: Table, key: Key, path: Path) -> str:
    """Make a cell, and say what came of it; what a method cannot do is a cell too."""
    began = time.perf_counter()
    try:
        record = table.cell(key)
    except InputError as error:
        record = {**vars(key), "refused": str(error)}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
    figure = record["refused"] if "refused" in record else f"{record['precision@100']:.3f}"
    return f"{figure} ({time.perf_counter() - began:.0f} s)"


def _keys(asked: argparse.Namespace) -> list[Key]:
    cells = itertools.product(asked.sets, asked.protocols, asked.bits, asked.methods, range(asked.seeds))
    return [
        Key(name, protocol, features, method, bits, seed)
        for name, protocol, bits, method, seed in cells
        for features in ([_OWN[method]] if method in _OWN else asked.features)
    ]


def _say(key: Key, text: str) -> None:
    print(time.strftime("%H:%M:%S"), key.path, text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of the label sets")
    add("--output", type=Path, required=True, help="folder of the results")
    add("--sets", type=_names, default=["20newsgroups", "agnews"], help="by commas")
    add("--protocols", type=_names, default=["survey"], help="survey, official or both, by commas")
    add("--methods", type=_names, default=list(METHODS), help="recipes, by commas")
    add(
        "--features",
        type=_names,
        default=list(FEATURES),
        help="what they see, by commas: also joined, tokens",
    )
    add("--bits", type=lambda text: [int(each) for each in _names(text)], default=[32], help="by commas")
    add("--seeds", type=int, default=1, help="fits of each cell, with seeds 0, 1, ...")
    add("--seconds", type=float, default=180.0, help="of training, at most")
    add("--embeddings", type=Path, help="folder of SET.npz, sentence embeddings of some sets")
    add("--again", type=_names, default=[], help="methods to make anew")
    add("--summary", action="store_true", help="make the pages from the cells there are, fit nothing")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    main()
