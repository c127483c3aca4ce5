"""Reads a file's metadata, and the fingerprints by which its copies are found.

Only numbers leave this module, a few kilobytes a picture: an audit of any size fits into memory.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin

from veriphoto.contract import FORMATS
from veriphoto.decoding import decode
from veriphoto.errors import UnreadableFileError
from veriphoto.headers import read as read_header

_TABLE: Final = 64
METADATA: Final = (
    "width",
    "height",
    "bytes per pixel",
    "format",
    "chroma subsampling",
    *(f"luminance table {index}" for index in range(_TABLE)),
    *(f"chrominance table {index}" for index in range(_TABLE)),
)
"""Names of the columns of ``metadata``. A missing table is NaN, which gradient-boosted trees take as it is."""

_HASH_SIDE: Final = 8
_HASH_PICTURE: Final = 32
THUMB: Final = 24
"""Side of the small grey copy that confirms a near-duplicate, in pixels."""

Metadata = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the audit keeps of a readable picture."""

    metadata: Metadata
    """FP32 [len(METADATA)]."""
    sha256: str
    """sha256 of the file's bytes."""
    phash: int
    """64 bits, see ``perceptual_hash``."""
    thumb: npt.NDArray[np.uint8]
    """UINT8 [THUMB, THUMB], grey."""


def read(path: Path) -> bytes:
    """Reads a file.

    Raises:
        UnreadableFileError: If the disk does not give it.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"the file cannot be read: {error.strerror or error}") from error


def measure_file(data: bytes) -> Facts:
    """Measures one encoded picture.

    Args:
        data: The file's bytes.

    Returns:
        Its facts.

    Raises:
        ImageError: If it cannot be decoded.
    """
    grey = decode(data).image.convert("L")
    small = grey.resize((THUMB, THUMB), Image.Resampling.BOX)
    return Facts(metadata(data), hashlib.sha256(data).hexdigest(), perceptual_hash(grey), np.asarray(small))


def metadata(data: bytes) -> Metadata:
    """Reads what a header says, and the size of the file: everything but the pixels.

    Args:
        data: The bytes of a picture that can be decoded.

    Returns:
        FP32 [len(METADATA)].
    """
    header = read_header(data)
    tables: dict[int, list[int]] = {}
    # -1 is Pillow's word for a sampling it does not know, and ours for a format that has none.
    sampling = -1
    if header.format == "jpeg":
        with Image.open(io.BytesIO(header.clean), formats=["JPEG"]) as image:
            tables = getattr(image, "quantization", None) or {}
            sampling = JpegImagePlugin.get_sampling(image)
    pixels = header.width * header.height
    head = (header.width, header.height, len(data) / pixels, FORMATS.index(header.format), sampling)
    return np.array([*head, *_table(tables.get(0)), *_table(tables.get(1))], dtype=np.float32)


def perceptual_hash(grey: Image.Image) -> int:
    """Hashes what a picture looks like: the signs of its lowest frequencies around their median.

    Rescaling and recompression move few of the 64 bits; pHash as in Zauner, "Implementation and Benchmarking of
    Perceptual Image Hash Functions", 2010.

    Args:
        grey: The picture, mode L.

    Returns:
        The hash, 64 bits.
    """
    from scipy.fft import dctn  # noqa: PLC0415 - scipy belongs to an extra; this module is read before it is needed

    side = (_HASH_PICTURE, _HASH_PICTURE)
    pixels = np.asarray(grey.resize(side, Image.Resampling.LANCZOS), dtype=np.float32)
    low = dctn(pixels, norm="ortho")[:_HASH_SIDE, :_HASH_SIDE].ravel()
    bits = low > np.median(low)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _table(values: list[int] | None) -> list[float]:
    return [float(value) for value in values] if values else [float("nan")] * _TABLE
