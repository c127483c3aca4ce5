"""The review desk in a real browser, on a real database and before a real gateway; only the scores are made up."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gateway_beside
import pytest
from browser import expect, look, serving
from PIL import Image

from veriphoto_client import FakeTransport
from veriphoto_review.cases.case import State, Truth
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import Database
from veriphoto_review.database.schema import metadata
from veriphoto_review.intake.files import Batch
from veriphoto_review.intake.importing import ImportOptions, import_batches

SAMPLES = sorted((Path(__file__).parent.parent.parent / "samples").glob("*.jpg"))
WIDTHS = {
    "desktop": {"width": 1280, "height": 900},
    "tablet": {"width": 820, "height": 1180},
    "phone": {"width": 390, "height": 844},
}
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>**b**"
MANY = 10_000

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    made = [folder / sample.name for sample in SAMPLES]
    for sample, path in zip(SAMPLES, made, strict=True):
        shutil.copy(sample, path)
    hostile = folder / f"{HOSTILE.replace('/', '∕')}.jpg"
    shutil.copy(SAMPLES[0], hostile)
    return [*made, hostile]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return Database(f"sqlite:///{tmp_path_factory.mktemp('desk') / 'review.db'}")


@pytest.fixture(scope="module")
def address(gateway: str, database: Database) -> Iterator[str]:
    """The page, shared by all tests: it takes long to start."""
    with serving(gateway, database.url) as running:
        yield running


@pytest.fixture
def store(database: Database, photos: list[Path]) -> CaseStore:
    """One case for each sample, the hostile one with the highest score, and one whose file is gone; no other."""
    with database.writing() as connection:
        for table in metadata.sorted_tables:  # cases first: the history of one that is there cannot be deleted
            connection.execute(table.delete())
    rows = [
        {
            "path": str(path),
            "verdict": "ai_generated" if number % 3 else "unsure",
            "probability": 0.5 + number / (3 * len(photos)),
            "model_version": 1,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "shop": "north" if number % 2 else "south",
            "seller": HOSTILE if path is photos[-1] else f"seller {number}",
            "threshold": 0.6,
            "unsure_band": [0.4, 0.7],
            "provenance": {"camera": {"status": "present", "make": HOSTILE}},
            "real_photos_this_high": 0.012,
            "seen_at": 1_793_800_000 + number,
        }
        for number, path in enumerate(photos)
    ]
    rows.append({**rows[1], "path": "/nowhere/gone.jpg", "probability": 0.41, "sha256": "", "shop": "gone"})
    import_batches(database, [Batch("rows", 1, rows, None)], ImportOptions())
    return CaseStore(database)


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    with gateway_beside.gateway(FakeTransport(), drain=0) as address:
        yield address


def opened(chromium: Any, address: str, width: str = "desktop", name: str = "ann") -> Any:
    page = chromium.new_page(viewport=WIDTHS[width])
    page.set_default_timeout(60_000)
    page.goto(f"{address}/review")
    page.get_by_text("Today:").wait_for()
    field = page.get_by_label("Your name")
    field.fill(name)
    field.press("Enter")
    page.get_by_role("button", name=f"You are {name}").wait_for()
    page.get_by_text("Say who you are").wait_for(state="detached")
    ready(page)
    return page


def ready(page: Any) -> None:
    """Keys mean something only once the buttons are there and the page is drawn to its end."""
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
    page.locator("button:not([disabled])", has_text="Real photo").wait_for()
    # A button listens to its key shortly after it is drawn, before the browser is idle.
    page.evaluate("() => new Promise((done) => requestIdleCallback(() => done()))")


def until(condition: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_case_is_looked_at_and_decided_by_keys(
    chromium: Any, address: str, store: CaseStore, width: str, photos: list[Path]
) -> None:
    page = opened(chromium, address, width)
    total = len(photos) + 1
    page.get_by_text(f"1 of {total}").first.wait_for()
    page.locator("[data-testid=stImage] img").wait_for()
    assert page.title() == "Veriphoto", "a hostile name ran"
    expect(page.get_by_text("onerror=").first, "it is shown as text").to_be_visible()
    inside = page.locator("[data-testid=stMain] button *")
    cut = inside.evaluate_all("all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText)")
    assert cut == [], "labels of buttons are shown whole"
    before = page.locator("[data-testid=stImage] img").get_attribute("src")
    slider = page.locator("[data-testid=stMain]").get_by_role("slider")
    slider.focus()
    slider.press("End")
    page.get_by_text("The map shows where, not why").wait_for()
    expect(page.locator("[data-testid=stImage] img")).not_to_have_attribute("src", before)
    look(page, "desk")
    note = page.get_by_label("Internal note", exact=True)
    note.fill("1 2 3 <b>looked</b>")
    note.press("Control+Enter")
    assert store.count(Filter(state=State.OPEN)) == total, "keys typed into the note decide nothing"
    page.locator("h1, [data-testid=stCaptionContainer]").first.click()
    for decided, key in enumerate("123", start=1):
        page.keyboard.press(key)
        until(lambda left=total - decided: store.count(Filter(state=State.OPEN)) == left)
        page.get_by_text(f"1 of {total - decided}").first.wait_for()
        page.get_by_text(f"{decided} of them by you").wait_for()
        ready(page)
    assert store.count(Filter(state=State.UNDECIDED)) == 1
    page.keyboard.press("u")
    until(lambda: store.count(Filter(state=State.OPEN)) == total - 2)
    assert store.count(Filter(state=State.UNDECIDED)) == 0
    decided = store.page(Filter(state=State.OVERTURNED))[0]
    assert (decided.reviewer, decided.note) == ("ann", "1 2 3 <b>looked</b>")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_selection_is_decided_together_and_taken_back(
    chromium: Any, address: str, store: CaseStore, width: str, photos: list[Path]
) -> None:
    page = opened(chromium, address, width)
    page.get_by_text("Queue").click()
    page.get_by_text("0 selected").wait_for()
    table = page.get_by_test_id("stDataFrame")
    box = table.bounding_box()
    for line in (0, 1, 2):
        page.mouse.move(box["x"] + 20, box["y"] + 36 + 72 * line + 36)
        page.mouse.click(box["x"] + 20, box["y"] + 36 + 72 * line + 36)
        page.get_by_text(f"{line + 1} selected").wait_for()
    look(page, "desk-queue")
    page.get_by_role("button", name="Cannot tell").click()
    until(lambda: store.count(Filter(state=State.UNDECIDED)) == 3)
    page.get_by_text("3 decided as “cannot tell”.").wait_for()
    page.get_by_role("button", name="Undo").click()
    until(lambda: store.count(Filter(state=State.OPEN)) == len(photos) + 1)
    page.close()


@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_a_key_right_after_the_name_decides_and_a_reload_changes_nothing(
    chromium: Any, address: str, store: CaseStore, width: str
) -> None:
    page = chromium.new_context(viewport=WIDTHS[width]).new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{address}/review")
    page.get_by_label("Your name").press_sequentially("anna")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="You are anna").wait_for()
    ready(page)
    page.keyboard.press("1")
    until(lambda: store.decided_since(0.0) == {"anna": 1})
    page.get_by_text("1 of 16").first.wait_for()
    choose(page, "Decision", "Real photo")
    page.get_by_text("anna: Real photo; the model was unsure", exact=True).wait_for()
    choose(page, "Shop", "south")
    page.get_by_text("No cases match").wait_for()
    choose(page, "Decision", "all")
    page.get_by_text("1 of 8").wait_for()
    page.get_by_role("button", name="Skip").click()
    page.get_by_text("2 of 8").wait_for()
    page.get_by_role("link", name="Photos").click()
    page.get_by_text("Drop photos").wait_for()
    page.get_by_role("link", name="Review").click()
    page.get_by_text("2 of 8").wait_for()
    page.reload()
    page.get_by_text("2 of 8").wait_for()
    page.get_by_role("button", name="You are anna").wait_for()
    choose(page, "Order", "Oldest")
    page.get_by_text("1 of 8").wait_for()
    look(page, "desk-chosen")
    page.context.close()


def choose(page: Any, label: str, option: str) -> None:
    """Sets a filter; a run of the page's script that ends meanwhile closes the list of options again."""
    late = pytest.importorskip("playwright.sync_api").TimeoutError
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
    box = page.get_by_role("combobox", name=label)
    if not box.is_visible():
        page.get_by_text("Order and filters").click()
    for _ in range(10):
        box.click()
        with contextlib.suppress(late):
            page.get_by_role("option", name=option, exact=True).click(timeout=6_000)
            return
    raise AssertionError(f"{label} offers no {option}")


