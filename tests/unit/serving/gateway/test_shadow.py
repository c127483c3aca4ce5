"""The challenger in the shadow: never in the way, counted per version, exchanged while it runs."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import pytest
from toy_model import SAMPLES, copy_repository, publish_toy

from veriphoto.errors import MissingExtraError, ModelError
from veriphoto.manifest import MANIFEST_FILE
from veriphoto.shared_names import CHALLENGER_FOLDER, NUMBER_FILE, SHADOW_FOLDER
from veriphoto_release import shadow as casting
from veriphoto_release.registry import RegisteredModel, Registry
from veriphoto_serving.gateway.answering import shadow
from veriphoto_serving.gateway.answering.shadow import Offer, Shadow, ShadowTally, compare_one, fraction, read_tallies

PICTURE = SAMPLES[0].read_bytes()


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_toy(copy_repository(tmp_path_factory.mktemp("models") / "repository"), 1)


@pytest.fixture
def var(tmp_path: Path, graph: Path) -> Path:
    """With a challenger in place, as ``models shadow`` puts it there."""
    target = tmp_path / "var" / SHADOW_FOLDER / CHALLENGER_FOLDER
    target.mkdir(parents=True)
    for name in ("model.onnx", "manifest.json"):
        (target / name).write_bytes((graph / name).read_bytes())
    (target / NUMBER_FILE).write_text("7\n")
    return tmp_path / "var"


class Shelf(Registry):
    """A registry whose models lie in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def download(self, model: RegisteredModel) -> Path:
        return self._folder


def cast(number: int, folder: Path, var: Path) -> Path:
    model = RegisteredModel(number=number, sha256="", created="", run_id="", tags={})
    return casting.start(Shelf(folder), model, var)


def test_another_user_can_read_what_was_put_there(graph: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 12345)
    target = cast(7, graph, tmp_path)
    assert target.stat().st_mode & 0o055 == 0o055
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in target.iterdir())
    assert target.parent.stat().st_uid == tmp_path.stat().st_uid, "it writes the tally there"


def test_a_copy_that_fails_leaves_nothing_behind(graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cast(7, graph, tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(casting.shutil, "copy", full)
    with pytest.raises(ModelError, match="No space left"):
        cast(8, graph, tmp_path)
    assert list(before.parent.iterdir()) == [before]
    assert (before / NUMBER_FILE).read_text() == "7\n"


def test_a_challenger_that_fails_does_not_end_the_process_for_the_next_one(
    var: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = var / SHADOW_FOLDER
    challenger = shadow._Challenger(folder / CHALLENGER_FOLDER)
    assert challenger.ready()

    class Broken:
        def run(self, *_: object) -> None:
            raise RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT")

    challenger._session = Broken()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            compare_one(Offer(PICTURE, 3, 0.9, 0.5), challenger, folder)
    assert ["RuntimeError" in record.getMessage() for record in caplog.records] == [True]
    (folder / CHALLENGER_FOLDER / NUMBER_FILE).write_bytes(b"\xff")
    compare_one(Offer(PICTURE, 3, 0.9, 0.5), shadow._Challenger(folder / CHALLENGER_FOLDER), folder)
    assert read_tallies(folder) == {}


def test_a_challenger_that_cannot_be_used_is_told_once_and_tried_again_when_it_changes(
    var: Path, graph: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = var / SHADOW_FOLDER
    challenger = shadow._Challenger(folder / CHALLENGER_FOLDER)
    (folder / CHALLENGER_FOLDER / MANIFEST_FILE).write_text("torn")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            compare_one(Offer(PICTURE, 3, 0.9, 0.5), challenger, folder)
    assert [MANIFEST_FILE in record.getMessage() for record in caplog.records] == [True]
    (folder / CHALLENGER_FOLDER / MANIFEST_FILE).unlink()
    (folder / CHALLENGER_FOLDER / MANIFEST_FILE).write_bytes((graph / MANIFEST_FILE).read_bytes())
    compare_one(Offer(PICTURE, 3, 0.9, 0.5), challenger, folder)
    assert list(read_tallies(folder)) == ["version 3, model 7"]


def test_a_tally_that_cannot_be_written_is_told(var: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = var / SHADOW_FOLDER
    (folder / f"{shadow.TALLY_FILE}.new").mkdir()
    compare_one(Offer(PICTURE, 3, 0.9, 0.5), shadow._Challenger(folder / CHALLENGER_FOLDER), folder)
    assert "counts nothing" in caplog.text


def test_a_share_needs_what_runs_the_challenger(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"'onnxruntime' is not installed.*\[local\]"):
        Shadow(var, 0.1)
    Shadow(var, 0.0).close()


def test_a_tally_counts_each_kind_of_difference() -> None:
    tally = ShadowTally()
    tally.add(True, True, 0.1)
    tally.add(True, False, -0.5)
    tally.add(False, True, 0.3)
    assert (tally.pictures, tally.agreed, tally.only_champion, tally.only_challenger) == (3, 1, 1, 1)
    assert tally.difference_sum == pytest.approx(0.9)
    assert tally.difference_max == 0.5


def test_each_pair_has_its_tally(var: Path) -> None:
    folder = var / SHADOW_FOLDER
    challenger = shadow._Challenger(folder / CHALLENGER_FOLDER)
    for version in (3, 3, 4):
        compare_one(Offer(PICTURE, version, 0.99, 0.5, dropped=2), challenger, folder)
    compare_one(Offer(b"no picture", 4, 0.99, 0.5), challenger, folder)
    found = read_tallies(folder)
    assert {name: tally.pictures for name, tally in found.items()} == {"version 3, model 7": 2, "version 4, model 7": 1}
    assert casting.tallies(var)["version 3, model 7"]["pictures"] == 2
    assert casting.tallies(var)["version 3, model 7"]["dropped"] == 4
    assert not casting.stop(var, only=8)
    assert casting.stop(var, only=7)
    compare_one(Offer(PICTURE, 5, 0.99, 0.5), challenger, folder)
    assert len(read_tallies(folder)) == 2


def test_the_share_is_one_of_pictures() -> None:
    drawn = [fraction(str(number).encode()) for number in range(2000)]
    assert sum(each < 0.1 for each in drawn) == pytest.approx(200, abs=50)
    assert fraction(PICTURE) == fraction(PICTURE)


def test_without_a_share_there_is_no_process(tmp_path: Path) -> None:
    quiet = Shadow(tmp_path, 0.0)
    quiet.offer(PICTURE, 1, 0.5, 0.5)
    quiet.close()
    assert not list(tmp_path.iterdir())


def test_an_offer_never_waits(var: Path) -> None:
    """Nor where more comes than the process can score."""
    full = Shadow(var, 1.0)
    try:
        start = time.perf_counter()
        for _ in range(200):
            full.offer(PICTURE, 3, 0.9, 0.5)
        assert (time.perf_counter() - start) / 200 < 0.02
        assert full.dropped > 0
        deadline = time.monotonic() + 60
        while not read_tallies(var / SHADOW_FOLDER) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert read_tallies(var / SHADOW_FOLDER)["version 3, model 7"].pictures >= 1
    finally:
        full.close()
