"""Reads the few properties of an XMP packet that tell where a picture comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

MOST_BYTES: Final = 1_000_000
_MOST_ELEMENTS: Final = 10_000
_MOST_TEXT: Final = 200_000

_RESOURCE: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource"
_IPTC: Final = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
SOURCE_TYPE: Final = "DigitalSourceType"
_PROPERTIES: Final = {
    _IPTC + SOURCE_TYPE: SOURCE_TYPE,
    _IPTC + "DigitalSourcefileType": SOURCE_TYPE,
    _IPTC + "AISystemUsed": "AISystemUsed",
    _IPTC + "AISystemVersionUsed": "AISystemUsed",
    _IPTC + "AIPromptInformation": "AIPromptInformation",
    _IPTC + "AIPromptWriterName": "AIPromptInformation",
    "{http://www.tc260.org.cn/ns/AIGC/1.0/}AIGC": "AIGC",
    "{http://ns.adobe.com/xap/1.0/}CreatorTool": "CreatorTool",
    "{http://ns.adobe.com/photoshop/1.0/}Credit": "Credit",
    "{http://ns.adobe.com/photoshop/1.0/}Source": "Source",
    "{http://ns.adobe.com/photoshop/1.0/}Instructions": "SpecialInstructions",
    "{http://ns.adobe.com/tiff/1.0/}Software": "Software",
    "{http://ns.adobe.com/tiff/1.0/}ImageDescription": "Description",
    "{http://ns.adobe.com/exif/1.0/}UserComment": "UserComment",
    "{http://purl.org/dc/elements/1.1/}description": "Description",
    "{http://purl.org/dc/elements/1.1/}title": "Title",
    "{http://purl.org/dc/elements/1.1/}creator": "Author",
}


@dataclass(slots=True)
class Xmp:
    """Properties by our name for them, in the order of the packet."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    complete: bool = True


def read(packet: bytes) -> Xmp:
    """Reads a packet; what stands before an error or a bound is kept.

    Args:
        packet: With or without the processing instructions around it.
    """
    found = Xmp()
    start, end = packet.find(b"<x:xmpmeta"), packet.rfind(b"</x:xmpmeta>")
    body = packet[start : end + len(b"</x:xmpmeta>")] if 0 <= start < end else packet.strip(b"\0 \n\r\t")
    if not body:
        return found
    try:
        parser = DefusedXMLParser(target=_Reader(found), forbid_dtd=True)
        parser.feed(body[:MOST_BYTES])
        parser.close()
    except (ParseError, DefusedXmlException, ValueError, LookupError, _Bound):
        found.complete = False
    return found


class _Bound(Exception):  # noqa: N818 - no error: the reader has seen enough
    pass


class _Reader:
    """Is told of elements and texts as they come, so that no tree of a hostile packet is ever built."""

    def __init__(self, found: Xmp) -> None:
        self._found = found
        self._elements = 0
        self._room = _MOST_TEXT
        self._open: str | None = None
        self._name = ""
        self._texts: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > _MOST_ELEMENTS:
            raise _Bound
        for name, value in attributes.items():
            if name in _PROPERTIES:
                self._keep(_PROPERTIES[name], value)
        if self._open is None and tag in _PROPERTIES:
            self._open, self._name, self._texts = tag, _PROPERTIES[tag], []
            if _RESOURCE in attributes:
                self._keep(self._name, attributes[_RESOURCE])

    def data(self, text: str) -> None:
        if self._open is not None:
            self._room -= len(text)
            if self._room < 0:
                raise _Bound
            self._texts.append(text)

    def end(self, tag: str) -> None:
        if tag == self._open:
            self._keep(self._name, "".join(self._texts).strip())
            self._open = None

    def close(self) -> Any:
        return self._found

    def _keep(self, name: str, value: str) -> None:
        self._room -= len(value)
        if self._room < 0:
            raise _Bound
        if value:
            self._found.texts.append((name, value))
