"""The report that a seller gets."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from brightness_model import draw
from typer.testing import CliRunner

from veriphoto.errors import UsageError
from veriphoto_client.commandline.app import build
from veriphoto_client.page.gateway import Gateway
from veriphoto_client.page.provenance import claimed, details
from veriphoto_client.page.words import rarity
from veriphoto_review.cases.case import Truth
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import Database
from veriphoto_review.reports.dispute import Policy, dispute_page

from .kit import as_seen, bring, row

HOSTILE = '<script>alert("x")</script>'
ARTICLE_17 = (
    "Restriction",
    "Territory",
    "Duration",
    "Facts and circumstances",
    "How it came up",
    "Automated detection",
)
ARTICLE_17 += ("Automated decision", "Contractual ground", "Internal complaint", "Out-of-court settlement", "Court")


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    return CaseStore(Database(f"sqlite:///{tmp_path / 'review.db'}"))


class Words(HTMLParser):
    """The text of a page, and what it would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.sources, self.tags = "", [], set[str]()
        self.feed(page)
        self.text = " ".join(self.text.split())

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


def gateway(version: int) -> Gateway:
    def answer(_: httpx.Request) -> httpx.Response:
        overlay = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
        return httpx.Response(200, json={"model_version": version, "overlay_png_base64": overlay})

    return Gateway("http://gateway", transport=httpx.MockTransport(answer))


def one_case(store: CaseStore, folder: Path, **more: object) -> int:
    photo = draw(1)
    (folder / "photo.jpg").write_bytes(photo)
    answer = row(
        1,
        path=str(folder / "photo.jpg"),
        sha256=hashlib.sha256(photo).hexdigest(),
        shop="north",
        threshold=0.5,
        unsure_band=[0.4, 0.6],
        **more,
    )
    bring(store.database, folder, [answer])
    return store.page(Filter())[0].id


def test_it_says_all_that_it_must_in_one_file(store: CaseStore, tmp_path: Path) -> None:
    claims = {"c2pa": {"status": "absent"}, "camera": {"status": "present", "make": "Acme"}, "complete": True}
    number = one_case(store, tmp_path, provenance=claims, real_photos_this_high=0.004)
    bring(store.database, tmp_path, [row(n, shop="north") for n in range(100, 150)])
    bring(store.database, tmp_path, [row(n, "real", 0.1, shop="north") for n in range(200, 400)], audit_share=1.0)
    for case in store.page(Filter(), limit=1000):
        wrong = case.sha256.endswith(("64", "65", "66", "67"))
        store.decide([case.id], Truth.REAL if case.why == "audit" or wrong else Truth.AI, reviewer="ann")
    store.decide([number], Truth.AI, reviewer="ann", note="Shadows differ.", seen=as_seen(store, [number]))
    policy = Policy(platform="Shop Ltd", ground="Terms, 4.2", appeal="Write within six months.", contact="a@b.example")
    page = dispute_page(store, number, policy, gateway(1), with_note=True).page
    words = Words(page)
    for part in (
        "an estimate, not proof",
        "probably made by an AI generator",
        "90.0 %",
        "above 60.0 %",
        "from 40.0 % to 60.0 % it is unsure",
        "model version 1",
        "Of this shop's real photos, about",
        "About 1 in 250 real product photos scores this high or higher",
        "It does not say why",
        "The file names a camera: Acme.",
        "Camera (EXIF): make: Acme",
        "Content credentials (C2PA): absent",
        "A person looked at the photo and agrees with the detector. Found: made by an AI generator.",
        "Reason given: Shadows differ.",
        "Write within six months.",
        "a person decided, having seen the detector's answer",
        *ARTICLE_17,
    ):
        assert part in words.text, part
    assert len(words.sources) == 2
    assert all(source.startswith("data:image/") for source in words.sources), "nothing is fetched"
    assert "script" not in words.tags
    assert "proves that" not in words.text


def test_it_words_scores_and_metadata_as_the_page_does(store: CaseStore, tmp_path: Path) -> None:
    claims = {
        "c2pa": {"status": "present", "validity": "valid", "trusted": False, "generator": "DALL-E"},
        "complete": False,
    }
    number = one_case(store, tmp_path, probability=0.99996, provenance=claims, real_photos_this_high=0.0)
    words = Words(dispute_page(store, number, Policy()).page).text
    for part in (
        "Estimated probability of AI generationover 99.9 %",
        "with an estimated probability of over 99.9 %.",
        rarity(0.0),
        claimed(claims),
        *(f"{title}: {text}" for title, text in details(claims)),
    ):
        assert part in words, part
    assert "100.0" not in words


def test_a_photo_that_was_not_judged_has_no_score(store: CaseStore, tmp_path: Path) -> None:
    number = one_case(store, tmp_path, verdict="unsure", reason="too_small", probability=0.43)
    found = dispute_page(store, number, Policy(), gateway(1))
    words = Words(found.page)
    assert "Becausethe photo is too small to judge" in words.text
    assert "43" not in words.text.replace(store.get(number).sha256, "")
    assert len(words.sources) == 1, "the photo, and no map"


