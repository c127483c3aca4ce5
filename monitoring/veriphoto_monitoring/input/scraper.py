"""Scrapes every Triton and remembers what it counted last time."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from veriphoto.errors import ServiceUnavailableError
from veriphoto_monitoring.input.scrape import Counts, Series, fetch, join, read_series, since, to_counts

_log = logging.getLogger(__name__)


class Scraper:
    """Several servers, each with counters of its own."""

    def __init__(self, urls: Sequence[str], get: Callable[[str], str] = fetch) -> None:
        """Knows nothing yet.

        Args:
            urls: Of metrics pages.
            get: Fetches one.
        """
        self.up: dict[str, bool] = {}
        """Whether each answered last time it was asked."""
        self._urls = urls
        self._get = get
        self._before: dict[str, Series] = {}
        self._last: dict[str, float] = {}

    def scrape(self, now: float) -> dict[int, Counts]:
        """Asks every server once.

        Args:
            now: Seconds since the epoch.

        Returns:
            What was counted since, by model version. What a server counted before it was ever asked is left out: nobody
            knows when that was.
        """
        found: dict[int, list[Counts]] = defaultdict(list)
        for url in self._urls:
            try:
                series = read_series(self._get(url))
            except ServiceUnavailableError as error:
                if self.up.get(url, True):
                    _log.warning("%s", error)
                self.up[url] = False
                continue
            self.up[url] = True
            before, self._before[url] = self._before.get(url), series
            begin, self._last[url] = self._last.get(url, now), now
            if before is None:
                continue
            for version, counts in to_counts(since(series, before)).items():
                # A clock that was set back must not make time run backwards.
                counts.first, counts.last = min(begin, now), now
                found[version].append(counts)
        return {version: join(parts) for version, parts in found.items()}

    def to_json(self) -> dict[str, Any]:
        """Returns what to remember over a restart."""
        return {"before": self._before, "last": self._last}

    def restore(self, body: Mapping[str, Any]) -> None:
        """Takes up what ``to_json`` wrote."""
        self._before, self._last = dict(body["before"]), dict(body["last"])
