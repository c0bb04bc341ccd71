"""Heads by name: what the command line, recipes and benchmarks call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from llmhash.codes import check_bits
from llmhash.errors import InputError, suggest
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.projection import fit_itq, fit_lsh, fit_pca
from llmhash.heads.sign import fit_median, fit_sign

Progress = Callable[[int, int, str], None]
_Fit = Callable[[TrainingFeatures, int, int, Mapping[str, Any], Progress | None], AffineHead]


def fit_head(
    name: str,
    features: TrainingFeatures,
    bits: int,
    *,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> AffineHead:
    """Fit the head called `name`.

    Args:
        name: One of `HEADS`.
        features: What to fit on.
        bits: Bits in a code.
        seed: Decides everything random.
        options: The head's settings by name; see `head_options`.
        progress: Called with (step, steps, message) by heads that take their time.

    Raises:
        InputError: Head or option is unknown, an option has a value it cannot have, or the head cannot make
            that many bits of the teacher's dimensions.
    """
    given = dict(options or {})
    known = head_options(name)
    for option in given:
        if option not in known:
            raise InputError(f"the head {name} has no option {option!r}; {suggest(option, known)}")
    return _FITS[name](features, check_bits(bits), seed, given, progress)


def head_options(name: str) -> tuple[str, ...]:
    """Names of the options that a head takes.

    Raises:
        InputError: There is no head of that name.
    """
    if name not in _FITS:
        raise InputError(f"there is no head {name!r}; {suggest(name, HEADS)}")
    if name == "itq":
        return ("iterations",)
    if name == "distill":
        from llmhash.heads.distill import DistillOptions

        return tuple(field.name for field in fields(DistillOptions))
    return ()


def _itq(
    features: TrainingFeatures, bits: int, seed: int, options: Mapping[str, Any], progress: Progress | None
) -> AffineHead:
    iterations = options.get("iterations")
    if iterations is not None and (not isinstance(iterations, int) or iterations < 1):
        raise InputError(f"iterations must be a whole number from 1, not {iterations!r}.")
    return fit_itq(features, bits, seed=seed, progress=progress, **options)


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


_FITS: dict[str, _Fit] = {
    "sign": lambda features, bits, _seed, _options, _progress: fit_sign(features, bits),
    "median": lambda features, bits, _seed, _options, _progress: fit_median(features, bits),
    "lsh": lambda features, bits, seed, _options, _progress: fit_lsh(features, bits, seed=seed),
    "pca": lambda features, bits, _seed, _options, _progress: fit_pca(features, bits),
    "itq": _itq,
    "distill": _distill,
}
#: Names that `fit_head` knows.
HEADS = tuple(_FITS)
