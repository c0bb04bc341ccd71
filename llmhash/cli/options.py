"""Options that several commands share, said once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from llmhash.codes import check_bits
from llmhash.errors import InputError

Teacher = Annotated[
    str | None,
    typer.Option("--teacher", help="Alias (see `llmhash teachers`), hub id or local folder of the model."),
]
Bits = Annotated[int | None, typer.Option("--bits", help="Bits in a code, 1 to 4096.")]
CorpusPath = Annotated[
    Path | None,
    typer.Option("--corpus", help="BEIR folder; .jsonl, .txt, .csv (or .gz); .parquet; or python-manual."),
]
Embeddings = Annotated[
    Path | None,
    typer.Option("--embeddings", help="Document vectors of your own, .npy or .parquet, in place of texts."),
]
QueryEmbeddings = Annotated[
    Path | None, typer.Option("--query-embeddings", help="Query vectors, .npy or .parquet.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, mps; by default the best at hand.")]
Backend = Annotated[str | None, typer.Option("--backend", help="torch or openvino.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="Of the encoder: float32 or bfloat16.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Decides everything random.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the figures to this JSON file.")]
CsvFile = Annotated[Path | None, typer.Option("--csv", help="Also write the figures to this CSV file.")]
_WHERE = '{"year": {">=": 1990}, "lang": "en"}'
Where = Annotated[
    str | None,
    typer.Option("--where", help=f"Filter on metadata, as JSON: '{_WHERE}'."),
]


def listed(text: str) -> list[str]:
    """The names of an option that takes several by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def widths(bits: str) -> list[int]:
    """The widths that `--bits` names, by commas.

    Raises:
        InputError: One of them is no whole number, or not from 1 to 4096.
    """
    names = listed(bits)
    for name in names:
        if not name.removeprefix("-").isdecimal():
            raise InputError(f"--bits takes whole numbers by commas, not {name!r}.")
    return [check_bits(int(name)) for name in names]


def parsed_where(where: str | None) -> dict[str, Any] | None:
    """The filter that `--where` holds.

    Raises:
        InputError: It is not a JSON object.
    """
    if where is None:
        return None
    try:
        parsed = json.loads(where)
    except ValueError as error:
        raise InputError(f"--where is not JSON ({error}); write it like '{_WHERE}'.") from None
    if not isinstance(parsed, dict):
        raise InputError(f"--where must be a JSON object, not {where}.")
    return parsed
