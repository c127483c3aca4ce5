"""The file by which other commands on this machine find a running Triton and the key to its model API.

``veriphoto models promote`` must tell the server to load a version. The key is generated at each start and is in no
environment; while the server runs, its user (and nobody else) can read the key from this file.
"""

from __future__ import annotations

import json
import os

from veriphoto.shared_names import SERVER_FILE
from veriphoto_serving.triton.options import TritonOptions
from veriphoto_serving.triton.ports import LOOPBACK


def write(options: TritonOptions, pid: int) -> None:
    """Writes the file, whole or not at all.

    Args:
        options: The options the server runs with.
        pid: The server's process id.
    """
    body = {
        "http_url": f"{LOOPBACK}:{options.http_port}",
        "admin_key": options.admin_key,
        "model_repository": str(options.model_repository.absolute()),
        "pid": pid,
    }
    fresh = options.runtime / f"{SERVER_FILE}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(body, file)
    fresh.replace(options.runtime / SERVER_FILE)


def remove(options: TritonOptions) -> None:
    """Removes the file if there is one."""
    (options.runtime / SERVER_FILE).unlink(missing_ok=True)