def test_a_photo_that_was_cleared_has_no_restriction_and_no_note_unasked(store: CaseStore, tmp_path: Path) -> None:
    number = one_case(store, tmp_path)
    store.decide([number], Truth.REAL, reviewer="ann", note="Seller is rude.")
    policy = Policy(restriction="The listing is hidden.", ground="Terms, 4.2", appeal="Write within six months.")
    words = Words(dispute_page(store, number, policy).page)
    assert "A person looked at the photo and disagrees with the detector. Found: a real photo." in words.text
    assert "No restriction applies to this photo any more." in words.text
    for part in ("rude", "hidden", "Terms, 4.2", "Write within", "object", "Contractual ground"):
        assert part not in words.text, part


@pytest.mark.parametrize(
    ("channel", "person"), [("desk", True), ("label-studio", True), ("coop", True), ("feedback", False)]
)
def test_only_where_a_person_decided_it_says_so(store: CaseStore, tmp_path: Path, channel: str, person: bool) -> None:
    number = one_case(store, tmp_path)
    store.decide([number], Truth.AI, reviewer="shop", channel=channel)
    words = Words(dispute_page(store, number, Policy()).page)
    assert ("A person looked" in words.text) is person
    assert ("no: a person decided" in words.text) is person
    assert ("Another system of the platform reported what the photo is and agrees" in words.text) is not person
    assert ("another system of the platform decided" in words.text) is not person


def test_a_photo_that_is_gone_or_changed_leaves_its_hash(store: CaseStore, tmp_path: Path) -> None:
    number = one_case(store, tmp_path)
    sha256 = store.get(number).sha256
    there = Words(dispute_page(store, number, Policy()).page)
    assert "The file does not say how it was made, which proves nothing." in there.text, "read from the photo itself"
    (tmp_path / "photo.jpg").write_bytes(draw(2))
    changed = Words(dispute_page(store, number, Policy()).page)
    (tmp_path / "photo.jpg").unlink()
    gone = Words(dispute_page(store, number, Policy()).page)
    for words in (changed, gone):
        assert "No metadata was recorded for this case, and the photo is not at hand." in words.text
    assert "the file has changed since it was scored" in changed.text
    assert "cannot be read" in gone.text
    assert all(sha256 in words.text and words.sources == [] for words in (changed, gone))


def test_another_versions_map_is_not_shown(store: CaseStore, tmp_path: Path) -> None:
    words = Words(dispute_page(store, one_case(store, tmp_path), Policy(), gateway(2)).page)
    assert "Version 1 no longer runs" in words.text
    assert len(words.sources) == 1


def test_hostile_words_are_escaped(store: CaseStore, tmp_path: Path) -> None:
    answer = row(1, path=HOSTILE, shop=HOSTILE, seller=HOSTILE, confidence=HOSTILE, reason=HOSTILE)
    answer |= {"provenance": {"camera": {"status": "present", "make": HOSTILE}}, "second_opinion": HOSTILE}
    bring(store.database, tmp_path, [answer])
    number = store.page(Filter())[0].id
    store.decide([number], Truth.AI, reviewer=HOSTILE, note=HOSTILE)
    page = dispute_page(store, number, Policy(appeal=HOSTILE), with_note=True).page
    assert "script" not in Words(page).tags
    assert page.count("&lt;script&gt;") >= 4


def test_the_policy_file(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('platform = "Shop"\nillegal = true\n')
    assert Policy.read(file) == Policy(platform="Shop", illegal=True)
    for text in ("nonsense", 'colour = "red"', "platform = 7", 'illegal = "yes"'):
        file.write_text(text)
        with pytest.raises(UsageError, match=re.escape(str(file))):
            Policy.read(file)
    with pytest.raises(UsageError, match="cannot be read"):
        Policy.read(tmp_path / "gone.toml")


def test_the_command(store: CaseStore, tmp_path: Path) -> None:
    number = one_case(store, tmp_path, reference="item-7")
    (tmp_path / "policy.toml").write_text('appeal = "Call us."')
    output = tmp_path / "a" / "b.html"
    arguments = ["review", "dispute", str(number), "--database", store.database.url, "--output", str(output)]
    away = ["--gateway-url", "http://127.0.0.1:9"]
    result = CliRunner().invoke(build(), [*arguments, *away, "--policy", str(tmp_path / "policy.toml")])
    assert result.exit_code == 0, result.output
    assert "without evidence map: The service is away" in result.stderr
    assert "The service is away" not in output.read_text(), "nothing that a seller could not understand"
    assert "Call us." in output.read_text()
    assert store.get(number).sha256 in output.read_text()
    for name in ("item-7", str(tmp_path / "photo.jpg")):
        output.unlink()
        result = CliRunner().invoke(build(), ["review", "dispute", "--reference", name, *arguments[3:], *away])
        assert result.exit_code == 0, result.output
        assert f"Case {number}" in output.read_text()
    bring(store.database, tmp_path, [row(2, reference="item-7", model_version=2)])
    for words, why in (
        (["--reference", "item-7"], "has 2 cases"),
        (["--reference", "item-8"], "there is no case of item-8"),
        ([], "by its number or by --reference"),
    ):
        refused = CliRunner().invoke(build(), ["review", "dispute", *words, *arguments[3:]])
        assert why in str(refused.exception)
