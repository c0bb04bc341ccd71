"""Every setting of a token head's fit but its objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from llmhash.heads.network_options import NetworkOptions, Scheduled
from llmhash.heads.tokens import check_windows
from llmhash.objectives.base import whole


@dataclass(frozen=True)
class TokenOptions(NetworkOptions):
    """Every setting of a token head's fit but its objectives; those not listed are a network's.

    Attributes:
        windows: Tokens that the filters see, odd numbers.
        channels: Filters of each window.
        hidden, activation, dropout, latent: Are as the paper has them, and cannot be set.
    """

    windows: Sequence[int] = (1, 3, 5)
    channels: int = 256
    hidden: Sequence[int] = field(default=(), init=False)
    activation: str = field(default="relu", init=False)
    dropout: float = field(default=0.0, init=False)
    latent: Literal["plain", "gaussian"] = field(default="plain", init=False)
    estimator: str = "stochastic"
    temperature: Scheduled = 1.0
    # Texts go through the convolutions at each validation: a tenth of what a network can afford.
    validation_queries: int = 500
    validation_documents: int = 4000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_windows(tuple(self.windows))
        whole("channels", self.channels)
