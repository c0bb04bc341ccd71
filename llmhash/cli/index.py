"""`llmhash index`: collections on disk."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from llmhash.cli.console import note, print_json, stdout, training_progress
from llmhash.cli.options import CorpusPath, Device, Embeddings, Where, parsed_where
from llmhash.collection.manifest import Engine
from llmhash.errors import InputError

if TYPE_CHECKING:
    from llmhash.hasher import Hasher

# The hasher that a collection is made with where none is named.
_GENERAL, _GENERAL_BITS = "minilm", 128

app = typer.Typer(
    help="Collections: codes, texts and metadata on disk, ready to search.", no_args_is_help=True
)


@app.command()
def create(
    collection: Path,
    hasher: Annotated[
        str | None,
        typer.Option(
            "--hasher", help="Folder, hub id or shipped name; by default the general one that is shipped."
        ),
    ] = None,
    bits: Annotated[
        int | None, typer.Option("--bits", help="Of a nested hasher, as the general one: 32, 64, 128 or 256.")
    ] = None,
    corpus: CorpusPath = None,
    embeddings: Embeddings = None,
    engine: Annotated[
        Engine,
        typer.Option(help="auto, flat and mih are exact; auto takes tables (mih) where they pay."),
    ] = "auto",
    field: Annotated[
        list[str] | None, typer.Option("--field", help="Metadata field to filter on; give it once a field.")
    ] = None,
    sidecar: Annotated[
        Literal["int8", "float16"] | None, typer.Option(help="Keep vectors too, for rescoring.")
    ] = None,
    device: Device = None,
) -> None:
    """Make a collection of a corpus. With an approximate engine, its recall against exact is printed.

    Without a hasher it takes the general one that llmhash ships, adapted to the corpus; nothing is trained.
    Documents that come later gain less of that: where they outnumber the first ones, make a new collection.
    """
    from llmhash.retriever import Retriever

    if hasher is None and embeddings is not None:
        raise InputError(
            "the general hasher knows its own teacher's vectors only: give --hasher with --embeddings "
            f"(--hasher {_GENERAL} if they are {_GENERAL}'s)."
        )
    inputs = _inputs(corpus, embeddings)
    model = _general(inputs["texts"], bits, device) if hasher is None else _named(hasher, bits, device)
    with Retriever.create(collection, model, engine=engine, sidecar=sidecar, fields=field or ()) as retriever:
        try:
            _add(retriever, inputs)
        except InputError:
            # Nothing was added: leave no empty collection in the way of a second try.
            if len(retriever.collection) == 0:
                retriever.collection.close()
                shutil.rmtree(collection)
            raise
        if not retriever.collection.exact:
            measured = retriever.collection.engine_recall(k=10)
            note(f"recall@10 of {engine} against the exact scan: {measured:.3f}")


@app.command()
def add(
    collection: Path,
    corpus: CorpusPath = None,
    embeddings: Embeddings = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out known ids: resumes an interrupted add.")
    ] = False,
    upsert: Annotated[
        bool, typer.Option("--upsert", help="Put documents in the place of those that have their ids.")
    ] = False,
    device: Device = None,
) -> None:
    """Add documents to a collection."""
    from llmhash.retriever import Retriever

    if skip_existing and upsert:
        raise InputError("give --skip-existing or --upsert, not both.")
    inputs = _inputs(corpus, embeddings)
    with Retriever.open(collection, device=device) as retriever:
        if not upsert:
            _add(retriever, {**inputs, "skip_existing": skip_existing})
            return
        if "ids" not in inputs:
            raise InputError("--upsert goes by the documents' ids: give --corpus.")
        ids = retriever.upsert(**inputs, progress=True)
        retriever.collection.build_engine()
        _say(f"put {len(ids):,} documents in place; {collection} holds {len(retriever):,}")


@app.command()
def delete(
    collection: Path,
    identifier: Annotated[
        list[str] | None, typer.Option("--id", help="A document's id; give it once a document.")
    ] = None,
    where: Where = None,
) -> None:
    """Delete documents by their ids or by a filter. Their space comes back with `compact`."""
    from llmhash.collection import Collection

    with Collection.open(collection) as opened:
        count = opened.delete(identifier or None, where=parsed_where(where))
        _say(f"deleted {count:,} documents; {collection} holds {len(opened):,}")


@app.command()
def compact(collection: Path) -> None:
    """Give the space of deleted documents back. Searches in other processes go on meanwhile."""
    from llmhash.collection import Collection

    with Collection.open(collection) as opened:
        before = opened.info()["bytes_on_disk"]["total"]
        opened.compact()
        after = opened.info()["bytes_on_disk"]["total"]
        _say(f"{collection} takes {after:,} bytes, {before - after:,} fewer than before")


@app.command()
def verify(collection: Path) -> None:
    """Read everything and hold it against its checksums and counters."""
    from llmhash.collection import Collection

    with Collection.open(collection, readonly=True) as opened:
        opened.verify()
        _say(f"{collection} is whole: {len(opened):,} documents")


@app.command()
def backup(
    collection: Path, target: Annotated[Path, typer.Argument(help="A folder to make, or an empty one.")]
) -> None:
    """Copy a collection as of one moment, while others may read and write it."""
    from llmhash.collection import Collection

    with Collection.open(collection, readonly=True) as opened:
        opened.backup(target)
    _say(f"{target} is a copy of {collection}")


@app.command()
def recall(
    collection: Path,
    engine: Annotated[
        Engine | None, typer.Option(help="The engine to measure; by default the collection's own.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Neighbours a query.")] = 10,
    codes: Annotated[
        Path | None, typer.Option(help="Query codes (`llmhash encode --side query`); by default held codes.")
    ] = None,
) -> None:
    """The share of the exact nearest that an engine finds, over the collection's own codes."""
    from llmhash.codes import Codes
    from llmhash.collection import Collection

    with Collection.open(collection, readonly=True) as opened:
        queries = None if codes is None else Codes.load(codes)
        measured = opened.engine_recall(queries, k, engine=engine)
        _say(f"recall@{k} of {engine or opened.engine} against the exact scan: {measured:.3f}")


@app.command()
def info(collection: Path) -> None:
    """What a collection holds, as JSON."""
    from llmhash.cli.info import collection_info
    from llmhash.collection import Collection

    with Collection.open(collection, readonly=True) as opened:
        print_json(collection_info(opened))


def _named(source: str, bits: int | None, device: str | None) -> Hasher:
    """The hasher of that name; cut to `bits` where they are given."""
    from llmhash.hasher import Hasher

    hasher = Hasher.load(source, device=device)
    return hasher if bits is None else hasher.truncated(bits)


def _general(texts: Sequence[str], bits: int | None, device: str | None) -> Hasher:
    """The general hasher, adapted to the texts."""
    from llmhash.hasher import Hasher

    general = Hasher.pretrained(_GENERAL, bits=bits or _GENERAL_BITS, device=device)
    with training_progress("adapting") as progress:
        hasher = general.adapted(texts, show_progress=True, progress=progress)
    fitted = "as it is, for so few documents" if hasher is general else "adapted to these documents"
    note(
        f"taking the general {hasher.bits}-bit hasher for {_GENERAL}, {fitted} and not trained on them; one "
        f"distilled on them (`llmhash distill --teacher {_GENERAL} --corpus ...`) ranks better"
    )
    return hasher


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
    retriever.collection.build_engine()
    _say(f"added {len(ids):,} documents; {retriever.collection.path} holds {len(retriever.collection):,}")


def _say(line: str) -> None:
    stdout.print(line, highlight=False, soft_wrap=True, markup=False)
