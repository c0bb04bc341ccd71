"""`llmhash search`: questions to hits."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from llmhash.cli.console import print_json, stdout
from llmhash.cli.options import Device, Where, parsed_where
from llmhash.errors import InputError

if TYPE_CHECKING:
    from llmhash.retriever import Hit


def search(
    collection: Path,
    query: Annotated[str | None, typer.Argument(help="The question.")] = None,
    k: Annotated[int, typer.Option("-k", help="Hits a question.")] = 10,
    scoring: Annotated[
        Literal["hamming", "asymmetric", "asymmetric_scan", "int8", "float16"] | None,
        typer.Option(help="By default asymmetric, over all codes."),
    ] = None,
    candidates: Annotated[int | None, typer.Option(help="Candidates that are rescored.")] = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="One question a line; the model loads once.")
    ] = False,
    codes: Annotated[
        Path | None, typer.Option(help="Ready query codes (`llmhash encode --side query`).")
    ] = None,
    where: Where = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: a list of hits, or one object a line.")
    ] = False,
    device: Device = None,
) -> None:
    """Search a collection: give a question, --stdin, or --codes."""
    if sum((query is not None, stdin, codes is not None)) != 1:
        raise InputError("give one of: a question, --stdin, or --codes FILE.")
    wanted = parsed_where(where)
    if codes is not None:
        _search_codes(collection, codes, k, wanted)
        return
    from llmhash.retriever import Retriever

    with Retriever.open(collection, device=device) as retriever:
        for question in (line.strip() for line in sys.stdin) if stdin else (query or "",):
            if stdin and not question:
                continue
            hits = retriever.search(question, k, scoring=scoring, candidates=candidates, where=wanted)
            if stdin and as_json:
                line = {"query": question, "hits": [asdict(hit) for hit in hits]}
                stdout.out(json.dumps(line, ensure_ascii=False), highlight=False)
            elif as_json:
                print_json([asdict(hit) for hit in hits])
            else:
                _print_hits(question, hits)


def _print_hits(question: str, hits: list[Hit]) -> None:
    from rich.markup import escape

    stdout.print(f"[bold]{escape(question)}[/]", highlight=False)
    for rank, hit in enumerate(hits, start=1):
        text = " ".join((hit.text or "").split())
        shown = text if len(text) <= 200 else text[:197] + "..."
        stdout.print(
            f"{rank:3}  {hit.score:6.3f}  [cyan]{escape(hit.id)}[/]  {escape(shown)}",
            highlight=False,
            soft_wrap=True,
        )


def _search_codes(collection: Path, codes: Path, k: int, where: dict[str, Any] | None) -> None:
    """One JSON line a code: ids and Hamming distances. Neither torch nor the model is loaded."""
    from llmhash.codes import Codes, describe_codes
    from llmhash.collection import Collection
    from llmhash.hasher_files import COPY_FOLDER, is_hasher, read_config

    with Collection.open(collection) as opened:
        maker = describe_codes(codes).get("hasher")
        if maker not in (None, opened.hasher_fingerprint):
            raise InputError(
                f"{codes} was made by another hasher ({maker}) than {collection} "
                f"({opened.hasher_fingerprint}); encode the queries with the collection's own."
            )
        folder = opened.path / COPY_FOLDER
        if is_hasher(folder) and read_config(folder).get("codebook") == "scan":
            raise InputError(
                f"codes of the hasher of {collection} are for the asymmetric scan alone, and --codes "
                "searches by Hamming distance: give the question's text."
            )
        distances, rows = opened.search(Codes.load(codes), k, where=where)
        for query_distances, query_rows in zip(distances, rows, strict=True):
            found = query_rows[query_rows >= 0]
            ids = [record.id for record in opened.records(found)]
            line = {"ids": ids, "distances": query_distances[: len(ids)].tolist()}
            stdout.out(json.dumps(line, ensure_ascii=False), highlight=False)
