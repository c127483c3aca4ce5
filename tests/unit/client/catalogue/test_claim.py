"""An output belongs to one rule: the same model, variant and second opinion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from brightness_model import brightness_repository
from toy_encoder import toy_opinion, write_toy_encoder

pytest.importorskip("ray", reason="needs the extra `ray`")

from veriphoto.errors import UsageError
from veriphoto.second_opinion import Mode
from veriphoto_client.catalogue.engine import _claim
from veriphoto_client.catalogue.options import CatalogueOptions
from veriphoto_client.local.model import ModelPackage
from veriphoto_client.sources.places import place


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return brightness_repository(tmp_path / "models")


def claim(repository: Path, output: Path, mode: Mode = Mode.AUTO) -> None:
    options = CatalogueOptions(output=str(output), second_opinion=mode)
    _claim(place(str(output)), ModelPackage.read(repository / "classifier", "fp32", mode), options)


def give_opinion(repository: Path, ask_above: float) -> None:
    write_toy_encoder(repository)
    toy_opinion(ask_above).write(repository / "classifier" / "1")


def test_a_second_opinion_that_came_or_changed_is_another_rule(repository: Path, tmp_path: Path) -> None:
    claim(repository, tmp_path / "alone")
    claim(repository, tmp_path / "alone", Mode.OFF)  # by the same rule
    give_opinion(repository, ask_above=0.0)
    with pytest.raises(UsageError, match="second opinion; name another --output"):
        claim(repository, tmp_path / "alone")
    claim(repository, tmp_path / "alone", Mode.OFF)
    for _ in range(2):
        claim(repository, tmp_path / "joint")
    with pytest.raises(UsageError, match="second opinion"):
        claim(repository, tmp_path / "joint", Mode.ALWAYS)
    give_opinion(repository, ask_above=-1.0)
    with pytest.raises(UsageError, match="second opinion"):
        claim(repository, tmp_path / "joint")


def test_a_scan_that_names_no_second_opinion_is_the_classifiers_alone(repository: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    claim(repository, output)
    state = json.loads((output / "_scan.json").read_text())
    del state["second_opinion"]
    (output / "_scan.json").write_text(json.dumps(state))
    claim(repository, output)
    give_opinion(repository, ask_above=0.0)
    with pytest.raises(UsageError, match="second opinion"):
        claim(repository, output)
    (output / "_scan.json").write_text("[]")
    with pytest.raises(UsageError, match="cannot be used"):
        claim(repository, output)
