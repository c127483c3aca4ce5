"""Answered pictures are offered to the challenger in the shadow, whichever way they came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy_model import SAMPLES

from veriphoto_serving.gateway.services import Services

PICTURE = SAMPLES[0].read_bytes()


class Listener:
    """In the place of ``Shadow``."""

    def __init__(self) -> None:
        self.offers: list[tuple[Any, ...]] = []

    def offer(self, *offer: Any) -> None:
        self.offers.append(offer)

    def close(self) -> None:
        pass


async def test_every_answer_is_offered(gateway: Any) -> None:
    services: Services = gateway.services
    listener: Any = Listener()
    services.shadow = listener
    answer = await gateway.http.post("/predict", content=PICTURE, headers={"Content-Type": "application/octet-stream"})
    files = [("files", (f"{number}.jpg", PICTURE, "image/jpeg")) for number in range(2)]
    await gateway.http.post("/predict/batch", files=files)
    bad = await gateway.http.post("/predict", content=b"no", headers={"Content-Type": "application/octet-stream"})
    assert bad.status_code >= 400
    told = answer.json()
    # What the classifier says by itself: a challenger is a classifier too.
    first = pytest.approx(told["second_opinion"]["first_probability"])
    expected = (PICTURE, told["model_version"], first, pytest.approx(told["threshold"]))
    assert listener.offers == [expected] * 3


async def test_without_a_share_nothing_runs(gateway: Any, tmp_path: Path) -> None:
    assert gateway.services.shadow._process is None
