"""Puts a model into the gateway's shadow, and reads what the gateway counted there."""

from __future__ import annotations

import json
import os
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
        _make_folder(var)
        staged = Path(tempfile.mkdtemp(prefix=".staging-", dir=target.parent))
        try:
            for name in (ONNX_FILE, MANIFEST_FILE):
                shutil.copy(source / name, staged / name)
            (staged / NUMBER_FILE).write_text(f"{model.number}\n", encoding="utf-8")
            staged.chmod(0o755)  # mkdtemp's 0700 would hide the model from a gateway that runs as another user
            stop(var)
            staged.rename(target)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        raise ModelError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _make_folder(var: Path) -> None:
    folder = var / SHADOW_FOLDER
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:  # the gateway's user, whose directory it is in, writes the tally there
            owner = var.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)


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
