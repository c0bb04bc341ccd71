"""`llmhash distill`, `fit` and `train`: make a hasher. All three run a recipe."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

from llmhash.cli.console import note, stdout, training_progress
from llmhash.cli.fit_labels import LabelSource, fit_on_labels
from llmhash.cli.options import (
    Backend,
    Bits,
    CorpusPath,
    Device,
    Dtype,
    Embeddings,
    QueryEmbeddings,
    Seed,
)
from llmhash.errors import InputError
from llmhash.recipes import Recipe, load_recipe, with_options

if TYPE_CHECKING:
    from llmhash.corpora import Documents
    from llmhash.encoders.base import Encoder
    from llmhash.hasher import Hasher

_Teacher = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        "--encoder",
        help="In place of the recipe's encoder: an alias (see `llmhash teachers`), a hub id, a local folder, "
        "or tfidf for the words alone.",
    ),
]
_Components = Annotated[
    int | None,
    typer.Option("--components", help="Of the encoder tfidf: dimensions of latent semantic analysis."),
]
_Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Label set in place of a corpus: a folder, a .csv or .jsonl file, hub:OWNER/NAME, or a known "
        "set's name. Its validation documents tell when to stop; its labels are not learned from unless the "
        "recipe says so.",
    ),
]
_Protocol = Annotated[
    Literal["official", "survey"],
    typer.Option("--protocol", help="Of the label set: its own split, or pooled and cut 8:1:1."),
]
_SplitSeed = Annotated[
    int, typer.Option("--split-seed", help="Of the label set's split, as `eval label --seed`.")
]
_Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="Folder for a network's log and checkpoints; an interrupted run goes on from there.",
    ),
]
_Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder to write; by default TEACHER-METHOD-BITS.")
]
_Dataset = Annotated[str | None, typer.Option("--dataset", help="A hub data set with a field `text`.")]
_Queries = Annotated[
    Path | None, typer.Option("--queries", help="Real training queries, .jsonl[.gz] or .txt[.gz].")
]
_QuerySplit = Annotated[
    str | None, typer.Option("--query-split", help="Train on the queries of this split of a BEIR folder.")
]
_PseudoQueries = Annotated[
    int | None, typer.Option("--pseudo-queries", help="How many to cut from the corpus at most.")
]
_Budget = Annotated[
    str, typer.Option("--budget", help="Time for a corpus of the hub, which is sized by it: 90s, 10m, 2h.")
]


# Heads that are trained on any device.
_NETWORKS = ("network", "tokens")


@dataclasses.dataclass(frozen=True)
class Sources:
    """What the user named to learn from."""

    corpus: Path | None
    dataset: str | None
    embeddings: Path | None
    query_embeddings: Path | None
    queries: Path | None
    query_split: str | None
    budget: str
    labels: LabelSource | None = None

    def __post_init__(self) -> None:
        named = [self.corpus, self.dataset, self.embeddings, self.labels]
        if sum(source is not None for source in named) > 1:
            raise InputError("give one of --corpus, --dataset, --embeddings and --data.")
        if self.labels is not None and (self.queries or self.query_split):
            raise InputError("training queries go with --corpus, not with a label set.")
        if self.query_embeddings is not None and self.embeddings is None:
            raise InputError("--query-embeddings goes with --embeddings.")
        if self.query_split is not None and self.corpus is None:
            raise InputError("--query-split names a split of the BEIR folder given as --corpus.")
        if self.embeddings is not None and (self.queries or self.query_split):
            raise InputError("with --embeddings, give training queries as --query-embeddings.")

    def documents(self, teacher: str, encoder: Encoder | None) -> Documents:
        """The corpus; one of the hub is sized by the encoder's speed."""
        from llmhash.cli import headline
        from llmhash.corpora import read_corpus

        if self.corpus is not None:
            return read_corpus(self.corpus)
        if encoder is None:
            raise InputError("words are fitted on the corpus: give it as --corpus or --data.")
        if self.dataset is not None:
            seconds = headline.parse_duration(self.budget)
            return headline.sized_hub_corpus(self.dataset, encoder, seconds)
        return headline.default_corpus(teacher, encoder, self.budget)

    def training_queries(self) -> list[str] | None:
        """The real queries that the user named."""
        from llmhash.corpora import read_training_queries, read_training_split

        texts: list[str] = []
        if self.queries is not None:
            texts += read_training_queries(self.queries, self.corpus)
        if self.query_split is not None and self.corpus is not None:
            texts += read_training_split(self.corpus, self.query_split)
        return texts or None


