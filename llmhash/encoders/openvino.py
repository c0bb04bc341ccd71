"""The OpenVINO backend: the transformer of a SentenceTransformer compiled for the CPU.

Only the transformer is replaced. Tokenizer, pooling and whatever follows stay sentence-transformers' own, so
that features differ from torch's by rounding alone.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmhash.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


def use_openvino(model: SentenceTransformer, dtype: str) -> SentenceTransformer:
    """The model with its transformer compiled with OpenVINO.

    Args:
        model: A float32 model on the CPU, changed in place. Its first module must be a transformer that
            gives token embeddings.
        dtype: Of the computation, "float32" or "bfloat16".

    Raises:
        MissingExtraError: The package openvino is not installed.
        InputError: The model is built otherwise, or OpenVINO cannot convert it.
    """
    try:
        import openvino
    except ImportError:
        raise MissingExtraError("the OpenVINO backend", "openvino") from None
    from sentence_transformers.base.modules import Transformer

    first = model[0]
    if not isinstance(first, Transformer) or first.module_output_name != "token_embeddings":
        raise InputError("the OpenVINO backend takes models that start with one transformer; take torch.")
    names = _input_names(first)
    try:
        with warnings.catch_warnings():
            # Of torch.export, about its own use of itself.
            warnings.simplefilter("ignore", FutureWarning)
            graph = openvino.convert_model(_export(first, names))
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"OpenVINO cannot convert this model ({reason}); take the torch backend.") from error
    compiled = _core().compile_model(
        graph,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[dtype],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        },
    )
    first.model = _Compiled(compiled, names, first.model.config)
    return model


@cache
def _core() -> Any:
    """The process's one OpenVINO core, which is never given up.

    A core puts up an alternate signal stack of its own for the thread that first uses it, and when it goes
    puts back the one that was there before. Where of two cores the first to come is the first to go, the
    other puts back a stack that is no more, and the next signal, Ctrl-C say, is a segmentation fault.
    """
    import openvino

    return openvino.Core()


class _Positional(nn.Module):
    """A transformer that takes its inputs in a fixed order and gives token embeddings alone."""

    def __init__(self, transformer: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.transformer = transformer
        self._names = names

    def forward(self, *inputs: Tensor) -> Tensor:
        output: Tensor = self.transformer(**dict(zip(self._names, inputs, strict=True))).last_hidden_state
        return output


class _Compiled(nn.Module):
    """A compiled transformer with the face that sentence-transformers expects of one."""

    def __init__(self, compiled: Any, names: list[str], config: Any) -> None:
        super().__init__()
        self.config = config
        self._names = names
        self._compiled = compiled

    def forward(self, **inputs: Any) -> dict[str, Tensor]:
        output = self._compiled([inputs[name].numpy() for name in self._names])[0]
        # A copy: the next batch overwrites the output.
        return {"last_hidden_state": torch.from_numpy(output.copy())}


def _input_names(transformer: Any) -> list[str]:
    """The tensors that the transformer takes of those that its tokenizer gives."""
    features = transformer.preprocess(["one text", "another one"])
    # None: it takes whatever it is given.
    taken = transformer.model_forward_params or features
    return [name for name, value in features.items() if isinstance(value, Tensor) and name in taken]


def _export(transformer: Any, names: list[str]) -> torch.export.ExportedProgram:
    """The graph for any number and length of texts, traced on two of them."""
    features = transformer.preprocess(["one text", "another one"])
    length = torch.export.Dim("length", min=2, max=transformer.max_seq_length)
    texts = torch.export.Dim("texts", min=1)
    shapes = tuple({0: texts, 1: length} for _ in names)
    network = _Positional(transformer.model, names).eval()
    with torch.no_grad():
        return torch.export.export(
            network, tuple(features[name] for name in names), dynamic_shapes={"inputs": shapes}, strict=False
        )
