"""Reading inputs through the bad moments of a store."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pyarrow import fs

from veriphoto.contract import MAX_FILE_BYTES
from veriphoto_client.sources import reading
from veriphoto_client.sources.places import Place
from veriphoto_client.sources.reading import fetch


class Stumbling(BaseHTTPRequestHandler):
    """Refuses the first n requests for ``/n/...`` with 503, then serves; knows no ``/gone``, gives no ``/secret``."""

    refused: Counter[str]

    def do_GET(self) -> None:
        _, times, *rest = self.path.split("/")
        self.refused[self.path] += 1
        refusal = {"gone": 404, "secret": 403}.get(times)
        status = refusal or (503 if self.refused[self.path] <= int(times) else 200)
        body = b"x" * (MAX_FILE_BYTES + 2) if rest == ["large"] else b"photo"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):  # a client that has enough
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  the name that the base class looks for

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def store() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Fresh", (Stumbling,), {"refused": Counter()}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_local_file(tmp_path: Path):
    (tmp_path / "a b.jpg").write_bytes(b"photo")
    assert fetch(str(tmp_path / "a b.jpg"), 3).data == b"photo"
    assert fetch(f"file://{tmp_path}/a%20b.jpg", 3).data == b"photo"


def test_a_missing_file_is_asked_for_once(tmp_path: Path):
    fetched = fetch(str(tmp_path / "gone.jpg"), 5)
    assert fetched.error is not None
    assert fetched.error.code == "unreadable_file"
    assert fetched.retries == 0


@pytest.mark.parametrize("name", ["a.jpg", "shoe-404.jpg", "40312.jpg"])
def test_a_store_that_stumbles_is_asked_again_whatever_the_name(store: str, name: str):
    fetched = fetch(f"{store}/2/{name}", 3, sleep=lambda _: None)
    assert (fetched.data, fetched.error, fetched.retries) == (b"photo", None, 2)


def test_a_store_that_keeps_stumbling_is_an_error_with_its_reason(store: str):
    fetched = fetch(f"{store}/9/a.jpg", 3, sleep=lambda _: None)
    assert "503" in str(fetched.error)
    assert fetched.retries == 2


@pytest.mark.parametrize("name", ["gone", "secret"])
def test_an_object_that_is_not_there_or_not_ours_is_asked_for_once(store: str, name: str):
    fetched = fetch(f"{store}/{name}", 3)
    assert fetched.error is not None
    assert fetched.retries == 0


@pytest.mark.parametrize("name", ["status", "status_code", "code"])
@pytest.mark.parametrize(("status", "retries"), [(403, 0), (404, 0), (503, 1)])
def test_each_client_s_status_decides(monkeypatch: pytest.MonkeyPatch, name: str, status: int, retries: int):
    class StoreError(Exception):
        pass

    def refuse(_: Place) -> bytes:
        error = StoreError("no")
        setattr(error, name, status)
        raise error

    monkeypatch.setattr(reading, "_read", refuse)
    assert fetch("photo.jpg", 2, sleep=lambda _: None).retries == retries


@pytest.mark.parametrize(("path", "retries"), [("secret/403.jpg", 0), ("9/503-404.jpg", 1)])
def test_a_bucket_s_status_decides_whatever_the_name(
    store: str, monkeypatch: pytest.MonkeyPatch, path: str, retries: int
):
    # pyarrow's client: its message holds the status and the object's name.
    system = fs.S3FileSystem(
        anonymous=True,
        endpoint_override=store.removeprefix("http://"),
        scheme="http",
        region="us-east-1",
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
    )
    monkeypatch.setattr(reading, "place", lambda _: Place(system, path, "s3://"))
    assert fetch(f"s3://{path}", 2, sleep=lambda _: None).retries == retries


def test_an_object_that_is_too_large(store: str):
    fetched = fetch(f"{store}/0/large", 3)
    assert fetched.error is not None
    assert fetched.error.code == "file_too_large"


def test_nothing_listens_is_an_error_after_all_tries():
    pauses: list[float] = []
    fetched = fetch("http://127.0.0.1:9/photo.jpg", 3, sleep=pauses.append)
    assert fetched.error is not None
    assert fetched.retries == len(pauses) == 2
    assert "http://127.0.0.1:9/photo.jpg cannot be read: " in str(fetched.error)


def test_a_scheme_that_nothing_reads_is_a_row():
    assert "moon" in str(fetch("moon://base/a.jpg", 3).error)
