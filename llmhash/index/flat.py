"""The exact index: a scan over all codes, at the speed of counting their bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes, bytes_per_code, check_bits
from llmhash.index.base import NO_KEY, Found, FoundInRange, Selection
from llmhash.index.checks import allowed_rows, check_codes, check_k, check_keys, check_radius
from llmhash.index.growing import extended
from llmhash.index.ranges import rows_within
from llmhash.index.scan import Words, as_words, nearest_rows, word_count
from llmhash.index.threads import thread_count


class FlatIndex:
    """Exact nearest neighbours by (distance, insertion), over codes of any width from 1 to 4096 bits.

    It scans all codes, which for short ones is fast: billions of codes a second and core. Codes live in
    memory as 64-bit words, or wherever `from_packed` found them. Several threads may search at once; adding
    belongs to one thread.

    Attributes:
        bits: Bits in a code.
    """

    def __init__(self, bits: int) -> None:
        self.bits = check_bits(bits)
        self._words: Words = np.empty((0, word_count(bytes_per_code(self.bits))), np.uint64)
        self._keys: NDArray[np.int64] | None = None
        self._count = 0

    @classmethod
    def from_packed(
        cls, packed: NDArray[np.uint8], bits: int, keys: NDArray[np.int64] | None = None
    ) -> FlatIndex:
        """An index over codes that stay where they are, for instance in an `np.memmap`.

        Nothing is copied if a packed code is a whole number of 64-bit words (64, 128, 192, ... bits) and the
        array is contiguous and aligned to them; otherwise the codes are copied into words in memory. The
        array must not change while it is searched. `add` copies it first.

        Args:
            packed: uint8 (n, ceil(bits / 8)).
            bits: Bits in a code.
            keys: int64 (n,), different and at least 0; by default the row numbers.

        Raises:
            InputError: The array has another dtype or width, or the keys do not fit.
        """
        index = cls(bits)
        codes = check_codes(packed, index.bits)
        index._words = as_words(codes.packed)
        index._keys = None if keys is None else check_keys(keys, len(codes))
        index._count = len(codes)
        return index

    def __len__(self) -> int:
        return self._count

    def add(self, codes: Codes | NDArray[np.uint8], keys: NDArray[np.int64] | None = None) -> None:
        """Append codes.

        Args:
            codes: n codes of the index's width.
            keys: int64 (n,), at least 0 and different from each other; by default the running row numbers.
                Keys are labels: whether an earlier batch used one is not checked, and both rows then show up.

        Raises:
            InputError: The codes have another width, or the keys do not fit.
        """
        fresh = check_codes(codes, self.bits)
        count = self._count + len(fresh)
        if keys is not None or self._keys is not None:
            labels = np.arange(self._count, count) if keys is None else check_keys(keys, len(fresh))
            before = np.arange(self._count) if self._keys is None else self._keys
            self._keys = extended(before, self._count, labels)
        self._words = extended(self._words, self._count, as_words(fresh.packed))
        self._count = count

    def search(
        self,
        queries: Codes | NDArray[np.uint8],
        k: int,
        *,
        allow: Selection | None = None,
        deny: Selection | None = None,
        threads: int | None = None,
    ) -> Found:
        """The `k` nearest codes of each query, by (distance, insertion).

        Args:
            queries: q codes of the index's width.
            k: Neighbours a query, at least 1.
            allow: Only these may be returned: a boolean mask over the rows in insertion order, or keys (those
                that the index does not hold are passed over).
            deny: These may not be returned, though `allow` may name them.
            threads: Threads to use; by default `LLMHASH_THREADS`, else the usable cores.

        Returns:
            Distances uint16 (q, k) and keys int64 (q, k). Where fewer than k codes qualify, the rest holds
            distance 65535 and key -1.

        Raises:
            InputError: An argument does not fit the index.
        """
        asked = as_words(check_codes(queries, self.bits).packed)
        words, allowed = self._words[: self._count], self._allowed(allow, deny)
        distances, rows = nearest_rows(words, asked, check_k(k), self.bits, allowed, thread_count(threads))
        return distances, self._keys_of(rows)

    def range_search(
        self,
        queries: Codes | NDArray[np.uint8],
        radius: int,
        *,
        allow: Selection | None = None,
        deny: Selection | None = None,
        threads: int | None = None,
    ) -> FoundInRange:
        """All codes within a Hamming distance of each query, by (distance, insertion).

        Args:
            queries: q codes of the index's width.
            radius: The largest distance, from 0 to `bits`.
            allow: As for `search`.
            deny: As for `search`.
            threads: As for `search`.

        Returns:
            `lims` int64 (q + 1,), distances uint16 (lims[q],) and keys int64 (lims[q],): what query i found
            stands from lims[i] up to lims[i + 1].

        Raises:
            InputError: An argument does not fit the index.
        """
        asked = as_words(check_codes(queries, self.bits).packed)
        radii = np.full(len(asked), check_radius(radius, self.bits))
        words, allowed = self._words[: self._count], self._allowed(allow, deny)
        lims, distances, rows = rows_within(words, asked, radii, allowed, thread_count(threads))
        return lims, distances, self._keys_of(rows)

    def search_with_ties(
        self,
        queries: Codes | NDArray[np.uint8],
        k: int,
        *,
        allow: Selection | None = None,
        deny: Selection | None = None,
        threads: int | None = None,
    ) -> FoundInRange:
        """The `k` nearest codes of each query and all others at the k-th one's distance.

        Short codes tie often, and which of those at the last distance are among the first k is but their
        insertion.

        Args:
            queries: q codes of the index's width.
            k: Neighbours a query, at least 1.
            allow: As for `search`.
            deny: As for `search`.
            threads: As for `search`.

        Returns:
            As `range_search`, with at least k codes a query unless fewer qualify.

        Raises:
            InputError: An argument does not fit the index.
        """
        asked = as_words(check_codes(queries, self.bits).packed)
        words, allowed, most = self._words[: self._count], self._allowed(allow, deny), thread_count(threads)
        nearest, _ = nearest_rows(words, asked, check_k(k), self.bits, allowed, most)
        radii = np.minimum(nearest[:, -1].astype(np.int64), self.bits)
        lims, distances, rows = rows_within(words, asked, radii, allowed, most)
        return lims, distances, self._keys_of(rows)

    def _allowed(self, allow: Selection | None, deny: Selection | None) -> NDArray[np.bool_] | None:
        keys = None if self._keys is None else self._keys[: self._count]
        return allowed_rows(allow, self._count, keys, deny)

    def _keys_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        if self._keys is None or not self._count:
            return rows
        return np.where(rows == NO_KEY, NO_KEY, self._keys[rows])
