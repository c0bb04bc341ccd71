"""Encoders: texts to features. Names load on first use: this package alone pulls in no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from llmhash.encoders.base import Encoder, Features, Side, TokenFeatures

if TYPE_CHECKING:
    from llmhash.encoders.cache import FeatureCache as FeatureCache
    from llmhash.encoders.joined import JoinedEncoder as JoinedEncoder
    from llmhash.encoders.sentence import SentenceEncoder as SentenceEncoder
    from llmhash.encoders.teachers import TEACHERS as TEACHERS
    from llmhash.encoders.teachers import Teacher as Teacher
    from llmhash.encoders.teachers import resolve as resolve_teacher
    from llmhash.encoders.teachers import weights_at_hand as weights_at_hand
    from llmhash.encoders.tfidf import TfidfEncoder as TfidfEncoder
    from llmhash.encoders.tfidf import word_counts as word_counts
    from llmhash.encoders.tokens import TokenEncoder as TokenEncoder

_EXPORTS = {
    "FeatureCache": ("cache", "FeatureCache"),
    "JoinedEncoder": ("joined", "JoinedEncoder"),
    "SentenceEncoder": ("sentence", "SentenceEncoder"),
    "TEACHERS": ("teachers", "TEACHERS"),
    "Teacher": ("teachers", "Teacher"),
    "TfidfEncoder": ("tfidf", "TfidfEncoder"),
    "TokenEncoder": ("tokens", "TokenEncoder"),
    "resolve_teacher": ("teachers", "resolve"),
    "weights_at_hand": ("teachers", "weights_at_hand"),
    "word_counts": ("tfidf", "word_counts"),
}

__all__ = [
    "TEACHERS",
    "Encoder",
    "FeatureCache",
    "Features",
    "JoinedEncoder",
    "SentenceEncoder",
    "Side",
    "Teacher",
    "TfidfEncoder",
    "TokenEncoder",
    "TokenFeatures",
    "resolve_teacher",
    "weights_at_hand",
    "word_counts",
]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        module, attribute = _EXPORTS[name]
        return getattr(import_module(f"{__name__}.{module}"), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
