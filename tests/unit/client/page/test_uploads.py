"""What is dropped on the page: ZIP files are opened, under limits, and a damaged member fails alone."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from photo_corpus import picture

from veriphoto.contract import MAX_FILE_BYTES
from veriphoto_client.page.gateway import MOST_FILES, PageError
from veriphoto_client.page.uploads import MOST_PHOTOS, photos_of


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_zips_are_opened_and_their_clutter_is_left_out() -> None:
    archive = zipped({"a": b"1", "deep/b": b"2", "deep/": b"", "__MACOSX/a": b"3", "deep/.hidden": b"4"})
    names = [photo.name for photo in photos_of([("all.zip", archive), ("c.jpg", b"5")])]
    assert names == ["all.zip/a", "all.zip/deep/b", "c.jpg"]


def test_names_of_an_archive_that_no_form_may_hold_are_cut() -> None:
    """The gateway would refuse the form, and with it the photos beside this one."""
    found = photos_of([("all.zip", zipped({f"{'x' * 60_000}/mug.jpg": b"1", "../above.jpg": b"2", "../.b": b"3"}))])
    assert [len(photo.name) for photo in found] == [255, len("all.zip/../above.jpg")]
    assert found[0].name.endswith("x/mug.jpg")


def test_no_two_photos_have_one_name() -> None:
    files = [("a.jpg", b"1"), ("a.jpg", b"2"), ("a.jpg (2)", b"3"), ("a.jpg", b"4"), ("x" * 300, b""), ("x" * 301, b"")]
    found = [photo.name for photo in photos_of(files)]
    assert found[:4] == ["a.jpg", "a.jpg (2)", "a.jpg (2) (2)", "a.jpg (3)"]
    assert len(set(found)) == 6
    assert max(map(len, found)) == 255


def test_a_zip_bomb_is_not_unpacked() -> None:
    (photo,) = photos_of([("bomb.zip", zipped({"a": bytes(100_000_000)}))])
    assert len(photo.content) == MAX_FILE_BYTES + 1


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_zipfile_unpacks_without_a_bound_is_not_unpacked(method: int) -> None:
    """A kilobyte of it can be a gigabyte, which takes the page down before one byte too many is seen."""
    bomb = zipped({"bomb.jpg": bytes(100_000_000), "a.jpg": picture(1)}, method)
    tracemalloc.start()
    try:
        photos = photos_of([("all.zip", bomb)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [photo.problem for photo in photos] == [UNKNOWN] * 2
    assert peak < 10_000_000


@pytest.mark.parametrize("content", [b"PK\x03\x04 and nothing more", b"PK"])
def test_a_damaged_zip_is_named(content: bytes) -> None:
    with pytest.raises(PageError, match=r"all\.zip cannot be opened"):
        photos_of([("all.zip", content)])


METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGED = "its part of the ZIP is damaged"
LOCKED = "in the ZIP it is locked with a password"
UNKNOWN = "it is packed in a way that cannot be opened here"


def of_first(whole: bytes, offset: int, value: bytes) -> bytes:
    """Writes over the first member's header and its entry in the archive's list, which has it two bytes later."""
    changed = bytearray(whole)
    for start in (whole.index(b"PK\x03\x04") + offset, whole.index(b"PK\x01\x02") + offset + 2):
        changed[start : start + len(value)] = value
    return bytes(changed)


@pytest.mark.parametrize("method", METHODS)
def test_a_zip_damaged_anywhere_is_named_or_read(method: int) -> None:
    """Eight bytes at a time: whatever zipfile makes of them, the reader of the page is told, and nothing else."""
    random = np.random.default_rng(method)
    photos = {"a.jpg": picture(1), "b.jpg": picture(2) * 3}
    whole = zipped(photos, method)
    refused = alone = 0
    for _ in range(400):
        at = int(random.integers(4, len(whole) - 8))
        try:
            found = photos_of([("all.zip", whole[:at] + random.bytes(8) + whole[at + 8 :])])
        except PageError:
            refused += 1
            continue
        assert all(bool(photo.content) != bool(photo.problem) for photo in found)
        alone += len([photo for photo in found if photo.content in photos.values()]) == 1
    assert refused  # both kinds of damage were met: to the archive's list, and to one member
    assert alone > refused


def cut(whole: bytes) -> bytes:
    """The first member's bytes end in the middle of what it says to hold."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        half = archive.infolist()[0].compress_size // 2
    return of_first(whole, 18, half.to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda whole: of_first(whole, 14, b"\x00\x00\x00\x00"), DAMAGED),  # its checksum
        (lambda whole: of_first(whole, 6, b"\x01"), LOCKED),
        (lambda whole: of_first(whole, 8, b"\x63"), UNKNOWN),
        (cut, DAMAGED),
    ],
    ids=["checksum", "password", "method", "cut"],
)
def test_one_damaged_member_of_a_zip_fails_alone(damage: Callable[[bytes], bytes], problem: str) -> None:
    sound = {f"{number}.jpg": picture(number) for number in range(2 * MOST_FILES)}
    photos = photos_of([("all.zip", damage(zipped({"bad.jpg": picture(99), **sound}))), ("c.jpg", b"5")])
    assert [(photo.name, photo.problem) for photo in photos][:1] == [("all.zip/bad.jpg", problem)]
    assert [photo.content for photo in photos] == [b"", *sound.values(), b"5"]


def test_damaged_members_count_among_what_is_too_much() -> None:
    """Or an archive of nothing but damage could be unpacked for ever."""
    locked = of_first(zipped({"a": bytes(MAX_FILE_BYTES)}), 6, b"\x01")
    assert [photo.problem for photo in photos_of([("all.zip", locked)] * 25)] == [LOCKED] * 25
    with pytest.raises(PageError, match="veriphoto scan"):
        photos_of([("all.zip", locked)] * 26)
    with pytest.raises(PageError, match="veriphoto scan"):
        photos_of([("all.zip", of_first(zipped({"a": b""}), 6, b"\x01"))] * (MOST_PHOTOS + 1))


def test_too_much_at_once_is_refused() -> None:
    with pytest.raises(PageError, match="veriphoto scan"):
        photos_of([(f"{number}.jpg", b"1") for number in range(MOST_PHOTOS + 1)])
