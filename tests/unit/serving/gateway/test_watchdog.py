from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable

import numpy as np
import pytest

from veriphoto.errors import OverloadedError, ServiceUnavailableError, StartupError
from veriphoto_client import Detection, FakeTransport
from veriphoto_client.sdk.answers import decode_answer
from veriphoto_client.sdk.probe import probe_picture
from veriphoto_serving.gateway.health import watchdog as module
from veriphoto_serving.gateway.health.watchdog import Watchdog
from veriphoto_serving.gateway.health.workers import Snapshot, Thread, Worker

from .conftest import wait_for


class Patient:
    """A Triton and its reviver in one: dies on command, and is cured by a restart."""

    def __init__(self, failing: int = 0) -> None:
        self.failing = failing
        self.fault: Exception | None = None
        self.hangs = False
        self.answered: int | None = 0
        self.computes = False
        self.restarts = 0
        self.replaced: list[str] = []
        self.bias = 0.0
        self.incurable = False
        self.refitted = False

    async def probe(self) -> Detection:
        if self.hangs:
            await asyncio.sleep(60)
        if self.fault is not None:
            raise self.fault
        outputs = dict(FakeTransport.answer(probe_picture()))
        outputs["LOGIT"] = outputs["LOGIT"] + self.bias
        if self.refitted:
            outputs["OPERATING_POINT"] = outputs["OPERATING_POINT"] * np.array([1, *[0.9] * 3, 1, 1], np.float32)
        return decode_answer(outputs)

    def restart(self) -> None:
        self.restarts += 1
        if self.restarts <= self.failing:
            raise StartupError("the port is taken")
        self.fault, self.hangs, self.bias = None, False, self.bias if self.incurable else 0.0

    def snapshot(self) -> Snapshot:
        seconds = time.monotonic() if self.computes else 1.0
        return Snapshot(self.answered, {1: Worker("", 1.0, "S"), 2: Worker("preprocess_0_0", seconds, "S")})

    def replace(self, model: str) -> None:
        self.replaced.append(model)
        self.restart()
        self.restarts -= 1


@pytest.fixture
async def watch():
    tasks = []

    def start(patient: Patient, *, alone: bool = False) -> Watchdog:
        reviver = None if alone else patient
        watchdog = Watchdog(patient.probe, interval=0.05, timeout=0.1, reviver=reviver)
        tasks.append(asyncio.create_task(watchdog.run()))
        return watchdog

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


Watch = Callable[..., Watchdog]


async def test_what_is_dead_is_restarted(watch: Watch) -> None:
    patient = Patient()
    watchdog = watch(patient)
    await wait_for(lambda: watchdog.state == "ok")
    patient.fault = ServiceUnavailableError("the connection was refused")
    await wait_for(lambda: patient.restarts > 0)
    await wait_for(lambda: watchdog.state == "ok")

    assert patient.restarts == 1


