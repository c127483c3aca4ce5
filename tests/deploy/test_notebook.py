"""The notebook runs through, from data to a verdict, on a dozen photos."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deployment import ROOT

NOTEBOOK = ROOT / "notebooks" / "train.ipynb"


def test_it_is_committed_without_what_a_run_left() -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 7
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.timeout(1200)
def test_it_runs_through(tmp_path: Path) -> None:
    pytest.importorskip("nbmake", reason="nbmake is not installed here")
    pytest.importorskip("torch", reason="the extra train is not installed here")
    # In a session of its own: warnings of the kernel's libraries are no errors of this project.
    command = [sys.executable, "-m", "pytest", "--nbmake", "--nbmake-timeout=900", "-q", "-p", "no:cacheprovider"]
    command += ["-o", "filterwarnings=default", "-o", "timeout=1100", str(NOTEBOOK)]
    environment = {**os.environ, "NOTEBOOK_OUTPUT": str(tmp_path / "out"), "NOTEBOOK_DATA": ""}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    made = list((tmp_path / "out" / "model_repository" / "classifier").glob("*/manifest.json"))
    versions = {json.loads(each.read_text("utf-8"))["model_version"] for each in made}
    shipped = list((ROOT / "model_repository" / "classifier").glob("*/manifest.json"))
    assert len(versions) == len(shipped) + 1
    assert (tmp_path / "out" / "evaluation" / "evaluation.html").is_file()
