"""The benchmark's figures in a JSON file that is up to date after every measurement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FORMAT = 1
Record = dict[str, Any]


class Results:
    """What has been measured: records of several kinds, each under a name.

    Attributes:
        kinds: By kind ("builds", "measurements", ...), the records by name.
    """

    def __init__(self, path: Path, about: Record) -> None:
        """Go on with the file's records, or begin anew where there is no file.

        Args:
            path: The file.
            about: What the run depends on; an earlier run's must be the same.

        Raises:
            SystemExit: The file is of another format, or of a run that differs.
        """
        self.path = path
        self.kinds: dict[str, Any] = {"format": FORMAT, "about": about, "commands": []}
        if path.exists():
            self.kinds = load(path)
            if self.kinds["about"] != about:
                raise SystemExit(
                    f"{path} holds a run with other settings or on another machine; choose another --output."
                )

    def get(self, kind: str, name: str) -> Record | None:
        """A record, or None where there is none yet."""
        record: Record | None = self.kinds.get(kind, {}).get(name)
        return record

    def put(self, kind: str, name: str, record: Record) -> None:
        """Keep a record; `save` writes it."""
        self.kinds.setdefault(kind, {})[name] = record

    def save(self) -> None:
        """Write the file, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(self.path.name + ".tmp")
        unfinished.write_text(json.dumps(self.kinds, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(self.path)


def load(path: Path) -> dict[str, Any]:
    """The records of a file.

    Raises:
        SystemExit: It is not such a file.
    """
    try:
        kinds: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path} cannot be read ({error}).") from error
    if not isinstance(kinds, dict) or kinds.get("format") != FORMAT:
        raise SystemExit(f"{path} does not hold results of this benchmark, format {FORMAT}.")
    return kinds
