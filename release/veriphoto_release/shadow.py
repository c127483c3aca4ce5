"""Puts a model into the gateway's shadow, and reads what the gateway counted there."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from veriphoto.errors import ModelError
from veriphoto.manifest import MANIFEST_FILE, ONNX_FILE
from veriphoto.shared_names import CHALLENGER_FOLDER, NUMBER_FILE, SHADOW_FOLDER, TALLY_FILE
from veriphoto_release.candidate import load_candidate
from veriphoto_release.registry import RegisteredModel, Registry


def start(registry: Registry, model: RegisteredModel, var: Path) -> Path:
    """Makes the gateway score a share of its pictures with a second model too.

    Args:
        registry: The registry that has the model.
        model: The model.
        var: The gateway's directory for everything written at run time.

    Returns:
        The directory that the gateway reads the model from.

    Raises:
        ModelError: If the model must not be used, or the disk refuses.
    """
    source = registry.download(model)
    load_candidate(source, f"model {model.number}", sha256=model.sha256)
    target = var / SHADOW_FOLDER / CHALLENGER_FOLDER
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=".staging-", dir=target.parent))
        for name in (ONNX_FILE, MANIFEST_FILE):
            shutil.copy(source / name, staged / name)
        (staged / NUMBER_FILE).write_text(f"{model.number}\n", encoding="utf-8")
        stop(var)
        staged.rename(target)
    except OSError as error:
        raise ModelError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def stop(var: Path, *, only: int | None = None) -> bool:
    """Ends the shadow: the gateway stops scoring pictures twice.

    Args:
        var: The gateway's directory.
        only: End it only if this model is in it.

    Returns:
        Whether a model was in it and is no longer.
    """
    target = var / SHADOW_FOLDER / CHALLENGER_FOLDER
    if not target.is_dir():
        return False
    if only is not None and (target / NUMBER_FILE).read_text(encoding="utf-8").strip() != str(only):
        return False
    gone = Path(tempfile.mkdtemp(prefix=".gone-", dir=target.parent))
    target.rename(gone / "old")
    shutil.rmtree(gone, ignore_errors=True)
    return True


def tallies(var: Path) -> dict[str, dict[str, Any]]:
    """Reads what was counted, by "version N, model M".

    Args:
        var: The gateway's directory.
    """
    try:
        found = json.loads((var / SHADOW_FOLDER / TALLY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
