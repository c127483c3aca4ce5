"""The picture that the watchdog's probes score."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image

from veriphoto.contract import CONTRACT


@lru_cache(maxsize=1)
def probe_picture() -> bytes:
    """Returns a small PNG, always the same; it is the size of one crop, so scoring it is cheap."""
    side = CONTRACT.crop_size
    ramp = Image.linear_gradient("L").resize((side, side))
    buffer = io.BytesIO()
    Image.merge("RGB", (ramp, ramp.rotate(90), ramp.rotate(180))).save(buffer, "PNG")
    return buffer.getvalue()
