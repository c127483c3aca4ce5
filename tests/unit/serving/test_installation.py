from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from toy_model import REPOSITORY

from veriphoto_serving.triton import installation
from veriphoto_serving.triton.installation import (
    STUB,
    Installation,
    child_environment,
    find_installation,
    find_libpython,
    lay_out,
    libpython_name,
    link,
)

OWN = Installation(binary=Path("/opt/tritonserver/bin/tritonserver"))


@pytest.fixture
def wheel() -> Installation:
    found = find_installation(path="")
    assert found is not None
    return found


def test_the_wheels_server_is_complete(wheel: Installation) -> None:
    assert wheel.binary.is_file()
    assert set(wheel.python_backend) == {"libtriton_python.so", "triton_python_backend_utils.py", STUB}
    assert all(file.is_file() for file in wheel.python_backend.values())


def test_a_server_on_path_comes_first(tmp_path: Path) -> None:
    binary = tmp_path / "with space" / "tritonserver"
    binary.parent.mkdir()
    binary.touch(mode=0o755)
    assert find_installation(path=str(binary.parent)) == Installation(binary=binary)


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda _: None)
    assert find_installation(path="") is None


def test_the_stub_finds_this_python_first(wheel: Installation) -> None:
    environment = child_environment(wheel, {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": "/some/lib"})
    assert environment["PATH"] == f"{sys.prefix}/bin:/usr/bin:/bin"
    library, *rest = environment["LD_LIBRARY_PATH"].split(":")
    assert (Path(library) / libpython_name()).is_file()
    assert rest == ["/some/lib"]


def test_an_empty_library_path_gets_no_empty_entry(wheel: Installation) -> None:
    # An empty entry would mean the working directory.
    assert "" not in child_environment(wheel, {})["LD_LIBRARY_PATH"].split(os.pathsep)


def test_a_pythonhome_of_another_python_is_dropped() -> None:
    assert "PYTHONHOME" not in child_environment(OWN, {"PYTHONHOME": "/other"})


def test_threads_are_one_unless_chosen() -> None:
    assert child_environment(OWN, {})["OMP_NUM_THREADS"] == "1"
    assert child_environment(OWN, {"OMP_NUM_THREADS": "4"})["OMP_NUM_THREADS"] == "4"


def test_a_server_of_its_own_keeps_its_paths() -> None:
    environment = child_environment(OWN, {"PATH": "/usr/bin"})
    assert environment["PATH"] == "/usr/bin"
    assert "LD_LIBRARY_PATH" not in environment


def test_libpython_is_looked_for_where_a_moved_python_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.sysconfig, "get_config_var", lambda _: "/install/lib")
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    library = tmp_path / "lib" / libpython_name()
    library.parent.mkdir()
    library.touch()
    assert find_libpython() == library


def test_libpython_is_looked_for_in_the_loaders_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.sysconfig, "get_config_var", lambda _: None)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    ldconfig = tmp_path / "ldconfig"
    name = libpython_name()
    ldconfig.write_text(
        f"#!/bin/sh\necho '\t{name}.9 (libc6) => /no'; echo '\t{name} (libc6,x86-64) => /usr/lib/{name}'\n"
    )
    ldconfig.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert find_libpython() == Path(f"/usr/lib/{name}")
    ldconfig.write_text("#!/bin/sh\n")
    assert find_libpython() is None


def test_a_link_is_made_kept_and_replaced(tmp_path: Path) -> None:
    at = tmp_path / "link"
    link(tmp_path / "one", at)
    before = at.lstat().st_ino
    link(tmp_path / "one", at)
    assert at.lstat().st_ino == before
    link(tmp_path / "two", at)
    assert at.readlink() == tmp_path / "two"
    assert list(tmp_path.iterdir()) == [at]


def test_where_nobody_is_asked_the_ensemble_has_its_shorter_configuration(tmp_path: Path) -> None:
    """And back: the directory is laid out anew at each start, and shows what is published meanwhile."""
    at = tmp_path / "triton" / "models"
    at.parent.mkdir()
    shorter = (REPOSITORY / "detector" / "configs" / "unasked.pbtxt").read_text()
    for asks in (True, False, False, True):
        lay_out(REPOSITORY, at, asks=asks)
        assert {model.name for model in at.iterdir()} == {model.name for model in REPOSITORY.iterdir()}
        assert ((at / "detector" / "config.pbtxt").read_text() == shorter) is not asks
        assert (at / "detector" / "1").is_dir()
        assert (at / "classifier").resolve() == (REPOSITORY / "classifier").resolve()


def test_a_repository_without_the_shorter_configuration_is_served_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "repository" / "some_model").mkdir(parents=True)
    lay_out(tmp_path / "repository", tmp_path / "models", asks=False)
    assert (tmp_path / "models").readlink() == tmp_path / "repository"
