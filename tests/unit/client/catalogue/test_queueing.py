"""The queueing model of docs/scaling.md against what theory knows, and against what it must not do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[4]
MEAN = 0.05


@pytest.fixture
def queueing(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return pytest.importorskip("benchmarks.queueing")


@pytest.fixture
def exponential() -> list[float]:
    draws = np.random.default_rng(1).exponential(MEAN, 20_000)
    return (draws * MEAN / draws.mean()).tolist()


def erlang_c(cores: int, load: float) -> float:
    """The share of requests that wait in an M/M/c queue."""
    offered = cores * load
    wait = offered**cores / math.factorial(cores) / (1 - load)
    return wait / (sum(offered**k / math.factorial(k) for k in range(cores)) + wait)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_replica_is_an_mmc_queue(queueing: Any, exponential: list[float], load: float):
    fleet = queueing.Fleet(replicas=1, cores=2, places=10**9)
    outcome = queueing.simulate(lambda _: load * 2 / MEAN, 2000.0, exponential, fleet)
    expected = MEAN * (1 + erlang_c(2, load) / (2 * (1 - load)))
    assert np.mean(outcome.latency) == pytest.approx(expected, rel=0.06)


def test_every_request_is_answered_refused_or_failed(queueing: Any, exponential: list[float]):
    fleet = queueing.Fleet(replicas=4, lost=1, lost_at=60.0)
    outcome = queueing.simulate(lambda _: 200.0, 100.0, exponential, fleet)
    assert len(outcome.at) + len(outcome.refused) + len(outcome.failed) == pytest.approx(20_000, rel=0.05)
    assert outcome.refused
    assert outcome.failed
    assert max(outcome.latency) < 40 * max(exponential)  # who is let in does not wait for ever


def test_a_faster_autoscaler_refuses_less(queueing: Any, exponential: list[float]):
    def burst(moment: float) -> float:
        return 50.0 if moment < 60 else 250.0

    refused = [
        len(
            queueing.simulate(
                burst, 240.0, exponential, queueing.Fleet(replicas=2, autoscaler=True, start_delay=delay)
            ).refused
        )
        for delay in (10.0, 60.0, 1000.0)
    ]
    assert refused[0] < refused[1] < refused[2]
