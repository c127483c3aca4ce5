"""What a picture's metadata claims about its origin. It is reported beside the score and never changes it.

Metadata is easily removed and easily forged: what is present is a claim (a valid C2PA signature is a strong one), and
what is absent proves nothing. Answers hold names of fields, and names from lists of our own: a prompt may be private.
Only make and model of a camera are repeated, where they look like one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from veriphoto_client.metadata import exif, iptc, pngtext, writers, xmp
from veriphoto_client.metadata.camera import camera
from veriphoto_client.metadata.claims import Provenance
from veriphoto_client.metadata.containers import Part, kind_of, parts
from veriphoto_client.metadata.exif import Exif
from veriphoto_client.metadata.writers import Text

_ABSENT: Final[Mapping[str, Any]] = {"status": "absent"}
_MOST_BLOCKS: Final = 256
"""Maximum number of metadata blocks in one file."""
_MOST_BYTES: Final = 4_000_000
"""Maximum bytes of unpacked metadata in one file."""

# fmt: off
_SOURCE_TYPES: Final = frozenset((
    "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "algorithmicMedia", "compositeSynthetic",
    "compositeCapture", "composite", "digitalCapture", "computationalCapture", "negativeFilm", "positiveFilm",
    "print", "humanEdits", "minorHumanEdits", "algorithmicallyEnhanced", "softwareImage", "digitalArt",
    "digitalCreation", "dataDrivenMedia", "virtualRecording", "screenCapture", "multiFrameComputationalCapture",
    "trainedAlgorithmicData",
))
"""IPTC's vocabulary of digital source types, retired ones too, and what C2PA adds to it."""
_ISSUERS: Final = (
    "OpenAI", "Google", "Adobe", "Microsoft", "Amazon", "Meta", "Truepic", "Leica", "Sony", "Nikon", "Canon",
    "Samsung", "Fujifilm", "Panasonic", "Apple", "Stability AI", "Midjourney", "Black Forest Labs", "ByteDance",
    "TikTok", "Cloudflare", "Shutterstock", "Getty", "BBC", "Qualcomm", "Huawei", "Xiaomi", "Canva", "xAI",
)
# fmt: on


UNKNOWN: Final = Provenance(_ABSENT, _ABSENT, _ABSENT, _ABSENT, complete=False)


NO_CLAIMS: Final = Provenance(_ABSENT, _ABSENT, _ABSENT, _ABSENT)


def inspect(data: bytes) -> Provenance:
    """Reads the claims of one file.

    Args:
        data: The bytes of a JPEG, PNG, WebP, HEIF or AVIF file.

    Returns:
        What was found; ``UNKNOWN`` where the file cannot be read.
    """
    kind = kind_of(data)
    if not kind:
        return UNKNOWN
    found = _Metadata()
    try:
        for part in parts(data):
            found.take(data, part)
        return Provenance(
            _c2pa(data, kind) if found.c2pa else _ABSENT,
            _digital_source_type(found.texts),
            _generation_parameters(found.texts),
            _camera(found.blocks),
            found.complete,
        )
    except Exception:  # noqa: BLE001 - hostile metadata makes parsers raise anything, and costs nobody the score
        return UNKNOWN


@dataclass(slots=True)
class _Metadata:
    """All metadata of one file, within bounds."""

    texts: list[Text] = field(default_factory=list)
    blocks: list[Exif] = field(default_factory=list)
    c2pa: bool = False
    complete: bool = True
    count: int = 0
    room: int = _MOST_BYTES

    def take(self, data: bytes, part: Part) -> None:
        """Reads one part."""
        self.count += 1
        if part.kind == "bound" or self.count > _MOST_BLOCKS or self.room <= 0:
            self.complete = False
            return
        if part.kind == "c2pa":
            self.c2pa = True
            return
        block = data[part.start : part.end]
        if part.kind in ("tEXt", "zTXt", "iTXt"):
            self._png(pngtext.read(part.kind, block))
        elif part.kind == "comment":
            self.room -= len(block)
            self.texts.append(Text("Comment", block.decode("utf-8", "replace")))
        elif part.kind == "photoshop":
            self.room -= len(block)
            self.texts += [Text(*each) for each in iptc.read(block)]
        elif part.kind == "exif":
            self._exif(block)
        else:
            self._xmp(block)

    def _png(self, text: pngtext.Text) -> None:
        self.room -= len(text.value)
        profile = pngtext.profile(text)
        self.complete &= text.complete
        if text.keyword == "XML:com.adobe.xmp":
            self._xmp(text.value)
        elif profile is None:
            self.texts.append(writers.png_text(text.keyword, text.text))
        elif profile[0] in ("exif", "app1") and not profile[1].startswith(b"http"):
            self._exif(profile[1])
        elif profile[0] in ("xmp", "app1"):
            self._xmp(profile[1].removeprefix(b"http://ns.adobe.com/xap/1.0/\0"))
        elif profile[0] in ("iptc", "8bim"):
            resources = profile[1].removeprefix(b"Photoshop 3.0\0")
            read = iptc.read if resources.startswith(b"8BIM") else iptc.records
            self.texts += [Text(*each) for each in read(resources)]

    def _exif(self, block: bytes) -> None:
        read = exif.read(block)
        self.room -= sum(map(len, read.texts.values()))
        self.complete &= read.complete
        self.blocks.append(read)
        self.texts += [Text(exif.NAMES.get(tag, f"0x{tag:04X}"), value) for tag, value in read.texts.items()]

    def _xmp(self, packet: bytes) -> None:
        self.room -= len(packet)
        read = xmp.read(packet)
        self.complete &= read.complete and len(packet) <= xmp.MOST_BYTES
        self.texts += [Text(*each) for each in read.texts]


