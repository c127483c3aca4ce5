"""Asks the drift monitor for its report."""

from __future__ import annotations

import time
from typing import Any, Final

import httpx

_REMEMBER_S: Final = 5.0
_PATIENCE_S: Final = 2.0
_BRIEF_S: Final = 0.3


class DriftMonitorClient:
    """The gateway's client of the drift monitor."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Opens no connection yet.

        Args:
            url: Its address, with or without the report's path; empty where there is no monitor, so that none is asked.
            transport: Used instead of the network.
        """
        self._url = url and f"{url.rstrip('/').removesuffix('/drift')}/drift"
        self._http = httpx.AsyncClient(transport=transport, trust_env=False)
        self._state = "away"
        self._asked = float("-inf")

    async def report(self, patience: float = _PATIENCE_S) -> dict[str, Any]:
        """Fetches the report.

        Args:
            patience: Seconds to wait.

        Returns:
            The report with ``state`` added (``ok``, ``drift`` or ``unknown``); without one, ``state``
            ``away`` and a ``detail``.
        """
        if not self._url:
            return {"state": "away", "detail": "this server has no drift monitor; drift is not being watched"}
        try:
            answer = await self._http.get(self._url, timeout=patience)
            body = answer.raise_for_status().json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return {"state": "away", "detail": "the drift monitor does not answer; drift is not being watched"}
        if not isinstance(body, dict):
            return {"state": "unknown", "detail": "what answers there is not the drift monitor"}
        if not isinstance(body.get("drift_detected"), bool):
            return {**body, "state": "unknown", "detail": str(body.get("status") or "no answer yet")}
        return {**body, "state": "drift" if body["drift_detected"] else "ok"}

    async def state(self) -> str:
        """Returns only the state, a few seconds old at most: cheap enough for a health check."""
        if time.monotonic() - self._asked > _REMEMBER_S:
            self._asked = time.monotonic()
            self._state = str((await self.report(_BRIEF_S))["state"])
        return self._state

    async def close(self) -> None:
        """Closes connections."""
        await self._http.aclose()
