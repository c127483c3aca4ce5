"""Reads the tensors that the ensemble answers with, whatever carried them, and makes a ``Detection`` of them."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from veriphoto.contract import (
    CONTRACT,
    EVIDENCE,
    LOGIT,
    OPERATING_POINT,
    OPINION_VALUES,
    OPINIONS,
    PROBABILITY,
    STATISTICS,
)
from veriphoto.errors import ServiceError
from veriphoto.prediction_log.record import keep_id
from veriphoto.second_opinion import UNKNOWN_SHARE
from veriphoto.verdict import OperatingPoint, decide
from veriphoto_client.sdk.detection import Detection, SecondOpinionAnswer
from veriphoto_client.triton.transport import OUTPUT_SHAPES, Outputs


def decode_answer(outputs: Outputs, request_id: str = "") -> Detection:
    """Makes a detection of the ensemble's tensors.

    Args:
        outputs: All tensors of ``OUTPUT_SHAPES``.
        request_id: Id of the request that they answer; the detection has it if the prediction log keeps it.

    Raises:
        ServiceError: If the answer is not what the contract promises.
    """
    tensors = {name: _checked(name, outputs.get(name), shape) for name, shape in OUTPUT_SHAPES.items()}
    statistics = dict(zip(CONTRACT.statistics, tensors[STATISTICS].tolist(), strict=True))
    try:
        point = OperatingPoint.from_tensor(tensors[OPERATING_POINT].tolist())
    except ValueError as error:
        raise _mismatch(str(error)) from error
    evidence = tensors[EVIDENCE]
    evidence.flags.writeable = False
    opinions = dict(zip(OPINION_VALUES, tensors[OPINIONS].tolist(), strict=True))
    return Detection(
        verdict=decide(float(tensors[PROBABILITY][0]), statistics, point),
        logit=float(tensors[LOGIT][0]),
        statistics=MappingProxyType(statistics),
        operating_point=point,
        evidence=evidence,
        second_opinion=SecondOpinionAnswer(
            asked=opinions["asked"] > 0.0,
            first_logit=opinions["first_logit"],
            first_threshold=opinions["first_threshold"],
            second_logit=opinions["second_logit"],
        ),
        real_share=opinions["real_share"] if opinions["real_share"] >= 0.0 else None,
        request_id=keep_id(request_id),
    )


def encode_answer(detection: Detection) -> Outputs:
    """Gives a detection the form it came in; ``decode_answer`` of that, with its id, is the same detection.

    Args:
        detection: One that holds its evidence; its provenance has no place in the tensors.

    Returns:
        The tensors of ``OUTPUT_SHAPES``.
    """
    second = detection.second_opinion
    opinions = {
        "asked": float(second.asked),
        "first_logit": second.first_logit,
        "first_threshold": second.first_threshold,
        "second_logit": second.second_logit,
        "real_share": UNKNOWN_SHARE if detection.real_share is None else detection.real_share,
    }
    values = {
        PROBABILITY: [detection.verdict.probability],
        LOGIT: [detection.logit],
        EVIDENCE: detection.evidence,
        STATISTICS: [detection.statistics[name] for name in CONTRACT.statistics],
        OPERATING_POINT: detection.operating_point.to_tensor(),
        OPINIONS: [opinions[name] for name in OPINION_VALUES],
    }
    return {name: np.asarray(value, np.float32).reshape(1, *OUTPUT_SHAPES[name]) for name, value in values.items()}


def _checked(name: str, tensor: npt.NDArray[np.float32] | None, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    if tensor is None:
        raise _mismatch(f"{name} is missing")
    if tensor.shape != (1, *shape):
        raise _mismatch(f"{name} has shape {tensor.shape}, not {(1, *shape)}")
    if not np.issubdtype(tensor.dtype, np.floating):
        raise _mismatch(f"{name} holds no numbers")
    if not np.isfinite(tensor).all():
        raise _mismatch(f"{name} is not finite")
    return tensor.reshape(shape)


def _mismatch(what: str) -> ServiceError:
    return ServiceError(f"the server's answer breaks the contract ({what}); use client and server of one version")
