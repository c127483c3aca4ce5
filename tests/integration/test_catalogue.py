"""``veriphoto scan --engine ray`` on real Ray: one machine, two nodes of which one is killed, and a real S3 server."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from photo_corpus import picture, write_corpus
from toy_model import SAMPLES, copy_repository, publish_toy

pytest.importorskip("ray", reason="needs the extra `ray`")

from pyarrow import csv, dataset, fs, table

from veriphoto_client import Detector
from veriphoto_client.catalogue.rows import SCHEMA
from veriphoto_client.sources import storage
from veriphoto_client.sources.listing import inputs
from veriphoto_client.sources.places import place
from veriphoto_serving.triton.launcher import TritonServer
from veriphoto_serving.triton.ports import free_ports

pytestmark = pytest.mark.timeout(600)
PATIENCE_S = 280.0


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "veriphoto_client", "scan", "--engine", "ray", *map(str, arguments)]
    return subprocess.Popen(
        command, env={**os.environ, "COLUMNS": "300", **environment}, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, err


def rows_of(output: str | Path) -> list[dict[str, Any]]:
    at = place(str(output))
    rows: list[dict[str, Any]] = (
        dataset.dataset(at.path, filesystem=at.system, format="parquet", schema=SCHEMA).to_table().to_pylist()
    )
    return rows


def parts(output: str | Path) -> set[str]:
    return {name for name in storage.files(place(str(output)), recursive=True) if "/part-" in name}


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that costs nothing: what is counted here is rows."""
    repository = copy_repository(tmp_path_factory.mktemp("models") / "repository")
    return publish_toy(repository, 1)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A real S3 server on HTTP, known to the nodes of the cluster as any store would be: by the environment."""
    pytest.importorskip("moto", reason="needs moto and flask, of the development tools")
    (port,) = free_ports(1)
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        until(lambda: _listens(port), server)
        fs.FileSystem.from_uri("s3://catalogue/?allow_bucket_creation=true")[0].create_dir("catalogue")
        yield "s3://catalogue"
    server.kill()
    server.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.fixture(scope="module")
def cluster(bucket: str) -> Iterator[Any]:
    """A cluster whose head has one core; tests add nodes."""
    from ray._private import node, services  # noqa: PLC0415
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setattr(services, "get_node", patiently(services.get_node))
        patch.setattr(node.Node, "start_ray_processes", naming_ports(node.Node.start_ray_processes))
        running = Cluster(initialize_head=True, head_node_args=node_options())
        yield running
        running.shutdown()


PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def node_options() -> dict[str, Any]:
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    return {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False, **ports}


def naming_ports(start_processes: Callable[[Any], None]) -> Callable[[Any], None]:
    """A raylet dies where its agents take more than seconds to tell it their ports, as on a busy machine they do."""

    def start_ray_processes(self: Any) -> None:
        for name in PORTS:
            Path(self._session_dir, f"{name}_{self._node_id}").write_text(str(getattr(self._ray_params, name)))
        start_processes(self)

    return start_ray_processes


def patiently(get_node: Callable[..., Any]) -> Callable[..., Any]:
    """Ray gives a node half a minute to start, whatever else the machine does."""

    def get(*arguments: Any) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    return get


def test_the_scores_are_those_of_the_server(triton: TritonServer, tmp_path: Path):
    code, err = finish(start(Path(SAMPLES[0]).parent, "-o", tmp_path / "out", "--workers", "1"))
    assert code in (0, 1), err
    rows = {row["path"]: row for row in rows_of(tmp_path / "out")}
    with Detector(f"http://{triton.http_url}") as detector:
        for sample in SAMPLES:
            served, row = detector.predict(sample).verdict, rows.pop(str(sample))
            assert row["probability"] == pytest.approx(served.probability, abs=2e-6)
            assert (row["verdict"], row["confidence"]) == (served.verdict, served.confidence)
            assert row["model_version"] == served.model_version
    assert not rows  # what is no picture was walked past


def test_a_node_killed_on_the_way_loses_nothing_and_doubles_nothing(cluster: Any, toy: Path, tmp_path: Path):
    sound, broken = write_corpus(tmp_path / "photos", 1500, 60)
    node = cluster.add_node(**node_options())
    output = tmp_path / "out"
    options = ("--model", toy, "--rows-per-file", 20, "--workers", 2, "--ray-address", cluster.address)
    process = start(tmp_path / "photos", "-o", output, *options)
    until(lambda: len(parts(output)) >= 5 and _scorers(node), process)
    assert len(parts(output)) < 75
    cluster.remove_node(node, allow_graceful=False)

    code, err = finish(process)
    assert code == 1, err
    rows = rows_of(output)
    assert Counter(row["path"] for row in rows) == Counter(sound | broken)
    assert {row["path"] for row in rows if not row["error"]} == sound
    assert "  scored:   1440 (" in err
    assert f"  failed:   60 (reasons under 'error' in {output})\n" in err


def _scorers(node: Any) -> list[int]:
    """Processes of a node that score."""
    (raylet,) = node.all_processes["raylet"]
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == raylet.process.pid and b"MapWorker" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def test_s3_to_s3_killed_and_gone_on_with(bucket: str, cluster: Any, toy: Path, tmp_path: Path):
    bytes_of = [picture(seed) for seed in range(40)]
    uris = [f"{bucket}/photos/shop {number % 3}/{number}.jpg" for number in range(300)]
    for number, uri in enumerate(uris):
        storage.put(place(uri), bytes_of[number % 40])
    assert sorted(found.path for found in inputs(f"{bucket}/photos")) == sorted(uris)
    gone, away = f"{bucket}/photos/gone.jpg", "http://127.0.0.1:9/photo.jpg"
    listing = io.BytesIO()
    csv.write_csv(table({"uri": [gone, *uris, uris[0], away]}), listing)
    storage.put(place(f"{bucket}/list.csv"), listing.getvalue())

    output = f"{bucket}/out"
    options = ("--model", toy, "--rows-per-file", 10, "--ray-address", cluster.address, "--tries", 3, "--deduplicate")
    process = start(f"{bucket}/list.csv", "-o", output, *options)
    until(lambda: len(parts(output)) >= 5, process)
    process.send_signal(signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    before = _tags(output)
    assert 5 <= len(before) < 31

    code, err = finish(start(f"{bucket}/list.csv", "-o", output, *options))
    assert code == 1, err
    rows = {row["path"]: row for row in rows_of(output)}
    assert len(rows_of(output)) == len(rows) == 302
    assert set(rows) == {*uris, gone, away}
    assert {path for path, row in rows.items() if row["error"]} == {gone, away}
    assert (rows[gone]["retries"], rows[away]["retries"]) == (0, 2)
    assert "cannot be read" in rows[away]["error"]
    # Nothing that was written is written again, but for the first part: it holds a row that failed.
    kept = {path: tag for path, tag in before.items() if not path.endswith("shard=00000/part-00000.parquet")}
    assert kept.items() <= _tags(output).items()
    first = Counter(row["sha256"] for row in rows.values() if not row["duplicate"] and row["sha256"])
    assert max(first.values()) == 1  # of equal bytes, one was scored
    assert len({row["sha256"] for row in rows.values() if row["sha256"]}) == 40

    code, err = finish(start(f"{bucket}/list.csv", "-o", output, *options))
    assert "  files:    2 again after a failure, 300 unchanged\n" in err
    assert code == 1


def test_a_scan_of_s3_run_again_scores_what_failed_or_changed_where_it_stands(bucket: str, cluster: Any, toy: Path):
    source, output = f"{bucket}/again", f"{bucket}/again out"
    for number in range(12):
        storage.put(place(f"{source}/{number}.jpg"), picture(number) if number % 4 else b"broken")
    storage.put(place(f"{source}/notes.txt"), b"no picture")
    options = ("--model", toy, "--rows-per-file", 4, "--workers", 1, "--ray-address", cluster.address)
    code, err = finish(start(source, "-o", output, *options))
    assert code == 1, err
    assert "  files:    12 new, 1 skipped (no pictures)\n" in err
    before = {row["path"]: row for row in rows_of(output)}
    assert all(row["size"] and row["modified"] for row in before.values())
    time.sleep(1.1)  # stores count in seconds
    for number in (0, 4, 8, 1):
        storage.put(place(f"{source}/{number}.jpg"), picture(20 + number))
    code, err = finish(start(source, "-o", output, *options))
    assert code == 0, err
    assert "  files:    3 again after a failure, 1 changed, 8 unchanged, 1 skipped (no pictures)\n" in err
    after = {row["path"]: row for row in rows_of(output)}
    changed = {f"{source}/{number}.jpg" for number in (0, 4, 8, 1)}
    assert {path for path, row in after.items() if row != before[path]} == changed
    assert len(rows_of(output)) == 12
    code, err = finish(start(source, "-o", output, "--force", *options))
    assert "  files:    12 forced, 1 skipped (no pictures)\n" in err
    assert code == 0


def _tags(output: str) -> dict[str, Any]:
    at = place(output)
    entries = at.system.get_file_info(fs.FileSelector(at.path, recursive=True))
    return {entry.path: (entry.mtime_ns, entry.size) for entry in entries if "/part-" in entry.path}


def test_another_model_does_not_go_on_with_the_rows_of_the_first(toy: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_scan.json").write_text('{"schema": 1, "model_sha256": "another", "precision": ""}')
    code, err = finish(start(Path(SAMPLES[0]).parent, "-o", tmp_path / "out", "--model", toy))
    assert code == 2
    assert "another model" in err
