"""Rows as a scan writes them, and databases to bring them into."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from veriphoto_review.cases.store import CaseStore
from veriphoto_review.database.connection import Database
from veriphoto_review.intake.files import batches
from veriphoto_review.intake.importing import Imported, ImportOptions, import_batches

NOVEMBER = 1_793_800_000.0  # 2026-11-04


def row(number: int, verdict: str = "ai_generated", probability: float = 0.9, **more: Any) -> dict[str, Any]:
    return {
        "path": f"photos/{number:05}.jpg",
        "verdict": verdict,
        "probability": probability,
        "confidence": "high",
        "model_version": 1,
        "sha256": f"{number:064x}",
        "seen_at": NOVEMBER,
        **more,
    }


def bring(database: Database, folder: Path, rows: list[Any], **options: Any) -> Imported:
    """Imports rows by way of a real file."""
    file = folder / f"rows-{len(list(folder.glob('rows-*')))}.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return import_batches(database, batches(str(file)), ImportOptions(**options))


def as_seen(store: CaseStore, numbers: Sequence[int]) -> dict[int, float | None]:
    """When cases were decided, for somebody who looks at them now."""
    return {number: store.get(number).decided_at for number in numbers}


def postgresql_bin() -> Path | None:
    """Debian keeps the server's programs out of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    named = shutil.which("initdb")
    return found[-1].parent if found else Path(named).parent if named else None


@contextlib.contextmanager
def postgresql(programs: Path) -> Iterator[str]:
    """A cluster of its own on a free port, by a user that may run one: PostgreSQL refuses root."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="veriphoto-pg-"))
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    owner = "postgres" if user else pwd.getpwuid(os.geteuid()).pw_name
    if user:
        shutil.chown(folder, "postgres")
    data = folder / "data"
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off -c max_connections=30"

    def call(*words: str | Path) -> None:
        with (folder / "calls.log").open("ab") as log:  # a pipe would be kept open by the server
            subprocess.run([*user, *map(str, words)], check=True, stdout=log, stderr=log, cwd="/", timeout=120)

    try:
        call(programs / "initdb", "-D", data, "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C.UTF-8")
        call(programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        try:
            yield f"postgresql://{owner}@127.0.0.1:{port}"
        finally:
            call(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
