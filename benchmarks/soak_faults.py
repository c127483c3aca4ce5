"""The last attack of ``soak``: each process of the service is killed or stopped while photos come in."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from benchmarks.load import WRONG, checked
from benchmarks.processes import runs, tree
from benchmarks.soak_parts import Attack, Row, said
from benchmarks.soak_service import Service, ask, fields

_RATE: Final = 2.0
"""Requests a second; half of the capacity where that is less."""
_SETTLE_S: Final = 10.0
"""Longer than the watchdog takes to notice anything but endless work."""
_PATIENCE_S: Final = 180.0
_IN_A_ROW: Final = 4
_LAST: Final = ("tritonserver", "supervisor", "monitor", "page")
"""After the models; the gateway ends the walk, because its end is that of all."""
_NOT_REPLACED: Final = ("supervisor", "monitor", "page")
"""While they are stopped: nothing that photos need stands still with them."""
_HARMS: Final = {"kill -9": signal.SIGKILL, "SIGSTOP": signal.SIGSTOP}


class Traffic:
    """Callers who come at a steady rate, whether or not earlier ones have been answered."""

    def __init__(self, attack: Attack, rate: float) -> None:
        """Begins once its block is entered."""
        self.answers: list[tuple[float, float, str]] = []
        """Start, end, status with the code of a refusal."""
        self._attack, self._pause = attack, 1.0 / rate
        self._over = threading.Event()
        self._calls: list[threading.Thread] = []
        self._clock = threading.Thread(target=self._tick)

    def __enter__(self) -> Traffic:
        self._clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._clock.join()
        for call in self._calls:
            call.join()

    def steady(self, since: float) -> bool:
        """Whether the last photos that came since a moment were all answered."""
        last = sorted(answer for answer in self.answers if answer[0] >= since)[-_IN_A_ROW:]
        return len(last) == _IN_A_ROW and {status for *_, status in last} == {"200"}

    def _tick(self) -> None:
        for photo in itertools.cycle(self._attack.photos):
            self._calls.append(threading.Thread(target=self._call, args=(photo,)))
            self._calls[-1].start()
            if self._over.wait(self._pause):
                return

    def _call(self, photo: bytes) -> None:
        began = time.monotonic()
        status, body = ask(f"{self._attack.service.url}/predict", photo, 30.0)
        said = f"{checked(photo, status, body)} {fields(body).get('error', '')}".strip()
        self.answers.append((began, time.monotonic(), said))


def try_faults(attack: Attack) -> Iterator[Row]:
    """Kills and stops one process after the other."""
    service, rate = attack.service, min(_RATE, attack.capacity() / 2)
    found = service.processes()
    models = sorted(found.keys() - {*_LAST, "gateway"})
    for name, harm in itertools.product([*models, *(name for name in _LAST if name in found)], _HARMS):
        victim, watched = service.processes()[name], harm == "kill -9" or name not in _NOT_REPLACED
        hurt = partial(os.kill, victim, _HARMS[harm])
        row = _row(attack, rate, f"{harm} of {name}", hurt, [victim] if watched else [])
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGCONT)
        whole = _wait(lambda: found.keys() <= service.processes().keys(), _PATIENCE_S)
        yield row if whole else replace(row, missed=f"no {name} in its place")
    all_of_it = tree(service.pid)
    tried = "kill -9 of the gateway, started again by this command"
    yield _row(attack, rate, tried, partial(_end, service), all_of_it)


def _row(attack: Attack, rate: float, tried: str, harm: Callable[[], object], victims: list[int]) -> Row:
    """Harms the service under traffic; waits until the victims have ended and photos are answered again."""
    with Traffic(attack, rate) as traffic:
        before = _wait(lambda: traffic.steady(0.0), _PATIENCE_S)
        began = time.monotonic()
        harm()
        time.sleep(min(_SETTLE_S, attack.seconds))
        healed = _wait(lambda: not any(map(runs, victims)) and traffic.steady(began), _PATIENCE_S)
    since = [answer for answer in traffic.answers if answer[1] >= began]
    statuses = Counter(status for *_, status in since)
    last = max((end for _, end, status in since if status != "200"), default=began)
    good = min((end for _, end, status in since if status == "200" and end > last), default=time.monotonic())
    failed = statuses.total() - statuses["200"]
    served = f"served again after {good - began:.1f} s" if failed else "no request failed"
    return Row(
        tried=f"{tried}, at {rate:.2g} requests/s",
        count=statuses.total(),
        result=f"{said(statuses)}; {served}" + ("" if victims else "; not replaced while it is stopped"),
        figures={
            "statuses": dict(statuses),
            "failed": failed,
            "seconds": round(good - began, 1) if failed else 0.0,
            "wrong": statuses[str(WRONG)],
        },
        fatal="a wrong answer" if statuses[str(WRONG)] else "",
        missed="" if healed else f"not whole {_PATIENCE_S:g} s later" + ("" if before else ", nor was it before"),
    )


def _end(service: Service) -> None:
    """Kills the gateway, waits until all that it had started has ended, and starts it again."""
    all_of_it = tree(service.pid)
    os.kill(service.pid, signal.SIGKILL)
    service.reap()
    _wait(lambda: not any(map(runs, all_of_it)), _PATIENCE_S)
    service.start()


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
