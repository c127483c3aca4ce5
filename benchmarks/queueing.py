"""What a fleet does under bursts, slow autoscaling and the loss of a node: a simulation, held to a measurement.

    python -m benchmarks.queueing                   # measures this machine, predicts it, then the scenarios
    python -m benchmarks.queueing --no-measure      # scenarios only, with the service times of the last measurement

The model: requests come as a Poisson process of a rate that may change; each goes to a replica picked at random, as
Kubernetes' services do; a replica has so many cores, one queue in front of them, and so many places, beyond which it
refuses. A request occupies one core for a service time drawn from those measured on a full but not overfull server.

The check: one replica, this machine. Triton is started, service times are measured in a closed loop with one caller a
core, and open loops at shares of the capacity are both measured and predicted. Writes benchmarks/results/queueing.*.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from benchmarks.saving import RESULTS, save, save_table

SHARES: Final = (0.5, 0.8, 1.2)
BUSY: Final = 0.6
"""Share of the cores that a fleet for live requests may use, so that nobody waits long; 1 where nobody waits."""
PRICE: Final = 0.04
"""Of a core-hour, assumed."""
DAY: Final = 86_400.0
PLACES: Final = 8
"""Requests that one replica of two cores lets in, the gateway's ``max_in_flight``."""
QUEUE: Final = 64
"""Requests that wait at Triton's classifier before it refuses more, its ``max_queue_size``."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Servers, and who adds and takes them away."""

    replicas: int
    cores: int = 2
    places: int = PLACES
    autoscaler: bool = False
    target_wait: float = 0.05
    """Seconds of queueing that the autoscaler holds, by adding replicas in proportion, at most doubling."""
    period: float = 30.0
    """Seconds between its looks."""
    start_delay: float = 60.0
    """Seconds from its decision to a replica that serves: a machine, an image, a model."""
    most: int = 10**6
    lost: int = 0
    """Replicas that die at ``lost_at``, with all that they hold."""
    lost_at: float = math.inf
    unnoticed: float = 10.0
    """Seconds for which requests still go to them, and fail."""


@dataclass
class _Replica:
    free: list[float]
    """Moments at which its cores are free, a heap."""
    leaving: list[float] = field(default_factory=list)
    """Moments at which those inside leave, a heap."""
    dead: bool = False


@dataclass
class Outcome:
    """What happened to every request."""

    at: list[float] = field(default_factory=list)
    """Arrivals of those that were answered."""
    latency: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    """Arrivals of those that found no place."""
    failed: list[float] = field(default_factory=list)
    """Arrivals of those that a dead node took along, or that went to it unnoticed."""
    replicas: list[tuple[float, int]] = field(default_factory=list)

    def row(self, start: float = 0.0, end: float = math.inf) -> dict[str, float]:
        """Sums up the requests that came between two moments."""
        latencies = np.array([each for at, each in zip(self.at, self.latency, strict=True) if start <= at < end])
        refused, failed = (sum(start <= at < end for at in group) for group in (self.refused, self.failed))
        total = len(latencies) + refused + failed
        levels = (50, 95, 99) if len(latencies) else ()
        return {
            "requests": total,
            **{f"p{level}_ms": round(1000 * float(np.percentile(latencies, level)), 1) for level in levels},
            "refused_share": round(refused / max(1, total), 4),
            "failed_share": round(failed / max(1, total), 4),
        }


def simulate(
    rate: Callable[[float], float], seconds: float, service: Sequence[float], fleet: Fleet, seed: int = 0
) -> Outcome:
    """Runs a fleet.

    Args:
        rate: Requests a second at a moment.
        seconds: Length.
        service: Service times in seconds to draw from.
        fleet: The servers.
        seed: Of arrivals, service times and the choice of replicas.
    """
    dice = np.random.default_rng(seed)
    outcome = Outcome()
    replicas = [_Replica([0.0] * fleet.cores) for _ in range(fleet.replicas)]
    reachable = list(replicas)
    coming: list[float] = []
    waits: list[float] = []
    look, lost, noticed = fleet.period, fleet.lost_at, fleet.lost_at + fleet.unnoticed
    arrivals = _arrivals(rate, seconds, dice)
    takes, picks = dice.choice(np.asarray(service), len(arrivals)).tolist(), dice.random(len(arrivals)).tolist()
    for at, taken, pick in zip(arrivals.tolist(), takes, picks, strict=True):
        while coming and coming[0] <= at:
            replicas.append(_Replica([heapq.heappop(coming)] * fleet.cores))
            reachable.append(replicas[-1])
        if at >= lost:
            lost = math.inf
            _lose(replicas, fleet, outcome)
        if at >= noticed:
            reachable = [each for each in replicas if not each.dead]
            for _ in range(fleet.lost):
                heapq.heappush(coming, noticed + fleet.start_delay)
            noticed = math.inf
        if at >= look:
            alive = len(reachable)
            outcome.replicas.append((look, alive))
            for _ in range(_wanted(waits, alive, fleet) - alive - len(coming) if fleet.autoscaler else 0):
                heapq.heappush(coming, look + fleet.start_delay)
            waits, look = [], look + fleet.period * math.ceil((at - look + 1e-9) / fleet.period)
        _serve(reachable[int(pick * len(reachable))], at, taken, fleet, outcome, waits)
    return outcome


