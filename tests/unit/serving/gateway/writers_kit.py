"""Files as image generators write them, laid out as the named source does."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import c2pa
from PIL import Image, PngImagePlugin

from .conftest import picture
from .signing import signer

SECRET = "a secret red leather handbag"
"""Stands in every prompt here, and must stand in no answer."""
AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

WEB_UI = f"{SECRET}\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
COMFY = json.dumps({"6": {"class_type": "CLIPTextEncode", "inputs": {"text": SECRET}}})
WORKFLOW = json.dumps({"last_node_id": 6, "last_link_id": 0, "nodes": [{"id": 6, "type": SECRET}], "links": []})
SWARM = json.dumps({"sui_image_params": {"prompt": SECRET, "steps": 20}, "sui_extra_data": {"date": "2026-01-01"}})
FOOOCUS = json.dumps({"base_model": "x", "metadata_scheme": "fooocus", "performance": "Speed", "prompt": SECRET})
NOVELAI = json.dumps(
    {"prompt": SECRET, "steps": 28, "scale": 5, "uc": "lowres", "sampler": "k_euler", "signed_hash": ""}
)
INVOKE = json.dumps({"app_version": "5.6.0", "generation_mode": "sdxl_txt2img", "positive_prompt": SECRET})
DRAW_THINGS = json.dumps(
    {"c": SECRET, "uc": "", "model": "sd_v1.4_f16.ckpt", "sampler": "DDIM", "seed": 1, "steps": 10}
)
MIDJOURNEY = f"{SECRET} --ar 3:2 --v 6.1 Job ID: 6ae84b8b-c5e3-4f27-9a51-d0d19a5bb4a7"

Tag = tuple[int, int, bytes]
"""Number, type and value of an EXIF entry."""


def tiff(first: list[Tag], inner: list[Tag] = (), order: str = "<") -> bytes:  # type: ignore[assignment]
    """Lays out an EXIF block of two directories."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    if inner:
        first = [*first, (0x8769, 4, b"")]
    at = 8 + 2 + 12 * len(first) + 4
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}
    inner_at = at + sum(len(value) for _, _, value in first if len(value) > 4)

    def directory(tags: list[Tag], values_at: int) -> bytes:
        entries, values = struct.pack(order + "H", len(tags)), b""
        for tag, kind, given in sorted(tags):
            value = given if tag != 0x8769 else struct.pack(order + "I", inner_at)
            entries += struct.pack(order + "HHI", tag, kind, len(value) // sizes[kind])
            if len(value) <= 4:
                entries += value.ljust(4, b"\0")
            else:
                entries += struct.pack(order + "I", values_at + len(values))
                values += value
        return entries + bytes(4) + values

    body = directory(first, at)
    return head + body + (directory(list(inner), inner_at + 2 + 12 * len(inner) + 4) if inner else b"")


def text(tag: int, value: str) -> Tag:
    """Returns an ASCII entry."""
    return tag, 2, value.encode() + b"\0"


def xmp(properties: str, attributes: str = "") -> str:
    """Wraps properties into a packet."""
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
        f'xmlns:iptcExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" {attributes}>{properties}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def png(texts: Mapping[str, str], packet: str = "", block: bytes = b"", *, packed: bool = False) -> bytes:
    """Writes a PNG with Pillow's own text chunks, as the Python generators do."""
    info = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        (info.add_itxt if packed else info.add_text)(key, value, zip=packed)
    if packet:
        info.add_itxt("XML:com.adobe.xmp", packet)
    return picture(kind="PNG", pnginfo=info, **({"exif": block} if block else {}))


def behind_the_pixels(data: bytes) -> bytes:
    """Moves the text chunks of a PNG behind its pixels, where ImageMagick and lodepng write them."""
    chunks, at = [], 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        chunks.append(data[at:end])
        at = end
    moved = [one for one in chunks if one[4:8] in (b"tEXt", b"zTXt", b"iTXt")]
    assert moved
    return data[:8] + b"".join([one for one in chunks[:-1] if one not in moved] + moved + chunks[-1:])


def chunk(name: bytes, body: bytes) -> bytes:
    """Lays out one PNG chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def segment(marker: int, body: bytes) -> bytes:
    """Lays out one JPEG segment."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def with_segments(data: bytes, *segments: bytes) -> bytes:
    """Puts segments behind the start of a JPEG."""
    return data[:2] + b"".join(segments) + data[2:]


def piexif_comment(value: str) -> Tag:
    """As ``piexif.helper.UserComment.dump(value, encoding="unicode")``."""
    return 0x9286, 7, b"UNICODE\0" + value.encode("utf-16-be")


def imagesharp_comment(value: str) -> Tag:
    """As ImageSharp's ``ExifTag.UserComment``: UCS-2 in the block's own byte order."""
    return 0x9286, 7, b"UNICODE\0" + value.encode("utf-16-le")


def iptc(**fields: str) -> bytes:
    """Lays out Photoshop's segment with an IPTC record."""
    numbers = {"caption": 120, "credit": 110, "program": 65}
    record = b"".join(
        struct.pack(">BBBH", 0x1C, 2, numbers[name], len(value)) + value.encode() for name, value in fields.items()
    )
    return b"Photoshop 3.0\08BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record + b"\0" * (len(record) % 2)


@cache
def credentials(kind: str, generator: str, agent: str) -> bytes:
    """Signs a picture with a C2PA manifest like the one of a service."""
    action = {"action": "c2pa.created", "digitalSourceType": AI, "softwareAgent": {"name": agent}}
    builder = c2pa.Builder(
        {
            "title": SECRET,
            "claim_generator_info": [{"name": generator, "version": "1.0"}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [{**action, "description": SECRET}]}}],
        }
    )
    output = io.BytesIO()
    builder.sign(signer(), f"image/{kind.lower()}", io.BytesIO(picture(kind=kind)), output)
    return output.getvalue()


