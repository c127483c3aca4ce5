"""``veriphoto scan``: scores folders, one row per file found, written as they come, resumable at any point."""

from __future__ import annotations

from veriphoto_client.scan.job import ScanOptions, scan
from veriphoto_client.scan.report import ScanReport

__all__ = ["ScanOptions", "ScanReport", "scan"]
