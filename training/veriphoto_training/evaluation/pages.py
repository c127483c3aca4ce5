"""Self-contained HTML: no file beside it, nothing fetched, everything a picture says escaped."""

from __future__ import annotations

import base64
import io
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from veriphoto.decoding import decode
from veriphoto.errors import ImageError

THUMBNAIL: Final = 176
"""Longest side of a thumbnail, in pixels."""


def render(template: str, **context: Any) -> str:
    """Fills a template of this package.

    Args:
        template: File name under ``templates``.
        **context: What it names.

    Returns:
        The page.
    """
    loader = PackageLoader(__package__)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    return environment.get_template(template).render(**context)


def thumbnail(data: bytes, side: int = THUMBNAIL) -> str:
    """Shrinks a file to a data URI.

    Args:
        data: Encoded bytes.
        side: Longest side in pixels.

    Returns:
        The URI, empty for a file that cannot be decoded.
    """
    try:
        image = decode(data).image
    except ImageError:
        return ""
    image.thumbnail((side, side))
    return picture_uri(image)


def picture_uri(image: Image.Image) -> str:
    """Turns a picture into the data URI of a JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return data_uri(buffer.getvalue(), "image/jpeg")


def data_uri(content: bytes, kind: str) -> str:
    """Returns the data URI of a file's content with a MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
