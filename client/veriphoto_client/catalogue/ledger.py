"""Decides which unit scores which bytes, if equal bytes are to be scored only once."""

from __future__ import annotations

from enum import Enum

from veriphoto_client.scan.rows import Row


class Claim(Enum):
    """What a unit should do with bytes that have no score yet."""

    YOURS = "score them and tell"
    WAIT = "another unit is scoring them"


class Ledger:
    """Claims and scores by sha256, for a whole scan; takes about 400 bytes per distinct photo."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._rows: dict[str, Row] = {}

    def ask(self, sha256: str, owner: str, *, insist: bool = False) -> Row | Claim:
        """Asks for the score of some bytes.

        Args:
            sha256: Hash of the bytes.
            owner: The unit that asks. A unit that is repeated gets its own claims back.
            insist: Whether to take the claim over from a unit that does not seem to finish.

        Returns:
            The score as a row without a path, or what to do instead.
        """
        if sha256 in self._rows:
            return self._rows[sha256]
        if insist or self._owners.setdefault(sha256, owner) == owner:
            self._owners[sha256] = owner
            return Claim.YOURS
        return Claim.WAIT

    def tell(self, rows: dict[str, Row]) -> None:
        """Stores scores by sha256."""
        for sha256, row in rows.items():
            self._rows[sha256] = row
            self._owners.pop(sha256, None)
