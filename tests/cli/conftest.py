from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from llmhash.cli import main


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch, capsys, tmp_path) -> Callable[..., Result]:
    """Run a command line in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LLMHASH_CACHE", str(tmp_path / "cache"))

    def run(*arguments: object) -> Result:
        monkeypatch.setattr("sys.argv", ["llmhash", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run
