"""Veriphoto's base: the contract, preprocessing, manifest, verdict and errors that every other part shares."""

from __future__ import annotations

import os

__version__ = "1.0.0"

# ONNX Runtime collects usage events for its makers, and reads this as it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
