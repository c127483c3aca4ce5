"""Small copies of pictures, in memory for as long as the page runs, so that a queue can be leafed through."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Final

from veriphoto.decoding import decode
from veriphoto.errors import ImageError
from veriphoto_review.cases.case import Case
from veriphoto_review.cases.pictures import read_picture

SIDE: Final = 96
_AT_A_TIME: Final = 8
"""Stores of objects answer slowly; eight answers at a time."""


def thumbnails(cases: Sequence[Case]) -> list[str]:
    """Shrinks the pictures of some cases.

    Args:
        cases: A page of a queue.

    Returns:
        For each a data URI, empty where there is no picture.
    """
    with ThreadPoolExecutor(_AT_A_TIME) as readers:
        return list(readers.map(_thumbnail, map(_Named, cases)))


class _Named:
    """A case that is equal to itself as it was before: what is cached is its picture, not its state."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._name = (case.id, case.reference, case.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Named) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)


@lru_cache(maxsize=2000)
def _thumbnail(named: _Named) -> str:
    try:
        image = decode(read_picture(named.case)).image
    except ImageError:
        return ""
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
