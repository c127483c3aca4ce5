"""Every generator in every container that it writes; what only looks like a claim; and files made to hurt."""

from __future__ import annotations

import io
import random
import struct
import time
import zlib

import pytest
from pace import quickest, slowness
from PIL import Image

from veriphoto_client.metadata.containers import may_claim
from veriphoto_client.metadata.provenance import inspect

from .conftest import picture
from .writers_kit import (
    COMFY,
    SECRET,
    SIGNED,
    WEB_UI,
    WRITERS,
    Make,
    Tag,
    avif,
    behind_the_pixels,
    chunk,
    credentials,
    iptc,
    jpeg,
    piexif_comment,
    png,
    segment,
    text,
    tiff,
    with_segments,
    xmp,
)

MUTANTS = 2000
PATIENCE_S = 0.1
"""Of processor time, for any one file."""
EXPOSURE: list[Tag] = [
    (0x829A, 5, struct.pack("<II", 1, 125)),
    (0x829D, 5, struct.pack("<II", 28, 10)),
    (0x8827, 3, struct.pack("<H", 100)),
]


@pytest.mark.parametrize(
    ("tool", "container", "make", "fields"), WRITERS, ids=lambda value: "maker" if callable(value) else str(value)[:30]
)
def test_every_writer_is_recognised_and_no_prompt_repeated(
    tool: str, container: str, make: Make, fields: list[str]
) -> None:
    data = make()
    for file in [data, behind_the_pixels(data)] if container.startswith("PNG") else [data]:
        found = inspect(file)
        assert may_claim(file)
        assert found.complete
        assert found.generation_parameters == {"status": "present", "fields": fields, "tool": tool}
        assert found.camera == {"status": "absent"}
        assert "handbag" not in str(found)


@pytest.mark.parametrize(
    ("tool", "container", "make", "fields"), WRITERS, ids=lambda value: "maker" if callable(value) else str(value)[:30]
)
def test_iptc_source_types_are_found_wherever_they_stand(
    tool: str, container: str, make: Make, fields: list[str]
) -> None:
    data = make()
    expected = {"status": "present", "value": "trainedAlgorithmicMedia"} if b"SourceType" in data else None
    assert inspect(data).digital_source_type == (expected or {"status": "absent"})
    if expected and container.startswith("PNG"):
        assert inspect(behind_the_pixels(data)).digital_source_type == expected


@pytest.mark.parametrize(("tool", "generator", "agent"), SIGNED)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_signed_pictures_name_generator_and_source_type(kind: str, tool: str, generator: str, agent: str) -> None:
    data = credentials(kind, generator, agent)
    found = inspect(data)
    assert may_claim(data)
    assert found.complete
    assert found.c2pa == {
        "status": "present",
        "validity": "valid",
        "trusted": False,
        "issuer": "",
        "generator": tool,
        "digital_source_type": "trainedAlgorithmicMedia",
    }
    assert "handbag" not in str(found)


def test_free_text_in_a_manifest_or_a_source_type_is_not_repeated() -> None:
    found = inspect(credentials("JPEG", SECRET, SECRET))
    assert (found.c2pa["generator"], found.c2pa["validity"]) == ("", "valid")
    typed = inspect(picture(xmp=xmp("", f'iptcExt:DigitalSourceType="{SECRET}"').encode()))
    assert typed.digital_source_type == {"status": "present", "value": "unknown"}
    keyed = inspect(png({SECRET: WEB_UI}))
    assert keyed.generation_parameters == {"status": "present", "fields": ["text"], "tool": "Stable Diffusion web UI"}


CAMERAS: list[tuple[str, str, list[Tag], bool]] = [
    ("Canon", "Canon EOS 5D Mark IV", [], True),
    ("NIKON CORPORATION", "NIKON Z 6_2", EXPOSURE, True),
    ("Apple", "iPhone 15 Pro Max", EXPOSURE, True),
    ("Apple", "iPhone XR", [], True),
    ("samsung", "SM-G991B", EXPOSURE, True),
    ("motorola", "moto g(7) power", EXPOSURE, True),
    ("EASTMAN KODAK COMPANY", "KODAK EASYSHARE C813 ZOOM DIGITAL CAMERA", [], True),
    ("Hewlett-Packard", "HP PhotoSmart C945 (V01.46)", [], True),
    ("Unheard Of Optics", "UO-1", EXPOSURE, True),
    ("", "UO-1", EXPOSURE, True),
    ("", "iPhone 6", EXPOSURE[:1], True),
    ("", "UO-1", EXPOSURE[:1], False),
    ("Unheard Of Optics", "UO-1", [], False),
    ("Stable Diffusion", "sdxl", [], False),
    ("USO", "flux-dev", [], False),
    ("Canon", "a red leather handbag on white, studio photo", [], False),
    ("Apple", "red handbag", [], False),
    ("Canon", '{"text": "red handbag"}', [], False),
    (f"workflow:{WEB_UI}", "EOS R5", EXPOSURE, False),
    ("", SECRET, EXPOSURE, False),
    (SECRET + ", product photo, soft light", "", EXPOSURE, False),
    ("prompt: handbag", "workflow: handbag", EXPOSURE, False),
    ("Canon\nhandbag", "EOS R5", EXPOSURE, False),
    ("C" * 60, "EOS R5", EXPOSURE, False),
]


