"""Records a run in MLflow, or nowhere."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Protocol

from veriphoto.errors import MissingExtraError

EXPERIMENT: Final = "veriphoto"
_PACKAGES: Final = ("veriphoto", "torch", "timm", "onnxruntime", "numpy", "pillow", "scikit-learn")


def environment() -> dict[str, Any]:
    """Returns what a figure may depend on besides parameters and data: system, Python, cores and packages."""
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
    }
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class Tracker(Protocol):
    """Records a run's parameters, metrics and files."""

    run_id: str

    def params(self, values: Mapping[str, Any]) -> None:
        """Records what was decided before the run."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Records figures."""

    def artifact(self, path: Path) -> None:
        """Stores a file."""

    def close(self) -> None:
        """Ends the run."""


class NoTracker:
    """Records nothing; for tests and for ``--no-tracking``."""

    def __init__(self, run_id: str | None = None) -> None:
        """Makes up a run id unless one is resumed."""
        self.run_id = run_id or uuid.uuid4().hex

    def params(self, values: Mapping[str, Any]) -> None:
        """Does nothing."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Does nothing."""

    def artifact(self, path: Path) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class MlflowTracker:
    """A run in MLflow: SQLite under ``var`` unless ``MLFLOW_TRACKING_URI`` says otherwise."""

    def __init__(self, name: str, var: Path, run_id: str | None = None) -> None:
        """Starts or continues a run.

        Args:
            name: Name of the run.
            var: Directory of the default store.
            run_id: Run to continue; None starts one.
        """
        try:
            import mlflow  # noqa: PLC0415  (takes seconds; only a tracked run pays)
        except ImportError as error:
            raise MissingExtraError("train", error.name) from error
        var.mkdir(parents=True, exist_ok=True)
        self._mlflow = mlflow
        remote = os.environ.get("MLFLOW_TRACKING_URI")  # read first: set_tracking_uri writes it
        mlflow.set_tracking_uri(remote or f"sqlite:///{(var / 'mlflow.db').absolute()}")
        if mlflow.get_experiment_by_name(EXPERIMENT) is None:
            mlflow.create_experiment(EXPERIMENT, None if remote else (var / "mlartifacts").absolute().as_uri())
        mlflow.set_experiment(EXPERIMENT)
        self.run_id: str = mlflow.start_run(run_id=run_id, run_name=None if run_id else name).info.run_id

    def params(self, values: Mapping[str, Any]) -> None:
        """Records what was decided before the run."""
        self._mlflow.log_params(dict(values))

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Records figures."""
        self._mlflow.log_metrics({name.replace("%", "pct"): value for name, value in values.items()}, step=step)

    def artifact(self, path: Path) -> None:
        """Stores a file."""
        self._mlflow.log_artifact(str(path))

    def close(self) -> None:
        """Ends the run."""
        self._mlflow.end_run()
