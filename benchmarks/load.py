"""The load generator, in a process of its own, so that its CPU is not the server's.

A worker (see ``processes``): an order names a way to send, a concurrency or a rate, and a number of seconds; the answer
holds latencies in seconds, refusals, and the CPU that sending took.

* closed loop: so many callers, each asks again as soon as it has its answer;
* open loop: requests begin at random moments (Poisson) of a given rate, whether or not earlier ones have been answered.
  A latency counts from the moment at which the request was due.
"""

from __future__ import annotations

import base64
import http.client
import importlib
import itertools
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.processes import orders, reply

from veriphoto.contract import SAME_LOGIT

OCTETS: Final = {"Content-Type": "application/octet-stream"}
_PATIENCE_S: Final = 60.0
_OUTPUTS: Final = ("PROBABILITY", "LOGIT", "EVIDENCE", "STATISTICS", "OPERATING_POINT")

WRONG: Final = 600
"""No status of HTTP: an answer that is not the one that is known."""
KNOWN: Final[dict[bytes, float]] = {}
"""Logits of the pictures whose answers are known."""

Send = Callable[[bytes], int]
"""Sends one picture and waits for its answer; returns the HTTP status (200 is an answer, 503 a refusal)."""


def checked(data: bytes, status: int, body: bytes) -> int:
    """Returns the status of a gateway's answer, or ``WRONG`` for a score that is not the picture's own."""
    if status != http.client.OK or data not in KNOWN:
        return status
    answer = json.loads(body)
    right = abs(answer["logit"] - KNOWN[data]) <= SAME_LOGIT and answer["statistics"]["bytes"] == len(data)
    return status if right else WRONG


_CONNECTIONS: Final[list[http.client.HTTPConnection]] = []


def close_connections() -> None:
    """Closes what the HTTP senders have opened; they open anew when they are used again."""
    for connection in _CONNECTIONS:
        connection.close()


def http_sender(
    url: str, headers: dict[str, str], judge: Callable[[bytes, int, bytes], int] = lambda _, status, __: status
) -> Send:
    """Posts the file as the body over one connection that stays open; ``judge`` may look at the answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=_PATIENCE_S)
    _CONNECTIONS.append(connection)

    def send(data: bytes) -> int:
        kept = connection.sock is not None
        try:
            connection.request("POST", parts.path, data, headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            # Servers close connections that have rested for a while; every client asks once more over a new one.
            return send(data) if kept else 599
        return judge(data, answer.status, body)

    return send


def raw_sender(url: str) -> Send:
    """Posts the file as Triton's raw binary request."""
    from veriphoto_client.triton.http import RAW_HEADERS  # noqa: PLC0415 - each way imports what it needs

    return http_sender(url, dict(RAW_HEADERS))


