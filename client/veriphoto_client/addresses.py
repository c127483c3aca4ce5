"""Addresses that people name."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def split_address(url: str, *schemes: str) -> SplitResult | None:
    """Splits an address.

    Args:
        url: What was named.
        schemes: Those allowed, such as ``http``.

    Returns:
        Its parts; None where it has another scheme, no host or no possible port.
    """
    try:
        parts = urlsplit(url)
        return parts if parts.scheme in schemes and parts.hostname and parts.port != 0 else None
    except ValueError:
        return None
