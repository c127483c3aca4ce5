"""The file by which other commands on this machine find a running Triton and the key to its model API.

``veriphoto models promote`` has to tell the server to load a version. The key is made at each start and is in no
environment; this file, readable for its user alone, is where it can be asked for while the server runs.
"""

from __future__ import annotations

import json
import os
from typing import Final

from veriphoto_serving.triton.options import TritonOptions
from veriphoto_serving.triton.ports import LOOPBACK

SERVER_FILE: Final = "server.json"
"""In ``TritonOptions.runtime``; ``veriphoto_release.triton`` reads it."""


def write(options: TritonOptions, pid: int) -> None:
    """Writes the file, whole or not at all.

    Args:
        options: What the server was started with.
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
    """Removes the file; does nothing where there is none."""
    (options.runtime / SERVER_FILE).unlink(missing_ok=True)
