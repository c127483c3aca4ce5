"""What a picture's metadata claims about its origin. It stands beside the score and never changes it.

Metadata is easily removed and easily forged: what is present is a claim (a valid C2PA signature is a strong one), and
what is absent proves nothing.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from PIL import Image

from veriphoto.contract import FORMATS

_ABSENT: Final[Mapping[str, Any]] = {"status": "absent"}
_SOURCE_TYPE: Final = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
_RESOURCE: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource"
_MAKE: Final = 0x010F
_MODEL: Final = 0x0110
_LONGEST: Final = 100
_XMP_BYTES: Final = 1_000_000

# Text chunks in which common generators leave their prompt: Stable Diffusion web UIs, ComfyUI, InvokeAI, NovelAI.
_GENERATOR_KEYS: Final = ("parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata", "Dream")
_GENERATOR_SOFTWARE: Final = ("novelai", "stable diffusion", "midjourney", "dall-e", "firefly")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Four claims; each a JSON object whose ``status`` is ``present`` or ``absent``."""

    c2pa: Mapping[str, Any]
    digital_source_type: Mapping[str, Any]
    generation_parameters: Mapping[str, Any]
    camera: Mapping[str, Any]
    complete: bool = True
    """False where reading the metadata took too long or failed, so that ``absent`` says nothing at all."""

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {
            "c2pa": dict(self.c2pa),
            "digital_source_type": dict(self.digital_source_type),
            "generation_parameters": dict(self.generation_parameters),
            "camera": dict(self.camera),
            "complete": self.complete,
        }


UNKNOWN: Final = Provenance(_ABSENT, _ABSENT, _ABSENT, _ABSENT, complete=False)


NO_CLAIMS: Final = Provenance(_ABSENT, _ABSENT, _ABSENT, _ABSENT)


def inspect(data: bytes) -> Provenance:
    """Reads the claims of one file.

    Args:
        data: The bytes of a JPEG, PNG, WebP, HEIC or AVIF file.

    Returns:
        What was found; ``UNKNOWN`` where the file cannot be read.
    """
    try:
        with Image.open(io.BytesIO(data), formats=[kind.upper() for kind in FORMATS]) as image:
            return Provenance(
                _c2pa(data, image.format or "") if b"c2pa" in data else _ABSENT,
                _digital_source_type(image.info),
                _generation_parameters(image.info),
                _camera(image),
            )
    except Exception:  # noqa: BLE001 - hostile metadata makes parsers raise anything, and costs nobody the score
        return UNKNOWN


def _present(**values: Any) -> dict[str, Any]:
    return {"status": "present", **values}


def _digital_source_type(info: Mapping[Any, Any]) -> Mapping[str, Any]:
    packet = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    packet = packet.encode() if isinstance(packet, str) else bytes(packet)
    if b"DigitalSourceType" not in packet or len(packet) > _XMP_BYTES:
        return _ABSENT
    start, end = packet.find(b"<x:xmpmeta"), packet.rfind(b"</x:xmpmeta>")
    body = packet[start : end + len(b"</x:xmpmeta>")] if 0 <= start < end else packet.strip(b"\0 \n\r\t")
    try:
        root = fromstring(body)
    except (ParseError, DefusedXmlException, ValueError):
        return _ABSENT
    for element in root.iter():
        value = element.get(_SOURCE_TYPE)
        if element.tag == _SOURCE_TYPE:
            value = element.get(_RESOURCE) or (element.text or "").strip()
        if value:
            # The vocabulary's address says no more than its last part, such as trainedAlgorithmicMedia.
            return _present(value=value.rstrip("/").rpartition("/")[2][:_LONGEST])
    return _ABSENT


def _generation_parameters(info: Mapping[Any, Any]) -> Mapping[str, Any]:
    # The names of the fields only: a prompt may be private.
    found = [key for key in _GENERATOR_KEYS if isinstance(info.get(key), str)]
    software = info.get("Software")
    if isinstance(software, str) and any(name in software.lower() for name in _GENERATOR_SOFTWARE):
        found.append("Software")
    return _present(fields=found) if found else _ABSENT


def _camera(image: Image.Image) -> Mapping[str, Any]:
    if "exif" not in image.info and image.format != "PNG":
        return _ABSENT
    exif = image.getexif()
    make, model = (_text(exif.get(tag)) for tag in (_MAKE, _MODEL))
    return _present(make=make, model=model) if make or model else _ABSENT


def _text(value: object) -> str:
    return "".join(c for c in value if c.isprintable()).strip()[:_LONGEST] if isinstance(value, str) else ""


def _c2pa(data: bytes, kind: str) -> Mapping[str, Any]:
    from c2pa import C2paError, Reader  # noqa: PLC0415 - half a second to import, and few pictures need it

    try:
        with Reader(f"image/{kind.lower().replace('mpo', 'jpeg')}", io.BytesIO(data), context=_offline()) as reader:
            state = reader.get_validation_state() or "Invalid"
            active = json.loads(reader.json())
    except C2paError.ManifestNotFound:
        return _ABSENT  # the word was in the pixels
    except C2paError:
        return _present(validity="invalid", trusted=False, issuer="", generator="")
    manifest = active.get("manifests", {}).get(active.get("active_manifest", ""), {})
    signer = manifest.get("signature_info") or {}
    generators = manifest.get("claim_generator_info") or [{}]
    return _present(
        # "Trusted" is valid and signed by a known authority; only the latter says who signed.
        validity="valid" if state in ("Valid", "Trusted") else "invalid",
        trusted=state == "Trusted",
        issuer=_text(signer.get("issuer")),
        generator=_text(manifest.get("claim_generator") or generators[0].get("name")),
    )


@lru_cache(maxsize=1)
def _offline() -> Any:
    """Settings without network: a manifest must not make the gateway fetch what it names."""
    from c2pa import Context, Settings  # noqa: PLC0415

    verify = {"remote_manifest_fetch": False, "ocsp_fetch": False}
    return Context(settings=Settings.from_dict({"verify": verify}))
