"""Checks that Triton really scores pictures, and restarts it if it does not.

Triton keeps reporting that it is ready after the process of a Python model has died, and never restarts that process.
So a probe, a test picture, is scored every few seconds; on the same machine Triton's processes are watched as well
(``process_watch``), which is faster. While Triton is down, requests are refused at once.

If an answer is late, the activity of Triton's processes decides. A server that computes is busy, however late it is,
and so is one that would compute and waits for a processor, because others have them; both are left alone, and only an
idle one is restarted. A single process that is stopped, or computes without end, is replaced together with the others
of its model while the server keeps running.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from veriphoto.contract import SAME_LOGIT
from veriphoto.errors import DeadlineExceededError, OverloadedError, ServiceUnavailableError, VeriphotoError
from veriphoto.verdict import OperatingPoint
from veriphoto_client import Detection
from veriphoto_serving.gateway.health.workers import Snapshot, model_of
from veriphoto_serving.triton.shared_memory import shared_memory_hint

State = Literal["starting", "ok", "down"]
Finding = Literal["alive", "dead", "hung"]

_LOG: Final = logging.getLogger(__name__)
_SETTLE_S: Final = 3.0
"""Seconds for Triton to answer after a restart, as connections must be opened again."""
_AGAIN_S: Final = 0.1
_DOUBT_S: Final = 5.0
"""Two requests that cannot reach Triton within this time are not a coincidence."""
_ENDLESS_S: Final = 30.0
"""Computing this long without any answer counts as hung: no picture may take a tenth of it. Time in which others had
the processor does not count."""


class Reviver(Protocol):
    """Restarts Triton or parts of it. Called from a thread of its own.

    Reloading a dead model in the running server would be a second faster, but a request lost in the dead process keeps
    the old instances, and their shared memory, for as long as the server runs.
    """

    def restart(self) -> None:
        """Restarts the server."""

    def snapshot(self) -> Snapshot:
        """Takes a snapshot of what the server is doing."""

    def replace(self, model: str) -> None:
        """Gives a model new processes while the server keeps running; the old ones are killed."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A probe that was scored."""

    at: float
    """``time.monotonic()``."""
    milliseconds: float
    model_version: int
    threshold: float


