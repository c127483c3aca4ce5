"""Triton glue of ``second_opinion``: joins the classifier's answer with the encoder's, where a picture is worth asking.

In the embedded flavour this process runs the encoder itself; elsewhere Triton serves it as the model ``encoder``.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from veriphoto.contract import CLASSIFIER, CROPS, ENCODER, FEATURES, LOGIT, OPERATING_POINT, OPINIONS, PROBABILITY
from veriphoto.errors import ModelError
from veriphoto.opinions import Opinions, open_opinions
from veriphoto.second_opinion import MODE_VARIABLE, Mode, read_encoder, sigmoid
from veriphoto.verdict import OperatingPoint


class TritonPythonModel:
    """One instance, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens what the environment's mode needs; ``auto`` starts without an encoder, ``always`` does not."""
        logging.basicConfig(format="second_opinion: %(message)s", level=logging.INFO)  # stderr is the server's log
        repository = Path(args["model_repository"]).parent
        mode = Mode(os.environ.get(MODE_VARIABLE) or Mode.AUTO)
        try:
            # Triton loads this model after those it asks; where it serves the encoder, that one's graph stays closed.
            self._opinions = _served(repository, mode) if _asks_triton(args) else open_opinions(repository, mode)
        except ModelError as error:
            raise pb_utils.TritonModelException(error.to_wire()) from None

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers every request, each with its own response."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            names = (CROPS, LOGIT, PROBABILITY, OPERATING_POINT)
            found = (pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in names)
            rows = [self._join(*row) for row in zip(*found, strict=True)]
            arrays = [np.array(column, np.float32) for column in zip(*rows, strict=True)]
        except Exception as error:  # noqa: BLE001  the caller gets no stack trace, the log no picture
            pb_utils.Logger.log_error(f"second_opinion failed: {type(error).__name__}")
            message = "internal error in second_opinion; see the server's log"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INTERNAL))
        outputs = (LOGIT, PROBABILITY, OPERATING_POINT, OPINIONS)
        tensors = [pb_utils.Tensor(name, array) for name, array in zip(outputs, arrays, strict=True)]
        return pb_utils.InferenceResponse(output_tensors=tensors)

    def _join(
        self,
        crops: npt.NDArray[np.uint8],
        logit: npt.NDArray[np.float32],
        probability: npt.NDArray[np.float32],
        point: npt.NDArray[np.float32],
    ) -> tuple[Any, ...]:
        first = float(logit[0])
        opinion = self._opinions.answer(crops, first, OperatingPoint.from_tensor(point.tolist()))
        values = opinion.to_tensor(first)
        if opinion.joint.logit == first:  # the classifier's answer stands, to the last bit
            return logit, probability, point, values
        joint = opinion.joint.logit
        return [joint], [sigmoid(joint)], opinion.operating_point.to_tensor(), values


def _asks_triton(args: dict[str, str]) -> bool:
    return '"embedded"' not in args["model_config"]


def _served(repository: Path, mode: Mode) -> Opinions:
    """Asks the model ``encoder`` of this server."""
    encoder = None
    if mode is not Mode.OFF:
        try:
            encoder = read_encoder(repository / ENCODER / "1")
        except ModelError:
            if mode is Mode.ALWAYS:
                raise
    return Opinions(repository / CLASSIFIER, encoder, _features if encoder else None, mode)


def _features(squares: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    request = pb_utils.InferenceRequest(
        model_name=ENCODER, requested_output_names=[FEATURES], inputs=[pb_utils.Tensor(CROPS, squares)]
    )
    response = request.exec()
    if response.has_error():
        raise RuntimeError(response.error().message())
    features: npt.NDArray[np.float32] = pb_utils.get_output_tensor_by_name(response, FEATURES).as_numpy()
    return features
