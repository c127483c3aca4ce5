"""Attacks of ``soak`` by photos: damaged, costly, too many; and what all attacks share."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.load import WRONG
from benchmarks.mutants import mutants
from benchmarks.odd_files import BOMBS, COSTLY
from benchmarks.processes import Worker
from benchmarks.rounds import percentiles
from benchmarks.soak_service import Service, ask, fields

from veriphoto_serving.gateway.errors import STATUS

OVERLOADS: Final = (0.5, 1.0, 1.5, 3.0)
_WIDTH: Final = 3
_BOMB_S: Final = 2.0
_CODES: Final = {(status, kind.code) for kind, status in STATUS.items()}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    tried: str
    count: int
    result: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    fatal: str = ""
    """What must never happen, and did."""
    missed: str = ""
    """Which goal was missed."""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """What all parts need."""

    service: Service
    load: Worker
    photos: Sequence[bytes]
    seconds: float
    count: int
    seed: int

    def loop(self, kind: str, **order: Any) -> dict[str, Any]:
        """Returns the order of a loop of photos whose answers are checked."""
        common = {"loop": kind, "way": "checked", "url": f"{self.service.url}/predict"}
        return common | {"seconds": self.seconds} | order

    def capacity(self) -> float:
        """Measures the images a second that a closed loop gets."""
        width = 2 * len(os.sched_getaffinity(0))
        self.load.ask(self.loop("closed", width=width, seconds=1.0))
        found = self.load.ask(self.loop("closed", width=width, seconds=max(2.0, self.seconds / 4)))
        if not found["images"]:
            raise SystemExit(f"no photo was answered as it should: {said(found['statuses'])}")
        return float(found["images_per_s"])


def try_mutants(attack: Attack) -> Iterator[Row]:
    """Sends damaged files, three at a time."""
    service, statuses, unclear = attack.service, Counter[int](), Counter[str]()
    files, lock = mutants(attack.count, attack.seed), threading.Lock()
    before, restarts = service.memory_mb, service.counted("restart")

    def caller() -> None:
        while True:
            with lock:
                _, data = next(files, ("", b""))
            if not data:
                return
            status, body = ask(f"{service.url}/predict", data)
            answer = fields(body)
            with lock:
                statuses[status] += 1
                if 400 <= status < 500 and not _is_clear(status, answer):
                    unclear[str(answer.get("error"))] += 1

    _together([caller] * _WIDTH)
    restarts = service.counted("restart") - restarts
    failed = sum(count for status, count in statuses.items() if status >= 500 or not status)
    figures = {"before_mb": before, "after_mb": service.memory_mb, "peak_mb": service.peak_mb, "restarts": restarts}
    yield Row(
        tried=f"damaged files of five formats (seed {attack.seed}), {_WIDTH} at a time",
        count=statuses.total(),
        result=f"{said(statuses)}; {unclear.total() or 'no'} 4xx without a code and a sentence; Triton restarted "
        f"{restarts} times; gateway {before} MB before, {figures['after_mb']} MB after"
        + (f", its group {service.peak_mb} MB at most" if service.peak_mb else ""),
        figures={"statuses": _plain(statuses), "unclear": dict(unclear), **figures},
        fatal=", ".join(
            words
            for words, happened in (("a 5xx or no answer to a damaged file", failed), ("an unclear 4xx", unclear))
            if happened
        ),
    )


def _is_clear(status: int, answer: Mapping[str, Any]) -> bool:
    return (status, answer.get("error")) in _CODES and len(str(answer.get("detail", "")).split()) > 2


def try_bombs(attack: Attack) -> Iterator[Row]:
    """Sends small files that ask for much work beside honest callers."""
    service, files = attack.service, {name: make() for name, make in (BOMBS | COSTLY).items()}
    rate, restarts = attack.capacity() / 2, service.counted("restart")
    calm = attack.load.ask(attack.loop("open", rate=rate))
    attack.load.send(attack.loop("open", rate=rate))  # at the same moments: bursts are refused without bombs, too
    answers: list[tuple[str, int, float]] = []

    def throw(name: str) -> None:
        began = time.monotonic()
        status, _ = ask(f"{service.url}/predict", files[name])
        answers.append((name, status, time.monotonic() - began))

    every = min(_BOMB_S, attack.seconds / len(files))
    throwers = [threading.Thread(target=throw, args=(name,)) for name in _in_turn(files, attack.seconds / every)]
    for thrower in throwers:
        thrower.start()
        time.sleep(every)
    for thrower in throwers:
        thrower.join()
    beside = attack.load.receive()
    restarts = service.counted("restart") - restarts
    statuses = Counter(status for _, status, _ in answers)
    p99 = [percentiles(found["latencies"]).get("p99_ms", float("inf")) for found in (calm, beside)]
    refused = [sum(each["statuses"].values()) - each["statuses"].get("200", 0) for each in (calm, beside)]
    missed = ""
    if refused[1] > refused[0]:
        missed = "honest callers refused"
    elif p99[1] > 2 * p99[0]:
        missed = "p99 more than doubled"
    yield Row(
        tried=f"small files that ask for much work, one every {every:.2g} s, beside honest callers at {rate:.1f}/s, "
        "half of the capacity",
        count=len(answers),
        result=f"bombs: {said(statuses)}, the slowest after {max(seconds for *_, seconds in answers):.1f} s; honest "
        f"callers: {said(beside['statuses'])}, p99 {p99[1]:.0f} ms; without bombs {said(calm['statuses'])}, "
        f"{p99[0]:.0f} ms; Triton restarted {restarts} times",
        figures={
            "bombs": [{"name": name, "status": status, "seconds": round(took, 2)} for name, status, took in answers],
            "honest": {"calm": calm["statuses"], "beside": beside["statuses"], "rate": round(rate, 2)},
            "p99_ms": {"calm": p99[0], "beside": p99[1]},
            "restarts": restarts,
        },
        fatal=_wrong(calm, beside) or ("a restart because of a bomb" if restarts else ""),
        missed=missed,
    )


def try_overload(attack: Attack) -> Iterator[Row]:
    """Sends photos of known answers at rates up to three times the capacity."""
    capacity, goodput = attack.capacity(), {}
    for share in OVERLOADS:
        found = attack.load.ask(attack.loop("open", rate=share * capacity))
        goodput[share] = found["images_per_s"]
        p99 = percentiles(found["latencies"]).get("p99_ms")
        yield Row(
            tried=f"{share:.0%} of the capacity of {capacity:.1f} photos/s for {attack.seconds:g} s",
            count=sum(found["statuses"].values()),
            result=f"{said(found['statuses'])}; {goodput[share]:.1f} good answers/s, p99 {p99} ms",
            figures={"share": share, "statuses": found["statuses"], "goodput": round(goodput[share], 2), "p99_ms": p99},
            fatal=_wrong(found),
        )
    kept = goodput[OVERLOADS[-1]] / max(goodput[1.0], 1e-9)
    yield Row(
        tried=f"good answers/s at {OVERLOADS[-1]:.0%} over those at 100 %",
        count=2,
        result=f"{kept:.2f}",
        figures={"kept": round(kept, 3)},
        missed="" if kept >= 0.9 else "goodput at 300 % is more than 10 % below that at 100 %",
    )


def _wrong(*found: Mapping[str, Any]) -> str:
    return "a wrong answer" if any(each["statuses"].get(str(WRONG)) for each in found) else ""


def said(statuses: Mapping[Any, int]) -> str:
    """Says how often each status came."""
    names = {"0": "no answer", str(WRONG): "WRONG", "599": "no answer"}
    return ", ".join(f"{names.get(str(status), status)}: {count}" for status, count in sorted(statuses.items()))


def _plain(statuses: Mapping[int, int]) -> dict[str, int]:
    return {str(status): count for status, count in sorted(statuses.items())}


def _in_turn(names: Mapping[str, bytes], count: float) -> Iterator[str]:
    return itertools.islice(itertools.cycle(names), round(count))


def _together(callers: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=caller) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
