"""The encoder around a SentenceTransformer: prompts a side, batches sorted by length, features on disk."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from llmhash.encoders import weights
from llmhash.encoders.base import SIDES, Side
from llmhash.encoders.batching import FloatArray, check_texts, encode_texts
from llmhash.encoders.cache import FeatureCache, TextKeys
from llmhash.encoders.loading import DTYPES, load_model
from llmhash.encoders.teachers import TEACHERS, Teacher, resolve
from llmhash.errors import FormatError, InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Backend = Literal["torch", "openvino"]
BACKENDS: dict[str, tuple[str, ...]] = {"torch": DTYPES, "openvino": ("float32", "bfloat16")}

# Goes up when the same model, settings and text come to give other features.
_FEATURES_VERSION = "1"


class SentenceEncoder:
    """Texts to features by a SentenceTransformer. Make one with `open` or `from_config`.

    The model is loaded by the first text whose features are not in the cache. Features have length 1 where
    the model's similarity is the cosine (as sentence-transformers reads it: wherever a model declares no
    other), whether or not the model ends in a Normalize module; where it is the dot product they are left as
    they are.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        is_folder: bool,
        teacher: Teacher | None = None,
        device: str | None = None,
        backend: str = "torch",
        dtype: str = "float32",
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        batch_size: int = 32,
        revision: str | None = None,
        trust_remote_code: bool = False,
        max_length: int | None = None,
        cache: FeatureCache | None = None,
        expected: str | None = None,
        dim: int | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise InputError(f"the backend must be {' or '.join(BACKENDS)}, not {backend!r}.")
        if dtype not in BACKENDS[backend]:
            raise InputError(
                f"the {backend} backend's dtype must be one of {', '.join(BACKENDS[backend])}, not {dtype!r}."
            )
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}.")
        self.backend, self.dtype, self.device, self.batch_size = backend, dtype, device, batch_size
        self.max_length, self.trust_remote_code, self.cache = max_length, trust_remote_code, cache
        self._name, self._hub_id_or_path, self._is_folder, self._revision = name, model, is_folder, revision
        self._teacher, self._query_prompt, self._document_prompt = teacher, query_prompt, document_prompt
        self._expected, self._dim = expected, dim or (teacher.dim if teacher else None)
        self._lock = threading.RLock()
        self._folder: Path | None = None
        self._digest: str | None = None
        self._description: weights.Description | None = None
        self._model: SentenceTransformer | None = None

    @classmethod
    def open(
        cls,
        name: str,
        *,
        device: str | None = None,
        backend: str = "torch",
        dtype: str = "float32",
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        batch_size: int = 32,
        revision: str | None = None,
        trust_remote_code: bool = False,
        max_length: int | None = None,
        cache: FeatureCache | Literal["default"] | None = "default",
    ) -> SentenceEncoder:
        """An encoder by name. Nothing is loaded or fetched yet.

        A hub model whose files are at hand is taken as it is, without asking the hub for a newer one.

        Args:
            name: An alias (`llmhash teachers`), a hub id or a folder.
            device: "cpu", "cuda", ...; None takes the best at hand.
            backend: "torch" or "openvino".
            dtype: Of the computation; features are float32 always.
            query_prompt: Put before each query; None takes the teacher's or the model's own.
            document_prompt: Put before each document; None takes the teacher's or the model's own.
            batch_size: Texts in a batch.
            revision: Of the hub repository: branch, tag or commit.
            trust_remote_code: Run code that the model's repository brings.
            max_length: Tokens after which a text is cut; None takes the model's own limit.
            cache: Where features are kept; None computes them anew each time.

        Raises:
            InputError: The name is unknown or a setting is out of range.
        """
        teacher = resolve(name)
        return cls(
            name,
            teacher.model if teacher else name,
            is_folder=teacher is None and Path(name).expanduser().is_dir(),
            teacher=teacher,
            device=device,
            backend=backend,
            dtype=dtype,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            batch_size=batch_size,
            revision=revision,
            trust_remote_code=trust_remote_code,
            max_length=max_length,
            cache=FeatureCache() if cache == "default" else cache,
        )

    @classmethod
    def from_config(
        cls,
        config: dict[str, Any],
        *,
        device: str | None = None,
        batch_size: int = 32,
        trust_remote_code: bool = False,
        cache: FeatureCache | Literal["default"] | None = "default",
    ) -> SentenceEncoder:
        """The encoder that `config` described. It refuses to run if the model's files have changed since.

        Raises:
            FormatError: The description lacks something or holds something else.
        """
        try:
            return cls(
                config["name"],
                config["model"],
                is_folder=config["source"] == "folder",
                teacher=TEACHERS.get(config["name"]),
                device=device,
                backend=config["backend"],
                dtype=config["dtype"],
                query_prompt=config["query_prompt"],
                document_prompt=config["document_prompt"],
                batch_size=batch_size,
                revision=config["revision"],
                trust_remote_code=trust_remote_code,
                max_length=config["max_length"],
                cache=FeatureCache() if cache == "default" else cache,
                expected=config["weights"],
                dim=config["dim"],
            )
        except (KeyError, TypeError) as error:
            raise FormatError(f"the stored encoder is incomplete or damaged ({error!r}).") from error

    @property
    def name(self) -> str:
        """What the user calls it: an alias, a hub id or a folder."""
        return self._name

    @property
    def dim(self) -> int:
        """Dimensions of a feature vector. Loads the model unless it is a known teacher."""
        if self._dim is None:
            found = self.sentence_transformer.get_embedding_dimension()
            self._dim = found if found is not None else self._run([""], "document").shape[1]
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest of all that decides the features: weights, backend, dtype, length, prompts."""
        digest = blake2b(digest_size=16)
        for part in (*self._scope(), *(self.prompt(side) for side in SIDES)):
            digest.update(f"{len(part)}\0{part}".encode())
        return digest.hexdigest()

    @property
    def sides_differ(self) -> bool:
        """Whether queries have another prompt than documents, or take another way through the model."""
        return self._describe().routes or self.prompt("query") != self.prompt("document")

    @property
    def sentence_transformer(self) -> SentenceTransformer:
        """The loaded SentenceTransformer that computes the features."""
        with self._lock:
            if self._model is None:
                if self.backend == "openvino":
                    from llmhash.encoders.openvino import use_openvino

                    self._model = use_openvino(self._load("float32", "cpu"), self.dtype)
                else:
                    self._model = self._load(self.dtype, self.device)
            return self._model

    def export_modules(self) -> list[Any]:
        """The modules of a freshly loaded float32 torch model on the CPU, for a model built around them.

        Raises:
            InputError: The model cuts its vectors behind its last module, so that more modules do not fit.
        """
        model = self._load("float32", "cpu")
        if model.truncate_dim is not None:
            raise InputError(
                f"{self._name} cuts its vectors to {model.truncate_dim} dimensions (truncate_dim), which a "
                "SentenceTransformer with a head behind it cannot."
            )
        return list(model)

    def prompt(self, side: Side) -> str:
        """What is put before each text of a side: the user's prompt, else the teacher's, else the model's."""
        given = self._query_prompt if side == "query" else self._document_prompt
        if given is not None:
            return given
        source = self._teacher or self._describe()
        return source.query_prompt if side == "query" else source.document_prompt

    def config(self) -> dict[str, Any]:
        """What is needed to make this encoder again, JSON-able; no path but one that the user named."""
        return {
            "name": self._name,
            "model": self._hub_id_or_path,
            "source": "folder" if self._is_folder else "hub",
            "revision": self._pinned_revision(),
            "weights": self._content(),
            "dim": self.dim,
            "backend": self.backend,
            "dtype": self.dtype,
            "query_prompt": self.prompt("query"),
            "document_prompt": self.prompt("document"),
            "max_length": self.max_length,
        }

    def encode(self, texts: Sequence[str], side: Side, *, progress: bool = False) -> FloatArray:
        """Features float32 (n, dim) of n texts, rows in the order of the texts.

        Texts that occur more than once are encoded once, and those in the cache not at all.

        Args:
            texts: Any number of texts; a text may be empty.
            side: "document" or "query".
            progress: Show a bar on standard error.

        Raises:
            InputError: The side is unknown, something is no text, the model cannot be had, or it gives NaN.
        """
        if side not in SIDES:
            raise InputError(f"the side must be document or query, not {side!r}.")
        checked = check_texts(texts)
        if not checked:
            return np.empty((0, self.dim), dtype=np.float32)
        cache = self.cache if self.cache is not None and self.cache.enabled else None
        return encode_texts(
            checked,
            lambda batch: self._run(batch, side),
            batch_size=self.batch_size,
            cache=cache,
            key=self._keys(side).key if cache else None,
            label=f"encoding with {self._name}",
            progress=progress,
        )

    def _run(self, texts: list[str], side: Side) -> FloatArray:
        """One batch through the model: float32 (n, dim)."""
        model = self.sentence_transformer
        encode = model.encode_query if side == "query" else model.encode_document
        is_cosine = model.similarity_fn_name == "cosine"
        features = np.asarray(
            encode(
                texts,
                prompt=self.prompt(side),
                batch_size=len(texts),
                show_progress_bar=False,
                # A model that cuts its vectors does so behind its last module.
                normalize_embeddings=is_cosine and model.truncate_dim is not None,
            ),
            dtype=np.float32,
        )
        if not np.isfinite(features).all():
            way_out = "take bfloat16 or float32" if self.dtype == "float16" else "its weights are damaged"
            raise InputError(f"{self._name} gives NaN or infinity in {self.dtype}: {way_out}.")
        if is_cosine and self.dtype != "float32":
            # Vectors of length 1 in a half dtype are so only to its two or three digits.
            features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        return features

    def _keys(self, side: Side) -> TextKeys:
        # Sides that are the same function share their features.
        return TextKeys(*self._scope(), self.prompt(side), side if self._describe().routes else "")

    def _scope(self) -> tuple[str, ...]:
        return (_FEATURES_VERSION, self._content(), self.backend, self.dtype, str(self.max_length or ""))

    def _content(self) -> str:
        """The digest of the model's files, checked against the one that `from_config` was given."""
        if self._digest is None:
            digest = weights.digest(self._files())
            if self._expected is not None and digest != self._expected:
                raise InputError(
                    f"the files of {self._hub_id_or_path} are not those that this was made with: "
                    "bring them back or make the hasher anew."
                )
            self._digest = digest
        return self._digest

    def _pinned_revision(self) -> str | None:
        # A commit would send those who have a package with the same weights to the hub.
        if self._revision is not None or self._hub_id_or_path in weights.PACKAGED:
            return self._revision
        return weights.commit_of(self._files())

    def _describe(self) -> weights.Description:
        if self._description is None:
            self._description = weights.describe(self._files())
        return self._description

    def _files(self) -> Path:
        """The folder with the model's files; loads the model where that has to fetch them first."""
        with self._lock:
            if self._folder is None:
                self._folder = self._locate()
            if self._folder is None:
                self._model = self.sentence_transformer
                self._folder = weights.locate(self._hub_id_or_path, self._revision, complete=False)
            if self._folder is None:
                raise InputError(f"the files of {self._hub_id_or_path} cannot be found after loading it.")
            return self._folder

    def _locate(self) -> Path | None:
        if not self._is_folder:
            return weights.locate(self._hub_id_or_path, self._revision)
        folder = Path(self._hub_id_or_path).expanduser()
        if not folder.is_dir():
            raise InputError(
                f"the model folder {folder} does not exist: bring it back or name the teacher again."
            )
        return folder

    def _load(self, dtype: str, device: str | None) -> SentenceTransformer:
        folder = self._folder or self._locate()
        if folder is not None:
            self._folder = folder
            self._content()
        return load_model(
            self._hub_id_or_path,
            folder=folder,
            revision=self._revision,
            device=device,
            dtype=dtype,
            max_length=self.max_length,
            trust_remote_code=self.trust_remote_code,
        )
