r"""Train the general hasher that llmhash ships: nested codes, distilled once on a broad corpus.

    python eval/general/sources.py CORPORA ...
    python eval/general/train.py llmhash/pretrained/minilm CORPORA/* DATA/arxiv_300k=20000 \
        DATA/stackoverflow_titles/train.jsonl.gz=5000 --without DATA/scifact --without DATA/nfcorpus ...

No document of a corpus named with `--without` is trained on, nor any that shares 13 words in a row with one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from llmhash import Hasher
from llmhash.corpora import Documents, read_corpus
from llmhash.features import training_features
from llmhash.hasher_files import read_hasher, write_hasher
from llmhash.heads import TrainingFeatures
from llmhash.recipes import EncoderSettings, Recipe, load_recipe

# What two texts share by chance is shorter.
_COMMON_WORDS = 13


def main(
    output: Path,
    corpora: Annotated[list[str], typer.Argument(help="Their paths; PATH=N takes N documents of one.")],
    without: Annotated[list[Path] | None, typer.Option(help="A corpus to keep out; once a corpus.")] = None,
    recipe: Annotated[str, typer.Option(help="Name or file of the recipe.")] = "eval/general/recipe.yaml",
    documents: Annotated[int, typer.Option(help="Documents of a corpus, a seeded sample.")] = 2500,
    queries: Annotated[int, typer.Option(help="Pseudo-queries of a corpus at most.")] = 1500,
    backend: Annotated[str, typer.Option(help="What embeds the corpora.")] = "openvino",
    dtype: Annotated[str, typer.Option(help="What it computes in.")] = "bfloat16",
    seed: int = 0,
) -> None:
    method = load_recipe(recipe, seed=seed)
    encoder = Recipe("general", "sign", encoder=EncoderSettings(backend=backend, dtype=dtype)).open_encoder()
    forbidden = {run for path in without or [] for run in _runs(read_corpus(path).texts)}
    parts, names = [], []
    for corpus in corpora:
        path, _, most = corpus.rpartition("=") if "=" in corpus else (corpus, "", documents)
        sample = _sample(read_corpus(path), int(most), forbidden, seed)
        parts.append(training_features(encoder, sample, pseudo_queries=queries, seed=seed)[0])
        names.append(Path(path).name if Path(path).is_dir() else Path(path).parent.name)
        print(f"{names[-1]}: {len(sample):,} documents", flush=True)
    # The encoder that the hasher is used with, whichever backend embedded the corpora.
    hasher = Hasher.fit_on(joined(parts), method, encoder=method.open_encoder())
    hasher.training["corpora"] = names
    hasher.save(output)
    config, tensors = read_hasher(output)
    # The head fits the teacher's features however they are computed: no file of the model is insisted on.
    config["encoder"]["weights"] = None
    write_hasher(output, config, tensors)


def joined(parts: Sequence[TrainingFeatures]) -> TrainingFeatures:
    """The features of several corpora as one corpus's."""
    starts = np.cumsum([0, *(len(part.documents) for part in parts)])
    given = [(part.queries, part.sources, start) for part, start in zip(parts, starts, strict=False)]
    return TrainingFeatures(
        np.concatenate([part.documents for part in parts]),
        np.concatenate([queries for queries, _, _ in given if queries is not None]),
        np.concatenate([sources + start for _, sources, start in given if sources is not None]),
        sides_differ=any(part.sides_differ for part in parts),
    )


def _sample(corpus: Documents, most: int, forbidden: set[int], seed: int) -> Documents:
    """At most so many documents, none of which holds a forbidden run of words."""
    kept: list[int] = []
    for row in np.random.default_rng(seed).permutation(len(corpus)).tolist():
        if forbidden.isdisjoint(_runs([corpus.texts[row]])):
            kept.append(row)
        if len(kept) == most:
            break
    kept.sort()
    return Documents(
        [corpus.ids[row] for row in kept],
        [corpus.texts[row] for row in kept],
        None if corpus.titles is None else [corpus.titles[row] for row in kept],
        None,
        None if corpus.bodies is None else [corpus.bodies[row] for row in kept],
    )


def _runs(texts: Sequence[str]) -> Iterator[int]:
    """Digests of all runs of so many words."""
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        for first in range(len(words) - _COMMON_WORDS + 1):
            yield hash(tuple(words[first : first + _COMMON_WORDS]))


if __name__ == "__main__":
    typer.run(main)
