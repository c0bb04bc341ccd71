"""The token encoder: the last layer of a BERT-family model, a row a token, with features on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from llmhash.encoders import weights
from llmhash.encoders.base import SIDES, FloatArray, Side, TokenFeatures
from llmhash.encoders.batching import check_texts, encode_texts
from llmhash.encoders.cache import FeatureCache, TextKeys
from llmhash.encoders.sentence import SentenceEncoder
from llmhash.encoders.teachers import resolve
from llmhash.errors import FormatError, InputError

if TYPE_CHECKING:
    from torch import Tensor

SUMMARIES = ("cls", "mean")
# Goes up when the same model, settings and text come to give other features.
_FEATURES_VERSION = "1"
# A text's record is as large as hundreds of sentence embeddings.
_RECORDS_PER_READ = 512


class TokenEncoder:
    """Texts to their tokens' vectors by a transformer. Make one with `open` or `from_config`.

    Tokens are those of the text: neither padding nor what the tokenizer puts around a text ([CLS], [SEP]),
    so that an empty text has none. The summary is the CLS token's vector, or where the model comes with mean
    pooling the mean of all its tokens'; it is not normalised. No prompt is put before a text, and both sides
    are the same function. The model is loaded by the first text whose features are not in the cache, of
    which a text takes about `2 * tokens * dim` bytes.
    """

    def __init__(
        self,
        sentence: SentenceEncoder,
        *,
        summary: str | None = None,
        revision: str | None = None,
        cache: FeatureCache | None = None,
    ) -> None:
        if summary is not None and summary not in SUMMARIES:
            raise InputError(f"summary must be {' or '.join(SUMMARIES)}, not {summary!r}.")
        if sentence.backend != "torch":
            raise InputError(f"token features need the torch backend, not {sentence.backend}.")
        self.cache = cache
        self._sentence, self._summary, self._revision = sentence, summary, revision
        self._dim: int | None = None

    @classmethod
    def open(
        cls,
        name: str,
        *,
        device: str | None = None,
        dtype: str = "float32",
        batch_size: int = 32,
        revision: str | None = None,
        max_length: int | None = None,
        summary: str | None = None,
        cache: FeatureCache | Literal["default"] | None = "default",
    ) -> TokenEncoder:
        """An encoder by name. Nothing is loaded or fetched yet.

        Args:
            name: An alias (`llmhash teachers`), a hub id or a folder, also of a plain transformers model.
            device: "cpu", "cuda", ...; None takes the best at hand.
            dtype: Of the computation; tokens are kept as float16 always.
            batch_size: Texts in a batch.
            revision: Of the hub repository: branch, tag or commit.
            max_length: Tokens after which a text is cut, with [CLS] and [SEP]; None takes the model's limit.
            summary: "cls" or "mean"; None takes the mean where the model comes with mean pooling, else "cls".
            cache: Where features are kept; None computes them anew each time.

        Raises:
            InputError: The name is unknown or a setting is out of range.
        """
        sentence = SentenceEncoder.open(
            name,
            device=device,
            dtype=dtype,
            query_prompt="",
            document_prompt="",
            batch_size=batch_size,
            revision=revision,
            max_length=max_length,
            cache=None,
        )
        chosen = FeatureCache() if cache == "default" else cache
        return cls(sentence, summary=summary, revision=revision, cache=chosen)

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        *,
        device: str | None = None,
        batch_size: int = 32,
        cache: FeatureCache | Literal["default"] | None = "default",
    ) -> TokenEncoder:
        """The encoder that `config` described. It refuses to run if the model's files have changed since.

        Raises:
            FormatError: The description lacks something or holds something else.
        """
        sentence = SentenceEncoder.from_config(dict(config), device=device, batch_size=batch_size, cache=None)
        if config.get("summary") not in SUMMARIES:
            raise FormatError("the stored token encoder does not say what its summary is.")
        chosen = FeatureCache() if cache == "default" else cache
        encoder = cls(sentence, summary=config["summary"], cache=chosen)
        encoder._dim = config["dim"]
        return encoder

    @property
    def name(self) -> str:
        """What the user calls it: an alias, a hub id or a folder."""
        return self._sentence.name

    @property
    def dim(self) -> int:
        """Dimensions of a token's vector. Loads the model unless a text has been encoded."""
        if self._dim is None:
            self._dim = int(self._transformer().get_embedding_dimension())
        return self._dim

    @property
    def sides_differ(self) -> bool:
        """False: queries and documents are encoded alike."""
        return False

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest of all that decides the features: weights, dtype, length, summary."""
        # The sentence encoder's names the files, so they are at hand when the summary is asked for.
        parts = ("tokens", _FEATURES_VERSION, self._sentence.fingerprint, self.summary)
        return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()

    @property
    def summary(self) -> str:
        """Whose vector a whole text's is: "cls", or "mean" for the mean of its tokens'."""
        if self._summary is None:
            self._summary = "mean" if _pools_by_mean(self.name, self._revision) else "cls"
        return self._summary

    def config(self) -> dict[str, Any]:
        """What is needed to make this encoder again, JSON-able; no path but one that the user named."""
        return {**self._sentence.config(), "kind": "tokens", "dim": self.dim, "summary": self.summary}

    def encode(self, texts: Sequence[str], side: Side, *, progress: bool = False) -> TokenFeatures:
        """Token features of n texts, in their order.

        Texts that occur more than once are encoded once, and those in the cache not at all.

        Args:
            texts: Any number of texts; a text may be empty.
            side: "document" or "query", which are the same.
            progress: Show a bar on standard error.

        Raises:
            InputError: The side is unknown, something is no text, the model cannot be had or has no tokens,
                or it gives NaN or what float16 cannot hold.
        """
        if side not in SIDES:
            raise InputError(f"the side must be document or query, not {side!r}.")
        checked = check_texts(texts)
        rows: dict[str, int] = {}
        order = [rows.setdefault(text, len(rows)) for text in checked]
        if not rows:
            nothing = np.empty((0, self.dim))
            return TokenFeatures(
                nothing.astype(np.float16), np.zeros(1, np.int64), nothing.astype(np.float32)
            )
        features = _unpack(self._records(list(rows), progress))
        self._dim = features.dim
        return features if len(rows) == len(order) else features[np.array(order)]

    def _records(self, texts: list[str], progress: bool) -> list[FloatArray]:
        """A record (see `_pack`) of each distinct text, from the cache or from the model."""
        cache = self.cache if self.cache is not None and self.cache.enabled else None
        keys: dict[str, bytes] = {}
        found: dict[str, FloatArray] = {}
        if cache is not None:
            key = TextKeys(self.fingerprint).key
            keys = {text: key(text) for text in texts}
            for start in range(0, len(texts), _RECORDS_PER_READ):
                asked = {keys[text]: text for text in texts[start : start + _RECORDS_PER_READ]}
                found.update(
                    (asked[found_key], record) for found_key, record in cache.get(list(asked)).items()
                )

        def run(batch: list[str]) -> FloatArray:
            features = self._run(batch)
            fresh = dict(zip(batch, _pack(features), strict=True))
            found.update(fresh)
            if cache is not None:
                cache.put({keys[text]: record for text, record in fresh.items()})
            return features.summary

        missing = [text for text in texts if text not in found]
        if missing:
            label = f"encoding tokens with {self.name}"
            encode_texts(missing, run, batch_size=self._sentence.batch_size, label=label, progress=progress)
        return [found[text] for text in texts]

    def _run(self, texts: list[str]) -> TokenFeatures:
        """One batch through the model."""
        import torch

        model = self._transformer().auto_model
        inputs = self._tokenizer()(
            texts,
            padding=True,
            padding_side="right",
            truncation=True,
            max_length=self._transformer().max_seq_length,
            return_special_tokens_mask=True,
            return_tensors="pt",
        ).to(model.device)
        special = inputs.pop("special_tokens_mask").bool()
        attended = inputs["attention_mask"].bool()
        with torch.inference_mode():
            states = model(**inputs).last_hidden_state.float()
        kept = attended & ~special
        values = states[kept].half()
        summary = self._summarise(states, attended)
        if not (torch.isfinite(values).all() and torch.isfinite(summary).all()):
            raise InputError(
                f"{self.name} gives NaN, infinity or numbers beyond float16 in {self._sentence.dtype}: take "
                "another dtype or another model."
            )
        offsets = np.concatenate([[0], np.cumsum(kept.sum(dim=1).cpu().numpy())]).astype(np.int64)
        return TokenFeatures(values.cpu().numpy(), offsets, summary.cpu().numpy())

    def _summarise(self, states: Tensor, attended: Tensor) -> Tensor:
        """The summary (n, d) of states (n, t, d), of which those in `attended` (n, t) are tokens."""
        if self.summary == "cls":
            if self._tokenizer().cls_token_id is None:
                raise InputError(f'{self.name} has no CLS token: take summary="mean".')
            return states[:, 0]
        mask = attended.unsqueeze(-1).to(states.dtype)
        return (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)

    def _transformer(self) -> Any:
        from sentence_transformers.base.modules import Transformer

        module = self._sentence.sentence_transformer[0]
        if not isinstance(module, Transformer) or module.tokenizer is None:
            raise InputError(
                f"{self.name} is no single transformer with a tokenizer, so it has no token features: take a "
                "BERT-family model."
            )
        return module

    def _tokenizer(self) -> Any:
        return self._transformer().tokenizer


def _pools_by_mean(name: str, revision: str | None) -> bool:
    """Whether the files of a model, which are at hand, say that its tokens are to be averaged."""
    teacher = resolve(name)
    folder = Path(name).expanduser()
    if teacher is not None or not folder.is_dir():
        found = weights.locate(teacher.model if teacher else name, revision, complete=False)
        if found is None:
            return False
        folder = found
    configs = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*Pooling/config.json")]
    # Before sentence-transformers 5.2 there was a key a mode.
    return any(c.get("pooling_mode_mean_tokens") or "mean" in c.get("pooling_mode", ()) for c in configs)


def _pack(features: TokenFeatures) -> list[FloatArray]:
    """A text's features as one float32 array each, as the cache keeps them: d, the summary, the tokens.

    Two float16 numbers lie in the place of a float32 one.
    """
    records = []
    for row in range(len(features)):
        text = features[row : row + 1]
        flat = text.values.ravel()
        even = np.append(flat, np.zeros(flat.size % 2, dtype=np.float16))
        head = np.array([features.dim], dtype=np.float32)
        records.append(np.concatenate([head, text.summary[0], even.view(np.float32)]))
    return records


def _unpack(records: list[FloatArray]) -> TokenFeatures:
    """The features of texts whose records these are; the list is emptied on the way, to save memory."""
    dim = int(records[0][0])
    summary = np.stack([record[1 : 1 + dim] for record in records])
    lengths = [2 * (record.size - 1 - dim) // dim for record in records]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = np.empty((offsets[-1], dim), dtype=np.float16)
    for row in range(len(records) - 1, -1, -1):
        tokens = records.pop()[1 + dim :].view(np.float16)
        values[offsets[row] : offsets[row + 1]] = tokens[: lengths[row] * dim].reshape(-1, dim)
    return TokenFeatures(values, offsets, summary)
