"""Coop: what is sent fits its API, what comes back is signed as Coop signs, and a rule decides nothing.

``coop_signs.mjs`` signs and sends with Node's own WebCrypto and fetch, which is what Coop's server does it with.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from veriphoto.errors import ServiceError, ServiceUnavailableError, UsageError
from veriphoto_client.commandline.app import build
from veriphoto_review.cases.case import State, Truth
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import Database
from veriphoto_review.exchange.coop import send_open_cases, signed_by
from veriphoto_review.exchange.coop_listener import CoopListener
from veriphoto_review.intake.feedback import FeedbackDesk

from .kit import bring, row

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
PHOTO = "https://photos.example/a b.jpg"
CALLBACK = {  # docs/api/actions.md of Coop, "Request body"
    "item": {"id": PHOTO, "typeId": "photo", "typeName": "Photo"},
    "action": {"id": "restore"},
    "policies": [{"id": "policy-id", "name": "AI-generated photos", "penalty": "MEDIUM"}],
    "rules": [],
    "custom": {"truth": "real", "reason": "the raw file is there", "reportHistory": []},
    "actorEmail": "moderator@example.com",
    "decisionReason": "the raw file is there",
    "userStrikeCount": 0,
}
APPEAL = {  # the same, "Appeal decision callback"
    "appealId": "a-1",
    "item": {"id": PHOTO, "typeId": "photo"},
    "appealedBy": {"id": "s-1", "typeId": "seller"},
    "appealDecision": "ACCEPT",
    "custom": {"accepted": "real", "rejected": "ai_generated"},
}


def signature(body: bytes) -> str:
    return base64.b64encode(KEY.sign(body, PKCS1v15(), SHA256())).decode()


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    store = CaseStore(Database(f"sqlite:///{tmp_path / 'review.db'}", patience=0.2))
    bring(store.database, tmp_path, [row(1, path=PHOTO, shop="north", seller="s-1")])
    return store


@pytest.fixture
def listener(store: CaseStore, tmp_path: Path) -> Iterator[CoopListener]:
    (tmp_path / "coop.pem").write_bytes(PEM)
    with CoopListener(("127.0.0.1", 0), FeedbackDesk(store.database), tmp_path / "coop.pem") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def call(listener: CoopListener, told: Any, **headers: str) -> httpx.Response:
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    signed = {"Coop-Signature": signature(body), **headers}
    return httpx.post(f"http://127.0.0.1:{listener.server_port}/", content=body, headers=signed)


def test_a_moderators_action_decides_its_case_once(listener: CoopListener, store: CaseStore) -> None:
    first, again = call(listener, CALLBACK), call(listener, CALLBACK)
    assert (first.status_code, first.json()) == (200, {"status": "decided", "cases": 1})
    assert again.json()["status"] == "unchanged"
    (case,) = store.page(Filter())
    assert (case.state, case.truth, case.reviewer) == (State.OVERTURNED, Truth.REAL, "Coop: moderator@example.com")
    assert case.note == "the raw file is there"
    assert len(store.history(case.id)) == 2


def test_an_appeal(listener: CoopListener, store: CaseStore) -> None:
    assert call(listener, APPEAL).json()["status"] == "decided"
    assert store.page(Filter())[0].truth == Truth.REAL
    assert call(listener, {**APPEAL, "appealDecision": "REJECT"}).json()["status"] == "decided"
    assert store.page(Filter())[0].truth == Truth.AI


@pytest.mark.parametrize(
    "change",
    [
        {"actorEmail": None, "rules": [{"id": "r", "name": "flagged"}]},  # our own score must not confirm itself
        {"custom": {}},
        {"custom": None},
    ],
)
def test_what_decides_nothing(listener: CoopListener, store: CaseStore, change: dict[str, Any]) -> None:
    assert call(listener, {**CALLBACK, **change}).json() == {"status": "ignored", "cases": 0}
    assert store.count(Filter(state=State.OPEN)) == 1


def test_a_photo_that_has_no_case_yet_waits_for_it(listener: CoopListener, store: CaseStore, tmp_path: Path) -> None:
    other = {**CALLBACK, "item": {"id": "listing-9", "typeId": "photo"}}
    assert call(listener, other).json()["status"] == "waiting"
    bring(store.database, tmp_path, [row(2, path="listing-9")])
    assert store.count(Filter(state=State.OVERTURNED)) == 1


def test_a_reviewers_decision_stays(listener: CoopListener, store: CaseStore) -> None:
    store.decide([store.page(Filter())[0].id], Truth.AI, reviewer="ann")
    assert call(listener, CALLBACK).json()["status"] == "kept"


@pytest.mark.parametrize(
    ("told", "headers", "status"),
    [
        (CALLBACK, {"Coop-Signature": ""}, 401),
        (CALLBACK, {"Coop-Signature": "not base64!"}, 401),
        (CALLBACK, {"Coop-Signature": signature(b"another body")}, 401),
        ({**CALLBACK, "custom": {"truth": "spam"}}, {}, 400),
        ({**CALLBACK, "item": {"id": 7}}, {}, 400),
        (b"no json", {}, 400),
        ([], {}, 400),
        (b"[" * 100_000, {}, 400),
        ({**CALLBACK, "appealDecision": ["ACCEPT"]}, {}, 200),
        (b"x" * 1_000_001, {}, 413),
    ],
)
def test_what_is_refused(listener: CoopListener, store: CaseStore, told: Any, headers: Any, status: int) -> None:
    assert call(listener, told, **headers).status_code == status
    assert store.count(Filter(state=State.OPEN)) == 1


def test_a_length_of_thousands_of_digits(listener: CoopListener) -> None:
    host, port = listener.server_address[:2]
    with socket.create_connection((str(host), port), timeout=10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n")
        assert connection.recv(100).split()[1] == b"413"


def test_what_coop_must_send_again(listener: CoopListener, store: CaseStore) -> None:
    """Coop gives up at 4xx and repeats at 5xx: a locked database, or our copy of a changed key, is no 4xx."""
    with store.database.writing():
        assert call(listener, CALLBACK).status_code == 503
    listener.public_key.write_text("gone")
    assert call(listener, CALLBACK).status_code == 503
    listener.public_key.write_bytes(PEM)
    assert call(listener, CALLBACK).json()["status"] == "decided"


def test_keys_that_are_none(store: CaseStore, tmp_path: Path) -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1()).public_key()
    for found in (b"", b"no key", elliptic.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)):
        with pytest.raises(UsageError, match="the public key is not"):
            signed_by(found, b"", "")
    with pytest.raises(UsageError, match="cannot be read"):
        CoopListener(("127.0.0.1", 0), FeedbackDesk(store.database), tmp_path / "gone.pem")


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_node_signs_as_coop_does(store: CaseStore, tmp_path: Path) -> None:
    script, key = Path(__file__).with_name("coop_signs.mjs"), tmp_path / "node.pem"
    subprocess.run(["node", script, "key", key], check=True, timeout=60)
    with CoopListener(("127.0.0.1", 0), FeedbackDesk(store.database), key) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/coop"
            told = {**CALLBACK, "decisionReason": "größer als gedacht"}
            command = ["node", script, "send", key, address, json.dumps(told)]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        finally:
            server.shutdown()
            thread.join()
    assert done.stdout.strip() == '200 {"status": "decided", "cases": 1}', done.stderr
    assert store.page(Filter())[0].note == "größer als gedacht"


class Coop(ThreadingHTTPServer):
    """Takes items as Coop's route does, by its request schema."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Route)
        self.items: list[dict[str, Any]] = []
        self.status = 202


