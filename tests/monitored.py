"""A drift monitor's directories, and the metrics page of a Triton for it to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drift_traffic import reference

from veriphoto.errors import ServiceUnavailableError
from veriphoto.prediction_log.metrics import HISTOGRAMS, IMAGE_FORMATS, VERDICTS
from veriphoto.prediction_log.record import Record
from veriphoto_monitoring.drift.monitor import DriftMonitor
from veriphoto_monitoring.drift.store import Store
from veriphoto_monitoring.input.scraper import Scraper
from veriphoto_monitoring.reference import baseline
from veriphoto_monitoring.reference.sources import Sources
from veriphoto_monitoring.stats.budget import Budget

NOW = 1_760_100_000.0
URL = "http://triton:8002/metrics"


class Page:
    """A Triton's metrics page, which counts as the recorder counts."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.down = False

    def get(self, _: str) -> str:
        if self.down:
            raise ServiceUnavailableError("down")
        lines = []
        for field, (name, _text, bounds) in HISTOGRAMS.items():
            values = np.array(
                [
                    getattr(one, field) if field in ("logit", "probability") else one.statistic(field)
                    for one in self.records
                ]
            )
            lines.append(f"# TYPE {name} histogram")
            for bound in [*bounds, float("inf")]:
                le = "+Inf" if bound == float("inf") else f"{bound:.6f}"
                lines.append(f'{name}_bucket{{model_version="1",le="{le}"}} {int((values <= bound).sum())}')
            lines.append(f'{name}_sum{{model_version="1"}} {values.sum()}')
            lines.append(f'{name}_count{{model_version="1"}} {len(values)}')
        for name, label, found in (
            (VERDICTS, "verdict", [one.verdict for one in self.records]),
            (IMAGE_FORMATS, "format", [("jpeg", "png", "webp")[int(one.statistic("format"))] for one in self.records]),
        ):
            lines.append(f"# TYPE {name} counter")
            lines += [
                f'{name}{{model_version="1",{label}="{one}"}} {found.count(one)}'
                for one in ("real", "ai_generated", "unsure", "jpeg", "png", "webp")
                if (one in ("jpeg", "png", "webp")) == (label == "format")
            ]
        return "\n".join(lines) + "\n"


class Place:
    """Directories of one monitor, which can be opened again and again."""

    def __init__(self, root: Path) -> None:
        self.log, self.state, self.page = root / "log", root / "state", Page()
        baseline.write(self.state / "baseline.json", reference())

    def open(self) -> DriftMonitor:
        sources = Sources(self.state / "baseline.json", self.state / "models")
        store = Store(self.state / "monitor.sqlite")
        return DriftMonitor(store, self.log, sources, Budget(), Scraper([URL], self.page.get))


def finish(monitor: DriftMonitor) -> DriftMonitor:
    while not monitor.work():
        pass
    return monitor
