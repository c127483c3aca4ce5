"""The ways in which a CPU can run one version: ONNX Runtime or OpenVINO, in FP32, BF16 or INT8."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from veriphoto.contract import PROBABILITY
from veriphoto.errors import MissingExtraError, UsageError
from veriphoto.sessions import OUTPUTS, open_session
from veriphoto.variants import SETUPS, Variant

Crops = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Run = Callable[[Crops], Floats]
"""UINT8 [N, K, S, S, 3] to PROBABILITY FP32 [N]."""


def file_of(variant: Variant) -> str:
    """Returns the name of the file that a variant runs."""
    return SETUPS[variant].file


def available() -> list[Variant]:
    """Returns the variants that this machine and environment can run."""
    try:
        capabilities = set(_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    except MissingExtraError:
        return [Variant.FP32, Variant.INT8]
    return [each for each in Variant if SETUPS[each].precision != "bf16" or "BF16" in capabilities]


def open_variant(variant: Variant, directory: Path, threads: int = 1) -> Run:
    """Loads a variant of a version.

    Args:
        variant: The variant to load.
        directory: The version's directory, or another with the variant's file.
        threads: Number of threads it may use.

    Returns:
        A function that scores crops.

    Raises:
        UsageError: If its file is missing.
        MissingExtraError: If its runtime is not installed.
    """
    setup = SETUPS[variant]
    file = directory / setup.file
    if not file.is_file():
        raise UsageError(f"{file} is missing; build the variants with: veriphoto export --variants")
    if setup.precision:
        _openvino()
    session = open_session(file, setup.precision, threads)
    return lambda crops: session(crops)[OUTPUTS.index(PROBABILITY)][:, 0]


def _openvino() -> Any:
    try:
        return importlib.import_module("openvino")
    except ModuleNotFoundError as error:
        raise MissingExtraError("openvino", error.name) from error
