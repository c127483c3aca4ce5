"""The MLflow model registry: which models there are, which one is champion, and under which numbers each was served.

A *model* is a graph with its findings, numbered by MLflow. A *served version* is the number of a directory in the
Triton repository, the one every answer carries. A model may be served more than once (after a rollback); a number is
never used twice. The tag ``served.N`` on a model holds the sha256 of the file served as N, so every answer leads to one
file, one model and one training run.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from veriphoto.errors import MissingExtraError, ModelError, ServiceUnavailableError, UsageError
from veriphoto_training.tracking import EXPERIMENT

MODEL_NAME: Final = "veriphoto"
CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
EXPORT: Final = "export"
FORCED: Final = "forced"
"""Tag: why a model was promoted although it was worse."""
PHOTOS: Final = "photos"
"""Tag: the number of held-out photos that its figures were measured on."""

_SERVED: Final = "served."
_METRICS: Final = "metrics"
_SHA: Final = "onnx_sha256"
_MLFLOW: Final = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""MLflow's own patience with a server that is away is many minutes, and it would report to its makers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """One time that a model was served."""

    version: int
    """Number of the directory in the Triton repository, in every answer."""
    sha256: str
    action: str
    """``promote``, ``rollback`` or ``adopt``; ``export`` where it was published and nobody saw a server serve it."""
    at: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredModel:
    """One model of the registry."""

    number: int
    sha256: str
    """sha256 of the registered graph, whose version is 0."""
    created: str
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    served: tuple[Served, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)


class Registry:
    """The registry, through MLflow's client, which is opened at first use."""

    def __init__(self, var: Path = Path("var"), *, name: str = MODEL_NAME, uri: str | None = None) -> None:
        """Sets the registry's address.

        Args:
            var: Directory of the default store, as training uses it.
            name: Name of the registered model; one for each Triton repository.
            uri: MLflow's address; ``MLFLOW_TRACKING_URI``, or SQLite under ``var``, where None.
        """
        self.var = var.absolute()
        self.name = name
        self.uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.var / 'mlflow.db'}"
        self._opened: Any = None

    @property
    def begun(self) -> bool:
        """Whether there may be models: a store of its own on this disk, or a server that was named."""
        store = self.uri.removeprefix("sqlite:///")
        return store == self.uri or Path(store).is_file()

    def models(self) -> list[RegisteredModel]:
        """Returns all models, oldest first; none where there is no store yet, which reading does not make."""
        if not self.begun:
            return []
        with self.guarded() as client:
            found = client.search_model_versions(f"name='{self.name}'")
            aliases = self._aliases(client) if found else {}
            return sorted((_read(each, aliases) for each in found), key=lambda model: model.number)

    def find(self, which: str) -> RegisteredModel:
        """Finds a model.

        Args:
            which: Number or alias of the model.

        Raises:
            UsageError: If there is none.
        """
        models = self.models()
        for model in models:
            if which == str(model.number) or which in model.aliases:
                return model
        advice = "export one first (veriphoto export), or name the server's folder with --var"
        if not self.begun:
            raise UsageError(f"there is no registry at {self.uri}, so no model '{which}'; {advice}")
        known = ", ".join(str(model.number) for model in models) or f"none; {advice}"
        raise UsageError(f"the registry has no model '{which}'; it has: {known}")

    def champion(self) -> RegisteredModel | None:
        """Returns the model with the alias ``champion``, if there is one."""
        return next((model for model in self.models() if CHAMPION in model.aliases), None)

    def by_served(self, version: int, sha256: str) -> RegisteredModel | None:
        """Returns the model that was served under a number, from exactly this file."""
        for model in self.models():
            if any(each.version == version and each.sha256 == sha256 for each in model.served):
                return model
        return None

    def history(self) -> list[tuple[Served, RegisteredModel]]:
        """Returns what was served and from which model, in the order of the numbers."""
        entries = [(each, model) for model in self.models() for each in model.served]
        return sorted(entries, key=lambda entry: entry[0].version)

    def download(self, model: RegisteredModel) -> Path:
        """Fetches a model's directory.

        Args:
            model: The model to fetch.

        Returns:
            A directory with ``model.onnx`` and ``manifest.json``; where artifacts are local, the stored one itself.
        """
        with self.guarded() as client:
            import mlflow  # noqa: PLC0415

            place = client.get_model_version_download_uri(self.name, str(model.number))
            return Path(mlflow.artifacts.download_artifacts(place, tracking_uri=self.uri))

    def note_served(self, model: RegisteredModel, version: int, sha256: str, action: str) -> None:
        """Records that a model is served under a number; repeating it changes nothing but ``export``."""
        if any(each.version == version and each.action != EXPORT for each in model.served):
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        value = json.dumps({"sha256": sha256, "action": action, "at": now})
        with self.guarded() as client:
            client.set_model_version_tag(self.name, str(model.number), f"{_SERVED}{version}", value)

    def tag(self, model: RegisteredModel, key: str, value: str) -> None:
        """Sets a tag of a model."""
        with self.guarded() as client:
            client.set_model_version_tag(self.name, str(model.number), key, value)

    def point(self, alias: str, model: RegisteredModel) -> None:
        """Moves an alias to a model."""
        with self.guarded() as client:
            client.set_registered_model_alias(self.name, alias, str(model.number))

    def unpoint(self, alias: str, model: RegisteredModel) -> None:
        """Takes an alias away from a model that has it."""
        if alias in self.find(str(model.number)).aliases:
            with self.guarded() as client:
                client.delete_registered_model_alias(self.name, alias)

    def experiment(self) -> str:
        """Returns the id of training's experiment, making it where it is missing."""
        with self.guarded() as client:
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is not None:
                return str(found.experiment_id)
            local = self.uri.startswith("sqlite")
            place = (self.var / "mlartifacts").as_uri() if local else None
            return str(client.create_experiment(EXPERIMENT, place))

    @contextmanager
    def guarded(self) -> Iterator[Any]:
        """Gives MLflow's client, and turns its failures into ours.

        Raises:
            ServiceUnavailableError: If MLflow does not answer or fails.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow and SQLAlchemy warn of each other
            try:
                yield self._client()
            except (ModelError, UsageError, ServiceUnavailableError):
                raise
            except Exception as error:  # MLflow, SQLAlchemy, requests and the disk share no base
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise ServiceUnavailableError(
                    f"the MLflow registry at {self.uri} failed: {reason}; start it, or name it with MLFLOW_TRACKING_URI"
                ) from error

    def _client(self) -> Any:
        if self._opened is None:
            for name, value in _MLFLOW.items():
                os.environ.setdefault(name, value)
            self._prepare_sqlite()
            try:
                from mlflow.tracking import MlflowClient  # noqa: PLC0415 - takes seconds
            except ModuleNotFoundError as error:
                raise MissingExtraError("registry", error.name) from error
            self._opened = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        return self._opened

    def _prepare_sqlite(self) -> None:
        # MLflow would try for minutes to open a database whose directory refuses.
        if self.uri.startswith("sqlite:///"):
            file = Path(self.uri.removeprefix("sqlite:///"))
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("ab"):
                pass

    def _aliases(self, client: Any) -> dict[int, tuple[str, ...]]:
        # The search above does not fill in aliases on every store.
        found: dict[int, list[str]] = {}
        for alias, number in client.get_registered_model(self.name).aliases.items():
            found.setdefault(int(number), []).append(alias)
        return {number: tuple(sorted(names)) for number, names in found.items()}


def metrics_tag(metrics: Mapping[str, float]) -> dict[str, str]:
    """Returns the tag that keeps a model's figures where lists can show them."""
    return {_METRICS: json.dumps({name: round(value, 6) for name, value in list(metrics.items())[:60]})[:4900]}


def sha_tag(sha256: str) -> dict[str, str]:
    """Returns the tag that names the registered graph."""
    return {_SHA: sha256}


def _read(version: Any, aliases: Mapping[int, tuple[str, ...]]) -> RegisteredModel:
    tags = dict(version.tags)
    served = [
        Served(version=int(key.removeprefix(_SERVED)), **json.loads(value))
        for key, value in tags.items()
        if key.startswith(_SERVED)
    ]
    created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return RegisteredModel(
        number=int(version.version),
        sha256=tags.get(_SHA, ""),
        created=created.isoformat(timespec="seconds"),
        run_id=version.run_id or "",
        tags={key: value for key, value in tags.items() if not key.startswith(_SERVED)},
        aliases=aliases.get(int(version.version), ()),
        served=tuple(sorted(served, key=lambda each: each.version)),
        metrics=_metrics(tags.get(_METRICS, "")),
    )


def _metrics(text: str) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in json.loads(text).items()}
    except (ValueError, AttributeError):
        return {}
