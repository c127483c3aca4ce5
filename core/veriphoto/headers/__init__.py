"""What the bytes of a file say of its picture, found before any decoder sees them.

``read`` walks the markers of a JPEG, the chunks of a PNG or WebP, the boxes of a HEIF or AVIF: loops with a bound, over
bytes, that judge 20 MB of nonsense in milliseconds. It brings three things about:

* **A price.** Time and memory that decoding will take, so that work out of proportion is refused before it is done.
* **A clean stream.** The decoder is given the pixels and what they need, nothing else: no metadata can cost a picture.
* **A name for what is not supported**, instead of a decoder's guess.

HEIF and AVIF go to their decoders whole: their boxes point at each other by offsets into the file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from veriphoto.errors import ImageError, NotAnImageError, UnsupportedFormatError
from veriphoto.headers import heif, jpeg, png, webp
from veriphoto.headers.header import ACCEPTED, Header

__all__ = ["ACCEPTED", "Header", "looks_accepted", "read"]

# Starts of files that people upload by mistake, so that the refusal can name them.
_OTHER_FORMATS: Final = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"8BPS", "PSD"),
    (b"\0\0\1\0", "ICO"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x8aMNG", "MNG"),
    (b"\x8bJNG", "JNG"),
    (b"DDS ", "DDS"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML or SVG"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM"),
)
_RIFF: Final = {b"AVI ": "AVI", b"WAVE": "WAV"}


def read(data: bytes) -> Header:
    """Reads the header of one uploaded file.

    Args:
        data: The file's bytes.

    Returns:
        What its own structure says. Pixels are neither read nor checked.

    Raises:
        ImageError: One of its leaves, if the structure is broken, not supported, or takes too many parts to walk.
    """
    walk = _walk(data)
    if walk is None:
        raise _unidentified(data)
    return walk(data)


def looks_accepted(data: bytes) -> bool:
    """Tells whether a file begins as one of an accepted format does; the rest is not looked at.

    Args:
        data: The file's bytes, the first twelve at least.
    """
    return _walk(data) is not None


def _walk(data: bytes) -> Callable[[bytes], Header] | None:
    if data.startswith(b"\xff\xd8\xff"):
        return jpeg.read
    if data.startswith(png.SIGNATURE):
        return png.read
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return webp.read
    return heif.read if data[4:8] == b"ftyp" else None


def _unidentified(data: bytes) -> ImageError:
    if not data:
        return NotAnImageError("the file is empty")
    starts = (data[:64], data[:64].lstrip())
    name = next((name for magic, name in _OTHER_FORMATS if any(s.startswith(magic) for s in starts)), None)
    name = name or (_RIFF.get(data[8:12]) if data.startswith(b"RIFF") else None)
    if name is not None:
        return UnsupportedFormatError(f"this is {name}, which is not supported; send {ACCEPTED}")
    return NotAnImageError(f"the file is not a picture; send {ACCEPTED}")
