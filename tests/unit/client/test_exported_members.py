"""What others may import from the client; a change here is a change of the public interface."""

from __future__ import annotations

import inspect
import subprocess
import sys

import veriphoto_client
from veriphoto_client import AsyncDetector, Detector


def test_public_names_are_these():
    assert veriphoto_client.__all__ == [
        "AsyncDetector",
        "Detection",
        "Detector",
        "FakeTransport",
        "Health",
        "ImageInput",
        "Transport",
    ]
    assert all(hasattr(veriphoto_client, name) for name in veriphoto_client.__all__)


def test_both_detectors_offer_the_same():
    def offers(kind: type) -> dict[str, list[str]]:
        methods = ("__init__", "predict", "predict_batch", "feedback", "health", "close")
        return {name: list(inspect.signature(getattr(kind, name)).parameters) for name in methods}

    assert offers(Detector) == offers(AsyncDetector)


def test_importing_the_client_loads_no_network_library():
    code = "import sys, veriphoto_client; print({'tritonclient', 'grpc', 'aiohttp', 'gevent'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"
