"""Real tritonservers for tests: one that all share, and private ones."""

from __future__ import annotations

import os
import signal
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from veriphoto_serving.triton.launcher import TritonServer
from veriphoto_serving.triton.options import TritonOptions

ROOT = Path(__file__).parent.parent
BESIDE_OTHERS: dict[str, Any] = {"http_port": 0, "grpc_port": 0, "metrics_port": 0, "start_timeout_s": 180.0}
"""Free ports, and time to start while another does."""
TRITON_FIXTURES = {"triton", "start_triton"}

# A background job of a shell without job control ignores Ctrl-C, and so would every program that the tests start and
# send one to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TOY_CONFIG = """
name: "toy"
backend: "python"
input [ { name: "X" data_type: TYPE_UINT8 dims: [ -1 ] } ]
output [ { name: "SUM" data_type: TYPE_FP32 dims: [ 1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
TOY_MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        {initialize}

    def execute(self, requests):
        sums = [pb_utils.get_input_tensor_by_name(request, "X").as_numpy().sum() for request in requests]
        arrays = [np.array([value], dtype=np.float32) for value in sums]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("SUM", array)]) for array in arrays]
"""


class StartTriton(Protocol):
    """Starts a private server and waits until it is ready."""

    def __call__(self, repository: Path = ..., **options: Any) -> TritonServer: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if TRITON_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.triton)


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server with the shipped models, shared by all tests: leave it as it is."""
    var = tmp_path_factory.mktemp("triton")
    with TritonServer(TritonOptions(model_repository=ROOT / "model_repository", var=var, **BESIDE_OTHERS)) as server:
        yield server


@pytest.fixture
def start_triton(tmp_path: Path, toy_repository: Path) -> Iterator[StartTriton]:
    """Starts private servers, on the toy repository unless told otherwise; they are stopped after the test."""
    servers: list[TritonServer] = []

    def start(repository: Path = toy_repository, **options: Any) -> TritonServer:
        chosen = {"var": tmp_path / f"var {len(servers)}", **BESIDE_OTHERS, **options}
        servers.append(TritonServer(TritonOptions(model_repository=repository, **chosen)))
        return servers[-1].__enter__()

    yield start
    for server in servers:
        if server.pid is not None and server.is_alive():
            os.kill(server.pid, signal.SIGKILL)  # an orderly stop takes seconds
        server.stop()


@pytest.fixture
def toy_repository(write_toy: Callable[..., Path]) -> Path:
    """A repository with a single small model, ``toy``, that adds up bytes; its path has spaces."""
    return write_toy()


@pytest.fixture
def write_toy(tmp_path: Path) -> Callable[..., Path]:
    """Writes a toy repository; ``initialize`` is a line of Python that its model runs when it is loaded."""

    def write(initialize: str = "pass", name: str = "toy repository") -> Path:
        version = tmp_path / name / "toy" / "1"
        version.mkdir(parents=True)
        (version.parent / "config.pbtxt").write_text(TOY_CONFIG)
        (version / "model.py").write_text(textwrap.dedent(TOY_MODEL).format(initialize=initialize))
        return tmp_path / name

    return write
