"""How a command finds the running server: file, options and environment."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from veriphoto.environment import Variable
from veriphoto.errors import ServiceUnavailableError, UsageError
from veriphoto.shared_names import SERVER_FILE
from veriphoto_release.triton import URL_VARIABLE, find_triton
from veriphoto_serving.triton import server_file
from veriphoto_serving.triton.options import TritonOptions


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    monkeypatch.delenv(Variable.TRITON_ADMIN_KEY, raising=False)
    monkeypatch.delenv(Variable.TRITON_ADMIN_KEY_FILE, raising=False)


def left(var: Path, repository: Path, port: int, pid: int | None = None) -> TritonOptions:
    options = TritonOptions(model_repository=repository, var=var, http_port=port, admin_key=f"key {port}")
    options.runtime.mkdir(parents=True)
    server_file.write(options, os.getpid() if pid is None else pid)
    return options


def test_a_running_server_is_found(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    repository.mkdir()
    options = left(tmp_path / "var", repository, 8100)
    left(tmp_path / "var", tmp_path / "other models", 8200)
    file = options.runtime / SERVER_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = find_triton(tmp_path / "var", repository)
    assert (found.http_url, found.admin_key) == ("127.0.0.1:8100", "key 8100")
    assert "key" not in repr(found).replace("admin_key", "")
    server_file.remove(options)
    server_file.remove(options)
    with pytest.raises(ServiceUnavailableError, match="start it with: veriphoto serve"):
        find_triton(tmp_path / "var", repository)


def test_a_server_that_was_killed_is_not_found(tmp_path: Path) -> None:
    left(tmp_path / "var", tmp_path, 8100, pid=2**22 + 1)
    with pytest.raises(ServiceUnavailableError):
        find_triton(tmp_path / "var", tmp_path)


def test_of_several_one_must_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left(tmp_path / "var", tmp_path, 8100)
    left(tmp_path / "var", tmp_path, 8200)
    with pytest.raises(UsageError, match=r"127.0.0.1:8100, 127.0.0.1:8200; choose one with --triton-url"):
        find_triton(tmp_path / "var", tmp_path)
    assert find_triton(tmp_path / "var", tmp_path, url="http://127.0.0.1:8200/").admin_key == "key 8200"
    monkeypatch.setenv(URL_VARIABLE, "triton:8000")
    monkeypatch.setenv(Variable.TRITON_ADMIN_KEY, "secret")
    found = find_triton(tmp_path / "var", tmp_path)
    assert (found.http_url, found.admin_key) == ("triton:8000", "secret")


def test_the_key_may_lie_in_a_file_as_a_container_is_given_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, "triton:8000")
    monkeypatch.setenv(Variable.TRITON_ADMIN_KEY_FILE, str(tmp_path / "key"))
    with pytest.raises(UsageError, match=f"{Variable.TRITON_ADMIN_KEY_FILE}: .*key cannot be read"):
        find_triton(tmp_path / "var", tmp_path)
    (tmp_path / "key").write_text("of the secret\n")
    assert find_triton(tmp_path / "var", tmp_path).admin_key == "of the secret"
    monkeypatch.setenv(Variable.TRITON_ADMIN_KEY, "given")
    assert find_triton(tmp_path / "var", tmp_path).admin_key == "given"
