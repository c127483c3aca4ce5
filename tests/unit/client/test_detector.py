"""Both detectors over the fake transport."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
import traceback

import pytest
from photo_corpus import picture, write_broken
from PIL import Image

from veriphoto.errors import (
    ImageError,
    NotAnImageError,
    OverloadedError,
    ServiceUnavailableError,
    UnreadableFileError,
    UsageError,
)
from veriphoto_client import AsyncDetector, Detection, Detector, FakeTransport, Health


def test_a_batch_that_raises_leaves_nothing_running():
    fake = FakeTransport(delay=0.05)

    async def work() -> None:
        async with AsyncDetector(transport=fake, max_in_flight=2) as detector:
            with pytest.raises(TypeError, match="mode F"):
                await detector.predict_batch([Image.new("F", (8, 8)), *[picture()] * 20])
            asked = fake.requests
            await asyncio.sleep(0.2)
            assert fake.requests == asked < 20

    asyncio.run(work())


def refuse(_: bytes):
    raise OverloadedError("full")


@pytest.fixture
def fake() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def detector(fake):
    with Detector(transport=fake, max_in_flight=4) as detector:
        yield detector


def test_requests_have_the_id_they_are_given(detector, fake):
    detector.predict(picture())
    detector.predict(picture(), request_id="probe-test")
    detector.health()
    assert fake.request_ids == ["", "probe-test", "probe-health"]


def test_an_answer_of_triton_has_the_id_that_is_logged_and_no_provenance(detector):
    generated = "0123456789abcdef" * 2
    answers = [detector.predict(picture(), request_id=given) for given in (generated, "seller.jpg", "")]
    assert [answer.request_id for answer in answers] == [generated, "", ""]
    assert [answer.provenance for answer in answers] == [None] * 3


def test_every_kind_of_input_gives_the_same_verdict(detector, tmp_path):
    data = picture(3, "PNG")
    path = tmp_path / "p.png"
    path.write_bytes(data)
    with Image.open(path) as image:
        detections = [detector.predict(given) for given in (data, path, str(path), image)]
    assert len({detection.verdict for detection in detections}) == 1


def test_a_bad_picture_raises(detector):
    with pytest.raises(NotAnImageError):
        detector.predict(b"no picture")


def test_an_error_says_which_file_it_was(detector, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(NotAnImageError) as caught:
        detector.predict(broken)
    assert str(broken) in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("key", ["ключ-0123456789abcdef", "0123456789abcdef\n", "“0123456789abcdef”"])
@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "https://veriphoto.example", "grpc://127.0.0.1"])
def test_a_key_that_no_header_can_hold_is_refused_at_once(url, key):
    with pytest.raises(UsageError, match="API key"):
        Detector(url, api_key=key)


def test_a_missing_file_is_not_sent(detector, fake):
    with pytest.raises(UnreadableFileError):
        detector.predict("gone.jpg")
    assert fake.requests == 0


def test_a_batch_keeps_its_order_and_loses_nothing(tmp_path):
    bad = write_broken(tmp_path / "bad.jpg", 2)
    images = [picture(0), bad, picture(1), b"", tmp_path / "gone.jpg", picture(2)]
    fake = FakeTransport(delay=0.01)
    with Detector(transport=fake, max_in_flight=4) as detector:
        results = detector.predict_batch(images)
        alone = [detector.predict(images[place]).verdict for place in (0, 2, 5)]
    assert [isinstance(result, Detection) for result in results] == [True, False, True, False, False, True]
    assert all(isinstance(results[place], ImageError) for place in (1, 3, 4))
    assert [results[place].verdict for place in (0, 2, 5)] == alone


def test_a_batch_is_scored_together_within_the_limit():
    fake = FakeTransport(delay=0.02)
    with Detector(transport=fake, max_in_flight=3) as detector:
        detector.predict_batch(picture(seed) for seed in range(12))
    assert fake.most_in_flight == 3
    assert fake.requests == 12


def test_an_empty_batch_is_empty(detector):
    assert detector.predict_batch([]) == []


def test_a_batch_with_something_else_in_it_sends_nothing(detector, fake):
    with pytest.raises(TypeError):
        detector.predict_batch([picture(), None])
    assert fake.requests == 0


def test_a_service_error_is_an_entry_too():
    with Detector(transport=FakeTransport(refuse)) as detector:
        assert isinstance(detector.predict_batch([picture()])[0], OverloadedError)


def test_health_scores_a_picture(detector, fake):
    health = detector.health()
    assert isinstance(health, Health)
    assert (health.model_version, health.threshold) == (1, 0.5)
    assert health.latency_ms > 0
    assert health.to_json()["status"] == "ok"
    assert fake.requests == 1


def test_health_raises_what_is_wrong():
    with Detector(transport=FakeTransport(refuse)) as detector, pytest.raises(OverloadedError):
        detector.health()


def test_threads_share_a_detector():
    fake = FakeTransport(delay=0.01)
    with Detector(transport=fake, max_in_flight=8) as detector:
        threads = [threading.Thread(target=detector.predict, args=(picture(seed),)) for seed in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert fake.requests == 16
    assert fake.most_in_flight > 1


def test_closing_twice_is_fine_and_ends_the_thread(fake):
    before = threading.active_count()
    detector = Detector(transport=fake)
    detector.predict(picture())
    detector.close()
    detector.close()
    assert fake.closed
    assert threading.active_count() <= before
    with pytest.raises(RuntimeError, match="closed"):
        detector.predict(picture())


def test_a_forgotten_detector_is_closed(fake):
    detector = Detector(transport=fake)
    del detector
    _until(lambda: fake.closed)


def test_collecting_a_forgotten_detector_waits_for_nothing():
    # The thread that collects it may hold a lock that the detector's own thread needs.
    lock = threading.Lock()

    class Transport(FakeTransport):
        async def close(self) -> None:
            with lock:
                await super().close()

    transport = Transport()
    detector = Detector(transport=transport)
    before = threading.active_count()
    with lock:
        started = time.monotonic()
        del detector
        assert time.monotonic() - started < 1
        assert not transport.closed
    _until(lambda: transport.closed and threading.active_count() < before)


def test_a_detector_that_is_open_at_the_end_of_the_program_is_closed_in_silence():
    code = """if True:
        from veriphoto_client import Detector, FakeTransport
        class Loud(FakeTransport):
            async def close(self):
                print("closed")
        left = Detector(transport=Loud())
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")


