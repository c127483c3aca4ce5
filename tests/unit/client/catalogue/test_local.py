"""Scoring on this machine: the judge of the catalogue scan in processes that may die."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from brightness_model import brightness_repository, draw
from photo_corpus import write_broken

pytest.importorskip("onnxruntime", reason="needs the extra `local`")

from veriphoto.contract import SUFFIXES
from veriphoto.errors import CorruptImageError, ImageError, ModelError, TooCostlyError, UnreadableFileError, UsageError
from veriphoto_client import AsyncDetector, Detection
from veriphoto_client.local import processes as local
from veriphoto_client.local.model import ModelPackage
from veriphoto_client.local.processes import LocalModel, LocalTransport
from veriphoto_client.sdk import asynchronous
from veriphoto_client.sdk.answers import decode_answer

ROOT = Path(__file__).parents[4]
SAMPLES = sorted(path for path in (ROOT / "samples").iterdir() if path.suffix in SUFFIXES)
POISON = draw(99)
LINUX = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes by Linux's /proc")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return brightness_repository(tmp_path_factory.mktemp("models"))


def ask(model: LocalModel, images: list, *, workers: int = 2, timeout: float = 60.0) -> list:
    async def work() -> list:
        transport = LocalTransport(model, workers=workers, timeout=timeout)
        async with AsyncDetector(transport=transport, max_in_flight=2 * workers) as detector:
            return await detector.predict_batch(images)

    return asyncio.run(work())


def test_scores_are_the_judges_own_to_the_last_bit():
    repository = ROOT / "model_repository"
    judge = ModelPackage.read(repository / "classifier", "auto").open()
    some = [*SAMPLES[::4], *{path.suffix: path for path in SAMPLES}.values()]  # each format is among them
    for sample, answer in zip(some, ask(LocalModel.find(repository), some), strict=True):
        own = decode_answer(judge.tensors(sample.read_bytes()))
        assert answer.to_json() == own.to_json()
        assert (answer.evidence == own.evidence).all()


def test_bad_pictures_have_their_own_errors(repository, tmp_path):
    bad = [write_broken(tmp_path / f"{kind}.jpg", kind) for kind in range(10)]
    answers = ask(LocalModel.find(repository), [draw(1), *bad, draw(2)])
    assert [type(answer) is Detection for answer in answers] == [True, *[False] * 10, True]
    assert all(isinstance(answer, ImageError) for answer in answers[1:-1])


def test_files_are_read_where_they_are_scored_whatever_their_names(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(asynchronous, "load", None)  # the SDK's own reading, for servers
    odd = [tmp_path / os.fsdecode(name) for name in (b"a\nb.jpg", b"\xff.jpg", "\N{SNOWMAN}.jpg".encode())]
    for seed, path in enumerate(odd):
        path.write_bytes(draw(seed))
    wrong = [tmp_path / "missing.jpg", tmp_path, "nul\0.jpg", "half\ud800.jpg"]
    answers = ask(LocalModel.find(repository), [*odd, *wrong])
    assert [type(answer) for answer in answers] == [Detection] * len(odd) + [UnreadableFileError] * len(wrong)
    assert f"{tmp_path} is a folder" in answers[4].message


def test_processes_that_decode_pictures_hold_no_secret(repository, monkeypatch):
    monkeypatch.setenv("VERIPHOTO_API_KEY", "c0ffee" * 6)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "decaf" * 8)
    exchange, environments = local._exchange, []

    async def watched(process, order=b""):
        environments.append(Path(f"/proc/{process.pid}/environ").read_bytes())
        return await exchange(process, order)

    monkeypatch.setattr(local, "_exchange", watched)
    assert isinstance(ask(LocalModel.find(repository), [draw(1)], workers=1)[0], Detection)
    assert environments[-1]
    assert not any(secret in each for each in environments for secret in (b"c0ffee", b"decaf"))


def poisoned(monkeypatch: pytest.MonkeyPatch, deaths: int) -> None:
    """Lets a process die each time that it is given the poison, so often."""
    exchange, left = local._exchange, iter(range(deaths))

    async def deadly(process, order=b""):
        if order.endswith(POISON) and next(left, None) is not None:
            process.kill()
        return await exchange(process, order)

    monkeypatch.setattr(local, "_exchange", deadly)


def test_a_picture_that_ends_its_process_twice_gets_the_blame_and_costs_no_other(repository, monkeypatch):
    poisoned(monkeypatch, 2)
    answers = ask(LocalModel.find(repository), [draw(1), POISON, *(draw(seed) for seed in range(8))])
    assert isinstance(answers.pop(1), CorruptImageError)
    assert all(isinstance(answer, Detection) for answer in answers)


def test_a_process_that_dies_once_costs_nothing(repository, monkeypatch):
    poisoned(monkeypatch, 1)
    assert all(isinstance(answer, Detection) for answer in ask(LocalModel.find(repository), [POISON, draw(1)]))


def test_a_picture_that_takes_too_long_is_given_up_and_its_answer_is_nobody_elses(repository):
    async def work() -> None:
        transport = LocalTransport(LocalModel.find(repository), workers=1, timeout=60.0)
        async with AsyncDetector(transport=transport) as detector:
            known = await detector.predict(draw(2, level=200.0))
            transport._timeout = 1e-4
            with pytest.raises(TooCostlyError, match="send a smaller copy"):
                await detector.predict(draw(1, (2000, 2000)))
            transport._timeout = 60.0
            assert (await detector.predict(draw(2, level=200.0))).logit == known.logit
            slow = asyncio.create_task(detector.predict(draw(3, (3000, 3000))))
            await asyncio.sleep(0.02)
            slow.cancel()
            assert (await detector.predict(draw(2, level=200.0))).logit == known.logit

    asyncio.run(work())


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@LINUX
def test_a_scan_that_is_cancelled_twice_prints_no_stack_trace(repository, tmp_path, monkeypatch):
    python = tmp_path / "python"  # whose child holds the pipes for a while longer
    python.write_text(f'#!/bin/sh\nsleep 60 &\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    raised: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda fault: raised.append(f"{fault.exc_value!r}"))

    async def work() -> None:
        transport = LocalTransport(LocalModel.find(repository), workers=1, timeout=60.0)
        await transport.score(draw(1))
        (sleeper,) = children(transport._workers[0]._process.pid)
        asked = asyncio.create_task(transport.score(draw(2, (3000, 3000))))
        for _ in range(2):
            await asyncio.sleep(0.05)
            asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        asyncio.get_running_loop().call_later(0.5, os.kill, sleeper, signal.SIGKILL)
        await transport.close()

    asyncio.run(work())
    gc.collect()
    assert raised == []


@LINUX
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, None])
def test_no_process_outlives_a_scan_however_it_ends(repository, tmp_path, end):
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(400 if end else 5):
        (photos / f"{seed}.jpg").write_bytes(draw(seed, (600, 600)))
    command = [sys.executable, "-m", "veriphoto_client", "scan", str(photos), "-o", str(tmp_path / "out.csv")]
    options = ["--engine", "local", "--workers", "2", "--model-repository", str(repository)]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    found: set[int] = set()
    output = tmp_path / "out.csv"
    while process.poll() is None and not (end and output.exists() and output.read_bytes().count(b"\n") > 10):
        found |= set(children(process.pid))
        time.sleep(0.01)
    if end:
        os.kill(process.pid, end)
    _, err = process.communicate(timeout=30)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130, None: 0}[end], err
    assert "Traceback" not in err
    assert len(found) >= 2
    deadline = time.monotonic() + 10
    while any(map(alive, found)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, found))


def test_what_cannot_be_run_is_said_before_anything_starts(repository, tmp_path):
    with pytest.raises(UsageError, match="--model-repository"):
        LocalModel.find(tmp_path / "nothing")
    with pytest.raises(UsageError, match="one of its versions"):
        LocalModel.find(repository, tmp_path / "nothing")
    with pytest.raises(ModelError, match="no variant"):
        LocalModel.find(repository, variant="fp17")
    assert LocalModel.find(repository, repository / "classifier" / "1").version == 1
