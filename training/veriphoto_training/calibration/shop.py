"""Threshold and unsure band for one shop, from its own real photos alone.

Nothing is assumed about scores but that tomorrow's photos come from where these came from. Then ranks are enough:

* the threshold is split conformal prediction's (Vovk et al. 2005; Angelopoulos and Bates, arXiv 2107.07511): averaged
  over all samples a shop could have taken, at most the asked share of its real photos lies on the wrong side;
* one sample can be lucky, so the upper end of the band is a one-sided tolerance limit (Wilks 1941): with the asked
  assurance, at most the asked share of real photos is ever called AI-generated;
* the lower end is the other limit: under it the share is above the one asked for, with the same assurance. In between
  another sample of the same shop could have decided otherwise, which is what ``unsure`` means.

The band narrows as photos are added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from veriphoto.errors import DataError, UsageError
from veriphoto.verdict import OperatingPoint
from veriphoto_training.calibration.fit import pictures_needed

ASSURANCE: Final = 0.95
"""Confidence of the band's ends."""
_TIGHT: Final = 0.5
"""Photos are enough when the red flags that can be expected are at least this share of those that are allowed."""

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopFit:
    """What a shop's photos decide."""

    photos: int
    rate: float
    """Largest share of real photos that may be called AI-generated."""
    threshold: float
    unsure_low: float
    unsure_high: float
    above_threshold: int
    """Number of these photos on the AI side of the threshold."""
    flagged: int
    """Number of these photos called AI-generated (at or above ``unsure_high``)."""
    unsure: int
    """Number of these photos in the band."""

    def apply(self, point: OperatingPoint) -> OperatingPoint:
        """Returns the operating point with this fit's threshold and band; its gates stay."""
        return replace(point, threshold=self.threshold, unsure_low=self.unsure_low, unsure_high=self.unsure_high)

    def apply_flag(self, point: OperatingPoint) -> OperatingPoint:
        """Returns the operating point of a joint score, flagging from this fit's ``unsure_high``; its gates stay.

        The cut of ``real`` says how many AI pictures may be missed. Real photos cannot move it, so it stays where it
        is, or comes down to the flag.
        """
        high = self.unsure_high
        return replace(point, threshold=high, unsure_low=min(point.unsure_low, high), unsure_high=high)


def needed(rate: float, assurance: float = ASSURANCE) -> int:
    """Returns the fewest photos that can prove a rate: with none of them flagged, (1 - rate) ** n <= 1 - assurance.

    Args:
        rate: Allowed false-alarm rate, between 0 and 1.
        assurance: Confidence that it is kept, between 0 and 1.

    Raises:
        UsageError: If a number is out of its range.
    """
    _check(rate, assurance)
    return pictures_needed(rate, assurance)


def advised(rate: float, assurance: float = ASSURANCE) -> int:
    """Returns the number of photos from which the proof costs little: half of the allowed red flags can really be used.

    With the fewest photos the threshold lies above the highest of them, and most generated pictures pass below it.

    Args:
        rate: Allowed false-alarm rate, between 0 and 1.
        assurance: Confidence that it is kept, between 0 and 1.
    """
    low, high = 1, needed(rate, assurance)
    while not _is_tight(high, rate, assurance):
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _is_tight(middle, rate, assurance) else (middle + 1, high)
    return high


def provable_rate(photos: int, assurance: float = ASSURANCE) -> float:
    """Returns the lowest rate that this many photos can prove, rounded up to a tenth of a percent.

    Args:
        photos: Number of photos, at least 1.
        assurance: Confidence that it is kept, between 0 and 1.
    """
    return math.ceil(1000.0 * (1.0 - math.pow(1.0 - assurance, 1.0 / photos))) / 1000.0


def too_few(count: int, rate: float, assurance: float = ASSURANCE) -> str:
    """Returns a sentence on how many photos a rate needs, and which rate these photos would allow.

    Args:
        count: Number of usable photos.
        rate: The false-alarm rate asked for.
        assurance: Confidence that it is kept, between 0 and 1.
    """
    text = (
        f"{count} usable real photos; a rate of {rate:.1%} needs at least {needed(rate, assurance)} "
        f"(better {advised(rate, assurance)}) to hold with {assurance:.0%} assurance"
    )
    return f"{text}; {count} photos are enough for {provable_rate(count, assurance):.1%}" if count else text


def fit_shop(probability: Probabilities, rate: float, assurance: float = ASSURANCE) -> ShopFit:
    """Fits threshold and unsure band.

    Args:
        probability: FP32 [n], the model's on real photos that are independent of each other and pass its gates.
        rate: Share of real photos that may be called AI-generated.
        assurance: Confidence that the share is kept.

    Returns:
        The fit.

    Raises:
        DataError: If there are too few photos for the rate, or the model tells too many of them are AI beyond doubt.
        UsageError: If a number is out of its range.
    """
    count = len(probability)
    if count < needed(rate, assurance):
        raise DataError(too_few(count, rate, assurance))
    ranked = np.sort(np.asarray(probability, dtype=np.float32))[::-1]
    flagged = _most(count, rate, assurance)
    threshold = _above(ranked, max(math.floor(rate * (count + 1) + 1e-9) - 1, flagged))
    unsure_high = _above(ranked, flagged)
    unsure_low = float(ranked[_least(count, rate, assurance) - 1])
    return ShopFit(
        photos=count,
        rate=rate,
        threshold=threshold,
        unsure_low=unsure_low,
        unsure_high=unsure_high,
        above_threshold=int((ranked >= threshold).sum()),
        flagged=int((ranked >= unsure_high).sum()),
        unsure=int(((ranked >= unsure_low) & (ranked < unsure_high)).sum()),
    )


def _check(rate: float, assurance: float) -> None:
    for name, value in (("rate", rate), ("assurance", assurance)):
        if not 0.0 < value < 1.0:
            raise UsageError(f"the {name} lies between 0 and 1, {value} does not")


def _most(count: int, rate: float, assurance: float) -> int:
    """The most photos that may lie above a limit whose true share is then below the rate, with assurance."""
    from scipy.stats import binom  # noqa: PLC0415 - of an extra

    numbers = np.arange(_window(count, rate))
    return int(numbers[binom.cdf(numbers, count, rate) <= 1.0 - assurance + 1e-12].max(initial=0))


def _least(count: int, rate: float, assurance: float) -> int:
    """The fewest photos that must lie above a limit whose true share is then above the rate, with assurance."""
    from scipy.stats import binom  # noqa: PLC0415 - of an extra

    numbers = np.arange(1, _window(count, rate) + 1)
    enough = numbers[binom.sf(numbers - 1, count, rate) <= 1.0 - assurance]
    return int(enough.min(initial=count))


def _window(count: int, rate: float) -> int:
    return min(count, math.ceil(count * rate + 10.0 * math.sqrt(count * rate) + 10.0))


def _above(ranked: Probabilities, alarms: int) -> float:
    """The lowest FP32 probability that only ``alarms`` of the ranked ones reach: answers carry FP32."""
    limit = float(np.nextafter(ranked[alarms], np.float32(np.inf)))
    if limit > 1.0:
        raise DataError(
            f"the model takes {int((ranked >= 1.0).sum())} of {len(ranked)} real photos for AI beyond doubt; no "
            "threshold keeps the rate. Look at them first: they may be generated, or the model does not fit this shop"
        )
    return limit


def _is_tight(count: int, rate: float, assurance: float) -> bool:
    return (_most(count, rate, assurance) + 1) / (count + 1) >= _TIGHT * rate and count >= needed(rate, assurance)
