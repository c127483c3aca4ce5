"""Hostile bytes in, an upright 8-bit RGB picture out.

The rule for every kind of picture:

* JPEG (also the multi-picture MPO of phones), PNG and WebP are read, whatever the file is called; nothing else is.
* Size, pixel count and side length are checked from the header, before a pixel is decoded.
* Animated files: the first frame. EXIF orientation is applied.
* Palette, greyscale, bilevel: expanded. Alpha, and palette or colour-key transparency: put on white.
* 16 bits a channel: the high byte. CMYK and YCCK: Pillow's plain conversion (Adobe's inversion undone), no profile.
* Colour profiles are ignored: detection looks at the recorded numbers, not at how a screen would show them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from veriphoto.contract import FORMATS, MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE
from veriphoto.errors import (
    CorruptImageError,
    DecompressionBombError,
    FileTooLargeError,
    ImageError,
    NotAnImageError,
    SideTooLongError,
    TooManyPixelsError,
    TruncatedImageError,
    UnsupportedFormatError,
)

_PILLOW_FORMATS: Final = ("JPEG", "PNG", "WEBP")
_MEGA: Final = 1_000_000

# Starts of files that people upload by mistake, so that the refusal can name them.
_OTHER_FORMATS: Final = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"8BPS", "PSD"),
    (b"\0\0\1\0", "ICO"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"DDS ", "DDS"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML or SVG"),
    (b"PK\x03\x04", "ZIP"),
)
_BRANDS: Final = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}
_ORIENTATION: Final = 0x0112
# Pillow's exif_transpose would do the same by way of two more copies of the picture.
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MAGIC: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded picture and what its file said."""

    image: Image.Image
    """Upright, mode RGB."""
    raw: Image.Image
    """As stored, before orientation, mode RGB: its 8 x 8 grid is the encoder's."""
    format: str
    """One of ``contract.FORMATS``."""
    quantization: dict[int, list[int]]
    """JPEG quantisation tables; empty for other formats."""


def decode(data: bytes) -> Decoded:
    """Decodes one uploaded file under Veriphoto's limits.

    Args:
        data: The file's bytes.

    Returns:
        The picture.

    Raises:
        ImageError: One of its leaves, saying what is wrong with the file.
    """
    if len(data) > MAX_FILE_BYTES:
        raise FileTooLargeError(
            f"the file has {len(data) / _MEGA:.1f} MB, the limit is {MAX_FILE_BYTES / _MEGA:.0f}; send a smaller copy"
        )
    try:
        image = _open(data)
        _check_size(*image.size)
        kind = _format(image)
        tables = dict(getattr(image, "quantization", None) or {})
        raw = _to_rgb(image)
        upright = _upright(image, raw)
    except ImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _bomb() from error
    except Exception as error:  # Pillow's decoders raise anything on hostile bytes; none of it may pass for our fault
        raise _broken(error) from error
    return Decoded(upright, raw, kind, tables)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS)
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error


def _unidentified(data: bytes) -> ImageError:
    if not data:
        return NotAnImageError("the file is empty")
    name = _BRANDS.get(data[8:12]) if data[4:8] == b"ftyp" else None
    starts = (data[:64], data[:64].lstrip())
    name = name or next((name for magic, name in _OTHER_FORMATS if any(s.startswith(magic) for s in starts)), None)
    if name is not None:
        return UnsupportedFormatError(f"this is {name}; send JPEG, PNG or WebP")
    if data.startswith(_MAGIC):
        return TruncatedImageError("the file ends or breaks inside its header; send the whole file")
    return NotAnImageError("the file is not a picture; send JPEG, PNG or WebP")


def _format(image: Image.Image) -> str:
    name = (image.format or "").lower()
    name = "jpeg" if name == "mpo" else name  # phones store previews beside a normal JPEG; only the first is read
    if name not in FORMATS:
        raise UnsupportedFormatError(f"this is {image.format}; send JPEG, PNG or WebP")
    return name


def _check_size(width: int, height: int) -> None:
    # Pillow warns here, once a process and through global state; comparing with its limit refuses every time.
    if width * height > (Image.MAX_IMAGE_PIXELS or MAX_PIXELS):
        raise _bomb()
    if max(width, height) > MAX_SIDE:
        raise SideTooLongError(f"{width} x {height} pixels; a side may have {MAX_SIDE}; send a smaller copy")
    if width * height > MAX_PIXELS:
        raise TooManyPixelsError(
            f"{width} x {height} = {width * height / _MEGA:.1f} megapixels, the limit is {MAX_PIXELS / _MEGA:.0f}; "
            "send a smaller copy"
        )
    if min(width, height) < 1:
        raise CorruptImageError("the picture has no pixels")


def _to_rgb(image: Image.Image) -> Image.Image:
    image.seek(0)
    image.load()
    if image.mode.startswith("I") or image.mode == "F":
        return _from_16_bit(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layered = image.convert("RGBA")
        page = Image.new("RGBA", layered.size, "white")
        page.alpha_composite(layered)
        return page.convert("RGB")
    # Not a copy: at 12 megapixels that would cost a fifth of the decoding. The file behind it is only memory.
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8), mode="L")


def _upright(image: Image.Image, raw: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 - a broken EXIF block says nothing about the pixels: they stand as stored
        return raw
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return raw if turn is None else raw.transpose(turn)


def _bomb() -> ImageError:
    return DecompressionBombError("the picture unpacks to far more pixels than a photo has; send a smaller copy")


def _broken(error: Exception) -> ImageError:
    text = str(error).lower()
    if isinstance(error, EOFError) or "truncated" in text or "unexpected end" in text:
        return TruncatedImageError("the file ends before the picture does; send the whole file")
    return CorruptImageError("the picture cannot be decoded; save it again and send that copy")
