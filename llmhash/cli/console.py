"""What the commands print on: results to standard output, progress and errors to standard error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

stdout = Console()
stderr = Console(stderr=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output, without colours or wrapping."""
    stdout.out(json.dumps(value, indent=2, ensure_ascii=False), highlight=False)


def note(message: str) -> None:
    """A line about what happens, on standard error."""
    stderr.print(message, highlight=False, soft_wrap=True)


@contextmanager
def training_progress(description: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar for a training head, as the callback (step, steps, message) that it wants."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=stderr, transient=True) as bar:
        task = bar.add_task(description, total=None)

        def report(step: int, steps: int, message: str) -> None:
            bar.update(task, completed=step, total=steps, description=f"{description} {message}".strip())

        yield report
