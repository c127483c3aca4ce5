"""Answers by picture: marketplaces see the same photo often, and the network says the same about it each time.

* The key is a keyed hash of the file, with a key made at each start and kept nowhere: neither pictures nor hashes that
  could be looked up elsewhere lie in memory, and nothing lies on disk.
* An answer is given again only while the version that made it is the one served: Triton is asked each time, after the
  request came in (``cache_versions``). A swap empties the cache.
* Memory is bounded; the answers not asked for longest go first.

Test pictures never come through here. Off by default: a fast answer tells a caller that somebody has sent the same
picture before, and pictures answered from here do not reach the prediction log.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from veriphoto_client import Detection

ENTRY_BYTES: Final = 6000
"""What one answer takes in memory at most, its place in the table included; a test measures it."""

_MEGA: Final = 1_000_000
_HASH_APART: Final = 1_000_000
"""Files larger than this are hashed on a thread: a millisecond is long for an event loop."""


class AnswerCache:
    """Remembers answers of one version, on one event loop."""

    def __init__(
        self,
        megabytes: int,
        is_served: Callable[[int], Awaitable[bool]],
        observe: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Makes an empty one.

        Args:
            megabytes: How much memory answers may take.
            is_served: Tells whether a version is the one that answers now.
            observe: Told of each ``hit``, ``miss`` and ``stale``, for metrics.
        """
        self._most = max(1, megabytes * _MEGA // ENTRY_BYTES)
        self._is_served = is_served
        self._observe = observe
        self._secret = secrets.token_bytes(32)
        self._version = 0
        self._answers: OrderedDict[bytes, Detection] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    async def key(self, data: bytes) -> bytes:
        """Returns the key of a file: 16 bytes, other ones after each start."""
        if len(data) > _HASH_APART:
            return await asyncio.to_thread(self._hash, data)
        return self._hash(data)

    async def find(self, key: bytes) -> Detection | None:
        """Looks for an answer that the version served now has given.

        Args:
            key: Of the picture.

        Returns:
            The answer, or None.
        """
        if key not in self._answers:
            self._observe("miss")
            return None
        version = self._version
        served = await self._is_served(version)
        # While we asked, somebody else may have learnt of a newer version.
        found = self._answers.get(key)
        if not served:
            if version == self._version:
                self._answers.clear()
            found = None
        if found is None or found.verdict.model_version != version:
            self._observe("stale")
            return None
        self._answers.move_to_end(key)
        self._observe("hit")
        return found

    def keep(self, key: bytes, detection: Detection) -> None:
        """Remembers an answer. One of a newer version drops all others; one of an older version is not kept.

        Args:
            key: Of the picture.
            detection: What Triton has just said.
        """
        version = detection.verdict.model_version
        if version < self._version:
            return
        if version > self._version:
            self._answers.clear()
            self._version = version
        self._answers[key] = detection
        self._answers.move_to_end(key)
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def _hash(self, data: bytes) -> bytes:
        return hashlib.blake2b(data, digest_size=16, key=self._secret).digest()
