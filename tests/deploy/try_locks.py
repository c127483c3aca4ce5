"""Installs every lock in an environment of its own and uses it; then extras beside the server, in any order.

    make locks-test                                          # all, in var/locks; an hour's work at the most
    .venv/bin/python tests/deploy/try_locks.py page scanner  # some
    .venv/bin/python tests/deploy/try_locks.py --cpu trainer # torch as pip finds it, without CUDA's libraries

What is used comes from the lock alone; only the Triton that scores behind gateway and page is this environment's.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veriphoto_serving.triton.launcher import TritonServer
from veriphoto_serving.triton.options import TritonOptions
from veriphoto_serving.triton.ports import LOOPBACK, free_ports

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "docker" / "requirements"
SAMPLE = ROOT / "samples" / "ai_watch.jpg"
ORDERS = (("serving,monitor", "ray", "page", "train"), ("client", "train", "page", "ray", "serving,monitor"))
IMPORTS = "import numpy, pandas, pyarrow, ray.data, streamlit, torch, mlflow, tritonclient.grpc, onnxruntime"
CUDA = re.compile(r"^(torch==|triton==|nvidia-|cuda-)")
# What pip installs for `[page]`, shown two photos: the table of several answers needs pyarrow and pandas.
TWO_PHOTOS = """
import sys
from pathlib import Path
from types import SimpleNamespace
import streamlit
from streamlit.testing.v1 import AppTest
from veriphoto_client.page import app

files = [SimpleNamespace(name=Path(each).name, getvalue=Path(each).read_bytes) for each in sys.argv[1:]]
streamlit.file_uploader = lambda *_, **__: files
shown = AppTest.from_file(app.__file__, default_timeout=120).run()
assert not shown.exception and not shown.error, (shown.exception, shown.error)
(table,) = shown.dataframe
assert len(table.value) == 2 and set(table.value["verdict"]) != {"not judged"}, table.value
print(table.value.to_string())
"""
PREPROCESS = """
import sys
from pathlib import Path
from veriphoto.preprocessing import preprocess
print(preprocess(Path(sys.argv[1]).read_bytes()).crops.shape)
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment, and a folder to work in."""

    at: Path
    work: Path

    def run(self, program: str, *arguments: str | Path, **environment: str) -> str:
        """Runs a program of the environment and returns what it said."""
        command = [str(self.at / "bin" / program), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.work, env=self._variables(environment), capture_output=True, text=True, check=False
        )
        said = done.stdout + done.stderr
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{said[-3000:]}")
        return said

    @contextlib.contextmanager
    def running(self, url: str, program: str, *arguments: str | Path, **environment: str) -> Iterator[None]:
        """Runs a service of the environment until it answers at an address, and stops it afterwards."""
        log = self.work / f"{program}.log"
        with log.open("w") as out:
            command = [str(self.at / "bin" / program), *map(str, arguments)]
            process = subprocess.Popen(
                command, cwd=self.work, env=self._variables(environment), stdout=out, stderr=subprocess.STDOUT
            )
        try:
            deadline = time.monotonic() + 120
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{' '.join(command)} does not answer:\n{log.read_text()[-3000:]}")
                time.sleep(0.3)
            yield
        finally:
            process.terminate()
            process.wait(30)

    def pip(self, *arguments: str | Path) -> str:
        """Runs pip."""
        return self.run("python", "-m", "pip", "--quiet", *arguments)

    def _variables(self, more: dict[str, str]) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return {**ours, "PATH": f"{self.at / 'bin'}:{ours['PATH']}", **more}


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
        return bool(answer.status == 200)
    return False


@dataclass(frozen=True, slots=True)
class Bench:
    """What the locks are tried with."""

    folder: Path
    wheel: Path
    triton: TritonServer
    cpu: bool

    def environment(self, name: str) -> Environment:
        """Makes an empty environment."""
        at, work = self.folder / name, self.folder / f"{name}-work"
        for each in (at, work):
            shutil.rmtree(each, ignore_errors=True)
        work.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", str(at)], check=True)
        return Environment(at, work)

    def locked(self, lock: str) -> Environment:
        """Makes an environment of a lock, as docker/requirements/install.sh does."""
        made, requirements = self.environment(lock), LOCKS / f"{lock}.txt"
        if self.cpu and lock == "trainer":
            requirements = made.work / "requirements.txt"
            torch = _without_cuda(LOCKS / f"{lock}.txt", requirements)
            made.pip("install", "--no-deps", torch)
        made.pip("install", "--require-hashes", *(["--no-deps"] if self.cpu else []), "--requirement", requirements)
        if lock != "mlflow":
            made.pip("install", "--no-deps", self.wheel)
        if not self.cpu:
            made.pip("check")
        return made


def _without_cuda(lock: Path, to: Path) -> str:
    entries = re.split(r"^(?=[A-Za-z0-9])", lock.read_text("utf-8"), flags=re.M)
    to.write_text("".join(entry for entry in entries if not CUDA.match(entry)))
    return next(entry.split()[0] for entry in entries if entry.startswith("torch=="))


def triton(bench: Bench) -> str:
    """Preprocesses a picture, as Triton's Python models do."""
    return bench.locked("triton").run("python", "-c", PREPROCESS, SAMPLE)