@pytest.mark.parametrize("how", ["refused", "silent"])
async def test_a_wrong_address_is_told_once_and_nothing_is_claimed_of_it(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    patient, outcomes = Patient(), []
    patient.fault = ServiceUnavailableError("the connection was refused") if how == "refused" else None
    patient.hangs = how == "silent"
    watchdog = Watchdog(patient.probe, interval=0.05, timeout=0.1, address="grpc://here:1", observe=outcomes.append)
    assert watchdog.reason == "the first test picture is being scored"
    task = asyncio.create_task(watchdog.run())
    await wait_for(lambda: len(outcomes) > 2)
    assert watchdog.state == "starting"
    assert (watchdog.reason or "").startswith("Triton has never scored")
    (told,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "Triton at grpc://here:1 has not scored" in told.getMessage()
    assert "check --triton-url" in told.getMessage()
    patient.fault, patient.hangs = None, False
    await wait_for(lambda: watchdog.state == "ok")
    assert watchdog.reason is None
    task.cancel()


async def test_what_does_not_start_is_tried_again(watch: Watch) -> None:
    patient = Patient(failing=1)
    watchdog = watch(patient)
    await wait_for(lambda: watchdog.state == "ok")
    patient.fault = ServiceUnavailableError("gone")
    await wait_for(lambda: patient.restarts == 2)
    await wait_for(lambda: watchdog.state == "ok")


async def test_an_alarm_takes_effect_at_once(watch: Watch) -> None:
    patient = Patient()
    watchdog = watch(patient)
    await wait_for(lambda: watchdog.state == "ok")
    told: list[str] = []
    watchdog.on_down(lambda: told.append(watchdog.state))
    watchdog.alarm("the server has ended")

    assert (watchdog.state, told) == ("down", ["down"])
    with pytest.raises(ServiceUnavailableError):
        watchdog.require()
    await wait_for(lambda: watchdog.state == "ok")
    assert patient.restarts == 1


async def test_a_server_that_hangs_is_restarted_and_one_that_works_is_not(watch: Watch) -> None:
    patient = Patient()
    watchdog = watch(patient)
    await wait_for(lambda: watchdog.state == "ok")
    answered = itertools.count()
    patient.snapshot = lambda: Snapshot(next(answered))  # type: ignore[method-assign]
    patient.hangs = True
    await asyncio.sleep(0.5)
    assert (watchdog.state, patient.restarts) == ("ok", 0), "busy with others' pictures"

    del patient.snapshot  # type: ignore[attr-defined]
    await wait_for(lambda: patient.restarts == 1)
    await wait_for(lambda: watchdog.state == "ok")


async def test_processes_that_all_compute_are_busy_and_not_hung(watch: Watch) -> None:
    patient = Patient()
    watchdog = watch(patient)
    await wait_for(lambda: watchdog.state == "ok")
    patient.hangs = patient.computes = True
    await asyncio.sleep(0.6)

    assert (watchdog.state, patient.restarts, patient.replaced) == ("ok", 0, [])


async def test_who_computes_without_end_is_replaced(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ENDLESS_S", 0.5)
    patient = Patient()
    watchdog = watch(patient)
    await wait_for(lambda: watchdog.state == "ok")
    patient.hangs = patient.computes = True
    await wait_for(lambda: patient.replaced == ["preprocess"])
    await asyncio.sleep(0.3)

    assert (watchdog.state, patient.restarts, patient.replaced) == ("ok", 0, ["preprocess"])


async def test_who_gets_no_processor_is_not_taken_for_hung(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ENDLESS_S", 0.2)
    patient = Patient()
    watchdog = watch(patient)
    await wait_for(lambda: watchdog.state == "ok")

    def crowded() -> Snapshot:
        thread = Thread(0.01 * time.monotonic(), 0.99 * time.monotonic())
        return Snapshot(0, {2: Worker("preprocess_0_0", 0.01 * time.monotonic(), "S", {3: thread})})

    monkeypatch.setattr(patient, "snapshot", crowded)
    patient.hangs = True
    await asyncio.sleep(1.0)

    assert (watchdog.state, patient.restarts, patient.replaced) == ("ok", 0, [])


@pytest.mark.parametrize("found_by", ["a request", "the test picture", "the process watch"])
async def test_one_that_is_stuck_is_replaced_and_the_others_go_on(watch: Watch, found_by: str) -> None:
    patient = Patient()
    watchdog = watch(patient)
    await wait_for(lambda: watchdog.state == "ok")
    fault = ServiceUnavailableError("in ensemble 'detector', Stub process 'classifier_0_1' is not healthy.")
    if found_by == "the test picture":
        patient.fault = fault
    for _ in range(3):
        if found_by == "a request":
            watchdog.suspect(fault)
        if found_by == "the process watch":
            watchdog.stuck("classifier_0_1")
    await wait_for(lambda: bool(patient.replaced))
    await asyncio.sleep(0.2)

    assert (watchdog.state, patient.restarts, patient.replaced) == ("ok", 0, ["classifier"])


async def test_what_cannot_be_replaced_is_restarted(watch: Watch) -> None:
    patient = Patient()
    watchdog = watch(patient)
    await wait_for(lambda: watchdog.state == "ok")

    def refuse(model: str) -> None:
        raise RuntimeError(model)

    patient.replace = refuse  # type: ignore[method-assign]
    watchdog.stuck("classifier_0_1")
    await wait_for(lambda: patient.restarts == 1)
    await wait_for(lambda: watchdog.state == "ok")


async def test_a_full_queue_is_a_sign_of_life(watch: Watch) -> None:
    patient = Patient()
    watchdog = watch(patient)
    await wait_for(lambda: watchdog.state == "ok")
    patient.fault = OverloadedError("exceeds maximum queue size")
    await asyncio.sleep(0.2)

    assert (watchdog.state, patient.restarts) == ("ok", 0)


async def test_two_unanswered_requests_outweigh_a_good_test_picture(watch: Watch) -> None:
    patient = Patient()
    watchdog = watch(patient)
    await wait_for(lambda: watchdog.state == "ok")
    watchdog.suspect(ServiceUnavailableError("the connection was refused"))
    assert watchdog.state == "ok"
    watchdog.suspect(ServiceUnavailableError("the connection was refused"))

    assert watchdog.state == "down"
    await wait_for(lambda: patient.restarts == 1)


async def test_a_server_that_scores_differently_than_before_is_not_believed(watch: Watch) -> None:
    patient = Patient()
    watchdog = watch(patient)
    await wait_for(lambda: watchdog.state == "ok")
    patient.bias = 1.0
    await wait_for(lambda: patient.restarts == 1)
    await wait_for(lambda: watchdog.state == "ok")


@pytest.mark.parametrize("alone", [False, True])
async def test_a_score_that_stays_different_is_believed_in_the_end(watch: Watch, alone: bool) -> None:
    patient, downs = Patient(), []
    watchdog = watch(patient, alone=alone)
    await wait_for(lambda: watchdog.state == "ok")
    watchdog.on_down(lambda: downs.append(patient.restarts))
    patient.incurable, patient.bias = True, 1.0
    await wait_for(lambda: bool(downs))
    await wait_for(lambda: watchdog.state == "ok")
    await asyncio.sleep(0.2)
    assert (watchdog.state, patient.restarts, len(downs)) == ("ok", 0 if alone else 1, 1)


async def test_another_second_opinion_may_score_differently(watch: Watch) -> None:
    patient, downs = Patient(), []
    watchdog = watch(patient)
    await wait_for(lambda: watchdog.state == "ok")
    watchdog.on_down(lambda: downs.append(patient.restarts))
    patient.refitted, patient.bias = True, 1.0
    await asyncio.sleep(0.3)
    assert (watchdog.state, patient.restarts, downs) == ("ok", 0, [])


async def test_somebody_elses_triton_is_waited_for(watch: Watch) -> None:
    patient = Patient()
    patient.fault = ServiceUnavailableError("not there yet")
    watchdog = watch(patient, alone=True)
    await asyncio.sleep(0.15)
    assert watchdog.state == "starting"
    patient.fault = None
    await wait_for(lambda: watchdog.state == "ok")
    assert patient.restarts == 0
