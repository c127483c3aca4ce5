"""Exit codes of the client's commands."""

from __future__ import annotations

from typing import Final

SOME_FAILED: Final = 1
INTERRUPTED: Final = 130
"""The code that shells report for Ctrl-C."""
