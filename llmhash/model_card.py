"""The model card of a hasher: what it is, how to use it, what it was measured to keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmhash.codes import bytes_per_code

_USE_TEXT = """\
```python
from llmhash import Hasher

hasher = Hasher.load("PATH_OR_HUB_ID")
codes = hasher.encode_documents(["a document"])   # Codes: .packed uint8 (n, {bytes}), .bits
logits = hasher.encode_queries(["a question"])    # float32 (q, {bits})
```

`hasher.to_sentence_transformers(folder)` writes a plain SentenceTransformer: there
`SentenceTransformer(folder).encode(texts, precision="ubinary")` gives the same bytes without llmhash
(plain `encode` takes the document side; use `encode_query` for queries).
"""

_USE_VECTORS = """\
```python
from llmhash import Hasher

hasher = Hasher.load("PATH_OR_HUB_ID")
codes = hasher.encode_documents(vectors)   # float (n, {dim}) -> Codes: .packed uint8 (n, {bytes}), .bits
```
"""


_CARD = """\
---
library_name: llmhash
tags: [hashing, binary-codes, retrieval, feature-extraction]
---

# {bits}-bit hash codes of {teacher}

Text to {bits} bits ({bytes} bytes a document), by the method `{method}` over {dim}-dimensional features of
{teacher}. Fitted on {documents:,} documents and {queries:,} queries.

## Use

{use}
## Measured

{measured}
"""

_MEASURED = """\
Retention is nDCG@10 as a share of the float teacher's on the same documents and queries, with a bootstrap
95 % interval over queries.

| data | split | scoring | nDCG@10 | overlap@10 | retention | 95 % |
|---|---|---|---|---|---|---|
"""


def render(config: Mapping[str, Any]) -> str:
    """The card, as Markdown with the hub's YAML header, of the contents of `hasher.json`."""
    encoder, training = config["encoder"], config["training"]
    values = {"bits": config["bits"], "bytes": bytes_per_code(config["bits"]), "dim": config["dim"]}
    return _CARD.format(
        **values,
        teacher=encoder["name"] if encoder else "the user's own vectors",
        method=config["recipe"].get("name", "unknown"),
        documents=training.get("documents", 0),
        queries=training.get("queries", 0),
        use=(_USE_TEXT if encoder else _USE_VECTORS).format(**values),
        measured=_measured(config["measurements"]),
    )


def _measured(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "Nothing has been measured yet; `llmhash eval retrieval` does."
    return _MEASURED + "\n".join(
        "| {data} | {split} | {scoring} | {ndcg@10:.3f} | {overlap@10:.3f} | {retention:.3f} ".format_map(row)
        + "| {:.3f} to {:.3f} |".format(*row["ci95"])
        for row in rows
    )
