"""`llmhash teachers`: the models that have a short name."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from llmhash.cli.console import print_json, stdout


def teachers(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the teachers that have a short name; any hub id or local folder works too."""
    from rich.table import Table

    from llmhash.encoders import TEACHERS

    if as_json:
        print_json([asdict(teacher) for teacher in TEACHERS.values()])
        return
    table = Table(box=None, header_style="bold")
    for heading in (
        "alias",
        "model",
        "dimension",
        "tokens",
        "licence",
        "query prompt",
        "document prompt",
        "note",
    ):
        table.add_column(heading, overflow="fold")
    for teacher in TEACHERS.values():
        table.add_row(
            teacher.alias,
            teacher.model,
            str(teacher.dim),
            str(teacher.max_tokens),
            teacher.licence,
            repr(teacher.query_prompt) if teacher.query_prompt else "",
            repr(teacher.document_prompt) if teacher.document_prompt else "",
            teacher.note,
        )
    stdout.print(table)
