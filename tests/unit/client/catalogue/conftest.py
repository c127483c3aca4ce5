"""The catalogue without Ray: a desk of this process, a judge that costs nothing, folders of small pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="needs the extra `ray`")
pytest.importorskip("fsspec", reason="needs the extra `ray`")

from veriphoto.errors import NotAnImageError
from veriphoto_client.catalogue.ledger import Ledger
from veriphoto_client.catalogue.scorer import Work
from veriphoto_client.catalogue.tally import Tally
from veriphoto_client.scan.rows import Row, failed
from veriphoto_client.sources.places import Place, place


class LocalDesk(Tally, Ledger):
    def __init__(self) -> None:
        Tally.__init__(self)
        Ledger.__init__(self)


class CountingJudge:
    """Calls everything that begins with a P a photo, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def __call__(self, data: bytes) -> Row:
        self.asked.append(data)
        if not data.startswith(b"P"):
            return failed("", NotAnImageError("no picture"))
        return Row(path="", verdict="real", probability=0.25, confidence="high", model_version=1)


@pytest.fixture
def desk() -> LocalDesk:
    return LocalDesk()


@pytest.fixture
def judge() -> CountingJudge:
    return CountingJudge()


@pytest.fixture
def output(tmp_path: Path) -> Place:
    return place(str(tmp_path / "out"))


@pytest.fixture
def work(desk: LocalDesk, judge: CountingJudge, output: Place) -> Callable[..., Work]:
    def make(**changes) -> Work:
        chosen = {
            "judge": judge,
            "model_sha256": "m" * 64,
            "output": output,
            "desk": desk,
            "tries": 2,
            "deduplicate": False,
        }
        return Work(**{**chosen, **changes})

    return make
