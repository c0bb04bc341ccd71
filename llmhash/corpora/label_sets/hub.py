"""Label sets of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from llmhash.corpora.label_sets.base import ALL, SPLIT_NAMES, SPLITS, LabelSource, labelled
from llmhash.corpora.label_sets.names import known_set
from llmhash.errors import InputError

# What data sets call the parts of a text; the first entry whose fields are all there is taken.
_TEXT_FIELDS: Final = (
    ("title", "text"),
    ("text",),
    ("title", "content"),
    ("title", "description"),
    ("question_title", "question_content", "best_answer"),
    ("content",),
)
# Names before numbers: `label_text` spells out what `label` counts.
_LABEL_FIELDS: Final = ("labels", "label_text", "label", "topics", "topic", "category")


def read_hub_labels(dataset: str) -> LabelSource:
    """Read a data set of the hub, downloaded once and cached by `datasets`.

    Args:
        dataset: Hub id, `owner/name`, or `owner/name:config` where it has several configurations.

    Raises:
        InputError: The data set cannot be had, or has no field of text or of labels that is known.
    """
    from datasets import load_dataset

    identifier, _, config = dataset.partition(":")
    try:
        loaded = load_dataset(identifier, config or None)
    except Exception as error:  # the hub client raises many kinds; each means that the data cannot be had
        raise InputError(
            f"the hub data set {dataset!r} cannot be read ({type(error).__name__}: "
            f"{(str(error).splitlines() or [''])[0]}); check its id and the network, or give a local folder."
        ) from error
    splits = {SPLIT_NAMES[name]: rows for name, rows in loaded.items() if name in SPLIT_NAMES}
    if set(splits) == {"train"}:
        splits = {ALL: splits["train"]}
    if not splits:
        raise InputError(
            f"the hub data set {dataset!r} has none of the splits {', '.join(SPLITS)}; "
            f"it has {', '.join(loaded)}."
        )
    name = identifier.rpartition("/")[2]
    known = known_set(name)
    return LabelSource(
        known.name if known else name,
        {split: labelled(_pairs(rows, dataset)) for split, rows in splits.items()},
    )


def _pairs(rows: Any, dataset: str) -> Iterator[tuple[str, list[str]]]:
    columns = list(rows.column_names)
    fields = next((names for names in _TEXT_FIELDS if set(names) <= set(columns)), None)
    label_field = next((name for name in _LABEL_FIELDS if name in columns), None)
    if fields is None or label_field is None:
        missing = "text" if fields is None else "labels"
        raise InputError(
            f"the hub data set {dataset!r} has no field of {missing} that is known; "
            f"it has {', '.join(columns)}."
        )
    names = _class_names(rows.features[label_field])
    for *parts, value in zip(*(rows[field] for field in fields), rows[label_field], strict=True):
        text = " ".join(part.strip() for part in parts if part)
        yield text, _labels(value, names)


def _class_names(feature: Any) -> list[str] | None:
    """Names of a field that counts classes, or lists such counts."""
    names: list[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
    return names


def _labels(value: Any, names: list[str] | None) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if names is not None:
        # The hub writes -1 for a label that is withheld.
        return [names[each] for each in values if each is not None and each >= 0]
    return [label for each in values if each is not None and (label := str(each).strip())]
