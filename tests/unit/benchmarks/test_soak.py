"""What ``soak`` makes of answers: a real gateway, with the transport that is shipped for tests in Triton's place."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import load, saving, soak, soak_faults, soak_parts
from benchmarks.odd_files import BOMBS, COSTLY, encoded
from benchmarks.processes import Worker, runs
from benchmarks.soak_faults import _row
from benchmarks.soak_parts import Attack, try_bombs, try_mutants, try_overload
from benchmarks.soak_service import Service, memory_group
from gateway_beside import gateway
from PIL import Image

from veriphoto.contract import LOGIT
from veriphoto.errors import ServiceUnavailableError
from veriphoto_client import FakeTransport
from veriphoto_client.triton.transport import Outputs


class Mortal(FakeTransport):
    """A Triton that can be taken away."""

    away = False

    async def score(self, data: bytes, request_id: str = "") -> Outputs:
        if self.away:
            raise ServiceUnavailableError("away")
        return await super().score(data, request_id)


class Beside(Service):
    """A service that somebody else has started."""

    def __init__(self, url: str, var: Path) -> None:
        super().__init__(var, None)
        self.url = url


@pytest.fixture
def triton() -> Mortal:
    return Mortal()


@pytest.fixture
def attack(triton: Mortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attack]:
    files = [tmp_path / f"{number}.jpg" for number in range(3)]
    for number, file in enumerate(files):
        file.write_bytes(encoded(Image.new("RGB", (64 + number, 64), 9 * number), "JPEG"))
    photos = [file.read_bytes() for file in files]
    known = {photo: float(FakeTransport.answer(photo)[LOGIT].item()) for photo in photos}
    monkeypatch.setattr(load, "KNOWN", known)
    with gateway(triton) as url, Worker("benchmarks.load", *map(str, files)) as worker:
        worker.ask({"loop": "know", "logits": list(known.values())})
        yield Attack(service=Beside(url, tmp_path), load=worker, photos=photos, seconds=1.0, count=40, seed=19)


def test_damaged_files_get_a_code_and_a_sentence(attack: Attack, triton: Mortal) -> None:
    (row,) = try_mutants(attack)
    statuses = row.figures["statuses"]
    assert row.count == sum(statuses.values()) == 40
    assert {"200", "422"} <= statuses.keys() <= {"200", "413", "415", "422"}
    assert (row.fatal, row.figures["unclear"], row.figures["restarts"]) == ("", {}, 0)

    triton.away = True
    (row,) = try_mutants(replace(attack, count=4))
    assert row.fatal == "a 5xx or no answer to a damaged file"


@pytest.mark.parametrize(
    ("status", "answer", "clear"),
    [
        (422, {"error": "truncated_image", "detail": "ends before the photo does; send the whole file"}, True),
        (413, {"error": "truncated_image", "detail": "ends before the photo does; send the whole file"}, False),
        (422, {"error": "oops", "detail": "ends before the photo does"}, False),
        (422, {"error": "truncated_image", "detail": "no"}, False),
        (422, {}, False),
    ],
)
def test_a_clear_refusal_has_its_code_and_words(status: int, answer: dict[str, str], clear: bool) -> None:
    assert soak_parts._is_clear(status, answer) is clear


def test_bombs_are_told_from_honest_callers(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak_parts, "BOMBS", {"2,000 scans": BOMBS["2,000 scans"]})
    monkeypatch.setattr(soak_parts, "COSTLY", {"40 MP PNG of 16 bits": COSTLY["40 MP PNG of 16 bits"]})
    (row,) = try_bombs(attack)
    assert {bomb["name"]: bomb["status"] for bomb in row.figures["bombs"]} == {
        "2,000 scans": 422,
        "40 MP PNG of 16 bits": 200,
    }
    honest = row.figures["honest"]["beside"]
    assert honest["200"] > 0
    assert bool(row.missed) == (
        honest.keys() != {"200"} or row.figures["p99_ms"]["beside"] > 2 * row.figures["p99_ms"]["calm"]
    )
    assert row.fatal == ""


def test_a_wrong_answer_is_fatal_and_lost_goodput_is_a_missed_goal(attack: Attack, monkeypatch) -> None:
    monkeypatch.setattr(soak_parts, "OVERLOADS", (0.1, 1.0, 0.2))
    *rates, kept = try_overload(attack)
    assert [row.fatal for row in rates] == ["", "", ""]
    assert kept.missed

    right = list(load.KNOWN.values())
    attack.load.ask({"loop": "know", "logits": [right[0], right[1], right[2] + 1.0]})
    assert next(iter(try_overload(attack))).fatal == "a wrong answer"
    attack.load.ask({"loop": "know", "logits": [each + 1.0 for each in right]})
    with pytest.raises(SystemExit, match="WRONG"):
        attack.capacity()


def test_a_fault_is_reckoned_until_photos_are_answered_again(attack: Attack, triton: Mortal) -> None:
    victim = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])

    def harm() -> None:
        victim.kill()
        victim.wait()
        triton.away = True
        time.sleep(1.2)
        triton.away = False

    row = _row(attack, 2.0, "kill -9 of it", harm, [victim.pid])
    assert 1.0 < row.figures["seconds"] < 20.0
    assert row.figures["failed"] >= 2
    assert (row.fatal, row.missed) == ("", "")


def test_what_does_not_come_back_is_a_missed_goal(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak_faults, "_PATIENCE_S", 3.0)
    victim = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    try:
        row = _row(attack, 2.0, "nothing", lambda: None, [victim.pid])
        assert runs(victim.pid)
        assert (row.figures["failed"], row.missed) == (0, "not whole 3 s later")
    finally:
        victim.kill()
        victim.wait()


def test_the_table_and_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "RESULTS", tmp_path)
    good = soak.Row(tried="this", count=3, result="200: 3", missed="it is slow")
    assert soak.write([("bombs", good)], "not limited", {"seconds": 1.0}) == 0
    table = (tmp_path / "soak.md").read_text()
    assert "| this | 3 | 200: 3; **goal missed: it is slow** | `python -m benchmarks.soak --only bombs` |" in table
    assert json.loads((tmp_path / "soak.json").read_text())["rows"][0]["part"] == "bombs"
    assert soak.write([("bombs", replace(good, fatal="a wrong answer"))], "not limited", {}) == 1


def test_a_memory_group_is_made_or_is_none() -> None:
    with memory_group(1 << 30) as group:
        made = group is not None and group.is_dir()
    assert made == (group is not None)
    assert group is None or not group.exists()