def test_a_case_is_found_by_its_number_and_opened_from_the_queue(chromium: Any, address: str, store: CaseStore) -> None:
    page = opened(chromium, address)
    third = store.page(Filter())[2].id
    page.get_by_label("Search").fill(f"{third}")
    page.keyboard.press("Enter")
    page.get_by_text(f"Case {third} · 1 of 1").wait_for()
    page.get_by_role("button", name="Show all again").click()
    page.get_by_text("1 of 17").first.wait_for()
    page.get_by_text("Queue").click()
    page.get_by_text("0 selected").wait_for()
    box = page.get_by_test_id("stDataFrame").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 36 + 72 + 36)
    page.mouse.click(box["x"] + 20, box["y"] + 36 + 72 + 36)
    second = store.page(Filter(state=State.OPEN))[1]
    page.get_by_role("button", name=f"Open case {second.id}").click()
    page.get_by_text(f"Case {second.id} · 1 of 1").wait_for()
    store.decide([second.id], Truth.AI, reviewer="b*b")
    page.keyboard.press("1")
    page.get_by_text("b*b has just decided this case: AI-generated.").wait_for()
    page.get_by_text("b*b: AI-generated; the model was right", exact=True).wait_for()
    look(page, "desk-conflict")
    page.close()


def test_metadata_of_a_scans_case_are_read_from_its_photo(
    chromium: Any, address: str, store: CaseStore, photos: list[Path], tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Apple", "iPhone 15"
    Image.open(photos[0]).save(tmp_path / "camera.jpg", exif=exif)
    rows = [
        {"path": str(tmp_path / name), "verdict": "unsure", "probability": 0.5, "model_version": 1}
        for name in ("camera.jpg", "missing.jpg")
    ]
    import_batches(store.database, [Batch("rows", 1, rows, None)], ImportOptions())
    page = opened(chromium, address)
    for name, words in (
        ("camera.jpg", "The file names a camera: Apple iPhone 15."),
        ("missing.jpg", "Not known: the photo is not at hand."),
    ):
        page.get_by_label("Search").fill(name)
        page.keyboard.press("Enter")
        page.get_by_text(words).wait_for()
        look(page, f"desk-metadata-{name}")
    page.close()


def test_ten_thousand_open_cases_stay_quick(
    chromium: Any, address: str, store: CaseStore, photos: list[Path], tmp_path: Path
) -> None:
    links = [tmp_path / f"{number:05}.jpg" for number in range(MANY)]
    for number, link in enumerate(links):
        link.symlink_to(photos[number % len(photos)])
    rows = [
        {
            "path": str(link),
            "verdict": "ai_generated",
            "probability": number / MANY,
            "model_version": number % 5,
            "shop": f"shop {number % 40}",
        }
        for number, link in enumerate(links)
    ]
    import_batches(store.database, [Batch("rows", 1, rows, None)], ImportOptions())
    started = time.monotonic()
    chosen = Filter(state=State.OPEN, shop="shop 7")
    store.count(chosen), store.page(chosen, "random", limit=50, offset=100), store.values("shop")
    assert time.monotonic() - started < 1.0
    page = opened(chromium, address)
    times = []
    for _ in range(5):
        left = store.count(Filter(state=State.OPEN))
        page.get_by_text(f"1 of {left}").first.wait_for()
        started = time.monotonic()
        page.keyboard.press("2")
        page.get_by_text(f"1 of {left - 1}").first.wait_for()
        times.append(time.monotonic() - started)
    assert sorted(times)[2] < 4.0, times
    page.close()


def test_two_who_look_at_one_decided_case_do_not_overwrite_each_other(
    chromium: Any, address: str, store: CaseStore
) -> None:
    (case, *_) = store.page(Filter())
    store.decide([case.id], Truth.AI, reviewer="dan")
    pages = [opened(chromium, f"{address}", name=name) for name in ("ann", "bob")]
    for page in pages:
        page.get_by_label("Search").fill(f"{case.id}")
        page.keyboard.press("Enter")
        page.get_by_text("dan: AI-generated").first.wait_for()
        ready(page)
    pages[0].get_by_role("button", name="Real photo").click()
    until(lambda: store.get(case.id).reviewer == "ann")
    pages[1].get_by_role("button", name="Cannot tell").click()
    pages[1].get_by_text("ann has just decided this case: Real photo.").wait_for()
    assert store.get(case.id).truth == Truth.REAL
    for page in pages:
        page.close()


def test_a_browser_that_closes_in_the_middle_leaves_all_or_nothing(
    chromium: Any, address: str, store: CaseStore, photos: list[Path]
) -> None:
    page = opened(chromium, address)
    page.get_by_text("Queue").click()
    page.get_by_text("0 selected").wait_for()
    box = page.get_by_test_id("stDataFrame").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 18)
    page.mouse.click(box["x"] + 20, box["y"] + 18)  # all
    page.get_by_text(f"{len(photos) + 1} selected").wait_for()
    page.get_by_role("button", name="Real photo").click(no_wait_after=True)
    page.close()
    time.sleep(5)
    assert store.count(Filter(state=State.OPEN)) in (0, len(photos) + 1)
    assert {len(store.history(case.id)) for case in store.page(Filter())} in ({1}, {2})


