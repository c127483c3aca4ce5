"""Whether a group of canaries does worse than before: the statistics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from veriphoto_monitoring.canary.verdict import GroupTally, Truth, holm, judge_groups

LEVEL = 0.01


def ai(group: str, flagged: int, pictures: int) -> GroupTally:
    return GroupTally(truth="ai", group=group, flagged=flagged, pictures=pictures)


def real(group: str, flagged: int, pictures: int) -> GroupTally:
    return GroupTally(truth="real", group=group, flagged=flagged, pictures=pictures)


def test_one_group_is_fishers_exact_test() -> None:
    # The lady tasting tea, the wrong way round: all four cups wrong has a chance of 1 in 70.
    (judged,) = judge_groups([ai("g", 0, 4)], [ai("g", 4, 4)], LEVEL)
    assert judged.p_value == pytest.approx(1 / 70)
    (judged,) = judge_groups([real("s", 4, 4)], [real("s", 0, 4)], LEVEL)
    assert judged.p_value == pytest.approx(1 / 70)


@pytest.mark.parametrize(
    ("new", "reference"),
    [(ai("g", 200, 200), ai("g", 100, 200)), (real("s", 0, 200), real("s", 100, 200))],
    ids=["more fakes found", "fewer false alarms"],
)
def test_getting_better_is_no_alarm(new: GroupTally, reference: GroupTally) -> None:
    assert [each.alarm for each in judge_groups([new], [reference], LEVEL)] == [False]


def test_holm_adjusts_as_in_its_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("tpr", [0.55, 0.9])
def test_all_groups_together_keep_the_level(tpr: float) -> None:
    random = np.random.default_rng(7)
    runs, alarms = 500, 0
    for _ in range(runs):
        reference, now = (
            [
                *(ai(str(i), int(random.binomial(100, tpr)), 100) for i in range(6)),
                *(real(str(i), int(random.binomial(300, 0.02)), 300) for i in range(4)),
            ]
            for _ in range(2)
        )
        alarms += any(each.alarm for each in judge_groups(now, reference, 0.05))
    # 5 % were allowed; 3 % more is three standard errors.
    assert alarms / runs <= 0.05 + 0.03


@pytest.mark.parametrize(
    ("truth", "pictures", "before", "after"),
    [("ai", 200, 0.9, 0.775), ("real", 750, 0.01, 0.035)],
)
def test_a_drop_that_matters_is_found(truth: Truth, pictures: int, before: float, after: float) -> None:
    # The reference has four times as many pictures; every possible outcome, weighed by its chance.
    reference = GroupTally(truth=truth, group="g", flagged=round(4 * pictures * before), pictures=4 * pictures)
    found = [
        judge_groups([GroupTally(truth=truth, group="g", flagged=k, pictures=pictures)], [reference], LEVEL)[0].alarm
        for k in range(pictures + 1)
    ]
    power = float(binom.pmf(np.arange(pictures + 1), pictures, after) @ np.array(found))
    assert power >= 0.95


def test_the_alarm_names_the_generator() -> None:
    reference = [ai("old", 180, 200), ai("new", 180, 200), real("shop", 4, 200)]
    judged = judge_groups([ai("old", 178, 200), ai("new", 120, 200), real("shop", 5, 200)], reference, LEVEL)
    assert [each.tally.group for each in judged if each.alarm] == ["new"]


def test_a_generator_that_the_reference_never_saw_is_held_to_all_of_them() -> None:
    reference = [ai("a", 95, 100), ai("b", 85, 100), real("shop", 0, 500)]
    (judged,) = judge_groups([ai("unheard of", 40, 100)], reference, LEVEL)
    assert (judged.known, judged.reference.flagged, judged.reference.pictures) == (False, 180, 200)
    assert judged.alarm


def test_groups_that_nothing_can_be_said_about() -> None:
    reference = [ai("a", 190, 200)]
    # No photo in the reference at all; and one picture, which can be bad luck.
    (judged,) = judge_groups([real("shop", 3, 3), ai("a", 0, 1)], reference, LEVEL)
    assert (judged.tally.group, judged.alarm, judged.can_alarm) == ("a", False, False)
    assert judge_groups([ai("a", 0, 30)], reference, LEVEL)[0].can_alarm


@pytest.mark.parametrize("truth", ["ai", "real"])
def test_what_the_server_refuses_is_wrong(truth: Truth) -> None:
    before = GroupTally(truth=truth, group="g", flagged=30 if truth == "ai" else 0, pictures=30, unreadable=1)
    refused = GroupTally(truth=truth, group="g", flagged=0, pictures=0, unreadable=31)
    assert [each.alarm for each in judge_groups([refused], [before], LEVEL)] == [True]
    assert [each.alarm for each in judge_groups([before], [before], LEVEL)] == [False]


@pytest.mark.parametrize("numbers", [(3, 2, 0), (-1, 2, 0), (1, 2, -1)])
def test_impossible_counts_are_refused(numbers: tuple[int, int, int]) -> None:
    flagged, pictures, unreadable = numbers
    with pytest.raises(ValueError, match="no tally"):
        GroupTally(truth="ai", group="g", flagged=flagged, pictures=pictures, unreadable=unreadable)
