"""Hostile bytes in, an upright 8-bit RGB picture out.

The rule for every kind of picture:

* JPEG (also the multi-picture MPO of phones), PNG, WebP, HEIC and AVIF are read, whatever the file is called.
* Size, pixel count, side length and the work of decoding are checked from the header, before a pixel is decoded
  (``veriphoto.headers``). Metadata is left out before a decoder sees the file.
* Animated files: the first frame; HEIF files: the primary picture. Orientation is applied, once.
* Palette, greyscale, bilevel: expanded. Alpha, and palette or colour-key transparency: put on white.
* 16 bits a channel: the high byte. CMYK and YCCK: Pillow's plain conversion (Adobe's inversion undone), no profile.
* Large pictures are made smaller by 2, 4 or 8 while they are decoded (``reduction``): a JPEG by its decoder, which then
  does a part of the work only, others by averaging.
* Colour profiles are ignored: detection looks at the recorded numbers, not at how a screen would show them.
"""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import AvifImagePlugin, Image, ImageFile, UnidentifiedImageError

from veriphoto.contract import (
    MAX_DECODE_BYTES,
    MAX_DECODE_SECONDS,
    MAX_FILE_BYTES,
    MAX_PIXELS,
    MAX_SIDE,
)
from veriphoto.errors import (
    CorruptImageError,
    DecompressionBombError,
    FileTooLargeError,
    ImageError,
    SideTooLongError,
    TooCostlyError,
    TooManyPixelsError,
    TruncatedImageError,
)
from veriphoto.headers import Header, read
from veriphoto.headers.header import SAVE_AGAIN
from veriphoto.headers.orientation import from_exif

_MEGA: Final = 1_000_000
_MOST_SECONDS: Final = 4.0
"""CPU time after which the decoding of a JPEG or PNG is given up, between two blocks of its file and whatever its price
was: four times the highest price, for slower processors."""
_AT_REST: Final = 12 * _MEGA
"""Memory of a decoder, and of the band of pixels it works on, whatever the picture's size."""
_BAND: Final = 1 << 19
"""Pixels that are converted at a time, so that intermediate steps do not multiply the memory of a large picture."""
_KEPT_SIDE: Final = 720
"""Pixels of the shorter side that are always left: what shops serve is no larger, and a square of 224 pixels shows no
more of it."""
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS: Final = (5, 6, 7, 8)
"""Orientations that exchange width and height."""
_END_OF_JPEG: Final = b"\xff\xd9"
_TAILS: Final = (bytes(32), b"\xff\0" * 16)
"""Put behind the coded data of a JPEG without end mark: where pixels are missing, each changes them."""

_Box = tuple[int, int, int, int]

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a core belongs to one picture at a time


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded picture and what its file said."""

    image: Image.Image
    """Upright, mode RGB, made smaller by ``scale``."""
    raw: Image.Image
    """As stored, before orientation, mode RGB; with a ``scale`` of 1, its 8 x 8 grid is the encoder's."""
    size: tuple[int, int]
    """Width and height of the upright picture in its file, in pixels."""
    scale: int
    """What its sides were divided by: 1, 2, 4 or 8."""
    format: str
    """One of ``contract.FORMATS``."""
    quantization: dict[int, list[int]]
    """JPEG quantisation tables; empty for other formats."""


def reduction(width: int, height: int) -> int:
    """Returns what a picture's sides are divided by when it is decoded: 1, 2, 4 or 8.

    Args:
        width: Width of the picture in its file, in pixels.
        height: Its height.
    """
    return next((scale for scale in (8, 4, 2) if min(width, height) >= scale * _KEPT_SIDE), 1)


def examine(data: bytes) -> Header:
    """Checks one uploaded file against Veriphoto's limits, before a pixel is decoded.

    Args:
        data: The file's bytes.

    Returns:
        What its structure says.

    Raises:
        ImageError: One of its leaves, saying what is wrong with the file.
    """
    if len(data) > MAX_FILE_BYTES:
        raise FileTooLargeError(
            f"the file has {len(data) / _MEGA:.1f} MB, the limit is {MAX_FILE_BYTES / _MEGA:.0f}; send a smaller copy"
        )
    header = read(data)
    _check_size(header.width, header.height)
    _check_work(header, len(data) + len(header.clean))
    return header