def jpeg(block: bytes) -> bytes:
    """Puts an EXIF block into a JPEG."""
    return picture(kind="JPEG", exif=b"Exif\0\0" + block)


def avif(**options: Any) -> bytes:
    """Writes an AVIF file with Pillow."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(buffer, "AVIF", **options)
    return buffer.getvalue()


_WEB_UI_EXIF = tiff([], [piexif_comment(WEB_UI)], ">")
_COMFY_EXIF = tiff([text(0x010F, f"workflow:{WORKFLOW}"), text(0x0110, f"prompt:{COMFY}")], order=">")
_FOOOCUS_EXIF = tiff([text(0x0131, "Fooocus v2.5.5"), text(0x927C, "fooocus"), text(0x9286, FOOOCUS)])
_SWARM_EXIF = tiff([], [imagesharp_comment(SWARM)])
_NOVELAI_EXIF = tiff(
    [text(0x010E, "NovelAI generated image"), text(0x0131, "NovelAI Diffusion V4.5")],
    [(0x9286, 7, b"ASCII\0\0\0" + NOVELAI.encode())],
)
_NOVELAI_TEXTS = {
    "Title": "NovelAI generated image",
    "Description": SECRET,
    "Software": "NovelAI",
    "Source": "NovelAI Diffusion V4.5 4BDE2A90",
    "Generation time": "4.2",
    "Comment": NOVELAI,
}
_DRAW_THINGS_XMP = xmp(
    f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{SECRET}&#xA;Steps: 10, Sampler: DDIM, Guidance Scale: 10.0'
    "</rdf:li></rdf:Alt></dc:description><xmp:CreatorTool>Draw Things</xmp:CreatorTool><exif:UserComment><rdf:Alt>"
    f'<rdf:li xml:lang="x-default">{DRAW_THINGS}</rdf:li></rdf:Alt></exif:UserComment>'
)
_MIDJOURNEY_XMP = xmp("", f'iptcExt:DigImageGUID="6ae84b8b" iptcExt:DigitalSourceType="{AI}"')
_MIDJOURNEY_PROSE = xmp(f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{MIDJOURNEY}</rdf:li></rdf:Alt>'
                        "</dc:description>", f'iptcExt:DigitalSourceType="{AI}"')  # fmt: skip
_GOOGLE_XMP = xmp("<photoshop:Credit>Made with Google AI</photoshop:Credit>", f'iptcExt:DigitalSourceType="{AI}"')

Make = Callable[[], bytes]

WRITERS: list[tuple[str, str, Make, list[str]]] = [
    # AUTOMATIC1111 and Forge: AUTOMATIC1111/stable-diffusion-webui, modules/images.py, save_image_with_geninfo().
    ("Stable Diffusion web UI", "PNG", lambda: png({"parameters": WEB_UI}), ["parameters"]),
    ("Stable Diffusion web UI", "PNG iTXt", lambda: png({"parameters": WEB_UI + " é 手"}), ["parameters"]),
    ("Stable Diffusion web UI", "PNG zip", lambda: png({"parameters": WEB_UI}, packed=True), ["parameters"]),
    ("Stable Diffusion web UI", "JPEG", lambda: jpeg(_WEB_UI_EXIF), ["UserComment"]),
    ("Stable Diffusion web UI", "WebP", lambda: picture(kind="WEBP", exif=_WEB_UI_EXIF), ["UserComment"]),
    ("Stable Diffusion web UI", "AVIF", lambda: avif(exif=_WEB_UI_EXIF), ["UserComment"]),
    ("Stable Diffusion web UI", "JPEG comment", lambda: picture(kind="JPEG", comment=WEB_UI), ["Comment"]),
    # ComfyUI: comfyanonymous/ComfyUI, nodes.py, SaveImage, and comfy_api/latest/_ui.py, _create_webp_metadata().
    ("ComfyUI", "PNG", lambda: png({"prompt": COMFY, "workflow": WORKFLOW}), ["prompt", "workflow"]),
    ("ComfyUI", "WebP", lambda: picture(kind="WEBP", exif=_COMFY_EXIF), ["prompt", "workflow"]),
    ("ComfyUI", "JPEG", lambda: jpeg(_COMFY_EXIF), ["prompt", "workflow"]),
    ("ComfyUI", "AVIF", lambda: avif(exif=_COMFY_EXIF), ["prompt", "workflow"]),
    # audioscavenger/save-image-extended-comfyui, issue 45: capitals, and another tag.
    (
        "ComfyUI",
        "WebP extended",
        lambda: picture(
            kind="WEBP", exif=tiff([text(0x010F, f"Prompt: {COMFY}"), text(0x010E, f"Workflow: {WORKFLOW}")])
        ),
        ["prompt", "workflow"],
    ),
    # InvokeAI: invoke-ai/InvokeAI, invokeai/app/services/image_files/image_files_disk.py.
    (
        "InvokeAI",
        "PNG",
        lambda: png({"invokeai_metadata": INVOKE, "invokeai_graph": '{"nodes": {}}'}),
        ["invokeai_graph", "invokeai_metadata"],
    ),
    (
        "InvokeAI",
        "PNG older",
        lambda: png({"Dream": f'"{SECRET}" -s 50', "sd-metadata": "{}"}),
        ["Dream", "sd-metadata"],
    ),
    # Fooocus: lllyasviel/Fooocus, modules/private_logger.py, and modules/meta_parser.py, get_exif().
    (
        "Fooocus",
        "PNG",
        lambda: png({"parameters": FOOOCUS, "fooocus_scheme": "fooocus"}),
        ["fooocus_scheme", "parameters"],
    ),
    ("Fooocus", "JPEG", lambda: jpeg(_FOOOCUS_EXIF), ["MakerNote", "Software", "UserComment"]),
    ("Fooocus", "WebP", lambda: picture(kind="WEBP", exif=_FOOOCUS_EXIF), ["MakerNote", "Software", "UserComment"]),
    # NovelAI: RupertAvery/DiffusionToolkit, issue 3; its WebP has the same in EXIF.
    ("NovelAI", "PNG", lambda: png(_NOVELAI_TEXTS), ["Comment", "Software", "Source", "Title"]),
    ("NovelAI", "PNG, Comment alone", lambda: png({"Comment": NOVELAI}), ["Comment"]),
    (
        "NovelAI",
        "WebP",
        lambda: picture(kind="WEBP", exif=_NOVELAI_EXIF),
        ["ImageDescription", "Software", "UserComment"],
    ),
    # SwarmUI: mcmonkeyprojects/SwarmUI, src/Utils/Image.cs, ConvertTo().
    ("SwarmUI", "PNG", lambda: png({"parameters": SWARM}), ["parameters"]),
    ("SwarmUI", "JPEG", lambda: jpeg(_SWARM_EXIF), ["UserComment"]),
    ("SwarmUI", "WebP", lambda: picture(kind="WEBP", exif=_SWARM_EXIF), ["UserComment"]),
    ("SwarmUI", "JPEG, Model", lambda: jpeg(tiff([text(0x0110, SWARM)])), ["Model"]),
    # Draw Things: cocktailpeanut/breadmachine, issue 2.
    ("Draw Things", "PNG", lambda: png({}, _DRAW_THINGS_XMP), ["CreatorTool", "Description", "UserComment"]),
    (
        "Draw Things",
        "JPEG",
        lambda: picture(kind="JPEG", xmp=_DRAW_THINGS_XMP.encode()),
        ["CreatorTool", "Description", "UserComment"],
    ),
    (
        "Draw Things",
        "JPEG, EXIF alone",
        lambda: jpeg(tiff([], [(0x9286, 7, b"ASCII\0\0\0" + DRAW_THINGS.encode())])),
        ["UserComment"],
    ),
    # Midjourney: PNG text beside XMP with IPTC's DigImageGUID and DigitalSourceType (Iptc4xmpExt), downloaded from its
    # site; IPTC's user guide, "applying metadata to AI-generated images".
    ("Midjourney", "PNG", lambda: png({"Description": MIDJOURNEY, "Author": "u1"}, _MIDJOURNEY_XMP), ["Description"]),
    ("Midjourney", "JPEG XMP", lambda: picture(kind="JPEG", xmp=_MIDJOURNEY_PROSE.encode()), ["Description"]),
    ("Midjourney", "WebP XMP", lambda: picture(kind="WEBP", xmp=_MIDJOURNEY_PROSE.encode()), ["Description"]),
    (
        "Midjourney",
        "JPEG IPTC",
        lambda: with_segments(picture(), segment(0xED, iptc(caption=MIDJOURNEY, credit="Midjourney"))),
        ["Caption-Abstract", "Credit"],
    ),
    # Black Forest Labs' models, as some scripts name them in EXIF.
    (
        "FLUX",
        "WebP",
        lambda: picture(kind="WEBP", exif=tiff([text(0x010F, "USO"), text(0x0110, "flux-dev")])),
        ["Model"],
    ),
    # Gemini and Imagen without C2PA: Credit beside the source type in XMP (abrignoni/ALEAPP, pull 950).
    ("Google AI", "JPEG", lambda: picture(kind="JPEG", xmp=_GOOGLE_XMP.encode()), ["Credit"]),
    ("Google AI", "PNG", lambda: png({}, _GOOGLE_XMP), ["Credit"]),
    ("Google AI", "AVIF", lambda: avif(xmp=_GOOGLE_XMP.encode()), ["Credit"]),
]
"""Generator, container, a maker of the file, and the fields that an answer names."""

# Names as in the manifests of the services: contentauth/c2pa-js-legacy, pull 231; abrignoni/ALEAPP, pull 950.
SIGNED = [
    ("OpenAI", "ChatGPT", "GPT-4o"),
    ("OpenAI", "OpenAI-API", "DALL-E 3"),
    ("OpenAI", "c2pa-rs", "gpt-image-1"),
    ("Google AI", "Google C2PA Core Generator Library", "Google Generative AI"),
    ("Google AI", "c2pa-rs", "Google Imagen"),
    ("Adobe Firefly", "Adobe_Firefly", "Adobe Firefly"),
]
"""Generator, who signed the claim, and the software agent of the action."""
