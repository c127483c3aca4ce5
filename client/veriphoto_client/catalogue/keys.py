"""A set of inputs at 16 bytes each, so that a hundred million fit into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_BYTES: Final = 16
# Of 10^8 inputs, the chance that any two share 128 bits, and one is lost, is 1 in 10^22.
_KEY: Final = np.dtype(f"S{_BYTES}")


class KeySet:
    """A set of the inputs that were seen.

    Holds sorted arrays whose lengths at least halve, so that few are searched for an input and each is merged rarely.
    """

    def __init__(self) -> None:
        self._runs: list[npt.NDArray[Any]] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add_new(self, inputs: Sequence[str]) -> list[bool]:
        """Adds inputs.

        Args:
            inputs: Paths or URIs, possibly with repetitions.

        Returns:
            For each input, whether it is new.
        """
        keys = np.array([_key(text) for text in inputs], dtype=_KEY)
        unique, first = np.unique(keys, return_index=True)
        known = np.zeros(len(unique), dtype=bool)
        for run in self._runs:
            at = np.searchsorted(run, unique)
            known |= run[np.minimum(at, len(run) - 1)] == unique
        fresh = np.zeros(len(keys), dtype=bool)
        fresh[first[~known]] = True
        self._append(unique[~known])
        return [bool(one) for one in fresh]

    def _append(self, run: npt.NDArray[Any]) -> None:
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate((self._runs.pop(), run)))
        if len(run):
            self._runs.append(run)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=_BYTES).digest()
