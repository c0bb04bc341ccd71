"""`llmhash recipe`: the methods that llmhash ships, as YAML."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from llmhash.cli.console import print_json, stdout
from llmhash.errors import InputError

app = typer.Typer(
    help="The methods that llmhash ships, as YAML files to read and to copy.", no_args_is_help=True
)


@app.command("ls")
def list_recipes(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the shipped recipes."""
    from llmhash.recipes import load_recipe, recipe_names

    recipes = [load_recipe(name) for name in recipe_names()]
    if as_json:
        print_json([{"name": r.name, "head": r.head, "description": r.description} for r in recipes])
        return
    width = max(len(entry.name) for entry in recipes)
    for entry in recipes:
        stdout.print(f"[bold]{entry.name:{width}}[/] {entry.description}", highlight=False)


@app.command()
def show(name: str) -> None:
    """Print a recipe."""
    from llmhash.recipes import recipe_path

    stdout.out(recipe_path(name).read_text(encoding="utf-8"), highlight=False, end="")


@app.command("cp")
def copy(name: str, target: Path) -> None:
    """Copy a recipe to a file of your own, to change and to `llmhash train`."""
    from llmhash.recipes import recipe_path

    if target.exists():
        raise InputError(f"{target} exists; choose another name.")
    shutil.copyfile(recipe_path(name), target)
    stdout.print(f"copied {name} to {target}", highlight=False)
