"""A hasher as a plain SentenceTransformer, of built-in modules only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmhash.encoders.base import Encoder
from llmhash.encoders.sentence import SentenceEncoder
from llmhash.errors import InputError
from llmhash.heads.affine import AffineHead

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense


def to_sentence_transformer(encoder: Encoder, head: AffineHead) -> SentenceTransformer:
    """The encoder's modules followed by the head as `Dense`.

    The model gives the head's logits, and their signs with `precision="ubinary"`. A codebook is left out: no
    built-in module can search for a code. Those signs are the hasher's own codes for queries always, and for
    documents unless a codebook chooses theirs.

    Sides that differ become `Router.for_query_document` of two `Dense`; plain `encode` then takes the
    document side. The encoder's prompts become the model's, the document's prompt its default.

    Raises:
        InputError: The encoder is not a SentenceTransformer.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    if not isinstance(encoder, SentenceEncoder):
        raise InputError(f"an encoder of kind {type(encoder).__name__} cannot become a SentenceTransformer.")
    modules = list(encoder.export_modules())
    document = _dense(head, "document")
    if head.shared:
        modules.append(document)
    else:
        modules.append(
            Router.for_query_document(
                query_modules=[_dense(head, "query")], document_modules=[document], default_route="document"
            )
        )
    prompts = {"query": encoder.prompt("query"), "document": encoder.prompt("document")}
    return SentenceTransformer(
        modules=modules,
        device="cpu",
        prompts=prompts,
        default_prompt_name="document" if prompts["document"] else None,
    )


def _dense(head: AffineHead, side: str) -> Dense:
    import torch
    from sentence_transformers.base.modules import Dense

    weight, bias = head.side(side)
    return Dense(
        head.dim,
        head.bits,
        activation_function=torch.nn.Identity(),
        init_weight=torch.tensor(weight),
        init_bias=torch.tensor(bias),
    )
