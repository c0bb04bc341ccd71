"""`llmhash cache`: the features kept on disk."""

from __future__ import annotations

import typer

from llmhash.cli.console import print_json, stdout

app = typer.Typer(help="The features kept on disk, so that no text is encoded twice.", no_args_is_help=True)


@app.command()
def info() -> None:
    """Where the cache is, how much it holds and how much it may hold (LLMHASH_CACHE, LLMHASH_CACHE_SIZE)."""
    from llmhash.encoders import FeatureCache

    print_json(FeatureCache().info())


@app.command()
def clear() -> None:
    """Remove all cached features."""
    from llmhash.encoders import FeatureCache

    stdout.print(f"removed {FeatureCache().clear():,} cached features", highlight=False)
