"""``python -m veriphoto_client`` is ``veriphoto``."""

from __future__ import annotations

from veriphoto_client.cli import main

main()