def test_a_locked_database_is_said_and_the_decision_can_be_repeated(
    chromium: Any, address: str, store: CaseStore, photos: list[Path]
) -> None:
    page = opened(chromium, address)
    page.get_by_text(f"1 of {len(photos) + 1}").first.wait_for()
    with store.database.writing():
        page.keyboard.press("1")
        page.get_by_text("is held by another process; nothing was changed").wait_for()
    page.keyboard.press("1")
    until(lambda: store.count(Filter(state=State.OPEN)) == len(photos))
    page.close()


def test_the_proxy_says_who_is_there_and_the_page_alone_has_no_desk(
    chromium: Any, gateway: str, store: CaseStore
) -> None:
    with serving(gateway, store.database.url, VERIPHOTO_REVIEWER_HEADER="X-Forwarded-User") as address:
        stranger = chromium.new_page()
        stranger.goto(f"{address}/review")
        stranger.get_by_text("Say who you are").wait_for()
        expect(stranger.get_by_label("Your name")).to_have_count(0)
        expect(stranger.get_by_role("button", name="Real photo")).to_be_disabled()
        stranger.close()
        known = chromium.new_page(extra_http_headers={"X-Forwarded-User": "bob"})
        known.goto(f"{address}/review")
        known.get_by_text("History").wait_for()
        ready(known)
        known.keyboard.press("2")
        until(lambda: "bob" in store.decided_since(0.0))
        known.close()
    with serving(gateway, "", VERIPHOTO_REVIEWER_HEADER="") as address:
        page = chromium.new_page()
        page.goto(f"{address}/review")
        page.get_by_text("Drop photos").wait_for()
        expect(page.get_by_text("Today:")).to_have_count(0)
        page.close()
