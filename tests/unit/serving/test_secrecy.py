"""What others can read of a process that was given keys."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from veriphoto.environment import without_secrets
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.triton.installation import Installation, child_environment

SECRET = "0123456789abcdef"
KEYS = f"shop={SECRET},app={SECRET[::-1]}"
DATABASE = f"postgresql://review:{SECRET}@db/review"
LOOK = """
import os, resource, subprocess
from pathlib import Path
from veriphoto_serving.secrecy import conceal
assert os.environ["VERIPHOTO_API_KEYS"]
conceal()
print(Path("/proc/self/environ").read_text(), Path("/proc/self/cmdline").read_text(), dict(os.environ))
print(subprocess.run(["cat", "/proc/self/environ"], capture_output=True, text=True).stdout)
print("limit", resource.getrlimit(resource.RLIMIT_CORE)[0], "other", os.environ["OTHER"])
print("owner", Path("/proc/self/mem").stat().st_uid)
"""


@pytest.mark.parametrize("option", [[f"--api-keys={KEYS}"], ["--api-keys", KEYS], [f"--review-database={DATABASE}"]])
def test_keys_can_be_read_nowhere(option: list[str]) -> None:
    environment = {
        "VERIPHOTO_API_KEYS": KEYS,
        "VERIPHOTO_API_KEY": SECRET,
        "VERIPHOTO_REVIEW_DATABASE": DATABASE,
        "OTHER": "stays",
    }
    done = subprocess.run(
        [sys.executable, "-c", LOOK, "serve", *option, "--gateway-port=0"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert SECRET not in done.stdout
    assert SECRET[::-1] not in done.stdout
    assert "OTHER=stays" in done.stdout
    assert "--gateway-port=0" in done.stdout
    assert "limit 0 other stays" in done.stdout


def test_a_process_with_keys_leaves_no_core(tmp_path: Path) -> None:
    script = "import ctypes, os\nfrom veriphoto_serving.secrecy import conceal\nconceal()\n"
    script += "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)\nos.abort()"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "0", "PR_GET_DUMPABLE"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "VERIPHOTO_API_KEYS",
        "VERIPHOTO_API_KEY",
        "VERIPHOTO_REVIEW_DATABASE",
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "db_password",
    ],
)
def test_children_inherit_no_secret(name: str) -> None:
    environment = {name: SECRET, "PATH": "/usr/bin", "VERIPHOTO_VARIANT": "auto"}
    assert without_secrets(environment) == {"PATH": "/usr/bin", "VERIPHOTO_VARIANT": "auto"}
    assert SECRET not in child_environment(Installation(binary=Path("/opt/tritonserver")), environment).values()


def test_settings_show_no_key() -> None:
    assert SECRET not in repr(GatewaySettings(api_keys=KEYS, review_database=DATABASE))
