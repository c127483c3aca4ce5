"""Veriphoto's base: the contract, preprocessing, manifest, verdict and errors that every other part shares."""

from __future__ import annotations

__version__ = "1.0.0"
