"""`llmhash probe`: how a teacher binarizes on a corpus, before anything is indexed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmhash.cli.console import note, stdout
from llmhash.cli.heads import recipes_by_head
from llmhash.cli.options import (
    Backend,
    CorpusPath,
    Device,
    Dtype,
    Embeddings,
    JsonFile,
    QueryEmbeddings,
    Seed,
    Teacher,
    widths,
)
from llmhash.errors import InputError

if TYPE_CHECKING:
    from llmhash.cli.fit import Sources
    from llmhash.evaluation.probe_data import ProbeData
    from llmhash.recipes import Recipe


def probe(
    teacher: Teacher = None,
    corpus: CorpusPath = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="A hub data set with a field `text`.")
    ] = None,
    embeddings: Embeddings = None,
    query_embeddings: QueryEmbeddings = None,
    heads: Annotated[str, typer.Option(help="Recipes, by commas; scan and distill take minutes.")] = (
        "sign,median,pca,itq,rca"
    ),
    bits: Annotated[
        str | None,
        typer.Option(help="Widths, by commas; by default 64,128,256 and the teacher's dimension."),
    ] = None,
    keep: Annotated[float, typer.Option(help="Share of the teacher's nDCG@10 to keep.")] = 0.9,
    contain: Annotated[float, typer.Option(help="Share of a top ten that candidates should hold.")] = 0.95,
    target_size: Annotated[
        int | None,
        typer.Option(help="Documents to decide for, by extrapolation; by default the corpus's."),
    ] = None,
    sample: Annotated[int, typer.Option(help="Documents to look at; fewer are looked at whole.")] = 20_000,
    pseudo_queries: Annotated[
        int | None, typer.Option("--pseudo-queries", help="How many to cut from the sample at most.")
    ] = None,
    budget: Annotated[
        str, typer.Option("--budget", help="Time for a corpus of the hub, which is sized by it: 90s, 10m.")
    ] = "10m",
    seed: Seed = None,
    json_file: JsonFile = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", help="Also write the report to this Markdown file.")
    ] = None,
    device: Device = None,
    backend: Backend = None,
    dtype: Dtype = None,
) -> None:
    """Tell how a teacher binarizes on a corpus, and which head, bits and candidates to take.

    Nothing is indexed. Documents are encoded through the cache, so that what follows finds them there.
    With --embeddings alone, some of the documents stand in for queries.
    """
    from llmhash.cli.fit import Sources
    from llmhash.evaluation.probe import ProbeSettings
    from llmhash.evaluation.probe import probe as run_probe
    from llmhash.evaluation.probe_report import print_probe, probe_json, probe_markdown

    sources = Sources(corpus, dataset, embeddings, query_embeddings, None, None, budget)
    recipes = recipes_by_head(heads, pseudo_queries)
    settings = ProbeSettings(
        heads=list(recipes),
        bits=None if bits is None else widths(bits),
        keep=keep,
        contain=contain,
        target_size=target_size,
        seed=seed or 0,
        options={head: recipe.options for head, recipe in recipes.items()},
    )
    if embeddings is not None:
        if teacher is not None:
            raise InputError("vectors come from your own model: give --teacher or --embeddings, not both.")
        data = _of_vectors(embeddings, query_embeddings, sample, settings.seed)
    else:
        opened = {"name": teacher, "device": device, "backend": backend, "dtype": dtype}
        said = {key: value for key, value in opened.items() if value is not None}
        wanted = _wanted_queries(recipes.values()) if pseudo_queries is None else pseudo_queries
        data = _of_texts(sources, said, sample, wanted, settings.seed)
    report = run_probe(data, settings, progress=note)
    print_probe(report, stdout)
    for path, render in ((json_file, probe_json), (markdown_file, probe_markdown)):
        if path is not None:
            path.write_text(render(report), encoding="utf-8")
            stdout.print(f"wrote {path}", highlight=False)


def _of_texts(
    sources: Sources, encoder_settings: dict[str, Any], sample: int, pseudo_queries: int, seed: int
) -> ProbeData:
    from llmhash.evaluation.probe_data import ProbeData
    from llmhash.recipes import EncoderSettings, Recipe

    encoder = Recipe("probe", "sign", encoder=EncoderSettings(**encoder_settings)).open_encoder()
    documents = sources.documents(encoder.name, encoder)
    note(f"probing {encoder.name} on {min(sample, len(documents)):,} of {len(documents):,} documents")
    return ProbeData.from_texts(
        encoder, documents, sample=sample, pseudo_queries=pseudo_queries, seed=seed, progress=True
    )


def _of_vectors(embeddings: Path, query_embeddings: Path | None, sample: int, seed: int) -> ProbeData:
    from llmhash.corpora import read_vectors
    from llmhash.evaluation.probe_data import ProbeData

    queries = None if query_embeddings is None else read_vectors(query_embeddings)
    return ProbeData.from_vectors(read_vectors(embeddings), queries, sample=sample, seed=seed)


def _wanted_queries(recipes: Iterable[Recipe]) -> int:
    """As many pseudo-queries as the most demanding recipe reads, and enough to hold out some."""
    from llmhash.evaluation.probe_data import PSEUDO_QUERIES

    return max(PSEUDO_QUERIES, *(recipe.pseudo_queries for recipe in recipes))
