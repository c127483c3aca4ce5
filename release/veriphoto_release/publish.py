"""Writes version directories that Triton can never see half-made.

Everything is written and read back in a staging directory on the same filesystem, flushed to the disk and moved into
place with one rename. Staging directories that a killed process left behind are removed by the next one; the lock that
tells them from a living one's dies with its process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from veriphoto.contract import CLASSIFIER
from veriphoto.errors import ModelError, UsageError
from veriphoto.files import flush
from veriphoto.manifest import ONNX_FILE
from veriphoto_release.bundle import ModelBundle

GLUE_FILE: Final = "model.py"
"""Runs the version in Triton's Python backend; every version carries the repository's own."""

_STAGING: Final = ".staging-"  # not a number, so Triton takes it for no version
_WITHDRAWN: Final = ".withdrawn-"
"""A version that was loaded and not kept. Answers may carry its number, so it is kept for inspection."""
_LARGEST_VERSION: Final = 2**24  # larger whole numbers are not exact in the FP32 OPERATING_POINT


def next_version(repository: Path) -> int:
    """Returns the number after the highest that a version with a graph has or had, or 1.

    Args:
        repository: A Triton model repository.
    """
    withdrawn = (repository / CLASSIFIER).glob(f"{_WITHDRAWN}[0-9]*")
    gone = max((int(path.name.removeprefix(_WITHDRAWN)) for path in withdrawn), default=0)
    return max(latest(repository) or 0, gone) + 1


def require_free(repository: Path, version: int) -> None:
    """Checks that a version can be published.

    Args:
        repository: A Triton model repository.
        version: Version number.

    Raises:
        UsageError: If the number will not do, or a version with a graph has it.
    """
    if not 1 <= version <= _LARGEST_VERSION:
        raise UsageError(f"a version lies between 1 and {_LARGEST_VERSION}, {version} does not")
    target = repository / CLASSIFIER / str(version)
    if _is_taken(target) or target.with_name(f"{_WITHDRAWN}{version}").exists():
        raise UsageError(f"{target} exists or existed; versions never change, publish another")


def publish(bundle: ModelBundle, repository: Path, version: int) -> Path:
    """Writes a version of the classifier.

    Args:
        bundle: The model; its graph has been compared with the network.
        repository: A Triton model repository, with the classifier's configuration.
        version: A number that no version with a graph has yet.

    Returns:
        The version's directory.

    Raises:
        UsageError: If the version exists or the repository is not one.
        ModelError: If the disk refuses, or what was written does not read back.
    """
    with repository_lock(repository):
        return write_version(bundle, repository, version)


def write_version(bundle: ModelBundle, repository: Path, version: int) -> Path:
    """Does what ``publish`` does for a caller that holds ``repository_lock``.

    Raises:
        UsageError: If the version exists or the repository is not one.
        ModelError: If the disk refuses, or what was written does not read back.
    """
    numbered = bundle.as_version(version)
    target = repository / CLASSIFIER / str(version)
    try:
        require_free(repository, version)
        _sweep(target.parent)
        staged = Path(tempfile.mkdtemp(prefix=_STAGING, dir=target.parent))
        try:
            shutil.copy(_glue(repository), staged / GLUE_FILE)
            numbered.write(staged)
            _settle(staged, target)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        raise ModelError(f"cannot write {target}: {error.strerror or error}; nothing was published") from error
    return target


def withdraw(repository: Path, version: int) -> None:
    """Takes a version out of Triton's sight in one step; its number stays taken.

    Args:
        repository: A Triton model repository whose lock the caller holds.
        version: Version number; one that is not there, or already withdrawn, is left alone.

    Raises:
        ModelError: If the disk refuses.
    """
    target = repository / CLASSIFIER / str(version)
    try:
        _sweep(target.parent)
        if target.is_dir():
            target.rename(target.with_name(f"{_WITHDRAWN}{version}"))
            flush(target.parent)
    except OSError as error:
        raise ModelError(f"cannot withdraw {target}: {error.strerror or error}; remove it by hand") from error


def latest(repository: Path) -> int | None:
    """Returns the version that Triton's policy serves: the highest that holds a graph, or None.

    Args:
        repository: A Triton model repository.
    """
    return max((number for number, path in _versions(repository).items() if _is_taken(path)), default=None)


def _settle(staged: Path, target: Path) -> None:
    staged.chmod(0o755)  # mkdtemp's 0700 would hide the version from a Triton that runs as another user
    for path in staged.iterdir():
        flush(path)
    flush(staged)
    if target.is_dir():
        # A directory that has no graph yet, as in a fresh clone. Without the graph no flavour loads, so it goes last.
        for path in sorted(staged.iterdir(), key=lambda path: path.name == ONNX_FILE):
            path.replace(target / path.name)
        flush(target)
    else:
        staged.rename(target)
    flush(target.parent)


@contextmanager
def repository_lock(repository: Path) -> Iterator[None]:
    """Lets one process at a time change a repository; the lock dies with its process.

    Args:
        repository: A Triton model repository.

    Raises:
        UsageError: If it is none.
    """
    model = repository / CLASSIFIER
    if not model.is_dir():
        raise UsageError(f"{model} is missing; name a model repository with the classifier's config.pbtxt in it")
    handle = os.open(model, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _sweep(model: Path) -> None:
    for left_over in model.glob(f"{_STAGING}*"):
        shutil.rmtree(left_over, ignore_errors=True)


def _versions(repository: Path) -> dict[int, Path]:
    model = repository / CLASSIFIER
    found = model.iterdir() if model.is_dir() else ()
    return {int(path.name): path for path in found if path.is_dir() and path.name.isdigit()}


def _is_taken(version: Path) -> bool:
    return (version / ONNX_FILE).exists()


def _glue(repository: Path) -> Path:
    versions = _versions(repository)
    for number in sorted(versions, reverse=True):
        if (versions[number] / GLUE_FILE).is_file():
            return versions[number] / GLUE_FILE
    raise UsageError(
        f"{repository / CLASSIFIER} has no version with a {GLUE_FILE}; start from a copy of model_repository"
    )
