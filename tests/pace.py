"""How fast this machine is, so that a bound in seconds of CPU means the same on each."""

from __future__ import annotations

import io
import time
import zlib
from typing import Final

from PIL import Image

_REFERENCE_S: Final = 0.030
"""What the work takes on a quiet core of an AMD EPYC 9004, where the bounds were set."""

_buffer = io.BytesIO()
Image.effect_noise((1024, 1024), 60).convert("RGB").save(_buffer, "JPEG", quality=85)
_JPEG: Final = _buffer.getvalue()
_PACKED: Final = zlib.compress(bytes(4_000_000))


def slowness() -> float:
    """Returns how many times as much CPU time as there fixed work takes here and now; 1 on faster machines.

    The work is a decoded JPEG, unpacked zeros and a loop of Python: what refusals and prices are made of.
    """

    def took() -> float:
        began = time.thread_time()
        Image.open(io.BytesIO(_JPEG)).load()
        zlib.decompress(_PACKED)
        sum(number * number for number in range(200_000))
        return time.thread_time() - began

    return max(1.0, min(took() for _ in range(3)) / _REFERENCE_S)
