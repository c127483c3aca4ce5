"""What must go goes, everywhere; that it went stays."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from brightness_model import draw
from click.testing import Result
from small_disk import small_disk
from sqlalchemy import select
from typer.testing import CliRunner

from veriphoto.errors import UsageError
from veriphoto_client.commandline.app import build
from veriphoto_review.cases.case import Truth
from veriphoto_review.cases.forgetting import forget, retain
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import now
from veriphoto_review.database.schema import cases, feedback, history
from veriphoto_review.intake.feedback import FeedbackDesk

from .kit import bring, row

NAME = "seller-Zebrafish"
NOTE = "note-Quagga"


@pytest.fixture
def kept(store: CaseStore, tmp_path: Path) -> Path:
    """Two cases of one picture, of two sellers, and one of another picture; copies kept."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / f"{name}.jpg").write_bytes(draw(seed))
    rows = [
        row(
            number,
            path=str(tmp_path / f"{name}.jpg"),
            sha256=hashlib.sha256((tmp_path / f"{name}.jpg").read_bytes()).hexdigest(),
            seller=seller,
            request_id=f"{number:032x}",
        )
        for number, (name, seller) in enumerate([("a", NAME), ("b", "other"), ("c", NAME)])
    ]
    bring(store.database, tmp_path, rows, keep_pictures=tmp_path / "kept")
    store.decide([case.id for case in store.page(Filter())], Truth.REAL, reviewer="ann", note=NOTE)
    return tmp_path / "kept"


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_copies_are_kept_once_and_for_the_owner_alone(kept: Path, store: CaseStore) -> None:
    assert len(files(kept)) == 2
    assert kept.stat().st_mode & 0o077 == 0
    assert all(Path(case.picture).read_bytes() for case in store.page(Filter()))


def test_a_disk_without_room_keeps_no_part_of_a_photo(store: CaseStore, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "8k") as small:
        (tmp_path / "a.jpg").write_bytes(draw(1) + bytes(10_000))
        with pytest.raises(UsageError, match="cannot keep pictures: No space left on device"):
            bring(store.database, tmp_path, [row(1, path=str(tmp_path / "a.jpg"), sha256="")], keep_pictures=small)
        assert files(small) == []
        assert store.count(Filter()) == 0, "it comes in with its copy once there is room"


