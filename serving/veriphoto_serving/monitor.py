"""Runs the drift monitor beside the server, if it is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from typing import Final

from veriphoto.environment import without_secrets
from veriphoto.errors import MissingExtraError
from veriphoto.second_opinion import MODE_VARIABLE
from veriphoto_serving.child_process import child_process
from veriphoto_serving.triton.options import TritonOptions
from veriphoto_serving.triton.ports import LOOPBACK

_EXTRA: Final = "monitor"
_NEEDS: Final = "scipy"
"""A package that this extra installs and ``serving`` does not."""


@contextlib.contextmanager
def serve_monitor(options: TritonOptions, port: int) -> Iterator[None]:
    """Runs the drift monitor for the duration of a block; if it dies, only the gateway's report on drift suffers.

    Args:
        options: Options of the server that it watches, with resolved ports.
        port: Port to listen on; it may take seconds until it answers at ``drift_url(port)``.

    Raises:
        MissingExtraError: If the extra is not installed.
    """
    if importlib.util.find_spec(_NEEDS) is None:
        raise MissingExtraError(_EXTRA, _NEEDS)
    command = [
        *(sys.executable, "-m", "veriphoto_client", "monitor"),
        f"--triton-metrics=http://{LOOPBACK}:{options.metrics_port}/metrics",
        f"--model-repository={options.model_repository.absolute()}",
        f"--var={options.var.absolute()}",
        f"--host={LOOPBACK}",
        f"--port={port}",
        *([f"--log={options.predictions}"] if options.predictions else []),  # without a log it watches the metrics
    ]
    # Whether the second opinion is asked decides which reference fits the scores; the option may not be a variable.
    environment = {**without_secrets(os.environ), MODE_VARIABLE: options.second_opinion.value}
    with child_process(command, environment, options.var / "monitor.log"):
        yield
