"""The option `--heads`: recipes that are fitted side by side on one teacher's embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmhash.cli.options import listed
from llmhash.errors import InputError

if TYPE_CHECKING:
    from llmhash.recipes import Recipe


def recipes_by_head(heads: str, pseudo_queries: int | None = None) -> dict[str, Recipe]:
    """The recipes that `--heads` names, by commas, by the heads that they fit.

    Args:
        heads: The option's value.
        pseudo_queries: Replaces the recipes' number.

    Raises:
        InputError: One is unknown, needs more than embeddings, or fits the head of another.
    """
    from llmhash.recipes import load_recipe

    found: dict[str, Recipe] = {}
    for recipe in (load_recipe(name, pseudo_queries=pseudo_queries) for name in listed(heads)):
        more = sorted(recipe.needs - {"pairs"})
        if more:
            raise InputError(
                f"--heads are fitted on the teacher's embeddings, and the recipe {recipe.name} needs "
                f"{' and '.join(more)}; fit it by itself (llmhash train {recipe.name})."
            )
        if found.setdefault(recipe.head, recipe) is not recipe:
            raise InputError(f"two of --heads fit the head {recipe.head!r}; measure them in two runs.")
    return found