@pytest.mark.parametrize(("make", "model", "fields", "expected"), CAMERAS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_camera_is_what_looks_like_one(kind: str, make: str, model: str, fields: list[Tag], expected: bool) -> None:
    tags = [text(tag, value) for tag, value in ((0x010F, make), (0x0110, model)) if value]
    block = tiff(tags, fields)
    found = inspect(jpeg(block) if kind == "JPEG" else picture(kind=kind, exif=block))
    camera = {"status": "present", "make": make, "model": model} if expected else {"status": "absent"}
    assert found.camera == camera
    assert "handbag" not in str(found)


def test_an_odd_model_beside_a_real_camera_is_left_out() -> None:
    block = tiff([text(0x010F, "Canon"), text(0x0110, "prompt: handbag")], EXPOSURE)
    assert inspect(jpeg(block)).camera == {"status": "present", "make": "Canon", "model": ""}


@pytest.mark.parametrize(
    "data",
    [
        picture(kind="PNG"),
        png({"Software": "Adobe Photoshop 25.0", "Comment": "Created with GIMP", "Description": "steps: 3, red"}),
        png({"Title": "Imagen de un bolso", "Author": "Gemini Ortega", "Creation Time": "2026"}),
        picture(xmp=xmp("<xmp:CreatorTool>Adobe Lightroom 13</xmp:CreatorTool>").encode()),
        jpeg(tiff([text(0x0131, "HDR+ 1.0"), text(0x010E, "Firefly at night")], EXPOSURE)),
        picture(comment="CREATOR: gd-jpeg v1.0 (using IJG JPEG v80), quality = 90"),
        jpeg(b""),
        with_segments(picture(), segment(0xED, iptc(caption="A handbag. Steps: sewing, seams", credit="Shop"))),
    ],
)
def test_what_shops_write_is_no_generator(data: bytes) -> None:
    found = inspect(data)
    assert found.generation_parameters == {"status": "absent"}
    assert found.complete


def test_a_credit_that_says_no_more_than_ai_names_no_tool() -> None:
    found = inspect(picture(xmp=xmp("<photoshop:Credit>AI Generated</photoshop:Credit>").encode()))
    assert found.generation_parameters == {"status": "present", "fields": ["Credit"]}


def test_segments_behind_the_first_scan_and_fill_bytes_are_read() -> None:
    data = picture(kind="JPEG")
    exif = segment(0xE1, b"Exif\0\0" + tiff([], [piexif_comment(WEB_UI)]))
    for file in (data[:-2] + exif + data[-2:], data[:2] + b"\xff" * 5000 + exif + data[2:]):
        assert may_claim(file)
        assert inspect(file).generation_parameters["tool"] == "Stable Diffusion web UI"
    assert not may_claim(data)
    assert not may_claim(data[:-2]), "the end marker alone is missing, and no metadata with it"


def test_a_raw_profile_is_read() -> None:
    block = b"Exif\0\0" + tiff([text(0x010F, "Canon"), text(0x0110, "EOS R5")])
    profile = f"\nexif\n{len(block):8}\n{block.hex()}\n"
    assert inspect(png({"Raw profile type exif": profile})).camera["model"] == "EOS R5"
    assert inspect(png({"Raw profile type exif": "\nexif\n 9\nnot hexadecimal\n"})).complete is False


def _ztxt(keyword: bytes, size: int) -> bytes:
    return chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(bytes(size), 9))


