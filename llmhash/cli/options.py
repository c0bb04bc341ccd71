"""Options that several commands share, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