def decode(data: bytes, header: Header | None = None) -> Decoded:
    """Decodes one uploaded file under Veriphoto's limits.

    Args:
        data: The file's bytes.
        header: What ``examine`` said of it, if it was asked already.

    Returns:
        The picture.

    Raises:
        ImageError: One of its leaves, saying what is wrong with the file.
    """
    header = header or examine(data)
    try:
        return _decode(header)
    except ImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _bomb() from error
    except MemoryError as error:
        raise TooCostlyError("there is not enough memory to decode the picture; send a smaller copy") from error
    except Exception as error:  # decoders raise anything on hostile bytes; none of it may pass for our fault
        raise _broken(error) from error


def _decode(header: Header) -> Decoded:
    image = _LOADERS[header.format](header)
    orientation = header.orientation
    if header.format == "avif":  # Pillow hands its rotation and mirroring on in EXIF's words
        orientation = from_exif(image.info.get("exif", b"")) or 1
    tables = dict(getattr(image, "quantization", None) or {})
    raw = _to_rgb(image, header)
    # A JPEG's decoder has reduced it already. What a HEIF file says of its size may be before rotation.
    width, height = (header.width, header.height) if header.format == "jpeg" else image.size
    scale = reduction(width, height)
    if scale > 1 and header.format != "jpeg":
        raw = raw.reduce(scale)
    del image
    turn = _TURNS.get(orientation)
    size = (height, width) if orientation in _SIDEWAYS else (width, height)
    # Pillow's exif_transpose would do the same by way of two more copies of the picture.
    upright = raw if turn is None else raw.transpose(turn)
    return Decoded(upright, raw, size, scale, header.format, tables)


