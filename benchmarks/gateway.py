"""What the gateway costs: the same photo, the same client, straight to Triton and through the gateway, in turns.

    python -m benchmarks.gateway --rounds 40 --concurrency 1 8

Both sides get the raw file over HTTP. One round is a block of requests each way, in random order, so that whatever
else the machine does falls on both. Prints one line of JSON for each concurrency.

``--instant`` puts a model in Triton's place that answers at once: what is left is the way itself, and small
differences are not lost in the noise of the network's 50 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp
import numpy as np
from benchmarks.processes import own_cpu_seconds
from benchmarks.rounds import interval
from benchmarks.servers import triton, with_gateway
from PIL import Image

from veriphoto_client.triton.http import RAW_HEADERS
from veriphoto_client.triton.transport import OUTPUT_SHAPES

ROOT = Path(__file__).parent.parent
GATEWAY_HEADERS = {"Content-Type": "application/octet-stream"}


def photo(kilobytes: int = 100) -> bytes:
    """Makes a JPEG of about one megapixel and the size asked for, of smooth noise as photos have."""
    noise = np.random.default_rng(0).normal(128, 40, (64, 80, 3)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(noise).resize((1152, 896), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(1).normal(0, 6, (896, 1152, 1))
    image = Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
    best = b""
    for quality in range(95, 20, -3):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        best = buffer.getvalue()
        if len(best) <= kilobytes * 1000:
            break
    return best


INSTANT_CONFIG = """
name: "detector"
backend: "python"
max_batch_size: 16
input [ { name: "IMAGE" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ %s ]
instance_group [ { count: 2 kind: KIND_CPU } ]
"""
INSTANT_MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils

from veriphoto_client.triton.transport import OUTPUT_SHAPES

ANSWER = {name: np.zeros((1, *shape), np.float32) for name, shape in OUTPUT_SHAPES.items()}
ANSWER["PROBABILITY"][:] = 0.5
ANSWER["STATISTICS"][:] = [1152, 896, 95000, 0, 80, 128, 40, 20, 1, 1]
ANSWER["OPERATING_POINT"][:] = [1, 0.5, 0.45, 0.55, 96, 3]

class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.Tensor(name, value) for name, value in ANSWER.items()]
        return [pb_utils.InferenceResponse(tensors) for _ in requests]
"""


def instant_repository(at: Path) -> Path:
    """Writes a model repository whose detector answers without looking."""
    version = at / "instant" / "detector" / "1"
    version.mkdir(parents=True)
    outputs = [
        f'{{ name: "{name}" data_type: TYPE_FP32 dims: {list(shape)} }}' for name, shape in OUTPUT_SHAPES.items()
    ]
    (version.parent / "config.pbtxt").write_text(INSTANT_CONFIG % ", ".join(outputs))
    (version / "model.py").write_text(INSTANT_MODEL)
    return at / "instant"


async def block(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str], data: bytes, n: int, width: int
) -> tuple[list[float], float]:
    """Sends ``n`` requests, ``width`` at a time; returns their latencies and the time for all, in seconds."""
    latencies: list[float] = []
    left = iter(range(n))

    async def worker() -> None:
        for _ in left:
            started = time.perf_counter()
            async with session.post(url, data=data, headers=headers) as answer:
                await answer.read()
                answer.raise_for_status()
            latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(width)))
    return latencies, time.perf_counter() - started


async def compare(
    direct: str, gateway: str, pid: int, data: bytes, rounds: int, width: int, per_block: int
) -> dict[str, float]:
    """Measures both ways in turns."""
    sides = {"direct": (direct, dict(RAW_HEADERS)), "gateway": (gateway, GATEWAY_HEADERS)}
    added: list[float] = []
    ratios: list[float] = []
    medians: dict[str, list[float]] = {name: [] for name in sides}
    async with aiohttp.ClientSession() as session:
        for url, headers in sides.values():
            await until_ready(session, url, headers, data)
        cpu = own_cpu_seconds(pid)
        for _ in range(rounds):
            took: dict[str, float] = {}
            median: dict[str, float] = {}
            for name in random.sample(list(sides), 2):
                url, headers = sides[name]
                latencies, took[name] = await block(session, url, headers, data, per_block, width)
                median[name] = statistics.median(latencies)
                medians[name].append(median[name])
            added.append(1000 * (median["gateway"] - median["direct"]))
            ratios.append(took["direct"] / took["gateway"])
    low, high = interval(added)
    return {
        "concurrency": width,
        "requests_each": rounds * per_block,
        "direct_median_ms": round(1000 * statistics.median(medians["direct"]), 2),
        "gateway_median_ms": round(1000 * statistics.median(medians["gateway"]), 2),
        "added_ms_median": round(statistics.median(added), 2),
        "added_ms_95_low": round(low, 2),
        "added_ms_95_high": round(high, 2),
        "gateway_cpu_ms_per_request": round(1000 * (own_cpu_seconds(pid) - cpu) / (rounds * per_block), 2),
        "throughput_ratio_median": round(statistics.median(ratios), 3),
        "throughput_ratio_95_low": round(interval(ratios)[0], 3),
        "throughput_ratio_95_high": round(interval(ratios)[1], 3),
        "load_average": round(os.getloadavg()[0], 1),
    }


async def until_ready(session: aiohttp.ClientSession, url: str, headers: dict[str, str], data: bytes) -> None:
    """Waits until a side answers."""
    for _ in range(200):
        try:
            async with session.post(url, data=data, headers=headers) as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.1)
    raise TimeoutError(url)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--per-block", type=int, default=8)
    parser.add_argument("--instant", action="store_true")
    arguments = parser.parse_args()
    data = photo()
    with tempfile.TemporaryDirectory() as var:
        repository = instant_repository(Path(var)) if arguments.instant else ROOT / "model_repository"
        run(arguments, data, repository)


def run(arguments: argparse.Namespace, data: bytes, repository: Path) -> None:
    """Measures each concurrency and prints it."""
    with triton(repository=repository) as alone, with_gateway(alone) as served:
        direct, gateway, pid = served.raw_url, f"{served.gateway_url}/predict", served.gateway_pid
        for width in arguments.concurrency:
            blocks = max(arguments.per_block, 3 * width) if width > 1 else arguments.per_block
            result = asyncio.run(compare(direct, gateway, pid, data, arguments.rounds, width, blocks))
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
