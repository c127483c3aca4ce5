"""Veriphoto's client: ``Detector`` and ``AsyncDetector`` ask the server, the ``veriphoto`` command wraps them.

Only what this module names is public. Errors come from ``veriphoto.errors``, whose docstring draws their tree; verdicts
from ``veriphoto.verdict``. Importing this module needs neither tritonclient nor a server.
"""

from __future__ import annotations

from veriphoto_client._async import AsyncDetector
from veriphoto_client._detection import Detection, Health
from veriphoto_client._fake import FakeTransport
from veriphoto_client._images import ImageInput
from veriphoto_client._sync import Detector
from veriphoto_client._transports import Transport

__all__ = ["AsyncDetector", "Detection", "Detector", "FakeTransport", "Health", "ImageInput", "Transport"]
