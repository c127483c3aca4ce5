"""Peers around the former commit's model, on the same photos and cores, each in turns with our own server.

    python -m benchmarks.peers_compare --install       # makes an environment for each peer under var/bench/peers
    python -m benchmarks.peers_compare                 # or with --quick, or --only litserve ray

The code of each peer is in benchmarks/peers/: one process a core around the graph and preprocessing of the commit that
goals are stated against, set up as its own documentation says; and the seed's way as it was published. All of them run
FP32. Our server runs what ``auto`` chooses on this CPU, and beside it FP32.
Writes benchmarks/results/peers.json and its rows of the summary.
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.engine import default_variant
from benchmarks.former import former_tree
from benchmarks.pictures import pictures
from benchmarks.processes import Worker, tree
from benchmarks.rounds import Measured, in_turns
from benchmarks.rows import record
from benchmarks.saving import RESULTS, save
from benchmarks.served import closed_block
from benchmarks.servers import measure, triton, wait_until_answers, with_gateway

from veriphoto.contract import CLASSIFIER
from veriphoto.manifest import ONNX_FILE, latest_version
from veriphoto.variants import AUTO
from veriphoto_serving.triton.ports import free_ports

CODE: Final = Path(__file__).parent / "peers"
ENVIRONMENTS: Final = Path(__file__).parent.parent / "var" / "bench" / "peers"
CORES: Final = os.cpu_count() or 1
OURS: Final = ("Triton", "Triton FP32", "gateway")


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


SEED: Final = "seed's way"
PEERS: Final = (
    Peer(SEED, "seed", lambda b, port, _: [f"{b}/python", "seed_way.py", str(port)]),
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
    model = former_tree()
    with tempfile.TemporaryDirectory() as folder, (ENVIRONMENTS / f"{peer.environment}.log").open("wb") as log:
        environment = {
            **os.environ,
            "PATH": f"{home}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": f"{CODE}:{model / 'core'}",
            "VERIPHOTO_ONNX": str(latest_version(model / "model_repository" / CLASSIFIER) / ONNX_FILE),
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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--concurrency", type=int, default=8)
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
    blocks: dict[str, Any] = {}
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
        blocks[peer.name] = measured.blocks
        rows.append(_row(peer.name, measured, "peer") | {"start_s": round(start, 1)})
        rows += [_row(f"our {side} beside {peer.name}", measured, side) for side in OURS]
    _write(arguments, rows, blocks)


def one(peer: Peer, files: list[str], arguments: argparse.Namespace) -> tuple[Measured, float]:
    """Measures one peer in turns with our Triton and gateway."""
    with (
        running(peer) as (url, pids, start),
        triton(AUTO) as alone,
        with_gateway(alone) as served,
        triton() as fp32,
        Worker("benchmarks.load", *files) as load,
    ):
        order = {"loop": "closed", "way": peer.way, "url": url, "width": arguments.concurrency}
        order["seconds"] = arguments.seconds
        trial = load.ask(order)
        if trial["refused"] > trial["images"]:
            raise RuntimeError(f"it answers {trial['refused_statuses']}; see var/bench/peers/{peer.environment}.log")
        pace = arguments.concurrency, arguments.seconds
        sides = {
            "peer": lambda: measure(load, order, pids),
            "Triton": closed_block(load, served, "raw", *pace),
            "Triton FP32": closed_block(load, replace(served, triton=fp32.triton), "raw", *pace),
            "gateway": closed_block(load, served, "gateway", *pace),
        }
        return in_turns(sides, arguments.rounds), start


def _row(label: str, measured: Measured, side: str) -> dict[str, Any]:
    keys = ("images_per_s", "p50_ms", "p99_ms", "cpu_ms_per_image", "peak_rss_mb", "refused")
    row: dict[str, Any] = {"server": label, **{key: measured.median(side, key) for key in keys}}
    if side == "peer":
        row |= {f"our {ours} / it": measured.ratio(ours, "peer") for ours in OURS}
    return row


def _write(arguments: argparse.Namespace, rows: list[dict[str, Any]], blocks: dict[str, Any]) -> None:
    file = RESULTS / "peers.json"
    if arguments.only and file.exists():  # keeps what an earlier run has found of the others
        earlier = json.loads(file.read_text(encoding="utf-8"))
        fresh = {row["server"] for row in rows}
        rows = [*(row for row in earlier["rows"] if row["server"] not in fresh), *rows]
        blocks = {**earlier["blocks"], **blocks}
    command = f"python -m benchmarks.peers_compare --concurrency {arguments.concurrency}"
    save(file.stem, {"command": command, "rows": rows, "blocks": blocks})
    _record({name: Measured(found) for name, found in blocks.items()})


def _record(found: dict[str, Measured]) -> None:
    seed = found.pop(SEED, None)
    figures, notes = {}, {}
    if seed is not None:
        figures["over_seed_way"], notes["over_seed_way"] = seed.ratios("Triton", "peer"), _note(seed)
    if found:
        # The best peer is the one against which we are least ahead.
        name, best = min(found.items(), key=lambda item: item[1].ratio("Triton", "peer")["median"])
        figures["over_best_peer"], notes["over_best_peer"] = best.ratios("Triton", "peer"), f"{name}; {_note(best)}"
    record(figures, notes=notes)


def _note(measured: Measured) -> str:
    cpu, fp32 = measured.cpu_ratio("Triton", "peer"), measured.ratio("Triton FP32", "peer")
    return f"`{default_variant()}`, by CPU time {cpu['median']:.2f}; with FP32 {fp32['median']:.2f}"


if __name__ == "__main__":
    main()
