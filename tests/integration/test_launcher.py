"""The launcher against the real tritonserver, mostly with a toy model."""

from __future__ import annotations

import http.client
import json
import os
import signal
import stat
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tritonclient.grpc
from benchmarks.processes import runs
from tritonclient.utils import InferenceServerException

from veriphoto.errors import StartupError
from veriphoto_serving.triton import ports, shared_memory
from veriphoto_serving.triton.installation import Installation, child_environment, find_installation
from veriphoto_serving.triton.launcher import TritonServer
from veriphoto_serving.triton.options import ADMIN_HEADER, Flavour, TritonOptions

if TYPE_CHECKING:
    from tests.conftest import StartTriton

GONE_S = 20.0
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def ask(server: TritonServer, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.options.http_port, timeout=30)
    try:
        connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def add_up(server: TritonServer, values: bytes) -> float:
    status, body = ask(server, "POST", "/v2/models/toy/infer", values, Inference_Header_Content_Length="0")
    assert status == 200
    return struct.unpack("<f", body[-4:])[0]


def eventually(condition: Callable[[], bool], timeout_s: float = GONE_S) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def nothing_left(processes: set[int], prefix: str) -> bool:
    return not any(map(runs, processes)) and not shared_memory.regions(prefix)


def everything_of(server: TritonServer) -> set[int]:
    """The server and its stubs, which all have a region mapped."""
    found = shared_memory.users(server.options.region_prefix)
    assert server.pid in found
    assert len(found) == 2
    return found


def test_serves_and_leaves_nothing_behind(start_triton: StartTriton) -> None:
    server = start_triton()
    processes = everything_of(server)
    assert add_up(server, bytes([1, 2, 3])) == 6.0
    server.stop()
    assert nothing_left(processes, server.options.region_prefix)
    assert not server.is_alive()
    assert server.pid is None
    server.stop()  # once more does no harm


def test_can_be_started_again(start_triton: StartTriton) -> None:
    server = start_triton()
    os.kill(server.pid or 0, signal.SIGKILL)
    server.stop()
    with server:
        assert add_up(server, bytes([4])) == 4.0
    assert server.log.with_name("triton.log.1").is_file()


def test_paths_with_spaces_and_quotes_work(start_triton: StartTriton, write_toy: Callable[..., Path]) -> None:
    repository = write_toy(name='it\'s my "best" $repo; sleep 1')
    server = start_triton(repository, var=repository.parent / "var of mine; 'x'")
    assert add_up(server, bytes([7])) == 7.0
    assert server.log.is_file()


def test_listens_on_loopback_only(triton: TritonServer) -> None:
    assert triton.pid is not None
    assert ports.listening(triton.pid) == {(ports.LOOPBACK, port) for port in triton.options.ports}


def test_metrics_are_served(triton: TritonServer) -> None:
    host, _, port = triton.metrics_url.partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", "/metrics")
    assert b"nv_inference_request_success" in connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/detector/unload"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("POST", "/v2/systemsharedmemory/region/x/register"),
        ("GET", "/v2/cudasharedmemory/status"),
        ("GET", "/v2/trace/setting"),
        ("GET", "/v2/logging"),
        ("GET", "/v2/models/detector/config"),
        ("GET", "/v2/models/detector/stats"),
    ],
)
def test_restricted_apis_need_the_key(triton: TritonServer, method: str, path: str) -> None:
    assert ask(triton, method, path)[0] == 403
    assert ask(triton, method, path, admin_key="0" * len(triton.admin_key))[0] == 403


def test_the_key_opens_them(triton: TritonServer) -> None:
    status, body = ask(triton, "POST", "/v2/repository/index", admin_key=triton.admin_key)
    assert status == 200
    assert {model["name"]: model["state"] for model in json.loads(body) if "state" in model} == {
        "detector": "READY",
        "preprocess": "READY",
        "classifier": "READY",
        "second_opinion": "READY",
        "recorder": "READY",
    }


def test_grpc_needs_the_key_too(triton: TritonServer) -> None:
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException, match="restricted"):
            client.get_model_repository_index()
        index = client.get_model_repository_index(headers={f"triton-grpc-protocol-{ADMIN_HEADER}": triton.admin_key})
    assert len([model for model in index.models if model.state == "READY"]) == 5


