"""Registers a model: completely or, after a kill, not at all.

MLflow has no transactions, so the order makes one: files first, then one call that creates the registered version with
all its tags, then the alias. A run that is still marked ``pending`` when the next command comes belongs to a process
that died (the lock says so): it is finished if its version exists, and deleted if not.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from veriphoto.contract import CONTRACT, CROPS, EVIDENCE, LOGIT, OPERATING_POINT, PROBABILITY
from veriphoto.errors import ModelError
from veriphoto.manifest import MANIFEST_FILE, ONNX_FILE, Findings, sha256_file
from veriphoto_export.operating_point import UNSERVED
from veriphoto_release.bundle import ModelBundle
from veriphoto_release.registry import CHALLENGER, PHOTOS, RegisteredModel, Registry, metrics_tag, sha_tag

EXAMPLE_FILE: Final = "input_example.npz"
"""Crops of one picture. MLflow's own example would be 23 MB of JSON for these 0.7 MB of bytes."""

_STATE: Final = "veriphoto.export"
_ORIGIN: Final = "veriphoto.origin"
_PENDING: Final = "pending"
_DONE: Final = "done"

Step = Callable[[str], None]


def register(
    bundle: ModelBundle,
    *,
    registry: Registry,
    example: npt.NDArray[np.uint8],
    origin: str = "export",
    challenge: bool = True,
    step: Step = lambda _: None,
) -> RegisteredModel:
    """Registers a model, with its variants and its second opinion.

    Args:
        bundle: The model.
        registry: The registry.
        example: UINT8 [1, K, S, S, 3], an input to try it with.
        origin: Why it is registered.
        challenge: Whether to give it the alias ``challenger``.
        step: Called with the name of each step as it begins.

    Returns:
        The registered model.

    Raises:
        ServiceUnavailableError: If MLflow fails.
        ModelError: If the disk refuses.
    """
    findings = bundle.findings
    with _alone(registry):
        _settle(registry)
        experiment = registry.experiment()
        step("run")
        with registry.guarded() as client:
            tags = {_STATE: _PENDING, _ORIGIN: _here(registry), "training_run_id": findings.lineage.run_id}
            run = client.create_run(experiment, tags=tags, run_name=origin).info.run_id
        try:
            with tempfile.TemporaryDirectory() as folder:
                built = _build(Path(folder) / "model", bundle.as_version(UNSERVED), example)
                step("upload")
                uploaded = _upload(registry, experiment, run, built, findings)
                step("version")
                tags = {**_tags(findings, built), "origin": origin, _STATE: CHALLENGER if challenge else _DONE}
                number = _create(registry, run, uploaded, tags)
        except OSError as error:
            _settle(registry)
            raise ModelError(
                f"the model cannot be written: {error.strerror or error}; nothing was registered"
            ) from error
        except BaseException:
            with suppress(Exception):  # what went wrong first is what to tell
                _settle(registry)
            raise
        step("alias")
        _finish(registry, run, registry.find(number))
        step("done")
    return registry.find(number)


def settle_exports(registry: Registry) -> None:
    """Finishes or removes what killed processes left in the registry."""
    with _alone(registry):
        _settle(registry)


def _build(target: Path, bundle: ModelBundle, example: npt.NDArray[np.uint8]) -> Path:
    import mlflow.onnx  # noqa: PLC0415 - takes seconds
    from mlflow.models import ModelSignature  # noqa: PLC0415

    mlflow.onnx.save_model(
        bundle.graph,
        str(target),
        signature=ModelSignature(**_signature()),
        pip_requirements=["onnxruntime", "numpy"],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
        metadata={"input_example": EXAMPLE_FILE, "manifest": MANIFEST_FILE},
    )
    bundle.describe(target)
    np.savez_compressed(target / EXAMPLE_FILE, **{CROPS: example})
    return target


def _tags(findings: Findings, built: Path) -> dict[str, str]:
    return {
        **sha_tag(sha256_file(built / ONNX_FILE)),
        **metrics_tag(findings.metrics),
        PHOTOS: str(sum(findings.drift_reference.score_counts)),
        "data_fingerprint": findings.lineage.data_fingerprint,
        "recipe": findings.lineage.recipe,
        "training_run_id": findings.lineage.run_id,
    }


def _signature() -> dict[str, Any]:
    from mlflow.types import Schema, TensorSpec  # noqa: PLC0415

    crops, size, grid = CONTRACT.crops, CONTRACT.crop_size, CONTRACT.grid
    outputs = {
        PROBABILITY: (-1, 1),
        LOGIT: (-1, 1),
        EVIDENCE: (-1, crops, grid, grid),
        OPERATING_POINT: (-1, len(CONTRACT.operating_point)),
    }
    specs = [TensorSpec(np.dtype(np.float32), shape, name) for name, shape in outputs.items()]
    inputs = [TensorSpec(np.dtype(np.uint8), (-1, crops, size, size, 3), CROPS)]
    return {"inputs": Schema(inputs), "outputs": Schema(specs)}


def _upload(registry: Registry, experiment: str, run: str, built: Path, findings: Findings) -> Any:
    with registry.guarded() as client:
        params = {"recipe": findings.lineage.recipe, "data_fingerprint": findings.lineage.data_fingerprint}
        logged = client.create_logged_model(experiment, name="detector", source_run_id=run, params=params)
        client.log_model_artifacts(logged.model_id, str(built))
        client.finalize_logged_model(logged.model_id, "READY")
        for name, value in findings.metrics.items():
            client.log_metric(run, name.replace("%", "pct"), value, model_id=logged.model_id)
        return logged


def _create(registry: Registry, run: str, uploaded: Any, tags: dict[str, str]) -> str:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    with registry.guarded() as client:
        with suppress(MlflowException):
            client.create_registered_model(registry.name)
        # By its place, not as models:/ID: MLflow would look that up at its global address, not at ours.
        made = client.create_model_version(
            registry.name, uploaded.artifact_location, run_id=run, tags=tags, model_id=uploaded.model_id
        )
        return str(made.version)


def _finish(registry: Registry, run: str, model: RegisteredModel) -> None:
    if model.tags.get(_STATE) == CHALLENGER:
        registry.point(CHALLENGER, model)
    with registry.guarded() as client:
        client.set_tag(run, _STATE, _DONE)
        client.set_terminated(run)


def _settle(registry: Registry) -> None:
    experiment = registry.experiment()
    with registry.guarded() as client:
        rule = f"tags.`{_STATE}` = '{_PENDING}' and tags.`{_ORIGIN}` = '{_here(registry)}'"
        pending = [run.info.run_id for run in client.search_runs([experiment], rule)]
    for run in pending:
        model = next((each for each in registry.models() if each.run_id == run), None)
        if model is not None:
            _finish(registry, run, model)
            continue
        with registry.guarded() as client:
            for logged in client.search_logged_models([experiment], filter_string=f"source_run_id='{run}'"):
                place = str(logged.artifact_location).removeprefix("file://")
                client.delete_logged_model(logged.model_id)
                if Path(place).is_dir():  # MLflow itself would keep half a model's files until its own clean-up
                    shutil.rmtree(Path(place), ignore_errors=True)
            client.delete_run(run)


def _here(registry: Registry) -> str:
    return f"{socket.gethostname()}:{registry.var}".replace("'", "")


@contextmanager
def _alone(registry: Registry) -> Iterator[None]:
    registry.var.mkdir(parents=True, exist_ok=True)
    handle = os.open(registry.var / "registry.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow warns of itself as it is imported
            yield
    finally:
        os.close(handle)
