"""The results of testing windows, and what they change about alarms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from veriphoto_monitoring.drift.alarms import Alarm, direction
from veriphoto_monitoring.input.features import Monitored
from veriphoto_monitoring.stats.budget import Budget, threshold
from veriphoto_monitoring.stats.distributions import Distribution
from veriphoto_monitoring.stats.prior_shift import Cause
from veriphoto_monitoring.stats.testing import Tested


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One statistic of one window, tested."""

    statistic: str
    kind: str
    value: float
    threshold: float
    p_value: float
    alarm: bool
    direction: str

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowEvaluation:
    """One window, tested."""

    window: int
    images: int
    """At most ``window``; fewer while a version is new."""
    time: float
    """Time of the newest picture."""
    results: tuple[Result, ...]

    @property
    def score(self) -> float:
        """The largest value as a multiple of its threshold: above 1 is an alarm."""
        return max((one.value / one.threshold for one in self.results), default=0.0)


@dataclass(frozen=True, slots=True)
class Changes:
    """The alarms that a round of tests has raised and cleared."""

    evaluations: list[tuple[int, WindowEvaluation]]
    """Model versions and their windows, in the order in which they were tested."""
    alarms: list[Alarm]
    """Alarms that were raised, continued or ended."""

    def extend(self, other: Changes) -> None:
        """Appends later changes."""
        self.evaluations.extend(other.evaluations)
        self.alarms.extend(other.alarms)


def judge_statistic(
    each: Monitored, found: Distribution, tested: Tested, window: int, images: int, budget: Budget
) -> Result:
    """Compares a test with its threshold.

    Args:
        each: The statistic.
        found: Its distribution in the reference.
        tested: The test.
        window: Nominal size.
        images: Size of this window.
        budget: Gives the level.
    """
    alpha = budget.alpha(each.name, window)
    return Result(
        statistic=each.name,
        kind=each.kind,
        value=float(tested.value),
        threshold=threshold(found, alpha, images),
        p_value=float(tested.p),
        alarm=bool(tested.p < alpha),
        direction=direction(each, tested),
    )


def alarm_of(
    result: Result,
    window: tuple[int, int],
    seen: int,
    *,
    raised: float,
    since: float,
    ids: tuple[str, ...],
    cause: Cause,
) -> Alarm:
    """Makes the alarm of a result.

    Args:
        result: Above its threshold.
        window: Model version and nominal size.
        seen: Pictures of the version so far.
        raised: Time of the latest picture.
        since: When it began.
        ids: Requests to look at.
        cause: The likely cause of the alarm.
    """
    version, size = window
    return Alarm(
        statistic=result.statistic,
        window=size,
        model_version=version,
        direction=result.direction,
        value=result.value,
        threshold=result.threshold,
        p_value=result.p_value,
        cause=cause,
        raised=raised,
        since=since,
        request_ids=ids,
        seen=seen,
    )


def follow(
    alarms: dict[tuple[int, int, str], Alarm],
    key: tuple[int, int, str],
    result: Result,
    seen: int,
    time: float,
    begin: Callable[[], Alarm],
    cause: Callable[[], Cause],
) -> Alarm | None:
    """Raises, continues or ends the alarm of one statistic.

    Args:
        alarms: The open alarms; updated.
        key: As ``Alarm.key``.
        result: The latest test.
        seen: Pictures of the version so far.
        time: Time of the latest picture.
        begin: Makes a new alarm.
        cause: Finds the current cause, which becomes clearer as more of the window has changed.

    Returns:
        The alarm if it was raised, continued or ended.
    """
    alarm = alarms.get(key)
    if not result.alarm:
        # An alarm ends when a window passes that shares no picture with the last failing one.
        if alarm and seen - alarm.seen >= alarm.window:
            return replace(alarms.pop(key), ended=time)
        return None
    if alarm is None:
        alarm = begin()
    else:
        now = replace(alarm, value=result.value, threshold=result.threshold, p_value=result.p_value)
        alarm = replace(now, seen=seen, cause=cause())
    alarms[key] = alarm
    return alarm


def forget(
    version: int,
    alarms: dict[tuple[int, int, str], Alarm],
    evaluations: dict[tuple[int, int], WindowEvaluation],
    time: float,
) -> list[Alarm]:
    """Drops the results of a version that is not watched any more.

    Args:
        version: Others have answered since.
        alarms: The open alarms; updated.
        evaluations: The latest tests by version and window; updated.
        time: Time of the latest picture.

    Returns:
        Its alarms, ended.
    """
    for key in [key for key in evaluations if key[0] == version]:
        del evaluations[key]
    return [replace(alarms.pop(key), ended=time) for key in list(alarms) if key[0] == version]
