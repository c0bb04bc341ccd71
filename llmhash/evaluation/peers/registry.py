"""Peers by name: which there are, what widths they can do, how they are fitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from llmhash.errors import InputError
from llmhash.evaluation.peers import additive, components, product, sentence
from llmhash.evaluation.peers.base import FloatArray, Peer, import_faiss

_Fit = Callable[[FloatArray, int, int], Peer]

_FAISS: dict[str, _Fit] = {
    "pq": product.fit_pq,
    "opq": product.fit_opq,
    "rq": additive.fit_rq,
    "lsq": additive.fit_lsq,
    "pca_sq8": components.fit_pca_sq8,
    "pca_rabitq": components.fit_pca_rabitq,
    "rabitq": components.fit_rabitq,
}
_SENTENCE_TRANSFORMERS: dict[str, _Fit] = {
    "st_ubinary": sentence.fit_ubinary,
    "st_int8": sentence.fit_int8,
}
_FITS = {**_FAISS, **_SENTENCE_TRANSFORMERS}

#: Names that `fit_peer` knows.
PEERS = tuple(_FITS)
#: Names that stand for several peers.
GROUPS = {"faiss": tuple(_FAISS), "sentence-transformers": tuple(_SENTENCE_TRANSFORMERS)}
#: Peers in which nothing is random: they run once, whatever the number of seeds.
SEEDLESS_PEERS = frozenset({"pca_sq8", "st_ubinary", "st_int8"})

# Peers that choose their own size.
_OWN_BITS = {"rabitq": 1, "st_int8": 8}


def peer_names(names: Sequence[str]) -> list[str]:
    """Names of peers, those of `GROUPS` spelt out, each once.

    Raises:
        InputError: A name is unknown.
        MissingExtraError: FAISS is not installed.
    """
    chosen = list(dict.fromkeys(peer for name in names for peer in GROUPS.get(name, (name,))))
    for name in chosen:
        if name not in PEERS:
            raise InputError(f"unknown peer {name!r}; there are {', '.join([*GROUPS, *PEERS])}.")
    if chosen:
        import_faiss()
    if not _SENTENCE_TRANSFORMERS.keys().isdisjoint(chosen):
        # It takes seconds to load, which are no part of any peer's.
        import_module("sentence_transformers.util.quantization")
    return chosen


def peer_widths(name: str, bits: Sequence[int], dim: int) -> list[int]:
    """The widths to run a peer at: `bits`, or its own where it has no choice; ubinary codes also whole."""
    if name in _OWN_BITS:
        return [_OWN_BITS[name] * dim]
    return list(dict.fromkeys([*bits, dim] if name == "st_ubinary" else bits))


def peer_obstacle(name: str, bits: int, dim: int) -> str | None:
    """Why a peer cannot do a width on embeddings of `dim` dimensions, or None."""
    if name in _OWN_BITS:
        return None
    if bits % 8:
        return "no whole number of bytes"
    if name == "st_ubinary" and bits > dim:
        return f"more bits than the {dim} dimensions"
    if name == "pca_rabitq" and components.rabitq_dimensions(bits // 8, dim) is None:
        return f"no number of components up to {dim} gives codes and factors of {bits // 8} bytes together"
    if name == "pca_sq8" and bits // 8 > dim:
        return f"more components than the {dim} dimensions"
    if name in ("pq", "opq") and bits // 8 > dim:
        return f"more sub-quantizers than the {dim} dimensions"
    return None


def fit_peer(name: str, training: FloatArray, bits: int, *, seed: int) -> Peer:
    """Fit a peer.

    Args:
        name: One of `PEERS`.
        training: float32 (n, d), document embeddings, at least 256.
        bits: Of a code, factors included.
        seed: Of whatever is random: k-means, rotations, the sample of a large corpus that is fitted on.

    Raises:
        InputError: The peer is unknown or cannot do that width.
    """
    if name not in _FITS:
        raise InputError(f"unknown peer {name!r}; there are {', '.join(PEERS)}.")
    obstacle = peer_obstacle(name, bits, training.shape[1])
    if obstacle is not None:
        raise InputError(f"{name} cannot do {bits} bits: {obstacle}.")
    return _FITS[name](training, bits // 8, seed)
