"""`llmhash export`: a hasher as a plain SentenceTransformer."""

from __future__ import annotations

from pathlib import Path

from llmhash.cli.console import stdout
from llmhash.cli.options import Output


def export(hasher: Path, output: Output) -> None:
    """Write a hasher as a plain SentenceTransformer, which gives the signs of its logits without llmhash.

    There, `SentenceTransformer(FOLDER).encode(texts, precision="ubinary")` encodes documents and
    `encode_query(...)` queries. These are the hasher's codes, unless a codebook chooses those: then llmhash
    alone can encode.
    """
    from llmhash.errors import InputError
    from llmhash.hasher import Hasher

    if output.exists() and any(output.iterdir()):
        raise InputError(f"{output} exists and is not empty; choose another --output.")
    Hasher.load(hasher).to_sentence_transformers(output)
    stdout.print(f"wrote {output}", highlight=False)
