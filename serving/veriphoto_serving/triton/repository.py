"""Checks that this release can serve a model repository."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from veriphoto.contract import CLASSIFIER, ENCODER, ENSEMBLE, PREPROCESS, RECORDER, SECOND_OPINION
from veriphoto.errors import ModelError
from veriphoto.manifest import PLAN_FILE, latest_version, read_manifest, verify_onnx
from veriphoto.second_opinion import ENCODER_FILE, OPINION_FILE, Mode, described, read_encoder, read_opinion
from veriphoto_serving.triton.installation import CONFIG
from veriphoto_serving.triton.options import Flavour

_CODE: Final = "model.py"
_NEEDS: Final = {Flavour.EMBEDDED: _CODE, Flavour.TENSORRT: PLAN_FILE}
"""File that a flavour needs besides ``model.onnx``, which every version has."""


def problems(repository: Path, flavour: Flavour) -> Iterator[str]:
    """Finds what is wrong with a model repository.

    Args:
        repository: The directory that holds the models.
        flavour: How the classifier is to run.

    Yields:
        A sentence for each problem that says how to fix it.
    """
    if not repository.is_dir():
        yield f"{repository} is no directory; name the model repository with --model-repository"
        return
    for name in (ENSEMBLE, PREPROCESS, CLASSIFIER, SECOND_OPINION, RECORDER):
        model = repository / name
        if not (model / CONFIG).is_file():
            yield f"{model / CONFIG} is missing; restore it from the source tree"
    for name in (PREPROCESS, SECOND_OPINION, RECORDER):
        yield from _code(repository / name)
    yield from _classifier(repository / CLASSIFIER, flavour)


def encoder_problem(repository: Path, mode: Mode) -> str:
    """Says why the encoder of the second opinion cannot be used.

    Args:
        repository: The directory that holds the models.
        mode: When the second opinion is asked, not ``off``; ``auto`` needs no encoder.

    Returns:
        A sentence that says how to fix it; empty if nothing is wrong.
    """
    directory = repository / ENCODER / "1"
    if mode is Mode.ALWAYS or (directory / ENCODER_FILE).exists():
        try:
            # Half a second: the step that asks it compares too, but its log is all that would tell.
            read_encoder(directory)
        except ModelError as error:
            return error.message
    return ""


def opinion_problems(repository: Path) -> Iterator[str]:
    """Finds versions whose second opinion cannot be read, and a newest version that is fitted for another encoder.

    Args:
        repository: The directory that holds the models.

    Yields:
        A sentence for each that says how to fix it.
    """
    encoder = None
    with suppress(ModelError):  # A missing or broken one is not for here to tell.
        encoder = described(repository / ENCODER / "1")
    for file in sorted((repository / CLASSIFIER).glob(f"*/{OPINION_FILE}")):
        version = file.parent
        try:
            opinion = read_opinion(version)
        except ModelError as error:
            yield error.message
            continue
        newest = version == latest_version(repository / CLASSIFIER)
        if newest and opinion and encoder and not opinion.fits(encoder):
            yield (
                f"that of {version} was fitted for another encoder; bring that one with make encoder, or fit one for "
                "this with veriphoto second-opinion"
            )


def _code(model: Path) -> Iterator[str]:
    try:
        code = latest_version(model) / _CODE
    except ModelError as error:
        yield error.message
        return
    if not code.is_file():
        yield f"{code} is missing; restore it from the source tree"


def _classifier(model: Path, flavour: Flavour) -> Iterator[str]:
    config = model / "configs" / f"{flavour.value}.pbtxt"
    if flavour is not Flavour.ONNXRUNTIME and not config.is_file():
        # Triton would quietly fall back to config.pbtxt.
        yield f"{config} is missing; restore it from the source tree"
    try:
        version = latest_version(model)
        verify_onnx(version, read_manifest(version))
    except ModelError as error:
        yield error.message
        return
    needed = _NEEDS.get(flavour)
    if needed and not (version / needed).is_file():
        yield f"{version / needed} is missing; export the model for --flavour {flavour.value}"
