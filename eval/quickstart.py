"""Run the README's first commands, in order, in an empty folder: what the README says is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECTIONS = ("Quickstart", "For the scan alone", "Without training")
README = Path(__file__).resolve().parent.parent / "README.md"


def blocks(section: str) -> list[tuple[str, str]]:
    """(language, code) of each fenced block of a README section."""
    text = README.read_text(encoding="utf-8")
    body = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    if body is None:
        sys.exit(f"README.md has no section {section!r}")
    return re.findall(r"^```(\w+)\n(.*?)^```", body[1], flags=re.MULTILINE | re.DOTALL)


def main() -> None:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LLMHASH_CACHE": os.environ.get("LLMHASH_CACHE", f"{folder}/cache")}
        for language, code in (block for section in SECTIONS for block in blocks(section)):
            if language == "bash":
                # Long commands are shown as they stand in the README.
                subprocess.run(["bash", "-euvc", code], cwd=folder, env=environment, check=True)
            elif language == "python":
                print(code, flush=True)
                subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)
    print(f"quickstart finished in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
