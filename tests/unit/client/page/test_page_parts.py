"""What the page is made of, without a browser."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from veriphoto.errors import UsageError
from veriphoto_client.commandline.app import build
from veriphoto_client.page import gateway as gateway_module
from veriphoto_client.page.drawing import COLOURS, gate, scale
from veriphoto_client.page.gateway import MOST_FILES, UNANSWERED, AwayError, Gateway, PageError, Photo, portions
from veriphoto_client.page.provenance import claimed, details
from veriphoto_client.page.table import rank, sortable, table, to_csv
from veriphoto_client.page.words import likelihood, rarity, standing, thanks


def test_many_photos_go_in_portions() -> None:
    photos = [Photo(f"{number}", b"1") for number in range(45)]
    assert [len(part) for part in portions(photos)] == [MOST_FILES, MOST_FILES, 5]
    assert [len(part) for part in portions([Photo("", bytes(40_000_000))] * 3)] == [1, 1, 1]


@pytest.mark.parametrize("address", ["http://[::bad", "nonsense", "ftp://x", "http://", "http://x:99999", ""])
def test_what_is_no_address_is_refused_before_anything_starts(address: str) -> None:
    with pytest.raises(UsageError, match=f"{re.escape(repr(address))} is not the address of a gateway"):
        Gateway(address)
    told = CliRunner().invoke(build(), ["page", "--gateway-url", address])
    assert isinstance(told.exception, UsageError)


def answering(status: int, body: Any) -> Gateway:
    return Gateway("http://gateway", "k", httpx.MockTransport(lambda _: httpx.Response(status, json=body)))


@pytest.mark.parametrize("body", [["list"], {"detail": "Not Found"}, [[[]]] * 3])
@pytest.mark.parametrize("status", [200, 404])
def test_a_page_before_something_else_says_that_the_service_is_away(status: int, body: Any) -> None:
    gateway = answering(status, body)
    assert gateway.health()["status"] == "away"
    if isinstance(body, list):
        with pytest.raises(AwayError, match="not the service"):
            gateway.explain(Photo("a", b"b"))


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "API key"), (422, "not a picture"), (429, "wait a minute"), (503, "busy or away"), (500, "busy or away")],
)
def test_refusals_are_sentences(status: int, words: str) -> None:
    with pytest.raises(PageError, match=words):
        answering(status, {"error": "x", "detail": "the file is not a picture"}).explain(Photo("a", b"b"))


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "_AGAIN_S", 0.3)
    monkeypatch.setattr(gateway_module, "_PAUSE_S", 0.05)


def failing(*statuses: int) -> tuple[Gateway, list[int]]:
    """A gateway whose answers to batches have these statuses, the last one for ever."""
    asked: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        status = statuses[min(len(asked), len(statuses) - 1)]
        asked.append(status)
        names = re.findall(rb'filename="([^"]*)"', request.content)
        results = [{"filename": name.decode(), "probability": 0.5} for name in names]
        return httpx.Response(status, json={"results": results} if status == 200 else {"error": "x", "detail": "y"})

    return Gateway("http://gateway", transport=httpx.MockTransport(answer)), asked


def test_what_cannot_be_read_is_a_row_and_never_sent() -> None:
    sound = [Photo(f"{number}.jpg", b"1") for number in range(2 * MOST_FILES + 1)]
    lost = Photo("bad.jpg", b"", "its part of the ZIP is damaged")
    gateway, asked = failing(200)
    answers = list(gateway.judge([*sound, lost]))
    assert [answer["filename"] for answer in answers] == [photo.name for photo in [*sound, lost]]
    assert len(asked) == 3
    assert all("probability" in answer for answer in answers[:-1])
    assert table(answers[-1:])[0]["answer"] == f"Not judged: {lost.problem}"


MANY = [Photo(f"{number}.jpg", b"1") for number in range(MOST_FILES + 3)]


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_a_service_that_is_busy_for_a_moment_is_asked_again(status: int) -> None:
    gateway, asked = failing(status, 200, status, status, 200)
    assert [answer["filename"] for answer in gateway.judge(MANY)] == [photo.name for photo in MANY]
    assert asked == [status, 200, status, status, 200]


def test_what_was_answered_before_the_service_stopped_is_kept() -> None:
    gateway, _ = failing(200, 503)
    answers = list(gateway.judge(MANY))
    assert [answer["filename"] for answer in answers] == [photo.name for photo in MANY]
    assert all("probability" in answer for answer in answers[:MOST_FILES])
    assert {answer["error"] for answer in answers[MOST_FILES:]} <= UNANSWERED


def test_a_refusal_of_the_request_itself_is_not_repeated() -> None:
    gateway, asked = failing(401)
    with pytest.raises(PageError, match="API key"):
        list(gateway.judge(MANY))
    assert asked == [401]


def test_a_service_that_is_away_is_said_to_be() -> None:
    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    gateway = Gateway("http://gateway", transport=httpx.MockTransport(away))
    assert gateway.health()["status"] == "away"
    with pytest.raises(PageError, match="away"):
        gateway.explain(Photo("a", b"b"))


def test_the_page_shows_its_key() -> None:
    seen: list[str] = []

    def look(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["x-api-key"])
        return httpx.Response(200, json={"results": [{"filename": "a"}]})

    gateway = Gateway("http://gateway", "secret", transport=httpx.MockTransport(look))
    assert list(gateway.judge([Photo("a", b"b")])) == [{"filename": "a"}]
    assert seen == ["secret"]


def test_csv_runs_nothing_in_a_spreadsheet() -> None:
    answers = [
        {"filename": "=1+1.jpg", "verdict": "real", "probability": 0.25, "provenance": {}},
        {"filename": 'a,"b".jpg', "error": "not_an_image", "detail": "the file is not a picture"},
    ]
    rows = list(csv.DictReader(io.StringIO(to_csv(answers))))
    assert [row["filename"] for row in rows] == ["'=1+1.jpg", 'a,"b".jpg']
    assert [row["error"] for row in rows] == ["", "not_an_image"]
    assert [row["answer"] for row in rows] == [
        "No sign of AI generation found",
        "Not judged: the file is not a picture",
    ]


def test_the_table_has_what_failed_first_and_no_score_where_none_counts() -> None:
    scored = {"verdict": "real", "reason": "", "model_version": 2}
    answers = [
        {**scored, "filename": "low.jpg", "probability": 0.00001},
        {**scored, "filename": "small.jpg", "verdict": "unsure", "reason": "too_small", "probability": 0.9},
        {**scored, "filename": "high.jpg", "probability": 0.9996},
        {"filename": "broken.jpg", "error": "corrupt_image", "detail": "the file is damaged"},
    ]
    answers.sort(key=rank)
    rows = table(answers)
    assert list(rows[0])[:2] == ["photo", "filename"], "a narrow screen shows these"
    assert [row["filename"] for row in rows] == ["broken.jpg", "high.jpg", "low.jpg", "small.jpg"]
    assert [row["probability"] for row in rows] == [None, 0.9996, 0.00001, None]
    assert rows[0]["answer"] == "Not judged: the file is damaged"
    assert rows[3]["answer"] == "Unsure: the photo is too small to judge"
    shown = sortable(rows)
    assert shown.data["probability"].dtype.kind == "f", "sorted as numbers"
    for words in (likelihood(0.9996), likelihood(0.00001)):
        assert f">{words}</td>" in shown.to_html()
    assert [row["probability"] for row in csv.DictReader(io.StringIO(to_csv(answers)))] == ["", "0.9996", "1e-05", ""]


@pytest.mark.parametrize(
    ("probability", "words"),
    [(0.0, "under 0.1 %"), (0.0009, "under 0.1 %"), (0.975, "97.5 %"), (0.9994, "over 99.9 %"), (1.0, "over 99.9 %")],
)
def test_an_estimate_is_never_certain(probability: float, words: str) -> None:
    assert likelihood(probability).replace("\N{NO-BREAK SPACE}", " ") == words


@pytest.mark.parametrize(
    ("verdict", "confidence", "words"),
    [
        ("ai_generated", "medium", "clearly above the limit of 89.0 %"),
        ("ai_generated", "low", "just above the limit of 89.0 %"),
        ("real", "high", "far below the limit of 43.0 %"),
        ("unsure", "low", ""),
    ],
)
def test_the_distance_to_the_limit_is_said(verdict: str, confidence: str, words: str) -> None:
    answer = {"verdict": verdict, "confidence": confidence, "unsure_band": [0.43, 0.89]}
    assert standing(answer).replace("\N{NO-BREAK SPACE}", " ") == words


def test_a_share_of_real_photos_says_what_it_means() -> None:
    assert (
        rarity(0.64)
        == "Of 100 real product photos about 64 score this high or higher: an ordinary score for a real photo."
    )
    assert rarity(0.02).endswith(": an unusual score for a real photo.")
    assert rarity(0.001).endswith(": a rare score for a real photo.")


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({}, "The file does not say how it was made, which proves nothing."),
        (
            {"generation_parameters": {"fields": ["parameters"], "tool": "Stable Diffusion web UI"}},
            "The file says that it was made with Stable Diffusion web UI.",
        ),
        ({"generation_parameters": {"fields": ["parameters"]}}, "The file holds an AI generator's settings."),
        (
            {"digital_source_type": {"value": "trainedAlgorithmicMedia"}},
            "The file says that it was made with an AI gen",
        ),
        (
            {"c2pa": {"digital_source_type": "compositeWithTrainedAlgorithmicMedia", "generator": "Adobe Firefly"}},
            "The file says that a part of it was made with Adobe Firefly.",
        ),
        ({"c2pa": {"validity": "valid"}}, "The file carries content credentials that do not say"),
        ({"camera": {"make": "Apple", "model": "iPhone 15"}}, "The file names a camera: Apple iPhone 15."),
    ],
)
def test_metadata_are_one_plain_sentence(claims: dict[str, dict[str, Any]], words: str) -> None:
    present = {name: {"status": "present", **claim} for name, claim in claims.items()}
    assert claimed({"camera": {"status": "absent"}, **present, "complete": True}).startswith(words)
    listed = details(present)
    assert sum(text != "absent" for _, text in listed) == len(claims)
    assert not any("[" in text for _, text in listed)


def test_thanks_say_what_became_of_an_answer() -> None:
    known = [thanks(status) for status in ("decided", "unchanged", "kept", "waiting", "reported")]
    assert len({*known, thanks("new"), thanks("")}) == 6


def test_the_scale_has_the_colour_of_each_verdict_where_it_holds() -> None:
    source = scale(0.6, 0.87, (0.05, 0.87)).partition("base64,")[2].partition('"')[0]
    drawn = base64.b64decode(source).decode()
    bars = re.findall(r'<rect x="([\d.]+)" y="30" width="([\d.]+)" height="14" fill="(#\w+)"', drawn)
    assert [colour for *_, colour in bars] == [COLOURS[name] for name in ("real", "unsure", "ai_generated")]
    start, width, _ = map(str, bars[1])
    mark = float(re.findall(r'<path d="M([\d.]+)', drawn)[0])
    assert float(start) < mark < float(start) + float(width), "a score in the band stands in its colour"


def test_a_mistake_is_told_by_checksum_alone() -> None:
    told: list[dict[str, str]] = []

    def take(request: httpx.Request) -> httpx.Response:
        told.append(json.loads(request.content))
        return httpx.Response(200, json={"status": "waiting"})

    gateway = Gateway("http://gateway", transport=httpx.MockTransport(take))
    assert gateway.tell(Photo("private.jpg", b"x"), "real", "seen") == "waiting"
    assert told == [{"sha256": hashlib.sha256(b"x").hexdigest(), "truth": "real", "note": "seen"}]


def test_what_decided_is_said_where_it_was_not_the_score() -> None:
    answer = {
        "statistics": {"width": 90.0, "height": 40.0, "blockiness": 3.14},
        "gates": {"min_side": 96.0, "max_blockiness": 2.8},
    }
    assert gate({**answer, "reason": "too_small"}) == "Its shorter side has **40 px**; photos are judged from 96 px on"
    assert "**3.1**" in gate({**answer, "reason": "too_degraded"})
    assert gate({**answer, "reason": "borderline"}) == gate({**answer, "reason": ""}) == ""


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_the_scale_has_words_for_those_who_cannot_see_it(probability: float) -> None:
    html = scale(probability, 0.5, (0.4, 0.6))
    assert f'alt="{likelihood(probability)} probability of being AI-generated; unsure between ' in html
