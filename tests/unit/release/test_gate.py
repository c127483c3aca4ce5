"""The gate, on made-up scores: what is worse, what is not, and what is too few pictures to tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_model import SAMPLES, toy_findings

from veriphoto.errors import DataError, ModelError
from veriphoto_release import gate
from veriphoto_release.gate import Criterion, ScoredByBoth, compare, require
from veriphoto_release.limits import Margins
from veriphoto_training.data.dataset import Picture


class Model:
    point = toy_findings().operating_point  # threshold 0.61


def pictures(**sources: tuple[int, int]) -> list[Picture]:
    """``source=(label, number)``."""
    return [
        Picture(path=f"{source}/{at}", label=label, source=source, group=f"{source}/{at}", file=Path("none"))
        for source, (label, number) in sources.items()
        for at in range(number)
    ]


def rows(
    monkeypatch: pytest.MonkeyPatch, chosen: list[Picture], first: Any, second: Any, **options: Any
) -> dict[str, Criterion]:
    scores = (np.array(first, dtype=float), np.array(second, dtype=float))
    monkeypatch.setattr(
        gate, "score_together", lambda *_, **__: ScoredByBoth(pictures=tuple(chosen), probabilities=scores)
    )
    model: Any = Model()
    options.setdefault("deliveries", ["clean"])
    return {row.figure.removesuffix(", clean"): row for row in compare(model, model, chosen, **options)}


def test_equal_models_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = pictures(shop=(0, 30), midjourney=(1, 30))
    scores = [0.1] * 30 + [0.9] * 30
    found = rows(monkeypatch, chosen, scores, scores)
    assert list(found) == [
        "AUROC",
        "balanced accuracy",
        "false alarms on product photos",
        "right in midjourney (ai)",
        "right in shop (real)",
    ]
    require(list(found.values()))


def test_one_source_gone_blind_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = pictures(shop=(0, 400), midjourney=(1, 380), nano=(1, 20))
    before = [0.1] * 400 + [0.9] * 400
    after = [0.1] * 400 + [0.9] * 380 + [0.3] * 20
    found = rows(monkeypatch, chosen, before, after)
    assert found["AUROC"].holds
    assert not found["right in nano (ai)"].holds
    with pytest.raises(ModelError, match=r"right in nano \(ai\), clean: 0.0000 against 1.0000"):
        require(list(found.values()))


def test_what_fails_in_the_hard_delivery_alone_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As good on files as they are; on recompressed ones it flags a shop's photos."""
    chosen = pictures(shop=(0, 100), cameras=(0, 100), midjourney=(1, 200))
    good = np.array([0.1] * 200 + [0.9] * 200)
    bad = np.array([0.7] * 10 + [0.1] * 190 + [0.9] * 200)

    def score(*_: Any, delivery: str, **__: Any) -> ScoredByBoth:
        return ScoredByBoth(pictures=tuple(chosen), probabilities=(good, bad if delivery == "hard" else good))

    monkeypatch.setattr(gate, "score_together", score)
    model: Any = Model()
    found = {row.figure: row for row in compare(model, model, chosen, product_sources=["sh*"])}
    failed = [figure for figure, row in found.items() if not row.holds]
    assert failed == ["balanced accuracy, hard", "false alarms on product photos, hard", "right in shop (real), hard"]
    assert {figure.rpartition(", ")[2] for figure in found} == {"clean", "hard"}


def test_a_picture_or_two_are_not_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = pictures(shop=(0, 20), midjourney=(1, 20))
    before = [0.1] * 20 + [0.9] * 20
    for alarms, holds in ((2, True), (3, False)):
        after = [0.7] * alarms + [0.1] * (20 - alarms) + [0.9] * 20
        found = rows(monkeypatch, chosen, before, after)
        assert found["false alarms on product photos"].holds is holds
        assert found["right in shop (real)"].holds is holds


def test_false_alarms_are_those_of_the_named_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = pictures(shop=(0, 100), cameras=(0, 100), midjourney=(1, 100))
    before = [0.1] * 200 + [0.9] * 100
    after = [0.1] * 100 + [0.7] * 10 + [0.1] * 90 + [0.9] * 100
    wide = Margins(auroc=1, balanced_accuracy=1, source=1)
    assert not rows(monkeypatch, chosen, before, after, margins=wide)["false alarms on product photos"].holds
    named = rows(monkeypatch, chosen, before, after, margins=wide, product_sources=["shop"])
    assert named["false alarms on product photos"].holds
    with pytest.raises(DataError, match="no real picture of the sources toys"):
        rows(monkeypatch, chosen, before, after, product_sources=["toys"])


def test_a_figure_that_is_no_number_does_not_hold() -> None:
    assert not Criterion(figure="AUROC", pictures=1, champion=0.9, candidate=float("nan"), allowed=0.1).holds


def test_real_pictures_are_scored_by_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a broken one by neither."""

    class Bright:
        def score(self, crops: np.ndarray) -> np.ndarray:
            return np.array([crops.mean() / 255])

    files = [*SAMPLES[:3], Path(__file__)]
    chosen = [Picture(path=file.name, label=0, source="samples", group=file.name, file=file) for file in files]
    model: Any = Bright()
    scored = gate.score_together((model, model), chosen)
    assert [picture.path for picture in scored.pictures] == [file.name for file in SAMPLES[:3]]
    assert (scored.probabilities[0] == scored.probabilities[1]).all()
