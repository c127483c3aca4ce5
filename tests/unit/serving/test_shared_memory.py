import errno
import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from veriphoto_serving.triton import shared_memory

OLD = time.time() - 60


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def mapped(directory: Path) -> Iterator[Path]:
    region = leave(directory, "mapped")
    with region.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        yield region


def leave(directory: Path, name: str, prefix: str = shared_memory.PREFIX) -> Path:
    region = directory / f"{prefix}{name}"
    region.write_bytes(bytes(4096))
    os.utime(region, (OLD, OLD))
    return region


def refuse_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "no leases here")

    monkeypatch.setattr(fcntl, "fcntl", refuse)


def test_removes_only_what_nobody_has_mapped(directory: Path, mapped: Path) -> None:
    dead = leave(directory, "dead")
    foreign = leave(directory, "1", prefix="somebody_elses_")
    assert shared_memory.remove_stale(directory) == [dead]
    assert sorted(directory.iterdir()) == sorted([mapped, foreign])


def test_leaves_links_alone(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("elsewhere") / "precious"
    target.touch()
    (directory / f"{shared_memory.PREFIX}link").symlink_to(target)
    assert shared_memory.remove_stale(directory) == []
    assert target.exists()


def test_keeps_a_region_that_is_only_open_yet(directory: Path) -> None:
    region = leave(directory, "in the making")
    with region.open("r+b"):
        assert shared_memory.remove_stale(directory) == []
    assert shared_memory.remove_stale(directory) == [region]


def test_without_leases_proc_is_asked(directory: Path, mapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_leases(monkeypatch)
    dead = leave(directory, "dead")
    assert shared_memory.remove_stale(directory) == [dead]
    assert mapped.exists()


def test_without_leases_new_regions_are_kept(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_leases(monkeypatch)
    newborn = leave(directory, "newborn")
    os.utime(newborn)
    assert shared_memory.remove_stale(directory) == []


def test_users_are_found_by_prefix(directory: Path, mapped: Path) -> None:
    leave(directory, "dead")
    assert shared_memory.users(f"{shared_memory.PREFIX}mapped", directory) == {os.getpid()}
    assert shared_memory.users(f"{shared_memory.PREFIX}dead", directory) == set()


def test_remove_takes_one_servers_regions_only(directory: Path) -> None:
    leave(directory, "one_1")
    leave(directory, "one_2")
    other = leave(directory, "other_1")
    shared_memory.remove(f"{shared_memory.PREFIX}one_", directory)
    assert list(directory.iterdir()) == [other]