def _present(**values: Any) -> dict[str, Any]:
    return {"status": "present", **values}


def _digital_source_type(texts: list[Text]) -> Mapping[str, Any]:
    values = [_source_type(value) for name, value in texts if name == xmp.SOURCE_TYPE]
    return _present(value=next((value for value in values if value != "unknown"), "unknown")) if values else _ABSENT


def _source_type(value: object) -> str:
    # The vocabulary's address says no more than its last part, such as trainedAlgorithmicMedia.
    last = value.rstrip("/").rpartition("/")[2].strip() if isinstance(value, str) else ""
    return last if last in _SOURCE_TYPES else "unknown"


def _generation_parameters(texts: list[Text]) -> Mapping[str, Any]:
    found = writers.recognise(text for text in texts if text.field != xmp.SOURCE_TYPE)
    if not found.fields:
        return _ABSENT
    return _present(fields=list(found.fields), **({"tool": found.tool} if found.tool else {}))


def _camera(blocks: list[Exif]) -> Mapping[str, Any]:
    found = next(filter(None, map(camera, blocks)), None)
    return _present(make=found[0], model=found[1]) if found else _ABSENT


def _c2pa(data: bytes, kind: str) -> Mapping[str, Any]:
    from c2pa import C2paError, Reader  # noqa: PLC0415 - half a second to import, and few pictures need it

    try:
        with Reader(f"image/{kind}", io.BytesIO(data), context=_offline()) as reader:
            state = reader.get_validation_state() or "Invalid"
            store = json.loads(reader.json())
    except C2paError.ManifestNotFound:
        return _ABSENT  # the word was in the pixels
    except C2paError:
        return _present(validity="invalid", trusted=False, issuer="", generator="")
    active = store.get("active_manifest", "")
    # The newest manifest first; a picture that was only converted says in an older one how it was made.
    manifests = sorted(store.get("manifests", {}).items(), key=lambda item: item[0] != active)
    issuer = str(((dict(manifests).get(active) or {}).get("signature_info") or {}).get("issuer"))
    actions = [action for _, manifest in manifests for action in _actions(manifest)]
    kinds = [_source_type(found) for found in map(_kind, actions) if found]
    return _present(
        # "Trusted" is valid and signed by a known authority; only the latter says who signed.
        validity="valid" if state in ("Valid", "Trusted") else "invalid",
        trusted=state == "Trusted",
        issuer=next((name for name in _ISSUERS if issuer.lower().startswith(name.lower())), ""),
        generator=next(filter(None, map(writers.tool_named, _names(manifests, actions))), ""),
        **({"digital_source_type": kinds[0]} if kinds else {}),
    )


def _actions(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for assertion in manifest.get("assertions", []):
        if assertion.get("label", "").startswith("c2pa.actions"):
            yield from (action for action in assertion["data"].get("actions", []) if isinstance(action, Mapping))


def _kind(action: Mapping[str, Any]) -> object:
    parameters = action.get("parameters")
    inner = parameters.get("com.adobe.digitalSourceType") if isinstance(parameters, Mapping) else None
    return action.get("digitalSourceType") or inner


def _names(manifests: list[tuple[str, Any]], actions: list[Mapping[str, Any]]) -> Iterator[str]:
    claims = [(one.get("claim_generator"), *(one.get("claim_generator_info") or [])) for _, one in manifests]
    agents: list[Any] = [action.get("softwareAgent") for action in actions]
    for each in (*chain.from_iterable(claims), *agents):
        name = each.get("name") if isinstance(each, Mapping) else each
        if isinstance(name, str):
            yield name


@lru_cache(maxsize=1)
def _offline() -> Any:
    """Settings without network: a manifest must not make the gateway fetch what it names."""
    from c2pa import Context, Settings  # noqa: PLC0415

    verify = {"remote_manifest_fetch": False, "ocsp_fetch": False}
    return Context(settings=Settings.from_dict({"verify": verify}))
