"""Heads by name: what the command line, recipes and benchmarks call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from llmhash.codes import check_bits
from llmhash.errors import InputError, suggest
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import Head, TrainingFeatures, refuse_not_dense
from llmhash.heads.projection import fit_itq, fit_lsh, fit_pca
from llmhash.heads.rca import fit_rca
from llmhash.heads.scan import fit_scan
from llmhash.heads.sign import fit_median, fit_sign
from llmhash.heads.spectral import fit_spectral
from llmhash.heads.sth import fit_sth

Progress = Callable[[int, int, str], None]
_Fit = Callable[[TrainingFeatures, int, int, Mapping[str, Any], Progress | None], Head]


def fit_head(
    name: str,
    features: TrainingFeatures,
    bits: int,
    *,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> Head:
    """Fit the head called `name`.

    Args:
        name: One of `HEADS`.
        features: What to fit on.
        bits: Bits in a code.
        seed: Decides everything random.
        options: The head's settings by name; see `head_options`. To a trained network, names of objectives
            are those objectives' settings.
        progress: Called with (step, steps, message) by heads that take their time.

    Raises:
        InputError: Head or option is unknown, an option has a value it cannot have, the head takes no such
            features, or it cannot make that many bits of the teacher's dimensions.
    """
    given = dict(options or {})
    known = head_options(name)
    for option in given:
        if option not in known:
            raise InputError(f"the head {name} has no option {option!r}; {suggest(option, known)}")
    check_bits(bits)
    if name not in _TRAINED:
        refuse_not_dense(name, features.documents, words=name in WORD_HEADS)
    return _FITS[name](features, bits, seed, given, progress)


def head_options(name: str) -> tuple[str, ...]:
    """Names of the options that a head takes.

    Raises:
        InputError: There is no head of that name.
    """
    if name not in _FITS:
        raise InputError(f"there is no head {name!r}; {suggest(name, HEADS)}")
    if name in _OPTIONS:
        return _OPTIONS[name]
    if name == "distill":
        from llmhash.heads.distill import DistillOptions

        return tuple(field.name for field in fields(DistillOptions))
    if name in _TRAINED:
        from llmhash.objectives.registry import OBJECTIVES

        return (*(field.name for field in fields(_trained_options(name)) if field.init), *OBJECTIVES)
    return ()


def _itq(
    features: TrainingFeatures, bits: int, seed: int, options: Mapping[str, Any], progress: Progress | None
) -> AffineHead:
    iterations = options.get("iterations")
    if iterations is not None and (not isinstance(iterations, int) or iterations < 1):
        raise InputError(f"iterations must be a whole number from 1, not {iterations!r}.")
    return fit_itq(features, bits, seed=seed, progress=progress, **options)


def _rca(
    features: TrainingFeatures, bits: int, seed: int, options: Mapping[str, Any], progress: Progress | None
) -> AffineHead:
    shrinkage = options.get("shrinkage")
    if shrinkage is not None and not isinstance(shrinkage, int | float):
        raise InputError(f"shrinkage must be a number, not {shrinkage!r}.")
    return fit_rca(features, bits, seed=seed, progress=progress, **options)


def _distill(
    features: TrainingFeatures, bits: int, seed: int, options: Mapping[str, Any], progress: Progress | None
) -> AffineHead:
    # Imported here: the closed-form heads need no torch.
    from llmhash.heads.distill import DistillOptions, fit_distill

    try:
        chosen = DistillOptions(**options)
    except TypeError as error:
        raise InputError(f"an option of distill has a value of the wrong type ({error}).") from error
    return fit_distill(features, bits, seed=seed, options=chosen, progress=progress)


def _sth(
    features: TrainingFeatures, bits: int, seed: int, options: Mapping[str, Any], progress: Progress | None
) -> AffineHead:
    try:
        return fit_sth(features, bits, seed=seed, progress=progress, **options)
    except TypeError as error:
        raise InputError(f"an option of sth has a value of the wrong type ({error}).") from error


def _trained(name: str) -> _Fit:
    """The fit of a head that learns by objectives."""

    def fit(
        features: TrainingFeatures,
        bits: int,
        seed: int,
        options: Mapping[str, Any],
        progress: Progress | None,
    ) -> Head:
        from llmhash.objectives.registry import OBJECTIVES

        objectives = {key: value for key, value in options.items() if key in OBJECTIVES}
        try:
            chosen = _trained_options(name)(**{k: v for k, v in options.items() if k not in objectives})
        except TypeError as error:
            raise InputError(f"an option of {name} has a value of the wrong type ({error}).") from error
        if name == "tokens":
            from llmhash.heads.tokens_fit import fit_tokens

            return fit_tokens(
                features, bits, objectives=objectives, seed=seed, options=chosen, progress=progress
            )
        from llmhash.heads.network_fit import fit_network

        return fit_network(
            features, bits, objectives=objectives, seed=seed, options=chosen, progress=progress
        )

    return fit


def _trained_options(name: str) -> type[Any]:
    # Imported here: they need torch.
    from llmhash.heads.network_options import NetworkOptions
    from llmhash.heads.tokens_options import TokenOptions

    return TokenOptions if name == "tokens" else NetworkOptions


# Heads that objectives train, and which tell themselves what features they take.
_TRAINED = ("network", "tokens")
#: Heads that learn from queries, whether or not the teacher's sides differ.
QUERY_HEADS = ("distill", "rca", "scan")
#: Heads that take words as they are; others need dense features.
WORD_HEADS = ("network", "sth")
_OPTIONS = {
    "itq": ("iterations",),
    "rca": ("shrinkage",),
    "sth": ("neighbours", "diffusion", "regularization", "learner", "max_rows"),
}
_FITS: dict[str, _Fit] = {
    "sign": lambda features, bits, _seed, _options, _progress: fit_sign(features, bits),
    "median": lambda features, bits, _seed, _options, _progress: fit_median(features, bits),
    "lsh": lambda features, bits, seed, _options, _progress: fit_lsh(features, bits, seed=seed),
    "pca": lambda features, bits, _seed, _options, _progress: fit_pca(features, bits),
    "itq": _itq,
    "rca": _rca,
    "spectral": lambda features, bits, seed, _options, _progress: fit_spectral(features, bits, seed=seed),
    "sth": _sth,
    "scan": lambda features, bits, seed, _options, progress: fit_scan(
        features, bits, seed=seed, progress=progress
    ),
    "distill": _distill,
    "network": _trained("network"),
    "tokens": _trained("tokens"),
}
#: Names that `fit_head` knows.
HEADS = tuple(_FITS)
