"""The hasher: an encoder and a head. What a user trains, saves, loads and shares."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.corpora import Documents
from llmhash.encoders.base import Encoder, Side, TokenFeatures
from llmhash.errors import FormatError, InputError
from llmhash.features import HeldOut, corpus_digest, training_features, vector_features
from llmhash.hasher_files import (
    fetch_hasher,
    pretrained_folder,
    read_encoder,
    read_hasher,
    write_hasher,
)
from llmhash.heads.adapt import adapt
from llmhash.heads.base import (
    AnyFeatures,
    Head,
    TrainingFeatures,
    Validation,
    check_inputs,
    is_sparse,
    sampled_rows,
)
from llmhash.heads.kinds import affine_head, head_from_tensors
from llmhash.heads.registry import fit_head
from llmhash.index import TableQueries
from llmhash.recipes import Recipe, code_widths, load_recipe, without_nesting

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from llmhash.corpora.labels import LabelSet

#: Texts, or vectors (n, dim) of a user who already holds them.
TextsOrVectors: TypeAlias = Sequence[str] | NDArray[np.floating[Any]]
Progress = Callable[[int, int, str], None]
# Documents, evenly spread, that the balance of bits is told from.
_BALANCE_ROWS = 20_000
# Documents of a corpus that a hasher adapts to, and the share of all of them that a codebook needs.
_ADAPTING_ROWS, _CODEBOOK_SHARE = 100_000, 0.75


@dataclass(eq=False)
class Hasher:
    """A function from text (or from vectors, where there is no encoder) to b bits.

    Attributes:
        head: Features to logits.
        encoder: Texts to features; None where the user brings vectors.
        recipe: The recipe it was fitted by, as stored in `hasher.json`.
        training: What it was fitted on: documents, queries, and each bit's share of ones.
        measurements: Rows of figures for the model card (see `llmhash.evaluation`).
        held_out: Pseudo-queries set aside by the fit that made this hasher; None after loading.
        features: The features it was fitted on; None after loading.
    """

    head: Head
    encoder: Encoder | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    measurements: list[dict[str, Any]] = field(default_factory=list)
    held_out: HeldOut | None = None
    features: TrainingFeatures | None = None

    # -- fitting ---------------------------------------------------------------------------------

    @classmethod
    def distill(
        cls,
        teacher: str | Encoder | None,
        corpus: TextsOrVectors | Documents,
        *,
        bits: int = 64,
        **settings: Any,
    ) -> Hasher:
        """Train a head so that the codes rank documents as the teacher does. No labels are needed.

        Args:
            teacher: An alias (`llmhash teachers`), a hub id, a folder, an encoder, or None for vectors.
            corpus: Texts, documents, or document vectors float (n, dim).
            bits: Bits in a code.
            **settings: As in `fit`.
        """
        return cls.fit("distill", teacher=teacher, corpus=corpus, bits=bits, **settings)

    @classmethod
    def fit(
        cls,
        head: str,
        *,
        corpus: TextsOrVectors | Documents,
        teacher: str | Encoder | None = None,
        bits: int | None = None,
        queries: TextsOrVectors | None = None,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
        show_progress: bool = False,
        progress: Progress | None = None,
    ) -> Hasher:
        """Fit the recipe of the name `head` (`llmhash recipe ls`) on a corpus.

        Args:
            head: A recipe's name, such as "itq" or "distill", or its path.
            corpus: Texts, documents, or document vectors float (n, dim).
            teacher: An alias, a hub id, a folder or an encoder; None where the corpus is vectors.
            bits: Bits in a code; by default the recipe's.
            queries: Real training queries (texts, or vectors where the corpus is vectors).
            seed: By default the recipe's.
            options: Settings of the head that replace the recipe's.
            show_progress: Show progress bars while encoding.
            progress: Called by a training head with (step, steps, message).

        Raises:
            InputError: See the single sentences it carries.
        """
        recipe = load_recipe(head, bits=bits, seed=seed, options=options)
        return cls.from_recipe(
            recipe, corpus, teacher=teacher, queries=queries, show_progress=show_progress, progress=progress
        )

    @classmethod
    def from_recipe(
        cls,
        recipe: Recipe,
        corpus: TextsOrVectors | Documents,
        *,
        teacher: str | Encoder | None = None,
        queries: TextsOrVectors | None = None,
        show_progress: bool = False,
        progress: Progress | None = None,
    ) -> Hasher:
        """Fit a hasher as a recipe says; `teacher` replaces the recipe's encoder."""
        held_out = None
        documents: Documents | None = None
        encoder: Encoder | None = None
        if isinstance(corpus, np.ndarray):
            if teacher is not None:
                raise InputError("vectors come from your own model: give a teacher or vectors, not both.")
            features = vector_features(corpus, _as_vectors(queries))
        else:
            if isinstance(queries, np.ndarray):
                raise InputError("the corpus is text, so the queries must be texts too, not vectors.")
            documents = corpus if isinstance(corpus, Documents) else Documents.from_texts(corpus)
            encoder = recipe.open_encoder(teacher, documents.texts)
            features, held_out = _encoded(recipe, encoder, documents, queries, show_progress)
        return cls.fit_on(
            features, recipe, documents=documents, encoder=encoder, held_out=held_out, progress=progress
        )

    @classmethod
    def fit_labels(
        cls,
        recipe: Recipe,
        labelled: LabelSet,
        *,
        teacher: str | Encoder | None = None,
        show_progress: bool = False,
        progress: Progress | None = None,
    ) -> Hasher:
        """Fit a hasher on a label set's training documents.

        A head that is trained stops by Precision@100 of the validation documents among the training
        documents. That alone reads labels, unless an objective asks for them; the test documents are not
        read at all.

        Args:
            recipe: The method; what it encodes with, too.
            labelled: The set; without validation documents, training stops by its loss.
            teacher: Replaces the recipe's encoder.
            show_progress: Show progress bars while encoding.
            progress: Called by a training head with (step, steps, message).
        """
        documents = labelled.documents(labelled.train)
        encoder = recipe.open_encoder(teacher, documents.texts)
        features, held_out = _encoded(recipe, encoder, documents, None, show_progress)
        validation = None
        if len(labelled.validation):
            encoded = encoder.encode(labelled.validation.texts, "document", progress=show_progress)
            validation = Validation(encoded, labelled.matrix(labelled.validation))
        features = replace(features, labels=labelled.matrix(labelled.train), validation=validation)
        return cls.fit_on(
            features, recipe, documents=documents, encoder=encoder, held_out=held_out, progress=progress
        )

    @classmethod
    def fit_on(
        cls,
        features: TrainingFeatures,
        recipe: Recipe,
        *,
        documents: Documents | None = None,
        encoder: Encoder | None = None,
        held_out: HeldOut | None = None,
        progress: Progress | None = None,
    ) -> Hasher:
        """Fit a hasher on features at hand; `documents` are the texts they were made of, if any."""
        head = fit_head(
            recipe.head, features, recipe.bits, seed=recipe.seed, options=recipe.options, progress=progress
        )
        training = {
            "corpus": corpus_digest(features.documents if documents is None else documents),
            "documents": features.count,
            "queries": 0 if features.queries is None else int(features.queries.shape[0]),
            "bit_balance": _bit_balance(head, features.documents),
        }
        stored = recipe.to_dict()
        stored["training"].pop("checkpoint", None)  # a place on this machine, no part of the method
        return cls(head, encoder, stored, training, held_out=held_out, features=features)

    # -- encoding --------------------------------------------------------------------------------

    @property
    def bits(self) -> int:
        """Bits in a code."""
        return self.head.bits

    @property
    def dim(self) -> int:
        """Dimensions of the features."""
        return self.head.dim

    @property
    def takes_dense(self) -> bool:
        """Whether its features are one dense vector a text, rather than words or tokens."""
        return self.encoder is None or isinstance(self.encoder.encode([], "document"), np.ndarray)

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest of all that decides the codes: the head's numbers and the encoder."""
        digest = hashlib.blake2b(digest_size=16)
        if self.head.kind != "affine":  # kinds came later: fingerprints of affine heads stay as they were
            digest.update(self.head.kind.encode())
        for name, array in sorted(self.head.tensors().items()):
            digest.update(f"{name} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        digest.update((self.encoder.fingerprint if self.encoder else "vectors").encode())
        return digest.hexdigest()

    def encode_documents(self, documents: TextsOrVectors, *, progress: bool = False) -> Codes:
        """Codes of documents: texts, or vectors (n, dim) where the hasher has no encoder."""
        return self.document_codes(self.document_features(documents, progress=progress))

    def encode_queries(self, queries: TextsOrVectors, *, progress: bool = False) -> NDArray[np.float32]:
        """Logits float32 (q, bits) of queries."""
        return self.query_logits(self.query_features(queries, progress=progress))

    def encode_query_codes(self, queries: TextsOrVectors, *, progress: bool = False) -> Codes:
        """Codes of queries, to search those of documents by Hamming distance."""
        return self.query_codes(self.query_features(queries, progress=progress))

    def document_features(self, documents: TextsOrVectors, *, progress: bool = False) -> AnyFeatures:
        """The encoder's features (n, dim) of documents, dense unless it gives words or tokens.

        Features pass through, checked.
        """
        return self._encode(documents, "document", progress)

    def query_features(self, queries: TextsOrVectors, *, progress: bool = False) -> AnyFeatures:
        """The encoder's features (n, dim) of queries, as of documents; features pass through, checked."""
        return self._encode(queries, "query", progress)

    def document_codes(self, features: AnyFeatures) -> Codes:
        """Codes of document features (n, dim)."""
        return self.head.document_codes(features)

    def query_codes(self, features: AnyFeatures) -> Codes:
        """Codes of query features (n, dim)."""
        return self.head.query_codes(features)

    def query_logits(self, features: AnyFeatures) -> NDArray[np.float32]:
        """Logits float32 (n, bits) of query features (n, dim)."""
        return self.head.query_logits(features)

    @property
    def scan_only(self) -> bool:
        """Whether codes serve the asymmetric scan alone: Hamming distance then ranks poorly."""
        book = self.head.codebook
        return book is not None and book.scan_only

    def asymmetric_queries(self, features: AnyFeatures) -> NDArray[np.float32] | TableQueries:
        """What scores codes for query features (n, dim): their logits, or tables of a codebook."""
        return self.head.asymmetric_queries(features)

    def _encode(self, inputs: TextsOrVectors, side: Side, progress: bool) -> AnyFeatures:
        features: AnyFeatures
        if isinstance(inputs, str):
            raise InputError("give a list of texts, not one string.")
        if isinstance(inputs, np.ndarray | TokenFeatures) or is_sparse(inputs):
            features = check_inputs(inputs, f"the {side} vectors")
        elif self.encoder is None:
            raise InputError(
                "this hasher was made from vectors and has no encoder: give it vectors, not texts."
            )
        else:
            features = self.encoder.encode(list(inputs), side, progress=progress)
        if features.shape[1] != self.dim:
            raise InputError(f"this hasher takes vectors of {self.dim} dimensions, not {features.shape[1]}.")
        return features

    # -- nested codes ----------------------------------------------------------------------------

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits that codes can be cut to, ascending: those that it was trained nested for, and its own."""
        return code_widths(self.recipe, self.bits)

    def truncated(self, bits: int) -> Hasher:
        """The hasher of the first `bits` bits, one of `widths`; its codes are the longer ones' first bits.

        Raises:
            InputError: The hasher was not trained nested for that many bits.
        """
        if bits not in self.widths:
            known = ", ".join(map(str, self.widths))
            raise InputError(f"this hasher makes good codes of {known} bits, not of {bits}.")
        if bits == self.bits and self.head.kind != "affine":
            return self
        balance = self.training.get("bit_balance", [])
        return Hasher(
            affine_head(self.head, "cutting codes").truncated(bits),
            self.encoder,
            {**self.recipe, "bits": bits},
            {**self.training, "bit_balance": balance[:bits]},
        )

    def adapted(
        self,
        documents: TextsOrVectors,
        *,
        seed: int = 0,
        show_progress: bool = False,
        progress: Progress | None = None,
    ) -> Hasher:
        """The hasher fitted to a corpus: its own RCA and a codebook, without queries.

        Some thousand documents take less than a minute, 100,000 minutes. What it gains is most where the
        hasher was trained on other documents; see `llmhash.heads.adapt`. It gains for the documents that it
        is given: those that come later are ranked less well by the codebook. Codes cannot be cut any more,
        where they could: bits are others.

        Args:
            documents: Texts, or vectors (n, dim); a seeded sample of 100,000 at most is looked at. Fewer than
                100 change nothing, fewer than 1,000 the thresholds only, and more than 133,333 give no
                codebook.
            seed: Of the sample.
            show_progress: Show a progress bar while they are encoded.
            progress: Called with (round, rounds, message) while the head is fitted.
        """
        general = affine_head(self.head, "adapting to a corpus")
        rows = sampled_rows(len(documents), _ADAPTING_ROWS, seed)
        some = documents[rows] if isinstance(documents, np.ndarray) else [documents[row] for row in rows]
        features = self.document_features(some, progress=show_progress)
        most = len(features) >= _CODEBOOK_SHARE * len(documents)
        head = adapt(general, features, codebook=most, seed=seed, progress=progress)
        if head is general:
            return self
        balance = _bit_balance(head, features)
        training = {**self.training, "adapted_to": len(features), "bit_balance": balance}
        as_they_were = head.weight is general.weight and head.codebook is None
        recipe = self.recipe if as_they_were else without_nesting(self.recipe)
        return Hasher(head, self.encoder, recipe, training)

    # -- what is known of it ---------------------------------------------------------------------

    def has_seen(self, corpus: Documents | NDArray[np.float32]) -> bool:
        """Whether the hasher was fitted on exactly these documents (or vectors)."""
        return bool(self.training.get("corpus") == corpus_digest(corpus))

    def add_measurements(self, report: Mapping[str, Any]) -> None:
        """Take an evaluation's rows into the model card, in place of earlier ones of that data."""
        place = {"data": report["data"], "split": report["split"]}
        kept = [row for row in self.measurements if {key: row[key] for key in place} != place]
        self.measurements = kept + [{**place, **row} for row in report["rows"] if row["scoring"] != "float"]

    # -- storing ---------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write `hasher.json`, `head.safetensors` and the model card `README.md` into `folder`.

        An encoder that was fitted (tfidf) is written too, as `encoder.safetensors`.

        Raises:
            InputError: The folder holds something that is not a hasher.
        """
        book = self.head.codebook
        config = {
            "head": self.head.kind,
            "bits": self.bits,
            "dim": self.dim,
            "codebook": None if book is None else book.use,
            "fingerprint": self.fingerprint,
            "encoder": self.encoder.config() if self.encoder else None,
            "recipe": self.recipe,
            "training": self.training,
            "measurements": self.measurements,
        }
        # Fitted encoders have arrays of their own.
        arrays: dict[str, NDArray[Any]] = getattr(self.encoder, "tensors", dict)()
        return write_hasher(Path(folder), config, self.head.tensors(), arrays)

    @classmethod
    def load(cls, source: str | Path, *, device: str | None = None, revision: str | None = None) -> Hasher:
        """Load a hasher from a folder, or from a hub repository's id.

        Args:
            source: What `save` or `push_to_hub` wrote.
            device: Where the encoder runs; by default the best device at hand.
            revision: Of the hub repository.

        Raises:
            InputError: There is no such folder or repository.
            FormatError: A file is truncated, corrupt, or of a newer version.
        """
        folder = fetch_hasher(str(source), revision)
        config, tensors = read_hasher(folder)
        head = head_from_tensors(config.get("head", "affine"), tensors)
        if (head.bits, head.dim) != (config["bits"], config["dim"]):
            raise FormatError(f"{folder}: hasher.json and head.safetensors do not belong together.")
        encoder = read_encoder(folder, config, device)
        return cls(head, encoder, config["recipe"], config["training"], config["measurements"])

    @classmethod
    def pretrained(cls, name: str = "minilm", *, bits: int = 128, device: str | None = None) -> Hasher:
        """A hasher that llmhash ships: trained once on a broad corpus, for texts that it has never seen.

        Codes serve at once, without training. `adapted` to the corpus they rank closer to the teacher, and
        those of a hasher that `distill` trained on it closer still.

        Args:
            name: The teacher's alias.
            bits: Bits in a code, one of the hasher's `widths`.
            device: Where the encoder runs; by default the best device at hand.

        Raises:
            InputError: There is none of that name, or not at that many bits.
        """
        return cls.load(pretrained_folder(name), device=device).truncated(bits)

    def push_to_hub(self, repository: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload the hasher to a hub repository `owner/name`, made where it does not exist; its address."""
        import tempfile

        from huggingface_hub import HfApi

        api = HfApi(token=token)
        api.create_repo(repository, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            self.save(folder)
            commit = api.upload_folder(
                repo_id=repository, folder_path=folder, commit_message="llmhash hasher"
            )
        return str(commit.repo_url)

    def to_sentence_transformers(self, folder: str | Path | None = None) -> SentenceTransformer:
        """The hasher as a plain SentenceTransformer of built-in modules; saved where a `folder` is given.

        `encode_query(texts, precision="ubinary")` gives the bytes of `encode_query_codes`, and
        `encode(...)` those of `encode_documents`, where llmhash is not installed. That holds for documents as
        long as their codes are the signs of their logits. Where a codebook chooses them, `encode` still gives
        the signs, which are other bytes: documents are then to be encoded by llmhash, and asymmetric scores
        need its tables.

        Raises:
            InputError: The hasher has no encoder, encoder or head is of a kind that has no such modules, or
                codes are for the asymmetric scan alone.
        """
        from llmhash.export import to_sentence_transformer

        if self.encoder is None:
            raise InputError("this hasher has no encoder, so it cannot become a SentenceTransformer.")
        if self.scan_only:
            raise InputError(
                "codes of this hasher are for the asymmetric scan alone, by tables that a "
                "SentenceTransformer has no place for."
            )
        model = to_sentence_transformer(self.encoder, self.head)
        if folder is not None:
            model.save_pretrained(str(folder))
        return model


def _encoded(
    recipe: Recipe, encoder: Encoder, documents: Documents, queries: Sequence[str] | None, progress: bool
) -> tuple[TrainingFeatures, HeldOut]:
    """What a recipe's head is fitted on."""
    return training_features(
        encoder,
        documents,
        pseudo_queries=recipe.pseudo_queries,
        queries=queries,
        seed=recipe.seed,
        noise=recipe.noise,
        words=None if recipe.words is None else asdict(recipe.words),
        progress=progress,
    )


def _bit_balance(head: Head, documents: AnyFeatures) -> list[float]:
    """The share of documents that have each bit, of a sample of many."""
    some = documents[:: max(1, documents.shape[0] // _BALANCE_ROWS)]
    return [round(float(share), 4) for share in head.document_codes(some).unpack().mean(axis=0)]


def _as_vectors(queries: TextsOrVectors | None) -> NDArray[np.float32] | None:
    if queries is None or isinstance(queries, np.ndarray):
        return queries if queries is None else np.asarray(queries, dtype=np.float32)
    raise InputError("the corpus is vectors, so the queries must be vectors too, not texts.")
