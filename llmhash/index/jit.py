"""Compiling kernels with numba: without the GIL, kept on disk where that can be written.

A kernel is compiled when it is first called, for the one signature that it is called with: numba takes a
writable and a read-only array for two types, so inputs pass through `frozen`. This module loads numba only
when it compiles something.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")
Scalar = TypeVar("Scalar", bound=np.generic)


class Kernel(Generic[P, R]):
    """An entry point into compiled code: called like the function that it was made of."""

    def __init__(self, function: Callable[P, R]) -> None:
        self._function = function
        self._compiled = _compile_cached(function)
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it, the first time after compiling it."""
        try:
            return self._compiled(*args, **kwargs)
        except OSError:
            # Compiled code opens no files: numba could not keep it on disk (full, or read-only by now).
            self._compiled = _compile(self._function)
            return self._compiled(*args, **kwargs)


def kernel(function: Callable[P, R]) -> Kernel[P, R]:
    """Compile an entry point, which Python calls; its machine code is kept on disk."""
    return Kernel(function)


def helper(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that kernels of the same file call.

    Of the same file, because numba discards what it kept on disk only when the entry point's file changes.
    """
    return _compile(function)


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Like `helper`, for innermost paths: there, passing arrays to a function costs more than its work."""
    return _compile(function, forceinline=True)


def frozen(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """A read-only, C-contiguous, aligned view of an array; a copy only where there is no such view."""
    flags = array.flags  # Asking `np.require` would cost as much as a small search.
    fits = flags.c_contiguous and flags.aligned
    view = (array if fits else np.require(array, requirements=["C", "A"])).view(np.ndarray)
    view.flags.writeable = False
    return view


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that gives a signature and generates the code for it."""
    from numba import extending

    made: Callable[..., Any] = extending.intrinsic(function)
    return made


def _compile(function: Callable[P, R], **options: bool) -> Callable[P, R]:
    import numba

    compiled: Callable[P, R] = numba.njit(nogil=True, **options)(function)
    return compiled


def _compile_cached(function: Callable[P, R]) -> Callable[P, R]:
    try:
        return _compile(function, cache=True)
    except RuntimeError:  # There is no folder that numba could keep the machine code in.
        return _compile(function)