class _Metered(io.BytesIO):
    """A file that stops being read when the thread that reads it has had its CPU time."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._end = time.thread_time() + _MOST_SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self._end:
            raise TooCostlyError(f"the picture takes more than {_MOST_SECONDS:.0f} s to decode; {SAVE_AGAIN}")
        return super().read(size)


def _open(header: Header, data: bytes) -> ImageFile.ImageFile:
    try:
        image = Image.open(_Metered(data), formats=[header.format.upper()])
    except UnidentifiedImageError as error:
        raise _broken(error) from error
    if image.size != (header.width, header.height):
        raise CorruptImageError(f"the file says two sizes of its picture; {SAVE_AGAIN}")
    return image


def _loaded(header: Header) -> Image.Image:
    image = _open(header, header.clean)
    image.load()
    return image


def _reduced(header: Header, data: bytes) -> Image.Image:
    image = _open(header, data)
    scale = reduction(header.width, header.height)
    image.draft(None, (header.width // scale, header.height // scale))
    image.load()
    return image


def _load_jpeg(header: Header) -> Image.Image:
    first = _reduced(header, header.clean)
    if header.complete:
        return first
    expected = _sum(first)
    for tail in _TAILS:
        image = _reduced(header, header.clean.removesuffix(_END_OF_JPEG) + tail + _END_OF_JPEG)
        if _sum(image) != expected:
            raise TruncatedImageError("the file ends before the picture does; send the whole file")
        del image
    return first


def _load_heif(header: Header) -> Image.Image:
    # Half of our users never see a HEIC, and its library costs their start some milliseconds.
    import pi_heif  # noqa: PLC0415

    pi_heif.options.DECODE_THREADS = 1
    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    opened = pi_heif.open_heif(header.clean)
    picture = opened[opened.primary_index]
    # A copy: the library's buffer does not outlive its own object.
    return Image.frombytes(picture.mode, picture.size, picture.data, "raw", picture.mode, picture.stride)


_LOADERS: Final[dict[str, Callable[[Header], Image.Image]]] = {
    "jpeg": _load_jpeg,
    "png": _loaded,
    "webp": _loaded,
    "heif": _load_heif,
    "avif": _loaded,
}


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


def _check_work(header: Header, held: int) -> None:
    size, kind = f"{header.width} x {header.height} pixels", header.format.upper()
    if header.seconds > MAX_DECODE_SECONDS:
        raise TooCostlyError(
            f"{size}, as this {kind} stores them, take about {header.seconds:.1f} s to decode, the limit is "
            f"{MAX_DECODE_SECONDS:.1f} s; send a smaller copy, or save it again as a plain JPEG"
        )
    memory = header.width * header.height * header.pixel_bytes + held + _AT_REST
    if memory > MAX_DECODE_BYTES:
        raise TooCostlyError(
            f"{size}, as this {kind} stores them, take about {memory / _MEGA:.0f} MB to decode, the limit is "
            f"{MAX_DECODE_BYTES / _MEGA:.0f} MB; send a smaller copy, or save it again as a plain JPEG"
        )


def _to_rgb(image: Image.Image, header: Header) -> Image.Image:
    key = header.colour_key
    if key is not None and header.depth <= 8:
        image = image.convert("L") if image.mode == "1" else image
        scaled = tuple(value * (255 // ((1 << header.depth) - 1)) for value in key)
        image.info["transparency"] = scaled if len(scaled) > 1 else scaled[0]
    elif key is not None:
        return _on_white_but(key, image, header)
    if image.mode.startswith("I"):
        return _by_bands(image, lambda band, _: Image.fromarray(_high_byte(_deep(band))))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _by_bands(image, lambda band, _: _on_white(band))
    # Not a copy: at 12 megapixels that would cost a fifth of the decoding. The file behind it is only memory.
    return image if image.mode == "RGB" else image.convert("RGB")


def _by_bands(image: Image.Image, convert: Callable[[Image.Image, _Box], Image.Image]) -> Image.Image:
    width, height = image.size
    rows = max(1, _BAND // width)
    made = Image.new("RGB", image.size)
    for top in range(0, height, rows):
        box = (0, top, width, min(height, top + rows))
        made.paste(convert(image.crop(box), box).convert("RGB"), box[:2])
    return made


def _on_white(band: Image.Image) -> Image.Image:
    page = Image.new("RGBA", band.size, "white")
    page.alpha_composite(band if band.mode == "RGBA" else band.convert("RGBA"))
    return page


def _deep(band: Image.Image) -> npt.NDArray[np.uint16]:
    return np.asarray(band).astype("<u2", copy=False)


def _high_byte(stored: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(stored.view(np.uint8)[:, 1::2])


def _on_white_but(key: tuple[int, ...], image: Image.Image, header: Header) -> Image.Image:
    """Makes white, in a picture of 16 bits a channel, what has the key's colour in all of them."""
    if len(key) == 1:

        def grey(band: Image.Image, _: _Box) -> Image.Image:
            stored = _deep(band)
            return Image.fromarray(np.where(stored == key[0], np.uint8(255), _high_byte(stored)))

        return _by_bands(image, grey)
    # Pillow reads the high byte of such pixels; read as if the other byte came first, they give the low one.
    low = _open(header, header.clean)
    low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]
    low.load()

    def colour(band: Image.Image, box: _Box) -> Image.Image:
        same = np.ones((band.height, band.width), bool)
        for value, high_plane, low_plane in zip(key, band.split(), low.crop(box).split(), strict=True):
            same &= np.asarray(high_plane) == value >> 8
            same &= np.asarray(low_plane) == value & 255
        band.paste((255, 255, 255), mask=Image.fromarray(same))
        return band

    return _by_bands(image, colour)


def _sum(image: Image.Image) -> int:
    found = 0
    for top in range(0, image.height, rows := max(1, _BAND // image.width)):
        band = image.crop((0, top, image.width, min(image.height, top + rows)))
        found = zlib.crc32(band.tobytes(), found)
    return found


def _bomb() -> ImageError:
    return DecompressionBombError("the picture unpacks to far more pixels than a photo has; send a smaller copy")


def _broken(error: Exception) -> ImageError:
    text = str(error).lower()
    if isinstance(error, EOFError) or "truncated" in text or "unexpected end" in text:
        return TruncatedImageError("the file ends before the picture does; send the whole file")
    return CorruptImageError(f"the picture cannot be decoded; {SAVE_AGAIN}")
