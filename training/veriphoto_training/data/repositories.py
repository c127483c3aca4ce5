"""Blobs of public repositories, by the git program: from a mirror on this disk, or over the network.

The git program rather than a library: it alone fetches single blobs without the history around them (partial clone), it
reads packs of any size, and whoever has this checkout has it. Repositories are strangers' work, and so are the lists
that name them: git gets no settings of the user's, no hooks, no credentials, no prompt and no protocol but https and
file, and it never checks anything out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from veriphoto.errors import StartupError

_TIMEOUT: Final = 900.0
"""Seconds of one call of git; what stands still on the network ends after a minute already."""
_BATCH: Final = 100
"""Blobs asked for at once, and so lost at once to an interruption."""
_HELD: Final = 64_000_000
"""Bytes of blobs in memory."""
_PASSED_ON: Final = ("PATH", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
_SETTINGS: Final = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.recurseSubmodules=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "protocol.version=2",
)
_GONE: Final = ("not found", "could not read username", "does not exist", "does not appear to be", "authentication")
"""What git says, in lower case, of a repository that is away or private; everything else may pass."""


class FetchError(Exception):
    """A repository does not give what was asked for."""

    def __init__(self, message: str, *, gone: bool) -> None:
        """Notes the reason.

        Args:
            message: Reason, in git's words.
            gone: Whether trying again is of no use.
        """
        super().__init__(message)
        self.gone = gone


def find_mirror(folder: Path, name: str) -> Path | None:
    """Finds the git directory of a mirror.

    Args:
        folder: Holds ``owner+name`` or ``owner/name``, each bare, with ``.git``, or with either in a folder ``repo``.
        name: ``owner/name``, checked by the caller.
    """
    for root in (folder / name.replace("/", "+"), folder / name):
        for place in (root, root.with_name(f"{root.name}.git"), root / ".git", root / "repo", root / "repo" / ".git"):
            if (place / "HEAD").is_file() and (place / "objects").is_dir():
                return place
    return None


def download(url: str, commits: Sequence[str], blobs: Sequence[str], place: Path) -> None:
    """Fetches commits without their files, and then the blobs named.

    Args:
        url: The repository, https or file.
        commits: Commits that the blobs are of; some servers give no blob without.
        blobs: Their ids. Those that the server refuses are missing from ``place`` afterwards.
        place: A folder for a bare repository; it must not exist.

    Raises:
        FetchError: If the repository is away, or the network fails.
    """
    _git(["init", "--quiet", "--bare", "--template=", "--", str(place)])
    _git([f"--git-dir={place}", "config", "remote.origin.url", url])
    _git([f"--git-dir={place}", "ls-remote", "--quiet", "origin", "HEAD"])
    for ids, depth in ((commits, ("--depth=1",)), (blobs, ())):
        for start in range(0, len(ids), _BATCH):
            _take(place, ids[start : start + _BATCH], depth)
    # Or git would ask the remote again, one by one, for what it refused.
    _git([f"--git-dir={place}", "config", "--remove-section", "remote.origin"])


def sizes(place: Path, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Returns kind and size of the objects that a repository has.

    Raises:
        FetchError: If it cannot be read.
    """
    check = ["cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)"]
    lines = _git([f"--git-dir={place}", *check], _lines(ids), local=True).decode().splitlines()
    found = (line.split() for line in lines)
    return {part[0]: (part[1], int(part[2])) for part in found if len(part) == 3}


def read(place: Path, held: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """Reads blobs, some at a time, and checks each against its id.

    Args:
        place: The repository.
        held: Ids and sizes of blobs that it has.

    Yields:
        Id and content.

    Raises:
        FetchError: If the repository cannot be read, or a blob is not what its id says.
    """
    waiting: list[str] = []
    for position, name in enumerate(held, start=1):
        waiting.append(name)
        if position < len(held) and sum(held[one] for one in waiting) < _HELD:
            continue
        answer = memoryview(_git([f"--git-dir={place}", "cat-file", "--batch"], _lines(waiting), local=True))
        for one in waiting:
            head = f"{one} blob {held[one]}\n".encode()
            content = bytes(answer[len(head) : len(head) + held[one]])
            if bytes(answer[: len(head)]) != head or _hash(content) != one:
                raise FetchError(f"blob {one} is damaged", gone=False)
            yield one, content
            answer = answer[len(head) + held[one] + 1 :]
        waiting = []


def _take(place: Path, ids: Sequence[str], depth: tuple[str, ...]) -> None:
    """Fetches objects; of a refused batch the halves, for one that is gone refuses all."""
    arguments = ["--quiet", "--no-tags", "--no-write-fetch-head", "--filter=blob:none", *depth, "--stdin", "origin"]
    try:
        _git([f"--git-dir={place}", "-c", "fetch.negotiationAlgorithm=noop", "fetch", *arguments], _lines(ids))
    except FetchError as error:
        if not any(word in str(error).lower() for word in ("not our ref", "unadvertised object", "not a valid object")):
            raise
        if len(ids) > 1:
            middle = len(ids) // 2
            _take(place, ids[:middle], depth)
            _take(place, ids[middle:], depth)


def _lines(ids: Sequence[str]) -> bytes:
    return "".join(f"{one}\n" for one in ids).encode()


def _hash(content: bytes) -> str:
    digest = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)  # git's id of a file
    digest.update(content)
    return digest.hexdigest()


def _git(arguments: Sequence[str], given: bytes = b"", *, local: bool = False) -> bytes:
    program = shutil.which("git")
    if program is None:
        raise StartupError("the program git is not installed; install it, with the system's packages for instance")
    settings = [part for setting in _SETTINGS for part in ("-c", setting)]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory() as home:
        fixed = {
            "HOME": home,  # neither ~/.gitconfig nor ~/.netrc
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "none" if local else "https:file",
        }
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        with subprocess.Popen(
            [program, *settings, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,  # a file: a pipe would be held open by git's own children after a timeout
            env={**passed, **fixed},
            start_new_session=True,
        ) as process:
            try:
                answer, _ = process.communicate(given, timeout=_TIMEOUT)
            except subprocess.TimeoutExpired:
                raise FetchError(f"git took more than {_TIMEOUT:.0f} s", gone=False) from None
            finally:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
        said.seek(0)
        message = said.read(10_000).decode("utf-8", "replace")
    if process.returncode:
        raise FetchError(_short(message), gone=any(word in message.lower() for word in _GONE))
    return answer


def _short(message: str) -> str:
    """One line of what git said: its first complaint, without what terminals would obey."""
    lines = [line for line in message.splitlines() if line.startswith(("fatal:", "error:", "remote:"))]
    text = (lines or message.splitlines() or ["git failed"])[0]
    return "".join(letter for letter in text if letter.isprintable())[:300]
