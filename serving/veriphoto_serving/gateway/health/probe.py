"""The test picture that proves Triton alive."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image

from veriphoto.contract import CONTRACT


@lru_cache(maxsize=1)
def probe_picture() -> bytes:
    """Returns a small picture, always the same, as PNG: large enough for one crop, so that it costs little."""
    side = CONTRACT.crop_size
    ramp = Image.linear_gradient("L").resize((side, side))
    buffer = io.BytesIO()
    Image.merge("RGB", (ramp, ramp.rotate(90), ramp.rotate(180))).save(buffer, "PNG")
    return buffer.getvalue()
