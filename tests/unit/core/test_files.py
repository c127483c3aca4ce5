"""Files that readers find whole, and what is no file."""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from veriphoto.files import replace_text


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append(pipe.read_text()))
    reader.start()
    replace_text(pipe, "page")
    reader.join(10)
    assert said == ["page"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for target in ("there/page", "there/new/page"):
        link = tmp_path / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        replace_text(link, "page")
        assert link.is_symlink()
        assert (tmp_path / target).read_text() == "page"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        replace_text(tmp_path, "page")
    assert not list(tmp_path.iterdir())


def test_threads_may_write_one_file_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda number: replace_text(tmp_path / "page", str(number) * 100_000),
                [number % 8 for number in range(200)],
            )
        )
    assert len(set((tmp_path / "page").read_text())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
