"""Veriphoto's Python client: ``Detector``, and ``AsyncDetector`` for asyncio.

Only the names in this module are public. Errors come from ``veriphoto.errors``, whose docstring draws their tree, and
verdicts from ``veriphoto.verdict``. Importing this module needs neither tritonclient nor a server.
"""

from __future__ import annotations

from veriphoto_client.sdk.asynchronous import AsyncDetector
from veriphoto_client.sdk.detection import Detection, Health
from veriphoto_client.sdk.fake import FakeTransport
from veriphoto_client.sdk.images import ImageInput
from veriphoto_client.sdk.synchronous import Detector
from veriphoto_client.triton.transport import Transport

__all__ = ["AsyncDetector", "Detection", "Detector", "FakeTransport", "Health", "ImageInput", "Transport"]
