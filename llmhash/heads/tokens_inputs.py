"""What a token head's fit reads of its features, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from llmhash.encoders.base import TokenFeatures
from llmhash.errors import InputError
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.network_inputs import Draw, Rows, checksum, standardization, words_and_labels
from llmhash.heads.tokens import check_tokens
from llmhash.objectives.base import Shapes

# What objectives may need of a token head.
_KNOWN = ("locals", "summary", "embeddings", "words", "labels")


class TokenSources:
    """Documents and targets of a token head's fit. Items are the documents that have tokens.

    Inputs are the documents' summaries, centred and of unit mean square; so are the targets "summary" and
    "embeddings".

    Args:
        features: What to fit on, with `TokenFeatures` as documents.
        needs: Of the objectives, each with the name of one that needs it.
        device: Where tensors are wanted.

    Raises:
        InputError: The documents are no token features or have no tokens, or something that is needed is not
            there.
    """

    def __init__(self, features: TrainingFeatures, needs: Mapping[str, str], device: torch.device) -> None:
        for need, objective in needs.items():
            if need not in _KNOWN:
                raise InputError(f"the objective {objective} needs {need}, which the head tokens lacks.")
        self.device = device
        self._documents = check_tokens(features.documents)
        rows = np.flatnonzero(self._documents.lengths)
        if not len(rows):
            raise InputError("no document has a token: there is nothing to fit a token head on.")
        self._rows = torch.from_numpy(rows).to(device)
        summary = self._documents.summary
        self._summaries = Rows(summary, device, standardization(summary))
        self._targets = {name: self._summaries for name in ("summary", "embeddings") if name in needs}
        self._targets |= words_and_labels(features, needs, device)
        self.items = len(rows)
        self.identity = [*self._documents.shape, checksum(self._documents)]

    def shapes(self, bits: int) -> Shapes:
        """What objectives are built for."""
        widths = {name: rows.width for name, rows in self._targets.items()}
        return Shapes(bits, self._documents.dim, widths, len(self._documents))

    def sample(self, limit: int, seed: int) -> TokenFeatures:
        """Some documents that have tokens."""
        chosen = np.random.default_rng((seed, 2)).permutation(self._rows.cpu().numpy())[:limit]
        return self._documents[np.sort(chosen)]

    def draw(self, items: Tensor) -> Draw:
        """What a batch is made of, for items int64 (m,)."""
        rows = self._rows[items]
        targets = {name: source[rows] for name, source in self._targets.items()}
        return Draw(rows, self._summaries[rows], self._documents[rows.cpu().numpy()], targets)