class Watchdog:
    """Sends probes and reacts to failures, on one event loop."""

    def __init__(
        self,
        probe: Callable[[], Awaitable[Detection]],
        *,
        interval: float,
        timeout: float,
        reviver: Reviver | None = None,
        address: str = "its address",
        observe: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Does nothing until ``run``.

        Args:
            probe: Scores the test picture on Triton.
            interval: Seconds between probes.
            timeout: Seconds that a probe may take.
            reviver: Restarts Triton; None if somebody else is responsible for that.
            address: Triton's URL, named in the warning that nothing has answered there yet.
            observe: Counts outcomes: ``ok``, ``late``, ``failed``, ``wrong``, ``replace``, ``restart``.
        """
        self.state: State = "starting"
        self.last_probe: ProbeResult | None = None
        self._probe = probe
        self._interval = interval
        self._timeout = timeout
        self._reviver = reviver
        self._address = address
        self._observe = observe
        self._missed = ""
        self._wake = asyncio.Event()
        self._known_dead = False
        self._late_before = False
        self._proven = 0.0
        self._unanswered: Snapshot | None = None
        self._replacements: dict[str, asyncio.Task[None]] = {}
        self._replaced: dict[str, float] = {}
        self._restarts = 0
        self._doubted = float("-inf")
        self._logits: dict[tuple[OperatingPoint, bool], float] = {}
        """What the test picture scored, by version and cuts, and whether the second opinion was asked: with another
        mode or encoder the same version rightly scores it differently."""
        self._down_listeners: list[Callable[[], None]] = []
        self._probe_listeners: list[Callable[[], None]] = []

    def on_down(self, listener: Callable[[], None]) -> None:
        """Calls a listener, on the event loop, when Triton goes down."""
        self._down_listeners.append(listener)

    def on_probe(self, listener: Callable[[], None]) -> None:
        """Calls a listener, on the event loop, after each successful probe."""
        self._probe_listeners.append(listener)

    def require(self) -> None:
        """Checks that Triton is up.

        Raises:
            ServiceUnavailableError: If it is not.
        """
        if self.state != "ok":
            raise ServiceUnavailableError("Triton is away")

    @property
    def reason(self) -> str | None:
        """Why the state is not ``ok``, without anything that only the operator may read; None where it is."""
        if self.state == "ok":
            return None
        if self.state == "down":
            then = "it is being restarted" if self._reviver else "see its log"
            return f"Triton does not score the test picture; {then}"
        if self._missed:
            return "Triton has never scored the test picture; the gateway's log names the address and what to check"
        return "the first test picture is being scored"

    def proof(self) -> None:
        """Records that Triton has just answered a request."""
        self._proven = time.monotonic()

    def suspect(self, error: VeriphotoError) -> None:
        """Records that a request failed, and probes at once if Triton may be dead.

        Probes alone are not enough: if one of two processes hangs, a probe may reach the other one.
        """
        if not isinstance(error, ServiceUnavailableError) or self.state != "ok":
            return
        if self._reviver is not None and (model := model_of(error.message)):
            self.stuck(model)
            return
        now = time.monotonic()
        if now - self._doubted < _DOUBT_S:
            self._doubted = float("-inf")
            self.alarm("requests are not answered")
        else:
            self._doubted = now
            self._wake.set()

    def stuck(self, model: str) -> None:
        """Replaces the processes of a model one of which is stuck; the others keep answering meanwhile.

        Args:
            model: The model, or one of its instances.
        """
        model = model_of(model) or model
        if self._reviver is None or self.state != "ok" or model in self._replacements:
            return
        since = time.monotonic() - self._replaced.get(model, float("-inf"))
        if since < _DOUBT_S:
            return  # caused by a request that was lost in the old process
        if since < _ENDLESS_S:
            self.alarm(f"{model} is stuck again")
            return
        _LOG.warning("a process of %s is stuck: replacing it", model)
        self._observe("replace")
        task = asyncio.create_task(self._replace(self._reviver, model))
        self._replacements[model] = task
        task.add_done_callback(lambda _: self._replacements.pop(model, None))

    async def _replace(self, reviver: Reviver, model: str) -> None:
        restarts = self._restarts
        try:
            await asyncio.to_thread(reviver.replace, model)
        except Exception as error:  # noqa: BLE001 - after any failure, only a restart is left
            if restarts == self._restarts:
                self.alarm(f"{model} cannot be replaced ({type(error).__name__})")
        else:
            self._replaced[model] = time.monotonic()
            _LOG.warning("%s has new processes", model)

    def alarm(self, why: str) -> None:
        """Declares Triton dead.

        Args:
            why: Reason for the log.
        """
        if self.state == "ok":
            self._known_dead = True
            self._down(why)
        self._wake.set()

    async def run(self) -> None:
        """Sends probes until cancelled."""
        failures = 0
        while True:
            self._wake.clear()
            # If Triton is known to be dead, a probe would only lose a second.
            # An alarm while the probe was under way outweighs its answer.
            if not self._known_dead and await self._look() == "alive" and not self._known_dead:
                failures = 0
                self._up()
                await self._pause(self._interval)
                continue
            self._down("the test picture was not scored")
            self._known_dead = False
            if self._reviver is None:
                await self._pause(min(1.0, self._interval))
            elif not await self._revive(self._reviver):
                failures += 1
                await self._pause(min(30.0, 0.5 * 2**failures))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _look(self) -> Finding:
        started = time.monotonic()
        before = await self._snapshot()
        try:
            async with asyncio.timeout(self._timeout):
                detection = await self._probe()
        except OverloadedError:
            return "alive"  # only a living server answers that its queue is full
        except (TimeoutError, DeadlineExceededError):
            return await self._late(started, before)
        except VeriphotoError as error:
            self._observe("failed")
            self._miss(error.message)
            if self.state == "ok" and self._reviver is not None and (model := model_of(error.message)):
                self.stuck(model)
                return "alive" if self.state == "ok" else "dead"
            return "dead"
        self._late_before, self._unanswered = False, None
        return "alive" if self._plausible(detection, started) else "dead"

    async def _late(self, started: float, before: Snapshot) -> Finding:
        """Tells a hung server from a busy one: under load a probe waits behind other pictures."""
        self._observe("late")
        if self._miss(f"no answer within {self._timeout:g} s"):
            return "hung"
        now = await self._snapshot()
        activity = now.since(before)
        if self._proven > started or activity == "answers":
            self._unanswered = None
            return "alive"
        if activity == "works":
            if self._unanswered is None:
                self._unanswered = before
            if now.granted(self._unanswered) > _ENDLESS_S:
                self._unanswered = None
                return self._end_work(now.working(before))
            return "alive"
        if activity == "idle":
            return "hung"
        # Nothing is known about other requests, and a single late probe may be a coincidence.
        again, self._late_before = self._late_before, True
        return "hung" if again else "alive"

    def _miss(self, why: str) -> bool:
        """Logs once that a Triton that others start has not answered yet: most likely the address is wrong.

        Returns:
            Whether that is so.
        """
        if self.state != "starting" or self._reviver is not None:
            return False
        if not self._missed:
            self._missed = why
            _LOG.warning(
                "Triton at %s has not scored the test picture; check --triton-url, and that Triton runs there: %s",
                self._address,
                why,
            )
        return True

    def _end_work(self, models: set[str]) -> Finding:
        """Replaces the models that compute without end."""
        if not models or "" in models:
            return "hung"  # it is the server itself
        for model in models:
            self.stuck(model)
        return "alive"

    async def _snapshot(self) -> Snapshot:
        return await asyncio.to_thread(self._reviver.snapshot) if self._reviver else Snapshot()

    def _plausible(self, detection: Detection, started: float) -> bool:
        version, threshold = detection.verdict.model_version, detection.verdict.threshold
        judges = (detection.operating_point, detection.second_opinion.asked)
        if abs(detection.logit - self._logits.setdefault(judges, detection.logit)) > SAME_LOGIT:
            self._logits[judges] = detection.logit  # what a restart does not change is no process's fault
            _LOG.error("version %d scores the test picture differently than before", version)
            self._observe("wrong")
            return False
        self.last_probe = ProbeResult(time.monotonic(), 1000.0 * (time.monotonic() - started), version, threshold)
        self._observe("ok")
        return True

    async def _revive(self, reviver: Reviver) -> bool:
        self._restarts += 1
        self._replaced.clear()
        _LOG.warning("Triton is away: restarting it")
        self._observe("restart")
        try:
            await asyncio.to_thread(reviver.restart)
        except Exception as error:  # noqa: BLE001 - after any failure, try again
            _LOG.error("restarting Triton failed: %s%s", error, shared_memory_hint())
            return False
        deadline = time.monotonic() + _SETTLE_S
        while (finding := await self._look()) == "dead" and time.monotonic() < deadline:
            await asyncio.sleep(_AGAIN_S)
        if finding == "alive":
            self._up()
        return finding == "alive"

    def _up(self) -> None:
        if self.state == "down" or self._missed:
            self._missed = ""
            _LOG.warning("Triton scores pictures")
        self.state = "ok"
        for listener in self._probe_listeners:
            listener()

    def _down(self, why: str) -> None:
        if self.state == "ok":
            _LOG.error("Triton is down: %s%s", why, shared_memory_hint())
            self.state = "down"
            for listener in self._down_listeners:
                listener()
