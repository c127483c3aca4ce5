"""Scrapes every Triton and remembers its last counts."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from veriphoto.errors import ServiceUnavailableError
from veriphoto_monitoring.input.scrape import Counts, Series, fetch, join, read_series, since, to_counts

_log = logging.getLogger(__name__)


class Scraper:
    """Scrapes several servers, each with counters of its own."""

    def __init__(self, urls: Sequence[str], get: Callable[[str], str] = fetch) -> None:
        """Scrapes nothing yet.

        Args:
            urls: URLs of metrics pages.
            get: Fetches a page.
        """
        self.up: dict[str, bool] = {}
        """Whether each server answered the last scrape."""
        self._urls = urls
        self._get = get
        self._before: dict[str, Series] = {}
        self._last: dict[str, float] = {}

    def scrape(self, now: float) -> dict[int, Counts]:
        """Scrapes every server once.

        Args:
            now: Seconds since the epoch.

        Returns:
            The counts since the last scrape, by model version. What a server counted before its first scrape is left
            out, because it is unknown when that was.
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
                # Time must not run backwards if the clock was set back.
                counts.first, counts.last = min(begin, now), now
                found[version].append(counts)
        return {version: join(parts) for version, parts in found.items()}

    def to_json(self) -> dict[str, Any]:
        """Returns the state to keep over a restart."""
        return {"before": self._before, "last": self._last}

    def restore(self, body: Mapping[str, Any]) -> None:
        """Resumes from what ``to_json`` returned."""
        self._before, self._last = dict(body["before"]), dict(body["last"])
