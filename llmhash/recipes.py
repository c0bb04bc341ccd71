"""Recipes: YAML files that name an encoder, a head, its objectives and its training.

Every method is a recipe over shared parts; `distill` and `fit` are shorthands that end here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from llmhash.codes import check_bits
from llmhash.errors import InputError, suggest

if TYPE_CHECKING:
    from llmhash.encoders.base import Encoder
    from llmhash.encoders.tfidf import TfidfEncoder


#: The encoder that has no model: words and their weights, fitted on the corpus.
TFIDF = "tfidf"
#: Dimensions of latent semantic analysis, for heads that take no words.
COMPONENTS = 512
# Words that the recipes of the word methods take.
_PRESET = "survey"
# Settings of sentence embeddings, beside the name.
_SENTENCE_SETTINGS = (
    "backend", "dtype", "device", "batch_size", "max_length", "query_prompt", "document_prompt", "revision",
    "trust_remote_code",
)  # fmt: skip


@dataclass(frozen=True)
class EncoderSettings:
    """How the encoder is opened.

    Attributes:
        name: An alias (`llmhash teachers`), a hub id or a local folder.
        backend: "torch" or "openvino".
        dtype: Of the computation, "float32" or "bfloat16"; features are float32 always.
        device: "cpu", "cuda", ...; None takes the best at hand.
        batch_size: Texts in a batch.
        max_length: Tokens after which a text is cut; None takes the model's own limit.
        query_prompt: Put before each query; None takes the teacher's own.
        document_prompt: Put before each document; None takes the teacher's own.
        revision: Of the hub repository.
        trust_remote_code: Run code that the model's repository brings. Off unless the user turns it on.
        tokens: Give a row a token, for the head tokens.
        summary: With `tokens`, a whole text's vector: "cls" or "mean"; None takes the model's own.
        words_share: Share of the similarity that is the words', whose latent semantics are then joined to the
            embeddings (`llmhash.encoders.joined`); 0 joins none.
        preset: Of the words, joined or of the encoder called tfidf, which are fitted on the corpus: which.
        weights: Their weights: "tfidf", "counts" or "binary".
        components: Their dimensions of latent semantic analysis; None gives tfidf's words themselves, and 512
            dimensions of joined ones.
        max_features: Its most frequent words that are kept; None takes the preset's number.
    """

    name: str = "minilm"
    backend: str = "torch"
    dtype: str = "float32"
    device: str | None = None
    batch_size: int = 32
    max_length: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    tokens: bool = False
    summary: str | None = None
    words_share: float = 0.0
    preset: str = "wish"
    weights: str = "tfidf"
    components: int | None = None
    max_features: int | None = None


@dataclass(frozen=True)
class WordSettings:
    """The words that decoders reconstruct, where they are not the encoder's.

    Attributes:
        preset: Which words of the corpus (see `llmhash.encoders.tfidf.PRESETS`).
        weights: "tfidf", "counts" or "binary".
        max_features: The most frequent words that are kept; None takes the preset's number.
    """

    preset: str = "wish"
    weights: str = "counts"
    max_features: int | None = None


@dataclass(frozen=True)
class Recipe:
    """One method with its settings.

    Attributes:
        name: The recipe's name, which is its file's.
        head: Name of the head (`llmhash.heads.HEADS`).
        description: One sentence.
        paper: Where the method comes from, and what differs from there.
        encoder: How the encoder is opened.
        words: The documents' words, for objectives that reconstruct them from embeddings; None reads none.
        bits: Bits in a code.
        seed: Decides everything random.
        pseudo_queries: How many to cut from the corpus at most.
        noise: Share of the pseudo-queries to train on whose texts are corrupted, while the teacher ranks for
            the clean ones.
        objectives: The loss terms' settings.
        training: The step's and the loop's settings.
    """

    name: str
    head: str
    description: str = ""
    paper: str = ""
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    words: WordSettings | None = None
    bits: int = 64
    seed: int = 0
    pseudo_queries: int = 0
    noise: float = 0.0
    objectives: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_bits(self.bits)
        for name in ("seed", "pseudo_queries"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InputError(f"{name} must be a whole number from 0, not {value!r}.")
        noise = self.noise
        if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise <= 1:
            raise InputError(f"noise must be a number from 0 to 1, not {noise!r}.")

    @property
    def options(self) -> dict[str, Any]:
        """The head's settings: objectives and training together."""
        return {**self.objectives, **self.training}

    @property
    def fits_encoder(self) -> bool:
        """Whether the encoder is fitted on the corpus, which has to be at hand to open it."""
        return self.encoder.name == TFIDF or self.encoder.words_share > 0

    @property
    def needs(self) -> frozenset[str]:
        """What it is fitted on beside a dense vector a document: of "words", "tokens", "labels" and "pairs".

        Pairs are those of a query and its document, which `pseudo_queries` give.

        Raises:
            InputError: An objective, or a setting of one, is unknown.
        """
        needs = {"words"} if self.encoder.name == TFIDF and self.encoder.components is None else set()
        if self.encoder.tokens or self.head == "tokens":
            needs.add("tokens")
        if self.head in ("network", "tokens"):
            # Imported here: objectives need torch.
            from llmhash.heads.network_training import Term, needs_of
            from llmhash.objectives.registry import OBJECTIVES

            given = {name: value for name, value in self.options.items() if name in OBJECTIVES}
            needs |= needs_of({name: Term.parse(name, value) for name, value in given.items()}).keys()
        return frozenset(needs & {"words", "tokens", "labels", "pairs"})

    def open_encoder(
        self, encoder: str | Encoder | None = None, texts: Sequence[str] | None = None
    ) -> Encoder:
        """The recipe's encoder, or the one given in its stead (a name keeps the recipe's other settings).

        Args:
            encoder: In the recipe's stead.
            texts: The corpus, on which words are fitted.

        Raises:
            InputError: A setting is out of range, or words have no corpus to be fitted on.
        """
        if encoder is not None and not isinstance(encoder, str):
            return encoder
        chosen = self.encoder if encoder is None else replace(self.encoder, name=encoder)
        if chosen.name == TFIDF:
            return _fit_tfidf(chosen, texts, self.seed)
        if chosen.words_share:
            return _join_words(chosen, texts, self.seed)
        return _open_tokens(chosen) if chosen.tokens else _open_sentences(chosen)

    def with_encoder(self, **settings: Any) -> Recipe:
        """The recipe with other settings of its encoder, its name perhaps among them.

        A recipe whose network learns from words goes on reconstructing them where embeddings take their
        place. Words take the place of embeddings as they are where the head takes words, and else through
        latent semantic analysis.

        Args:
            **settings: Of `EncoderSettings`.

        Raises:
            InputError: The recipe's head takes tokens, which the words' encoder does not give; or components
                are asked of another encoder than that.
        """
        from llmhash.heads.registry import WORD_HEADS

        encoder = replace(self.encoder, **settings)
        if encoder.name != TFIDF:
            if settings.get("components") is not None and not encoder.words_share:
                raise InputError(f"components are those of the encoder tfidf, and {encoder.name} has none.")
            if self.encoder.name != TFIDF or self.head != "network" or self.words is not None:
                return replace(self, encoder=encoder)
            old = self.encoder
            words = WordSettings(old.preset, old.weights, old.max_features)
            return replace(self, encoder=replace(encoder, components=None), words=words)
        if encoder.tokens:
            raise InputError(f"the recipe {self.name} takes tokens, which tfidf does not give; name a model.")
        encoder = replace(encoder, words_share=0.0)
        if self.encoder.name != TFIDF:
            encoder = replace(encoder, preset=_PRESET)
        # A learner of dense features, or a start from their components, takes no words as they are.
        dense = self.training.get("learner") == "ridge" or self.training.get("start") == "itq"
        if (self.head not in WORD_HEADS or dense) and encoder.components is None:
            encoder = replace(encoder, components=COMPONENTS)
        return replace(self, encoder=encoder)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, and what a YAML file of it holds."""
        return asdict(self)


def _fit_tfidf(settings: EncoderSettings, texts: Sequence[str] | None, seed: int) -> TfidfEncoder:
    from llmhash.encoders.tfidf import TfidfEncoder

    if texts is None:
        raise InputError("the tfidf encoder is fitted on the corpus, and there is none: give texts.")
    return TfidfEncoder.fit(
        texts,
        preset=settings.preset,
        weights=settings.weights,
        components=settings.components,
        max_features=settings.max_features,
        seed=seed,
    )


def _join_words(settings: EncoderSettings, texts: Sequence[str] | None, seed: int) -> Encoder:
    from llmhash.encoders.joined import JoinedEncoder

    if settings.tokens:
        raise InputError(
            "words are joined to whole texts' embeddings: set tokens to false or words_share to 0."
        )
    words = _fit_tfidf(replace(settings, components=settings.components or COMPONENTS), texts, seed)
    return JoinedEncoder(_open_sentences(settings), words, settings.words_share)


def _open_tokens(settings: EncoderSettings) -> Encoder:
    from llmhash.encoders.tokens import TokenEncoder

    return TokenEncoder.open(
        settings.name,
        device=settings.device,
        dtype=settings.dtype,
        batch_size=settings.batch_size,
        revision=settings.revision,
        max_length=settings.max_length,
        summary=settings.summary,
    )


def _open_sentences(settings: EncoderSettings) -> Encoder:
    from llmhash.encoders import SentenceEncoder

    given = {name: getattr(settings, name) for name in _SENTENCE_SETTINGS}
    return SentenceEncoder.open(settings.name, **given)


def recipe_names() -> list[str]:
    """Names of the recipes that llmhash ships."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def recipe_path(name: str) -> Path:
    """File of a shipped recipe, or of a user's own (a path that ends in .yaml or .yml).

    Raises:
        InputError: There is none of that name; the nearest are listed.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"the recipe file {name} does not exist.")
        return path
    if name not in recipe_names():
        raise InputError(f"unknown recipe {name!r}; {suggest(name, recipe_names())}")
    return _folder() / f"{name}.yaml"


def load_recipe(
    name: str,
    *,
    bits: int | None = None,
    seed: int | None = None,
    pseudo_queries: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Recipe:
    """Read and check a recipe, and replace some of its settings.

    Args:
        name: Of a shipped recipe, or the path of a YAML file.
        bits: Replaces the recipe's bits.
        seed: Replaces the recipe's seed.
        pseudo_queries: Replaces the recipe's number of pseudo-queries.
        options: Replaces settings of its objectives and training.

    Raises:
        InputError: The file is no recipe, or a setting has another name or kind than the recipe knows.
    """
    path = recipe_path(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid YAML ({' '.join(str(error).split())}).") from None
    recipe = _parse(content, path)
    changes: dict[str, Any] = {"bits": bits, "seed": seed, "pseudo_queries": pseudo_queries}
    recipe = replace(recipe, **{key: value for key, value in changes.items() if value is not None})
    return with_options(recipe, options or {})


def with_options(recipe: Recipe, options: Mapping[str, Any]) -> Recipe:
    """The recipe with some settings of its objectives and training replaced; the head checks their names."""
    objectives = {k: v for k, v in options.items() if k in recipe.objectives}
    training = {k: v for k, v in options.items() if k not in recipe.objectives}
    return replace(
        recipe, objectives={**recipe.objectives, **objectives}, training={**recipe.training, **training}
    )


def code_widths(stored: Mapping[str, Any], bits: int) -> tuple[int, ...]:
    """Bits that codes of `bits` bits can be cut to, ascending: those that a stored recipe nests, and all."""
    options = {**stored.get("objectives", {}), **stored.get("training", {})}
    return (*sorted(width for width in options.get("nested", ()) if width < bits), bits)


def without_nesting(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored recipe less the widths that codes can be cut to."""
    return {
        part: {name: value for name, value in options.items() if name != "nested"}
        if isinstance(options, Mapping)
        else options
        for part, options in stored.items()
    }


