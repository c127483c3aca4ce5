"""Sessions hold what inference needs, not what loading took."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from veriphoto.manifest import ONNX_FILE, latest_version
from veriphoto.sessions import PROCESS_ENVIRONMENT

REPOSITORY = Path(__file__).parents[3] / "model_repository"

MEASURE = """
import sys, onnxruntime
from pathlib import Path
from veriphoto.sessions import open_session

def held():
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024

before = held()
session = open_session(Path(sys.argv[1]))
print(held() - before)
"""


def test_loading_leaves_little_more_than_the_weights() -> None:
    """In the memory settings of a server's stubs, under which glibc would keep twice the weights besides."""
    graph = latest_version(REPOSITORY / "classifier") / ONNX_FILE
    environment = {**os.environ, **PROCESS_ENVIRONMENT}
    argv = [sys.executable, "-c", MEASURE, str(graph)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) < 2 * graph.stat().st_size
