"""`llmhash index`: collections on disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from llmhash.cli.console import note, print_json, stdout
from llmhash.cli.options import CorpusPath, Device, Embeddings
from llmhash.errors import InputError

app = typer.Typer(
    help="Collections: codes, texts and metadata on disk, ready to search.", no_args_is_help=True
)


@app.command()
def create(
    collection: Path,
    hasher: Annotated[Path, typer.Option("--hasher", help="Folder of the hasher.")],
    corpus: CorpusPath = None,
    embeddings: Embeddings = None,
    engine: Annotated[
        Literal["auto", "flat", "usearch"], typer.Option(help="auto takes the exact flat scan.")
    ] = "auto",
    sidecar: Annotated[
        Literal["int8", "float16"] | None, typer.Option(help="Keep vectors too, for rescoring.")
    ] = None,
    device: Device = None,
) -> None:
    """Make a collection of a corpus. With an approximate engine, its recall against exact is printed."""
    from llmhash.hasher import Hasher
    from llmhash.retriever import Retriever

    inputs = _inputs(corpus, embeddings)
    model = Hasher.load(hasher, device=device)
    with Retriever.create(collection, model, engine=engine, sidecar=sidecar) as retriever:
        try:
            _add(retriever, inputs)
        except InputError:
            # Nothing was added: leave no empty collection in the way of a second try.
            if len(retriever.collection) == 0:
                retriever.collection.close()
                shutil.rmtree(collection)
            raise
        if engine == "usearch":
            recall = retriever.collection.engine_recall(k=10)
            note(f"recall@10 of {engine} against the exact scan: {recall:.3f}")


@app.command()
def add(
    collection: Path,
    corpus: CorpusPath = None,
    embeddings: Embeddings = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out known ids: resumes an interrupted add.")
    ] = False,
    device: Device = None,
) -> None:
    """Add documents to a collection."""
    from llmhash.retriever import Retriever

    inputs = _inputs(corpus, embeddings)
    with Retriever.open(collection, device=device) as retriever:
        _add(retriever, {**inputs, "skip_existing": skip_existing})


@app.command()
def info(collection: Path) -> None:
    """What a collection holds, as JSON."""
    from llmhash.collection import Collection

    with Collection.open(collection) as opened:
        print_json(opened.info())


def _inputs(corpus: Path | None, embeddings: Path | None) -> dict[str, Any]:
    """What `Retriever.add` takes, from a corpus, from vectors, or from vectors and the texts they embed."""
    from llmhash.corpora import read_corpus, read_vectors

    if corpus is None and embeddings is None:
        raise InputError("give --corpus PATH (texts), --embeddings FILE (vectors), or both.")
    documents = None if corpus is None else read_corpus(corpus)
    inputs: dict[str, Any] = {}
    if documents is not None:
        inputs = {"texts": documents.texts, "ids": documents.ids, "metadata": documents.metadata}
    if embeddings is not None:
        inputs["vectors"] = read_vectors(embeddings)
        if documents is not None and len(documents) != len(inputs["vectors"]):
            raise InputError(
                f"{corpus} holds {len(documents)} documents, {embeddings} {len(inputs['vectors'])} vectors."
            )
    return inputs


def _add(retriever: Any, inputs: dict[str, Any]) -> None:
    ids = retriever.add(**inputs, progress=True)
    stdout.print(
        f"added {len(ids):,} documents; {retriever.collection.path} holds {len(retriever.collection):,}",
        highlight=False,
    )
