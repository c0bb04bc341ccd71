"""Retention under noise: how codes and their teacher take typos, dropped words and abbreviations in queries.

Heads are fitted on each set's corpus: distill as its recipe says, and once more for every share of noisy
training queries. Or one hasher is measured as it is.

    python eval/noise/run.py --data nfcorpus:dev lisa --bits 64 --denoise 0.5 --output noise
    python eval/noise/run.py --data nfcorpus:dev --hasher my-hasher --output noise

Writes DATA-SPLIT.json, one report a set (see `llmhash.evaluation.noise`), and noise.md, the tables of all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from llmhash.corpora import RetrievalSet, read_retrieval_set
from llmhash.corpora.noise import NOISES
from llmhash.encoders.base import Encoder
from llmhash.errors import LlmhashError
from llmhash.evaluation import Report, to_json
from llmhash.evaluation.noise import RATES, noise_markdown, noise_report
from llmhash.features import training_features
from llmhash.hasher import Hasher
from llmhash.heads import fit_head
from llmhash.heads.affine import AffineHead
from llmhash.recipes import EncoderSettings, Recipe, load_recipe

HEADER = """\
# Retention under noise

nDCG@10 of corrupted queries ("rate" is the share of words touched, seed {seed}), with bootstrap intervals
over queries. "retention" is against the float teacher on the same noisy queries, "change" what it differs by
from the retention on clean queries (paired), "of clean" against the teacher on clean queries.
{heads}
"""
FITTED = """\
Heads are fitted on the corpus they are measured on, without queries or judgements; figures are means over
{seeds} seed(s). The number after a head's name is the share of its pseudo-queries that were corrupted."""


@dataclass(frozen=True)
class Fits:
    """What is fitted on each set.

    Attributes:
        bits: Widths.
        denoise: Shares of noisy training queries, each a head beside the one without.
        seeds: Fits of each head.
    """

    bits: Sequence[int]
    denoise: Sequence[float]
    seeds: int

    def heads(self, data: RetrievalSet, encoder: Encoder) -> dict[str, list[AffineHead]]:
        """All fits, by the head's name."""
        recipe = load_recipe("distill")
        heads: dict[str, list[AffineHead]] = {}
        for share in (0.0, *self.denoise):
            features, _ = training_features(
                encoder, data.documents, pseudo_queries=recipe.pseudo_queries, noise=share, progress=True
            )
            name = f"distill {share:g}" if share else "distill"
            heads[name] = [
                fit_head("distill", features, bits, seed=seed, options=recipe.options)
                for bits in self.bits
                for seed in range(self.seeds)
            ]
        return heads


def main() -> None:
    options = parsed()
    options.output.mkdir(parents=True, exist_ok=True)
    fits = Fits(options.bits, options.denoise, options.seeds)
    hasher = Hasher.load(options.hasher) if options.hasher else None
    encoder = hasher.encoder if hasher else opened(options)
    if encoder is None:
        raise SystemExit(f"{options.hasher} was made from vectors: it has no encoder for noisy texts.")
    sections = []
    for place in options.data:
        folder, _, split = place.partition(":")
        data = sampled(read_retrieval_set(folder, split or "test"), options.queries, options.seed)
        heads = {str(hasher.recipe["name"]): [hasher.head]} if hasher else fits.heads(data, encoder)
        seen = not hasher or hasher.has_seen(data.documents)
        report = noise_report(
            heads,
            data,
            encoder,
            trained_on="in-corpus" if seen else "general",
            kinds=options.kinds,
            rates=options.rates,
            # The head denoised last is the one compared with the others.
            focus=list(heads)[-1],
            seed=options.seed,
            progress=lambda line: CONSOLE.print(line, highlight=False),
        )
        write(report, options.output)
        sections.append(noise_markdown(report))
    about = "" if hasher else FITTED.format(seeds=options.seeds)
    header = HEADER.format(seed=options.seed, heads=about).strip() + "\n"
    page = "\n".join([header, *sections])
    (options.output / "noise.md").write_text(page, encoding="utf-8")
    CONSOLE.print(f"wrote {options.output}/noise.md", highlight=False)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, help="BEIR folders, FOLDER or FOLDER:SPLIT")
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--hasher", type=Path, help="measure this hasher and fit nothing")
    parser.add_argument("--teacher", default="minilm", help="of the fitted heads")
    parser.add_argument("--backend", default="torch", help="of the teacher: torch or openvino")
    parser.add_argument("--dtype", default="float32", help="of the teacher: float32 or bfloat16")
    parser.add_argument("--bits", type=int, nargs="+", default=[64])
    parser.add_argument(
        "--denoise", type=float, nargs="*", default=[], help="shares of training queries to corrupt"
    )
    parser.add_argument("--seeds", type=int, default=1, help="fits of each head")
    parser.add_argument("--kinds", nargs="+", default=list(NOISES), choices=NOISES)
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES))
    parser.add_argument("--queries", type=int, help="measure on a sample of this many queries at most")
    parser.add_argument("--seed", type=int, default=0, help="of the noise and of the sample")
    return parser.parse_args()


def opened(options: argparse.Namespace) -> Encoder:
    settings = EncoderSettings(name=options.teacher, backend=options.backend, dtype=options.dtype)
    return Recipe("noise", "distill", encoder=settings).open_encoder()


def sampled(data: RetrievalSet, count: int | None, seed: int) -> RetrievalSet:
    """The set with `count` of its queries, drawn at random, or all where it has no more."""
    if count is None or len(data.queries) <= count:
        return data
    rows = np.sort(np.random.default_rng(seed).choice(len(data.queries), count, replace=False))
    return replace(
        data,
        query_ids=[data.query_ids[row] for row in rows],
        queries=[data.queries[row] for row in rows],
        query_rows=[data.query_rows[row] for row in rows],
    )


def write(report: Report, folder: Path) -> None:
    path = folder / f"{report['data']}-{report['split']}.json"
    path.write_text(to_json(report), encoding="utf-8")


CONSOLE = Console(stderr=True)

if __name__ == "__main__":
    try:
        main()
    except LlmhashError as error:
        raise SystemExit(str(error)) from error
