from __future__ import annotations

import asyncio
import io
import struct
import threading
import time

import c2pa
import pytest
from PIL import Image, PngImagePlugin

from veriphoto.errors import ServiceUnavailableError
from veriphoto_client.metadata.containers import may_claim
from veriphoto_client.metadata.provenance import Provenance, inspect
from veriphoto_serving.gateway import services
from veriphoto_serving.gateway.errors import BusyError

from .conftest import Gateway, picture, wait_for
from .signing import signer

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{}</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
ATTRIBUTE = XMP.format(
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{SOURCE}"/>'
)
ELEMENT = XMP.format(
    '<rdf:Description xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    f"<i:DigitalSourceType>{SOURCE}</i:DigitalSourceType></rdf:Description>"
)
BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<x:xmpmeta xmlns:x='adobe:ns:meta/'>DigitalSourceType &b;</x:xmpmeta>"
)


def exif(**tags: str) -> bytes:
    block = Image.Exif()
    block.update({0x010F: tags.get("make"), 0x0110: tags.get("model")})
    return block.tobytes()


def png(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        info.add_itxt(key.replace("__", ":").replace("_dot_", "."), value)
    return picture(kind="PNG", pnginfo=info)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_nothing_is_absent_and_found_so_without_looking(kind: str) -> None:
    data = picture(kind=kind)
    found = inspect(data).to_json()

    assert not may_claim(data)
    assert found.pop("complete") is True
    assert [claim["status"] for claim in found.values()] == ["absent"] * 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_camera(kind: str) -> None:
    data = picture(kind=kind, exif=exif(make="Canon\0", model="EOS R5"))
    assert may_claim(data)
    assert inspect(data).camera == {"status": "present", "make": "Canon", "model": "EOS R5"}


@pytest.mark.parametrize("packet", [ATTRIBUTE, ELEMENT])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_digital_source_type(kind: str, packet: str) -> None:
    data = picture(kind=kind, xmp=packet.encode())
    assert may_claim(data)
    assert inspect(data).digital_source_type == {"status": "present", "value": "trainedAlgorithmicMedia"}


def test_digital_source_type_of_png() -> None:
    data = png(XML__com_dot_adobe_dot_xmp=ATTRIBUTE)
    assert inspect(data).digital_source_type["value"] == "trainedAlgorithmicMedia"


def test_prompts_are_noticed_and_not_repeated() -> None:
    data = png(parameters="a secret castle, Steps: 20", workflow="{}")
    found = inspect(data)
    assert found.generation_parameters == {"status": "present", "fields": ["parameters", "workflow"]}
    assert "castle" not in str(found)


def test_hostile_xmp_costs_nothing() -> None:
    started = time.perf_counter()
    assert inspect(picture(xmp=BOMB.encode())).digital_source_type == {"status": "absent"}
    assert inspect(picture(xmp=b"<x:xmpmeta DigitalSourceType")).digital_source_type == {"status": "absent"}
    assert time.perf_counter() - started < 1.0


def test_what_is_no_picture_claims_nothing() -> None:
    assert inspect(b"hello").complete is False
    assert not may_claim(b"hello")


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff\xfe\0\2" * 100_000,
        b"\xff\xd8\0",
        b"\x89PNG\r\n\x1a\n" + (struct.pack(">I", 0) + b"IDAT\0\0\0\0") * 100_000,
        b"RIFF\0\0\0\0WEBP" + b"VP8 \0\0\0\0" * 100_000,
    ],
)
def test_odd_files_are_looked_into_and_end(data: bytes) -> None:
    started = time.perf_counter()
    assert may_claim(data)
    assert time.perf_counter() - started < 0.5


def test_c2pa_in_the_pixels_is_no_manifest() -> None:
    data = picture(exif=exif(make="c2pa", model=""))
    assert inspect(data).c2pa == {"status": "absent"}


def test_c2pa(signed_photo: bytes) -> None:
    found = inspect(signed_photo).c2pa
    assert (found["status"], found["validity"], found["trusted"]) == ("present", "valid", False)

    middle = len(signed_photo) * 3 // 4
    forged = signed_photo[:middle] + bytes([signed_photo[middle] ^ 1]) + signed_photo[middle + 1 :]
    assert inspect(forged).c2pa["validity"] == "invalid"


async def test_claims_stand_beside_the_score(gateway: Gateway, signed_photo: bytes) -> None:
    plain = (await gateway.http.post("/predict", content=picture())).json()
    claiming = (await gateway.http.post("/predict", content=picture(xmp=ATTRIBUTE.encode()))).json()

    assert claiming["provenance"]["digital_source_type"]["status"] == "present"
    assert claiming["probability"] == plain["probability"]
    signed = (await gateway.http.post("/predict", content=signed_photo)).json()
    assert signed["provenance"]["c2pa"]["validity"] == "valid"


@pytest.fixture(scope="module")
def signed_photo() -> bytes:
    """A JPEG with a C2PA manifest, signed by an authority made up here."""
    created = {"label": "c2pa.actions", "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": SOURCE}]}}
    builder = c2pa.Builder({"claim_generator_info": [{"name": "test", "version": "1"}], "assertions": [created]})
    output = io.BytesIO()
    builder.sign(signer(), "image/jpeg", io.BytesIO(picture(size=(640, 480))), output)
    return output.getvalue()


class Reader:
    """Reads metadata as the gateway does, counts it, and can be held up."""

    def __init__(self) -> None:
        self.read = 0
        self.go = threading.Event()
        self.go.set()

    def __call__(self, data: bytes) -> Provenance:
        self.read += 1
        assert self.go.wait(10)
        return inspect(data)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    counting = Reader()
    monkeypatch.setattr(services.provenance, "inspect", counting)
    return counting


async def test_nothing_is_read_of_photos_that_are_refused(gateway: Gateway, reader: Reader) -> None:
    photo = png(parameters="steps: 20")
    places = gateway.services.scorer.places
    with places.take(places.places):
        with pytest.raises(BusyError):
            await gateway.services.assess_together({"a": photo, "b": photo})
        with pytest.raises(BusyError):
            await gateway.services.assess(photo, "a")
    gateway.services.watchdog.state = "down"
    with pytest.raises(ServiceUnavailableError):
        await gateway.services.assess_together({"a": photo})
    assert reader.read == 0


async def test_what_nobody_waits_for_any_more_is_not_read(gateway: Gateway, reader: Reader) -> None:
    photo = png(parameters="steps: 20")
    gateway.triton.slow = 60.0
    reader.go.clear()
    judging = asyncio.create_task(gateway.services.assess_together({str(number): photo for number in range(9)}))
    await wait_for(lambda: reader.read == 2)
    judging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await judging
    reader.go.set()
    gateway.services._readers.shutdown()
    assert reader.read == 2
