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
{asked}```
"""
_ASKED = 'asked = hasher.encode_query_codes(["a question"])  # Codes, for Hamming distance\n'

_EXPORT = """
`hasher.to_sentence_transformers(folder)` writes a plain SentenceTransformer: there
`SentenceTransformer(folder).encode(texts, precision="ubinary")` gives {exported} without llmhash
(plain `encode` takes the document side; use `encode_query` for queries).
"""

_USE_VECTORS = """\
```python
from llmhash import Hasher

hasher = Hasher.load("PATH_OR_HUB_ID")
codes = hasher.encode_documents(vectors)   # float (n, {dim}) -> Codes: .packed uint8 (n, {bytes}), .bits
```
"""

# How codes are made and scored, by what the head's codebook decides.
_CODES = {
    None: """\
A bit is the sign of a logit. Asymmetric scoring weighs a document's bits by the query's logits.
""",
    "codes": """\
A document's code is searched for: a codebook reads it as a vector near the document's. A query's is found in
the same way, or is the signs of its logits with or without votes of anchors in the corpus
(`encode_query_codes`).
Asymmetric scoring adds up the codebook's entries for the code's bytes; `Retriever` does so by itself.
""",
    "scan": """\
A document's code is searched for: a codebook reads it as a vector near the document's, in a space where what
queries are off their documents is even. Codes are for the asymmetric scan alone, which adds up the codebook's
entries for the code's bytes, as `Retriever` does by itself. Hamming distance between them ranks poorly.
""",
}
# What an export gives, likewise.
_SAME_BYTES = "the same bytes"
_SIGNS_ONLY = "the logits' signs, near which codes lie but not on them,"

_CARD = """\
---
library_name: llmhash
tags: [hashing, binary-codes, retrieval, feature-extraction]
---

# {bits}-bit hash codes of {teacher}

Text to {bits} bits ({bytes} bytes a document), by the method `{method}` over {dim}-dimensional features of
{teacher}. Fitted on {documents:,} documents and {queries:,} queries{corpora}.{adapted}{nested}

{codes}
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
    codebook = config.get("codebook")
    values = {"bits": config["bits"], "bytes": bytes_per_code(config["bits"]), "dim": config["dim"]}
    return _CARD.format(
        **values,
        teacher=encoder.get("name", encoder.get("kind")) if encoder else "the user's own vectors",
        method=config["recipe"].get("name", "unknown"),
        documents=training.get("documents", 0),
        queries=training.get("queries", 0),
        corpora=_corpora(training.get("corpora", [])),
        adapted=_adapted(training.get("adapted_to", 0)),
        nested=_nested(config),
        codes=_CODES[codebook],
        use=_use(config, values),
        measured=_measured(config["measurements"]),
    )


def _use(config: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    encoder = config["encoder"]
    if not encoder:
        return _USE_VECTORS.format(**values)
    codebook = config.get("codebook")
    if codebook == "scan":
        return _USE_TEXT.format(**values, asked="")
    # Of these alone, sentence-transformers has the modules; see `llmhash.export`.
    exports = "kind" not in encoder and config.get("head", "affine") in ("affine", "network")
    exported = _SIGNS_ONLY if codebook == "codes" else _SAME_BYTES
    return _USE_TEXT.format(**values, asked=_ASKED) + (_EXPORT.format(exported=exported) if exports else "")


def _corpora(names: list[str]) -> str:
    return f" of {', '.join(names)}" if names else ""


def _adapted(documents: int) -> str:
    return f"\nAdapted, without training, to {documents:,} documents of another corpus." if documents else ""


def _nested(config: Mapping[str, Any]) -> str:
    widths = [w for w in config["recipe"].get("training", {}).get("nested", ()) if w < config["bits"]]
    if not widths:
        return ""
    listed = ", ".join(map(str, widths))
    return f"\nIts first {listed} bits are codes by themselves: `hasher.truncated({widths[-1]})`."


def _measured(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "Nothing has been measured yet; `llmhash eval retrieval` does."
    return _MEASURED + "\n".join(
        "| {data} | {split} | {scoring} | {ndcg@10:.3f} | {overlap@10:.3f} | {retention:.3f} ".format_map(row)
        + "| {:.3f} to {:.3f} |".format(*row["ci95"])
        for row in rows
    )
