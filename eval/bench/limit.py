"""The flat scan's share of the limit: beside a bare popcount loop, with AVX-512 and without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flat import Comparison
from llvmlite import binding

#: The runs of `flat.py` that the issue of speed rests on.
STANDARD_RUNS = (
    Comparison(codes=1_000_000, bits=64, queries=200, k=100, repeats=7),
    Comparison(codes=1_000_000, bits=128, queries=200, k=100, repeats=5),
    Comparison(codes=1_000_000, bits=256, queries=200, k=100, repeats=5),
    Comparison(codes=10_000_000, bits=64, queries=200, k=100, repeats=3),
)
QUICK_RUNS = (Comparison(codes=200_000, bits=64, queries=64, k=100, repeats=3),)


def name_of(what: Comparison, threads: int) -> str:
    """What a run's record is called."""
    return f"{what.bits}/{what.codes}/threads={threads}"


def without_avx512(what: Comparison, threads: int) -> dict[str, Any]:
    """Run a comparison in a process of its own in which neither numba nor FAISS uses AVX-512.

    Raises:
        SystemExit: It used it all the same.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = {
            "codes": what.codes,
            "bits": what.bits,
            "queries": what.queries,
            "k": what.k,
            "repeats": what.repeats,
            "seed": what.seed,
            "threads": threads,
            "json": report,
        }
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        environment = {
            **os.environ,
            "NUMBA_CPU_FEATURES": ",".join(_features()),
            "NUMBA_CACHE_DIR": folder,  # Kernels kept with AVX-512 must not be found.
            "FAISS_SIMD_LEVEL": "AVX2",
        }
        script = Path(__file__).with_name("flat.py")
        subprocess.run([sys.executable, script, *words], env=environment, check=True, capture_output=True)
        run: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))["runs"][0]
    if run["avx512"]:
        raise SystemExit("AVX-512 could not be turned off.")
    return run


def _features() -> Iterator[str]:
    """The processor's features as LLVM takes them, those of AVX-512 turned off."""
    for name, there in sorted(binding.get_host_cpu_features().items()):
        yield f"{'+' if there and not name.startswith('avx512') else '-'}{name}"