def make_hasher(
    name: str,
    teacher: _Teacher = None,
    bits: Bits = None,
    corpus: CorpusPath = None,
    data: _Data = None,
    protocol: _Protocol = "official",
    output: _Output = None,
    dataset: _Dataset = None,
    embeddings: Embeddings = None,
    query_embeddings: QueryEmbeddings = None,
    queries: _Queries = None,
    query_split: _QuerySplit = None,
    pseudo_queries: _PseudoQueries = None,
    budget: _Budget = "10m",
    seed: Seed = None,
    split_seed: _SplitSeed = 0,
    checkpoint: _Checkpoint = None,
    components: _Components = None,
    device: Device = None,
    backend: Backend = None,
    dtype: Dtype = None,
) -> None:
    """Fit the recipe of the name `name`, measure what it keeps, and save it."""
    labels = None if data is None else LabelSource(data, protocol, split_seed)
    sources = Sources(corpus, dataset, embeddings, query_embeddings, queries, query_split, budget, labels)
    recipe = load_recipe(name, bits=bits, seed=seed, pseudo_queries=pseudo_queries)
    if checkpoint is not None:
        if recipe.head not in _NETWORKS:
            raise InputError(f"the recipe {recipe.name} leaves no checkpoints: its head is no network.")
        recipe = with_options(recipe, {"checkpoint": str(checkpoint)})
    if device is not None and recipe.head in _NETWORKS:  # they are trained where the encoder runs
        recipe = with_options(recipe, {"device": device})
    given: dict[str, Any] = {"device": device, "backend": backend, "dtype": dtype}
    given.update(name=teacher, components=components)
    said = {key: value for key, value in given.items() if value is not None}
    _make(recipe.with_encoder(**said), sources, output)


def _command(name: Any, default: Any, documentation: str) -> Callable[..., None]:
    """`make_hasher` as a command whose recipe's name is fixed (`name` a string) or comes from the user.

    The three commands differ in that alone, so their options are said once.
    """
    signature = inspect.signature(make_hasher, eval_str=True)
    parameters = list(signature.parameters.values())[1:]
    if not isinstance(name, str):
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.insert(0, inspect.Parameter("name", kind, default=default, annotation=name))

    def command(**settings: Any) -> None:
        make_hasher(**{"name": name, **settings})

    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    command.__signature__ = signature.replace(parameters=keywords)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in keywords}
    command.__doc__ = documentation
    return command


distill = _command(
    "distill",
    None,
    """Train a hasher whose codes rank documents as the teacher does. No labels are needed.

    Without a corpus, a public one is read from the hub; offline, the Python manual that every interpreter
    carries takes its place.
    """,
)
fit = _command(
    Annotated[
        str, typer.Option("--head", help="sign, median, lsh, pca, itq, rca, spectral, sth, scan or distill.")
    ],
    "itq",
    """Fit a hasher with the head of that name.""",
)
train = _command(
    Annotated[
        str, typer.Argument(metavar="RECIPE", help="A shipped recipe (`llmhash recipe ls`) or a file.")
    ],
    inspect.Parameter.empty,
    """Make a hasher by a recipe: one that llmhash ships, or a YAML file of your own.""",
)


def _make(recipe: Recipe, sources: Sources, output: Path | None) -> None:
    """Fit, measure what can be measured without test data, save, and say so."""
    from llmhash.hasher_files import refuse_foreign_folder

    teacher = "vectors" if sources.embeddings is not None else recipe.encoder.name
    target = output or Path(f"{Path(teacher).name}-{recipe.name}-{recipe.bits}")
    refuse_foreign_folder(target)  # before the long work, not after it
    if sources.labels is not None:
        hasher = fit_on_labels(recipe, sources.labels)
    else:
        hasher = _fit_on_corpus(recipe, sources)
        _measure(hasher)
    hasher.save(target)
    stdout.print(f"saved {target} (fingerprint {hasher.fingerprint})", highlight=False)


def _fit_on_corpus(recipe: Recipe, sources: Sources) -> Hasher:
    from llmhash.hasher import Hasher

    corpus: Any
    queries: Any
    encoder = None
    if sources.embeddings is not None:
        from llmhash.corpora import read_vectors

        corpus = read_vectors(sources.embeddings)
        queries = None if sources.query_embeddings is None else read_vectors(sources.query_embeddings)
    else:
        teacher = recipe.encoder.name
        queries = sources.training_queries()
        if not recipe.fits_encoder:
            encoder = recipe.open_encoder()
        corpus = sources.documents(teacher, encoder)
        note(f"{recipe.name}: {recipe.bits} bits of {teacher} on {len(corpus):,} documents")
    with training_progress(recipe.name) as progress:
        return Hasher.from_recipe(
            recipe, corpus, teacher=encoder, queries=queries, show_progress=True, progress=progress
        )


def _measure(hasher: Hasher) -> None:
    """What the hasher keeps of its teacher's floats on pseudo-queries that it was not fitted on."""
    held_out = hasher.held_out
    # Words and tokens are no embeddings that a ranking could be kept of.
    if held_out is None or hasher.features is None or not isinstance(held_out.queries, np.ndarray):
        return
    if not len(held_out.queries):
        return
    from llmhash.evaluation import held_out_report, print_report

    report = held_out_report(
        hasher.head,
        hasher.features.documents,
        held_out,
        name=hasher.recipe["name"],
        teacher=hasher.encoder.name if hasher.encoder else "vectors",
    )
    hasher.measurements = [
        {"data": report["data"], "split": report["split"], **row} for row in report["rows"]
    ]
    print_report(report, stdout)
