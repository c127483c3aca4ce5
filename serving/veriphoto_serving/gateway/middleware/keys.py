"""Identifies callers by their API keys."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from veriphoto.contract import ANONYMOUS
from veriphoto_serving.gateway.errors import UnauthorizedError


class KeyRing:
    """The known API keys. Only digests are kept, so a memory dump contains no key."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """Computes the digests.

        Args:
            keys: The keys by name; if empty, no key is needed.
        """
        self._digests = {name: _digest(key.encode()) for name, key in keys.items()}

    @property
    def needed(self) -> bool:
        """Whether callers need a key."""
        return bool(self._digests)

    @property
    def names(self) -> frozenset[str]:
        """The keys' names."""
        return frozenset(self._digests)

    def identify(self, shown: bytes | None) -> str:
        """Finds the name of a caller.

        Args:
            shown: The key of the request.

        Returns:
            The key's name, or ``ANONYMOUS`` where none is needed.

        Raises:
            UnauthorizedError: If the key is missing or wrong.
        """
        if not self._digests:
            return ANONYMOUS
        if not shown:
            raise UnauthorizedError("an API key is needed; send it in the header X-API-Key")
        digest = _digest(shown)
        # All keys are compared, each in constant time, so the duration reveals nothing about any key.
        names = [name for name, known in self._digests.items() if hmac.compare_digest(known, digest)]
        if not names:
            raise UnauthorizedError("this API key is not known; check the header X-API-Key")
        return names[0]


def shown_key(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Finds the key among a request's headers: ``X-API-Key``, or ``Authorization: Bearer``."""
    key = headers.get(b"x-api-key")
    if key is not None:
        return key.strip()
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    return credentials.strip() if scheme.lower() == b"bearer" else None


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
