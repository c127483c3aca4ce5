"""The page in a real browser, before a real gateway; only the scores are made up."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import re
import sqlite3
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import expect, look, serving
from PIL import Image

from veriphoto.errors import OverloadedError
from veriphoto_client import FakeTransport
from veriphoto_client.triton.transport import Outputs
from veriphoto_serving.gateway.server import prepare
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.triton.ports import free_ports

SAMPLES = Path(__file__).parent.parent.parent / "samples"
KEY = "0123456789abcdef"
WIDTHS = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}

SMALL = 5_000  # bytes; the gateway's own test photo has fewer, and those of the tests more

pytestmark = pytest.mark.browser


class Service:
    """A gateway that can be stopped and started again on its port."""

    def __init__(self, transport: FakeTransport | None = None, **settings: Any) -> None:
        self.transport = transport or FakeTransport()
        (self.port,) = free_ports(1)
        self.settings = settings
        self.url = f"http://127.0.0.1:{self.port}"
        self._running = contextlib.ExitStack()

    def start(self) -> None:
        up = threading.Event()
        settings = GatewaySettings(gateway_port=self.port, api_keys=f"page={KEY}", drain=0, **self.settings)
        server, door = prepare(settings, transport=self.transport, ready=lambda _: up.set())
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        assert up.wait(10)
        self._running.enter_context(door)
        self._running.callback(thread.join, 15)
        self._running.callback(setattr, server, "should_exit", True)

    def stop(self) -> None:
        self._running.close()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    running = Service()
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def address(service: Service) -> Iterator[str]:
    with serving(service.url, VERIPHOTO_API_KEY=KEY) as url:
        yield url


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, chromium: Any, address: str) -> Iterator[Any]:
    opened = chromium.new_page(viewport=WIDTHS[request.param], accept_downloads=True)
    opened.set_default_timeout(30_000)
    opened.goto(address)
    opened.get_by_text("Service: working").wait_for()
    yield opened
    opened.close()


def drop(page: Any, *files: Path | dict[str, Any]) -> None:
    page.locator("input[type=file]").set_input_files(list(files))


def photo(level: int, side: int = 400, kind: str = "JPEG", **options: Any) -> dict[str, Any]:
    """A file as a browser gives it: the fake model takes dark for real and bright for AI-generated."""
    noise = np.random.default_rng(level).integers(-20, 20, (side, side, 3))
    buffer = io.BytesIO()
    Image.fromarray((level + noise).clip(0, 255).astype(np.uint8)).save(buffer, kind, **options)
    name = f"{level}.{kind.lower()}"
    return {"name": name, "mimeType": "application/octet-stream", "buffer": buffer.getvalue()}


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def test_one_photo_gets_a_verdict_and_the_reason_why(page: Any) -> None:
    drop(page, SAMPLES / "real_boots.jpg")

    page.get_by_role("heading", name="No sign of AI generation found").wait_for()
    page.locator("img[alt*='probability of being AI-generated; unsure between']").wait_for()
    page.get_by_text("model version 1").first.wait_for()
    page.get_by_text("The file does not say how it was made, which proves nothing.").wait_for()
    page.get_by_role("button", name="What the answer means").click()
    page.get_by_text("and not that a camera took the photo").wait_for()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="This is wrong"), "there is no review to tell").to_have_count(0)
    look(page, "page-one")
    overlay = page.locator("[data-testid=stImage] img")
    before = overlay.get_attribute("src")
    slider = page.get_by_role("slider")
    slider.focus()
    slider.press("Home")
    expect(overlay).not_to_have_attribute("src", before)
    assert fits(page)


def one_damaged() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a.jpg", "damaged")
    return archive.getvalue().replace(b"damaged", b"DAMAGED")


def test_many_photos_get_a_table_and_a_csv(page: Any) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in sorted(SAMPLES.glob("*.jpg")):
            zipped.write(path, path.name)
        zipped.writestr("notes.txt", "no picture")
        zipped.writestr("cut.jpg", "damaged")
    content = archive.getvalue().replace(b"damaged", b"DAMAGED")
    drop(page, {"name": "many.zip", "mimeType": "application/zip", "buffer": content})

    count = len(list(SAMPLES.glob("*.jpg")))
    page.get_by_text(f"{count + 2} files").wait_for()
    page.get_by_text("not judged: 2").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download these answers as CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert len(rows) == count + 2
    assert {row["error"] for row in rows} == {"", "not_an_image", "unreadable"}
    page.get_by_text("Look at one").wait_for()
    # While the page is drawn anew, the old one may still be there.
    page.wait_for_function("document.querySelectorAll('input[type=range]').length === 1")
    assert fits(page)
    look(page, "page-many")


def test_the_table_sorts_probabilities_as_numbers(page: Any) -> None:
    drop(page, *(photo(level) for level in (220, 60, 100)))  # 97 %, 6 %, 25 %
    page.get_by_text("3 files").wait_for()
    page.get_by_text("Look at one").wait_for()
    table = page.get_by_test_id("stDataFrame")
    names = table.locator("[role=gridcell]").filter(has_text=re.compile(r"^\d+\.jpeg$"))

    def shows(*levels: int) -> None:
        until = time.monotonic() + 10
        while (found := names.all_text_contents()) != [f"{level}.jpeg" for level in levels]:
            assert time.monotonic() < until, found
            time.sleep(0.1)

    shows(220, 100, 60)
    box = table.bounding_box()
    spare = max(0, box["width"] - 72 - 150 - 120 - 320) / 3  # what columns get beside their own width
    page.mouse.click(box["x"] + 72 + 150 + spare + 60, box["y"] + 18)
    shows(60, 100, 220)
    look(page, "page-sorted")


@pytest.mark.parametrize(
    ("level", "side", "headline", "colour", "number"),
    [
        (60, 400, "No sign of AI generation found", "blue", "probability of being AI-generated"),
        (128, 400, "Unsure", "gray", "probability of being AI-generated"),
        (220, 400, "Probably made by an AI generator", "red", "probability of being AI-generated"),
        (220, 20, "Unsure", "gray", "Its shorter side has 20 px; photos are judged from 32 px on"),
    ],
)
def test_headline_colour_and_number_agree(
    page: Any, level: int, side: int, headline: str, colour: str, number: str
) -> None:
    drop(page, photo(level, side))
    page.get_by_role("heading", name=headline).wait_for()
    page.get_by_text(number).first.wait_for()
    page.locator("[data-testid=stImage] img").wait_for()
    expect(page.locator(f"h2 .stMarkdownColoredText, h2 span[class*={colour}], h2 span[style*=color]")).to_have_count(1)
    expect(page.locator("img[alt*='probability of being AI-generated']")).to_have_count(int(side > 32))
    expect(page.get_by_role("slider"), "no map where nothing was judged").to_have_count(int(side > 32))
    expect(page.get_by_text("the limit of")).to_have_count(int(headline != "Unsure"))
    look(page, f"page-verdict-{level}-{side}")


def test_a_heic_of_a_phone_is_judged_and_shown(page: Any) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Apple", "iPhone 15", 6
    drop(page, {**photo(60, 640, "HEIF", exif=exif.tobytes()), "name": "IMG_0001.HEIC"})
    page.get_by_role("heading", name="No sign of AI generation found").wait_for()
    page.locator("[data-testid=stImage] img").wait_for()
    page.get_by_text("The file names a camera: Apple iPhone 15.").wait_for()
    assert fits(page)


def test_the_limits_are_said_as_they_are(page: Any) -> None:
    page.get_by_text("up to 20 MB each").wait_for()
    look(page, "page-empty")
    page.get_by_text("up to 500 photos, 500 MB").wait_for()
    expect(page.get_by_text("per file").filter(visible=True), "Streamlit's words name another limit").to_have_count(0)
    drop(page, {"name": "big.jpg", "mimeType": "image/jpeg", "buffer": bytes(20_100_000)})
    page.get_by_text("more than the 20 MB allowed").wait_for()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_mistake_reaches_the_review(chromium: Any, tmp_path: Path, width: str) -> None:
    database = f"sqlite:///{tmp_path / 'review.db'}"
    service = Service(review_database=database, feedback_keys="page")
    service.start()
    try:
        with serving(service.url, VERIPHOTO_API_KEY=KEY) as url:
            page = chromium.new_page(viewport=WIDTHS[width])
            page.set_default_timeout(30_000)
            page.goto(url)
            page.get_by_text("Service: working").wait_for()
            sent = photo(60)
            drop(page, sent)
            page.get_by_role("button", name="This is wrong").click()
            expect(page.get_by_role("button", name="It is a real photo")).to_have_count(0)
            page.get_by_role("button", name="It is AI-generated").click()
            page.get_by_text("The photo has no case yet; your answer is kept for it").wait_for()
            page.get_by_role("button", name="Correct this").click()
            expect(page.get_by_role("button", name="It is AI-generated")).to_have_count(0)
            page.get_by_role("button", name="It is a real photo").click()
            page.get_by_text("You said that it is a real photo").wait_for()
            look(page, "page-feedback")
            page.close()
    finally:
        service.stop()
    with sqlite3.connect(tmp_path / "review.db") as rows:
        truths = rows.execute("SELECT value, truth FROM feedback").fetchall()
    assert truths == [(hashlib.sha256(sent["buffer"]).hexdigest(), "real")], "the correction counts"


def test_each_of_two_photos_of_one_name_can_be_looked_at(page: Any) -> None:
    drop(page, *({**photo(level), "name": "same.jpeg"} for level in (60, 200)))
    page.get_by_text("2 files").wait_for()
    page.get_by_role("heading", name="Probably made by an AI generator").wait_for()
    page.get_by_label("Look at one").click()
    page.get_by_role("option", name="same.jpeg").last.click()
    page.get_by_role("heading", name="No sign of AI generation found").wait_for()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.txt", b"hello", "This file could not be judged: the file is not a picture"),
        ("anim.gif", b"GIF89a" + bytes(20), "this is GIF, which is not supported; send JPEG, PNG, WebP, HEIC or AVIF"),
        ("broken.zip", b"PK\x03\x04 and nothing more", "broken.zip cannot be opened"),
        ("one.zip", one_damaged(), "one.zip/a.jpg could not be judged: its part of the ZIP is damaged."),
    ],
)
def test_bad_files_are_explained(page: Any, name: str, content: bytes, words: str) -> None:
    drop(page, {"name": name, "mimeType": "application/octet-stream", "buffer": content})
    page.get_by_text(words).wait_for()


@pytest.mark.parametrize("content", [photo(200)["buffer"], b"PK\x03\x04 and nothing more"], ids=["photo", "archive"])
def test_a_name_is_shown_as_it_is_and_asks_nothing_of_the_network(page: Any, content: bytes) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    name = "![x](pixel.png) **b** &lt;.zip"
    drop(page, {"name": name, "mimeType": "application/octet-stream", "buffer": content})
    page.locator("[data-testid=stMain]").get_by_text(re.compile(rf"^{re.escape(name)}")).last.wait_for()
    assert not [url for url in asked if "pixel" in url]


def test_a_service_that_is_away_is_said_to_be_and_comes_back(page: Any, service: Service) -> None:
    service.stop()
    try:
        drop(page, SAMPLES / "ai_tshirt.jpg")
        page.get_by_text("The service is away at the moment").wait_for()
        page.get_by_text("photos cannot be judged until it does").wait_for()
    finally:
        service.start()
    page.reload()
    page.get_by_text("Service: working").wait_for()
    drop(page, SAMPLES / "ai_tshirt.jpg")
    page.get_by_role("slider").wait_for()


class BusyOnce(FakeTransport):
    """Has no time for the first few photos."""

    refusals = 3

    async def score(self, data: bytes, request_id: str = "") -> Outputs:
        if request_id.partition("#")[0] and self.refusals > 0 and len(data) > SMALL:
            self.refusals -= 1
            raise OverloadedError("the queue is full")
        return await super().score(data, request_id)


def test_photos_that_a_busy_service_left_out_are_tried_again(chromium: Any) -> None:
    service = Service(BusyOnce())
    service.start()
    try:
        with serving(service.url, VERIPHOTO_API_KEY=KEY) as url:
            page = chromium.new_page(viewport=WIDTHS["phone"])
            page.set_default_timeout(30_000)
            page.goto(url)
            page.get_by_text("Service: working").wait_for()
            drop(page, *({**photo(level), "name": f"{level}.jpg"} for level in (40, 60, 200, 220, 230)))
            page.get_by_text("The service was too busy for 3 of these photos").wait_for()
            page.get_by_text("not judged: 3").wait_for()
            look(page, "page-busy")
            page.get_by_role("button", name="Try the rest again").click()
            page.get_by_text("not judged: 0").wait_for()
            page.get_by_text("too busy").wait_for(state="detached")
            page.close()
    finally:
        service.stop()


def test_a_plain_form_in_a_browser_works(chromium: Any, service: Service) -> None:
    page = chromium.new_page(extra_http_headers={"X-API-Key": KEY})
    page.goto(f"{service.url}/")
    page.set_content(
        f"<form method=post enctype=multipart/form-data action='{service.url}/predict'>"
        "<input type=file name=file><button>Send</button></form>"
    )
    page.locator("input[type=file]").set_input_files(SAMPLES / "real_hat.webp")
    with page.expect_navigation() as navigation:
        page.get_by_role("button", name="Send").click()
    assert navigation.value.status == 200
    assert set(navigation.value.json()) >= {"prediction", "verdict", "probability", "confidence", "request_id"}
    page.close()