def _until(done):
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_a_sync_detector_works_inside_an_event_loop(detector):
    assert detector.predict(picture()).verdict.model_version == 1


async def test_async_predict_and_batch(tmp_path):
    async with AsyncDetector(transport=FakeTransport()) as detector:
        one, many = await asyncio.gather(
            detector.predict(picture()), detector.predict_batch([picture(), b"", tmp_path / "gone"])
        )
        assert many[0].verdict == one.verdict
        assert [type(error) for error in many[1:]] == [NotAnImageError, UnreadableFileError]
        assert (await detector.health()).model_version == 1


async def test_a_cancelled_batch_stops():
    fake = FakeTransport(delay=0.05)
    async with AsyncDetector(transport=fake, max_in_flight=1) as detector:
        batch = asyncio.create_task(detector.predict_batch([picture()] * 50))
        await asyncio.sleep(0.1)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        sent = fake.requests
        await asyncio.sleep(0.15)
        assert fake.requests == sent < 50


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://host:1",
        "http://",
        "http://host:port",
        "http://host:99999",
        "grpc://host/path",
        "http://me:secret@host:1",
        "",
    ],
)
def test_bad_addresses_are_refused_at_once(url):
    with pytest.raises(UsageError, match="write http://host:port, https://host or grpc://host:port"):
        AsyncDetector(url)


@pytest.mark.parametrize(
    "url", ["http://h:1", "http://h:1/", "http://h", "grpc://h:1", "http://[::1]:8000", "grpc://[::1]"]
)
def test_good_addresses_are_taken(url):
    assert AsyncDetector(url).url == url


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": -1}, {"max_in_flight": 0}])
def test_numbers_without_sense_are_refused(options):
    with pytest.raises(UsageError):
        Detector(transport=FakeTransport(), **options)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_there(scheme):
    with Detector(f"{scheme}://127.0.0.1:9", timeout=5) as detector:
        with pytest.raises(ServiceUnavailableError, match="veriphoto serve") as caught:
            detector.predict(picture())
        assert caught.value.__cause__ is not None
