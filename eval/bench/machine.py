"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "llmhash",
    "numpy",
    "numba",
    "usearch",
    "faiss-cpu",
    "annoy",
    "nmslib",
    "sentence-transformers",
)
_CPU = Path("/sys/devices/system/cpu/cpu0/cache")


def describe_machine() -> dict[str, Any]:
    """The processor, its caches (by core) and what matters of its instructions; the memory; the versions."""
    features = _cpu_field("flags").split()
    return {
        "processor": _cpu_field("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "caches": _caches(),
        "avx512": sorted(name for name in features if name.startswith("avx512")),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name)) is not None},
    }


def command() -> str:
    """The command line of this process, with the script's path as from the repository's root."""
    script = Path(sys.argv[0]).resolve()
    parts = script.parts[-3:] if script.parts[-3:-1] == ("eval", "bench") else script.parts[-1:]
    return " ".join(["python", "/".join(parts), *(_short(argument) for argument in sys.argv[1:])])


def _short(argument: str) -> str:
    """An argument without the folders of an absolute path: they mean nothing elsewhere."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def _cpu_field(name: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _caches() -> dict[str, str]:
    caches = {}
    for folder in sorted(_CPU.glob("index*")):
        level, kind, size = ((folder / part).read_text().strip() for part in ("level", "type", "size"))
        caches[f"L{level}{'' if kind == 'Unified' else ' ' + kind.lower()}"] = size
    return caches


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf"):
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