def test_a_folder_that_cannot_keep_copies_is_named(store: CaseStore, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(draw(1))
    with pytest.raises(UsageError, match=r"a\.jpg cannot keep pictures: File exists; .* name another folder"):
        bring(
            store.database,
            tmp_path,
            [row(1, path=str(tmp_path / "a.jpg"), sha256="")],
            keep_pictures=tmp_path / "a.jpg",
        )


@pytest.mark.parametrize("how", ["forget", "retain"])
def test_a_case_goes_no_sooner_than_its_copy(how: str, kept: Path, store: CaseStore) -> None:
    """Or nobody would know any more that the copy is there."""

    def remove() -> int:
        if how == "forget":
            return forget(store.database, seller=NAME, actor="ann").cases
        return retain(store.database, cases_days=0.0).cases

    (case,) = (case for case in store.page(Filter()) if case.reference.endswith("c.jpg"))
    copy = Path(case.picture)
    data = copy.read_bytes()
    copy.unlink()
    copy.mkdir()  # which no unlink removes, whoever asks
    with pytest.raises(UsageError, match="cannot be removed: Is a directory; its cases stay"):
        remove()
    assert store.get(case.id).picture == str(copy)
    copy.rmdir()
    copy.write_bytes(data)
    assert remove() == (2 if how == "forget" else 3)
    assert not copy.exists()


def test_a_seller_is_forgotten(kept: Path, store: CaseStore, tmp_path: Path) -> None:
    numbers = {case.id for case in store.page(Filter()) if case.seller == NAME}
    FeedbackDesk(store.database).take(kind="reference", value="later.jpg", truth="real", note="", actor="shop")
    done = forget(store.database, actor="dpo", seller=NAME)
    assert (done.cases, done.pictures) == (2, 1), "the other seller's copy stays"
    assert [case.seller for case in store.page(Filter())] == ["other"]
    assert len(files(kept)) == 1
    with store.database.reading() as connection:
        left = connection.execute(select(history).where(history.c.case_id.in_(numbers))).all()
        assert {(line.action, line.actor, line.before, line.after) for line in left} == {
            ("forgotten", "dpo", None, None)
        }
        assert len(left) == 2
        assert len(connection.execute(select(feedback)).all()) == 1
    if store.database.dialect == "sqlite":
        for part in tmp_path.glob("review.db*"):
            assert NAME.encode() not in part.read_bytes(), "nothing is left in free pages or beside the file"
    again = row(0, path=str(tmp_path / "a.jpg"), sha256=hashlib.sha256(draw(1)).hexdigest(), seller=NAME)
    assert bring(store.database, tmp_path, [again]).new == 0, "an import does not bring it back"


def test_what_is_forgotten_meets_every_condition_also_where_two_have_one_value(
    store: CaseStore, tmp_path: Path
) -> None:
    rows = [row(1, path="123", seller="123"), row(2, path="123", seller="other"), row(3, seller="123")]
    bring(store.database, tmp_path, rows)
    assert forget(store.database, actor="dpo", seller="123", reference="123").cases == 1
    assert {case.sha256 for case in store.page(Filter())} == {f"{number:064x}" for number in (2, 3)}


def test_a_picture_is_forgotten_by_hash_with_its_waiting_truth(kept: Path, store: CaseStore) -> None:
    sha256 = hashlib.sha256(draw(1)).hexdigest()
    other = "ef" * 32
    desk = FeedbackDesk(store.database)
    desk.take(kind="sha256", value=other, truth="real", note=NOTE, actor="shop")
    assert forget(store.database, actor="dpo", sha256=sha256.upper()).cases == 2
    assert len(files(kept)) == 1
    assert forget(store.database, actor="dpo", sha256=other).feedback == 1
    with pytest.raises(UsageError, match="say what to forget"):
        forget(store.database, actor="dpo", shop="north")


def test_the_command_says_where_nothing_matches(store: CaseStore, tmp_path: Path) -> None:
    bring(store.database, tmp_path, [row(1, path=str(tmp_path / "gone.jpg"), sha256=""), row(2)])
    wanted = ["review", "forget", "--database", store.database.url]

    def run(*words: str) -> Result:
        return CliRunner().invoke(build(), [*wanted, *words])

    missed = run("--sha256", "ab" * 32)
    assert missed.exit_code == 1
    assert "nothing matches" in missed.stderr
    assert "1 cases have no sha256" in missed.stderr
    found = run("--sha256", f"{2:064x}")
    assert (found.exit_code, "1 cases have no sha256" in found.stderr) == (0, True)
    assert "forgotten: 1 cases" in found.stdout
    by_name = run("--reference", str(tmp_path / "gone.jpg"))
    assert (by_name.exit_code, by_name.stderr) == (0, "")
    assert store.count(Filter()) == 0


def test_names_that_are_no_text_are_found_as_they_were_taken(store: CaseStore, tmp_path: Path) -> None:
    name = os.fsdecode(b"photos/\xff.jpg")
    bring(store.database, tmp_path, [row(1, path=name), row(2, path="b.jpg", seller=name), row(3, shop=name)])
    assert store.named(name).sha256 == f"{1:064x}"
    for words in (["--reference", name], ["--seller", name], ["--sha256", f"{3:064x}", "--shop", name]):
        told = CliRunner().invoke(build(), ["review", "forget", "--database", store.database.url, *words])
        assert "forgotten: 1 cases" in told.output, told.output
    assert forget(store.database, actor=name, reference=name).cases == 0


def test_a_seller_and_a_reference_of_one_name_both_count(store: CaseStore, tmp_path: Path) -> None:
    bring(store.database, tmp_path, [row(1, path="acme", seller="acme"), row(2, path="acme", seller="other")])
    assert forget(store.database, actor="dpo", seller="acme", reference="acme").cases == 1
    assert [case.seller for case in store.page(Filter())] == ["other"]


def test_retention_says_how_many_open_cases_stay(store: CaseStore, tmp_path: Path) -> None:
    bring(store.database, tmp_path, [row(1), row(2), row(3)])
    store.decide([store.page(Filter())[0].id], Truth.AI, reviewer="ann")
    arguments = ["review", "retain", "--database", store.database.url, "--cases"]
    told = CliRunner().invoke(build(), [*arguments, "1"]).output
    assert "removed: 0 cases, 0 kept copies; 0 open cases older than 1 days stay" in told
    told = CliRunner().invoke(build(), [*arguments, "0"]).output
    assert "removed: 1 cases, 0 kept copies; 2 open cases older than 0 days stay" in told
    assert store.count(Filter()) == 2


def test_retention(kept: Path, store: CaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    one, *others = [case.id for case in store.page(Filter())]
    assert retain(store.database, cases_days=1.0, pictures_days=1.0).cases == 0
    with store.database.writing() as connection:
        connection.execute(cases.update().where(cases.c.id == one).values(decided_at=now() - 10 * 86_400))
    assert retain(store.database, cases_days=9.0).cases == 1
    assert [change.action for change in store.history(one)] == ["expired"]
    before = len(files(kept))
    assert retain(store.database, pictures_days=0.0).pictures == before > 0
    assert files(kept) == []
    assert sorted(case.id for case in store.page(Filter())) == sorted(others)
    assert {case.picture for case in store.page(Filter())} == {""}
