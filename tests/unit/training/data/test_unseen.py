"""Variants are judged on pictures that the run was not trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from toy_model import SAMPLES
from typer.testing import CliRunner

from veriphoto.errors import UsageError
from veriphoto_release.commands import export
from veriphoto_training.data.dataset import Dataset, Picture
from veriphoto_training.data.splits import split_dataset, unseen


@pytest.fixture
def data() -> Dataset:
    return Dataset(
        pictures=tuple(
            Picture(
                path=f"{label}/{number}",
                label=label,
                source=f"shop{number % 4}",
                group=f"{label}/{number // 2}",
                file=SAMPLES[number % 4],
            )
            for label in (0, 1)
            for number in range(40)
        )
    )


def training(data: Dataset) -> dict[str, object]:
    return {
        "data_fingerprint": data.fingerprint,
        "recipe": {"validation_share": 0.2},
        "holdout_sources": ["shop3"],
        "holdout_generators": [],
        "seed": 1,
    }


def test_of_its_own_data_what_it_kept_out(data: Dataset) -> None:
    pictures, what = unseen(data, training(data))
    split = split_dataset(data.pictures, 0.2, ["shop3"], [], 1)
    assert split.holdout
    assert split.validation
    assert sorted(one.path for one in pictures) == sorted(one.path for one in (*split.holdout, *split.validation))
    assert not {one.group for one in pictures} & {one.group for one in split.train}
    assert what.startswith("kept out of training")


def test_of_other_data_all(data: Dataset) -> None:
    other = Dataset(pictures=data.pictures[1:])
    pictures, what = unseen(other, training(data))
    assert pictures == other.pictures
    assert "not the run's" in what


def test_a_checkpoint_that_does_not_say(data: Dataset) -> None:
    with pytest.raises(UsageError, match="does not say what its run left out"):
        unseen(data, {"data_fingerprint": data.fingerprint})
    with pytest.raises(UsageError, match="does not say what its run left out"):
        unseen(data, {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--variants"], "--evaluation DIR"),
        (["--variants"], "--evaluation DIR"),
        ([], "name the directory of a training run"),
        (["run", "--unseen-by", "other"], "goes with a published version"),
    ],
)
def test_options_that_do_not_fit(words: list[str], message: str) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    export.register(app)
    result = CliRunner().invoke(app, ["export", *words])
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)


def test_the_repository_is_looked_at_before_any_picture(tmp_path: Path) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    export.register(app)
    words = ["export", "--variants", "--evaluation", str(tmp_path), "--model-repository", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, UsageError)
    assert "holds no version" in str(result.exception)
