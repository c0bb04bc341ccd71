"""Fixtures: tiny models of the real architectures: random weights, a vocabulary of letters."""

from __future__ import annotations

import pytest

DIM = 16


def bert(folder, seed=0):
    """A BertModel with a WordPiece vocabulary, as a transformers folder."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz:"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    import torch

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=DIM,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    ).save_pretrained(folder)
    return str(folder)


def xlm_roberta(folder):
    """An XLMRobertaModel, which is bge-m3's architecture, with a Unigram vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = [(token, 0.0) for token in special] + [
        (letter, -2.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"
    ]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    import torch

    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=len(vocabulary),
        hidden_size=DIM,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=66,
        pad_token_id=1,
    )
    XLMRobertaModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=64,
    ).save_pretrained(folder)
    return str(folder)


def save_model(folder, transformer, *, pooling="mean", normalize=True, **settings):
    """A SentenceTransformer of a transformers folder, saved."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.base.modules.normalize import Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling

    modules = [Transformer(transformer), Pooling(DIM, pooling)] + ([Normalize()] if normalize else [])
    SentenceTransformer(modules=modules, device="cpu", **settings).save_pretrained(
        str(folder), create_model_card=False
    )
    return str(folder)


@pytest.fixture(scope="session")
def make_model():
    return save_model


@pytest.fixture(scope="session")
def transformer(tmp_path_factory):
    return bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def other_transformer(tmp_path_factory):
    return bert(tmp_path_factory.mktemp("other"), seed=1)


@pytest.fixture(scope="session")
def xlm_transformer(tmp_path_factory):
    return xlm_roberta(tmp_path_factory.mktemp("xlm"))


@pytest.fixture(scope="session")
def model(tmp_path_factory, transformer):
    """The plain case: mean pooling, Normalize, no prompts."""
    return save_model(tmp_path_factory.mktemp("model") / "tiny", transformer)


@pytest.fixture(scope="session")
def prompted(tmp_path_factory, transformer):
    """A model whose configuration names prompts, E5's way."""
    prompts = {"query": "query: ", "passage": "passage: "}
    return save_model(tmp_path_factory.mktemp("model") / "prompted", transformer, prompts=prompts)


@pytest.fixture(scope="session")
def routed(tmp_path_factory, transformer, other_transformer):
    """A model with a router: queries and documents pass through different transformers."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    router = Router.for_query_document(
        query_modules=[Transformer(other_transformer), Pooling(DIM, "mean")],
        document_modules=[Transformer(transformer), Pooling(DIM, "mean")],
    )
    folder = tmp_path_factory.mktemp("model") / "routed"
    SentenceTransformer(modules=[router], device="cpu").save_pretrained(str(folder), create_model_card=False)
    return str(folder)
