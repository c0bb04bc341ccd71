"""Distilled on one corpus, used on another; the general hasher beside; how much corpus it takes to beat it.

    python eval/general/matrix.py distilled DATA eval/results/general
    python eval/general/matrix.py general DATA eval/results/general llmhash/pretrained/minilm
    python eval/general/matrix.py report eval/results/general

and likewise `grown`, `nested`, `tested` and `general ... --test`. They keep what they measured, so that an
interrupted run goes on where it stopped; `report` makes tables of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from cells import TEACHER, Cells, Facts, Key, Values
from numpy.typing import NDArray
from places import DEVELOPMENT, SCORINGS, TEST, Place, open_places
from report import write_report

from llmhash import Hasher
from llmhash.collection.balance import balance_drift
from llmhash.heads import TrainingFeatures, fit_head
from llmhash.heads.adapt import adapt
from llmhash.heads.affine import AffineHead
from llmhash.recipes import Recipe, load_recipe

#: Sets of which parts are distilled on too, and how many documents.
GROWING = ("climate_fever_sentences", "scifact")
SIZES = (250, 500, 1000, 2000)
#: Sets on which nested codes are compared with others.
NESTED = ("cisi", "climate_fever_sentences", "nfcorpus")

app = typer.Typer(no_args_is_help=True)
Widths = Annotated[list[int], typer.Option("--bits", help="Bits in a code; once a width.")]
Seeds = Annotated[int, typer.Option(help="Seeds of each head.")]


@app.command()
def distilled(data: Path, output: Path, bits: Widths = [128, 64], seeds: Seeds = 1) -> None:  # noqa: B006
    """Distill on each development set, and measure on all of them.

    Without codebooks, which are of their own corpus's documents.
    """
    cells = Cells(output / "cells")
    places = open_places(data, DEVELOPMENT)
    _keep_teacher(cells, places)
    for seed, width, place in product(range(seeds), bits, places):
        recipe = load_recipe("distill", bits=width, seed=seed, options={"codebook": "never"})
        _distill(cells, Key(place.name, width, seed), recipe, place, None, places)


@app.command()
def grown(data: Path, output: Path, bits: int = 128, seeds: Seeds = 1) -> None:
    """Distill on parts of two development sets, and on all of each, and measure there."""
    cells = Cells(output / "cells")
    places = open_places(data, [each for each in DEVELOPMENT if each[0] in GROWING])
    _keep_teacher(cells, places)
    for seed, place in product(range(seeds), places):
        recipe = load_recipe("distill", bits=bits, seed=seed)
        for size in (*SIZES, len(place.documents)):
            _distill(cells, Key(f"{place.name}@{size}", bits, seed), recipe, place, size, [place])


@app.command()
def nested(data: Path, output: Path, seeds: Seeds = 1) -> None:
    """What a nested code's prefixes lose against codes distilled at their width alone, on three sets."""
    cells = Cells(output / "cells")
    places = open_places(data, [each for each in DEVELOPMENT if each[0] in NESTED])
    _keep_teacher(cells, places)
    for seed in range(seeds):
        for place in places:
            recipe = load_recipe("distill-nested", seed=seed)
            widths = (*recipe.options["nested"], recipe.bits)
            for width in widths:
                alone = load_recipe("distill", bits=width, seed=seed, options={"codebook": "never"})
                _distill(cells, Key(place.name, width, seed), alone, place, None, [place])
            keys = [Key(f"{place.name}.nested", width, seed) for width in widths]
            if all(key in cells for key in keys):
                continue
            training = place.training(recipe.pseudo_queries)
            began = time.perf_counter()
            head = fit_head(recipe.head, training, recipe.bits, seed=recipe.seed, options=recipe.options)
            seconds = time.perf_counter() - began
            for key in keys:
                _keep(cells, key, head.truncated(key.bits), training, seconds, [place])


@app.command()
def tested(data: Path, output: Path, bits: Widths = [128, 64, 256], seeds: Seeds = 1) -> None:  # noqa: B006
    """Distill on each test set and measure there. Nothing is chosen by these figures."""
    cells = Cells(output / "cells")
    places = open_places(data, TEST)
    _keep_teacher(cells, places)
    for seed, width, place in product(range(seeds), bits, places):
        recipe = load_recipe("distill", bits=width, seed=seed)
        _distill(cells, Key(f"{place.name}.test", width, seed), recipe, place, None, [place])


