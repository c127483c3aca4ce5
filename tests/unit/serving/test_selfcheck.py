from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import sys
import time
from collections import namedtuple
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_encoder import toy_opinion, write_toy_encoder

from veriphoto.errors import StartupError
from veriphoto.second_opinion import ENCODER_FILE, OPINION_FILE, Encoder, Mode
from veriphoto_serving.triton import selfcheck, shared_memory
from veriphoto_serving.triton.installation import STUB, Installation, find_installation, python_version
from veriphoto_serving.triton.options import Flavour, TritonOptions
from veriphoto_serving.triton.selfcheck import Finding, Listener

Usage = namedtuple("Usage", "total used free")  # what shutil returns


@pytest.fixture(autouse=True)
def region_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of the test's own in place of the machine's: nothing here may touch real servers."""
    directory = tmp_path / "shm"
    directory.mkdir()
    monkeypatch.setattr(shared_memory, "DIRECTORY", directory)
    return directory


@pytest.fixture
def options(model_repository: Path, tmp_path: Path) -> TritonOptions:
    return TritonOptions(
        model_repository=model_repository, var=tmp_path / "var", http_port=0, grpc_port=0, metrics_port=0
    ).resolve(wheel())


def wheel() -> Installation:
    installation = find_installation(path="")
    assert installation is not None
    return installation


def run(options: TritonOptions, installation: Installation | None = None) -> list[Finding]:
    return selfcheck.run(options, installation or wheel())


def only(findings: list[Finding], check: str, *, fatal: bool = True) -> str:
    assert [(finding.check, finding.fatal) for finding in findings] == [(check, fatal)]
    return findings[0].message


def changed(options: TritonOptions, **values: Any) -> TritonOptions:
    return replace(options, **values)


def pretend_python(monkeypatch: pytest.MonkeyPatch, prefix: Path, **answer: Any) -> None:
    """Puts a python3 that gives this answer to the probe where the server would look for one."""
    told = {"version": python_version(), "missing": [], "numpy": "1.26.4", "prefix": str(prefix), **answer}
    python = prefix / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\ncat <<'.'\n{json.dumps(told)}\n.\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(prefix))


def test_nothing_is_wrong_with_this_machine(options: TritonOptions) -> None:
    assert run(options) == []


def test_missing_libpython(options: TritonOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "find_libpython", lambda: None)
    message = only(run(options), "libpython")
    assert f"libpython{python_version()}.so.1.0 is not found" in message
    assert f"apt install libpython{python_version()}" in message


def test_missing_stub(options: TritonOptions, tmp_path: Path) -> None:
    stubs = tmp_path / "wheel" / "python_backend_stubs"
    for version in ("3.8", "3.9"):
        (stubs / version).mkdir(parents=True)
        (stubs / version / STUB).touch()
    installation = Installation(binary=tmp_path / "tritonserver", wheel=tmp_path / "wheel")
    message = only(run(options, installation), "stub")
    assert message == f"there is no Python backend for Python {python_version()}, only for 3.8, 3.9; use one of these"


def test_numpy_2(options: TritonOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_python(monkeypatch, tmp_path / "a venv", numpy="2.1.0")
    message = only(run(options), "numpy")
    assert f"numpy 2.1.0 in {tmp_path / 'a venv'}" in message
    assert "pip install 'numpy<2'" in message


def test_numpy_2_is_fine_with_a_newer_server(
    options: TritonOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_python(monkeypatch, tmp_path / "venv", numpy="2.1.0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'venv' / 'bin'}:{os.environ['PATH']}")
    assert run(changed(options, flavour=Flavour.ONNXRUNTIME), Installation(binary=tmp_path / "tritonserver")) == []


def test_missing_packages(options: TritonOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_python(monkeypatch, tmp_path / "venv", missing=["onnxruntime", "numpy"], numpy="")
    message = only(run(options), "packages")
    assert "onnxruntime, numpy is not installed" in message
    assert ".venv/bin/pip install -e '.[serving]'" in message


def test_another_python(options: TritonOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_python(monkeypatch, tmp_path / "venv", version="3.9")
    assert "is Python 3.9, but" in only(run(options), "packages")


def test_python_that_does_not_run(options: TritonOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_python(monkeypatch, tmp_path / "venv")
    (tmp_path / "venv/bin/python3").write_text("#!/bin/sh\necho broken beyond repair >&2; exit 3\n")
    assert "broken beyond repair" in only(run(options), "packages")


def test_no_python_at_all(options: TritonOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is none" in only(run(options), "packages")


@pytest.mark.parametrize("flavour", [Flavour.ONNXRUNTIME, Flavour.TENSORRT])
def test_a_flavour_that_the_wheels_server_lacks(options: TritonOptions, flavour: Flavour) -> None:
    findings = [finding for finding in run(changed(options, flavour=flavour)) if finding.check == "flavour"]
    assert f"no backend for {flavour.value}" in only(findings, "flavour")


def test_small_stack(options: TritonOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8 << 20, 8 << 20))
    message = only(run(options), "stack")
    assert "may not grow over 8192 kB, and the server needs 65536" in message


def test_taken_port(options: TritonOptions) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        message = only(run(changed(options, grpc_port=port)), "ports")
    assert message.startswith(f"port {port} is taken by process {os.getpid()} ")
    assert message.endswith("stop that or choose another with --grpc-port")


def test_one_port_for_two(options: TritonOptions) -> None:
    message = only(run(changed(options, grpc_port=options.http_port)), "ports")
    assert message == f"--http-port and --grpc-port must differ, and are both {options.http_port}"
    listeners = [
        Listener("--gateway-port", options.http_port),
        Listener("--page-port", 0),
        Listener("--sidecar-port", 0),
    ]
    assert "--http-port and --gateway-port must differ" in only(selfcheck.run(options, wheel(), listeners), "ports")


def test_what_is_served_beside_it_is_checked_in_the_same_round(options: TritonOptions) -> None:
    with ExitStack() as held:
        ports = [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(4)]
        listeners = [
            Listener("--gateway-port", ports[1], "0.0.0.0"),  # noqa: S104 - nothing listens
            Listener("--page-port", ports[2]),
            Listener("--sidecar-port", ports[3], without="drift is not watched"),
        ]
        found = selfcheck.run(changed(options, http_port=ports[0]), wheel(), listeners)
    assert [(each.check, each.fatal) for each in found] == [("ports", True)] * 3 + [("ports", False)]
    for finding, port, option in zip(
        found, ports, ("--http-port", "--gateway-port", "--page-port", "--sidecar-port"), strict=True
    ):
        assert finding.message.startswith(f"port {port} is taken by process {os.getpid()} ")
        assert f"stop that or choose another with {option}" in finding.message
    assert found[3].message.endswith("; drift is not watched")


def test_leaked_regions_are_removed_and_reported(options: TritonOptions, region_directory: Path) -> None:
    leaked = region_directory / f"{shared_memory.PREFIX}of_a_dead_server"
    leaked.write_bytes(bytes(100))
    os.utime(leaked, (time.time() - 60,) * 2)
    assert leaked.name in only(run(options), "shared memory", fatal=False)
    assert not leaked.exists()


@pytest.mark.parametrize(("megabytes", "fatal"), [(64, False), (16, True)])
def test_little_shared_memory(
    options: TritonOptions, region_directory: Path, monkeypatch: pytest.MonkeyPatch, megabytes: int, fatal: bool
) -> None:
    limit_disk(monkeypatch, region_directory, megabytes)
    assert f"has {megabytes} MB free" in only(run(options), "shared memory", fatal=fatal)


def test_full_disk(options: TritonOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_disk(monkeypatch, options.runtime, 10)
    assert "has 10 MB free; make room, or use --var" in only(run(options), "directory")


def test_runtime_directory_that_cannot_be_made(options: TritonOptions, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    findings = run(changed(options, var=tmp_path / "file"))
    message = only([finding for finding in findings if finding.fatal], "directory")
    assert "cannot be written to: Not a directory; choose another with --var" in message


def test_wrong_model(options: TritonOptions) -> None:
    (options.model_repository / "classifier/3/model.onnx").write_bytes(b"other")
    assert "is not the file its manifest describes" in only(run(options), "models")


def test_everything_is_reported_together(options: TritonOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "find_libpython", lambda: None)
    shutil.rmtree(options.model_repository)
    findings = [*run(options), Finding("shared memory", "removed something", fatal=False)]
    with pytest.raises(StartupError) as caught:
        selfcheck.require(findings)
    first, libpython, models = caught.value.message.splitlines()
    assert first == "the server cannot run on this machine as it is:"
    assert libpython.startswith("  libpython: ")
    assert models.startswith("  models: ")


def test_what_is_not_fatal_stops_nothing() -> None:
    selfcheck.require([Finding("shared memory", "removed something", fatal=False)])


def limit_disk(monkeypatch: pytest.MonkeyPatch, directory: Path, megabytes: int) -> None:
    real = shutil.disk_usage

    def usage(path: Path) -> Any:
        return Usage(0, 0, megabytes * 1_000_000) if path == directory else real(path)

    monkeypatch.setattr(shutil, "disk_usage", usage)


def test_a_second_opinion_that_cannot_be_asked_is_told(options: TritonOptions) -> None:
    repository = Path(options.model_repository)
    always = changed(options, second_opinion=Mode.ALWAYS)
    assert "make encoder" in only(run(always), "second opinion")
    (repository / "encoder" / "1").mkdir(parents=True)
    (repository / "encoder" / "1" / ENCODER_FILE).write_text("{")
    assert "encoder.json cannot be read" in only(run(options), "second opinion", fatal=False)
    assert run(changed(options, second_opinion=Mode.OFF)) == []
    graph = repository / "encoder" / "1" / "model.onnx"
    graph.write_bytes(b"half a graph")
    files = {graph.name: "0" * 64}
    Encoder(name="", identity="", features=1, square=0, source="", licence="", files=files).write(graph.parent)
    assert "model.onnx is not the file" in only(run(options), "second opinion", fatal=False)
    (repository / "encoder" / "1" / ENCODER_FILE).unlink()
    (repository / "classifier" / "3" / OPINION_FILE).write_text("{")
    assert "second_opinion.json cannot be read" in only(run(options), "second opinion", fatal=False)


def test_a_newest_version_that_was_fitted_for_another_encoder_is_told(options: TritonOptions) -> None:
    repository = Path(options.model_repository)
    encoder = write_toy_encoder(repository)
    toy_opinion().write(repository / "classifier" / "3")
    assert run(options) == []
    replace(encoder, identity="another").write(repository / "encoder" / "1")
    told = only(run(options), "second opinion", fatal=False)
    assert "classifier/3 was fitted for another encoder" in told
    assert "make encoder" in told
    # A version that serves no longer need not fit.
    (repository / "classifier" / "2").mkdir()
    (repository / "classifier" / "3" / OPINION_FILE).rename(repository / "classifier" / "2" / OPINION_FILE)
    assert run(options) == []
