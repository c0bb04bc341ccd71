from __future__ import annotations

import subprocess
import sys


def test_importing_evaluation_loads_nothing_heavy():
    code = (
        "import sys, llmhash.evaluation, llmhash.metrics\n"
        "print(*({'torch', 'faiss', 'numba', 'transformers', 'pytrec_eval'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
