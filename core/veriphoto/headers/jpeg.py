"""Walks the markers of a JPEG.

Metadata (APP and COM segments, all behind the picture) is left out of the clean stream, but for the two segments that
say how colours are stored: JFIF's and Adobe's, where they are whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from veriphoto.errors import CorruptImageError, ImageError, TooCostlyError, TruncatedImageError
from veriphoto.headers.header import SAVE_AGAIN, Budget, Header, unsupported
from veriphoto.headers.orientation import chosen, from_exif, from_xmp

_MAX_SEGMENTS: Final = 2_000
"""20 MB in segments of 64 kB are 310."""
_MAX_FILL: Final = 1 << 16
_MAX_SCANS: Final = 200
"""Encoders write 1 to 14; the price of a scan decides long before this on large pictures."""
_NOT_FILL: Final = re.compile(rb"[^\xff]")
_FIRST_WINDOW: Final = 1 << 10
_LAST_WINDOW: Final = 1 << 20

_SOF_UNSUPPORTED: Final = {
    0xC3: "lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE, 0xDF), "hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA, 0xCB), "JPEG with arithmetic coding"),
    0xF7: "JPEG-LS",
}
_SOF: Final = (0xC0, 0xC1, 0xC2)
_TABLES: Final = (0xC4, 0xDB, 0xDD)  # DHT, DQT, DRI
_SOS, _EOI, _DNL = 0xDA, 0xD9, 0xDC
_END: Final = b"\xff\xd9"

# CPU time at its worst, fitted on 40-megapixel files of every kind (docs/robustness.md).
_A_PIXEL: Final = 4e-9  # colours, upsampling, a copy
_A_CMYK_PIXEL: Final = 9e-9
_A_SAMPLE: Final = 0.6e-9  # inverse transform
_A_SCAN_SAMPLE: Final = 0.36e-9  # visited by one scan of several
_A_BYTE: Final = 9e-9  # Huffman codes
_A_SCAN_BYTE: Final = 33e-9  # the same where scans refine each other


@dataclass(slots=True)
class _Walk:
    """What is known so far."""

    keep: list[bytes | memoryview] = field(default_factory=lambda: [b"\xff\xd8"])
    size: tuple[int, int] | None = None
    progressive: bool = False
    samples: dict[int, int] = field(default_factory=dict)
    """Samples of each component, by its number."""
    missing: dict[int, list[int]] = field(default_factory=dict)
    """Bits that each of a component's 64 coefficients still lacks; progressive scans bring them one by one."""
    scan_samples: int = 0
    scans: int = 0
    coded: int = 0
    ended: bool = False
    buffered: bool = False
    exif: list[bytes] = field(default_factory=list)
    xmp: int | None = None


def read(data: bytes) -> Header:
    """Reads a JPEG's header.

    Args:
        data: The file's bytes, which begin with SOI.

    Returns:
        What it says.

    Raises:
        ImageError: If it cannot be decoded, or not in reasonable time.
    """
    walk = _Walk()
    _segments(memoryview(data), data, walk)
    if walk.size is None or not walk.scans:
        raise _cut()
    if not walk.ended and any(any(each) for each in walk.missing.values()):
        raise TruncatedImageError("the file ends before the picture does; send the whole file")
    width, height = walk.size
    pixels, total = width * height, sum(walk.samples.values())
    grey, cmyk = len(walk.samples) == 1, len(walk.samples) == 4
    seconds = pixels * (_A_CMYK_PIXEL if cmyk else _A_PIXEL) + total * _A_SAMPLE
    if walk.buffered:
        seconds += walk.scan_samples * _A_SCAN_SAMPLE + walk.coded * _A_SCAN_BYTE
    else:
        seconds += walk.coded * _A_BYTE
    # Pillow keeps one byte a pixel for grey, four for anything else; libjpeg two a sample where scans come in parts.
    loading = (1 if grey else 4) + (2 * total / pixels if walk.buffered else 0)
    orientation = chosen(from_exif(b"".join(walk.exif)), walk.xmp)
    after = max(8 if orientation > 1 else 4, 5 if grey else 8 if cmyk else 4)
    walk.keep.append(_END)
    return Header(
        format="jpeg",
        width=width,
        height=height,
        clean=b"".join(walk.keep),
        orientation=orientation,
        seconds=seconds if walk.ended else 3 * seconds,  # told apart by decoding three times
        pixel_bytes=max(loading, after) + (0 if walk.ended else 4),
        complete=walk.ended,
    )


def _segments(view: memoryview, data: bytes, walk: _Walk) -> None:
    budget, at, fill = Budget(_MAX_SEGMENTS), 2, 0
    while (start := data.find(b"\xff", at)) >= 0:
        found = _NOT_FILL.search(data, start, start + _MAX_FILL)
        fill += (found.start() if found else len(data)) - at - 1
        if fill > _MAX_FILL:
            raise TooCostlyError(f"the file has {fill:,} bytes of filling between its segments; {SAVE_AGAIN}")
        if found is None:
            return
        budget.spend()
        after = _marker(data[found.start()], found.end(), view, data, walk)
        if after is None:
            return
        at = after


