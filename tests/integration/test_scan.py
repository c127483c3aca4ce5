"""``veriphoto scan`` against a real tritonserver: the accounts balance, also after kill -9."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from gateway_beside import gateway
from photo_corpus import write_corpus
from toy_model import copy_repository, publish_toy

from veriphoto.contract import SUFFIXES
from veriphoto_serving.triton.launcher import TritonServer

ROOT = Path(__file__).parents[2]


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "veriphoto_client", "scan", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=280)
    return process.returncode, err


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The shipped ensemble around a network that costs nothing: what is counted here is files."""
    repository = copy_repository(tmp_path / "models")
    publish_toy(repository, 1)
    return repository


def test_a_thousand_files_of_which_fifty_are_broken_killed_on_the_way(start_triton, repository: Path, tmp_path: Path):
    triton = start_triton(repository)
    sound, broken = write_corpus(tmp_path / "photos", 1000, 50)
    output = tmp_path / "out.csv"
    command = (tmp_path / "photos", "--output", output, "--url", f"http://{triton.http_url}")
    process = start(*command)
    while lines(output) < 200:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    survived = lines(output)

    code, err = finish(start(*command))
    assert code == 1, err
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert survived < len(rows) == 1000
    assert Counter(row["path"] for row in rows) == Counter(sound | broken)
    assert {row["path"] for row in rows if not row["error"]} == sound
    assert sum(1 for row in rows if row["verdict"]) == 950
    assert sum(1 for row in rows if row["error"]) == 50


def test_scan_over_grpc_into_jsonl(triton: TritonServer, tmp_path: Path):
    sound, broken = write_corpus(tmp_path / "photos", 60, 10)
    output = tmp_path / "out.jsonl"
    code, err = finish(start(tmp_path / "photos", "-o", output, "--url", f"grpc://{triton.grpc_url}"))
    assert code == 1, err
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert Counter(row["path"] for row in rows) == Counter(sound | broken)
    assert {row["path"] for row in rows if row["verdict"]} == sound
    assert all(0 <= row["probability"] <= 1 for row in rows if row["verdict"])


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_killed_mid_scan_stops_it_and_a_new_one_finishes_it(
    start_triton, repository: Path, tmp_path: Path, scheme: str
):
    sound, broken = write_corpus(tmp_path / "photos", 800, 40)
    output = tmp_path / "out.csv"

    def command(server: TritonServer) -> tuple[str | Path, ...]:
        address = server.http_url if scheme == "http" else server.grpc_url
        return tmp_path / "photos", "-o", output, "--patience", "1", "--url", f"{scheme}://{address}"

    server = start_triton(repository)
    process = start(*command(server))
    while lines(output) < 30:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.kill(server.pid or 0, signal.SIGKILL)  # asked to stop, it would go on answering on open connections
    code, err = finish(process)
    assert code == 2
    assert "[service_unavailable]" in err
    assert lines(output) < 800

    assert finish(start(*command(start_triton(repository))))[0] == 1
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert Counter(row["path"] for row in rows) == Counter(sound | broken)
    assert {row["path"] for row in rows if not row["error"]} == sound


def test_every_engine_writes_the_same_rows(triton: TritonServer, tmp_path: Path):
    samples = [path for path in (ROOT / "samples").iterdir() if path.suffix in SUFFIXES]
    photos = tmp_path / "photos"
    _, broken = write_corpus(photos, 20, 10)
    for path in samples:
        shutil.copy(path, photos)
    models = ROOT / "model_repository"
    with gateway(triton_url=f"grpc://{triton.grpc_url}", api_keys="test=0123456789abcdef") as url:
        engines = {
            "triton": ("--url", f"http://{triton.http_url}"),
            "gateway": ("--url", url, "--api-key", "0123456789abcdef"),
            "local": ("--engine", "local", "--variant", "fp32", "--model-repository", models),  # as the server here
        }
        tables = {}
        for name, options in engines.items():
            output = tmp_path / f"{name}.csv"
            code, err = finish(start(photos, "-o", output, *options))
            assert code == 1, err
            with output.open(newline="") as file:
                tables[name] = {row["path"]: row for row in csv.DictReader(file)}
    for name in ("gateway", "local"):
        assert set(tables[name]) == set(tables["triton"])
        for path, row in tables["triton"].items():
            other = tables[name][path]
            if row["error"]:
                assert path in broken
                assert other["error"] == row["error"]
                continue
            # Rows have six digits; batches that fall otherwise move the last of them.
            assert float(other["probability"]) == pytest.approx(float(row["probability"]), abs=1.5e-6)
            rest = ("verdict", "confidence", "model_version", "size", "modified")
            assert [other[column] for column in rest] == [row[column] for column in rest]


def test_a_scan_begun_by_one_engine_is_gone_on_with_by_another(triton: TritonServer, tmp_path: Path):
    sound, broken = write_corpus(tmp_path / "photos", 30, 5)
    output = tmp_path / "out.csv"
    local = ("--engine", "local", "--model-repository", ROOT / "model_repository")
    assert finish(start(tmp_path / "photos", "-o", output, *local))[0] == 1
    code, err = finish(start(tmp_path / "photos", "-o", output, "--url", f"http://{triton.http_url}"))
    assert code == 1
    assert "5 again after a failure, 25 unchanged" in err
    with output.open(newline="") as file:
        assert Counter(row["path"] for row in csv.DictReader(file)) == Counter(sound | broken)
