"""CIFAKE from its home, into the folders that training reads."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer
from brightness_model import draw
from typer.testing import CliRunner

from veriphoto.errors import DataError, MissingExtraError, UsageError
from veriphoto_training.commands.data import register
from veriphoto_training.data import cifake
from veriphoto_training.data.dataset import read_dataset


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """As Kaggle gives it, names and all."""
    root = tmp_path / "kaggle"
    for number, (part, folder) in enumerate([("train", "REAL"), ("train", "FAKE"), ("test", "REAL"), ("test", "FAKE")]):
        (root / part / folder).mkdir(parents=True)
        for index in range(9):
            name = f"{index:04d}.jpg" if index < 5 else f"{index:04d} ({index}).jpg"
            (root / part / folder / name).write_bytes(draw(100 * number + index, size=(32, 32)))
    return root


def test_the_set_becomes_what_training_reads(source: Path, tmp_path: Path) -> None:
    counts = cifake.arrange(source, tmp_path / "out", max_per_class=4)
    assert counts == {"train/real": 4, "train/ai": 4, "test/real": 4, "test/ai": 4}
    pictures = read_dataset(tmp_path / "out" / "train").pictures
    assert [picture.label for picture in pictures] == [0] * 4 + [1] * 4
    originals = {file.read_bytes() for file in (source / "train" / "FAKE").iterdir()}
    assert {picture.data for picture in pictures if picture.label} < originals


def test_a_larger_choice_keeps_the_smaller_one(source: Path, tmp_path: Path) -> None:
    cifake.arrange(source, tmp_path / "small", max_per_class=3)
    cifake.arrange(source, tmp_path / "large", max_per_class=6)
    small, large = (
        [(tmp_path / name / "test" / "real" / f"{index:05d}.jpg").read_bytes() for index in range(3)]
        for name in ("small", "large")
    )
    assert small == large


def test_what_is_not_the_set_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    for file in (source / "test" / "FAKE").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="test/REAL"):
        cifake.arrange(source, tmp_path / "place" / "out")
    assert not (tmp_path / "place").exists()


def test_an_existing_folder_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists"):
        cifake.arrange(source, tmp_path / "out")


def test_without_a_network_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: str) -> str:
        raise ConnectionError(f"no route for {handle}")

    kagglehub = ModuleType("kagglehub")
    kagglehub.dataset_download = refuse  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kagglehub", kagglehub)
    with pytest.raises(DataError, match=r"ConnectionError.*--source"):
        cifake.download()


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MissingExtraError, match=r"\[data\]"):
        cifake.download()


def test_the_command_lays_out_an_unpacked_download(source: Path, tmp_path: Path) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    app.command("other")(lambda: None)
    arguments = ["data", "fetch", "cifake", "--source", str(source), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--max-per-class", "2"])
    assert result.exit_code == 0
    assert "2 pictures" in result.output
    assert isinstance(CliRunner().invoke(app, arguments).exception, UsageError)