def gateway(bench: Bench) -> str:
    """Serves one picture."""
    with _gateway(bench) as url:
        head = b"--b\r\nContent-Disposition: form-data; name=file; filename=a.jpg\r\n\r\n"
        request = urllib.request.Request(
            f"{url}/predict",
            head + SAMPLE.read_bytes() + b"\r\n--b--\r\n",
            {"Content-Type": "multipart/form-data; boundary=b"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            verdict = json.load(answer)
    assert verdict["verdict"] == "ai_generated", verdict
    return str(verdict["probability"])


@contextlib.contextmanager
def _gateway(bench: Bench) -> Iterator[str]:
    (port,) = free_ports(1)
    url = f"http://{LOOPBACK}:{port}"
    options = ("--gateway-port", str(port), "--triton-url", f"grpc://{bench.triton.grpc_url}")
    with bench.locked("gateway").running(f"{url}/readyz", "veriphoto", "gateway", *options):
        yield url


def page(bench: Bench) -> str:
    """Shows two photos on the page."""
    with _gateway(bench) as url:
        two = (SAMPLE, ROOT / "samples" / "real_boots.jpg")
        return bench.locked("page").run("python", "-c", TWO_PHOTOS, *two, VERIPHOTO_GATEWAY_URL=url)


def sidecar(bench: Bench) -> str:
    """Watches the Triton."""
    (port,) = free_ports(1)
    made = bench.locked("sidecar")
    url = f"http://{LOOPBACK}:{port}"
    options = ("--port", str(port), "--model-repository", ROOT / "model_repository", "--var", made.work, "--log", "")
    with (
        made.running(f"{url}/metrics", "veriphoto", "monitor", *options),
        urllib.request.urlopen(f"{url}/drift", timeout=60) as answer,
    ):
        return json.dumps(json.load(answer))[:200]


def scanner(bench: Bench) -> str:
    """Scans the samples on Ray."""
    return _scan(bench.locked("scanner"))


def _scan(made: Environment) -> str:
    options = (
        "--output",
        made.work / "verdicts",
        "--model",
        ROOT / "model_repository" / "classifier",
        "--workers",
        "1",
    )
    return made.run("veriphoto", "scan", "--engine", "ray", ROOT / "samples", *options)


def trainer(bench: Bench) -> str:
    """Trains a few steps on crops of the samples."""
    made = bench.locked("trainer")
    return _train(made)


def _train(made: Environment) -> str:
    from PIL import Image  # noqa: PLC0415

    for name, label in (("ai", "ai_"), ("real", "real_")):
        folder = made.work / "data" / name
        folder.mkdir(parents=True)
        for number in range(36):
            samples = sorted((ROOT / "samples").glob(f"{label}*"))
            with Image.open(samples[number % len(samples)]) as picture:
                left, top = 7 * number, 5 * number
                picture.convert("RGB").crop((left, top, left + 256, top + 256)).save(folder / f"{number}.png")
    options = ("--recipe", "smoke", "--weights", "none", "--output", made.work / "run")
    return made.run("veriphoto", "train", "--data", made.work / "data", *options)[-200:]


def mlflow(bench: Bench) -> str:
    """Starts MLflow's server."""
    (port,) = free_ports(1)
    store = ("--backend-store-uri", "sqlite:///mlflow.db", "--workers", "1")
    with bench.locked("mlflow").running(
        f"http://{LOOPBACK}:{port}/health", "mlflow", "server", "--port", str(port), *store
    ):
        return "healthy"


def together(bench: Bench) -> str:
    """Installs extras one after the other into one environment, as people do, and uses each at the end."""
    said = []
    for number, order in enumerate(ORDERS):
        made = bench.environment(f"together-{number}")
        made.pip("install", "pip>=25.1")
        for extra in order:
            made.pip("install", "--editable", f"{ROOT}[{extra}]")
        made.pip("check")
        made.run("python", "-W", "ignore", "-c", IMPORTS)
        said.append(made.run("python", "-c", "import numpy; print(numpy.__version__)").strip())
        ports = zip(("--http-port", "--grpc-port", "--metrics-port", "--gateway-port"), free_ports(4), strict=True)
        var = ("--var", made.work, "--no-monitor", *(str(each) for pair in ports for each in pair))
        made.run("veriphoto", "serve", "--demo", "--model-repository", ROOT / "model_repository", *var)
        _scan(made)
        _train(made)
        with _gateway(bench) as url:
            two = (SAMPLE, ROOT / "samples" / "real_boots.jpg")
            made.run("python", "-c", TWO_PHOTOS, *two, VERIPHOTO_GATEWAY_URL=url)
        shutil.rmtree(made.at)  # several gigabytes
    return f"numpy {said}"


TRIALS: dict[str, Callable[[Bench], str]] = {
    each.__name__: each for each in (triton, gateway, page, sidecar, scanner, mlflow, trainer, together)
}


def main() -> int:
    """Tries what is asked for, and says what came of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *TRIALS], default=[])
    parser.add_argument("--cpu", action="store_true", help="torch as pip finds it, without CUDA's libraries")
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "locks")
    arguments = parser.parse_args()
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as var, TritonServer(_options(Path(var))) as server:
        bench = Bench(arguments.folder.resolve(), Path(), server, arguments.cpu)
        tools = bench.environment("build")
        tools.pip("install", "--require-hashes", "--requirement", LOCKS / "build.txt")
        tools.pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tools.work, ROOT)
        bench = Bench(bench.folder, next(tools.work.glob("*.whl")), server, arguments.cpu)
        for name in arguments.names or TRIALS:
            started = time.monotonic()
            try:
                said, well = TRIALS[name](bench), True
            except Exception as error:  # noqa: BLE001  the others are tried all the same
                said, well = f"{type(error).__name__}: {error}", False
            results.append({"lock": name, "well": well, "seconds": round(time.monotonic() - started), "said": said})
            sys.stdout.write(f"{'ok    ' if well else 'FAILED'} {name} ({results[-1]['seconds']} s): {said}\n")
            sys.stdout.flush()
            for made in bench.folder.glob(f"{name}*"):
                shutil.rmtree(made, ignore_errors=True)
    with (bench.folder / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["lock", "well", "seconds"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(results)
    return 0 if all(each["well"] for each in results) else 1


def _options(var: Path) -> TritonOptions:
    return TritonOptions(model_repository=ROOT / "model_repository", var=var, http_port=0, grpc_port=0, metrics_port=0)


if __name__ == "__main__":
    sys.exit(main())