def _serve(replica: _Replica, at: float, takes: float, fleet: Fleet, outcome: Outcome, waits: list[float]) -> None:
    if replica.dead:
        outcome.failed.append(at)
        return
    while replica.leaving and replica.leaving[0] <= at:
        heapq.heappop(replica.leaving)
    if len(replica.leaving) >= fleet.places:
        outcome.refused.append(at)
        return
    begins = max(at, heapq.heappop(replica.free))
    heapq.heappush(replica.free, begins + takes)
    heapq.heappush(replica.leaving, begins + takes)
    waits.append(begins - at)
    outcome.at.append(at)
    outcome.latency.append(begins + takes - at)


def _lose(replicas: list[_Replica], fleet: Fleet, outcome: Outcome) -> None:
    for replica in replicas[: fleet.lost]:
        replica.dead = True
        inside = sum(moment > fleet.lost_at for moment in replica.leaving)
        outcome.failed.extend([fleet.lost_at] * inside)  # they stand among the answered too: a few of thousands


def _wanted(waits: Sequence[float], alive: int, fleet: Fleet) -> int:
    mean = float(np.mean(waits)) if waits else 0.0
    wanted = math.ceil(alive * mean / fleet.target_wait) if mean > 1.1 * fleet.target_wait else alive
    return min(wanted, 2 * alive, fleet.most)


