from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from veriphoto.errors import DataError, UsageError
from veriphoto.manifest import Findings
from veriphoto_training.data.dataset import read_dataset
from veriphoto_training.network.model import load_checkpoint
from veriphoto_training.opinion.teacher import Teacher
from veriphoto_training.run.batches import Sampler, batches
from veriphoto_training.run.loop import LAST
from veriphoto_training.run.progress import Progress
from veriphoto_training.run.start import run_training


def run(tree: Path, output: Path, changes: Sequence[str] = (), **options: Any) -> Path:
    return run_training(
        data=tree,
        recipe_name="smoke",
        output=output,
        weights="none",
        changes=["validation_share=0.4", "validation_pictures=2", *changes],
        tracking=False,
        progress=Progress(quiet=True),
        **options,
    )


def test_a_killed_run_ends_as_one_that_was_not(tree: Path, tmp_path: Path) -> None:
    long = ["epochs=8", "learning_rate=1e-2"]  # long enough to learn something, which calibration asks for
    whole = run(tree, tmp_path / "whole", long, stop_after=1000)  # further than it goes: all but the calibration
    run(tree, tmp_path / "killed", long, stop_after=4)  # one step after the first epoch's save: that step is done again
    resumed = run(tree, tmp_path / "killed", long, resume=True)
    first, second = (load_checkpoint(path) for path in (whole, resumed))
    for name, tensor in first[0].state_dict().items():
        assert torch.equal(tensor, second[0].state_dict()[name]), name
    findings = Findings.read(resumed.parent / "findings.json")
    assert findings.lineage.recipe == "smoke"
    assert deliveries(findings) == {"clean", "web", "hard"}


def test_a_run_goes_on_with_the_draws_of_its_device(tree: Path, tmp_path: Path) -> None:
    changes = ["epochs=2", "dropout=0.5"]
    run(tree, tmp_path / "whole", changes, stop_after=1000)
    run(tree, tmp_path / "killed", changes, stop_after=4)
    run(tree, tmp_path / "killed", changes, stop_after=1000, resume=True)
    first, second = (torch.load(tmp_path / name / LAST, weights_only=True) for name in ("whole", "killed"))
    assert first["state"]["step"] == second["state"]["step"]
    assert torch.equal(first["random"], second["random"])
    assert (first["random_on_device"] is not None) == torch.cuda.is_available()
    if torch.cuda.is_available():
        assert torch.equal(first["random_on_device"], second["random_on_device"])


def test_a_recipe_of_tiny_whole_pictures_is_calibrated_on_files_as_they_are(tree: Path, tmp_path: Path) -> None:
    changes = ["whole_picture=true", "two_views=false", "consistency=0", "splice_share=0"]
    whole = Findings.read(run(tree, tmp_path / "whole", changes).parent / "findings.json")
    assert deliveries(whole) == {"clean"}


def deliveries(findings: Findings) -> set[str]:
    return {name.partition("_")[0] for name in findings.metrics}


def test_an_unfinished_run_is_not_overwritten(tree: Path, tmp_path: Path) -> None:
    run(tree, tmp_path / "run", stop_after=5)
    with pytest.raises(UsageError, match="--resume"):
        run(tree, tmp_path / "run")
    with pytest.raises(UsageError, match="another recipe, teacher, seed or data"):
        run(tree, tmp_path / "run", ["dropout=0.1"], resume=True)
    with pytest.raises(UsageError, match="or data"):
        run(tree, tmp_path / "run", max_per_class=5, resume=True)


def test_batches_do_not_depend_on_where_a_run_starts_or_on_threads(tree: Path) -> None:
    sampler = Sampler(read_dataset(tree).pictures, 0.5)

    def make(data: bytes, rng: Any) -> Any:
        return (rng.integers(0, 256, (2, 2, 3)).astype("uint8") + len(data) % 2,)

    whole = list(batches(sampler, make, batch_size=4, seed=1, start=0, stop=6, threads=1))
    rest = list(batches(sampler, make, batch_size=4, seed=1, start=3, stop=6, threads=3))
    for (views, pictures), (again, pictures_again) in zip(whole[3:], rest, strict=True):
        assert (views == again).all()
        assert pictures == pictures_again


def test_a_run_with_a_teacher_learns_what_it_sees_and_resumes_to_the_same(tree: Path, tmp_path: Path) -> None:
    pictures = read_dataset(tree).pictures
    random = np.random.default_rng(0)
    Teacher(
        logits=random.normal(size=len(pictures)).astype(np.float32),
        features=random.normal(size=(len(pictures), 4)).astype(np.float32),
        rows={picture.sha256: row for row, picture in enumerate(pictures)},
    ).write(tmp_path / "teacher.npz")
    changes = ["frozen_stages=2", "frozen_norms=true", "head_rate=3"]
    taught = {"teacher": tmp_path / "teacher.npz", "changes": changes}
    whole, _ = load_checkpoint(run(tree, tmp_path / "whole", stop_after=1000, **taught))
    run(tree, tmp_path / "killed", stop_after=4, **taught)
    resumed, _ = load_checkpoint(run(tree, tmp_path / "killed", resume=True, **taught))
    alone, _ = load_checkpoint(run(tree, tmp_path / "alone", changes, stop_after=1000))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    last, first = "blocks.6.0.conv_pw.weight", "blocks.0.0.conv_pw.weight"
    assert not torch.equal(whole.state_dict()[last], alone.state_dict()[last])
    assert torch.equal(whole.state_dict()[first], alone.state_dict()[first]), "the first stages are frozen"


def test_look_weights_reach_the_draw_and_few_photos_are_refused(tree: Path, tmp_path: Path) -> None:
    pictures = read_dataset(tree).pictures
    weights = np.where([one.path == pictures[0].path for one in pictures], 1e6, 1.0)
    drawn = [Sampler(pictures, 0.5, weights).draw(np.random.default_rng(seed)) for seed in range(60)]
    assert {one.path for one in drawn if not one.label} == {pictures[0].path}
    assert len({one.path for one in drawn if one.label}) > 4
    run(tree, tmp_path / "run", ["balance_looks=1", "validation_share=0.2"], stop_after=1)
    for file in sorted((tree / "real" / "source0").iterdir()):
        file.unlink()
    with pytest.raises(DataError, match="at least 5"):
        run(tree, tmp_path / "few", ["balance_looks=1"])
