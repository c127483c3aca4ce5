"""Veriphoto's client: ``Detector`` and ``AsyncDetector`` ask the server, the ``veriphoto`` command wraps them.

Only what this module names is public. Errors come from ``veriphoto.errors``, whose docstring draws their tree; verdicts
from ``veriphoto.verdict``. Importing this module needs neither tritonclient nor a server.
"""

from __future__ import annotations

from veriphoto_client.sdk.asynchronous import AsyncDetector
from veriphoto_client.sdk.detection import Detection, Health
from veriphoto_client.sdk.fake import FakeTransport
from veriphoto_client.sdk.images import ImageInput
from veriphoto_client.sdk.synchronous import Detector
from veriphoto_client.triton.transport import Transport

__all__ = ["AsyncDetector", "Detection", "Detector", "FakeTransport", "Health", "ImageInput", "Transport"]
