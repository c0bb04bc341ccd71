"""How long distilling takes on embeddings at hand: start, mining, training, codebook and validation.

python eval/bench/distill.py --vectors embeddings.npy --documents 100000 --bits 64

The vectors' first rows are the corpus; as many pseudo-queries as the recipe takes are other vectors, or, with
`--queries`, those of a file.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from llmhash.corpora import read_vectors
from llmhash.heads import TrainingFeatures, fit_head
from llmhash.recipes import load_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--vectors", type=Path, required=True, help="float (n, d), .npy")
    parser.add_argument(
        "--queries", type=Path, help="float (m, d), .npy; by default vectors beyond the corpus"
    )
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--bits", type=int, default=64)
    asked = parser.parse_args()

    recipe = load_recipe("distill", bits=asked.bits)
    vectors = read_vectors(asked.vectors)
    documents = vectors[: asked.documents]
    others = vectors[asked.documents :] if asked.queries is None else read_vectors(asked.queries)
    queries = others[: recipe.pseudo_queries]
    features = TrainingFeatures(documents, queries if len(queries) else None)
    began = time.perf_counter()

    def progress(step: int, steps: int, message: str) -> None:
        if step == steps:
            print(f"{time.perf_counter() - began:7.1f} s  {message}", flush=True)

    head = fit_head("distill", features, asked.bits, options=recipe.options, progress=progress)
    given = f"{len(documents):,} documents, {len(queries):,} queries, {asked.bits} bits"
    print(f"{time.perf_counter() - began:7.1f} s in all: {given}, codebook: {head.codebook is not None}")
    began = time.perf_counter()
    head.document_codes(np.ascontiguousarray(documents))
    print(f"{time.perf_counter() - began:7.1f} s for the codes of all documents")


if __name__ == "__main__":
    main()