@app.command()
def taken(table: Path, output: Path) -> None:
    """Take what `eval/distill/table.py` measured of `distill` on the test sets, in the place of `tested`."""
    cells = Cells(output / "cells")
    for name, split in TEST:
        for path in sorted((table / "cells" / name).glob("distill-*.json")):
            bits, seed = map(int, path.stem.split("-")[1:])
            facts = next(iter(json.loads(path.read_text(encoding="utf-8"))["scorings"].values()))
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
                values = {
                    (f"{name} {split}", scoring): arrays[f"{scoring}|{name}|ndcg@10"] for scoring in SCORINGS
                }
            key = Key(f"{name}.test", bits, seed)
            stored = "stored embeddings" in (facts["settings"] or "")
            cells.put(key, Facts(facts["documents"], facts["seconds"]["fit"], {}, stored=stored), values)


@app.command()
def general(
    data: Path,
    output: Path,
    hasher: Path,
    bits: Widths = [128, 64, 256],  # noqa: B006
    test: Annotated[bool, typer.Option("--test", help="On the test sets, not the development sets.")] = False,
    embeddings: Annotated[Path | None, typer.Option(help="Folder of SET.npz, embeddings to take.")] = None,
) -> None:
    """Measure the general hasher as it is, and adapted to each place's documents."""
    cells = Cells(output / "cells")
    whole = Hasher.load(hasher)
    places = open_places(data, TEST if test else DEVELOPMENT, embeddings)
    _keep_teacher(cells, places)
    for width in bits:
        cut = whole.truncated(width)
        key = Key("general", width)
        values, drift = _measure(cut.head, np.array(cut.training["bit_balance"]), places)
        cells.put(key, Facts(cut.training["documents"], 0.0, drift, cut.fingerprint, _stored(places)), values)
        _say(key, values, places)
        for place in places:
            began = time.perf_counter()
            head = adapt(cut.head, place.task.documents)
            seconds = time.perf_counter() - began
            documents = TrainingFeatures(place.task.documents)
            _keep(cells, Key("adapted", width), head, documents, seconds, [place])


@app.command()
def report(output: Path) -> None:
    """Make README.md and results.json of what was measured."""
    write_report(Cells(output / "cells"), output)


def _keep_teacher(cells: Cells, places: Sequence[Place]) -> None:
    values = {(place.label, TEACHER): place.teacher for place in places}
    cells.put(Key(TEACHER, 0), Facts(0, 0.0, {}), values)


def _distill(
    cells: Cells, key: Key, recipe: Recipe, place: Place, documents: int | None, places: Sequence[Place]
) -> None:
    """Distill on a place, or on a part of its documents, and measure the head."""
    if key in cells:
        return
    training = place.training(recipe.pseudo_queries, documents, key.seed)
    began = time.perf_counter()
    head = fit_head(recipe.head, training, recipe.bits, seed=recipe.seed, options=recipe.options)
    _keep(cells, key, head, training, time.perf_counter() - began, places)


def _keep(
    cells: Cells,
    key: Key,
    head: AffineHead,
    training: TrainingFeatures,
    seconds: float,
    places: Sequence[Place],
) -> None:
    """Measure a head, and keep what was found."""
    balance = head.document_codes(training.documents).unpack().mean(axis=0)
    values, drift = _measure(head, balance, places)
    facts = Facts(len(training.documents), round(seconds, 1), drift, stored=_stored(places))
    cells.put(key, facts, values)
    _say(key, values, places)


def _stored(places: Sequence[Place]) -> bool:
    """Whether some of what was measured there was measured on stored embeddings."""
    return any(place.stored for place in places)


def _measure(
    head: AffineHead, balance: NDArray[np.float64], places: Sequence[Place]
) -> tuple[Values, dict[str, float]]:
    """A head's values at each place, and the drift of its bit balance there."""
    values: Values = {}
    drift = {}
    for place in places:
        for scoring, each in place.measure(head).items():
            values[place.label, scoring] = each
        codes = head.document_codes(place.task.documents)
        drift[place.label] = round(balance_drift(codes, balance), 4)
    return values, drift


def _say(key: Key, values: Values, places: Sequence[Place]) -> None:
    teacher = {place.label: place.teacher.mean() for place in places}
    figures = (f"{label}|{scoring} {v.mean() / teacher[label]:.3f}" for (label, scoring), v in values.items())
    print(key.source, key.bits, key.seed, *figures, flush=True)


if __name__ == "__main__":
    app()
