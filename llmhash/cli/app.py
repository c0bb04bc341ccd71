"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from llmhash.cli import cache, encode, evaluate, export, fit, index, info, probe, recipe, search, teachers

app = typer.Typer(
    name="llmhash",
    help="Compact binary hash codes from text embeddings, and retrieval over them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        import llmhash

        typer.echo(f"llmhash {llmhash.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Compact binary hash codes from text embeddings, and retrieval over them."""


app.command("distill")(fit.distill)
app.command("fit")(fit.fit)
app.command("train")(fit.train)
app.command("probe")(probe.probe)
app.command("encode")(encode.encode)
app.add_typer(index.app, name="index")
app.command("search")(search.search)
app.add_typer(evaluate.app, name="eval")
app.add_typer(recipe.app, name="recipe")
app.command("export")(export.export)
app.command("teachers")(teachers.teachers)
app.add_typer(cache.app, name="cache")
app.command("info")(info.info)
