from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from veriphoto_serving.gateway.health.process_watch import ProcessWatch
from veriphoto_serving.gateway.health.workers import Snapshot, Worker, stubs, survey

from .conftest import wait_for

# Starts a process that looks like a stub for each line it reads: the instance's name is in its place.
SERVER = """
import subprocess, sys
for line in sys.stdin:
    words = ["triton_python_backend_stub", "-c", "import time; time.sleep(60)", *"12345", line.strip()]
    subprocess.Popen(words, executable=sys.executable)
"""


class Server:
    """A process that starts stubs when it is told to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, text=True)

    async def start(self, instance: str) -> None:
        before = len(stubs(self.process.pid))
        assert self.process.stdin is not None
        self.process.stdin.write(f"{instance}\n")
        self.process.stdin.flush()
        await wait_for(lambda: len(stubs(self.process.pid)) > before)

    def kill(self, instance: str) -> None:
        """Kills the oldest stub of an instance."""
        os.kill(min(pid for pid, name in stubs(self.process.pid).items() if name == instance), signal.SIGKILL)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    for pid in stubs(running.process.pid):
        os.kill(pid, signal.SIGKILL)
    running.process.kill()
    running.process.wait()
    with contextlib.suppress(BrokenPipeError):
        running.process.stdin.close()  # type: ignore[union-attr]


@pytest.fixture
async def alarms(server: Server) -> list[str]:
    return []


@pytest.fixture
async def watch(server: Server, alarms: list[str]) -> ProcessWatch:
    for instance in ("preprocess_0_0", "classifier_0_0"):
        await server.start(instance)
    watching = ProcessWatch(alarms.append, lambda instance: alarms.append(f"{instance} is stuck"))
    watching.watch(server.process.pid)
    await wait_for(lambda: len(watching._watched) == 3)
    yield watching
    watching.close()


async def test_the_death_of_a_stub_is_noticed_at_once(server: Server, watch: ProcessWatch, alarms: list[str]) -> None:
    server.kill("classifier_0_0")
    await wait_for(lambda: bool(alarms), 1.0)
    assert alarms == ["the process of classifier_0_0 has ended"]


async def test_the_death_of_the_server_is_noticed_at_once(
    server: Server, watch: ProcessWatch, alarms: list[str]
) -> None:
    for pid in stubs(server.process.pid):
        os.kill(pid, signal.SIGSTOP)  # they outlive it a while, as Triton's do
    found = stubs(server.process.pid)
    server.process.kill()
    await wait_for(lambda: bool(alarms), 1.0)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    assert alarms == ["the server's process has ended"]


@pytest.mark.parametrize("instance", ["preprocess_0_0", ""])
async def test_what_stands_still_is_noticed(
    server: Server, watch: ProcessWatch, alarms: list[str], instance: str
) -> None:
    process = next((pid for pid, name in stubs(server.process.pid).items() if name == instance), server.process.pid)
    os.kill(process, signal.SIGSTOP)
    await wait_for(lambda: bool(alarms), 4.0)
    os.kill(process, signal.SIGCONT)
    assert alarms[0] == (f"{instance} is stuck" if instance else "the server's process was stopped")


async def at_rest(server: Server) -> Snapshot:
    """Waits until the processes have started, which takes seconds on a busy machine."""
    for _ in range(40):
        before = Snapshot(3, survey(server.process.pid))
        await asyncio.sleep(0.5)
        if Snapshot(3, survey(server.process.pid)).since(before) == "idle":
            break
    return Snapshot(3, survey(server.process.pid))


async def test_who_computes_is_told_from_who_waits(server: Server) -> None:
    await server.start("preprocess_0_0")
    server.process.stdin.write("classifier_0_0\n")  # type: ignore[union-attr]
    server.process.stdin.flush()  # type: ignore[union-attr]
    await wait_for(lambda: len(stubs(server.process.pid)) == 2)
    before = await at_rest(server)
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        await asyncio.sleep(0.5)
        now = Snapshot(3, survey(server.process.pid))
        assert now.since(before) == "idle"
        workers = {**survey(server.process.pid), burner.pid: Worker("preprocess_0_0", 0.0, "S")}
        later = {
            **survey(server.process.pid),
            burner.pid: replace(survey(burner.pid)[burner.pid], instance="preprocess_0_0"),
        }
        assert Snapshot(3, later).working(Snapshot(3, workers, at=now.at)) == {"preprocess"}
        assert Snapshot(4, later).since(Snapshot(3, workers)) == "answers"
        assert Snapshot(None).since(Snapshot(None)) is None
    finally:
        burner.kill()
        burner.wait()


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel does not tell who waits")
def test_who_is_kept_from_computing_is_told_from_who_sleeps() -> None:
    """Three processes on one core: one has nearly all of it, one would compute, one wakes up now and then."""

    def start(code: str, nice: int) -> subprocess.Popen[bytes]:
        head = f"import os, time\nos.sched_setaffinity(0, [{min(os.sched_getaffinity(0))}])\nos.nice({nice})\n"
        return subprocess.Popen([sys.executable, "-S", "-c", head + code])

    others, busy = start("while True: pass", 0), start("while True: pass", 10)
    sleepy = start("while True: time.sleep(0.05)", 10)

    def look() -> Snapshot:  # by the threads alone
        names = {busy.pid: "preprocess_0_0", sleepy.pid: "recorder_0_0"}
        return Snapshot(3, {pid: Worker(name, 0.0, "S", survey(pid)[pid].threads) for pid, name in names.items()})

    try:
        for _ in range(8):  # they take their time to start
            before = look()
            time.sleep(2.0)
            now = look()
            if working := now.working(before):
                break
        assert working == {"preprocess"}
        assert now.granted(before) < 0.5 * (now.at - before.at)
    finally:
        for process in (others, busy, sleepy):
            process.kill()
            process.wait()


async def test_a_version_swap_is_no_death(server: Server, watch: ProcessWatch, alarms: list[str]) -> None:
    await server.start("classifier_0_0")
    server.kill("classifier_0_0")
    await wait_for(lambda: len(stubs(server.process.pid)) == 2)
    with pytest.raises(TimeoutError):
        await wait_for(lambda: bool(alarms), 0.3)

    watch.watch(server.process.pid)
    await wait_for(lambda: len(watch._watched) == 3)
    server.kill("classifier_0_0")
    await wait_for(lambda: bool(alarms), 1.0)
