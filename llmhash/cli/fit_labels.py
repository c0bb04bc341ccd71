"""Making a hasher on a label set: `llmhash train RECIPE --data SET`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmhash.cli.console import note, stdout, training_progress

if TYPE_CHECKING:
    from llmhash.corpora.labels import LabelSet
    from llmhash.hasher import Hasher
    from llmhash.recipes import Recipe


@dataclass(frozen=True)
class LabelSource:
    """The label set that the user named.

    Attributes:
        data: What `read_label_set` reads.
        protocol: "official" or "survey".
        split_seed: Of the split, where it is drawn.
    """

    data: str
    protocol: Literal["official", "survey"]
    split_seed: int


def fit_on_labels(recipe: Recipe, source: LabelSource) -> Hasher:
    """Fit on the training documents and print the figures of the validation documents."""
    from llmhash.corpora.labels import read_label_set
    from llmhash.hasher import Hasher

    labelled = read_label_set(source.data, protocol=source.protocol, seed=source.split_seed)
    note(
        f"{recipe.name}: {recipe.bits} bits of {recipe.encoder.name} on {labelled.name}, "
        f"{len(labelled.train):,} documents to train on, {len(labelled.validation):,} to validate on "
        f"({source.protocol} protocol)"
    )
    with training_progress(recipe.name) as progress:
        hasher = Hasher.fit_labels(recipe, labelled, show_progress=True, progress=progress)
    if len(labelled.validation):
        _measure(hasher, labelled)
    return hasher


def _measure(hasher: Hasher, labelled: LabelSet) -> None:
    """Print what `llmhash eval label` would of the validation documents; test documents stay unread."""
    from llmhash.evaluation.label import CUTOFF, LabelledCodes, label_report

    codes = LabelledCodes.from_hasher(hasher, labelled, split="validation", progress=True)
    report = label_report([codes], labelled, split="validation")
    (row,), (floats,) = report["rows"], report["floats"]
    metric = f"precision@{CUTOFF}"
    stdout.print(
        f"validation {metric} {row[metric]:.3f} (float {floats['encoder']}: {floats[metric]:.3f}; "
        "test documents: llmhash eval label)",
        highlight=False,
        soft_wrap=True,
    )
