"""The command line. Each command is a file; heavy imports happen inside the commands."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; a known error prints its one sentence and exits with status 1."""
    from llmhash.cli.app import app
    from llmhash.cli.console import stderr
    from llmhash.errors import LlmhashError

    try:
        app()
    except LlmhashError as error:
        stderr.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        stderr.print("interrupted; what was encoded so far is cached, so the same command resumes.")
        sys.exit(130)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
