"""The log's numbers as Prometheus metrics of the server, for monitors that can scrape it but not read its disk.

Written against Triton's ``MetricFamily``, which is passed in: nothing of Triton is imported. Each observation is a
message to the server and takes about 15 microseconds, so a background thread makes them. Only numbers of a request
are exported, and labels are bounded: some 200 series for each of the ``VERSIONS`` newest model versions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, get_args

from veriphoto.contract import FORMATS
from veriphoto.prediction_log.record import Record
from veriphoto.verdict import Label

VERSION_LABEL: Final = "model_version"
VERDICTS: Final = "veriphoto_image_verdicts_total"
"""Counter by model version and ``verdict``."""
IMAGE_FORMATS: Final = "veriphoto_image_formats_total"
"""Counter by model version and ``format``."""
SECOND_OPINIONS: Final = "veriphoto_image_second_opinions_total"
"""Counter by model version and ``asked``: ``yes`` or ``no``."""
LINES: Final = "veriphoto_prediction_log_lines_total"
"""Counter of lines written."""
DROPPED: Final = "veriphoto_prediction_log_dropped_lines_total"
"""Counter by ``reason``: ``full``, the disk does not keep up; ``invalid``, the tensors were no answer."""

VERSIONS: Final = 3
"""Number of model versions with series; those of older versions are removed."""

_ASKED: Final = ("no", "yes")
_SIDES: Final = (128.0, 256.0, 384.0, 512.0, 768.0, 1024.0, 1280.0, 1600.0, 2048.0, 3072.0, 4096.0, 8192.0)
_GREYS: Final = tuple(16.0 * step for step in range(1, 16))

HISTOGRAMS: Final[Mapping[str, tuple[str, str, tuple[float, ...]]]] = MappingProxyType(
    {
        "probability": (
            "veriphoto_image_probability",
            "Calibrated probability that a picture is AI-generated.",
            tuple(step / 20.0 for step in range(1, 20)),
        ),
        "logit": ("veriphoto_image_logit", "Its logit.", tuple(0.5 * step for step in range(-12, 13))),
        "width": ("veriphoto_image_width_pixels", "Width of scored pictures.", _SIDES),
        "height": ("veriphoto_image_height_pixels", "Height of scored pictures.", _SIDES),
        "bytes": (
            "veriphoto_image_size_bytes",
            "Size of scored files.",
            (4e3, 8e3, 1.6e4, 3.2e4, 6.4e4, 1.28e5, 2.56e5, 5.12e5, 1.024e6, 2.048e6, 4.096e6, 8.192e6),
        ),
        "jpeg_quality": (
            "veriphoto_image_jpeg_quality",
            "Estimated IJG quality, 1 to 100; 0 where it is no JPEG.",
            (0.0, 30.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 88.0, 90.0, 92.0, 94.0, 96.0, 98.0),
        ),
        "brightness": ("veriphoto_image_brightness", "Mean luma, 0 to 255.", _GREYS),
        "contrast": (
            "veriphoto_image_contrast",
            "Deviation of luma, 0 to 128.",
            tuple(8.0 * step for step in range(1, 16)),
        ),
        "saturation": ("veriphoto_image_saturation", "Mean of channel maximum minus minimum, 0 to 255.", _GREYS),
        "sharpness": (
            "veriphoto_image_sharpness_ratio",
            "Mean Laplacian over contrast.",
            (0.02, 0.04, 0.06, 0.08, 0.12, 0.16, 0.24, 0.32, 0.48, 0.64, 0.96, 1.28, 1.92),
        ),
        "blockiness": (
            "veriphoto_image_blockiness_ratio",
            "Luma steps across the JPEG grid over those inside it.",
            (0.9, 0.95, 0.98, 1.0, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0),
        ),
    }
)
"""What is observed of a record: metric name, help text, upper bounds of the buckets."""


class Meter:
    """The metrics of one server. Not thread-safe: one thread owns it."""

    def __init__(self, families: Any) -> None:
        """Registers the metric families.

        Args:
            families: The class ``pb_utils.MetricFamily``.
        """
        self._families = {
            field: families(name=name, description=text, kind=families.HISTOGRAM)
            for field, (name, text, _) in HISTOGRAMS.items()
        }
        for name, text in (
            (VERDICTS, "Verdicts of scored pictures."),
            (IMAGE_FORMATS, "Formats of scored pictures."),
            (SECOND_OPINIONS, "Scored pictures by whether the second opinion was asked."),
            (LINES, "Lines of the prediction log."),
            (DROPPED, "Lines that the prediction log lost."),
        ):
            self._families[name] = families(name=name, description=text, kind=families.COUNTER)
        self._lines = {"written": self._families[LINES].Metric(labels={})}
        for reason in ("full", "invalid"):
            self._lines[reason] = self._families[DROPPED].Metric(labels={"reason": reason})
        self._told: Counter[str] = Counter()
        self._metrics: dict[int, dict[str, Any]] = {}

    def observe(self, records: Sequence[Record], lines: Mapping[str, int]) -> int:
        """Counts records and log lines.

        Args:
            records: Answers; those to probes are skipped.
            lines: Lines of the log so far, by outcome (see ``Recorder.counts``).

        Returns:
            How many records were processed: always all of them.
        """
        for name, total in lines.items():
            if total > self._told[name]:
                self._lines[name].increment(total - self._told[name])
                self._told[name] = total
        tallies: Counter[tuple[int, str]] = Counter()
        for record in records:
            if not record.probe:
                self._observe(record, tallies)
        for (version, name), count in tallies.items():
            if version in self._metrics:
                self._metrics[version][name].increment(count)
        return len(records)

    def _observe(self, record: Record, tallies: Counter[tuple[int, str]]) -> None:
        metrics = self._of_version(record.model_version)
        if metrics is None:
            return
        for field in HISTOGRAMS:
            value = getattr(record, field) if field in ("probability", "logit") else record.statistic(field)
            metrics[field].observe(value)
        tallies[record.model_version, record.verdict] += 1
        tallies[record.model_version, FORMATS[int(record.statistic("format"))]] += 1
        tallies[record.model_version, _ASKED[record.asked]] += 1

    def _of_version(self, version: int) -> dict[str, Any] | None:
        """Returns the metrics of a version; None if it is older than all versions that are kept."""
        if version not in self._metrics:
            if len(self._metrics) == VERSIONS:
                oldest = min(self._metrics)
                if version < oldest:
                    return None
                del self._metrics[oldest]
            self._metrics[version] = self._make(str(version))
        return self._metrics[version]

    def _make(self, version: str) -> dict[str, Any]:
        def labelled(name: str, label: str, values: Sequence[str]) -> dict[str, Any]:
            family = self._families[name]
            return {value: family.Metric(labels={VERSION_LABEL: version, label: value}) for value in values}

        histograms = {
            field: self._families[field].Metric(labels={VERSION_LABEL: version}, buckets=list(bounds))
            for field, (_, _, bounds) in HISTOGRAMS.items()
        }
        verdicts = labelled(VERDICTS, "verdict", get_args(Label))
        asked = labelled(SECOND_OPINIONS, "asked", _ASKED)
        return {**histograms, **verdicts, **labelled(IMAGE_FORMATS, "format", FORMATS), **asked}
