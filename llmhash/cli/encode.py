"""`llmhash encode`: texts or vectors to packed codes on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from llmhash.cli.console import stdout
from llmhash.cli.options import Device


def encode(
    hasher: Path,
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Texts (as --corpus), or vectors (.npy).")],
    side: Annotated[
        Literal["document", "query"], typer.Option(help="Which side of the hasher encodes.")
    ] = "document",
    output: Annotated[Path, typer.Option("--output", "-o", help="The .npy file to write.")] = Path(
        "codes.npy"
    ),
    device: Device = None,
) -> None:
    """Encode texts or vectors to packed codes: a .npy file, and beside it a .json with bits, side, hasher."""
    from llmhash.corpora import read_corpus, read_vectors
    from llmhash.hasher import Hasher

    model = Hasher.load(hasher, device=device)
    inputs = read_vectors(source) if source.suffix == ".npy" else read_corpus(source).texts
    if side == "document":
        codes = model.encode_documents(inputs, progress=True)
    else:
        codes = model.encode_query_codes(inputs, progress=True)
    codes.save(output, side=side, hasher=model.fingerprint)
    stdout.print(f"wrote {len(codes):,} codes of {codes.bits} bits to {output}", highlight=False)