class _Route(BaseHTTPRequestHandler):
    server: Coop

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/api/v1/items/async/"
        status = self.server.status if self.headers["X-API-KEY"] == "secret" else 401
        if status == 202:
            assert body.keys() == {"items"}
            for each in body["items"]:
                assert each.keys() == {"id", "typeId", "data"}
                assert (type(each["id"]), type(each["typeId"]), type(each["data"])) == (str, str, dict)
            self.server.items += body["items"]
        error = {"status": status, "type": ["/errors/invalid-user-input"], "title": "Bad item", "detail": "no field"}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"" if status == 202 else json.dumps({"errors": [error]}).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def coop() -> Iterator[Coop]:
    with Coop() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def send(coop: Coop, store: CaseStore) -> Callable[..., Any]:
    def sending(**options: Any) -> Any:
        given = {"url": f"http://127.0.0.1:{coop.server_port}/", "key": "secret", "item_type": "t", **options}
        return send_open_cases(store, **given)

    return sending


def test_open_cases_become_items(coop: Coop, store: CaseStore, send: Callable[..., Any], tmp_path: Path) -> None:
    bring(store.database, tmp_path, [row(number, path=f"folder/{number} ö.jpg") for number in range(2, 70)])
    store.decide([store.page(Filter(), "age", limit=70)[-1].id], Truth.AI, reviewer="ann")
    done = send(photo_url="https://photos.example/{reference}?size=l")
    assert (done.items, done.without_url) == (68, [])
    by_id = {each["id"]: each for each in coop.items}
    assert by_id[PHOTO]["data"] == {
        "photo": PHOTO,
        "ai_probability": 0.9,
        "verdict": "ai_generated",
        "model_version": 1,
        "shop": "north",
        "seller": "s-1",
    }
    assert by_id["folder/2 ö.jpg"]["data"]["photo"] == "https://photos.example/folder/2%20%C3%B6.jpg?size=l"
    assert len(send().without_url) == 67


def test_what_coop_answers(coop: Coop, send: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="API key"):
        send(key="wrong")
    coop.status = 400
    with pytest.raises(UsageError, match="Bad item no field"):
        send()
    coop.status = 503
    with pytest.raises(ServiceError, match="send again later"):
        send()
    with pytest.raises(ServiceUnavailableError, match="does not answer"):
        send(url="http://127.0.0.1:9")
    with pytest.raises(UsageError, match=r"write \{reference\}"):
        send(photo_url="https://photos.example/")


def test_the_command_needs_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VERIPHOTO_COOP_API_KEY", raising=False)
    words = ["review", "to-coop", "--url", "http://127.0.0.1:9", "--item-type", "t"]
    result = CliRunner().invoke(build(), [*words, "--database", f"sqlite:///{tmp_path / 'x.db'}"])
    assert "VERIPHOTO_COOP_API_KEY" in str(result.exception)