def multipart_sender(url: str) -> Send:
    """Posts the file as the field ``file`` of a form, for servers that want one."""
    mark = "veriphoto-benchmark-boundary"
    head = (
        f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    post = http_sender(url, {"Content-Type": f"multipart/form-data; boundary={mark}"})
    return lambda data: post(head.encode() + data + f"\r\n--{mark}--\r\n".encode())


def json_sender(url: str) -> Send:
    """Posts the file as base64 in JSON, for servers whose guides do so."""
    post = http_sender(url, {"Content-Type": "application/json"})
    return lambda data: post(b'{"image_data": "' + base64.b64encode(data) + b'"}')


def triton_sender(
    kind: str,
    url: str,
    *,
    image: str = "IMAGE",
    answer: str = "PROBABILITY",
    outputs: Sequence[str] = _OUTPUTS,
    otherwise: int = 503,
    **options: Any,
) -> Send:
    """Uses tritonclient, whose requests any server of the Open Inference Protocol takes.

    Args:
        kind: ``http``, whose client belongs to one thread, or ``grpc``.
        url: Of the server.
        image: Name of the input that carries the picture as bytes.
        answer: Name of the output that is looked at.
        outputs: Names of all that are asked for; empty for whatever the server has.
        otherwise: What a refusal without an HTTP status counts as.
        options: Of the client.
    """
    import numpy as np  # noqa: PLC0415 - each way imports what it needs
    from tritonclient.utils import InferenceServerException  # noqa: PLC0415

    triton = importlib.import_module(f"tritonclient.{kind}")
    client = triton.InferenceServerClient(urlsplit(url).netloc, **options)
    wanted = [triton.InferRequestedOutput(name) for name in outputs] or None

    def send(data: bytes) -> int:
        tensor = np.empty((1, 1), dtype=np.object_)
        tensor[0, 0] = data
        picture = triton.InferInput(image, [1, 1], "BYTES")
        picture.set_data_from_numpy(tensor)
        try:
            client.infer("detector", [picture], outputs=wanted).as_numpy(answer)
        except InferenceServerException as error:
            status = str(error.status())  # of gRPC these are words
            return int(status) if status.isdecimal() else otherwise
        return 200

    return send


SENDERS: Final[dict[str, Callable[[str], Send]]] = {
    "raw": raw_sender,
    "body": lambda url: http_sender(url, OCTETS),
    "checked": lambda url: http_sender(url, OCTETS, checked),
    "form": multipart_sender,
    "json": json_sender,
    "oip-grpc": lambda url: triton_sender("grpc", url, image="image", answer="probability", outputs=()),
    "tritonclient-http": lambda url: triton_sender("http", url, otherwise=500, network_timeout=_PATIENCE_S),
    "tritonclient-grpc": lambda url: triton_sender("grpc", url),
}


class Load:
    """Callers on threads, kept with their connections from block to block."""

    def __init__(self, pictures: Sequence[bytes]) -> None:
        """Takes what to send, in turns."""
        self._pictures = pictures
        self._next = itertools.count()
        self._senders: dict[tuple[str, str, int], Send] = {}
        self._lock = threading.Lock()

    def closed(self, way: str, url: str, width: int, seconds: float) -> dict[str, Any]:
        """Runs a closed loop; what is in flight when the time is up is waited for and counts."""
        found: list[tuple[float, int]] = []
        started = time.perf_counter()

        def caller(number: int) -> None:
            send = self._sender(way, url, number)
            while (began := time.perf_counter()) < started + seconds:
                status = send(self._picture())
                found.append((time.perf_counter() - began, status))

        _together(caller, width)
        return _counted(found, time.perf_counter() - started)

    def open(self, way: str, url: str, rate: float, seconds: float, callers: int = 96, seed: int = 0) -> dict[str, Any]:
        """Runs an open loop; ``callers`` bounds what can be in flight."""
        moments, at, dice = [], 0.0, random.Random(seed)  # noqa: S311 - arrivals, not secrets
        while at < seconds:
            moments.append(at)
            at += dice.expovariate(rate)
        due = iter(moments)
        found: list[tuple[float, int]] = []
        late: list[float] = []
        started = time.perf_counter()

        def caller(number: int) -> None:
            send = self._sender(way, url, number)
            while True:
                with self._lock:
                    moment = next(due, None)
                if moment is None:
                    return
                time.sleep(max(0.0, started + moment - time.perf_counter()))
                late.append(time.perf_counter() - started - moment)
                status = send(self._picture())
                found.append((time.perf_counter() - started - moment, status))

        _together(caller, callers)
        answer = _counted(found, time.perf_counter() - started)
        # If the callers themselves were late, the loop was not open.
        return answer | {"offered_per_s": len(moments) / seconds, "latest_start_ms": 1000.0 * max(late, default=0.0)}

    def know(self, logits: Sequence[float]) -> dict[str, Any]:
        """Takes the pictures' logits, against which the way ``checked`` holds its answers."""
        KNOWN.update(zip(self._pictures, logits, strict=True))
        return {}

    def _picture(self) -> bytes:
        return self._pictures[next(self._next) % len(self._pictures)]

    def _sender(self, way: str, url: str, number: int) -> Send:
        if way == "tritonclient-http":  # bound to the thread that made it
            return SENDERS[way](url)
        key = (way, url, number)
        if key not in self._senders:
            self._senders[key] = SENDERS[way](url)
        return self._senders[key]


def _together(work: Callable[[int], None], width: int) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(width)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _counted(found: list[tuple[float, int]], seconds: float) -> dict[str, Any]:
    good = [latency for latency, status in found if status == 200]
    bad = [(latency, status) for latency, status in found if status != 200]
    return {
        "images": len(good),
        "seconds": seconds,
        "images_per_s": len(good) / seconds,
        "latencies": good,
        "refused": len(bad),
        "refused_latencies": [latency for latency, _ in bad],
        "refused_statuses": sorted({status for _, status in bad}),
        "statuses": {str(status): count for status, count in sorted(Counter(status for _, status in found).items())},
    }


def main() -> None:
    """Reads the pictures named on the command line, then works through orders."""
    load = Load([Path(name).read_bytes() for name in sys.argv[1:]])
    for order in orders():
        cpu = time.process_time()
        ways: dict[str, Callable[..., dict[str, Any]]] = {"closed": load.closed, "open": load.open, "know": load.know}
        answer = ways[order.pop("loop")](**order)
        reply(answer | {"load_cpu": time.process_time() - cpu})


if __name__ == "__main__":
    main()
