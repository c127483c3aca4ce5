"""Peers on the same model, photos and cores, each in turns with our own server.

    python -m benchmarks.peers_compare --install       # makes an environment for each peer under var/bench/peers
    python -m benchmarks.peers_compare                 # or with --quick, or --only litserve ray

The code of each peer is in benchmarks/peers/: one process a core around the same ONNX graph and the same preprocessing,
set up as its own documentation says; the seed's way as it was published, and once more with the crops of our model.
Writes benchmarks/results/peers.{json,md,png} and ``over_seed_way`` and ``over_best_peer`` into the summary.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.engine import REPOSITORY
from benchmarks.pictures import pictures
from benchmarks.processes import Worker, tree
from benchmarks.results import RESULTS, save, save_bars, save_table, suffix
from benchmarks.rounds import Measured, in_turns
from benchmarks.served import closed_block
from benchmarks.servers import measure, triton, wait_until_answers, with_gateway

from veriphoto.contract import CLASSIFIER, CONTRACT
from veriphoto.manifest import ONNX_FILE, latest_version
from veriphoto_serving.triton.ports import free_ports

CODE: Final = Path(__file__).parent / "peers"
ENVIRONMENTS: Final = Path(__file__).parent.parent / "var" / "bench" / "peers"
CORES: Final = os.cpu_count() or 1


@dataclass(frozen=True)
class Peer:
    """How one peer is started and asked."""

    name: str
    environment: str
    argv: Callable[[Path, int, Path], list[str]]
    """Its bin directory, a port and an empty folder -> command line."""
    health: str = "/health"
    path: str = "/predict"
    way: str = "form"
    variables: dict[str, str] = field(default_factory=dict)
    offset: int = 0
    """From the port of health to that of scoring."""


def _mlserver(bin_: Path, port: int, folder: Path) -> list[str]:
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": CORES,
        "grpc_max_message_length": 40_000_000,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(
        json.dumps({"name": "detector", "implementation": "ml_server.Detector"})
    )
    return [str(bin_ / "mlserver"), "start", str(folder)]


PEERS: Final = (
    Peer("seed's way", "seed", lambda b, port, _: [f"{b}/python", "seed_way.py", str(port)]),
    Peer(
        "seed's way, our crops",
        "seed",
        lambda b, port, _: [f"{b}/python", "seed_way.py", str(port)],
        variables={"SEED_CROPS": str(CONTRACT.crops)},
    ),
    Peer("LitServe", "litserve", lambda b, port, _: [f"{b}/python", "lit_serve.py", str(port)], way="json"),
    Peer(
        "BentoML",
        "bentoml",
        lambda b, port, _: [
            *(f"{b}/bentoml", "serve", "bento_service:Detector", "--host", "127.0.0.1", "--port", str(port)),
        ],
        health="/readyz",
        variables={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    Peer("MLServer", "mlserver", _mlserver, health="/v2/models/detector/ready", way="oip-grpc", offset=1),
    Peer(
        "Ray Serve",
        "ray",
        lambda b, port, _: [f"{b}/python", "ray_serve.py", str(port)],
        health="/-/healthz",
        way="body",
        variables={"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"},
    ),
)


def install(only: list[str]) -> None:
    """Makes an environment for each peer."""
    for name in dict.fromkeys(peer.environment for peer in PEERS):
        if only and name not in only:
            continue
        home = ENVIRONMENTS / name
        if not (home / "bin" / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        requirements = CODE / f"requirements-{name}.txt"
        subprocess.run([str(home / "bin" / "pip"), "install", "--quiet", "-r", str(requirements)], check=True)


@contextmanager
def running(peer: Peer) -> Iterator[tuple[str, list[int], float]]:
    """Starts a peer; yields its address, its processes and the seconds until it answered."""
    (port,) = free_ports(1)
    home = ENVIRONMENTS / peer.environment / "bin"
    core = Path(__file__).parent.parent / "core"
    with tempfile.TemporaryDirectory() as folder, (ENVIRONMENTS / f"{peer.environment}.log").open("wb") as log:
        environment = {
            **os.environ,
            "PATH": f"{home}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": f"{CODE}:{core}",
            "VERIPHOTO_ONNX": str(latest_version(REPOSITORY / CLASSIFIER) / ONNX_FILE),
            "OPENBLAS_NUM_THREADS": "1",
            **({} if peer.environment == "seed" else {"OMP_NUM_THREADS": "1"}),
            **peer.variables,
        }
        argv = peer.argv(home, port, Path(folder))
        process = subprocess.Popen(
            argv, cwd=CODE, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            took = wait_until_answers(f"http://127.0.0.1:{port}{peer.health}", process=process)
            yield f"http://127.0.0.1:{port + peer.offset}{peer.path}", tree(process.pid), took
        finally:
            mine = tree(process.pid)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _end(mine)


def _end(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="make the environments and stop")
    parser.add_argument("--only", nargs="+", default=[], help="environments of the peers wanted")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--variant", default="fp32", help="of our own server; peers always run fp32")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.install:
        install(arguments.only)
        return
    if arguments.quick:
        arguments.rounds, arguments.seconds = 2, 1.5
    compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Measures each peer in turns with our server, and writes the results."""
    files = [str(file) for file in pictures("1", 32 if arguments.quick else 128, arguments.photos)]
    rows: list[dict[str, Any]] = []
    found: dict[str, Any] = {}
    ratios: dict[str, dict[str, float]] = {}
    for peer in PEERS:
        if arguments.only and peer.environment not in arguments.only:
            continue
        if not (ENVIRONMENTS / peer.environment / "bin" / "python").exists():
            rows.append({"server": peer.name, "note": "not installed: python -m benchmarks.peers_compare --install"})
            continue
        try:
            measured, start = one(peer, files, arguments)
        except (RuntimeError, TimeoutError, OSError) as error:
            rows.append({"server": peer.name, "note": f"did not run: {error}"})
            continue
        found[peer.name] = measured.blocks
        for ours in ("Triton", "gateway"):
            ratios[f"{ours} / {peer.name}"] = measured.ratio(ours, "peer")
        rows.append(_row(peer.name, measured, "peer", ratios) | {"start_s": round(start, 1)})
        rows.append(_row(f"our Triton beside {peer.name}", measured, "Triton", {}))
        rows.append(_row(f"our gateway beside {peer.name}", measured, "gateway", {}))
    _write(arguments, rows, found, ratios)


