"""A hasher as a plain SentenceTransformer, of built-in modules only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmhash.encoders.base import Encoder
from llmhash.encoders.sentence import SentenceEncoder
from llmhash.errors import InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray, Head
from llmhash.heads.network import NetworkHead

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense
    from torch.nn import Module


def to_sentence_transformer(encoder: Encoder, head: Head) -> SentenceTransformer:
    """The encoder's modules followed by the head as `Dense`, one a layer.

    The model gives the head's logits, and their signs with `precision="ubinary"`. A codebook is left out: no
    built-in module can search for a code. Those signs are the hasher's own codes unless a codebook chooses
    these.

    Sides that differ become `Router.for_query_document` of two `Dense`; plain `encode` then takes the
    document side. The encoder's prompts become the model's, the document's prompt its default.

    Raises:
        InputError: The encoder is not a SentenceTransformer, or the head is neither affine nor a network.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    if not isinstance(encoder, SentenceEncoder):
        raise InputError(f"an encoder of kind {type(encoder).__name__} cannot become a SentenceTransformer.")
    modules = list(encoder.export_modules())
    if isinstance(head, NetworkHead):
        modules += _layers(head)
    elif not isinstance(head, AffineHead):
        raise InputError(f"a head of the kind {head.kind} cannot become a SentenceTransformer.")
    elif head.shared:
        modules.append(_dense(*head.side("document")))
    else:
        modules.append(
            Router.for_query_document(
                query_modules=[_dense(*head.side("query"))],
                document_modules=[_dense(*head.side("document"))],
                default_route="document",
            )
        )
    prompts = {"query": encoder.prompt("query"), "document": encoder.prompt("document")}
    return SentenceTransformer(
        modules=modules,
        device="cpu",
        prompts=prompts,
        default_prompt_name="document" if prompts["document"] else None,
    )


def _layers(head: NetworkHead) -> list[Dense]:
    """A network's layers, each followed by its activation but for the last."""
    import torch

    follows = {
        "relu": torch.nn.ReLU,
        "tanh": torch.nn.Tanh,
        "sigmoid": torch.nn.Sigmoid,
        "selu": torch.nn.SELU,
    }[head.activation]
    layers = list(zip(head.weights, head.biases, strict=True))
    hidden = [_dense(weight, bias, follows()) for weight, bias in layers[:-1]]
    return [*hidden, _dense(*layers[-1])]


def _dense(weight: FloatArray, bias: FloatArray, activation: Module | None = None) -> Dense:
    import torch
    from sentence_transformers.base.modules import Dense

    return Dense(
        weight.shape[1],
        weight.shape[0],
        activation_function=torch.nn.Identity() if activation is None else activation,
        init_weight=torch.tensor(weight),
        init_bias=torch.tensor(bias),
    )