def _behind_header(*chunks: bytes) -> bytes:
    data = picture(kind="PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def looks_take(data: bytes) -> float:
    """Seconds of CPU for both looks at a file."""
    return quickest(lambda: (may_claim(data), inspect(data)))


HOSTILE = {
    "one bomb": _behind_header(_ztxt(b"Comment", 50_000_000)),
    "200 bombs": _behind_header(*[_ztxt(b"Comment", 2_000_000)] * 200),
    "bomb of xmp": _behind_header(
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<a>" + b" " * 30_000_000))
    ),
    "10,000 texts": _behind_header(*[chunk(b"tEXt", b"a\0b")] * 10_000),
    "elements without end": picture(kind="WEBP", xmp=xmp("<dc:x/>" * 60_000).encode()),
    "nested elements": picture(kind="WEBP", xmp=xmp("<dc:x>" * 50_000 + "</dc:x>" * 50_000).encode()),
    "empty chunks": picture(kind="PNG")[:33] + chunk(b"IDAT", b"") * 200_000,
    "empty segments": b"\xff\xd8" + segment(0xE2, b"") * 200_000,
    "fill bytes": b"\xff\xd8" + b"\xff" * 4_000_000,
    "cut": picture(kind="PNG", exif=tiff([text(0x010F, "Canon")]))[:60],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_bounds_hold_and_are_told(name: str) -> None:
    data = HOSTILE[name]
    assert may_claim(data)
    assert inspect(data).complete is False
    assert looks_take(data) < PATIENCE_S * slowness()


LABORIOUS = {
    "texts like many": _behind_header(*[chunk(b"tEXt", b"Comment\0" + b'"nodes": [--v "uc": Steps: 1, ' * 30_000)] * 4),
    "attributes without end": picture(
        kind="WEBP", xmp=xmp("", " ".join(f'dc:a{n}="x"' for n in range(40_000))).encode()
    ),
    "stuffed scan": picture(kind="JPEG")[:-2] + b"\xff\x00\xff\xd0" * 1_000_000,
}


@pytest.mark.parametrize("name", LABORIOUS)
def test_what_is_read_to_its_end_costs_little(name: str) -> None:
    assert looks_take(LABORIOUS[name]) < PATIENCE_S * slowness()


def test_boxes_of_avif_that_make_no_sense_are_told() -> None:
    data = avif(exif=tiff([text(0x010F, "Canon"), text(0x0110, "EOS R5")]))
    assert inspect(data).camera["model"] == "EOS R5"
    assert not may_claim(avif())
    meta = data.index(b"meta")
    assert inspect(data[: meta - 4] + b"\xff\xff\xff\xff" + data[meta:]).complete is False


@pytest.mark.parametrize(
    ("options", "claim"),
    [
        ({"exif": b"Exif\0\0" + tiff([text(0x010F, "Apple"), text(0x0110, "iPhone 15")])}, "camera"),
        ({"exif": b"Exif\0\0" + tiff([], [piexif_comment(WEB_UI)])}, "generation_parameters"),
        ({"xmp": xmp("<photoshop:Credit>Made with Google AI</photoshop:Credit>").encode()}, "generation_parameters"),
        ({}, None),
    ],
)
def test_heic_is_read(options: dict[str, bytes], claim: str | None) -> None:
    heif = pytest.importorskip("pillow_heif", reason="writes HEIC; comes with what decodes it")
    buffer = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (64, 48))).save(buffer, **options)
    found = inspect(buffer.getvalue())
    assert may_claim(buffer.getvalue()) is bool(options)
    assert found.complete
    present = [name for name, value in found.to_json().items() if value != {"status": "absent"} and name != "complete"]
    assert present == ([claim] if claim else [])


def _mutant(rng: random.Random, files: list[bytes]) -> bytes:
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if len(data) < 2:
            break
        at = rng.randrange(len(data))
        match rng.randrange(6):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[at : at + 4] = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1"))
            case 2:
                del data[at : at + rng.choice((1, 4, 64))]
            case 3:
                data[at:at] = data[at : at + rng.choice((8, 64, 4096))]
            case 4:
                data[at:at] = rng.randbytes(rng.choice((1, 8, 300)))
            case 5 if len(data) > 100:
                del data[rng.randrange(50, len(data)) :]
    return bytes(data)


def test_mutants_of_all_writers_raise_nothing_and_cost_little() -> None:
    signed = [credentials(kind, "ChatGPT", "GPT-4o") for kind in ("PNG", "JPEG", "WEBP")]
    files = [make() for _, _, make, _ in WRITERS] + signed
    for file in files:
        inspect(file)  # what is loaded once is no file's cost
    rng = random.Random(19)  # noqa: S311 - mutants, no keys
    for number in range(MUTANTS):
        data = _mutant(rng, files)
        before = time.thread_time()
        may_claim(data)
        found = inspect(data)
        spent = time.thread_time() - before
        assert spent < PATIENCE_S, f"mutant {number} took {spent:.3f} s"
        assert "handbag" not in str(found), f"mutant {number} repeats the prompt"


def test_a_generator_beside_a_real_photo() -> None:
    """A photo redrawn by a web UI keeps its camera's fields: both are claims."""
    block = tiff([text(0x010F, "Canon"), text(0x0110, "EOS R5")], [*EXPOSURE, piexif_comment(COMFY)])
    found = inspect(jpeg(block))
    assert found.camera["status"] == "present"
    assert found.generation_parameters == {"status": "present", "fields": ["UserComment"], "tool": "ComfyUI"}
