"""Damages pictures of every format at random, decodes each as Triton's worker does, and counts what came of it.

python -m benchmarks.mutants --count 5000 --seed 19
"""

from __future__ import annotations

import argparse
import io
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

from PIL import Image

from veriphoto.errors import ImageError
from veriphoto.isolation import preprocess

SAMPLES = Path(__file__).parent.parent / "samples"


def originals() -> dict[str, list[bytes]]:
    """Returns sound pictures, small so that damage hits their structure often, by format."""
    import pillow_heif  # noqa: PLC0415 - a tool of developers, who alone have it

    pillow_heif.register_heif_opener()
    colours = Image.open(next(iter(sorted(SAMPLES.glob("*.jpg"))))).convert("RGB").resize((160, 120))
    clear = colours.copy()
    clear.putalpha(colours.convert("L"))
    frames = {"save_all": True, "append_images": [colours.rotate(90)]}
    grey, deep = colours.convert("L"), Image.frombytes("I;16", (80, 60), colours.tobytes()[:9600])
    return {
        "jpeg": [
            _saved(colours, "JPEG", quality=90),
            _saved(colours, "JPEG", progressive=True, exif=_exif(), icc_profile=bytes(3000)),
            _saved(colours.convert("CMYK"), "JPEG"),
            _saved(grey, "JPEG", restart_marker_blocks=3),
            _saved(colours, "MPO", **frames),
        ],
        "png": [
            _saved(colours, "PNG", exif=_exif()),
            _saved(clear, "PNG"),
            _saved(colours.convert("P"), "PNG", transparency=3),
            _saved(deep, "PNG"),
            _saved(grey.convert("1"), "PNG"),
            _saved(colours, "PNG", **frames),
        ],
        "webp": [
            _saved(colours, "WEBP", exif=_exif()),
            _saved(clear, "WEBP", lossless=True),
            _saved(clear, "WEBP", quality=50),
            _saved(colours, "WEBP", **frames),
        ],
        "heif": [_saved(colours, "HEIF", exif=_exif()), _saved(clear, "HEIF"), _saved(colours, "HEIF", **frames)],
        "avif": [_saved(colours, "AVIF", exif=_exif()), _saved(clear, "AVIF"), _saved(colours, "AVIF", **frames)],
    }


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def damaged(data: bytes, rng: Random) -> bytes:
    """Returns a copy with one kind of damage: bytes, a cut, a doubled or lost stretch, an odd length, a jump."""
    body, kind = bytearray(data), rng.randrange(6)
    head = rng.random() < 0.5  # half of the damage goes where the structure is
    place = rng.randrange(min(len(body), 700) if head else len(body))
    if kind == 0:
        for _ in range(rng.randint(1, 30)):
            body[rng.randrange(min(len(body), 700) if head else len(body))] = rng.randrange(256)
    elif kind == 1:
        del body[place:]
    elif kind == 2:
        body[place:place] = body[place : place + rng.randint(1, 400)]
    elif kind == 3:
        del body[place : place + rng.randint(1, 400)]
    elif kind == 4:
        body[place : place + 4] = rng.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\xff\xff"])
    else:
        body[place:] = body[rng.randrange(len(body)) :]
    return bytes(body)


def mutants(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yields that many files with their original's format, the formats in turn."""
    sound, rng = originals(), Random(seed)  # noqa: S311 - damage that can be repeated
    for number in range(count):
        kind = list(sound)[number % len(sound)]
        yield kind, damaged(rng.choice(sound[kind]), rng)


def main() -> None:
    """Decodes them and prints the table; stops with an error at anything but an answer or an ``ImageError``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=19)
    arguments = parser.parse_args()
    outcomes: dict[str, Counter[str]] = {}
    slowest: dict[str, float] = {}
    for kind, data in mutants(arguments.count, arguments.seed):
        began = time.process_time() if kind in ("jpeg", "png", "webp") else time.perf_counter()
        try:
            preprocess(data)
            outcome = "scored"
        except ImageError as error:
            outcome = error.code
        took = (time.process_time() if kind in ("jpeg", "png", "webp") else time.perf_counter()) - began
        outcomes.setdefault(kind, Counter())[outcome] += 1
        slowest[kind] = max(slowest.get(kind, 0.0), took)
    for kind, counts in outcomes.items():
        words = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        print(f"{kind}: {counts.total()}; slowest {slowest[kind] * 1000:.0f} ms; {words}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")


if __name__ == "__main__":
    main()