def test_the_key_is_neither_in_the_command_line_nor_in_the_log(triton: TritonServer) -> None:
    command_line = Path(f"/proc/{triton.pid}/cmdline").read_bytes()
    assert f"{ADMIN_HEADER}=xxx".encode() in command_line
    assert triton.admin_key.encode() not in command_line
    assert triton.admin_key not in triton.log.read_text()


def test_regions_and_log_are_for_this_user_only(triton: TritonServer) -> None:
    regions = shared_memory.regions(triton.options.region_prefix)
    assert regions
    assert eventually(lambda: all(stat.S_IMODE(region.stat().st_mode) == 0o600 for region in regions))
    assert stat.S_IMODE(triton.log.stat().st_mode) == 0o600


def test_a_large_form_does_not_kill_it(start_triton: StartTriton) -> None:
    server = start_triton()
    for size in (4_300_000, 20_000_000):
        assert ask(server, "POST", "/v2/health/live", b"a" * size, **FORM)[0] == 405
    assert server.is_alive()
    assert add_up(server, bytes([1])) == 1.0


def test_a_model_that_fails_to_load_stops_the_start(start_triton: StartTriton, write_toy: Callable[..., Path]) -> None:
    with pytest.raises(StartupError, match="wrong on purpose") as caught:
        start_triton(write_toy('raise ValueError("wrong on purpose")', "broken"))
    assert "ended while it was starting" in caught.value.message
    assert "triton.log" in caught.value.message


@pytest.fixture
def toy_options(toy_repository: Path, tmp_path: Path) -> TritonOptions:
    """A toy server's options, for tests that start it themselves."""
    return TritonOptions(
        model_repository=toy_repository, var=tmp_path / "var", http_port=0, grpc_port=0, metrics_port=0
    )


def wrapped(path: Path, before: str) -> Installation:
    """The real server behind a script that does something first."""
    real = find_installation()
    assert real is not None
    path.write_text(f'#!/bin/sh\n{before}\nexec "{real.binary}" "$@"\n')
    path.chmod(0o755)
    return Installation(binary=path, wheel=real.wheel)


def test_a_crash_at_the_start_is_tried_once_more(toy_options: TritonOptions, tmp_path: Path) -> None:
    crash = f'[ -e "{tmp_path}/tried" ] || {{ touch "{tmp_path}/tried"; echo lock_exception; kill -ABRT $$; }}'
    with TritonServer(toy_options, wrapped(tmp_path / "tritonserver", crash)) as server:
        assert add_up(server, bytes([4])) == 4.0
    assert "lock_exception" in (server.log.parent / f"{server.log.name}.1").read_text()


def test_a_server_that_always_crashes_is_tried_twice(toy_options: TritonOptions, tmp_path: Path) -> None:
    crash = f'echo once >> "{tmp_path}/tries"; kill -SEGV $$'
    server = TritonServer(toy_options, wrapped(tmp_path / "tritonserver", crash))
    with pytest.raises(StartupError, match="ended while it was starting"), server:
        pytest.fail("never ready")
    assert (tmp_path / "tries").read_text() == "once\n" * 2


def test_a_server_that_ends_by_itself_is_not_tried_again(toy_options: TritonOptions, tmp_path: Path) -> None:
    refuse = f'echo once >> "{tmp_path}/tries"; exit 1'
    server = TritonServer(toy_options, wrapped(tmp_path / "tritonserver", refuse))
    with pytest.raises(StartupError, match="ended while it was starting"), server:
        pytest.fail("never ready")
    assert (tmp_path / "tries").read_text() == "once\n"


def test_a_model_that_takes_too_long_stops_the_start(start_triton: StartTriton, write_toy: Callable[..., Path]) -> None:
    with pytest.raises(StartupError, match="not ready after 1 s"):
        start_triton(write_toy("import time; time.sleep(60)", "slow"), start_timeout_s=1.0, exit_timeout_s=1)


