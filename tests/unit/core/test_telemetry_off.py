"""No library reports to its makers: ONNX Runtime keeps its queue of events below the home directory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from benchmarks.servers import ROOT

GRAPH = ROOT / "model_repository" / "classifier" / "1" / "model.onnx"


@pytest.mark.parametrize("module", ["veriphoto.sessions", "veriphoto_export.parity", "veriphoto_client.cli"])
def test_onnxruntime_queues_no_events(module, tmp_path):
    run = f"import {module}, onnxruntime; onnxruntime.InferenceSession({str(GRAPH)!r})"
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", run], env=kept | {"HOME": str(tmp_path)}, check=True)
    assert not list(tmp_path.rglob("*onnxruntime*"))
