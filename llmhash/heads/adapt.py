"""Fitting a trained head to a corpus that it has never seen, in closed form: no queries and no training.

Two things of a general head are wrong for a narrow corpus. Its thresholds lie where the documents that it
was trained on have their mean, so that many bits hardly vary; and bits stand for what they stood for there.
The corpus's own mean mends the first, a codebook (`llmhash.heads.codebook`) of its documents the second.

Of a few thousand documents a codebook is partly a memory. Those that it has not seen gain less: once they are
about half of all, codes without one rank as well.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmhash.errors import InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray, check_features
from llmhash.heads.codebook_fit import fit_codebook

#: Documents below which their mean says too little, and the head is left as it is.
FEWEST_DOCUMENTS = 100
#: Documents below which a codebook, which has 256 entries a byte, says more of them than of those to come.
CODEBOOK_DOCUMENTS = 1000
# The distill head's weight, and more pull: it keeps Hamming distance better and the asymmetric score worse.
_PARALLEL, _PULL = 8.0, 0.15


def adapt(head: AffineHead, documents: FloatArray, *, codebook: bool = True, seed: int = 0) -> AffineHead:
    """The head with the documents' mean as its thresholds and, of enough documents, a codebook.

    Thresholds of queries, where they have their own, move by as much as those of documents.

    Args:
        head: Any affine head; a codebook that it has is replaced.
        documents: float32 (n, dim), of the corpus.
        codebook: Fit one, where there are `CODEBOOK_DOCUMENTS` and the code is of whole bytes. Such
            codes' prefixes are no codes.
        seed: Of the sample of documents that the codebook is fitted to.

    Raises:
        InputError: There are no documents, or they are of another dimension.
    """
    features = check_features(documents, "documents")
    if len(features) == 0 or features.shape[1] != head.dim:
        raise InputError(f"this head adapts to features (n, {head.dim}), not {features.shape}.")
    if len(features) < FEWEST_DOCUMENTS:
        return head
    mean = features.mean(axis=0, dtype=np.float64)
    shift = head.weight.astype(np.float64) @ mean + head.bias
    centred = replace(head, bias=(head.bias - shift).astype(np.float32), codebook=None)
    if head.query_bias is not None:
        centred = replace(centred, query_bias=(head.query_bias - shift).astype(np.float32))
    if not codebook or len(features) < CODEBOOK_DOCUMENTS or head.bits % 8:
        return centred
    book = fit_codebook(features, centred, parallel=_PARALLEL, pull=_PULL, seed=seed)
    return replace(centred, codebook=book)
