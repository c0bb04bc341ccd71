"""Fitting a token head: DHIM's convolutions, trained so that a text's code tells its own parts from others'.

The objective is `infomax` (Ou et al., EMNLP 2021); others may be added. As in the paper, bits are drawn from
`sigmoid(logit / temperature)` while training. Unlike there, padding and [SEP] are no parts of a text, logits
start centred and with unit variance over some texts, and the best weights are chosen on validation documents,
or on the loss of held-out documents where there are no labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmhash.codes import check_bits
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.network_training import needs_of, parse_terms, train_student, training_device
from llmhash.heads.sign import median_thresholds
from llmhash.heads.tokens import TokenHead
from llmhash.heads.tokens_inputs import TokenSources
from llmhash.heads.tokens_options import TokenOptions
from llmhash.heads.tokens_student import TokenStudent
from llmhash.training import Progress

# Texts that the first weights are scaled on.
_SAMPLE = 256


def fit_tokens(
    features: TrainingFeatures,
    bits: int,
    *,
    objectives: Mapping[str, Any] | None = None,
    seed: int = 0,
    options: TokenOptions | None = None,
    progress: Progress | None = None,
) -> TokenHead:
    """Train a token head; the same map for queries and documents. Texts without tokens are passed over.

    Args:
        features: Documents as `TokenFeatures`, and what the objectives need beside them. "summary" and
            "embeddings" both are the documents' summaries.
        bits: Bits in a code.
        objectives: By name, each a mapping of its settings and its `weight` (a number or a schedule), or a
            weight alone, or None. By default infomax.
        seed: Decides everything random.
        options: Settings; None takes the defaults.
        progress: Called with (step, steps, message).

    Raises:
        InputError: The documents are no token features or have no tokens, a setting is out of range, an
            objective needs what there is not, or training diverged.
    """
    options = options or TokenOptions()
    check_bits(bits)
    terms = parse_terms(objectives or {"infomax": None})
    sources = TokenSources(features, needs_of(terms), training_device(options))
    student = TokenStudent(sources.sample(_SAMPLE, seed), bits, options, seed=seed)
    train_student(student, sources, features, terms, options, bits=bits, seed=seed, progress=progress)
    head = student.head()
    if options.threshold == "zero":
        return head
    return replace(head, bias=head.bias - median_thresholds(head.document_logits(features.documents)))