def _parse(content: Any, path: Path) -> Recipe:
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no recipe: a YAML mapping is expected.")
    content = dict(content)
    content.setdefault("name", path.stem)
    _refuse_unknown(content, Recipe, str(path))
    if not isinstance(content.get("head"), str):
        raise InputError(f"{path} names no `head`.")
    for section in ("encoder", "objectives", "training"):
        content[section] = content.get(section) or {}
        if not isinstance(content[section], dict):
            raise InputError(f"{path}: the section `{section}` must be a mapping.")
    twice = content["objectives"].keys() & content["training"].keys()
    if twice:
        raise InputError(f"{path}: {', '.join(sorted(twice))} stands under both `objectives` and `training`.")
    _refuse_unknown(content["encoder"], EncoderSettings, f"{path}, section `encoder`")
    content["encoder"] = EncoderSettings(**content["encoder"])
    if content.get("words") is not None:
        if not isinstance(content["words"], dict):
            raise InputError(f"{path}: the section `words` must be a mapping.")
        _refuse_unknown(content["words"], WordSettings, f"{path}, section `words`")
        content["words"] = WordSettings(**content["words"])
    return Recipe(**content)


def _refuse_unknown(content: Mapping[str, Any], schema: type, place: str) -> None:
    known = [entry.name for entry in fields(schema)]
    for key in content:
        if key not in known:
            raise InputError(f"{place}: unknown setting {key!r}; {suggest(str(key), known)}")


@cache
def _folder() -> Path:
    """The shipped recipes: inside the wheel, or beside the package in a source tree."""
    inside = Path(str(resources.files("llmhash"))) / "_recipes"
    return inside if inside.is_dir() else Path(__file__).resolve().parent.parent / "recipes"
