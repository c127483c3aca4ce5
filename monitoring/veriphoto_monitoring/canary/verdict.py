"""Tests whether canaries are scored worse than before: an exact test per group, with one level for all groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

Truth = Literal["ai", "real"]

MEASURES: Final[dict[Truth, str]] = {"ai": "true positive rate", "real": "false-alarm rate"}
"""The rate measured for each label."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupTally:
    """The results for one generator, or for one source of photos.

    Raises:
        ValueError: If the counts contradict each other.
    """

    truth: Truth
    group: str
    """The generator, or the source."""
    flagged: int
    """Pictures on the AI side of the threshold."""
    pictures: int
    """Pictures scored."""
    unreadable: int = 0
    """Files that the server refused; they are in no rate, and wrong answers to the test."""

    def __post_init__(self) -> None:
        if self.truth not in MEASURES or not 0 <= self.flagged <= self.pictures or self.unreadable < 0:
            raise ValueError(f"no tally: {self.truth} {self.group}: {self.flagged} of {self.pictures}")

    @property
    def rate(self) -> float:
        """True positive rate of a generator, false-alarm rate of a source; NaN without a picture."""
        return self.flagged / self.pictures if self.pictures else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A tally compared with the reference."""

    tally: GroupTally
    reference: GroupTally
    """The tally that it was compared with."""
    known: bool
    """Whether the reference has this group; a new group is compared with all of its label together."""
    p_value: float
    """One-sided, adjusted for the number of groups (Holm)."""
    alarm: bool
    can_alarm: bool
    """Whether there are enough pictures to raise an alarm at all."""

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return asdict(self)


def judge_groups(tallies: Iterable[GroupTally], reference: Sequence[GroupTally], level: float) -> list[Judged]:
    """Tests every group against the reference.

    Fisher's exact test, one-sided: are fewer AI-generated pictures found, or more photos falsely reported, than in the
    reference? A picture that the server refuses counts as a wrong answer, or a server that can read none of them would
    do no worse. If both samples are the same pictures, the test is conservative.

    Args:
        tallies: Tallies of this run.
        reference: Tallies of a run that was good.
        level: Probability of an alarm from any group while nothing has changed.

    Returns:
        One entry per group, generators first, then by name. A label that the reference lacks is left out.
    """
    wanted = sorted(tallies, key=lambda each: (each.truth, each.group))
    pairs = [(each, found) for each in wanted if (found := _counterpart(each, reference)) is not None]
    adjusted = holm([_worse(tally, found) for tally, found in pairs])
    return [
        Judged(
            tally=tally,
            reference=found,
            known=found.group == tally.group,
            p_value=p_value,
            alarm=p_value <= level,
            can_alarm=_worse(_worst(tally), found) * len(pairs) <= level,
        )
        for (tally, found), p_value in zip(pairs, adjusted, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values so that the chance of any false alarm is that of one test (Holm, 1979).

    Args:
        p_values: One per test; the tests may depend on each other.

    Returns:
        Adjusted p-values, in the same order, at most 1.
    """
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def _counterpart(tally: GroupTally, reference: Sequence[GroupTally]) -> GroupTally | None:
    same = [each for each in reference if each.truth == tally.truth and each.pictures]
    if not same:
        return None
    known = [each for each in same if each.group == tally.group]
    return known[0] if known else _together(tally.truth, same)


def _together(truth: Truth, tallies: Sequence[GroupTally]) -> GroupTally:
    return GroupTally(
        truth=truth,
        group="",
        flagged=sum(each.flagged for each in tallies),
        pictures=sum(each.pictures for each in tallies),
        unreadable=sum(each.unreadable for each in tallies),
    )


def _worst(tally: GroupTally) -> GroupTally:
    flagged = 0 if tally.truth == "ai" else tally.pictures
    return replace(tally, flagged=flagged)


def _worse(tally: GroupTally, reference: GroupTally) -> float:
    """Returns the one-sided p-value of a tally that does worse than the reference."""
    # The monitor only shows results; importing scipy.stats there would take a third of its memory.
    from scipy.stats import fisher_exact  # noqa: PLC0415

    return float(fisher_exact([_answers(tally), _answers(reference)], alternative="greater").pvalue)


def _answers(tally: GroupTally) -> list[int]:
    """Returns how many answers were wrong and how many right."""
    right = tally.flagged if tally.truth == "ai" else tally.pictures - tally.flagged
    return [tally.pictures + tally.unreadable - right, right]
