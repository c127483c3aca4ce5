"""The test photo that tells whether a server scores: the SDK's, and the gateway's watchdog's."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image

from veriphoto.contract import CONTRACT


@lru_cache(maxsize=1)
def probe_picture() -> bytes:
    """Returns a PNG that every server can score, always the same; it is as small as one crop, so that it is cheap."""
    side = CONTRACT.crop_size
    ramp = Image.linear_gradient("L").resize((side, side))
    buffer = io.BytesIO()
    Image.merge("RGB", (ramp, ramp.rotate(90), ramp.rotate(180))).save(buffer, "PNG")
    return buffer.getvalue()