def test_a_flavour_the_server_lacks_stops_the_start(start_triton: StartTriton, tmp_path: Path) -> None:
    shipped = Path(__file__).parent.parent.parent / "model_repository"
    with pytest.raises(StartupError, match="onnxruntime"):
        start_triton(shipped, flavour=Flavour.ONNXRUNTIME)


def test_a_taken_port_is_named_and_its_server_left_alone(start_triton: StartTriton) -> None:
    server = start_triton()
    with pytest.raises(StartupError, match=rf"port {server.options.http_port} is taken by process {server.pid} "):
        start_triton(http_port=server.options.http_port)
    assert add_up(server, bytes([5])) == 5.0


def test_two_servers_can_share_a_directory(start_triton: StartTriton, write_toy: Callable[..., Path]) -> None:
    one = start_triton()
    other = start_triton(write_toy(name="other"), var=one.options.var)
    other.stop()
    assert add_up(one, bytes([5])) == 5.0
    assert everything_of(one)


def test_a_server_that_is_killed_takes_its_stubs_and_regions_along(start_triton: StartTriton) -> None:
    server = start_triton()
    processes = everything_of(server)
    os.kill(server.pid or 0, signal.SIGKILL)
    assert eventually(lambda: nothing_left(processes, server.options.region_prefix), 3.0)
    assert eventually(lambda: not server.is_alive(), 3.0)


def test_a_supervisor_that_is_killed_takes_the_server_along(start_triton: StartTriton) -> None:
    server = start_triton()
    processes = everything_of(server)
    os.kill(parent_of(server.pid), signal.SIGKILL)
    assert eventually(lambda: not server.is_alive(), 3.0)
    assert eventually(lambda: nothing_left(processes, server.options.region_prefix))


def test_stop_sweeps_after_a_killed_supervisor_and_server(start_triton: StartTriton) -> None:
    server = start_triton()
    processes = everything_of(server)
    os.kill(parent_of(server.pid), signal.SIGKILL)
    os.kill(server.pid or 0, signal.SIGKILL)
    server.stop()
    assert eventually(lambda: nothing_left(processes, server.options.region_prefix), 3.0)


def parent_of(pid: int | None) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_outlives_the_thread_that_started_it(start_triton: StartTriton) -> None:
    servers: list[Any] = []
    thread = threading.Thread(target=lambda: servers.append(start_triton()))
    thread.start()
    thread.join()
    time.sleep(1.0)
    assert add_up(servers[0], bytes([9])) == 9.0


def test_a_running_servers_regions_are_no_leftovers(start_triton: StartTriton) -> None:
    server = start_triton()
    regions = shared_memory.regions(server.options.region_prefix)
    for region in regions:
        os.utime(region, (0, 0))
    assert not set(regions) & set(shared_memory.remove_stale())
    assert add_up(server, bytes([1])) == 1.0


def test_a_server_on_path_is_preferred(
    start_triton: StartTriton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands for a container's server: it finds its backends and its Python by itself.
    wheel = find_installation(path="")
    assert wheel is not None
    backend = tmp_path / "own_backends" / "python"  # Triton itself trips over spaces here
    backend.mkdir(parents=True)
    for name, file in wheel.python_backend.items():
        (backend / name).symlink_to(file)
    environment = child_environment(wheel)
    server = tmp_path / "bin" / "tritonserver"
    server.parent.mkdir()
    server.write_text(f'#!/bin/sh\nexec "{wheel.binary}" --backend-directory "{backend.parent}" "$@"\n')
    server.chmod(0o755)
    monkeypatch.setenv("LD_LIBRARY_PATH", environment["LD_LIBRARY_PATH"])
    monkeypatch.setenv("PATH", f"{server.parent}:{environment['PATH']}")
    running = start_triton()
    assert running.installation == Installation(binary=server)
    assert running.options.flavour is Flavour.ONNXRUNTIME
    assert add_up(running, bytes([8])) == 8.0
    assert everything_of(running)


def test_a_binary_that_cannot_run_is_reported(toy_options: TritonOptions, tmp_path: Path) -> None:
    broken = tmp_path / "tritonserver"
    broken.write_text("no program")
    server = TritonServer(toy_options, Installation(binary=broken))
    with pytest.raises(StartupError, match="cannot be started"), server:
        pytest.fail("never ready")
