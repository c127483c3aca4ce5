"""The recorder in a real tritonserver: every answer leaves its line and its numbers, and no disk holds an answer up."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc
from prometheus_client.parser import text_string_to_metric_families
from small_disk import small_disk
from toy_model import SAMPLES, copy_repository, publish_toy

from veriphoto.contract import (
    CLASSIFIER,
    CONTRACT,
    ENSEMBLE,
    EVIDENCE,
    IMAGE,
    LOGIT,
    OPERATING_POINT,
    OPINIONS,
    PROBABILITY,
    RECORDER,
    STATISTICS,
)
from veriphoto.prediction_log.metrics import DROPPED, HISTOGRAMS, IMAGE_FORMATS, LINES, VERDICTS
from veriphoto.prediction_log.record import SEGMENT_GLOB, Record
from veriphoto.shared_names import CHALLENGER_FOLDER, NUMBER_FILE, SHADOW_FOLDER
from veriphoto_client import Detector
from veriphoto_release.triton import Triton
from veriphoto_serving.gateway.answering import shadow
from veriphoto_serving.gateway.server import prepare
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.triton.launcher import TritonServer
from veriphoto_serving.triton.options import ADMIN_HEADER

OUTPUTS = (PROBABILITY, LOGIT, EVIDENCE, STATISTICS, OPERATING_POINT, OPINIONS)
PICTURE = SAMPLES[0].read_bytes()
StartTriton = Callable[..., TritonServer]

# Put before the recorder's model.py: what it opens to write is a pipe that nobody reads.
HANGING_DISK = """
import os
from veriphoto.prediction_log import segments
_reads, _writes = os.pipe()
class _HangingDisk:
    def __getattr__(self, name):
        return getattr(os, name)
    def open(self, *_):
        os.set_blocking(_writes, True)
        return os.dup(_writes)
segments.os = _HangingDisk()
while True:  # fill it up
    try:
        os.set_blocking(_writes, False)
        os.write(_writes, bytes(4096))
    except BlockingIOError:
        break
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    repository = copy_repository(tmp_path / "models")
    publish_toy(repository, 1)
    return repository


@dataclass
class Logging:
    """A server and its log."""

    server: TritonServer

    @property
    def directory(self) -> Path:
        assert self.server.options.predictions is not None
        return self.server.options.predictions

    def records(self) -> list[Record]:
        paths = sorted(self.directory.glob(SEGMENT_GLOB))
        return [Record.from_line(line) for path in paths for line in path.read_bytes().splitlines()]

    def wait(self, count: int) -> list[Record]:
        eventually(lambda: len(self.records()) >= count)
        time.sleep(0.3)  # no more than that
        assert len(self.records()) == count
        return self.records()

    def samples(self) -> dict[tuple[str, ...], float]:
        """Triton's own metrics of ours: name and label values -> value."""
        text = httpx.get(f"http://{self.server.metrics_url}/metrics").text
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("veriphoto_")
        }


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ask(server: TritonServer, *pictures: bytes, outputs: tuple[str, ...] = OUTPUTS, request_id: str = "") -> dict:
    """Asks as a client of Triton's own does."""
    tensor = tritonclient.grpc.InferInput(IMAGE, [len(pictures), 1], "BYTES")
    tensor.set_data_from_numpy(np.array(pictures, dtype=object).reshape(-1, 1))
    wanted = [tritonclient.grpc.InferRequestedOutput(name) for name in outputs]
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        answer = client.infer(ENSEMBLE, [tensor], outputs=wanted, request_id=request_id)
    return {name: answer.as_numpy(name) for name in outputs}