def one(peer: Peer, files: list[str], arguments: argparse.Namespace) -> tuple[Measured, float]:
    """Measures one peer in turns with our Triton and gateway."""
    with (
        running(peer) as (url, pids, start),
        triton(arguments.variant) as alone,
        with_gateway(alone) as served,
        Worker("benchmarks.load", *files) as load,
    ):
        order = {"loop": "closed", "way": peer.way, "url": url, "width": arguments.concurrency}
        order["seconds"] = arguments.seconds
        trial = load.ask(order)
        if trial["refused"] > trial["images"]:
            raise RuntimeError(f"it answers {trial['refused_statuses']}; see var/bench/peers/{peer.environment}.log")
        sides = {
            "peer": lambda: measure(load, order, pids),
            "Triton": closed_block(load, served, "raw", arguments.concurrency, arguments.seconds),
            "gateway": closed_block(load, served, "gateway", arguments.concurrency, arguments.seconds),
        }
        return in_turns(sides, arguments.rounds), start


def _row(label: str, measured: Measured, side: str, ratios: dict[str, dict[str, float]]) -> dict[str, Any]:
    keys = ("images_per_s", "p50_ms", "p99_ms", "cpu_ms_per_image", "peak_rss_mb", "refused")
    row: dict[str, Any] = {"server": label, **{key: measured.median(side, key) for key in keys}}
    for ours in ("Triton", "gateway"):
        if found := ratios.get(f"{ours} / {label}"):
            row[f"our {ours} / it"] = f"{found['median']:.2f} ({found['min']:.2f} to {found['max']:.2f})"
    return row


def _merged(
    file: Path, rows: list[dict[str, Any]], found: dict[str, Any], ratios: dict[str, dict[str, float]]
) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, dict[str, float]]]:
    """Keeps what an earlier run has found of peers that this one was not asked for."""
    if not file.exists():
        return rows, found, ratios
    earlier = json.loads(file.read_text(encoding="utf-8"))
    fresh = {row["server"] for row in rows}
    kept = [row for row in earlier["rows"] if row["server"] not in fresh]
    return [*kept, *rows], {**earlier["blocks"], **found}, {**earlier["ratios"], **ratios}


def _write(
    arguments: argparse.Namespace,
    rows: list[dict[str, Any]],
    found: dict[str, Any],
    ratios: dict[str, dict[str, float]],
) -> None:
    ending = suffix(arguments.variant)
    if arguments.only:
        rows, found, ratios = _merged(RESULTS / f"peers{ending}.json", rows, found, ratios)
    summary: dict[str, dict[str, float]] = {}
    if seed := ratios.get("Triton / seed's way"):
        summary[f"over_seed_way{ending}"] = seed
    if seed := ratios.get("Triton / seed's way, our crops"):
        summary[f"over_seed_way_same_crops{ending}"] = seed
    others = {name: value for name, value in ratios.items() if name.startswith("Triton") and "seed" not in name}
    if others:
        # The best peer is the one against which we are least ahead.
        summary[f"over_best_peer{ending}"] = min(others.values(), key=lambda value: value["median"])
    command = f"python -m benchmarks.peers_compare --variant {arguments.variant} --concurrency {arguments.concurrency}"
    save(f"peers{ending}", {"command": command, "ratios": ratios, "rows": rows, "blocks": found}, summary)
    save_table(f"peers{ending}", f"Peers at concurrency {arguments.concurrency}, 1 megapixel", rows)
    bars = {row["server"]: row["images_per_s"] for row in rows if row.get("start_s") is not None}
    if bars:
        save_bars(f"peers{ending}", "Peers, closed loop", "images/s", bars)


if __name__ == "__main__":
    main()
