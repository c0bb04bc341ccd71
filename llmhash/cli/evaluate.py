"""`llmhash eval`: what codes keep of their teacher, and what they tell of labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from llmhash.cli import evaluate_label
from llmhash.cli.console import note, stdout
from llmhash.cli.heads import recipes_by_head
from llmhash.cli.options import (
    Backend,
    CsvFile,
    Device,
    Dtype,
    Embeddings,
    JsonFile,
    QueryEmbeddings,
    listed,
    widths,
)
from llmhash.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llmhash.corpora import RetrievalSet
    from llmhash.evaluation import Report, RetrievalTask
    from llmhash.heads.base import TrainingFeatures
    from llmhash.recipes import Recipe

app = typer.Typer(help="Measure hashers on judged queries, or on labelled documents.", no_args_is_help=True)
app.command("label")(evaluate_label.label)


_Data = Annotated[Path, typer.Option("--data", help="BEIR folder: corpus.jsonl, queries.jsonl, qrels/.")]
_Split = Annotated[str, typer.Option("--split", help="The judgements to measure on, qrels/SPLIT.tsv.")]
_Ties = Annotated[
    Literal["expected", "trec"],
    typer.Option("--ties", help="expected: mean over random tie-breaking; trec: as pytrec_eval."),
]
_MarkdownFile = Annotated[
    Path | None, typer.Option("--markdown", help="Also write the table to this Markdown file.")
]


@app.command()
def retrieval(
    hasher: Path,
    data: _Data,
    split: _Split = "test",
    ties: _Ties = "expected",
    trained_on: Annotated[
        Literal["in-corpus", "general"] | None, typer.Option(help="By default told by comparing the corpora.")
    ] = None,
    card: Annotated[bool, typer.Option("--card", help="Add the figures to the hasher's model card.")] = False,
    embeddings: Embeddings = None,
    query_embeddings: QueryEmbeddings = None,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
    markdown_file: _MarkdownFile = None,
    device: Device = None,
) -> None:
    """Measure a hasher on a BEIR-layout folder, beside its float teacher."""
    from llmhash.corpora import read_retrieval_set
    from llmhash.evaluation import RetrievalTask, evaluate_head
    from llmhash.hasher import Hasher

    model = Hasher.load(hasher, device=device)
    if not model.takes_dense:
        raise InputError(
            "judged queries compare codes with dense embeddings, and this hasher's encoder gives words or "
            "tokens; measure it on labels (llmhash eval label)."
        )
    judged = read_retrieval_set(data, split)
    documents: Any = judged.documents.texts
    queries: Any = judged.queries
    if embeddings is not None or query_embeddings is not None:
        documents, queries = _vectors(judged, embeddings, query_embeddings)
    features = model.document_features(documents, progress=True)
    task = RetrievalTask.from_set(
        judged,
        features,
        model.query_features(queries, progress=True),
        teacher=model.encoder.name if model.encoder else "vectors",
        ties=ties,
    )
    seen = model.has_seen(features if model.encoder is None else judged.documents)
    told = trained_on or ("in-corpus" if seen else "general")
    report = evaluate_head(task, model.head, name=model.recipe["name"], trained_on=told)
    if card:
        model.add_measurements(report)
        model.save(hasher)
    _finish(report, json_file, csv_file, markdown_file)


@app.command()
def compare(
    data: _Data,
    heads: Annotated[str, typer.Option(help="Recipes, by commas.")] = "sign,median,itq,distill",
    bits: Annotated[str, typer.Option(help="Widths, by commas.")] = "64,128,256",
    teacher: Annotated[str, typer.Option(help="Alias, hub id or local folder of the model.")] = "minilm",
    split: _Split = "test",
    seeds: Annotated[int, typer.Option(help="Fits of each head, with seeds 0, 1, ...")] = 3,
    peers: Annotated[
        str,
        typer.Option(help="Quantizers at equal bytes, by commas: faiss, sentence-transformers, or names."),
    ] = "",
    pseudo_queries: Annotated[
        int | None, typer.Option(help="How many to cut from the corpus at most; by default the recipe's.")
    ] = None,
    ties: _Ties = "expected",
    threads: Annotated[int, typer.Option(help="Threads of the peers.")] = 1,
    embeddings: Embeddings = None,
    query_embeddings: QueryEmbeddings = None,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
    markdown_file: _MarkdownFile = None,
    device: Device = None,
    backend: Backend = None,
    dtype: Dtype = None,
) -> None:
    """Fit heads (and peers) on a corpus and measure them all: heads x bits x scoring."""
    from llmhash.corpora import read_retrieval_set
    from llmhash.evaluation import compare as compare_heads

    recipes = recipes_by_head(heads, pseudo_queries)
    judged = read_retrieval_set(data, split)
    if embeddings is not None or query_embeddings is not None:
        task, training = _task_of_vectors(judged, embeddings, query_embeddings, ties)
    else:
        settings = {"name": teacher, "device": device, "backend": backend, "dtype": dtype}
        task, training = _task_of_texts(judged, list(recipes.values()), settings, ties)
    report = compare_heads(
        task,
        training,
        heads=list(recipes),
        bits=widths(bits),
        seeds=seeds,
        peers=listed(peers),
        options={head: recipe.options for head, recipe in recipes.items()},
        threads=threads,
        progress=note,
    )
    _finish(report, json_file, csv_file, markdown_file)


def _task_of_texts(
    judged: RetrievalSet, recipes: list[Recipe], settings: dict[str, Any], ties: Any
) -> tuple[RetrievalTask, TrainingFeatures]:
    """Encode the set, and cut as many pseudo-queries as the most demanding recipe reads."""
    from llmhash.evaluation import RetrievalTask
    from llmhash.features import training_features
    from llmhash.heads.registry import QUERY_HEADS
    from llmhash.recipes import EncoderSettings, Recipe

    said = {key: value for key, value in settings.items() if value is not None}
    encoder = Recipe("compare", "sign", encoder=EncoderSettings(**said)).open_encoder()
    trained = [recipe for recipe in recipes if recipe.head in QUERY_HEADS or "pairs" in recipe.needs]
    wanted = [recipe.pseudo_queries for recipe in (recipes if encoder.sides_differ else trained)]
    training, _ = training_features(
        encoder,
        judged.documents,
        pseudo_queries=max(wanted, default=0),
        noise=max((recipe.noise for recipe in trained), default=0.0),
        progress=True,
    )
    queries = encoder.encode(judged.queries, "query", progress=True)
    task = RetrievalTask.from_set(judged, training.documents, queries, teacher=encoder.name, ties=ties)
    return task, training


def _task_of_vectors(
    judged: RetrievalSet, embeddings: Path | None, query_embeddings: Path | None, ties: Any
) -> tuple[RetrievalTask, TrainingFeatures]:
    from llmhash.evaluation import RetrievalTask
    from llmhash.features import vector_features

    documents, queries = _vectors(judged, embeddings, query_embeddings)
    training = vector_features(documents)
    return RetrievalTask.from_set(judged, documents, queries, teacher="vectors", ties=ties), training


def _vectors(
    judged: RetrievalSet, embeddings: Path | None, query_embeddings: Path | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vectors of the corpus and of the split's queries, from files in the order of the folder's."""
    from llmhash.corpora import read_vectors

    if embeddings is None or query_embeddings is None:
        raise InputError("give both --embeddings and --query-embeddings, or neither.")
    documents, queries = read_vectors(embeddings), read_vectors(query_embeddings)
    for path, held, wanted, what in (
        (embeddings, len(documents), len(judged.documents), "documents"),
        (query_embeddings, len(queries), judged.queries_in_file, "queries"),
    ):
        if held != wanted:
            raise InputError(f"{path} holds {held:,} vectors, but {judged.name} has {wanted:,} {what}.")
    return documents, queries[judged.query_rows]


def _finish(
    report: Report, json_file: Path | None, csv_file: Path | None, markdown_file: Path | None
) -> None:
    from llmhash.evaluation import markdown, print_report, to_csv, to_json

    print_report(report, stdout)
    for path, render in ((json_file, to_json), (csv_file, to_csv), (markdown_file, markdown)):
        if path is not None:
            path.write_text(render(report), encoding="utf-8")
            stdout.print(f"wrote {path}", highlight=False)
