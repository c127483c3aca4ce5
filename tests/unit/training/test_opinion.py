"""The second opinion's fit, on features drawn so that the right answer is known."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
from PIL import Image

from veriphoto.errors import DataError, UsageError
from veriphoto.second_opinion import Mode, Rule
from veriphoto.verdict import OperatingPoint
from veriphoto_training.data.dataset import Picture
from veriphoto_training.opinion.fit import Fitted, Roles, fit_opinion
from veriphoto_training.opinion.looks import Looks, look_at
from veriphoto_training.opinion.probe import (
    FOLDS,
    Settings,
    choose_settings,
    fit_probe,
    folds,
    out_of_source,
    source_weights,
)
from veriphoto_training.opinion.rule import Sample, fit_logistic, joint_logits, weighted_quantile
from veriphoto_training.opinion.teacher import Teacher, ask_encoder
from veriphoto_training.scoring.metrics import auroc, sigmoid

POINT = OperatingPoint(
    model_version=1, threshold=0.8, unsure_low=0.7, unsure_high=0.85, min_side=96.0, max_blockiness=2.0
)
DIMENSIONS, PER_SOURCE = 12, 25


def _pictures(folder: Path) -> list[Picture]:
    return [
        Picture(path=f"{label}/{source}/{n}", label=label, source=f"s{source}", group=str(n), file=folder / "x")
        for label in (0, 1)
        for source in range(12)
        for n in range(PER_SOURCE)
    ]


def _looks(delivery: str = "clean", seed: int = 0) -> Looks:
    """One direction tells the classes apart everywhere; each source also has a direction of its own, its content."""
    random = np.random.default_rng(seed)
    pictures = _pictures(Path())
    labels = np.array([picture.label for picture in pictures])
    features = random.normal(size=(len(pictures), DIMENSIONS))
    features[:, 0] += 2.5 * labels
    for index, picture in enumerate(pictures):
        features[index, 1 + int(picture.source[1:]) % (DIMENSIONS - 1)] += 3.0
    first = 1.5 * labels + random.normal(size=len(pictures))
    statistics = np.tile(np.float32([640, 480, 1e5, 0, 90, 120, 50, 40, 0.3, 1.0]), (len(pictures), 1))
    return Looks(
        delivery=delivery,
        pictures=tuple(pictures),
        features=features.astype(np.float32),
        first=first,
        statistics=statistics,
    )


def test_folds_keep_a_source_whole_and_every_fold_has_both_classes() -> None:
    looks = _looks()
    fold = folds(looks.sources, looks.labels)
    for source in np.unique(looks.sources):
        assert len(set(fold[looks.sources == source])) == 1
    for number in range(FOLDS):
        assert set(looks.labels[fold == number]) == {0, 1}


def test_weights_give_both_classes_the_same_and_small_sources_their_share() -> None:
    labels = np.array([0] * 100 + [0] * 4 + [1] * 10)
    sources = np.array(["0:a"] * 100 + ["0:b"] * 4 + ["1:c"] * 10)
    weights = source_weights(sources, labels)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert weights[sources == "0:a"].sum() / weights[sources == "0:b"].sum() == pytest.approx(5.0)


def test_the_probe_finds_what_holds_for_unseen_sources() -> None:
    looks = [_looks("clean", 0), _looks("mixed", 1)]
    scores = out_of_source(looks, partial(fit_probe, looks, Settings(1e-2)))
    for score, look in zip(scores, looks, strict=True):
        assert auroc(look.labels, score) > 0.93
    probe = fit_probe(looks, Settings(1e-2))
    assert np.argmax(np.abs(probe.weights)) == 0


def test_a_hidden_layer_finds_what_is_not_linear() -> None:
    looks = _looks()
    random = np.random.default_rng(5)
    bent = looks.features.copy()
    sides = 2.0 * random.choice([-1.0, 1.0], (len(bent), 6))
    bent[:, :6] = looks.labels[:, None] * sides + random.normal(0.0, 0.5, (len(bent), 6))
    looks = replace(looks, features=bent)
    (straight,) = out_of_source([looks], partial(fit_probe, [looks], Settings(1e-2)))
    settings, (scores,) = choose_settings([looks])
    assert settings.hidden > 0.0
    assert auroc(looks.labels, straight) < 0.65
    assert auroc(looks.labels, scores) > 0.75
    probe = fit_probe([looks], settings)
    assert auroc(looks.labels, probe(bent)) > 0.75
    assert fit_probe([looks], settings).hidden == probe.hidden


def test_the_logistic_fit_recovers_drawn_weights() -> None:
    random = np.random.default_rng(2)
    columns = random.normal(size=(40_000, 2))
    labels = (random.random(40_000) < sigmoid(1.5 * columns[:, 0] - 0.7 * columns[:, 1] + 0.4)).astype(np.int64)
    found = fit_logistic(columns, labels, np.ones(40_000))
    assert found == pytest.approx([1.5, -0.7, 0.4], abs=0.05)


def test_a_quantile_counts_weight_not_pictures() -> None:
    values = np.array([3.0, 1.0, 2.0])
    assert weighted_quantile(values, np.array([1.0, 1.0, 8.0]), 0.5) == 2.0
    assert weighted_quantile(values, np.array([8.0, 1.0, 1.0]), 0.5) == 3.0


def test_many_are_joined_as_one_is() -> None:
    rule = Rule(ask_above=0.0, first_weight=0.5, second_weight=2.0, bias=-1.0, alone_weight=0.1, alone_bias=-2.0)
    first, second = np.array([-1.0, 0.0, 2.0]), np.array([5.0, 1.0, -1.0])
    assert joint_logits(rule, first, second, Mode.ALWAYS).tolist() == [8.5, 1.0, -2.0]
    assert joint_logits(rule, first, second, Mode.AUTO, below=-2.5).tolist() == [-2.5, 1.0, -2.0]


def _fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, roles: Roles) -> Fitted:
    looks = {"clean": _looks("clean", 0), "mixed": _looks("mixed", 1)}
    monkeypatch.setattr("veriphoto_training.opinion.fit.look_at", lambda _pictures, delivery, *_: looks[delivery])
    return fit_opinion(looks["clean"].pictures, roles, [], identity="abc", point=POINT, cache=tmp_path)


def test_the_cuts_keep_their_rates_on_sources_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = _fit(tmp_path, monkeypatch, Roles(product=["s1", "s2", "s3", "s4"], learned=["s9"]))
    metrics, point = fitted.opinion.metrics, fitted.opinion.operating_point
    assert metrics["clean_false_alarms_product"] <= 0.03
    assert metrics["mixed_false_alarms_product"] <= 0.04
    assert metrics["clean_ai_called_real"] <= 0.10
    assert metrics["clean_asked_ai"] >= 0.95
    assert point.unsure_low <= point.threshold == point.unsure_high
    assert list(fitted.opinion.real_logits) == sorted(fitted.opinion.real_logits)
    assert fitted.first_point == replace(POINT, unsure_low=fitted.first_point.unsure_low, unsure_high=POINT.threshold)
    assert fitted.first_point.unsure_low < POINT.unsure_low


@pytest.mark.parametrize(
    ("roles", "complaint"),
    [
        (Roles(product=["nothing"], learned=[]), "--product-source"),
        (Roles(product=["s*"], learned=["s*"]), "every AI source"),
    ],
)
def test_data_that_cannot_judge_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, roles: Roles, complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        _fit(tmp_path, monkeypatch, roles)


def test_looks_are_kept_and_broken_pictures_left_out(tmp_path: Path) -> None:
    good, bad, gone = (tmp_path / f"{name}.png" for name in ("good", "bad", "gone"))
    Image.linear_gradient("L").convert("RGB").resize((300, 200)).save(good)
    bad.write_bytes(b"no picture")
    pictures = [Picture(path=file.name, label=0, source="s", group=file.name, file=file) for file in (good, bad, gone)]
    shown: list[np.ndarray] = []

    def look(crops: np.ndarray) -> tuple[np.ndarray, float]:
        shown.append(crops)
        return np.float32([1.0, 2.0]), 0.5

    for _ in range(2):
        looks = look_at(pictures, "mixed", [look], tmp_path / "cache")
        assert [picture.path for picture in looks.pictures] == ["good.png"]
        assert looks.features.tolist() == [[1.0, 2.0]]
        assert looks.first.tolist() == [0.5]
    assert len(shown) == 1


def test_copies_of_a_photo_are_looked_at_side_by_side(tmp_path: Path) -> None:
    meeting = threading.Barrier(2, timeout=30)
    pictures = []
    for number in range(20):
        for copy in "ab":
            file = tmp_path / f"{number}{copy}.png"
            Image.linear_gradient("L").resize((300, 200 + number)).save(file)
            pictures.append(Picture(path=file.name, label=0, source="s", group=file.name, file=file))

    def look(_: np.ndarray) -> tuple[np.ndarray, float]:
        meeting.wait()
        return np.float32([1.0, 2.0]), 0.5

    looks = look_at(pictures, "clean", [look, look], tmp_path / "cache")
    assert len(looks.pictures) == 40
    assert len(list((tmp_path / "cache").iterdir())) == 20


def test_a_sample_knows_its_labels() -> None:
    looks = _looks()
    everything = np.ones(len(looks.pictures), bool)
    sample = Sample(looks=looks, second=looks.first, product=everything, unseen=everything)
    assert sample.labels.tolist() == looks.labels.tolist()


def test_a_teacher_is_written_and_knows_the_photos_that_it_has_seen(tmp_path: Path) -> None:
    looks = _looks()
    files = [tmp_path / str(index) for index in range(len(looks.pictures))]
    for index, file in enumerate(files):
        file.write_bytes(str(index).encode())
    pictures = tuple(replace(picture, file=file) for picture, file in zip(looks.pictures, files, strict=True))
    scores = looks.features[:, 0].astype(np.float64)
    Teacher.of(replace(looks, pictures=pictures), scores).write(tmp_path / "teacher.npz")
    teacher = Teacher.read(tmp_path / "teacher.npz")
    stranger = tmp_path / "stranger"
    stranger.write_bytes(b"never seen")
    logits, features, known = teacher.known([pictures[7], replace(pictures[0], file=stranger), pictures[400]])
    assert known.tolist() == [True, False, True]
    assert (logits[1], features[1].any()) == (0.0, False)
    assert features.shape == (3, DIMENSIONS)
    everything, _, _ = teacher.known(list(pictures))
    # Calibrated: as likely as it says, and in the order of the scores.
    assert sigmoid(everything.astype(np.float64)).mean() == pytest.approx(0.5, abs=0.02)
    assert (np.diff(everything[np.argsort(scores)]) >= 0).all()
    with pytest.raises(UsageError, match="veriphoto teacher"):
        Teacher.read(stranger)


def test_a_teacher_of_photos_with_copies_knows_each_by_its_own_row(tmp_path: Path) -> None:
    teacher = Teacher(
        logits=np.float32([1.0, 2.0, 1.0, 3.0]),
        features=np.float32([[1], [2], [1], [3]]),
        rows={"a": 2, "b": 1, "c": 3},
    )
    teacher.write(tmp_path / "teacher.npz")
    read = Teacher.read(tmp_path / "teacher.npz")
    assert {name: (read.logits[row], read.features[row, 0]) for name, row in read.rows.items()} == {
        name: (teacher.logits[row], teacher.features[row, 0]) for name, row in teacher.rows.items()
    }


def test_a_teacher_needs_sources_to_leave_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = _looks()
    pictures = tuple(replace(picture, source="folder") for picture in looks.pictures)
    module = "veriphoto_training.opinion.teacher"
    monkeypatch.setattr(f"{module}.EncoderPackage", MagicMock())
    monkeypatch.setattr(f"{module}.open_looks", MagicMock())
    monkeypatch.setattr(f"{module}.read_dataset", MagicMock())
    monkeypatch.setattr(f"{module}.look_at", lambda *_: replace(looks, pictures=pictures))
    with pytest.raises(DataError, match="1 sources of real pictures"):
        ask_encoder(tmp_path, (), tmp_path, tmp_path, lambda photos: photos)