def _arrivals(rate: Callable[[float], float], seconds: float, dice: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draws a Poisson process of a changing rate by thinning."""
    most = max(rate(moment) for moment in np.linspace(0.0, seconds, 1000))
    count = dice.poisson(most * seconds)
    at = np.sort(dice.random(count)) * seconds
    kept: npt.NDArray[np.float64] = at[dice.random(count) < np.array([rate(moment) for moment in at]) / most]
    return kept


def measure(variant: str, seconds: float) -> dict[str, Any]:
    """Measures this machine: service times, capacity, and open loops at shares of it."""
    from benchmarks.pictures import pictures  # noqa: PLC0415 - scenarios need neither Triton nor pictures
    from benchmarks.processes import Worker  # noqa: PLC0415
    from benchmarks.rounds import percentiles  # noqa: PLC0415
    from benchmarks.servers import triton  # noqa: PLC0415

    cores = os.cpu_count() or 1
    names = [str(file) for file in pictures("1", 64)]
    with triton(variant) as served, Worker("benchmarks.load", *names) as load:
        way, url = served.way("raw")
        load.ask({"loop": "closed", "way": way, "url": url, "width": cores, "seconds": 3.0})
        full = load.ask({"loop": "closed", "way": way, "url": url, "width": cores, "seconds": seconds})
        opened = []
        for share in SHARES:
            rate = share * full["images_per_s"]
            order = {"loop": "open", "way": way, "url": url, "rate": rate, "seconds": seconds}
            answer = load.ask(order)
            row = {"share": share, "rate": round(rate, 3), "requests": answer["images"] + answer["refused"]}
            opened.append(row | percentiles(answer["latencies"]) | {"refused": answer["refused"]})
    return {
        "variant": variant,
        "cores": cores,
        "preprocess_s": round(_preprocess_seconds(names), 5),
        "kilobytes": round(sum(os.path.getsize(name) for name in names) / len(names) / 1000, 1),  # noqa: PTH202
        "seconds": seconds,
        "capacity_per_s": round(full["images_per_s"], 3),
        "service_s": [round(each, 4) for each in full["latencies"]],
        "open": opened,
    }


def _preprocess_seconds(names: Sequence[str]) -> float:
    from veriphoto.preprocessing import preprocess  # noqa: PLC0415

    pictures = [Path(name).read_bytes() for name in names]
    preprocess(pictures[0])
    started = time.process_time()
    for data in pictures:
        preprocess(data)
    return (time.process_time() - started) / len(pictures)


def steady(rate: float) -> Callable[[float], float]:
    """Returns a rate that is the same at any time."""
    return lambda _: rate


def predict(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Predicts the measured open loops: without a gateway, Triton's own queue is what bounds them."""
    fleet = Fleet(replicas=1, cores=measured["cores"], places=QUEUE + measured["cores"])
    rows = []
    for row in measured["open"]:
        # As long as the measurement, as often as it takes for steady percentiles: past saturation, length decides.
        runs = [
            simulate(steady(row["rate"]), measured["seconds"], measured["service_s"], fleet, seed) for seed in range(50)
        ]
        latencies = np.concatenate([run.latency for run in runs])
        found = {f"predicted_p{level}_ms": float(np.percentile(latencies, level)) * 1000 for level in (50, 95)}
        found["predicted_refused"] = round(float(np.mean([len(run.refused) for run in runs])), 1)
        spread = np.percentile([np.median(run.latency) * 1000 for run in runs], [5, 95])
        rows.append({**row, **found, "predicted_p50_90_percent": [round(float(each), 1) for each in spread]})
    return rows


def capacity(service_s: float, preprocess_s: float, kilobytes: float) -> list[dict[str, Any]]:
    """Says what a rate needs, from measured seconds of one core.

    Args:
        service_s: For a photo, from its bytes to its score.
        preprocess_s: The part of it that stays on the CPU where a GPU runs the network.
        kilobytes: Of a photo.
    """
    rows = []
    for name, rate, busy in (
        ("1 image/s", 1.0, BUSY),
        ("100 images/s", 100.0, BUSY),
        ("10,000 images/s", 10_000.0, BUSY),
        ("10^8 photos in a day", 1e8 / DAY, 1.0),
    ):
        cores = rate * service_s / busy
        rows.append(
            {
                "load": name,
                "cores": math.ceil(cores),
                "two_core_replicas": math.ceil(cores / 2),
                "cores_beside_gpus": math.ceil(rate * preprocess_s / busy),
                "network_mb_per_s": round(rate * kilobytes / 1000, 1),
                "a_day_at_the_price": round(math.ceil(cores) * 24 * PRICE, 2),
                "a_million_at_the_price": round(cores / rate / 3600 * 1e6 * PRICE, 2),
            }
        )
    return rows


def scenarios(service: Sequence[float], cores: int) -> list[dict[str, Any]]:
    """Runs ten minutes of a fleet that is 60 % busy, through what goes wrong."""
    replicas = 20
    steady = 0.6 * replicas * cores / float(np.mean(service))

    def calm(_: float) -> float:
        return steady

    def burst(moment: float) -> float:
        return steady * (3.0 if 120.0 <= moment < 300.0 else 1.0)

    fleet = Fleet(replicas=replicas, cores=cores)
    scaled = Fleet(replicas=replicas, cores=cores, autoscaler=True)
    cases = {
        "calm": (calm, fleet),
        "three times the load for 3 minutes, fixed fleet": (burst, fleet),
        "the same, autoscaler, 60 s to a new replica": (burst, scaled),
        "the same, autoscaler, 180 s to a new replica": (burst, _with(scaled, start_delay=180.0)),
        "the same, autoscaler, 10 s (warm spare nodes)": (burst, _with(scaled, start_delay=10.0)),
        "a quarter of the replicas lost, noticed in 10 s": (calm, _with(fleet, lost=replicas // 4, lost_at=120.0)),
        "half of the replicas lost, noticed in 10 s": (calm, _with(fleet, lost=replicas // 2, lost_at=120.0)),
        "half lost, noticed in 2 s": (calm, _with(fleet, lost=replicas // 2, lost_at=120.0, unnoticed=2.0)),
    }
    rows = []
    for name, (rate, each) in cases.items():
        outcome = simulate(rate, 600.0, service, each)
        most = max((count for _, count in outcome.replicas), default=each.replicas)
        rows.append({"case": name, **outcome.row(120.0, 300.0), "replicas_at_most": most})
    return rows


def _with(fleet: Fleet, **changes: Any) -> Fleet:
    return Fleet(**{**vars(fleet), **changes})


def main() -> None:
    """Measures, predicts, runs the scenarios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="fp32")
    parser.add_argument("--seconds", type=float, default=40.0, help="of each loop")
    parser.add_argument("--no-measure", action="store_true")
    arguments = parser.parse_args()
    if arguments.no_measure:
        measured = json.loads((RESULTS / "queueing.json").read_text())["measured"]
    else:
        measured = measure(arguments.variant, arguments.seconds)
    compared = predict(measured)
    needs = capacity(measured["cores"] / measured["capacity_per_s"], measured["preprocess_s"], measured["kilobytes"])
    cases = scenarios(measured["service_s"], measured["cores"])
    command = f"python -m benchmarks.queueing --variant {measured['variant']} --seconds {measured['seconds']}"
    save(
        "queueing",
        {"command": command, "measured": measured, "compared": compared, "capacity": needs, "scenarios": cases},
    )
    print(save_table("queueing", "Predicted and measured: one machine, open loop", compared).read_text())
    print(save_table("queueing_capacity", f"Needs at {PRICE} a core-hour", needs).read_text())
    print(save_table("queueing_scenarios", "A fleet in trouble, the three minutes of it", cases).read_text())


if __name__ == "__main__":
    main()
