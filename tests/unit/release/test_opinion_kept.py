"""A second opinion stays with its model: in the registry, and in every version made of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from promotion_kit import GOLDEN, Ground, content
from repository_server import RepositoryServer
from toy_encoder import toy_opinion, write_toy_encoder
from toy_model import SAMPLES, toy_bundle

from veriphoto.errors import DataError, ManifestError, ModelError
from veriphoto.manifest import read_manifest
from veriphoto.second_opinion import OPINION_FILE, SecondOpinion, read_opinion
from veriphoto_export.operating_point import UNSERVED
from veriphoto_release.adoption import adopt, example
from veriphoto_release.opinion import add_opinion
from veriphoto_release.promotion import promote, rollback
from veriphoto_release.publish import publish
from veriphoto_release.registration import register
from veriphoto_release.registry import CHALLENGER, CHAMPION
from veriphoto_training.opinion.fit import Fitted, Roles


def version(ground: Ground, number: int) -> Path:
    return ground.repository / "classifier" / str(number)


@pytest.fixture
def opinion(ground: Ground) -> SecondOpinion:
    """Version 2 is served with a second opinion, published straight into the repository."""
    given = toy_opinion(ask_above=-1.5)
    publish(replace(toy_bundle(5), opinion=given), ground.repository, 2)
    return given


def registered(ground: Ground, which: str) -> SecondOpinion | None:
    return read_opinion(ground.registry.download(ground.registry.find(which)))


def test_it_comes_back_after_its_version_is_gone(
    ground: Ground, server: RepositoryServer, opinion: SecondOpinion
) -> None:
    server.load()
    place = ground.place(server.triton)
    command = r"veriphoto second-opinion DATA --product-source PATTERN --model 2.*--without-second-opinion"
    with pytest.raises(ModelError, match=f"stopped at 'compare': version 2.*{command}.*version 2 still serves"):
        promote("2", place, judge=content)
    assert server.version == 2
    change = promote("2", place, judge=content, without_opinion=True)
    assert registered(ground, "3") == opinion.of_version(UNSERVED)
    assert registered(ground, "2") is None
    assert read_opinion(version(ground, change.version)) is None
    assert change.opinion_lost
    shutil.rmtree(version(ground, 2))
    back = rollback(place)
    assert (back.model, back.opinion_lost) == (3, False)
    assert read_opinion(version(ground, back.version)) == opinion.of_version(back.version)


def test_a_promotion_takes_it_from_the_registry(ground: Ground, server: RepositoryServer) -> None:
    bundle = replace(toy_bundle(6), opinion=toy_opinion())
    number = register(bundle, registry=ground.registry, example=example(SAMPLES[:1])).number
    change = promote(str(number), ground.place(server.triton), judge=content)
    assert read_opinion(version(ground, change.version)) == toy_opinion().of_version(change.version)
    assert not change.opinion_lost


def test_one_for_another_encoder_is_lost_too(ground: Ground, server: RepositoryServer, opinion: SecondOpinion) -> None:
    server.load()
    write_toy_encoder(ground.repository)
    bundle = replace(toy_bundle(6), opinion=replace(opinion, encoder="another"))
    number = str(register(bundle, registry=ground.registry, example=example(SAMPLES[:1])).number)
    place = ground.place(server.triton)
    with pytest.raises(ModelError, match=f"model {number} has none for the encoder"):
        promote(number, place, judge=content)
    assert promote(number, place, judge=content, without_opinion=True).opinion_lost


def test_the_registry_makes_good_a_damaged_copy(
    ground: Ground, server: RepositoryServer, opinion: SecondOpinion
) -> None:
    server.load()
    place = ground.place(server.triton)
    promote("2", place, judge=content, without_opinion=True)
    (version(ground, 2) / OPINION_FILE).write_text("{")
    assert read_opinion(version(ground, rollback(place).version)) == opinion.of_version(4)


def test_a_damaged_one_is_not_taken_for_none(ground: Ground, opinion: SecondOpinion) -> None:
    (version(ground, 2) / OPINION_FILE).write_text("{")
    with pytest.raises(ManifestError, match=OPINION_FILE):
        adopt(ground.registry, ground.repository, GOLDEN)
    assert len(ground.registry.models()) == 2


def test_the_same_graph_without_it_is_another_model(ground: Ground, opinion: SecondOpinion) -> None:
    alone = register(toy_bundle(5), registry=ground.registry, example=example(SAMPLES[:1])).number
    adopted = adopt(ground.registry, ground.repository, GOLDEN)
    assert adopted is not None
    assert adopted.number != alone
    assert registered(ground, CHAMPION) == opinion.of_version(UNSERVED)


def test_it_is_fitted_to_a_registered_model(
    ground: Ground, server: RepositoryServer, opinion: SecondOpinion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that the gate refuses; what comes of it passes. The fit itself needs more photos than a test has."""
    server.load()
    write_toy_encoder(ground.repository)
    for label, photo in (("real", SAMPLES[0]), ("ai", SAMPLES[1])):
        (tmp_path / "data" / label).mkdir(parents=True)
        shutil.copy(photo, tmp_path / "data" / label)
    model = ground.registry.find("2")
    point = read_manifest(ground.registry.download(model)).findings.operating_point
    fitted = Fitted(opinion=toy_opinion(), first_point=point, pictures=2)
    monkeypatch.setattr("veriphoto_release.opinion.fit_opinion", lambda *_, **__: fitted)
    _, said = add_opinion(
        [tmp_path / "data"],
        Roles(product=["*"], learned=[]),
        repository=ground.repository,
        cache=tmp_path / "cache",
        model="2",
        registry=ground.registry,
    )
    assert said == "model 3 is challenger, with a second opinion for model 2"
    change = promote(CHALLENGER, ground.place(server.triton), judge=content)
    assert (change.model, change.opinion_lost) == (3, False)
    assert read_opinion(version(ground, change.version)) == toy_opinion().of_version(change.version)


def test_scores_are_kept_for_a_network_and_its_calibration(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for the training run, which an average of several runs shares with the first of them."""
    write_toy_encoder(ground.repository)
    for label, photo in (("real", SAMPLES[0]), ("ai", SAMPLES[1])):
        (tmp_path / "data" / label).mkdir(parents=True)
        shutil.copy(photo, tmp_path / "data" / label)
    bundle = toy_bundle(5)
    point = replace(bundle.findings.operating_point, unsure_low=0.1)
    publish(bundle, ground.repository, 2)
    publish(replace(bundle, findings=replace(bundle.findings, operating_point=point)), ground.repository, 3)
    publish(toy_bundle(6), ground.repository, 4)
    used: list[Path] = []

    def fit(*_: object, cache: Path, **__: object) -> Fitted:
        used.append(cache)
        raise DataError("too few")

    monkeypatch.setattr("veriphoto_release.opinion.fit_opinion", fit)
    for number in (2, 3, 4):
        with pytest.raises(DataError):
            add_opinion(
                [tmp_path / "data"],
                Roles(product=["*"], learned=[]),
                repository=ground.repository,
                cache=tmp_path / "cache",
                version=number,
            )
    same, cuts, other = used
    assert same == cuts != other
