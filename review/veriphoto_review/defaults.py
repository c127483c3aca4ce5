"""Defaults that the command line shares with what it runs, which takes longer to import."""

from __future__ import annotations

from typing import Final

AUDIT_SHARE: Final = 0.02
"""Share of what was called real that a person looks at."""