def _marker(code: int, at: int, view: memoryview, data: bytes, walk: _Walk) -> int | None:
    """Takes in what a marker stands for; returns where to go on, or None at the end of the picture."""
    if code < 2 or 0xD0 <= code <= 0xD8:  # stuffing, TEM, restarts, SOI: no length follows
        return at
    if code == _EOI:
        walk.ended = True
        return None
    length = int.from_bytes(view[at : at + 2], "big")
    if length < 2:
        return at  # the marker means nothing; what follows it is looked at anew
    body = view[at + 2 : at + length]
    if len(body) < length - 2:
        if walk.scans:
            return None
        raise _cut()
    if code == _SOS:
        return _scan(view, data, at, at + length, walk)
    _segment(code, view[at - 2 : at + length], bytes(body[:64]), body, walk)
    return at + length


def _segment(code: int, whole: memoryview, head: bytes, body: memoryview, walk: _Walk) -> None:
    if code in _TABLES:
        walk.keep.append(whole)
    elif code in _SOF:
        _frame(code, bytes(body), walk)
        walk.keep.append(whole)
    elif code in _SOF_UNSUPPORTED:
        raise unsupported(_SOF_UNSUPPORTED[code])
    # libjpeg's own conditions for believing the two.
    elif (code == 0xE0 and head.startswith(b"JFIF\0") and len(body) >= 14) or (
        code == 0xEE and head.startswith(b"Adobe") and len(body) >= 12
    ):
        walk.keep.append(whole)
    elif code == 0xE1 and head.startswith(b"Exif\0\0"):
        walk.exif.append(bytes(body) if not walk.exif else bytes(body[6:]))
    elif code == 0xE1 and head.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
        walk.xmp = from_xmp(bytes(body))
    elif not (0xE0 <= code <= 0xFE or code in (0xC8, 0xCC, _DNL)):
        raise CorruptImageError(f"the file has an unknown marker (FF {code:02X}); {SAVE_AGAIN}")


def _frame(code: int, body: bytes, walk: _Walk) -> None:
    if walk.size is not None:
        raise CorruptImageError(f"the file describes two pictures in one; {SAVE_AGAIN}")
    if len(body) < 6:
        raise CorruptImageError(f"the picture's size is missing; {SAVE_AGAIN}")
    bits, count = body[0], body[5]
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if bits != 8:
        raise unsupported(f"a JPEG of {bits} bits a channel")
    if count not in (1, 3, 4):
        raise unsupported(f"a JPEG of {count} colour channels")
    if not height and width:
        raise unsupported("a JPEG whose height stands behind its pixels (DNL)")
    if len(body) < 6 + 3 * count:
        raise CorruptImageError(f"the picture's colour channels are not described; {SAVE_AGAIN}")
    factors = {body[6 + 3 * i]: divmod(body[7 + 3 * i], 16) for i in range(count)}
    if len(factors) < count or not all(1 <= factor <= 4 for pair in factors.values() for factor in pair):
        raise CorruptImageError(f"the picture's colour channels are described wrongly; {SAVE_AGAIN}")
    most = (max(across for across, _ in factors.values()), max(down for _, down in factors.values()))
    walk.size, walk.progressive = (width, height), code == 0xC2
    for number, (across, down) in factors.items():
        # Whole blocks of 8 x 8, as they are stored.
        columns, rows = (
            -(-length * part // (8 * whole))
            for length, part, whole in ((width, across, most[0]), (height, down, most[1]))
        )
        walk.samples[number] = 64 * columns * rows
        walk.missing[number] = [16] * 64


def _scan(view: memoryview, data: bytes, at: int, after: int, walk: _Walk) -> int | None:
    """Takes a scan in; returns where the next marker is, or None at the end of the picture."""
    count = view[at + 2] if after - at > 2 else 0
    if walk.size is None or after - at < 6 + 2 * count or not 1 <= count <= 4:
        raise CorruptImageError(f"a scan of the picture is described wrongly; {SAVE_AGAIN}")
    numbers = [view[at + 3 + 2 * i] for i in range(count)]
    end = _next_marker(data, after)
    walk.keep.append(view[at - 2 : end])
    walk.scans += 1
    if walk.scans > _MAX_SCANS:
        raise TooCostlyError(f"the picture is stored in more than {_MAX_SCANS} scans; {SAVE_AGAIN}")
    first, last, bits = view[after - 3], view[after - 2], view[after - 1] & 15
    for number in numbers:
        walk.scan_samples += walk.samples.get(number, 0)
        walk.missing.get(number, [])[first : last + 1] = [bits] * max(0, min(last, 63) + 1 - first)
    walk.coded += end - after
    walk.buffered = walk.progressive or count < len(walk.samples)
    if walk.buffered:
        return end
    # The only scan: whatever follows is no part of the picture.
    walk.ended = end < len(data)
    return None


def _next_marker(data: bytes, at: int) -> int:
    """Finds the first marker in coded data that is neither a stuffed FF nor a restart; else the end of the data."""
    size = _FIRST_WINDOW
    while at < len(data):
        window = np.frombuffer(data, np.uint8, min(size + 1, len(data) - at), at)
        places = np.flatnonzero(window[:-1] == 0xFF)
        codes = window[places + 1]
        places = places[(codes != 0) & (codes != 0xFF) & ((codes < 0xD0) | (codes > 0xD7))]
        if len(places):
            return at + int(places[0])
        at, size = at + size, min(4 * size, _LAST_WINDOW)
    return len(data)


def _cut() -> ImageError:
    return TruncatedImageError("the file ends or breaks inside its header; send the whole file")
