"""The truth about a picture, from its caller to its case."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from veriphoto.errors import DatabaseError, UsageError
from veriphoto_review.cases.case import State, Truth
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import Database
from veriphoto_review.intake.files import Batch
from veriphoto_review.intake.importing import ImportOptions, import_batches
from veriphoto_serving.gateway.app import create_app
from veriphoto_serving.gateway.settings import GatewaySettings

from .conftest import KEYS, Gateway, Open

SHOP, APP = {"x-api-key": "0123456789abcdef"}, {"x-api-key": "fedcba9876543210"}
ID = "0123456789abcdef" * 2


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'review.db'}"


@pytest.fixture
def store(url: str) -> CaseStore:
    return CaseStore(Database(url))


@pytest.fixture
def settings(url: str) -> dict[str, Any]:
    return {"review_database": url, "api_keys": KEYS, "feedback_keys": "shop"}


def bring(store: CaseStore, **more: Any) -> None:
    row = {"path": "a.jpg", "verdict": "ai_generated", "probability": 0.9, "model_version": 1, "request_id": ID, **more}
    import_batches(store.database, [Batch("rows", 1, [row], None)], ImportOptions(audit_share=0.0))


async def tell(gateway: Gateway, headers: dict[str, str] = SHOP, route: str = "/v1/feedback", **body: Any) -> Any:
    return await gateway.http.post(route, json=body, headers=headers)


async def test_a_truth_decides_its_case_once(open_gateway: Open, settings: dict[str, Any], store: CaseStore) -> None:
    bring(store)
    async with open_gateway(**settings) as gateway:
        first = await tell(gateway, request_id=ID, truth="real", note="raw file seen")
        again = await tell(gateway, request_id=ID, truth="real", note="raw file seen")
    assert (first.status_code, first.json()["status"], first.json()["cases"]) == (200, "decided", 1)
    assert (again.status_code, again.json()["status"]) == (200, "unchanged")
    (case,) = store.page(Filter())
    assert (case.state, case.truth, case.channel, case.reviewer) == (State.OVERTURNED, "real", "feedback", "shop")
    assert case.note == "raw file seen"
    assert len(store.history(case.id)) == 2


@pytest.mark.parametrize("subject", [{"sha256": "ab" * 32}, {"reference": "a.jpg"}, {"request_id": ID}])
async def test_a_truth_may_come_before_its_case(
    open_gateway: Open, settings: dict[str, Any], store: CaseStore, subject: dict[str, str]
) -> None:
    async with open_gateway(**settings) as gateway:
        for truth in ("ai_generated", "real", "real"):
            answer = await tell(gateway, **subject, truth=truth)
            assert (answer.status_code, answer.json()["status"]) == (200, "waiting")
    bring(store, sha256="ab" * 32, verdict="real", probability=0.1)
    (case,) = store.page(Filter())
    assert (case.why, case.state, case.truth, case.reviewer) == ("feedback", State.CONFIRMED, Truth.REAL, "shop")
    bring(store, path="b.jpg", request_id="", verdict="real", probability=0.1)
    assert store.count(Filter()) == 1, "used once"


async def test_more_than_the_database_can_take_is_refused(open_gateway: Open, settings: dict[str, Any]) -> None:
    async with open_gateway(**settings) as gateway:
        gateway.services.truths.taken = gateway.services.truths.places
        answer = await tell(gateway, request_id=ID, truth="real")
    assert answer.status_code == 503
    assert "too many feedback reports" in answer.text


async def test_a_reviewers_decision_stays(open_gateway: Open, settings: dict[str, Any], store: CaseStore) -> None:
    bring(store)
    (case,) = store.page(Filter())
    store.decide([case.id], Truth.AI, reviewer="ann")
    async with open_gateway(**settings) as gateway:
        answer = await tell(gateway, request_id=ID, truth="real")
    assert answer.json()["status"] == "kept"
    assert store.get(case.id).reviewer == "ann"


async def test_without_a_key_nothing_is_decided(open_gateway: Open, url: str, store: CaseStore) -> None:
    bring(store, path="b.jpg", request_id="", probability=0.99)
    bring(store)
    numbers = {case.reference: case.id for case in store.page(Filter())}
    store.decide([numbers["b.jpg"]], Truth.AI, reviewer="ann")
    store.undo(store.history(numbers["b.jpg"])[-1].batch, reviewer="ann")
    assert [case.reference for case in store.page(Filter())] == ["b.jpg", "a.jpg"]
    async with open_gateway(review_database=url) as gateway:
        answers = [await tell(gateway, {}, request_id=ID, truth="real", note="raw file seen") for _ in range(2)]
    assert [each.json()["status"] for each in answers] == ["reported", "unchanged"]
    case = store.get(numbers["a.jpg"])
    assert (case.state, case.truth, case.reviewer) == (State.OPEN, "", "")
    for order in ("score", "age", "random"):
        pages = [store.page(Filter(state=State.OPEN), order, limit=1, offset=each)[0] for each in (0, 1)]
        assert [each.reference for each in pages] == ["a.jpg", "b.jpg"], "what was reported comes first"
    last = store.history(case.id)[-1]
    assert (last.actor, last.action) == ("anonymous", "reported")
    assert last.after == {"state": "open", "truth": "real", "note": "real, raw file seen"}
    store.decide([case.id], Truth.AI, reviewer="ann")
    async with open_gateway(review_database=url) as gateway:
        assert (await tell(gateway, {}, request_id=ID, truth="real")).json()["status"] == "kept"
        assert (await tell(gateway, {}, request_id=ID, truth="ai_generated")).json()["status"] == "unchanged"
    assert store.get(case.id).reviewer == "ann"


@pytest.mark.parametrize("named", [False, True])
async def test_a_report_that_comes_first_opens_the_case_and_a_name_outweighs_it(
    open_gateway: Open, settings: dict[str, Any], store: CaseStore, named: bool
) -> None:
    async with open_gateway(**settings) as by_name, open_gateway(review_database=settings["review_database"]) as open_:
        assert (await tell(open_, {}, request_id=ID, truth="ai_generated", note="n")).json()["status"] == "waiting"
        if named:
            await tell(by_name, request_id=ID, truth="real")
            await tell(open_, {}, request_id=ID, truth="ai_generated")
            await tell(open_, {}, reference="a.jpg", truth="ai_generated")
    bring(store, verdict="real", probability=0.1)
    (case,) = store.page(Filter())
    actions = [line.action for line in store.history(case.id)]
    if named:
        assert (case.why, case.state, case.reviewer) == ("feedback", State.CONFIRMED, "shop")
        assert actions == ["opened", "decided"]
    else:
        assert (case.why, case.state, case.truth) == ("feedback", State.OPEN, "")
        assert actions == ["opened", "reported"]
        assert store.history(case.id)[-1].after == {"state": "open", "truth": "ai_generated", "note": "AI-generated, n"}


async def test_only_keys_of_that_scope_may(open_gateway: Open, settings: dict[str, Any], store: CaseStore) -> None:
    bring(store)
    async with open_gateway(**settings) as gateway:
        assert (await tell(gateway, APP, request_id=ID, truth="real")).status_code == 403
        assert (await tell(gateway, {}, request_id=ID, truth="real")).status_code == 401
    assert store.count(Filter(state=State.OPEN)) == 1
    async with open_gateway(review_database=settings["review_database"]) as gateway:
        assert (await tell(gateway, {}, request_id=ID, truth="real")).status_code == 200
    open_to_all = {"gateway_host": "0.0.0.0", "allow_anonymous": True}  # noqa: S104
    async with open_gateway(review_database=settings["review_database"], **open_to_all) as gateway:
        assert (await tell(gateway, {}, request_id=ID, truth="real")).status_code == 403


@pytest.mark.parametrize(
    ("keys", "known"), [(KEYS, r"app, shop\)"), ("", "none; set VERIPHOTO_API_KEYS or --api-keys-file")]
)
def test_a_name_that_is_no_keys_is_told_at_the_start(keys: str, known: str) -> None:
    with pytest.raises(UsageError, match=f"--feedback-keys: 'shpo' is the name of no API key .known: {known}"):
        create_app(GatewaySettings(api_keys=keys, feedback_keys="shop,shpo" if keys else "shpo"))


async def test_it_is_off_without_a_database(open_gateway: Open) -> None:
    async with open_gateway() as gateway:
        for route in ("/feedback", "/v1/feedback", "/v1/feedback/"):
            answer = await tell(gateway, {}, route, request_id=ID, truth="real")
            assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
            assert answer.json()["detail"].startswith("feedback is off; the operator turns it on with --review-d")
        assert "no such route" in (await tell(gateway, {}, "/v1/feedbacks")).json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"truth": "real"},
        {"request_id": ID, "truth": "fake"},
        {"request_id": ID, "sha256": "ab" * 32, "truth": "real"},
        {"sha256": "xyz", "truth": "real"},
        {"request_id": ID, "truth": "real", "colour": "red"},
        {"request_id": ID, "truth": "real", "note": "x" * 2001},
        {"reference": 7, "truth": "real"},
        {"reference": None, "truth": "real"},
        {"request_id": "", "truth": "real"},
        {"reference": 1000 * "\N{EURO SIGN}", "truth": "real"},
    ],
)
async def test_what_is_no_feedback(open_gateway: Open, url: str, body: dict[str, Any]) -> None:
    async with open_gateway(review_database=url) as gateway:
        answer = await gateway.http.post("/feedback", json=body)
        assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")
        assert "xyz" not in answer.text


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 400), (b"[1", 400), (b'"a"', 400), (b"\xff", 400), (b" " * 40_000, 413)]
)
async def test_bodies_that_are_none(open_gateway: Open, url: str, content: bytes, status: int) -> None:
    async with open_gateway(review_database=url) as gateway:
        assert (await gateway.http.post("/feedback", content=content)).status_code == status


async def test_hostile_text_is_kept_as_text(open_gateway: Open, settings: dict[str, Any], store: CaseStore) -> None:
    bring(store, path="<b>'; DROP TABLE cases; --")
    async with open_gateway(**settings) as gateway:
        answer = await tell(gateway, reference="<b>'; DROP TABLE cases; --", truth="real", note="a\0<script>")
    assert answer.json()["status"] == "decided"
    assert store.page(Filter())[0].note == "a\N{REPLACEMENT CHARACTER}<script>"


async def test_many_at_once_and_scoring_goes_on(open_gateway: Open, url: str, store: CaseStore, photo: bytes) -> None:
    bring(store)
    async with open_gateway(review_database=url) as gateway:
        with store.database.writing():  # a long import
            waiting = [asyncio.create_task(tell(gateway, {}, request_id=ID, truth="real")) for _ in range(3)]
            await asyncio.sleep(0.1)
            assert (await gateway.http.post("/predict", content=photo)).status_code == 200
        answers = [each.json()["status"] for each in await asyncio.gather(*waiting)]
    assert sorted(answers) == ["reported", "unchanged", "unchanged"]


def test_a_database_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all, and long enough to be seen as none" * 40)
    with pytest.raises(DatabaseError, match="not a database"):
        create_app(GatewaySettings(review_database=f"sqlite:///{tmp_path / 'text.db'}"))
    with pytest.raises(UsageError):
        create_app(GatewaySettings(review_database="mysql://x/y"))
