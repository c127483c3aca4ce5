"""How fast this machine is, so that a bound in seconds of CPU means the same on each."""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable
from typing import Final

from PIL import Image

_REFERENCE_S: Final = 0.020
"""Chosen, not measured where the bounds were set; a quiet Xeon of 2 GHz (Skylake) takes 0.045 to 0.07."""

_buffer = io.BytesIO()
Image.effect_noise((1024, 1024), 60).convert("RGB").save(_buffer, "JPEG", quality=85)
_JPEG: Final = _buffer.getvalue()
_PACKED: Final = zlib.compress(bytes(4_000_000))


def slowness() -> float:
    """Returns how many times the reference fixed work takes in CPU time, here and now; at least 1.

    The work is a decoded JPEG, unpacked zeros and a loop of Python: what refusals and prices are made of.
    """

    def work() -> None:
        Image.open(io.BytesIO(_JPEG)).load()
        zlib.decompress(_PACKED)
        sum(number * number for number in range(200_000))

    return max(1.0, quickest(work) / _REFERENCE_S)


def quickest(work: Callable[[], object], clock: Callable[[], float] = time.thread_time) -> float:
    """Returns the seconds that work takes, the best of three: a busy machine's caches are others', and the first loads.

    Args:
        work: What is measured.
        clock: What it is measured by; the CPU time of this thread unless told.
    """

    def took() -> float:
        began = clock()
        work()
        return clock() - began

    return min(took() for _ in range(3))