def load(server: TritonServer, model: str) -> int:
    connection = http.client.HTTPConnection(server.http_url, timeout=60)
    try:
        headers = {ADMIN_HEADER: server.admin_key, "Content-Type": "application/json"}
        connection.request("POST", f"/v2/repository/models/{model}/load", "{}", headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def logging(start_triton: StartTriton, repository: Path) -> Logging:
    return Logging(start_triton(repository))


def test_whoever_asks_and_whatever_for_leaves_a_line(logging: Logging) -> None:
    """Triton leaves out steps whose outputs are not asked for; the recorder must not be one."""
    ids = [uuid.uuid4().hex for _ in range(len(OUTPUTS) + 3)]
    answers = [ask(logging.server, path.read_bytes(), request_id=ids[0]) for path in SAMPLES[:1]]
    for name, request_id in zip(OUTPUTS, ids[1:], strict=False):
        ask(logging.server, PICTURE, outputs=(name,), request_id=request_id)
    batch = ask(logging.server, *(path.read_bytes() for path in SAMPLES[:3]), request_id=ids[7])
    verdicts = []
    for url in (f"http://{logging.server.http_url}", f"grpc://{logging.server.grpc_url}"):
        with Detector(url) as detector:
            verdicts.append(detector.predict(PICTURE, request_id=ids[8]))
            detector.predict(PICTURE)
            assert detector.health().model_version == 1
    assert Triton(http_url=logging.server.http_url).score(PICTURE).version == 1

    found = logging.wait(1 + len(OUTPUTS) + 3 + 6 + 1)
    assert [each.request_id for each in found] == [
        *ids[:7],
        *(f"{ids[7]}#{place}" for place in range(3)),
        *([ids[8], "", "probe-health"] * 2),
        "probe-golden",
    ]
    assert found[0].probability == pytest.approx(float(answers[0][PROBABILITY][0, 0]), abs=1e-6)
    assert [each.logit for each in found[7:10]] == pytest.approx(batch[LOGIT][:, 0].tolist(), abs=1e-4)
    np.testing.assert_allclose([each.statistics for each in found[7:10]], batch[STATISTICS], atol=1e-3)
    assert found[10].verdict == verdicts[0].verdict.verdict
    assert {each.model_version for each in found} == {1}
    assert all(abs(each.time - time.time()) < 300 for each in found)


def test_tritons_own_metrics_hold_the_numbers(logging: Logging, repository: Path) -> None:
    """By version, through a hot swap; probes are left out."""
    pictures = [path.read_bytes() for path in SAMPLES[:4]]
    answers = [ask(logging.server, picture) for picture in pictures]
    ask(logging.server, PICTURE, request_id="probe-test")
    eventually(lambda: logging.samples().get(("veriphoto_image_probability_count", "1")) == 4)
    found = logging.samples()
    for field, (name, _, bounds) in HISTOGRAMS.items():
        assert found[f"{name}_count", "1"] == 4, name
        buckets = [found[f"{name}_bucket", bound, "1"] for bound in _bounds(found, name)]
        assert len(buckets) == len(bounds) + 1
        values = [_value(answer, field) for answer in answers]
        assert found[f"{name}_sum", "1"] == pytest.approx(sum(values), rel=1e-4, abs=1e-3)
        assert buckets == [sum(value <= bound + 1e-9 for value in values) for bound in (*bounds, float("inf"))], name
    assert sum(found[VERDICTS, "1", verdict] for verdict in ("real", "ai_generated", "unsure")) == 4
    assert sum(found[IMAGE_FORMATS, kind, "1"] for kind in ("jpeg", "png", "webp")) == 4
    eventually(lambda: logging.samples().get((LINES,)) == 5)
    assert logging.samples()[DROPPED, "full"] == logging.samples()[DROPPED, "invalid"] == 0

    publish_toy(repository, 2)
    assert load(logging.server, CLASSIFIER) == 200
    ask(logging.server, PICTURE)
    eventually(lambda: logging.samples().get(("veriphoto_image_logit_count", "2")) == 1)
    assert logging.samples()["veriphoto_image_logit_count", "1"] == 4
    assert [each.model_version for each in logging.wait(6)] == [1] * 5 + [2]

    # A reload of the recorder itself loses no line; its counts may begin anew, as after any restart.
    (repository / RECORDER / "1" / "model.py").touch()
    assert load(logging.server, RECORDER) == 200
    ask(logging.server, PICTURE)
    logging.wait(7)
    eventually(lambda: logging.samples().get(("veriphoto_image_logit_count", "2"), 0) >= 1)


def _bounds(found: dict[tuple[str, ...], float], name: str) -> list[str]:
    return sorted((key[1] for key in found if key[0] == f"{name}_bucket"), key=float)


def _value(answer: dict[str, np.ndarray], field: str) -> float:
    if field in ("probability", "logit"):
        return float(answer[field.upper()][0, 0])
    return float(answer[STATISTICS][0, CONTRACT.statistics.index(field)])


@contextmanager
def tiny_disk(at: Path) -> Iterator[Path]:
    """A disk of 64 kB that is full but for some lines; freeing it is deleting ``ballast``."""
    with small_disk(at, "64k"):
        (at / "ballast").write_bytes(bytes(60 * 1024))
        yield at


def quick_answers(server: TritonServer, count: int, expected: float) -> None:
    """Asks and checks the answers; what a hanging disk costs would be seen in the slowest."""
    for _ in range(count):
        started = time.monotonic()
        assert float(ask(server, PICTURE)[LOGIT][0, 0]) == pytest.approx(expected, abs=1e-5)
        assert time.monotonic() - started < 10.0


def test_a_full_disk_fails_no_answer(start_triton: StartTriton, repository: Path, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as disk:
        logging = Logging(start_triton(repository, prediction_log=str(disk)))
        expected = float(ask(logging.server, PICTURE)[LOGIT][0, 0])
        quick_answers(logging.server, 40, expected)  # some 12 kB, and there is room for 4
        time.sleep(0.5)
        assert len(_whole_lines(disk)) < 41
        (disk / "ballast").unlink()
        eventually(lambda: len(_whole_lines(disk)) == 41)
        quick_answers(logging.server, 1, expected)
        logging.server.stop()


def _whole_lines(directory: Path) -> list[bytes]:
    found = (path.read_bytes() for path in directory.glob(SEGMENT_GLOB))
    return [line for text in found for line in text.splitlines(keepends=True) if line.endswith(b"\n")]


def test_a_disk_that_hangs_fails_no_answer(start_triton: StartTriton, repository: Path) -> None:
    model = repository / RECORDER / "1" / "model.py"
    text = model.read_text()
    start = text.index("class TritonPythonModel")
    model.write_text(text[:start] + HANGING_DISK + text[start:])
    logging = Logging(start_triton(repository))
    expected = float(ask(logging.server, PICTURE)[LOGIT][0, 0])
    quick_answers(logging.server, 20, expected)
    eventually(lambda: logging.samples().get(("veriphoto_image_logit_count", "1")) == 21)
    assert logging.records() == []
    assert logging.samples()[LINES,] == 0
    started = time.monotonic()
    logging.server.stop()
    assert time.monotonic() - started < 20.0


@pytest.mark.parametrize("place", ["not there yet/predictions", "file/predictions", "/proc/predictions"])
def test_a_directory_that_is_missing_or_read_only_fails_no_answer(
    start_triton: StartTriton, repository: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("a file is no directory")
    directory = tmp_path / place
    logging = Logging(start_triton(repository, prediction_log=str(directory)))
    expected = float(ask(logging.server, PICTURE)[LOGIT][0, 0])
    quick_answers(logging.server, 5, expected)
    if place.startswith("not"):
        logging.wait(6)
        shutil.rmtree(directory.parent)  # and gone while it runs
        quick_answers(logging.server, 3, expected)
        logging.wait(3)
    else:
        eventually(lambda: "prediction log cannot be written" in logging.server.log.read_text())


def test_an_empty_directory_name_switches_the_log_off(start_triton: StartTriton, repository: Path) -> None:
    server = start_triton(repository, prediction_log="")
    ask(server, PICTURE)
    logging = Logging(server)
    eventually(lambda: logging.samples().get(("veriphoto_image_logit_count", "1")) == 1)
    assert not list(server.options.var.rglob(SEGMENT_GLOB))


@contextmanager
def gateway(server: TritonServer, **settings: object) -> Iterator[str]:
    """The gateway before a server, on a thread of its own."""
    up = threading.Event()
    chosen = GatewaySettings(gateway_port=0, triton_url=f"grpc://{server.grpc_url}", canary_interval=0.5, **settings)
    serving, door = prepare(chosen, ready=lambda _: up.set())
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [door]})
    with door:
        thread.start()
        assert up.wait(30)
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        try:
            eventually(lambda: httpx.get(f"{url}/readyz").status_code == 200)
            yield url
        finally:
            serving.should_exit = True
            thread.join(30)


def test_the_log_knows_an_answer_by_its_id_and_no_name(logging: Logging) -> None:
    """Names of files, as they come in forms and in request ids, and addresses are nowhere in what the server writes."""
    names = ["passport-of-anna.jpg", "/home/anna/passport.png", "C:\\anna\\passport.jpg", "passport_of_anna"]
    answers = []
    with gateway(logging.server) as url, httpx.Client(base_url=url, timeout=60) as client:
        for name in names:
            headers = {"x-request-id": name, "user-agent": "passport-of-anna"}
            answers.append(client.post("/predict", files={"file": (name, PICTURE)}, headers=headers))
        for name in names:
            ask(logging.server, PICTURE, request_id=name)
        files = [("files", (name, PICTURE)) for name in names[:2]]
        batch = client.post("/predict/batch", files=files).json()
        eventually(lambda: any(each.request_id == "probe-watchdog" for each in logging.records()))

    assert [answer.status_code for answer in answers] == [200] * len(names)
    wanted = {answer.json()["request_id"] for answer in answers} | {f"{batch['request_id']}#{n}" for n in range(2)}
    eventually(lambda: wanted <= {each.request_id for each in logging.records()})
    by_id = {each.request_id: each for each in logging.records()}
    for answer in answers:
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
        line = by_id[answer.json()["request_id"]]
        assert line.probability == pytest.approx(answer.json()["probability"], abs=1e-5)
        assert line.verdict == answer.json()["verdict"]
    counted = logging.samples()["veriphoto_image_logit_count", "1"]
    assert counted == sum(not each.probe for each in logging.records()) == 2 * len(names) + 2
    written = [path.read_text() for path in (*logging.directory.iterdir(), logging.server.log)]
    for secret in ("anna", "passport", "127.0.0.1", "JFIF"):
        assert not any(secret in text for text in written[:-1]), secret
    assert not any(word in written[-1] for word in ("anna", "passport"))


def test_the_challenger_in_the_shadow_is_no_traffic(logging: Logging, repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shadow var" / SHADOW_FOLDER
    challenger = folder / CHALLENGER_FOLDER
    shutil.copytree(publish_toy(copy_repository(tmp_path / "others"), 2), challenger)
    (challenger / NUMBER_FILE).write_text("7\n")
    with gateway(logging.server, shadow_share=1.0, shadow_var=folder.parent) as url:
        for _ in range(3):
            assert httpx.post(f"{url}/predict", content=PICTURE, timeout=60).status_code == 200
            time.sleep(0.2)  # its queue is short
        eventually(lambda: sum(tally.pictures for tally in shadow.read_tallies(folder).values()) >= 3, 60)
    asked = [each for each in logging.records() if not each.probe]
    assert [each.model_version for each in asked] == [1, 1, 1]
    assert "2" not in {key[-1] for key in logging.samples() if key[0] == "veriphoto_image_logit_count"}


def test_a_segment_is_for_this_user_only(logging: Logging) -> None:
    ask(logging.server, PICTURE)
    logging.wait(1)
    [segment] = logging.directory.iterdir()
    assert segment.stat().st_mode & 0o077 == 0
    assert segment.stat().st_uid == os.getuid()
    assert json.loads(segment.read_text())["model_version"] == 1
