"""Turns what a caller has (bytes, a path or a PIL image) into the encoded file that the server reads."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from PIL import Image

from veriphoto.contract import MAX_FILE_BYTES
from veriphoto.errors import CorruptImageError, FileTooLargeError, UnreadableFileError

ImageInput: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str] | Image.Image
"""A photo to score: the bytes of an encoded file, a path to one, or a PIL image."""

_MEGA: Final = 1_000_000
_ORIENTATION: Final = 0x0112
_PNG_MODES: Final = frozenset({"1", "L", "LA", "I;16", "P", "RGB", "RGBA"})
_PLAIN: Final = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"} | dict.fromkeys(
    ("RGBX", "CMYK", "YCbCr", "HSV", "LAB"), "RGB"
)
"""Modes that PNG does not support, with an equivalent that it does; alpha is kept."""
_DEEPEST: Final = 65535


def check_type(image: object) -> None:
    """Refuses types that cannot be a photo.

    Args:
        image: The caller's argument.

    Raises:
        TypeError: If it is not an ``ImageInput``.
    """
    if not isinstance(image, bytes | bytearray | memoryview | str | os.PathLike | Image.Image):
        raise TypeError(f"an image is bytes, a path or a PIL image, not {type(image).__name__}")


def load(image: ImageInput) -> bytes:
    """Returns a photo as an encoded file.

    Args:
        image: Bytes and files are used as they are; a PIL image is encoded as PNG, without loss.

    Returns:
        The bytes of one encoded file.

    Raises:
        FileTooLargeError: If it is larger than ``contract.MAX_FILE_BYTES``; such a file is not read.
        UnreadableFileError: If a path cannot be read.
        CorruptImageError: If a PIL image cannot be loaded.
        TypeError: If it has another type, or is a PIL image whose range of values is unknown.
    """
    check_type(image)
    if isinstance(image, Image.Image):
        return _checked(_encode(image), "the image, as PNG,")
    if isinstance(image, str | os.PathLike):
        return _read(Path(image))
    return _checked(bytes(image), "the image")


def _read(path: Path) -> bytes:
    try:
        # Checked before it is opened: opening a named pipe would block until somebody writes to it.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFileError(f"{path} is {_kind(status.st_mode)}, not a file; give the path of a picture")
        if status.st_size > MAX_FILE_BYTES:
            raise _too_large(status.st_size, str(path))
        with path.open("rb") as file:
            # One byte more than allowed, to notice a file that has grown in the meantime.
            return _checked(file.read(MAX_FILE_BYTES + 1), str(path))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UnreadableFileError(f"{path} cannot be read: {_reason(error)}; {advice(error)}") from error


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    try:
        if orientation := image.getexif().get(_ORIENTATION):
            exif[_ORIENTATION] = orientation  # or a phone's photo would be scored lying on its side
        portable = _portable(image)
        # Level 1 takes a third of the default's time for a few per cent more bytes.
        portable.save(buffer, "PNG", compress_level=1, exif=exif, icc_profile=None)
    except (OSError, SyntaxError, ValueError) as error:
        raise CorruptImageError(
            f"the PIL image cannot be encoded: {error}; open it again and load() it first"
        ) from error
    return buffer.getvalue()


def _portable(image: Image.Image) -> Image.Image:
    """Converts an image to an equivalent mode that PNG supports."""
    image.load()
    if image.mode in _PNG_MODES:
        return image
    if image.mode in _PLAIN:
        return image.convert(_PLAIN[image.mode])
    if not image.mode.startswith("I"):
        raise TypeError(f"an image of mode {image.mode} has no fixed range of values; convert it to RGB first")
    numbers = np.asarray(image)  # in any byte order; Pillow's own conversions would clip them to 8 bits
    if image.mode == "I":
        if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) <= _DEEPEST:
            raise TypeError(f"an image of mode I may hold 0 to {_DEEPEST}; scale it, or convert it to RGB first")
        if numbers.size and numbers.max() < 256:
            return Image.fromarray(numbers.astype(np.uint8))  # 8 bits stored in 32, not a black photo of 16
    return Image.fromarray(numbers.astype(np.uint16))


def _checked(data: bytes, name: str) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise _too_large(len(data), name)
    return data


def _too_large(size: int, name: str) -> FileTooLargeError:
    limit = MAX_FILE_BYTES / _MEGA
    return FileTooLargeError(f"{name} has {size / _MEGA:.1f} MB, the limit is {limit:.0f} MB; send a smaller copy")


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def advice(error: Exception) -> str:
    """Says what to do about a file or folder that could not be read."""
    if isinstance(error, FileNotFoundError):
        return "check the path"
    if isinstance(error, PermissionError):
        return "allow this user to read it"
    return "check the path and the disk"
