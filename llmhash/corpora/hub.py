"""Corpora of the Hugging Face hub."""

from __future__ import annotations

from itertools import islice

from llmhash.corpora.documents import Documents
from llmhash.errors import InputError


def read_hub_corpus(
    dataset: str, *, limit: int, split: str = "train", config: str | None = None, text_field: str = "text"
) -> Documents:
    """The first `limit` documents of a hub data set, streamed so that no more than those are fetched.

    Args:
        dataset: Hub id, for instance `wikimedia/wikipedia`.
        limit: Documents to take.
        split: Split to read.
        config: The data set's configuration, where it has several.
        text_field: The field that holds a document's text; a field `title` is used where there is one.

    Raises:
        InputError: The data set cannot be reached or has no such field.
    """
    from datasets import load_dataset

    try:
        rows = list(islice(load_dataset(dataset, config, split=split, streaming=True), limit))
    except Exception as error:  # the hub client raises many kinds; each means that the data cannot be had
        raise InputError(
            f"the hub data set {dataset!r} cannot be read ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}); check its id and the network, or give a local --corpus."
        ) from error
    if not rows or not isinstance(rows[0].get(text_field), str):
        fields = sorted(rows[0]) if rows else []
        raise InputError(f"the hub data set {dataset!r} has no text field {text_field!r}; it has {fields}.")
    titles = [str(row.get("title") or "") for row in rows]
    bodies = [row[text_field] for row in rows]
    return Documents(
        [str(i) for i in range(len(rows))],
        [f"{title} {body}".strip() for title, body in zip(titles, bodies, strict=True)],
        titles if any(titles) else None,
        None,
        bodies if any(titles) else None,
    )
