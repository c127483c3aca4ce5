"""The running Triton, as promotion needs it: load a model, and score a photo as any client would.

Its address and the key to its model API come, in this order, from options, from ``VERIPHOTO_TRITON_HTTP`` and
``VERIPHOTO_TRITON_ADMIN_KEY`` or the file that ``VERIPHOTO_TRITON_ADMIN_KEY_FILE`` names (a container's secret), or
from the file ``server.json`` that the launcher of ``veriphoto serve`` keeps in its runtime directory, readable for its
user alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from veriphoto.contract import CLASSIFIER, ENSEMBLE
from veriphoto.environment import Variable
from veriphoto.errors import ServiceUnavailableError, UsageError
from veriphoto.prediction_log.record import PROBE_PREFIX
from veriphoto.shared_names import SERVER_FILE, TRITON_FOLDER
from veriphoto_client import Detector
from veriphoto_client.triton.admin import TritonAdmin
from veriphoto_release.versions import require_directory

URL_VARIABLE: Final = "VERIPHOTO_TRITON_HTTP"
GOLDEN_ID: Final = f"{PROBE_PREFIX}golden"
"""The request id of golden photos in the prediction log: it says that they are no traffic."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Triton's answer about one golden photo."""

    version: int
    probability: float
    """The classifier's alone, without the second opinion: what is promoted is a classifier."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Triton:
    """A server's address and key."""

    http_url: str
    """``host:port``."""
    admin_key: str = field(default="", repr=False)

    @property
    def admin(self) -> TritonAdmin:
        """The client of its administrative API."""
        return TritonAdmin(address=self.http_url, key=self.admin_key)

    def require_ready(self) -> None:
        """Checks that the ensemble is ready.

        Raises:
            ServiceUnavailableError: If it is not.
        """
        # Not the server's own readiness: that fails for seconds after each swap, while the old version unloads.
        if not self.admin.ready(ENSEMBLE):
            raise ServiceUnavailableError(f"Triton at {self.http_url} is not ready; see its log")

    def served(self) -> int | None:
        """Returns the version that is loaded, whatever newer ones the repository holds; None if there is none.

        Raises:
            ServiceUnavailableError: If the server is away.
            ServiceError: If its classifier is not loaded.
        """
        return max((int(each) for each in self.admin.metadata(CLASSIFIER).get("versions", ())), default=None)

    def load_classifier(self, version: int | None = None) -> None:
        """Makes the server load a version.

        Args:
            version: One that is not the newest in the repository; the newest if None.

        Raises:
            ServiceUnavailableError: If the server is away.
            UsageError: If it refuses the key.
            ModelError: If it refuses the version; the previous one keeps serving.
        """
        config = None
        if version is not None:
            config = {**self.admin.config(CLASSIFIER), "version_policy": {"specific": {"versions": [version]}}}
        self.admin.load(CLASSIFIER, config)

    def score(self, picture: bytes) -> Answer:
        """Scores one photo through the ensemble.

        Args:
            picture: An encoded file.

        Raises:
            VeriphotoError: If there is no answer.
        """
        with Detector(f"http://{self.http_url}", service="triton") as detector:
            detection = detector.predict(picture, request_id=GOLDEN_ID)
        return Answer(version=detection.verdict.model_version, probability=detection.second_opinion.first_probability)


def find_triton(var: Path, repository: Path, *, url: str | None = None, key: str | None = None) -> Triton:
    """Finds the server that serves a repository.

    Args:
        var: Directory under which the launcher keeps its runtime directories.
        repository: The Triton model repository.
        url: ``host:port`` of its HTTP; by default the environment's, else that of the one server found.
        key: Its admin key; by default the environment's, else the one in the server's file.

    Returns:
        Its address and key. Whether it answers is not checked.

    Raises:
        ServiceUnavailableError: If no server is known.
        UsageError: If there are several to choose from, no such repository, or a key file that cannot be read.
    """
    require_directory(repository)
    url = url or os.environ.get(URL_VARIABLE)
    key = key or os.environ.get(Variable.TRITON_ADMIN_KEY) or _key_of_file()
    running = _running(var, repository)
    if url:
        address = url.removeprefix("http://").rstrip("/")
        known = next((each.admin_key for each in running if each.http_url == address), "")
        return Triton(http_url=address, admin_key=key or known)
    if not running:
        raise ServiceUnavailableError(
            f"no Triton serves {repository} from {var / 'triton'}; start it with: veriphoto serve, "
            f"or name it with {URL_VARIABLE} and {Variable.TRITON_ADMIN_KEY}"
        )
    if len(running) > 1:
        several = ", ".join(each.http_url for each in running)
        raise UsageError(f"several servers run on {repository}: {several}; choose one with --triton-url")
    return running[0]


def _key_of_file() -> str:
    file = os.environ.get(Variable.TRITON_ADMIN_KEY_FILE)
    try:
        return Path(file).read_text(encoding="utf-8").strip() if file else ""
    except (OSError, ValueError) as error:
        raise UsageError(f"{Variable.TRITON_ADMIN_KEY_FILE}: {file} cannot be read: {error}") from error


def _running(var: Path, repository: Path) -> list[Triton]:
    found = []
    for file in sorted((var / TRITON_FOLDER).glob(f"*/{SERVER_FILE}")):
        try:
            body = json.loads(file.read_text(encoding="utf-8"))
            if Path(body["model_repository"]).resolve() != repository.resolve():
                continue
            os.kill(int(body["pid"]), 0)
        except (OSError, ValueError, KeyError, TypeError):  # a server that was killed could not remove its file
            continue
        found.append(Triton(http_url=body["http_url"], admin_key=body["admin_key"]))
    return found
